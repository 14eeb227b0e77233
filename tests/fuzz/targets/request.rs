//! Request headers under any terms: 28 bytes, then size and flags of the export. Promises: a request that is admitted lies
//! inside the export, is not empty, does not write to a read-only export and carries no more payload than a buffer holds;
//! one that is refused says exactly how many bytes follow it.

use keymoult::limits::NBD_PAYLOAD_MAX;
use keymoult::nbd::request::{Command, Header, PAYLOAD_SKIP_MAX, Terms, Verdict, judge};
use keymoult::nbd::wire::{NBD_CMD_WRITE, NBD_REQUEST_MAGIC, REQUEST_LEN};

use crate::support::input::Input;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut head = [0; REQUEST_LEN];
    let given = input.bytes(REQUEST_LEN);
    head[..given.len()].copy_from_slice(given);
    assert_eq!(Header::parse(&head).is_some(), head.starts_with(&NBD_REQUEST_MAGIC.to_be_bytes()));
    head[..4].copy_from_slice(&NBD_REQUEST_MAGIC.to_be_bytes());
    let (flags, size) = (input.u8(), input.u64());
    let terms = Terms {
        size,
        read_only: flags & 1 != 0,
        structured: flags & 2 != 0,
        contexts: flags & 4 != 0,
        fast_zero: flags & 8 != 0,
    };
    let header = Header::parse(&head).unwrap();
    let payload = if header.command == NBD_CMD_WRITE { header.length } else { 0 };
    assert_eq!(header.payload(), payload);
    match judge(&header, &terms) {
        Verdict::Run(command) => admitted(command, &terms),
        Verdict::Nothing => assert_eq!(header.length, 0),
        Verdict::Refuse(refusal) => {
            assert_eq!(refusal.skip, payload);
            assert!(refusal.skip <= PAYLOAD_SKIP_MAX && !refusal.why.is_empty());
        }
        Verdict::Hangup => assert!(payload > PAYLOAD_SKIP_MAX),
    }
}

fn admitted(command: Command, terms: &Terms) {
    let (offset, len, writes) = match command {
        Command::Read { offset, len, dont_fragment } => {
            assert!(len <= NBD_PAYLOAD_MAX && (terms.structured || !dont_fragment));
            (offset, u64::from(len), false)
        }
        Command::Write { offset, len, .. } => {
            assert!(len <= NBD_PAYLOAD_MAX);
            (offset, u64::from(len), true)
        }
        Command::Trim { offset, len, .. } | Command::Zeroes { offset, len, .. } => (offset, len, true),
        Command::Cache { offset, len } => (offset, len, false),
        Command::Status { offset, len, .. } => {
            assert!(terms.structured && terms.contexts);
            (offset, len, false)
        }
        Command::Flush | Command::Disconnect => return,
    };
    assert!(len > 0 && offset.checked_add(len).is_some_and(|end| end <= terms.size));
    assert!(!(writes && terms.read_only));
}
