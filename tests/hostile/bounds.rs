//! Offsets and lengths that do not fit: beyond the end, overflowing, longer than any payload, zero.

use keymoult::nbd::wire::*;

use crate::flags::COMMANDS;
use crate::ground::{Case, SIZE, case};
use crate::peer::{FORMS, Form, Peer, request};

/// Largest payload, bytes.
const PAYLOAD_MAX: u64 = 32 << 20;
/// A compact write that claims more ends the connection, bytes.
const SKIP_MAX: u64 = 64 << 20;

/// What there is to be wrong about a range, with offset and length.
const RANGES: [(&str, u64, u64); 9] = [
    ("one byte beyond the end", SIZE - 511, 512),
    ("right behind the end", SIZE, 1),
    ("far behind the end", 1 << 62, 512),
    ("an end that overflows", u64::MAX - 10, 512),
    ("an end of exactly 2^64", u64::MAX - 511, 512),
    ("one byte more than a payload", 0, PAYLOAD_MAX + 1),
    ("a length of 2^32-1", 0, u32::MAX as u64),
    ("no length, at the end", SIZE, 0),
    ("no length, behind the end", SIZE + 1, 0),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for form in FORMS {
        for (command_name, command, _) in COMMANDS.into_iter().filter(|it| it.1 != NBD_CMD_FLUSH) {
            let long = ("a length of 2^64-1", 1, u64::MAX);
            let ranges = RANGES.into_iter().chain((form == Form::Extended).then_some(long));
            for (range_name, offset, len) in ranges {
                cases.push(case(format!("{command_name} with {range_name}, {}", form.name()), move |ground| {
                    let mut peer = Peer::open(ground, form);
                    peer.send(&request(form, command, 0, 4, offset, len));
                    match expected(form, command, offset, len) {
                        None => peer.is_closed(),
                        Some(errno) => {
                            if command == NBD_CMD_WRITE {
                                peer.send(&vec![6; len as usize]);
                            }
                            let reply = peer.reply(0).expect("an answer");
                            assert_eq!((reply.cookie, reply.errno), (4, errno));
                            peer.is_in_step(ground);
                        }
                    }
                }));
            }
        }
        for (name, offset, len) in
            [("an offset", 1, 0), ("a length", 0, 1), ("everything", u64::MAX, u64::from(u32::MAX))]
        {
            cases.push(case(format!("FLUSH with {name}, {}", form.name()), move |ground| {
                let mut peer = Peer::open(ground, form);
                peer.send(&request(form, NBD_CMD_FLUSH, 0, 4, offset, len));
                assert_eq!(peer.reply(0).map(|reply| reply.errno), Some(Errno::Inval.code()));
                peer.is_in_step(ground);
            }));
        }
    }
    cases
}

/// The error, 0 for success; `None` where the connection ends.
fn expected(form: Form, command: u16, offset: u64, len: u64) -> Option<u32> {
    let most = if form == Form::Extended { PAYLOAD_MAX } else { SKIP_MAX };
    if command == NBD_CMD_WRITE && len > most {
        return None;
    }
    let chunks = form != Form::Simple;
    let errno = match command {
        NBD_CMD_BLOCK_STATUS if !chunks || len == 0 => Errno::Inval,
        NBD_CMD_READ if len > PAYLOAD_MAX && chunks => Errno::Overflow,
        NBD_CMD_READ | NBD_CMD_WRITE if len > PAYLOAD_MAX => Errno::Inval,
        _ if offset.checked_add(len).is_some_and(|end| end <= SIZE) => return Some(0),
        NBD_CMD_WRITE | NBD_CMD_WRITE_ZEROES => Errno::NoSpc,
        _ => Errno::Inval,
    };
    Some(errno.code())
}
