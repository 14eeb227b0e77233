//! Golden bytes of replies, in each form.

use super::super::form::Form;
use super::super::reply::{self, Place, Say, To};
use super::super::wire::*;
use super::hex;

const TO: To = To { cookie: 0x0102_0304_0506_0708, offset: 0x1122_3344_5566_7788 };

fn bytes(form: Form, say: Say<'_>) -> String {
    let mut out = Vec::new();
    say.write(form, TO, &mut out);
    hex(&out)
}

fn simple(errno: &str) -> String {
    format!("67446698{errno}0102030405060708")
}

fn structured(flags: &str, kind: &str, len: &str) -> String {
    format!("668e33ef{flags}{kind}0102030405060708{len}")
}

fn extended(flags: &str, kind: &str, len: &str) -> String {
    format!("6e8a278c{flags}{kind}01020304050607081122334455667788{:0>16}", len)
}

#[test]
fn golden_success_without_data() {
    assert_eq!(bytes(Form::Simple, Say::Done), simple("00000000"));
    assert_eq!(bytes(Form::Structured, Say::Done), simple("00000000"), "allowed for all but reads");
    assert_eq!(bytes(Form::Extended, Say::Done), extended("0001", "0000", "0"));
    assert_eq!(bytes(Form::Simple, Say::Nothing), simple("00000000"));
    assert_eq!(bytes(Form::Structured, Say::Nothing), structured("0001", "0000", "00000000"));
    assert_eq!(bytes(Form::Extended, Say::Nothing), extended("0001", "0000", "0"));
}

#[test]
fn golden_data() {
    let data = |place| Say::Data { place, offset: 0x1000, len: 512 };
    let offset = "0000000000001000";
    assert_eq!(bytes(Form::Simple, data(Place::Last)), simple("00000000"));
    assert_eq!(bytes(Form::Structured, data(Place::Last)), structured("0001", "0001", "00000208") + offset);
    assert_eq!(bytes(Form::Structured, data(Place::More)), structured("0000", "0001", "00000208") + offset);
    assert_eq!(bytes(Form::Extended, data(Place::Last)), extended("0001", "0001", "208") + offset);
    assert_eq!(bytes(Form::Extended, data(Place::More)), extended("0000", "0001", "208") + offset);
}

#[test]
fn golden_errors() {
    let whole = Say::Error { errno: Errno::Inval, text: "no", at: None };
    let place = Say::Error { errno: Errno::Io, text: "", at: Some(0x2000) };
    assert_eq!(bytes(Form::Simple, whole), simple("00000016"));
    assert_eq!(bytes(Form::Simple, place), simple("00000005"));
    let (body, spot) = ("0000001600026e6f", "0000000500000000000000002000");
    assert_eq!(bytes(Form::Structured, whole), structured("0001", "8001", "00000008") + body);
    assert_eq!(bytes(Form::Structured, place), structured("0001", "8002", "0000000e") + spot);
    assert_eq!(bytes(Form::Extended, whole), extended("0001", "8001", "8") + body);
    assert_eq!(bytes(Form::Extended, place), extended("0001", "8002", "e") + spot);
    let numbers = [Errno::Perm, Errno::Io, Errno::NoMem, Errno::Inval, Errno::NoSpc, Errno::Overflow, Errno::NotSup];
    assert_eq!(numbers.map(Errno::code), [1, 5, 12, 22, 28, 75, 95]);
    assert_eq!(Errno::Shutdown.code(), 108);
}

#[test]
fn golden_block_status() {
    let extents = [(4096, NBD_STATE_HOLE | NBD_STATE_ZERO), (0xffff_fe00, 0)];
    let say = Say::Status { place: Place::More, context: 2, extents: &extents };
    let written = bytes(Form::Structured, say);
    assert_eq!(written, structured("0000", "0005", "00000014") + "00000002" + "0000100000000003" + "fffffe0000000000");
    assert_eq!(written.len() / 2, reply::status_len(Form::Structured, 2));

    let extents = [(4096, 3), (1 << 40, 7)];
    let written = bytes(Form::Extended, Say::Status { place: Place::Last, context: 2, extents: &extents });
    let body = ["00000002", "00000002", "00000000000010000000000000000003", "00000100000000000000000000000007"];
    assert_eq!(written, extended("0001", "0006", "28") + &body.concat());
    assert_eq!(written.len() / 2, reply::status_len(Form::Extended, 2));
}

#[test]
fn texts_are_cut_between_characters_and_headers_stay_bounded() {
    let long = "é".repeat(3000);
    assert_eq!(reply::cut(&long).len(), reply::TEXT_MAX);
    assert_eq!(reply::cut(&long[2..]).len() % 2, 0);
    let mut out = Vec::new();
    Say::Error { errno: Errno::Io, text: &long, at: Some(1) }.write(Form::Extended, TO, &mut out);
    assert_eq!(out.len(), reply::HEADER_MAX);
}
