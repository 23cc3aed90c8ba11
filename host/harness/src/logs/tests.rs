//! Every format by samples, and what holds for all of them: no panic, and no
//! address from where strangers write.

use std::borrow::Cow;
use std::io::{self, Cursor, Read, Write as _};

use super::*;
use proptest::prelude::*;

/// An entry as text, to compare.
pub(super) fn told(parsed: &Parsed<'_>) -> String {
    let Parsed::Entry(entry) = parsed else { return format!("{parsed:?}") };
    let time = jiff::Timestamp::from_millisecond(i64::try_from(entry.at.as_millis()).unwrap()).unwrap();
    let client = entry.client.as_ref().map_or(Cow::Borrowed("-"), |client| Cow::Owned(client.decoded().into_owned()));
    let what = match &entry.what {
        What::Request(answered) => format!("request {}", told_answered(answered)),
        What::Login(outcome) => format!("login {outcome:?}"),
        What::FailedRequest(answered) => format!("login Failure by {}", told_answered(answered)),
    };
    format!("{time} {} {client} {what}{}", entry.from, if entry.offence { " !" } else { "" })
}

fn told_answered(answered: &Answered<'_>) -> String {
    let mut told = format!("{} {} {}", answered.method.decoded(), answered.path.decoded(), answered.status);
    for field in [&answered.referer, &answered.user_agent].into_iter().flatten() {
        told = format!("{told} [{}]", field.decoded());
    }
    told
}

pub(super) fn check(format: &Format, samples: &[(&str, &str)]) {
    let mut parser = Parser::new(format.clone());
    for (line, wanted) in samples {
        assert_eq!(told(&parser.parse(line.as_bytes())), *wanted, "{line}");
    }
}

#[test]
fn rportd_lines() {
    check(
        &Format::Rportd,
        &[
            (
                "2021/04/16 10:22:26 info: client-listener: GET /.env 404 21µs (203.0.113.7)",
                "2021-04-16T10:22:26Z 203.0.113.7 - request GET /.env 404 !",
            ),
            (
                "2021/04/16 10:22:26 info: api-listener: GET /api/v1/clients?a=b 200 30ms 500B (2001:db8::7)",
                "2021-04-16T10:22:26Z 2001:db8::7 - request GET /api/v1/clients 200",
            ),
            (
                "2021/04/16 10:22:26 info: client-listener: GET /a b 404 1s (8.8.8.8) 200 1.5ms (203.0.113.7)",
                "2021-04-16T10:22:26Z 203.0.113.7 - request GET /a b 404 1s (8.8.8.8) 200",
            ),
            (
                "2021/04/16 10:22:26 info: client-listener: Failed login attempt for client auth id \"a\", forcing to \
                 wait for 2s (8.8.8.8)\", forcing to wait for 2.5s (203.0.113.7)",
                "2021-04-16T10:22:26Z 203.0.113.7 a\", forcing to wait for 2s (8.8.8.8) login Failure !",
            ),
            (
                "2021/04/16 10:22:26 info: client-listener: client#12: Open x (8.8.8.8) (203.0.113.7)\r",
                "2021-04-16T10:22:26Z 203.0.113.7 - login Success",
            ),
            (
                "2021/04/16 10:22:26 info: client-listener: Maximum of 5 login attempts reached. Visitor (203.0.113.7) \
                 banned. Ban expiry: 2021-04-16T11:22:26Z",
                "Other",
            ),
            ("2021/04/16 10:22:26 info: client-listener: client#12: Close x (8.8.8.8)", "Other"),
            ("2021/04/16 10:22:26 info: client-listener: client#x: Open x (8.8.8.8)", "Other"),
            ("2021/04/16 10:22:26 debug: server: GET /x 404 1s (8.8.8.8)", "Other"),
            ("2021/04/16 10:22:26 info: client-listener: GET /x 404 1s (8.8.8.8) ", "Other"),
            ("2021/04/16 10:22:26 info: client-listener: ping GET /x 404 1s (8.8.8.8): 3ms ok", "Other"),
            ("2021/04/16 10:22:26 info: client-listener: client x /y 404 1s (8.8.8.8)", "Other"),
            ("2021/04/16 10:22:26 info: client-listener: session: /y 404 1s (8.8.8.8)", "Other"),
            (" 2021/04/16 10:22:26 info: client-listener: GET /.env 404 21µs (203.0.113.7)", "Unknown"),
            ("GET /x 404 1s (8.8.8.8)", "Unknown"),
            ("", "Empty"),
            ("\r", "Empty"),
        ],
    );
}

#[test]
fn access_log_lines() {
    let common = "203.0.113.7 - - [10/Oct/2000:13:55:36 -0700] \"GET /a?b=c HTTP/1.1\" 404 2326";
    let tail = " \"http://x/?q\" \"curl \\\"8\\x22 404 1s (8.8.8.8)\"";
    check(&Format::Common, &[(common, "2000-10-10T20:55:36Z 203.0.113.7 - request GET /a 404 !")]);
    check(
        &Format::Combined,
        &[
            (
                &format!("{common}{tail}"),
                "2000-10-10T20:55:36Z 203.0.113.7 - request GET /a 404 [http://x/?q] [curl \"8\" 404 1s (8.8.8.8)] !",
            ),
            (
                &format!("{common}{tail} \"8.8.8.8\" 0.003"),
                "2000-10-10T20:55:36Z 203.0.113.7 - request GET /a 404 [http://x/?q] [curl \"8\" 404 1s (8.8.8.8)] !",
            ),
            (common, "Unknown"),
        ],
    );
    check(
        &Format::Common,
        &[
            (&format!("{common}{tail}"), "Unknown"),
            (
                "2001:db8::7 - al ice [10/Oct/2000:13:55:36 +0000] \"POST http://x/y HTTP/2.0\" 200 -",
                "2000-10-10T13:55:36Z 2001:db8::7 al ice request POST /y 200",
            ),
            (
                "203.0.113.7 - alice [10/Oct/2000:13:55:36 +0000] \"GET / HTTP/1.1\" 401 0",
                "2000-10-10T13:55:36Z 203.0.113.7 alice login Failure by GET / 401 !",
            ),
            (
                "203.0.113.7 - \"\" [10/Oct/2000:13:55:36 +0000] \"GET / HTTP/1.1\" 401 0",
                "2000-10-10T13:55:36Z 203.0.113.7 - request GET / 401 !",
            ),
            (
                "203.0.113.7 - x [01/Jan/2030:00:00:00 +0000] \\\"GET /y HTTP/1.1\\\" 404 1 [10/Oct/2000:13:55:36 \
                 +0000] \"GET /z HTTP/1.1\" 200 0",
                "2000-10-10T13:55:36Z 203.0.113.7 x [01/Jan/2030:00:00:00 +0000] \"GET /y HTTP/1.1\" 404 1 request GET /z \
                 200",
            ),
            (
                r#"203.0.113.7 - a\"b [10/Oct/2000:13:55:36 +0000] "GET / HTTP/1.1" 401 10"#,
                r#"2000-10-10T13:55:36Z 203.0.113.7 a"b login Failure by GET / 401 !"#,
            ),
            (
                r#"203.0.113.7 - a\\ [10/Oct/2000:13:55:36 +0000] "GET / HTTP/1.1" 401 10"#,
                r"2000-10-10T13:55:36Z 203.0.113.7 a\ login Failure by GET / 401 !",
            ),
            (
                r#"203.0.113.7 - a\\\"\\ [10/Oct/2000:13:55:36 +0000] "GET / HTTP/1.1" 401 10"#,
                r#"2000-10-10T13:55:36Z 203.0.113.7 a\"\ login Failure by GET / 401 !"#,
            ),
            // No server writes a bare quote into a user.
            (r#"203.0.113.7 - a\\"b [10/Oct/2000:13:55:36 +0000] "GET / HTTP/1.1" 401 10"#, "Unknown"),
            (
                "203.0.113.7 - x [01/Jan/2030:00:00:00 +0000] \\x22GET /y [10/Oct/2000:13:55:36 +0000] \"GET /z \
                 HTTP/1.1\" 200 0",
                "2000-10-10T13:55:36Z 203.0.113.7 x [01/Jan/2030:00:00:00 +0000] \"GET /y request GET /z 200",
            ),
            ("203.0.113.7 - - [10/Oct/2000:13:55:36 +0000] \"\\x16\\x03\\x01\" 400 0", "Other"),
            ("host.example - - [10/Oct/2000:13:55:36 +0000] \"GET / HTTP/1.1\" 404 0", "Unknown"),
        ],
    );
}

#[test]
fn our_own_lines() {
    check(
        &Format::Portcullis,
        &[
            (
                "2026-11-22T12:00:00.123Z info GET /a%21%2Fb 404 12us (203.0.113.7)",
                "2026-11-22T12:00:00.123Z 203.0.113.7 - request GET /a!%2Fb 404 !",
            ),
            (
                "2026-11-22T12:00:00.123Z info Failed login attempt for client auth id \"x%20404%201s%20%288.8.8.8%29\", \
                 forcing to wait for 2s (2001:db8::7)",
                "2026-11-22T12:00:00.123Z 2001:db8::7 x 404 1s (8.8.8.8) login Failure !",
            ),
            (
                "2026-11-22T12:00:00.123Z info Failed login attempt for client auth id \"\", forcing to wait for 0s \
                 (203.0.113.7)",
                "2026-11-22T12:00:00.123Z 203.0.113.7 - login Failure !",
            ),
            (
                "2026-11-22T12:00:00.123Z info Maximum of 5 login attempts reached. Visitor (203.0.113.7) banned. Ban \
                 expiry: 2026-11-22T13:00:00.123Z",
                "Other",
            ),
            ("2026-11-22T12:00:00.123Z info Refused with 423, banned (203.0.113.7)", "Other"),
            ("2026-11-22T12:00:00.123Z info says /a b 404 12us (8.8.8.8)", "Other"),
            ("2026-11-22T12:00:00.123Z loud GET / 404 12us (203.0.113.7)", "Unknown"),
            ("2026-11-22T12:00:00Z info GET / 404 12us (203.0.113.7)", "Unknown"),
        ],
    );
    check(
        &Format::PortcullisJson,
        &[
            (
                r#"{"time":"2026-11-22T12:00:00.123Z","level":"info","kind":"access","method":"GET","path":"/a\"b?c","status":404,"duration_us":12,"bytes":3,"client_id":"ä","source":"203.0.113.7"}"#,
                "2026-11-22T12:00:00.123Z 203.0.113.7 ä request GET /a\"b 404 !",
            ),
            (
                r#"{"time":"2026-11-22T12:00:00.123Z","level":"info","kind":"failed-login","client_id":"a\",\"source\":\"8.8.8.8","wait_ms":2000,"source":"203.0.113.7"}"#,
                "2026-11-22T12:00:00.123Z 203.0.113.7 a\",\"source\":\"8.8.8.8 login Failure !",
            ),
            (
                r#"{"time":"2026-11-22T12:00:00.123Z","level":"info","kind":"refused","status":423,"why":"banned","source":"203.0.113.7"}"#,
                "Other",
            ),
            (
                r#"{"time":"2026-11-22T12:00:00.123Z","kind":"failed-login","source":"8.8.8.8","source":"203.0.113.7"}"#,
                "Unknown",
            ),
            (
                r#"{"time":"2026-11-22T12:00:00.123Z","kind":"access","method":"GET","path":"/","status":99,"source":"203.0.113.7"}"#,
                "Unknown",
            ),
            (r#"{"time":"2026-11-22T12:00:00.123Z"}"#, "Unknown"),
        ],
    );
}

fn pattern(expression: &str, options: PatternOptions) -> Format {
    Format::Pattern(std::sync::Arc::new(Pattern::new(expression, options).unwrap()))
}

#[test]
fn caddys_lines() {
    let line = |request: &str, rest: &str| {
        format!(
            r#"{{"level":"info","ts":1764080405.25,"logger":"http.log.access","msg":"handled request","request":{{"remote_ip":"203.0.113.7",{request}}},"duration":0.001,"size":0,{rest},"resp_headers":{{}}}}"#
        )
    };
    let get = r#""method":"GET","uri":"/x?a=b","headers":{"User-Agent":["curl"]}"#;
    let basic = r#""method":"GET","uri":"/x","headers":{"Authorization":[]}"#;
    let redacted = r#""client_ip":"2001:db8::7","method":"GET","uri":"/x","headers":{"Authorization":["REDACTED"]}"#;
    let at = "2025-11-25T14:20:05.25Z";
    for (line, wanted) in [
        (line(get, r#""user_id":"","status":404"#), format!("{at} 203.0.113.7 - request GET /x 404 [curl] !")),
        (line(get, r#""status":401"#), format!("{at} 203.0.113.7 - request GET /x 401 [curl] !")),
        (line(get, r#""user_id":"ann","status":200"#), format!("{at} 203.0.113.7 ann request GET /x 200 [curl]")),
        (line(basic, r#""user_id":"","status":401"#), format!("{at} 203.0.113.7 - login Failure by GET /x 401 !")),
        (line(redacted, r#""user_id":"","status":401"#), format!("{at} 2001:db8::7 - login Failure by GET /x 401 !")),
        (line(get, r#""user_id":"","status":0"#), "Other".to_owned()),
        (r#"{"level":"info","ts":1764080405.25,"msg":"serving initial configuration"}"#.to_owned(), "Other".to_owned()),
        (line(get, r#""status":404"#).replace("203.0.113.7", "example.org"), "Unknown".to_owned()),
        (line(get, r#""status":404"#).replace("1764080405.25", "\"2025-11-25\""), "Unknown".to_owned()),
        ("203.0.113.7".to_owned(), "Unknown".to_owned()),
    ] {
        check(&Format::Caddy, &[(line.as_str(), wanted.as_str())]);
    }
}

#[test]
fn bytes_that_are_no_text_make_no_line_invisible() {
    let format =
        pattern(r"(?<time>\S+) login of (?<client>.*) from (?<ip>\S+) (?<outcome>\w+)", PatternOptions::default());
    let mut parser = Parser::new(format);
    let line = b"2026-11-22T12:00:00Z login of a\xffb from 203.0.113.7 failed";
    assert_eq!(told(&parser.parse(line)), "2026-11-22T12:00:00Z 203.0.113.7 a\u{fffd}b login Failure !");
    assert_eq!(told(&parser.parse(b"\xff")), "Unknown");
    // The longest line of nginx, whose headers take 32 KiB: each byte is written as four.
    let path = r"\xFF".repeat(24 << 10);
    let line = format!(r#"203.0.113.7 - - [22/Nov/2026:12:00:00 +0000] "GET /{path} HTTP/1.1" 404 5 "-" "x""#);
    let (found, _) = lines(Input::new("x", Cursor::new(line.clone().into_bytes())).unwrap());
    assert_eq!(found, [Some(line.into_bytes())]);
}

#[test]
fn reported_lines() {
    check(
        &Format::Report,
        &[
            (
                r#"{"at":"2026-11-22T12:00:00.5+02:00","source":"203.0.113.7","method":"GET","path":"/x?a","status":404}"#,
                "2026-11-22T10:00:00.5Z 203.0.113.7 - request GET /x 404 !",
            ),
            (
                r#"{"at":1764080405,"source":"203.0.113.7","client":"","outcome":"","path":"/","status":"200"}"#,
                "2025-11-25T14:20:05Z 203.0.113.7 - request GET / 200",
            ),
            (
                r#"{"at":1764080405,"source":"203.0.113.7","client":"a b","outcome":"failure"}"#,
                "2025-11-25T14:20:05Z 203.0.113.7 a b login Failure !",
            ),
            (
                r#"{"at":1764080405,"source":"203.0.113.7","client":"a","outcome":"success","status":302}"#,
                "2025-11-25T14:20:05Z 203.0.113.7 a login Success",
            ),
            (
                r#"{"at":1764080405,"source":"203.0.113.7","client":"a","outcome":"failure","method":"POST","path":"/login","status":401}"#,
                "2025-11-25T14:20:05Z 203.0.113.7 a login Failure by POST /login 401 !",
            ),
            (r#"{"source":"203.0.113.7","status":404}"#, "Unknown"),
            (r#"{"at":1764080405,"source":"203.0.113.7"}"#, "Unknown"),
        ],
    );
}

#[test]
fn lines_by_a_regular_expression() {
    let sshd = r"(?<time>\S+) host sshd\[\d+\]: (?<outcome>Failed|Accepted) password for (?:invalid user )?(?<client>.*) from (?<ip>\S+) port \d+ ssh2";
    check(
        &pattern(sshd, PatternOptions::default()),
        &[
            (
                "1618568546.25 host sshd[1]: Failed password for invalid user x from 8.8.8.8 port 1 ssh2 from \
                 203.0.113.7 port 22 ssh2",
                "2021-04-16T10:22:26.25Z 203.0.113.7 x from 8.8.8.8 port 1 ssh2 login Failure !",
            ),
            (
                "2021-04-16T12:22:26+02:00 host sshd[1]: Accepted password for x from 203.0.113.7 port 22 ssh2",
                "2021-04-16T10:22:26Z 203.0.113.7 x login Success",
            ),
            ("2021-04-16T12:22:26+02:00 host sshd[1]: Accepted password for x from y port 22 ssh2", "Unknown"),
            ("16 Apr host sshd[1]: Failed password for x from 203.0.113.7 port 22 ssh2", "Unknown"),
            ("1618568546 host sshd[1]: Failed password for x from 203.0.113.7 port 22 ssh2 x", "Unknown"),
            ("253402300800 host sshd[1]: Failed password for x from 203.0.113.7 port 22 ssh2", "Unknown"),
            ("x 1618568546 host sshd[1]: Failed password for x from 203.0.113.7 port 22 ssh2", "Unknown"),
        ],
    );
    let with = |time_format: &str, outcome| PatternOptions { time_format: Some(time_format.to_owned()), outcome };
    check(
        &pattern("(?<time>.{19}) (?<ip>[^ ]+) no", with("%d.%m.%Y %H:%M:%S", Some(Outcome::Failure))),
        &[("16.04.2021 10:22:26 203.0.113.7 no", "2021-04-16T10:22:26Z 203.0.113.7 - login Failure !")],
    );
    check(
        &pattern(
            r"(?<ip>\S+) (?<time>.+) (?<method>\w+) (?<path>\S+) (?<status>\d+)",
            with("%Y-%m-%d %H:%M:%S %z", None),
        ),
        &[(
            "203.0.113.7 2021-04-16 12:22:26 +0200 PUT /x?y 404",
            "2021-04-16T10:22:26Z 203.0.113.7 - request PUT /x 404 !",
        )],
    );
}

#[test]
fn expressions_that_no_log_can_be_read_with_say_why() {
    let why = |expression: &str, format: Option<&str>| {
        let options = PatternOptions { time_format: format.map(str::to_owned), outcome: None };
        Pattern::new(expression, options).unwrap_err().to_string()
    };
    let whole = "(?<time>.)(?<ip>.)(?<outcome>.)";
    assert!(why("(?<ip>.)(?<outcome>.)", None).contains("(?<time>…)"));
    assert!(why("(?<time>.)(?<outcome>.)", None).contains("(?<ip>…)"));
    assert!(why("(?<time>.)(?<ip>.)", None).contains("status"));
    assert!(why("(?<time>.)(?<ip>.)(?<user>.)(?<status>.)", None).contains("user"));
    assert!(why("(?<time>.)(?<ip>.)(?<outcome>.)|(", None).contains("regular expression"));
    assert!(why(&format!("{whole})|(?:b"), None).contains("unopened"), "it gets out of the anchors");
    assert!(why(r"(?<time>.)(?<ip>.)(?<outcome>.)\w{2000}", None).contains("size"));
    assert!(why(whole, Some("%b %d %H:%M:%S")).contains("date"), "no year");
    assert!(why(whole, Some("%Q!")).contains("format of times"));
}

#[test]
fn the_first_lines_tell_the_format() {
    let detected =
        |text: &str| Format::detect(text.as_bytes().split(|&byte| byte == b'\n')).map(|format| format.name());
    let common = "203.0.113.7 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.1\" 200 1";
    assert_eq!(detected("garbage\n2021/04/16 10:22:26 info: server: up\n"), Some("rportd"));
    assert_eq!(detected(common), Some("common"));
    assert_eq!(detected(&format!("{common} \"-\" \"-\"\n{common} \"-\" \"-\"\n")), Some("combined"));
    assert_eq!(detected("2026-11-22T12:00:00.123Z info up\n"), Some("portcullis"));
    assert_eq!(detected("{\"time\":\"2026-11-22T12:00:00.123Z\",\"kind\":\"server\"}\n"), Some("portcullis-json"));
    assert_eq!(detected("Apr 16 10:22:26 host CRON[1]: x\nApr 16 10:22:26 host sshd[1]: x\n"), Some("sshd"));
    assert_eq!(detected("\n\nx\n"), None);
}

fn lines(input: Input) -> (Vec<Option<Vec<u8>>>, Option<io::Error>) {
    let (mut found, mut lines) = (Vec::new(), input.into_lines());
    loop {
        match lines.next_line() {
            Ok(Some(Line::Whole(line))) => found.push(Some(line.to_vec())),
            Ok(Some(Line::TooLong)) => found.push(None),
            Ok(None) => return (found, None),
            Err(error) => return (found, Some(error)),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn compressed_logs_are_those_that_went_in() {
    let text: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
    let (first, second) = text.split_at(text.len() / 3);
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let whole = lines(Input::new("x", Cursor::new(text.clone())).unwrap()).0;
    assert_eq!(whole.len(), 100_000);
    assert_eq!(whole[99_999].as_deref(), Some(&b"line 99999"[..]));
    for (name, bytes) in [
        ("gzip", gzip(text.as_bytes())),
        ("two members", [gzip(first.as_bytes()), gzip(second.as_bytes())].concat()),
        ("padded", [gzip(text.as_bytes()), vec![0; 600_000]].concat()),
        ("zstd", zstd(text.as_bytes())),
        ("frames", [zstd(first.as_bytes()), skippable, zstd(b""), zstd(second.as_bytes())].concat()),
    ] {
        let (found, error) = lines(Input::new(name, Cursor::new(bytes)).unwrap());
        assert!(error.is_none(), "{name}: {error:?}");
        assert!(found == whole, "{name}");
    }
}

#[test]
fn what_is_not_read_is_said() {
    let read =
        |bytes: &[u8]| Input::new("x", Cursor::new(bytes.to_vec())).map(lines).map_err(|error| error.to_string());
    let said = |compression: &str, program: &str| {
        format!("x: {compression} isn't read; use `{program} FILE | portcullis replay -`")
    };
    assert_eq!(read(b"\xfd7zXZ\0\0\x04abc").unwrap_err(), said("xz", "xzcat"));
    assert_eq!(read(b"BZh91AY&SYabc").unwrap_err(), said("bzip2", "bzcat"));
    assert_eq!(read(b"BZh9 is a name\n").unwrap().0, [Some(b"BZh9 is a name".to_vec())]);
    for behind in [&b"\0\0x"[..], b"x"] {
        let (found, error) = read(&[&gzip(b"a\n")[..], behind].concat()).unwrap();
        assert_eq!((found, error.is_some()), (vec![Some(b"a".to_vec())], true), "{behind:?}");
    }
}

#[test]
fn what_stops_in_the_middle_is_an_error_after_what_came_before() {
    let text: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
    for (name, bytes) in [("gzip", gzip(text.as_bytes())), ("zstd", zstd(text.as_bytes()))] {
        for keep in [bytes.len() / 2, bytes.len() - 1] {
            let (found, error) = lines(Input::new(name, Cursor::new(bytes[..keep].to_vec())).unwrap());
            assert!(found.len() > 10_000, "{name}: {} lines of {keep} bytes", found.len());
            let error = InputError::new(name, found.len() as u64, error.unwrap());
            assert!(matches!(error, InputError::Truncated { .. }), "{name}: {error}");
        }
    }
    let mut broken = zstd(text.as_bytes());
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let (_, error) = lines(Input::new("zstd", Cursor::new(broken)).unwrap());
    assert!(error.unwrap().to_string().contains("checksum"));
}

#[test]
fn a_sample_uses_nothing_up_and_keeps_an_error_for_later() {
    let packed = gzip(b"first\nsecond\nthird\n");
    let mut found = Input::new("x", Cursor::new(packed[..packed.len() - 1].to_vec())).unwrap().into_lines();
    assert_eq!(found.sample(2).collect::<Vec<_>>(), [b"first".as_slice(), b"second"]);
    assert_eq!(found.sample(100).count(), 3);
    for wanted in [&b"first"[..], b"second", b"third"] {
        assert_eq!(found.next_line().unwrap(), Some(Line::Whole(wanted)));
    }
    assert_eq!(found.next_line().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_long_line_is_told_of_and_the_next_is_whole() {
    let long = |bytes: usize| vec![b'x'; bytes];
    for bytes in [LINE_BYTES_MAX + 1, (256 << 10) - 1, 256 << 10, 300 << 10, 3 << 20] {
        let text = [b"a\n", &long(bytes)[..], b"\nb\n", &long(bytes)[..]].concat();
        let (found, error) = lines(Input::new("x", Cursor::new(text)).unwrap());
        assert!(error.is_none());
        assert_eq!(found, [Some(b"a".to_vec()), None, Some(b"b".to_vec()), None], "{bytes}");
    }
    let (found, _) = lines(Input::new("x", Cursor::new(long(LINE_BYTES_MAX))).unwrap());
    assert_eq!(found, [Some(long(LINE_BYTES_MAX))]);
    assert_eq!(lines(Input::new("x", io::empty()).unwrap()).0, []);
}

/// Gives out a few bytes at a time.
struct Trickle(Cursor<Vec<u8>>, usize);

impl Read for Trickle {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(self.1);
        self.0.read(&mut into[..most])
    }
}

fn formats() -> Vec<Format> {
    let any = pattern(
        r"(?<time>\d+) (?<client>.*) (?<ip>\S+)",
        PatternOptions { time_format: None, outcome: Some(Outcome::Failure) },
    );
    Format::KNOWN.into_iter().chain([any]).collect()
}

/// What an attacker would like to see in a log.
fn strangers_words() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        " 404 1s (8.8.8.8)",
        " (8.8.8.8)",
        "\", forcing to wait for 2s (8.8.8.8)",
        "8.8.8.8 - - [10/Oct/2000:13:55:36 -0700] ",
        "[10/Oct/2000:13:55:36 -0700] ",
        "2021/04/16 10:22:26 info: client-listener: GET / 404 1s (8.8.8.8)",
        "2026-11-22T12:00:00.123Z info GET / 404 1s (8.8.8.8)",
        "client#1: Open x (8.8.8.8)",
        "Failed password for ",
        "Accepted password for x",
        " from 8.8.8.8 port 22 ssh2",
        " 8.8.8.8 port 22 [preauth]",
        "?",
        " ",
        "\\",
        "\r",
        "\0",
        "\u{85}",
        ")",
        "(",
    ]);
    let piece = prop_oneof![pieces.prop_map(str::to_owned), "[^\n]{0,8}"];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// As Caddy writes it.
fn caddy(words: &str, more: &str) -> String {
    serde_json::json!({
        "level": "info", "ts": 971_211_336.0, "logger": "http.log.access.log0", "msg": "handled request",
        "request": {
            "remote_ip": "203.0.113.7", "remote_port": "4711", "proto": "HTTP/1.1", "method": "GET", "host": more,
            "uri": format!("/{words}"), "headers": {"User-Agent": [more], "X-Forwarded-For": [words]}
        },
        "user_id": "", "duration": 0.001, "size": 0, "status": 404, "resp_headers": {"Server": ["Caddy"]}
    })
    .to_string()
}

/// As Apache and nginx write what clients say.
fn backslashed(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'"' | b'\\' | 0..32 | 127.. => format!("\\x{byte:02x}"),
        _ => char::from(byte).to_string(),
    };
    text.bytes().map(encode).collect()
}

proptest! {
    #[test]
    fn no_line_makes_a_parser_panic_and_addresses_are_at_their_place(
        line in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            strangers_words().prop_map(String::into_bytes),
            strangers_words().prop_map(|words| format!("2021/04/16 10:22:26 info: client-listener: {words}").into_bytes()),
            strangers_words().prop_map(|words| format!("2026-11-22T12:00:00.123Z info {words}").into_bytes()),
            strangers_words().prop_map(|words| format!("203.0.113.7 {words}").into_bytes()),
            strangers_words().prop_map(|words| format!("2026-11-22T12:00:00Z host sshd[1]: {words}").into_bytes()),
        ]
    ) {
        let text = String::from_utf8_lossy(&line).into_owned();
        let text = text.strip_suffix('\r').unwrap_or(&text);
        for format in formats() {
            let Parsed::Entry(entry) = Parser::new(format.clone()).parse(&line) else { continue };
            let place = match format {
                Format::Rportd | Format::Portcullis => text.strip_suffix(')').and_then(|text| Some(text.rsplit_once('(')?.1)),
                Format::Common | Format::Combined => text.split(' ').next(),
                Format::Pattern(_) => text.rsplit(' ').next(),
                Format::Sshd if text.contains(": Accepted ") => {
                    text.split_once(" from ").and_then(|(_, rest)| rest.split(' ').next())
                }
                Format::Sshd => text.rsplit_once(" port ").and_then(|(text, _)| text.rsplit(' ').next()),
                Format::PortcullisJson | Format::Caddy | Format::Report => None,
            };
            let there: Option<IpAddr> = place.and_then(|place| place.parse().ok());
            prop_assert_eq!(Some(entry.from), there.map(|ip| ip.to_canonical()), "{} {}", format.name(), text);
        }
    }

    #[test]
    fn strangers_words_bring_no_other_address(words in strangers_words(), more in strangers_words()) {
        let (coded, agent) = (backslashed(&words), backslashed(&more));
        let own: IpAddr = "203.0.113.7".parse().unwrap();
        for (format, line) in [
            (Format::Rportd, format!("2021/04/16 10:22:26 info: client-listener: GET /{words} 404 21µs (203.0.113.7)")),
            (Format::Rportd, format!("2021/04/16 10:22:26 info: client-listener: client#7: Open {words} (203.0.113.7)")),
            (Format::Rportd, format!(
                "2021/04/16 10:22:26 info: client-listener: Failed login attempt for client auth id \"{words}\", forcing to \
                 wait for 2s (203.0.113.7)"
            )),
            (Format::Combined, format!(
                "203.0.113.7 - x{coded} [10/Oct/2000:13:55:36 -0700] \"GET /{coded} HTTP/1.1\" 404 1 \"{coded}\" \"{agent}\""
            )),
            (Format::Caddy, caddy(&words, &more)),
            (Format::Report, serde_json::json!({
                "at": 971_211_336, "source": "203.0.113.7", "client": format!("x{words}"), "path": format!("/{words}"),
                "status": 404, "attributes": {"user-agent": more}
            }).to_string()),
        ] {
            let parsed = Parser::new(format).parse(line.as_bytes()).clone();
            let Parsed::Entry(entry) = parsed else { return Err(TestCaseError::fail(format!("no entry: {line}"))) };
            prop_assert_eq!(entry.from, own);
            prop_assert_eq!(entry.at.as_millis() % 60_000, if line.starts_with("2021/") { 26_000 } else { 36_000 });
        }
        let line = format!("203.0.113.7 - x{coded} [10/Oct/2000:13:55:36 -0700] \"GET /{coded} HTTP/1.1\" 404 1 \"{coded}\" \"{agent}\"");
        let mut parser = Parser::new(Format::Combined);
        let Parsed::Entry(entry) = parser.parse(line.as_bytes()) else { return Err(TestCaseError::fail("no entry")) };
        let client = entry.client.as_ref().unwrap().decoded();
        prop_assert_eq!(client, format!("x{words}"));
    }

    #[test]
    fn lines_do_not_depend_on_how_they_are_read(
        text in prop::collection::vec(prop::sample::select(b"ab\n\r\0\xff".to_vec()), 0..200),
        step in 1_usize..7,
    ) {
        let (found, error) = lines(Input::new("x", Trickle(Cursor::new(text.clone()), step)).unwrap());
        prop_assert!(error.is_none());
        let mut wanted: Vec<_> = text.split(|&byte| byte == b'\n').map(|line| Some(line.to_vec())).collect();
        if text.is_empty() || text.ends_with(b"\n") {
            wanted.pop();
        }
        prop_assert_eq!(found, wanted);
    }
}
