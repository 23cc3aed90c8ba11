//! What matches, what doesn't, and what must not evade it.

use super::*;
use portcullis_sdk::SettingValue::{self, Boolean, Integers, Number, Texts};
use portcullis_sdk::testing::{self, RequestBuilder, defaults, request, settings, try_settings};
use proptest::prelude::*;

const SOURCE: &str = "203.0.113.7";

fn asks(path: &str) -> RequestBuilder {
    request(SOURCE).path(path).status(404)
}

fn bans(settings: &Settings, path: &str) -> bool {
    !judge(settings, &asks(path).into()).is_pass()
}

fn with(patterns: &[&str]) -> Settings {
    settings(&[("patterns", texts(patterns))])
}

fn texts(list: &[&str]) -> SettingValue {
    Texts(list.iter().map(|text| (*text).to_owned()).collect())
}

fn error(name: &str, value: SettingValue) -> String {
    let errors = try_settings::<Settings>(&[(name, value)]).unwrap_err();
    assert_eq!((errors.len(), errors[0].name.as_str()), (1, name));
    errors[0].message.clone()
}

#[test]
fn the_first_hit_bans_for_a_day_and_nothing_is_kept() {
    let mut host = testing::scanner(judge, defaults());
    assert!(host.judge(asks("/index.html")).is_pass());
    let verdict = host.judge(asks("/blog/wp-login.php"));
    let order = verdict.order().unwrap();
    assert_eq!(order.duration, Duration::from_secs(86_400));
    assert_eq!(order.reason.text, "Asked for */wp-login.php.");
    assert_eq!(host.state(SOURCE), None);
}

#[test]
fn a_pattern_matches_what_its_documentation_says() {
    for (pattern, yes, no) in [
        ("/.env", &["/.env", "/.env/", "/.env/x"][..], &["/.env.bak", "/app/.env", "/.en", "/env", "/"][..]),
        ("/wp-login.php", &["/wp-login.php", "/wp-login.php/x"], &["/blog/wp-login.php", "/wp-login.phpx"]),
        ("*/wp-login.php", &["/wp-login.php", "/blog/wp-login.php"], &["/my-wp-login.php"]),
        ("*.php", &["/a.php", "/a/b.php", "/a.php/x", "/.php"], &["/a.php5", "/a.phpx/b", "/php", "/"]),
        ("/.env*", &["/.env", "/.env.bak", "/.env/x"], &["/x/.env"]),
        ("/wp-*/*.php", &["/wp-a/b.php", "/wp-a/b/c.php/d"], &["/wp-a.php", "/wp-a/b"]),
        ("*admin*", &["/admin", "/x/myadminpage/y"], &["/adm/in"]),
        ("/a**b", &["/ab", "/a/x/b/c"], &["/a"]),
        ("/a*b*b", &["/abb", "/axbxb"], &["/ab"]),
        ("/a*ba", &["/aba", "/ababa"], &["/a", "/ba"]),
    ] {
        for path in yes {
            assert!(bans(&with(&[pattern]), path), "{pattern} should match {path}");
        }
        for path in no {
            assert!(!bans(&with(&[pattern]), path), "{pattern} should not match {path}");
        }
    }
}

#[test]
fn no_way_of_writing_a_path_evades_it() {
    for path in [
        "/.ENV",
        "/%2eenv",
        "/%2E%65%6e%76",
        "/%252eenv",
        "/%25252eenv",
        "/%2%65env",
        "/%%32eenv",
        "/%2%00eenv",
        "//.env",
        "/./.env",
        "/%2e/.env",
        "/x/../.env",
        "/x/%2e%2e/.env",
        "/x/..%2f.env",
        "/../.env",
        "/x/..;/.env",
        "/x%3f/../.env",
        "/.env;x=1",
        "/.env;x=1/y",
        "/.env%3fx",
        "/.env%23x",
        "/.env/",
        "/.env/x",
        "/.env/..",
        "/.env%00",
        "/.env%20",
        "/%09.env",
        "\\.env",
        "/x\\..\\.env",
        "/%5c.env",
        "http%3a//x/../../../.env",
        ".env",
    ] {
        assert!(bans(&with(&["/.env"]), path), "{path}");
    }
}

#[test]
fn what_only_looks_alike_is_no_hit() {
    for path in ["", "/", "*", "/x.env", "/.envx", "/-env", "/%.env", "/%zz.env", "/x/.env", "/;/x"] {
        assert!(!bans(&with(&["/.env"]), path), "{path}");
    }
}

#[test]
fn the_statuses_that_are_set_can_be_a_hit_and_the_host_is_told_so() {
    let mut missing = with(&["*.php"]);
    missing.statuses = vec![404, 410];
    for (status, hit) in [(404, true), (410, true), (200, false), (403, false)] {
        let event = asks("/x.php").status(status);
        assert_eq!(!judge(&missing, &event.into()).is_pass(), hit, "{status}");
    }
    assert_eq!(interest(&missing), Interest::everything().statuses(404..=404).statuses(410..=410));
    assert_eq!(interest(&defaults()), Interest::everything());
}

#[test]
fn a_verified_clients_requests_are_no_hits() {
    let mut host = testing::scanner(judge, defaults());
    assert!(host.judge(asks("/.env").id("abc")).is_pass());
}

#[test]
fn padding_does_not_hide_what_the_host_cuts_off() {
    let padded = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    assert!(!bans(&defaults(), &padded(2044)));
    assert!(bans(&defaults(), &padded(2045)));
    assert!(bans(&defaults(), &padded(2048)));
    let lenient: Settings = settings(&[("ban_too_long", Boolean(false))]);
    assert!(!bans(&lenient, &padded(2048)));
}

#[test]
fn it_can_be_turned_off_in_two_ways() {
    for (name, value) in [("ban_time", Number(0.0)), ("patterns", Texts(vec![]))] {
        assert!(!bans(&settings(&[(name, value)]), "/.env"), "{name}");
    }
}

#[test]
fn wrong_patterns_are_refused_with_which_and_why() {
    assert_eq!(
        error("patterns", texts(&["/.env", "wp-login.php"])),
        "found [\"/.env\", \"wp-login.php\"], expected patterns that start with / or *, which \"wp-login.php\" isn't"
    );
    for pattern in
        ["", "x", "/", "*", "/*", "**/", "/a/", "/a//b", "/a/../b", "/./a", "/%2eenv", "/a?b", "/a#b", "/a;b", "/a b"]
    {
        assert!(error("patterns", texts(&[pattern])).contains("expected patterns "), "{pattern:?}");
    }
    assert!(error("patterns", texts(&[&format!("/{}", "x".repeat(64))])).contains("of at most 64 bytes"));
    assert!(error("patterns", texts(&["/x"; 101])).ends_with("expected at most 100 patterns"));
    assert!(error("statuses", Integers(vec![4040])).ends_with("HTTP statuses from 100 to 599"));
}

/// The pattern by definition: every way to share the text out to the stars.
fn matches_slowly(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) | (None, Some((b'/', _))) => true,
        (None, Some(_)) => false,
        (Some((b'*', after)), _) => (0..=text.len()).any(|taken| matches_slowly(after, &text[taken..])),
        (Some((wanted, after)), Some((found, rest))) => {
            wanted.eq_ignore_ascii_case(found) && matches_slowly(after, rest)
        }
        (Some(_), None) => false,
    }
}

/// One letter of a path, as somebody who wants to get by might write it.
fn disguised(letter: u8, how: u8) -> String {
    let plain = char::from(letter);
    match how % 6 {
        0 => format!("%{letter:02x}"),
        1 => format!("%{letter:02X}"),
        2 => format!("%25{letter:02x}"),
        3 => plain.to_ascii_uppercase().to_string(),
        4 if letter == b'/' => "/x/%2e././/".to_owned(),
        5 if letter == b'/' => ";a=b/".to_owned(),
        _ => plain.to_string(),
    }
}

proptest! {
    #[test]
    fn it_matches_as_the_definition_says(pattern in "/[ab*/]{0,8}", path in "/[abAB/]{0,14}") {
        prop_assert_eq!(matches(&pattern, path.as_bytes()), matches_slowly(pattern.as_bytes(), path.as_bytes()));
    }

    #[test]
    fn no_disguise_of_a_path_that_matches_evades_it(
        which in 0_usize..4,
        hows in prop::collection::vec(any::<u8>(), 40),
    ) {
        let (pattern, path) = [
            ("/.env", "/.env"),
            ("*/wp-login.php", "/blog/wp-login.php"),
            ("*.php", "/a/b.php"),
            ("/wp-*/*.php", "/wp-admin/x.php"),
        ][which];
        let written: String = path.bytes().zip(&hows).map(|(letter, how)| disguised(letter, *how)).collect();
        // A parameter of the root's own segment comes before its slash.
        let written = format!("/{}", written.trim_start_matches(";a=b"));
        prop_assert!(bans(&with(&[pattern]), &written), "{}", written);
    }

    #[test]
    fn no_path_stops_it(path in "\\PC{0,300}", escapes in "(%[0-9a-f]{0,2}|[./;?\\\\]){0,60}") {
        let _ = bans(&defaults(), &path);
        let _ = bans(&with(&["*/.env*", "*a*b*c*"]), &escapes);
    }
}
