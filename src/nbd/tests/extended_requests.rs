//! Extended headers: 64-bit lengths, payloads that are said, and block status that names its contexts.

use super::super::form::Form;
use super::super::meta::{Context, Contexts};
use super::super::request::{Command, Header, Refusal, Terms, Verdict, judge, judge_query};
use super::super::wire::*;
use crate::limits::NBD_PAYLOAD_MAX;

const SIZE: u64 = 1 << 50;

fn terms(contexts: &[Context]) -> Terms {
    let mut selected = Contexts::default();
    contexts.iter().for_each(|context| selected.insert(*context));
    Terms { size: SIZE, read_only: false, form: Form::Extended, contexts: selected, fast_zero: true }
}

fn bytes(command: u16, flags: u16, offset: u64, length: u64) -> [u8; EXTENDED_REQUEST_LEN] {
    let mut bytes = [0; EXTENDED_REQUEST_LEN];
    bytes[..4].copy_from_slice(&[0x21, 0xe4, 0x1c, 0x71]);
    bytes[4..6].copy_from_slice(&flags.to_be_bytes());
    bytes[6..8].copy_from_slice(&command.to_be_bytes());
    bytes[8..16].copy_from_slice(b"COOKIES!");
    bytes[16..24].copy_from_slice(&offset.to_be_bytes());
    bytes[24..].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn header(command: u16, flags: u16, offset: u64, length: u64) -> Header {
    Header::parse_extended(&bytes(command, flags, offset, length)).unwrap()
}

fn refused(verdict: Verdict) -> Option<(Errno, u64)> {
    match verdict {
        Verdict::Refuse(Refusal { errno, skip, .. }) => Some((errno, skip)),
        _ => None,
    }
}

#[test]
fn golden_extended_header() {
    let parsed = header(NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 0x0102_0304_0506_0708, 0x0a0b_0c0d_0e0f_1011);
    let cookie = u64::from_be_bytes(*b"COOKIES!");
    let expected = Header {
        flags: NBD_CMD_FLAG_FUA,
        command: NBD_CMD_TRIM,
        cookie,
        offset: 0x0102_0304_0506_0708,
        length: 0x0a0b_0c0d_0e0f_1011,
        payload: 0,
    };
    assert_eq!(parsed, expected);
    assert_eq!(header(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 9).payload, 9);
    assert_eq!(header(NBD_CMD_BLOCK_STATUS, 0, 0, 9).payload, 0);
    for bit in 0..32 {
        let mut wrong = bytes(0, 0, 0, 0);
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Header::parse_extended(&wrong), None, "magic bit {bit}");
    }
}

#[test]
fn lengths_have_64_bits_where_nothing_is_carried() {
    let contexts = terms(&[Context::Allocation]).contexts;
    let cases = [
        (NBD_CMD_TRIM, Command::Trim { offset: 0, len: SIZE, fua: false }),
        (NBD_CMD_CACHE, Command::Cache { offset: 0, len: SIZE }),
        (NBD_CMD_WRITE_ZEROES, Command::Zeroes { offset: 0, len: SIZE, fua: false, no_hole: false }),
        (NBD_CMD_BLOCK_STATUS, Command::Status { offset: 0, len: SIZE, one: false, contexts }),
    ];
    let terms = terms(&[Context::Allocation]);
    for (command, expected) in cases {
        assert_eq!(judge(&header(command, 0, 0, SIZE), &terms), Verdict::Run(expected));
        let beyond = if command == NBD_CMD_WRITE_ZEROES { Errno::NoSpc } else { Errno::Inval };
        assert_eq!(refused(judge(&header(command, 0, 1, SIZE), &terms)), Some((beyond, 0)));
        assert_eq!(refused(judge(&header(command, 0, 2, u64::MAX), &terms)), Some((beyond, 0)), "no wrap around");
    }
    let long = header(NBD_CMD_READ, 0, 0, 1 << 40);
    assert_eq!(refused(judge(&long, &terms)), Some((Errno::Overflow, 0)));
}

#[test]
fn a_payload_beyond_the_maximum_hangs_up_and_an_unwanted_one_is_consumed() {
    let (terms, max, flag) = (terms(&[]), u64::from(NBD_PAYLOAD_MAX), NBD_CMD_FLAG_PAYLOAD_LEN);
    for command in [0, 1, 3, 4, 5, 6, 7, 8, 99, u16::MAX] {
        assert_eq!(judge(&header(command, flag, 0, max + 1), &terms), Verdict::Hangup, "{command}");
        if command != NBD_CMD_WRITE {
            assert_eq!(refused(judge(&header(command, flag, 0, max), &terms)), Some((Errno::Inval, max)), "{command}");
        }
    }
    let whole = Verdict::Run(Command::Write { offset: 0, len: NBD_PAYLOAD_MAX, fua: false });
    assert_eq!(judge(&header(NBD_CMD_WRITE, flag, 0, max), &terms), whole);
    assert_eq!(judge(&header(NBD_CMD_WRITE, flag, 0, 0), &terms), Verdict::Nothing);
}

/// QEMU's client sends its writes without the flag; taken at its word it would write nothing and the stream be lost.
#[test]
fn a_write_has_its_payload_whether_it_says_so_or_not() {
    for flags in [0, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_FLAG_FUA] {
        let write = header(NBD_CMD_WRITE, flags, 4096, 512);
        assert_eq!(write.payload, 512);
        let run = Verdict::Run(Command::Write { offset: 4096, len: 512, fua: flags == NBD_CMD_FLAG_FUA });
        assert_eq!(judge(&write, &terms(&[])), run);
    }
    assert_eq!(judge(&header(NBD_CMD_WRITE, 0, 0, 1 << 40), &terms(&[])), Verdict::Hangup);
}

fn query(length: u64, ids: &[u32]) -> Vec<u8> {
    let mut payload = length.to_be_bytes().to_vec();
    ids.iter().for_each(|id| payload.extend_from_slice(&id.to_be_bytes()));
    payload
}

#[test]
fn block_status_may_name_its_contexts() {
    let terms = terms(&Context::ALL);
    let ask = |payload: &[u8]| {
        let header =
            header(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN | NBD_CMD_FLAG_REQ_ONE, 4096, payload.len() as u64);
        assert_eq!(judge(&header, &terms), Verdict::Query(payload.len()));
        judge_query(&header, payload, &terms)
    };
    for wanted in [&[Context::Allocation][..], &[Context::Generation], &Context::ALL] {
        let mut contexts = Contexts::default();
        wanted.iter().for_each(|context| contexts.insert(*context));
        let ids: Vec<u32> = wanted.iter().rev().map(|context| context.id()).collect();
        let run = Verdict::Run(Command::Status { offset: 4096, len: 1 << 40, one: true, contexts });
        assert_eq!(ask(&query(1 << 40, &ids)), run);
    }
    let wrong = [query(512, &[]), query(512, &[1, 1]), query(512, &[3]), query(512, &[0]), query(0, &[1])];
    for payload in wrong.iter().chain([&query(SIZE, &[1]), &query(512, &[1, 2])[..9].to_vec(), &Vec::new()]) {
        assert_eq!(refused(ask(payload)), Some((Errno::Inval, 0)), "{payload:?}");
    }
}

#[test]
fn block_status_with_a_payload_is_refused_where_it_cannot_be_meant() {
    let (flag, selected) = (NBD_CMD_FLAG_PAYLOAD_LEN, terms(&[Context::Generation]));
    let ask = |len| header(NBD_CMD_BLOCK_STATUS, flag, 0, len);
    assert_eq!(refused(judge(&ask(12), &terms(&[]))), Some((Errno::Inval, 12)), "nothing was selected");
    assert_eq!(refused(judge(&ask(20), &selected)), Some((Errno::Inval, 20)), "more ids than there are contexts");
    let unselected = judge_query(&ask(12), &query(512, &[Context::Allocation.id()]), &selected);
    assert_eq!(refused(unselected), Some((Errno::Inval, 0)), "a context that was not selected");
    let compact = Terms { form: Form::Structured, ..selected };
    let plain = Header { payload: 0, ..ask(12) };
    assert_eq!(refused(judge(&plain, &compact)), Some((Errno::Inval, 0)), "compact requests have no such flag");
}
