//! Each flag on each command, in each form: where it does not belong it is EINVAL, with the payload consumed.

use keymoult::nbd::wire::*;

use crate::ground::{Case, SCRATCH, case};
use crate::peer::{FORMS, Form, Peer, request};

/// Commands with the length they are given.
pub const COMMANDS: [(&str, u16, u64); 7] = [
    ("READ", NBD_CMD_READ, 512),
    ("WRITE", NBD_CMD_WRITE, 512),
    ("FLUSH", NBD_CMD_FLUSH, 0),
    ("TRIM", NBD_CMD_TRIM, 512),
    ("CACHE", NBD_CMD_CACHE, 512),
    ("WRITE_ZEROES", NBD_CMD_WRITE_ZEROES, 512),
    ("BLOCK_STATUS", NBD_CMD_BLOCK_STATUS, 512),
];

const FLAGS: [(&str, u16); 10] = [
    ("no flag", 0),
    ("FUA", NBD_CMD_FLAG_FUA),
    ("NO_HOLE", NBD_CMD_FLAG_NO_HOLE),
    ("DF", NBD_CMD_FLAG_DF),
    ("REQ_ONE", NBD_CMD_FLAG_REQ_ONE),
    ("FAST_ZERO", NBD_CMD_FLAG_FAST_ZERO),
    ("PAYLOAD_LEN", NBD_CMD_FLAG_PAYLOAD_LEN),
    ("flag 6", 1 << 6),
    ("flag 15", 1 << 15),
    ("all flags", u16::MAX),
];

/// Commands nobody knows.
const UNKNOWN: [u16; 4] = [8, 9, 0x100, u16::MAX];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for form in FORMS {
        for (command_name, command, len) in COMMANDS {
            for (flag_name, flag) in FLAGS {
                // What a block status with a payload says is a table of its own.
                if (form, command, flag) == (Form::Extended, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN) {
                    continue;
                }
                cases.push(case(format!("{command_name} with {flag_name}, {}", form.name()), move |ground| {
                    let offset = if command == NBD_CMD_FLUSH { 0 } else { SCRATCH };
                    let mut peer = Peer::open(ground, form);
                    peer.send(
                        &[request(form, command, flag, 3, offset, len), payload(form, command, flag, len)].concat(),
                    );
                    let data = if command == NBD_CMD_READ { len as usize } else { 0 };
                    let reply = peer.reply(data).expect("an answer");
                    assert_eq!((reply.cookie, reply.errno), (3, expected(form, command, flag)));
                    peer.is_in_step(ground);
                }));
            }
        }
        for command in UNKNOWN {
            for (what, flag, len) in
                [("", 0, 512), (" with a length of 2^32-1", 0, u64::from(u32::MAX)), (" with flags", 0xff, 512)]
            {
                cases.push(case(format!("command {command}{what}, {}", form.name()), move |ground| {
                    let mut peer = Peer::open(ground, form);
                    peer.send(&[request(form, command, flag, 3, 0, len), payload(form, command, flag, len)].concat());
                    let reply = peer.reply(0).expect("an answer");
                    assert_eq!((reply.cookie, reply.errno), (3, Errno::Inval.code()));
                    peer.is_in_step(ground);
                }));
            }
        }
    }
    cases
}

/// The payload that goes with a request: a write has one, and in extended form whatever says so.
fn payload(form: Form, command: u16, flag: u16, len: u64) -> Vec<u8> {
    let has = command == NBD_CMD_WRITE || form == Form::Extended && flag & NBD_CMD_FLAG_PAYLOAD_LEN != 0;
    if has { vec![8; len as usize] } else { Vec::new() }
}

fn expected(form: Form, command: u16, flag: u16) -> u32 {
    let chunks = form != Form::Simple;
    let applies = match flag {
        0 | NBD_CMD_FLAG_FUA => true,
        NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO => command == NBD_CMD_WRITE_ZEROES,
        NBD_CMD_FLAG_DF => command == NBD_CMD_READ && chunks,
        NBD_CMD_FLAG_REQ_ONE => command == NBD_CMD_BLOCK_STATUS,
        NBD_CMD_FLAG_PAYLOAD_LEN => command == NBD_CMD_WRITE && form == Form::Extended,
        _ => false,
    };
    let possible = command != NBD_CMD_BLOCK_STATUS || chunks;
    if applies && possible { 0 } else { Errno::Inval.code() }
}
