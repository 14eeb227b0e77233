//! HTTP answers: what is taken, and one of each kind that is refused.

use super::{ANSWER_MAX, Parsed, Request, parse};
use crate::crypto::Secret;

/// What `text` parses to, and its body.
fn read(text: &str, is_end: bool) -> Result<Option<(u16, String)>, &'static str> {
    let mut bytes = text.as_bytes().to_vec();
    let parsed = parse(&mut bytes, is_end)?;
    Ok(parsed.map(|Parsed { status, body }| (status, String::from_utf8(bytes[..body].to_vec()).unwrap())))
}

#[test]
fn answers_of_every_framing_are_read() {
    for (text, is_end, status, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", false, 200, "{}"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false, 200, ""),
        ("HTTP/1.1 204 No Content\r\n\r\n", false, 204, ""),
        ("HTTP/1.0 503 \r\n\r\nsealed", true, 503, "sealed"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n",
            false,
            200,
            "abcd",
        ),
    ] {
        assert_eq!(read(text, is_end), Ok(Some((status, body.into()))), "{text:?}");
        // Whatever part of it has arrived: it is not complete, and not wrong.
        for part in 0..text.len() {
            let part = read(&text[..part], false);
            assert!(part == Ok(None), "{text:?}: {part:?}");
        }
    }
}

#[test]
fn refusals() {
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", ANSWER_MAX + 1);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(65));
    for (text, why) in [
        ("SSH-2.0-OpenSSH\r\n", "it is no HTTP answer"),
        ("\x16\x03\x01", "it is no HTTP answer"),
        (&many, "it is no HTTP answer"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "it has a status code that no answer has"),
        ("HTTP/1.1 999 x\r\n\r\n", "it has a status code that no answer has"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", "it is longer than it says"),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "its length is no number"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", "its length is no number"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", "it says its length twice"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na", "it says its length twice"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "it has a transfer coding that is not chunked"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "its chunks are broken"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", "its chunks are broken"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore", "its chunks are broken"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n", "it is longer than 256 KiB"),
        (&long, "it is longer than 256 KiB"),
    ] {
        assert_eq!(read(text, false), Err(why), "{text:?}");
    }
}

#[test]
fn a_request_is_what_it_says() {
    let token = Secret::filled(3, |bytes| bytes.copy_from_slice(b"tok"));
    let request = Request {
        method: "POST",
        path: "transit/decrypt/k",
        host: "kms:8200",
        token: Some(&token),
        namespace: Some("ops"),
        body: &[b"{\"a\":\"", b"b", b"\"}"],
    };
    let bytes = request.to_bytes();
    let text = std::str::from_utf8(bytes.expose()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "{\"a\":\"b\"}");
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /v1/transit/decrypt/k HTTP/1.1"));
    for line in ["Host: kms:8200", "X-Vault-Token: tok", "X-Vault-Namespace: ops", "Content-Length: 9"] {
        assert!(head.lines().any(|found| found == line), "{line} in {head}");
    }
}
