//! Golden bytes of replies.

use super::super::reply::{self, Place};
use super::super::wire::*;
use super::hex;

const COOKIE: u64 = 0x0102_0304_0506_0708;

fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    hex(&out)
}

#[test]
fn golden_simple() {
    assert_eq!(bytes(|out| reply::simple(out, COOKIE, None)), "67446698000000000102030405060708");
    let failed = bytes(|out| reply::simple(out, COOKIE, Some(Errno::Shutdown)));
    assert_eq!(failed, "674466980000006c0102030405060708");
}

#[test]
fn golden_chunks() {
    let head = |flags: &str, kind: &str, len: &str| format!("668e33ef{flags}{kind}0102030405060708{len}");
    assert_eq!(bytes(|out| reply::none(out, COOKIE)), head("0001", "0000", "00000000"));
    assert_eq!(
        bytes(|out| reply::offset_data(out, Place::Last, COOKIE, 0x1000, 512)),
        head("0001", "0001", "00000208") + "0000000000001000"
    );
    assert_eq!(
        bytes(|out| reply::error(out, Place::Last, COOKIE, Errno::Inval, "no")),
        head("0001", "8001", "00000008") + "00000016" + "0002" + "6e6f"
    );
    assert_eq!(
        bytes(|out| reply::error_offset(out, Place::More, COOKIE, Errno::Io, "", 0x2000)),
        head("0000", "8002", "0000000e") + "00000005" + "0000" + "0000000000002000"
    );
    let status = [(4096, NBD_STATE_HOLE | NBD_STATE_ZERO), (u32::MAX, 0)];
    let written = bytes(|out| reply::block_status(out, Place::More, COOKIE, 2, &status));
    assert_eq!(written, head("0000", "0005", "00000014") + "00000002" + "0000100000000003" + "ffffffff00000000");
    assert_eq!(written.len() / 2, reply::block_status_len(2));
}

#[test]
fn texts_are_cut_between_characters_and_headers_stay_bounded() {
    let long = "é".repeat(3000);
    assert_eq!(reply::cut(&long).len(), reply::TEXT_MAX);
    assert_eq!(reply::cut(&long[2..]).len() % 2, 0);
    let mut out = Vec::new();
    reply::error_offset(&mut out, Place::Last, COOKIE, Errno::Io, &long, 1);
    assert_eq!(out.len(), reply::HEADER_MAX);
}
