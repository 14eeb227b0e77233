//! Scripts of what a client sends in a handshake, and what came of them.

use std::sync::Arc;

use super::super::audience::TlsMode;
use super::super::export::{Export, Exports};
use super::super::handshake::{Closing, Handshake, Limits, Negotiated, Step};
use super::super::tls::Names;
use super::super::wire::*;
use super::hex;

pub const FIXED: u32 = NBD_FLAG_C_FIXED_NEWSTYLE;
pub const NO_ZEROES: u32 = NBD_FLAG_C_NO_ZEROES;

pub fn exports(names: &[&str]) -> Exports<()> {
    let exports = Exports::new();
    for name in names {
        let export = Export::new(name, 0x1234_5678, 4096, Arc::new(())).unwrap();
        exports.add(export.with_description("text").unwrap()).unwrap();
    }
    exports
}

/// Bytes a client sends.
#[derive(Default, Clone)]
pub struct Script(pub Vec<u8>);

impl Script {
    pub fn new(flags: u32) -> Script {
        Script(flags.to_be_bytes().to_vec())
    }

    pub fn option(self, option: u32, data: &[u8]) -> Script {
        let mut script = self.header(option, data.len() as u32);
        script.0.extend_from_slice(data);
        script
    }

    pub fn header(mut self, option: u32, len: u32) -> Script {
        self.0.extend_from_slice(&IHAVEOPT.to_be_bytes());
        self.0.extend_from_slice(&option.to_be_bytes());
        self.0.extend_from_slice(&len.to_be_bytes());
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Script {
        self.0.extend_from_slice(bytes);
        self
    }
}

#[derive(Debug)]
pub enum End {
    Open,
    Transmit(Negotiated<()>, usize),
    Close(Closing),
}

pub struct Run {
    /// Answers, the greeting left out.
    pub out: Vec<u8>,
    pub end: End,
}

impl Run {
    /// The reply types in order, each with its data.
    pub fn replies(&self) -> Vec<(u32, u32, Vec<u8>)> {
        let mut replies = Vec::new();
        let mut reader = Reader::new(&self.out);
        while let Some(magic) = reader.u64() {
            assert_eq!(magic, NBD_REP_MAGIC);
            let (option, kind, len) = (reader.u32().unwrap(), reader.u32().unwrap(), reader.u32().unwrap());
            replies.push((option, kind, reader.bytes(len as usize).unwrap().to_vec()));
        }
        replies
    }

    pub fn kinds(&self) -> Vec<u32> {
        self.replies().iter().map(|reply| reply.1).collect()
    }

    pub fn transmit(self) -> (Negotiated<()>, usize) {
        match self.end {
            End::Transmit(negotiated, left) => (negotiated, left),
            other => panic!("no transmission: {other:?}"),
        }
    }
}

pub fn run_with(script: &[u8], piece: usize, exports: &Exports<()>, stopping: bool) -> Run {
    run_tls(script, piece, exports, stopping, (TlsMode::Off, &[]))
}

/// The same on a listener with TLS; what follows STARTTLS comes from a client of those names.
pub fn run_tls(
    script: &[u8],
    piece: usize,
    exports: &Exports<()>,
    stopping: bool,
    (tls, names): (TlsMode, &[&str]),
) -> Run {
    let mut handshake = Handshake::new(Limits::default(), tls);
    let (mut out, mut at) = (Vec::new(), 0);
    let mut limit = piece.min(script.len());
    loop {
        let (used, step) = handshake.feed(&script[at..limit], exports, stopping, &mut out);
        at += used;
        match step {
            Step::More if limit == script.len() => {
                return Run { out, end: End::Open };
            }
            Step::More => limit = (limit + piece).min(script.len()),
            Step::Reply => {}
            Step::StartTls => handshake.secure(Names::from_dns(names)),
            Step::Transmit(negotiated) => {
                return Run { out, end: End::Transmit(negotiated, script.len() - at) };
            }
            Step::Close(closing) => {
                return Run { out, end: End::Close(closing) };
            }
        }
    }
}

/// Runs a script in one piece and byte by byte: both must agree.
pub fn run(script: &Script, exports: &Exports<()>) -> Run {
    let whole = run_with(&script.0, usize::MAX, exports, false);
    let bytes = run_with(&script.0, 1, exports, false);
    assert_eq!(hex(&whole.out), hex(&bytes.out), "pieces change nothing");
    whole
}

/// Runs a script on a listener with TLS, in one piece and byte by byte.
pub fn run_over(tls: TlsMode, names: &[&str], script: &Script, exports: &Exports<()>) -> Run {
    let whole = run_tls(&script.0, usize::MAX, exports, false, (tls, names));
    let bytes = run_tls(&script.0, 1, exports, false, (tls, names));
    assert_eq!(hex(&whole.out), hex(&bytes.out), "pieces change nothing");
    whole
}

pub fn info_data(name: &str, wanted: &[u16]) -> Vec<u8> {
    let mut data = (name.len() as u32).to_be_bytes().to_vec();
    data.extend_from_slice(name.as_bytes());
    data.extend_from_slice(&(wanted.len() as u16).to_be_bytes());
    wanted.iter().for_each(|kind| data.extend_from_slice(&kind.to_be_bytes()));
    data
}

pub fn query_data(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = (name.len() as u32).to_be_bytes().to_vec();
    data.extend_from_slice(name.as_bytes());
    data.extend_from_slice(&(queries.len() as u32).to_be_bytes());
    for query in queries {
        data.extend_from_slice(&(query.len() as u32).to_be_bytes());
        data.extend_from_slice(query.as_bytes());
    }
    data
}
