//! Requests: what is admitted, and which error the rest gets.

use super::super::form::Form;
use super::super::meta::{Context, Contexts};
use super::super::request::{Command, Header, PAYLOAD_SKIP_MAX, Refusal, Terms, Verdict, judge};
use super::super::wire::*;

const SIZE: u64 = 1 << 20;

/// A writable export for a client of that form that selected every context.
fn open(form: Form) -> Terms {
    Terms { size: SIZE, read_only: false, form, contexts: all(), fast_zero: true }
}

fn all() -> Contexts {
    let mut contexts = Contexts::default();
    Context::ALL.into_iter().for_each(|context| contexts.insert(context));
    contexts
}

fn header(command: u16, flags: u16, offset: u64, length: u64) -> Header {
    let payload = if command == NBD_CMD_WRITE { length } else { 0 };
    Header { flags, command, cookie: 7, offset, length, payload }
}

/// The same as an extended client sends it.
fn extended(command: u16, flags: u16, offset: u64, length: u64) -> Header {
    let payload = command == NBD_CMD_WRITE || flags & NBD_CMD_FLAG_PAYLOAD_LEN != 0;
    Header { flags, command, cookie: 7, offset, length, payload: if payload { length } else { 0 } }
}

fn errno(header: Header, terms: &Terms) -> Option<Errno> {
    match judge(&header, terms) {
        Verdict::Refuse(Refusal { errno, skip, .. }) => {
            assert_eq!(skip, header.payload, "the payload is always consumed");
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
        payload: 0,
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
            assert_eq!(errno(header(command, 0, offset, length), &open(Form::Structured)), Some(Errno::NoSpc));
        }
        for command in [NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_BLOCK_STATUS] {
            assert_eq!(errno(header(command, 0, offset, length), &open(Form::Structured)), Some(Errno::Inval));
        }
    }
    let last = judge(&header(NBD_CMD_READ, 0, SIZE - 1, 1), &open(Form::Structured));
    assert_eq!(last, Verdict::Run(Command::Read { offset: SIZE - 1, len: 1, dont_fragment: false }));
}

#[test]
fn read_only_exports_refuse_writes_before_anything_else_about_them() {
    let terms = Terms { read_only: true, ..open(Form::Structured) };
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
    let payload = NBD_CMD_FLAG_PAYLOAD_LEN;
    let applicable = |command, form| match command {
        NBD_CMD_READ if form != Form::Simple => fua | NBD_CMD_FLAG_DF,
        NBD_CMD_WRITE if form == Form::Extended => fua | payload,
        NBD_CMD_WRITE_ZEROES => fua | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
        NBD_CMD_BLOCK_STATUS => fua | NBD_CMD_FLAG_REQ_ONE,
        _ => fua,
    };
    for form in [Form::Structured, Form::Simple, Form::Extended] {
        let terms = open(form);
        for command in [0, 1, 3, 4, 5, 6, 7] {
            if command == NBD_CMD_BLOCK_STATUS && form == Form::Simple {
                continue;
            }
            let length = if command == NBD_CMD_FLUSH { 0 } else { 512 };
            for flags in 0..=u16::MAX {
                let fast = NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
                if command == NBD_CMD_WRITE_ZEROES && flags & fast == fast {
                    continue;
                }
                // A block status with a payload has a test of its own.
                if command == NBD_CMD_BLOCK_STATUS && form == Form::Extended && flags & payload != 0 {
                    continue;
                }
                let request = if form == Form::Extended { extended } else { header };
                let refused = errno(request(command, flags, 0, length), &terms);
                let wrong = flags & !applicable(command, form) != 0;
                assert_eq!(refused, wrong.then_some(Errno::Inval), "{form:?} command {command} flags {flags:#06x}");
            }
        }
    }
}

#[test]
fn unknown_types_are_einval_and_have_no_payload() {
    for command in 8..=u16::MAX {
        let verdict = judge(&header(command, 0, 0, 4096), &open(Form::Structured));
        assert!(matches!(verdict, Verdict::Refuse(Refusal { errno: Errno::Inval, skip: 0, .. })), "{command}");
    }
}

#[test]
fn payloads_have_a_maximum_and_a_point_of_no_return() {
    let max = u64::from(crate::limits::NBD_PAYLOAD_MAX);
    let terms = Terms { size: 1 << 40, ..open(Form::Structured) };
    assert_eq!(errno(header(NBD_CMD_WRITE, 0, 0, max), &terms), None);
    assert_eq!(errno(header(NBD_CMD_WRITE, 0, 0, max + 1), &terms), Some(Errno::Inval));
    assert_eq!(errno(header(NBD_CMD_READ, 0, 0, max + 1), &terms), Some(Errno::Overflow));
    let simple = Terms { form: Form::Simple, ..terms };
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
        assert_eq!(judge(&header(command, 0, 0, 0), &open(Form::Structured)), Verdict::Nothing);
    }
    assert_eq!(errno(header(NBD_CMD_BLOCK_STATUS, 0, 0, 0), &open(Form::Structured)), Some(Errno::Inval));
}

#[test]
fn a_flush_has_no_range_and_status_needs_a_context() {
    assert_eq!(
        judge(&header(NBD_CMD_FLUSH, NBD_CMD_FLAG_FUA, 0, 0), &open(Form::Structured)),
        Verdict::Run(Command::Flush)
    );
    assert_eq!(errno(header(NBD_CMD_FLUSH, 0, 1, 0), &open(Form::Structured)), Some(Errno::Inval));
    assert_eq!(errno(header(NBD_CMD_FLUSH, 0, 0, 1), &open(Form::Structured)), Some(Errno::Inval));
    let status = header(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 0, 512);
    let run = Verdict::Run(Command::Status { offset: 0, len: 512, one: true, contexts: all() });
    assert_eq!(judge(&status, &open(Form::Structured)), run);
    assert_eq!(errno(status, &Terms { contexts: Contexts::default(), ..open(Form::Structured) }), Some(Errno::Inval));
    assert_eq!(errno(status, &open(Form::Simple)), Some(Errno::Inval));
}

#[test]
fn zeros_are_fast_only_where_a_hole_may_be_made() {
    let fast = NBD_CMD_FLAG_FAST_ZERO;
    let zeroes = |flags| header(NBD_CMD_WRITE_ZEROES, flags, 0, 4096);
    assert_eq!(errno(zeroes(fast), &open(Form::Structured)), None);
    assert_eq!(errno(zeroes(fast | NBD_CMD_FLAG_NO_HOLE), &open(Form::Structured)), Some(Errno::NotSup));
    assert_eq!(errno(zeroes(fast), &Terms { fast_zero: false, ..open(Form::Structured) }), Some(Errno::NotSup));
    assert_eq!(errno(zeroes(0), &Terms { fast_zero: false, ..open(Form::Structured) }), None);
    let beyond = header(NBD_CMD_WRITE_ZEROES, fast | NBD_CMD_FLAG_NO_HOLE, SIZE, 4096);
    assert_eq!(errno(beyond, &open(Form::Structured)), Some(Errno::NoSpc), "the range comes first");
}

#[test]
fn disconnect_is_never_refused() {
    for flags in [0, u16::MAX] {
        let verdict = judge(&header(NBD_CMD_DISC, flags, u64::MAX, u64::from(u32::MAX)), &open(Form::Structured));
        assert_eq!(verdict, Verdict::Run(Command::Disconnect));
    }
}
