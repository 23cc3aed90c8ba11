use std::net::Ipv6Addr;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::*;

const SIGNATURE: &[u8] = v2::PROTOCOL_PREFIX;

/// A header of version 2 with that second half.
fn v2_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

const V4_ENDS: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 187];

/// What is read when these pieces come one after another, and what is left in the socket.
async fn reads(pieces: &[&[u8]]) -> (Result<Announced, HeaderError>, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    client.set_nodelay(true).unwrap();
    let (read, ()) = tokio::join!(read(&mut stream), async {
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.shutdown().await.unwrap();
    });
    let mut left = Vec::new();
    if read.is_ok() {
        stream.read_to_end(&mut left).await.unwrap();
    }
    (read, left)
}

fn client(source: &str) -> Announced {
    let destination = if source.starts_with('[') { "[2001:db8::1]:443" } else { "192.0.2.1:443" };
    Announced::Client { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

#[tokio::test]
async fn headers_are_read_and_not_a_byte_more() {
    let v6_ends = [
        &"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets()[..],
        &"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets(),
    ]
    .concat();
    let v6_ends = [&v6_ends[..], &[0x12, 0x67, 1, 187]].concat();
    let with_tlvs = [&V4_ENDS[..], &[0x20, 0, 5, 1, 0, 0, 0, 0, 4, 0, 1, 0]].concat();
    let padded = [&V4_ENDS[..], &[4, 0x07, 0xb1], &[0; 0x07b1]].concat();
    let (v4, v6, itself) = (client("203.0.113.7:4711"), client("[2001:db8::7]:4711"), Announced::Itself);
    for (header, expected) in [
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n".to_vec(), v4),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n".to_vec(), v6),
        (b"PROXY UNKNOWN\r\n".to_vec(), itself),
        (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(), itself),
        (v2_header(0x21, 0x11, &V4_ENDS), v4),
        (v2_header(0x21, 0x21, &v6_ends), v6),
        (v2_header(0x21, 0x11, &with_tlvs), v4),
        (v2_header(0x21, 0x11, &padded), v4),
        (v2_header(0x20, 0x00, &[]), itself),
        (v2_header(0x20, 0x11, &V4_ENDS), itself),
        (v2_header(0x21, 0x00, &[1, 2, 3]), itself),
        // Datagrams and Unix sockets say nothing about a client of ours.
        (v2_header(0x21, 0x12, &V4_ENDS), itself),
        (v2_header(0x21, 0x31, &[b'x'; 216]), itself),
    ] {
        let shown = header.escape_ascii();
        let whole = [&header[..], b"\r\n\r\nPROXY"].concat();
        let (read, left) = reads(&[&whole]).await;
        assert_eq!((read.unwrap(), &left[..]), (expected, &b"\r\n\r\nPROXY"[..]), "{shown}");
        let bytes: Vec<_> = whole.chunks(1).collect();
        let (read, left) = reads(&bytes).await;
        assert_eq!((read.unwrap(), &left[..]), (expected, &b"\r\n\r\nPROXY"[..]), "{shown} in single bytes");
    }
}

#[tokio::test]
async fn what_is_no_header_is_refused() {
    let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 107], b"\r\n"].concat();
    let huge = v2_header(0x21, 0x11, &[0; V2_BYTES_MAX - V2_START_BYTES + 1]);
    for header in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01".to_vec(),
        b"PROXYTCP4 203.0.113.7 192.0.2.1 4711 443\r\n".to_vec(),
        b"proxy TCP4 203.0.113.7 192.0.2.1 4711 443\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 4711\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 65536\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 +4711 443\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 04711 443\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.07 192.0.2.1 4711 443\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7  192.0.2.1 4711 443\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n".to_vec(),
        b"PROXY TCP6 203.0.113.7 192.0.2.1 4711 443\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443 x\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\n\r\n".to_vec(),
        b"PROXY UDP4 203.0.113.7 192.0.2.1 4711 443\r\n".to_vec(),
        b"PROXY UNKNOWNX\r\n".to_vec(),
        b"PROXY \xff\xfe\r\n".to_vec(),
        b"PROXY \r\n".to_vec(),
        long,
        huge,
        v2_header(0x11, 0x11, &V4_ENDS),
        v2_header(0x22, 0x11, &V4_ENDS),
        v2_header(0x21, 0x41, &V4_ENDS),
        v2_header(0x21, 0x13, &V4_ENDS),
        v2_header(0x21, 0x11, &V4_ENDS[..11]),
        v2_header(0x21, 0x21, &V4_ENDS),
        v2_header(0x21, 0x31, &V4_ENDS),
    ] {
        let (read, _) = reads(&[&header]).await;
        assert!(matches!(read, Err(HeaderError::Malformed)), "{}: {read:?}", header.escape_ascii());
    }
    for begun in [&b""[..], b"PRO", b"PROXY TCP4 203.0", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r", &SIGNATURE[..5]] {
        let (read, _) = reads(&[begun]).await;
        assert!(matches!(read, Err(HeaderError::Ended)), "{}: {read:?}", begun.escape_ascii());
    }
    let cut = v2_header(0x21, 0x11, &V4_ENDS);
    assert!(matches!(reads(&[&cut[..20]]).await.0, Err(HeaderError::Ended)));
}

proptest! {
    /// Whatever comes: no panic, and a header that is taken is taken whole.
    #[test]
    fn any_bytes_are_a_header_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..2100), start in 0_usize..4) {
        let starts: [&[u8]; 4] = [b"", b"PROXY ", SIGNATURE, &[SIGNATURE, &[0x21, 0x11]].concat()];
        let bytes = [starts[start], &bytes].concat();
        for cut in [bytes.len(), bytes.len() / 2] {
            if let Extent::Whole(length) = extent(&bytes[..cut]) {
                prop_assert!(length <= cut && length <= V2_BYTES_MAX);
                let _no_panic = parse(&bytes[..length]);
            }
        }
    }

    #[test]
    fn any_client_is_read_as_it_was_announced(source in any::<std::net::SocketAddrV4>(), tlvs in proptest::collection::vec(any::<u8>(), 0..300)) {
        let destination = SocketAddr::from(([192, 0, 2, 1], 443));
        let expected = Some(Announced::Client { source: source.into(), destination });
        let (ip, port) = (source.ip(), source.port());
        let line = format!("PROXY TCP4 {ip} 192.0.2.1 {port} 443\r\n");
        prop_assert_eq!(extent(line.as_bytes()), Extent::Whole(line.len()));
        prop_assert_eq!(parse(line.as_bytes()), expected);
        let ends = [&ip.octets()[..], &[192, 0, 2, 1], &port.to_be_bytes(), &[1, 187], &tlvs].concat();
        let header = v2_header(0x21, 0x11, &ends);
        prop_assert_eq!(extent(&header), Extent::Whole(header.len()));
        prop_assert_eq!(parse(&header), expected);
    }
}
