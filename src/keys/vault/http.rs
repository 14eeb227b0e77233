//! One HTTP/1.1 request and its answer (RFC 9112), as much of it as Transit needs.
//!
//! Why not a library: a request holds a DEK or a token and an answer a DEK, and here both are in locked memory that is
//! wiped, from the socket's edge on. Nothing is read from the environment (proxies), nothing is followed (redirects).
//!
//! Invariants: a connection serves one request; an answer is at most [`ANSWER_MAX`] bytes, head included, and its length is
//! said in exactly one way; what the peer sends can cause an error, never a panic and never an allocation of its choosing.

use crate::crypto::Secret;
use crate::keys::net::{Connection, NetError};

/// Longest answer, bytes.
pub(super) const ANSWER_MAX: usize = 256 << 10;
const HEADERS_MAX: usize = 64;

/// A request.
pub(super) struct Request<'a> {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path below `/v1/`.
    pub path: &'a str,
    /// The keeper's `HOST:PORT`.
    pub host: &'a str,
    /// Who asks.
    pub token: Option<&'a Secret>,
    /// Where, if the keeper is divided up.
    pub namespace: Option<&'a str>,
    /// JSON, in pieces.
    pub body: &'a [&'a [u8]],
}

impl Request<'_> {
    /// Its bytes.
    pub(super) fn to_bytes(&self) -> Secret {
        let length: usize = self.body.iter().map(|piece| piece.len()).sum();
        let start = format!("{} /v1/{} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, self.host);
        let namespace = self.namespace.map(|name| format!("X-Vault-Namespace: {name}\r\n")).unwrap_or_default();
        let rest = format!(
            "X-Vault-Request: true\r\nAccept: application/json\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\nUser-Agent: keymoult/{}\r\n\r\n",
            env!("CARGO_PKG_VERSION"),
        );
        let mut pieces: Vec<&[u8]> = vec![start.as_bytes(), namespace.as_bytes()];
        if let Some(token) = self.token {
            pieces.extend([&b"X-Vault-Token: "[..], token.expose(), b"\r\n"]);
        }
        pieces.push(rest.as_bytes());
        pieces.extend(self.body);
        joined(&pieces)
    }
}

/// All `pieces` in a row.
pub(super) fn joined(pieces: &[&[u8]]) -> Secret {
    Secret::filled(pieces.iter().map(|piece| piece.len()).sum(), |bytes| {
        let mut at = 0;
        for piece in pieces {
            bytes[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
    })
}

/// An answer.
pub(super) struct Response {
    /// Its status code.
    pub status: u16,
    /// Its body.
    pub body: Secret,
}

/// Sends the request and receives the answer.
pub(super) fn exchange(connection: &mut Connection, request: &Request<'_>) -> Result<Response, NetError> {
    connection.send(request.to_bytes().expose())?;
    let mut status = 0;
    let body = Secret::read_up_to(ANSWER_MAX, |buffer| {
        let mut filled = 0;
        loop {
            let received = connection.receive(&mut buffer[filled..])?;
            filled += received;
            let is_end = received == 0;
            if let Some(answer) = parse(&mut buffer[..filled], is_end).map_err(NetError::Nonsense)? {
                status = answer.status;
                return Ok(answer.body);
            }
            if filled == buffer.len() {
                return Err(NetError::Nonsense("it is longer than 256 KiB"));
            }
            if is_end {
                return Err(NetError::Cut(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    })?;
    Ok(Response { status, body })
}

/// A complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Its status code.
    pub status: u16,
    /// The length of its body, which now stands at the beginning.
    pub body: usize,
}

enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
}

/// Reads an answer of which `bytes` have arrived, and no more will if `is_end`. None if it is not complete.
///
/// # Errors
/// What makes it no answer that this program takes.
pub fn parse(bytes: &mut [u8], is_end: bool) -> Result<Option<Parsed>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let start = match head.parse(bytes) {
        Ok(httparse::Status::Complete(start)) => start,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err("it is no HTTP answer"),
    };
    let status = head.code.unwrap_or_default();
    let framing = framing(status, head.headers)?;
    let arrived = bytes.len() - start;
    let body = match framing {
        Framing::Length(length) if length > ANSWER_MAX => return Err("it is longer than 256 KiB"),
        Framing::Length(length) if arrived > length => return Err("it is longer than it says"),
        Framing::Length(length) if arrived < length => return Ok(None),
        Framing::Length(length) => length,
        Framing::UntilEnd if !is_end => return Ok(None),
        Framing::UntilEnd => arrived,
        Framing::Chunked => match dechunk(&mut bytes[start..])? {
            Some(length) => length,
            None => return Ok(None),
        },
    };
    bytes.copy_within(start..start + body, 0);
    Ok(Some(Parsed { status, body }))
}

fn framing(status: u16, headers: &[httparse::Header<'_>]) -> Result<Framing, &'static str> {
    if !(200..600).contains(&status) {
        return Err("it has a status code that no answer has");
    }
    let mut found = None;
    for header in headers {
        let framing = if header.name.eq_ignore_ascii_case("content-length") {
            let digits = std::str::from_utf8(header.value).ok().filter(|text| text.bytes().all(|c| c.is_ascii_digit()));
            Framing::Length(digits.and_then(|text| text.parse().ok()).ok_or("its length is no number")?)
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            match header.value.eq_ignore_ascii_case(b"chunked") {
                true => Framing::Chunked,
                false => return Err("it has a transfer coding that is not chunked"),
            }
        } else {
            continue;
        };
        if found.replace(framing).is_some() {
            return Err("it says its length twice");
        }
    }
    Ok(match (status, found) {
        (204 | 304, _) => Framing::Length(0),
        (_, Some(framing)) => framing,
        (_, None) => Framing::UntilEnd,
    })
}

/// Moves the contents of all chunks together; their length, or None if some are still to come.
fn dechunk(bytes: &mut [u8]) -> Result<Option<usize>, &'static str> {
    const BROKEN: &str = "its chunks are broken";
    let mut chunks = Vec::new();
    let mut at = 0;
    loop {
        let (line, size) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(BROKEN),
        };
        let size = usize::try_from(size).ok().filter(|size| *size <= ANSWER_MAX).ok_or("it is longer than 256 KiB")?;
        let (from, to) = (at + line, at + line + size);
        match bytes.get(to..) {
            Some([b'\r', b'\n', rest @ ..]) if size == 0 && !rest.is_empty() => return Err(BROKEN),
            Some([b'\r', b'\n', ..]) => {}
            None | Some([] | [b'\r']) => return Ok(None),
            Some(_) => return Err(BROKEN),
        }
        if size == 0 {
            break;
        }
        chunks.push((from, to));
        at = to + 2;
    }
    let mut filled = 0;
    for (from, to) in chunks {
        bytes.copy_within(from..to, filled);
        filled += to - from;
    }
    Ok(Some(filled))
}

#[cfg(test)]
#[path = "tests/http.rs"]
mod tests;
