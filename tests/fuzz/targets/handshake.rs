//! The handshake. The first three bytes choose exports and how TLS is treated, whether the server is stopping, and how the
//! rest, what the client sends, is cut; TLS itself is left out. Promises: the same answers, end and number of bytes consumed however the stream is cut; answers can be
//! parsed and name options that were sent; one option is answered at a time, and no answer is longer than its list of
//! exports.

use std::sync::Arc;

use keymoult::nbd::handshake::{Handshake, Limits, Step};
use keymoult::nbd::tls::Names;
use keymoult::nbd::wire::{NBD_REP_MAGIC, Reader};
use keymoult::nbd::{Audience, Export, Exports, TlsMode};

use crate::support::input::Input;

/// Small ones, so that short inputs reach them.
const LIMITS: Limits = Limits { option_data: 512, option_skip: 4096, options: 16 };
/// More than the longest answer: a LIST of two exports, or EXPORT_NAME's 134 bytes.
const ANSWER_MAX: usize = 1024;

fn exports(count: usize) -> Exports<()> {
    let exports = Exports::new();
    for (name, audience) in [("v", Audience::Everybody), ("other", Audience::Tls)].into_iter().take(count) {
        let export = Export::new(name, 1 << 20, 4096, Arc::new(())).unwrap().with_audience(audience);
        exports.add(export.with_description("for the fuzzer").unwrap()).unwrap();
    }
    exports
}

#[derive(Debug, PartialEq)]
struct Run {
    out: Vec<u8>,
    used: usize,
    end: String,
    /// Bytes of the last answer if it was EXPORT_NAME's, which has no reply header.
    bare: usize,
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (choice, piece) = (input.u8(), 1 + usize::from(input.u8()));
    let (exports, stopping) = (exports(usize::from(choice % 3)), choice & 4 != 0);
    let tls = [TlsMode::Allowed, TlsMode::Off, TlsMode::Required, TlsMode::Allowed][usize::from(choice >> 6)];
    let stream = input.rest();
    let drive = |piece| drive(stream, piece, &exports, (tls, stopping));
    let whole = drive(stream.len().max(1));
    assert_eq!(whole, drive(piece), "cut into pieces of {piece}");
    assert_eq!(whole, drive(1), "cut into bytes");
    replies(&whole.out[..whole.out.len() - whole.bare]);
}

fn drive(stream: &[u8], piece: usize, exports: &Exports<()>, (tls, stopping): (TlsMode, bool)) -> Run {
    let mut handshake = Handshake::new(LIMITS, tls);
    let mut run = Run { out: Vec::new(), used: 0, end: "open".into(), bare: 0 };
    let mut limit = piece.min(stream.len());
    for _ in 0..2 * stream.len() + 2 {
        let before = run.out.len();
        let (used, step) = handshake.feed(&stream[run.used..limit], exports, stopping, &mut run.out);
        run.used += used;
        let said = run.out.len() - before;
        assert!(said <= ANSWER_MAX && run.used <= limit);
        match step {
            Step::More => {
                assert_eq!((run.used, said), (limit, 0));
                if limit == stream.len() {
                    return run;
                }
                limit = (limit + piece).min(stream.len());
            }
            Step::Reply => assert!(said > 0),
            Step::StartTls => {
                assert!(tls != TlsMode::Off && said > 0);
                handshake.secure(Names::default());
            }
            Step::Transmit(negotiated) => {
                let contexts: Vec<_> = negotiated.contexts.iter().collect();
                run.end = format!("{} {:?} {contexts:?}", negotiated.export.name(), negotiated.form);
                run.bare = if is_bare(&run.out[before..]) { said } else { 0 };
                return run;
            }
            Step::Close(closing) => {
                run.end = format!("{closing:?}");
                return run;
            }
        }
    }
    panic!("it makes no progress");
}

fn is_bare(answer: &[u8]) -> bool {
    Reader::new(answer).u64() != Some(NBD_REP_MAGIC)
}

fn replies(out: &[u8]) {
    let mut reader = Reader::new(out);
    while let Some(magic) = reader.u64() {
        assert_eq!(magic, NBD_REP_MAGIC);
        let (_option, _kind, len) = (reader.u32().unwrap(), reader.u32().unwrap(), reader.u32().unwrap());
        reader.bytes(len as usize).expect("a reply's data are whole");
    }
    assert_eq!(reader.end(), Some(()));
}
