//! Requests: what is admitted, and which error the rest gets.

use super::super::request::{Command, Header, PAYLOAD_SKIP_MAX, Refusal, Terms, Verdict, judge};
use super::super::wire::*;

const SIZE: u64 = 1 << 20;
const OPEN: Terms = Terms { size: SIZE, read_only: false, structured: true, contexts: true, fast_zero: true };

fn header(command: u16, flags: u16, offset: u64, length: u64) -> Header {
    Header { flags, command, cookie: 7, offset, length }
}

fn errno(header: Header, terms: &Terms) -> Option<Errno> {
    match judge(&header, terms) {
        Verdict::Refuse(Refusal { errno, skip, .. }) => {
            assert_eq!(skip, header.payload(), "the payload is always consumed");
            Some(errno)
        }
        _ => None,
    }
}

#[test]
fn golden_header() {
    let mut bytes = [0; REQUEST_LEN];
    bytes[..4].copy_from_slice(&[0x25, 0x60, 0x95, 0x13]);
    bytes[4..8].copy_from_slice(&[0, 1, 0, 6]);
    bytes[8..16].copy_from_slice(b"COOKIES!");
    bytes[16..24].copy_from_slice(&0x0102_0304_0506_0708u64.to_be_bytes());
    bytes[24..].copy_from_slice(&0xfffe_0001u32.to_be_bytes());
    let expected = Header {
        flags: NBD_CMD_FLAG_FUA,
        command: NBD_CMD_WRITE_ZEROES,
        cookie: u64::from_be_bytes(*b"COOKIES!"),
        offset: 0x0102_0304_0506_0708,
        length: 0xfffe_0001,
    };
    assert_eq!(Header::parse(&bytes), Some(expected));
    for bit in 0..32 {
        let mut wrong = bytes;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Header::parse(&wrong), None, "magic bit {bit}");
    }
}

#[test]
fn beyond_the_end_is_enospc_for_what_stores_and_einval_for_the_rest() {
    let cases = [(SIZE - 1, 2), (SIZE, 1), (u64::MAX, 1), (u64::MAX - 1, 1 << 20)];
    for (offset, length) in cases {
        for command in [NBD_CMD_WRITE, NBD_CMD_WRITE_ZEROES] {
            assert_eq!(errno(header(command, 0, offset, length), &OPEN), Some(Errno::NoSpc));
        }
        for command in [NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_BLOCK_STATUS] {
            assert_eq!(errno(header(command, 0, offset, length), &OPEN), Some(Errno::Inval));
        }
    }
    let last = judge(&header(NBD_CMD_READ, 0, SIZE - 1, 1), &OPEN);
    assert_eq!(last, Verdict::Run(Command::Read { offset: SIZE - 1, len: 1, dont_fragment: false }));
}

#[test]
fn read_only_exports_refuse_writes_before_anything_else_about_them() {
    let terms = Terms { read_only: true, ..OPEN };
    for command in [NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES] {
        assert_eq!(errno(header(command, 0, 0, 4096), &terms), Some(Errno::Perm));
        assert_eq!(errno(header(command, 0, u64::MAX, 4096), &terms), Some(Errno::Perm));
        assert_eq!(errno(header(command, 0, 0, 0), &terms), Some(Errno::Perm));
    }
    assert_eq!(errno(header(NBD_CMD_READ, 0, 0, 4096), &terms), None);
    assert_eq!(errno(header(NBD_CMD_FLUSH, 0, 0, 0), &terms), None);
}

/// Every flag word on every type: admitted exactly where the specification documents the flag.
#[test]
fn flags_apply_only_where_documented() {
    let fua = NBD_CMD_FLAG_FUA;
    let applicable = |command, structured| match command {
        NBD_CMD_READ if structured => fua | NBD_CMD_FLAG_DF,
        NBD_CMD_WRITE_ZEROES => fua | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
        NBD_CMD_BLOCK_STATUS => fua | NBD_CMD_FLAG_REQ_ONE,
        _ => fua,
    };
    for structured in [true, false] {
        let terms = Terms { structured, ..OPEN };
        for command in [0, 1, 3, 4, 5, 6, 7] {
            if command == NBD_CMD_BLOCK_STATUS && !structured {
                continue;
            }
            let length = if command == NBD_CMD_FLUSH { 0 } else { 512 };
            for flags in 0..=u16::MAX {
                let fast = NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
                if command == NBD_CMD_WRITE_ZEROES && flags & fast == fast {
                    continue;
                }
                let refused = errno(header(command, flags, 0, length), &terms);
                let expected = (flags & !applicable(command, structured) != 0).then_some(Errno::Inval);
                assert_eq!(refused, expected, "command {command} flags {flags:#06x}");
            }
        }
    }
}

#[test]
fn unknown_types_are_einval_and_have_no_payload() {
    for command in 8..=u16::MAX {
        let verdict = judge(&header(command, 0, 0, 4096), &OPEN);
        assert!(matches!(verdict, Verdict::Refuse(Refusal { errno: Errno::Inval, skip: 0, .. })), "{command}");
    }
}

#[test]
fn payloads_have_a_maximum_and_a_point_of_no_return() {
    let max = u64::from(crate::limits::NBD_PAYLOAD_MAX);
    let terms = Terms { size: 1 << 40, ..OPEN };
    assert_eq!(errno(header(NBD_CMD_WRITE, 0, 0, max), &terms), None);
    assert_eq!(errno(header(NBD_CMD_WRITE, 0, 0, max + 1), &terms), Some(Errno::Inval));
    assert_eq!(errno(header(NBD_CMD_READ, 0, 0, max + 1), &terms), Some(Errno::Overflow));
    let simple = Terms { structured: false, ..terms };
    assert_eq!(errno(header(NBD_CMD_READ, 0, 0, max + 1), &simple), Some(Errno::Inval));
    assert_eq!(judge(&header(NBD_CMD_WRITE, 0, 0, PAYLOAD_SKIP_MAX + 1), &terms), Verdict::Hangup);
    // What carries no payload may be as long as the export.
    for command in [NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES, NBD_CMD_BLOCK_STATUS] {
        assert_eq!(errno(header(command, 0, 0, u64::from(u32::MAX)), &terms), None);
    }
}

#[test]
fn nothing_asked_is_nothing_done() {
    for command in [NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES] {
        assert_eq!(judge(&header(command, 0, 0, 0), &OPEN), Verdict::Nothing);
    }
    assert_eq!(errno(header(NBD_CMD_BLOCK_STATUS, 0, 0, 0), &OPEN), Some(Errno::Inval));
}

#[test]
fn a_flush_has_no_range_and_status_needs_a_context() {
    assert_eq!(judge(&header(NBD_CMD_FLUSH, NBD_CMD_FLAG_FUA, 0, 0), &OPEN), Verdict::Run(Command::Flush));
    assert_eq!(errno(header(NBD_CMD_FLUSH, 0, 1, 0), &OPEN), Some(Errno::Inval));
    assert_eq!(errno(header(NBD_CMD_FLUSH, 0, 0, 1), &OPEN), Some(Errno::Inval));
    let status = header(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 0, 512);
    assert_eq!(judge(&status, &OPEN), Verdict::Run(Command::Status { offset: 0, len: 512, one: true }));
    assert_eq!(errno(status, &Terms { contexts: false, ..OPEN }), Some(Errno::Inval));
    assert_eq!(errno(status, &Terms { structured: false, ..OPEN }), Some(Errno::Inval));
}

#[test]
fn zeros_are_fast_only_where_a_hole_may_be_made() {
    let fast = NBD_CMD_FLAG_FAST_ZERO;
    let zeroes = |flags| header(NBD_CMD_WRITE_ZEROES, flags, 0, 4096);
    assert_eq!(errno(zeroes(fast), &OPEN), None);
    assert_eq!(errno(zeroes(fast | NBD_CMD_FLAG_NO_HOLE), &OPEN), Some(Errno::NotSup));
    assert_eq!(errno(zeroes(fast), &Terms { fast_zero: false, ..OPEN }), Some(Errno::NotSup));
    assert_eq!(errno(zeroes(0), &Terms { fast_zero: false, ..OPEN }), None);
    let beyond = header(NBD_CMD_WRITE_ZEROES, fast | NBD_CMD_FLAG_NO_HOLE, SIZE, 4096);
    assert_eq!(errno(beyond, &OPEN), Some(Errno::NoSpc), "the range comes first");
}

#[test]
fn disconnect_is_never_refused() {
    for flags in [0, u16::MAX] {
        let verdict = judge(&header(NBD_CMD_DISC, flags, u64::MAX, u64::from(u32::MAX)), &OPEN);
        assert_eq!(verdict, Verdict::Run(Command::Disconnect));
    }
}
