//! One connection from greeting to close, on a worker's own table of sessions. The first bytes choose terms and how the
//! stream is cut; then comes what the client says: requests with their payloads, or bytes as they are.
//!
//! Promises: however the stream is cut and however slow the client reads, the volume ends up the same and, as long as the
//! client keeps to the protocol, the same replies are sent; every buffer comes back and the connection ends.

use keymoult::nbd::form::Form;
use keymoult::nbd::wire::{
    IHAVEOPT, NBD_CMD_DISC, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_READ, NBD_CMD_WRITE, NBD_EXTENDED_REQUEST_MAGIC,
    NBD_OPT_EXTENDED_HEADERS, NBD_OPT_GO, NBD_OPT_SET_META_CONTEXT, NBD_OPT_STRUCTURED_REPLY, NBD_REQUEST_MAGIC,
};

use crate::support::input::Input;
use crate::support::peer::{Cuts, Outcome, Peer, SIZE};
use crate::support::replies::split;

/// Most requests of one input.
const REQUESTS_MAX: usize = 64;
/// Most requests longer than [`SHORT`].
const LONG_MAX: usize = 4;
/// Bytes of a short request at most.
const SHORT: u32 = 48 << 10;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.u8();
    let cuts = usize::from(input.u8());
    let cuts = Cuts::By(Input::new(input.bytes(cuts)));
    let read_only = choice & 4 != 0;
    let (stream, proper) = match choice & 8 {
        0 => script(choice, &mut input),
        _ => (input.rest().to_vec(), false),
    };
    let whole = Peer::serve(&stream, Cuts::None, read_only);
    let pieces = Peer::serve(&stream, cuts, read_only);
    assert!(whole.content == pieces.content, "the volume depends on how the stream is cut");
    if proper {
        let (whole, pieces) = (messages(&whole), messages(&pieces));
        assert!(whole == pieces, "{} replies in one piece, {} in many, or others", whole.len(), pieces.len());
    }
}

/// What the client says, and whether it keeps to the protocol.
fn script(choice: u8, input: &mut Input<'_>) -> (Vec<u8>, bool) {
    let mut stream = 3u32.to_be_bytes().to_vec();
    let form = match choice & 0x11 {
        0 => Form::Simple,
        1 => Form::Structured,
        _ => Form::Extended,
    };
    match form {
        Form::Simple => {}
        Form::Structured => option(&mut stream, NBD_OPT_STRUCTURED_REPLY, &[]),
        Form::Extended => option(&mut stream, NBD_OPT_EXTENDED_HEADERS, &[]),
    }
    if choice & 2 != 0 {
        option(&mut stream, NBD_OPT_SET_META_CONTEXT, b"\0\0\0\x01v\0\0\0\x01\0\0\0\x0fbase:allocation");
    }
    option(&mut stream, NBD_OPT_GO, b"\0\0\0\x01v\0\0");
    let mut proper = true;
    let mut long = 0;
    for index in 0..REQUESTS_MAX as u32 {
        if input.is_empty() {
            break;
        }
        let kind = input.u8();
        if kind >= 0xf0 {
            let len = usize::from(input.u8());
            stream.extend_from_slice(input.bytes(len));
            proper = false;
        } else {
            request(&mut stream, form, (kind, index), input, &mut long);
        }
    }
    head(&mut stream, form, (NBD_CMD_DISC, 0), 0, 0, 0);
    (stream, proper)
}

fn option(stream: &mut Vec<u8>, option: u32, data: &[u8]) {
    stream.extend_from_slice(&IHAVEOPT.to_be_bytes());
    stream.extend_from_slice(&option.to_be_bytes());
    stream.extend_from_slice(&(data.len() as u32).to_be_bytes());
    stream.extend_from_slice(data);
}

fn request(stream: &mut Vec<u8>, form: Form, (kind, index): (u8, u32), input: &mut Input<'_>, long: &mut usize) {
    let command = [0, 1, 3, 4, 5, 6, 7, 1, 0, 99][usize::from(kind >> 4) % 10];
    let mut flags = u16::from(kind & 0xf) | u16::from(kind & 1) << 4;
    // A write says that it has a payload; now and then another request does, and has one.
    let payload = command == NBD_CMD_WRITE || (form == Form::Extended && kind & 0xf == 0xf);
    if form == Form::Extended && payload {
        flags |= NBD_CMD_FLAG_PAYLOAD_LEN;
    }
    let (offset, mut length) = (u64::from(input.u32()) % (2 * SIZE as u64), input.u32() % (2 * SIZE as u32));
    if length > SHORT {
        *long += 1;
        length = if *long > LONG_MAX { length % SHORT } else { length };
    }
    // The cookie tells how long the data of a simple reply are.
    let data = if command == NBD_CMD_READ { length } else { 0 };
    head(stream, form, (command, flags), u64::from(index) << 32 | u64::from(data), offset, length);
    if payload {
        let (seed, end) = (input.u8(), stream.len() + length as usize);
        stream.extend([seed, 1, 2, 3, seed, 5, 6].repeat(length as usize / 7 + 1));
        stream.truncate(end);
    }
}

fn head(stream: &mut Vec<u8>, form: Form, (command, flags): (u16, u16), cookie: u64, offset: u64, length: u32) {
    let magic = if form == Form::Extended { NBD_EXTENDED_REQUEST_MAGIC } else { NBD_REQUEST_MAGIC };
    stream.extend_from_slice(&magic.to_be_bytes());
    stream.extend_from_slice(&flags.to_be_bytes());
    stream.extend_from_slice(&command.to_be_bytes());
    stream.extend_from_slice(&cookie.to_be_bytes());
    stream.extend_from_slice(&offset.to_be_bytes());
    if form == Form::Extended {
        stream.extend_from_slice(&[0; 4]);
    }
    stream.extend_from_slice(&length.to_be_bytes());
}

/// The replies in a fixed order: those of different requests may overtake each other.
fn messages(outcome: &Outcome) -> Vec<Vec<u8>> {
    let mut messages = split(&outcome.sent, |cookie| Some(cookie as u32 as usize));
    messages.sort();
    messages
}
