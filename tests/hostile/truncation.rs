//! Messages that end too early: at every byte of everything a client may send, by closing, by closing one direction only,
//! and by silence while others go on.

use keymoult::nbd::wire::*;

use crate::ground::{Case, Ground, SCRATCH, case};
use crate::peer::{FORMS, Form, Peer, fixed, handshake, info, option, queries, request};

/// How a peer ends.
#[derive(Clone, Copy)]
enum End {
    Closed,
    HalfClosed,
}

const ENDS: [(End, &str); 2] = [(End::Closed, "closed"), (End::HalfClosed, "half closed")];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (end, how) in ENDS {
        for (name, bytes) in handshakes() {
            cases.push(case(format!("{name} {how} at each byte"), move |ground| cut_handshake(ground, &bytes, end)));
        }
        for form in FORMS {
            for (name, bytes, payload) in requests(form) {
                let name = format!("{name} {} {how} at each byte", form.name());
                let cuts: Vec<usize> =
                    (0..bytes.len() - payload).chain((bytes.len() - payload..bytes.len()).step_by(97)).collect();
                cases.push(case(name, move |ground| {
                    cuts.iter().for_each(|cut| cut_request(ground, form, &bytes[..*cut], end))
                }));
            }
        }
    }
    cases
}

/// Handshakes that would succeed, option by option.
fn handshakes() -> Vec<(&'static str, Vec<u8>)> {
    let with = |option: u32, data: &[u8]| [fixed(), crate::peer::option(option, data)].concat();
    vec![
        ("EXPORT_NAME", with(NBD_OPT_EXPORT_NAME, b"vol")),
        ("ABORT", with(NBD_OPT_ABORT, &[])),
        ("LIST", with(NBD_OPT_LIST, &[])),
        ("STARTTLS", with(NBD_OPT_STARTTLS, &[])),
        ("INFO", with(NBD_OPT_INFO, &info(b"vol", &[NBD_INFO_NAME]))),
        ("GO", with(NBD_OPT_GO, &info(b"vol", &[NBD_INFO_BLOCK_SIZE]))),
        ("STRUCTURED_REPLY", with(NBD_OPT_STRUCTURED_REPLY, &[])),
        ("LIST_META_CONTEXT", with(NBD_OPT_LIST_META_CONTEXT, &queries(b"vol", &[b"base:"]))),
        ("SET_META_CONTEXT", with(NBD_OPT_SET_META_CONTEXT, &queries(b"vol", &[b"base:allocation"]))),
        ("EXTENDED_HEADERS", with(NBD_OPT_EXTENDED_HEADERS, &[])),
        ("whole handshake", handshake(Form::Extended, "vol")),
        ("unknown option", [fixed(), option(0x1234, b"data")].concat()),
    ]
}

/// Requests with their payload, and how long that is.
fn requests(form: Form) -> Vec<(&'static str, Vec<u8>, usize)> {
    let plain = |command, offset, length| request(form, command, 0, 7, offset, length);
    let payload = if form == Form::Extended { NBD_CMD_FLAG_PAYLOAD_LEN } else { 0 };
    let mut write = request(form, NBD_CMD_WRITE, payload, 7, SCRATCH, 3000);
    write.extend([9; 3000]);
    let mut all = vec![
        ("READ", plain(NBD_CMD_READ, 0, 4096), 0),
        ("WRITE", write, 3000),
        ("FLUSH", plain(NBD_CMD_FLUSH, 0, 0), 0),
        ("TRIM", plain(NBD_CMD_TRIM, SCRATCH, 4096), 0),
        ("CACHE", plain(NBD_CMD_CACHE, 0, 4096), 0),
        ("WRITE_ZEROES", plain(NBD_CMD_WRITE_ZEROES, SCRATCH, 4096), 0),
        ("BLOCK_STATUS", plain(NBD_CMD_BLOCK_STATUS, 0, 4096), 0),
        ("DISC", plain(NBD_CMD_DISC, 0, 0), 0),
    ];
    if form == Form::Extended {
        let mut status = request(form, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 7, 0, 12);
        status.extend([0; 12]);
        all.push(("BLOCK_STATUS with payload", status, 0));
    }
    all
}

fn end_with(peer: Peer, end: End) {
    let mut peer = peer;
    match end {
        End::Closed => drop(peer),
        End::HalfClosed => {
            peer.half_close();
            // Whatever was complete may be answered; then it ends.
            peer.rest();
        }
    }
}

fn cut_handshake(ground: &Ground<'_>, bytes: &[u8], end: End) {
    for cut in 0..bytes.len() {
        let mut peer = ground.peer();
        peer.send(&bytes[..cut]);
        end_with(peer, end);
    }
    // Silence in the middle harms nobody either.
    let mut silent = ground.peer();
    silent.send(&bytes[..bytes.len() / 2]);
    ground.check();
}

fn cut_request(ground: &Ground<'_>, form: Form, bytes: &[u8], end: End) {
    let mut peer = Peer::open(ground, form);
    peer.send(bytes);
    end_with(peer, end);
}
