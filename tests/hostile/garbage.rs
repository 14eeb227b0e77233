//! Bytes that are no NBD: other protocols, wrong magic, noise.

use keymoult::nbd::wire::*;

use crate::ground::{Case, SCRATCH, case};
use crate::peer::{FORMS, Form, Peer, fixed, flags, option, option_claiming, request};
use crate::support::pattern;

pub fn cases() -> Vec<Case> {
    let mut cases = instead_of_flags();
    cases.extend(client_flags());
    cases.extend(instead_of_options());
    for form in FORMS {
        cases.extend(instead_of_requests(form));
    }
    cases
}

/// What is sent first; the daemon says nothing and closes.
fn instead_of_flags() -> Vec<Case> {
    let hello = [b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03".as_slice(), &pattern(5, 32)].concat();
    let all: Vec<(&str, Vec<u8>)> = vec![
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("TLS hello", hello),
        ("SSH banner", b"SSH-2.0-OpenSSH_9.0\r\n".to_vec()),
        ("the greeting echoed", b"NBDMAGICIHAVEOPT\x00\x03".to_vec()),
        ("oldstyle greeting", b"NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53".to_vec()),
        ("all ones", vec![0xff; 64]),
        ("noise", pattern(1, 4096)),
        ("a megabyte of noise", pattern(2, 1 << 20)),
        ("a request", request(Form::Simple, NBD_CMD_READ, 0, 1, 0, 4096)),
    ];
    let row = |(name, bytes): (&str, Vec<u8>)| {
        case(format!("{name} instead of client flags"), move |ground| {
            let mut peer = ground.peer();
            peer.send(&bytes);
            peer.is_closed();
        })
    };
    all.into_iter().map(row).collect()
}

fn client_flags() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, value) in
        [("bit 2", 1 << 2 | 3), ("bit 16", 1 << 16 | 3), ("bit 31", 1 << 31 | 3), ("all bits", u32::MAX)]
    {
        cases.push(case(format!("unknown client flag: {name}"), move |ground| {
            let mut peer = ground.peer();
            peer.send(&flags(value));
            peer.is_closed();
        }));
    }
    for (name, number) in OPTIONS.iter().filter(|(_, number)| *number != NBD_OPT_EXPORT_NAME) {
        cases.push(case(format!("{name} without fixed newstyle"), move |ground| {
            let mut peer = ground.peer();
            peer.send(&[flags(0), option(*number, &[])].concat());
            peer.is_closed();
        }));
    }
    cases
}

/// Every option there is.
pub const OPTIONS: [(&str, u32); 11] = [
    ("EXPORT_NAME", NBD_OPT_EXPORT_NAME),
    ("ABORT", NBD_OPT_ABORT),
    ("LIST", NBD_OPT_LIST),
    ("PEEK_EXPORT", 4),
    ("STARTTLS", NBD_OPT_STARTTLS),
    ("INFO", NBD_OPT_INFO),
    ("GO", NBD_OPT_GO),
    ("STRUCTURED_REPLY", NBD_OPT_STRUCTURED_REPLY),
    ("LIST_META_CONTEXT", NBD_OPT_LIST_META_CONTEXT),
    ("SET_META_CONTEXT", NBD_OPT_SET_META_CONTEXT),
    ("EXTENDED_HEADERS", NBD_OPT_EXTENDED_HEADERS),
];

fn instead_of_options() -> Vec<Case> {
    let mut off_by_one = option_claiming(NBD_OPT_LIST, 0);
    off_by_one[7] ^= 1;
    let mut swapped = option_claiming(NBD_OPT_LIST, 0);
    swapped[..8].reverse();
    let all: Vec<(&str, Vec<u8>)> = vec![
        ("wrong in one bit", off_by_one),
        ("of the other byte order", swapped),
        ("of an option reply", [NBD_REP_MAGIC.to_be_bytes().to_vec(), vec![0; 8]].concat()),
        ("of a request", request(Form::Simple, NBD_CMD_DISC, 0, 1, 0, 0)),
        ("zero", vec![0; 64]),
        ("noise", pattern(3, 64)),
    ];
    let row = |(name, bytes): (&str, Vec<u8>)| {
        case(format!("option magic {name}"), move |ground| {
            let mut peer = ground.peer();
            peer.send(&[fixed(), bytes.clone()].concat());
            peer.is_closed();
        })
    };
    all.into_iter().map(row).collect()
}

fn instead_of_requests(form: Form) -> Vec<Case> {
    let good = request(form, NBD_CMD_WRITE, 0, 1, SCRATCH, 512);
    let with_magic = move |magic: u32| [magic.to_be_bytes().to_vec(), good[4..].to_vec(), vec![7; 512]].concat();
    let other = if form == Form::Extended { NBD_REQUEST_MAGIC } else { NBD_EXTENDED_REQUEST_MAGIC };
    let all: Vec<(&str, Vec<u8>)> = vec![
        ("zero", with_magic(0)),
        ("of the other form", with_magic(other)),
        ("of a simple reply", with_magic(NBD_SIMPLE_REPLY_MAGIC)),
        ("of a chunk", with_magic(NBD_STRUCTURED_REPLY_MAGIC)),
        ("of an option", [option_claiming(NBD_OPT_GO, 0), vec![0; 64]].concat()),
        ("noise", pattern(4, 4096)),
    ];
    let row = |(name, bytes): (&str, Vec<u8>)| {
        case(format!("request magic {name}, {}", form.name()), move |ground| {
            let mut peer = Peer::open(ground, form);
            peer.is_in_step(ground);
            peer.send(&bytes);
            peer.is_closed();
        })
    };
    all.into_iter().map(row).collect()
}
