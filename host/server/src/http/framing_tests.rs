//! That the right head is named: however the stream is cut, whatever is in it,
//! and in hyper's own counting.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::header::TRANSFER_ENCODING;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use super::*;

const BOTH: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// What is found in a stream that comes in these pieces.
fn found<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<u64> {
    let mut framing = Framing::new();
    let mut found = pieces.into_iter().filter_map(|piece| framing.see(piece));
    let first = found.next();
    assert_eq!(found.next(), None, "said twice");
    first
}

/// Streams, and the number of the first head in each that has both fields.
fn streams() -> Vec<(&'static str, String, Option<u64>)> {
    let head = |fields: &str| format!("POST / HTTP/1.1\r\n{fields}\r\n");
    let chunked = |body: &str| format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    vec![
        ("neither", GET.repeat(3), None),
        ("a length, then chunks", BOTH.to_owned(), Some(1)),
        ("chunks, then a length", head("Transfer-Encoding: chunked\r\nHost: h\r\nContent-Length: 3\r\n"), Some(1)),
        ("in any letter case", head("CONTENT-length:3\r\ntRANSFER-eNCODING:chunked\r\n"), Some(1)),
        (
            "lines that LF ends",
            "POST / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 3\n\n".to_owned(),
            Some(1),
        ),
        ("the second", format!("{GET}{BOTH}"), Some(2)),
        ("the first of two", format!("{GET}{BOTH}{BOTH}"), Some(2)),
        ("one that isn't at its end", BOTH.replace("\r\n\r\n0\r\n\r\n", "\r\n\r"), None),
        ("empty lines before", format!("\r\n\n\r\n{GET}\r\n\r\n\n{BOTH}"), Some(2)),
        ("one field in each of two", format!("{}abc{}", head("Content-Length: 3\r\n"), chunked("0\r\n\r\n")), None),
        ("no length", format!("{}{BOTH}", head("Content-Length: 0\r\n")), Some(2)),
        ("a length said twice", format!("{}abc{BOTH}", head("Content-Length: 3\r\nContent-Length: 3\r\n")), Some(2)),
        ("a length with much around", format!("{}abc{BOTH}", head("Content-Length: \t 0003 \t\r\n")), Some(2)),
        ("a head in a body", format!("{}{BOTH}{BOTH}", head(&format!("Content-Length: {}\r\n", BOTH.len()))), Some(2)),
        (
            "a head in a chunk",
            format!("{}{BOTH}", chunked(&format!("{:X}\r\n{BOTH}\r\n0\r\n\r\n", BOTH.len()))),
            Some(2),
        ),
        ("a body that ends in a head", format!("{}{BOTH}", head("Content-Length: 45\r\n")), None),
        ("several chunks", format!("{}{BOTH}", chunked("3\r\nabc\r\n0a\r\n0123456789\r\n000\r\n\r\n")), Some(2)),
        ("extensions", format!("{}{BOTH}", chunked("3;a\r\nabc\r\n3 \t;a=\"b\"\r\nabc\r\n0;a=3\r\n\r\n")), Some(2)),
        ("trailers", format!("{}{BOTH}", chunked("0\r\nContent-Length: 3\r\nX: y\r\n\r\n")), Some(2)),
        ("a trailer with LF in it", format!("{}{BOTH}", chunked("0\r\nX: y\n\r\nGET / HTTP/1.1\r\n\r\n")), Some(2)),
        ("a trailer that LF begins", format!("{}{BOTH}", chunked("0\r\n\nX: y\r\n\r\n")), Some(2)),
        ("a length that is none", head("Transfer-Encoding: chunked\r\nContent-Length: x\r\n"), Some(1)),
        ("an empty length", head("Transfer-Encoding: chunked\r\nContent-Length:\r\n"), Some(1)),
        (
            "a vast length",
            head(&format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", "9".repeat(40))),
            Some(1),
        ),
        ("longer names", head("Content-Length-X: 3\r\nTransfer-Encodings: x\r\nX-Content-Length: 3\r\n"), None),
        ("shorter names", head("Content-Lengt: 3\r\nTransfer-Encoding: chunked\r\nContent: 3\r\nC: 3\r\n"), None),
        ("a space before the colon", head("Content-Length : 3\r\nTransfer-Encoding: chunked\r\n"), None),
        ("names in values", head("X: Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), None),
        ("a name in a line that is no field", head("content-length\r\n:3\r\nTransfer-Encoding: chunked\r\n"), None),
    ]
}

#[test]
fn the_first_head_with_both_fields_is_found_wherever_the_stream_is_cut() {
    for (what, stream, expected) in streams() {
        let stream = stream.as_bytes();
        assert_eq!(found([stream]), expected, "{what}");
        assert_eq!(found(stream.chunks(1)), expected, "{what}, byte by byte");
        for at in 0..=stream.len() {
            let (before, after) = stream.split_at(at);
            assert_eq!(found([before, after]), expected, "{what}, cut at {at}");
        }
    }
}

/// hyper removes one of the two fields: with this one goes another, that stays.
const HIDDEN: &str =
    "POST / HTTP/1.1\r\nContent-Length: 1\r\nX-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

/// A message in pieces, between which others may be put without taking apart
/// what belongs together; and whether it has both fields.
fn message() -> impl Strategy<Value = (Vec<Vec<u8>>, bool)> {
    let end = || prop_oneof![3 => Just("\r\n"), 1 => Just("\n")];
    let fields =
        vec((prop_oneof![Just("Host"), Just("cookie"), Just("T"), Just("Content-Type")], "[a-z: ]{0,30}"), 0..3);
    let bytes = || prop_oneof![4 => vec(any::<u8>(), 1..40), 1 => Just(HIDDEN.as_bytes().to_vec())];
    let body = prop_oneof![1 => Just(Vec::new()), 4 => bytes()];
    let chunks = vec((bytes(), prop_oneof![Just(""), Just(";a=b"), Just(" \t")]), 0..3);
    let trailers = vec("[a-z]{1,5}: [a-z]{0,5}\r\n", 0..2);
    let leading = vec(end(), 0..2);
    (0..6_u8, end(), fields, body, chunks, trailers, leading).prop_map(
        |(kind, end, fields, body, chunks, trailers, leading)| {
            let mut pieces: Vec<Vec<u8>> = leading.iter().map(|line| line.as_bytes().to_vec()).collect();
            let mut piece = |bytes: &[u8]| pieces.push(bytes.to_vec());
            piece(format!("POST / HTTP/1.1{end}").as_bytes());
            for (name, value) in &fields {
                piece(format!("{name}: {value}{end}").as_bytes());
            }
            let length = format!("Content-Length: {}{end}X-Length: 1{end}", body.len());
            let coding = format!("Transfer-Encoding: chunked{end}");
            let framing: &[&str] = match kind {
                0 | 1 => &[],
                2 => &[&length],
                3 => &[&coding],
                4 => &[&length, &coding],
                _ => &[&coding, &length],
            };
            for line in framing {
                piece(line.as_bytes());
            }
            piece(end.as_bytes());
            match kind {
                0 | 1 => {}
                2 => piece(&body),
                _ => {
                    for (data, extension) in &chunks {
                        piece(format!("{:x}{extension}\r\n", data.len()).as_bytes());
                        piece(&[data, &b"\r\n"[..]].concat());
                    }
                    piece(b"0\r\n");
                    for trailer in &trailers {
                        piece(trailer.as_bytes());
                    }
                    piece(b"\r\n");
                }
            }
            (pieces, kind >= 4)
        },
    )
}

/// What breaks a stream, or makes another of it.
fn disturbance() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "\r\n",
        "\n",
        "\r",
        "0\r\n",
        "0\r\n\r\n",
        "3\r\nabc\r\n",
        "x: y\n",
        "x: y\n\r\n",
        "x: y\r\n",
        " x\r\n",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        HIDDEN,
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Content-Length: 1\r\nX-Length: 1\r\n",
        "Content-Length: x\r\nX-Length: 1\r\n",
    ])
}

/// Of each request that hyper hands on: whether it has come with both fields.
fn seen_by_hyper(stream: &[u8]) -> Vec<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(stream).await.unwrap();
        client.shutdown().await.unwrap();
        let handler = service_fn(|request: Request<Incoming>| {
            let headers = request.headers();
            seen.lock().unwrap().push(headers.contains_key("x-length") && headers.contains_key(TRANSFER_ENCODING));
            async move {
                let _ = request.into_body().collect().await;
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        let _ = http1::Builder::new().half_close(false).serve_connection(TokioIo::new(server), handler).await;
    });
    let seen = seen.lock().unwrap();
    seen.clone()
}

/// The number of the first that is so, counted from 1.
fn first(of: impl IntoIterator<Item = bool>) -> Option<u64> {
    (1..).zip(of).find_map(|(number, is)| is.then_some(number))
}

proptest! {
    #[test]
    fn of_any_messages_the_first_with_both_fields_is_found(
        messages in vec(message(), 1..6),
        cuts in vec(1..60_usize, 1..30),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|(pieces, _)| pieces.concat()).collect();
        let mut rest = stream.as_slice();
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(found(pieces), first(messages.iter().map(|(_, both)| *both)));
    }

    /// Counting other than hyper does would refuse the wrong request, and let the right one through.
    #[test]
    fn the_heads_are_counted_as_hyper_counts_requests(
        messages in vec(message(), 1..5),
        disturbances in vec((any::<prop::sample::Index>(), disturbance()), 0..4),
    ) {
        let mut pieces: Vec<Vec<u8>> = messages.into_iter().flat_map(|(pieces, _)| pieces).collect();
        for (at, disturbance) in disturbances {
            pieces.insert(at.index(pieces.len() + 1), disturbance.as_bytes().to_vec());
        }
        let stream = pieces.concat();
        let seen = seen_by_hyper(&stream);
        let handed_on = seen.len() as u64;
        let found = found([stream.as_slice()]).filter(|number| *number <= handed_on);
        prop_assert_eq!(found, first(seen), "{}", stream.escape_ascii());
    }
}
