//! Block status with a payload (extended headers): payloads that are too short, too long, or name what was not selected.

use keymoult::nbd::wire::*;

use crate::ground::{Case, Ground, SIZE, case};
use crate::peer::{Form, Peer, fixed, info, option, queries, request};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for len in (0..12).chain([13, 15, 17, 100, 4096]) {
        cases.push(row(format!("a payload of {len} bytes"), move |_| vec![0; len]));
    }
    cases.push(row("a context that was not selected", |id| ask(4096, &[id + 100])));
    cases.push(row("a context twice", |id| ask(4096, &[id, id])));
    cases.push(row("a length of 0", |id| ask(0, &[id])));
    cases.push(row("a length beyond the end", |id| ask(SIZE + 1, &[id])));
    cases.push(row("a length that overflows", |id| ask(u64::MAX, &[id])));
    cases.push(case("a payload of 32 MiB and one byte", |ground| {
        let (mut peer, _) = open(ground);
        peer.send(&request(Form::Extended, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 5, 0, (32 << 20) + 1));
        peer.is_closed();
    }));
    cases.push(case("a payload that says what it should", |ground| {
        let (mut peer, id) = open(ground);
        send(&mut peer, &ask(4096, &[id]));
        assert_eq!(peer.reply(0).map(|reply| (reply.cookie, reply.errno)), Some((5, 0)));
        peer.is_in_step(ground);
    }));
    cases
}

/// A payload, made with the id of the selected context, that must be EINVAL.
fn row(name: impl Into<String>, payload: impl Fn(u32) -> Vec<u8> + 'static) -> Case {
    case(name, move |ground| {
        let (mut peer, id) = open(ground);
        send(&mut peer, &payload(id));
        assert_eq!(peer.reply(0).map(|reply| (reply.cookie, reply.errno)), Some((5, Errno::Inval.code())));
        peer.is_in_step(ground);
    })
}

fn send(peer: &mut Peer, payload: &[u8]) {
    let len = payload.len() as u64;
    let header = request(Form::Extended, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 5, 0, len);
    peer.send(&[header, payload.to_vec()].concat());
}

/// The payload that asks for `len` bytes in these contexts.
fn ask(len: u64, ids: &[u32]) -> Vec<u8> {
    let mut payload = len.to_be_bytes().to_vec();
    ids.iter().for_each(|id| payload.extend(id.to_be_bytes()));
    payload
}

/// A connection in transmission, and the id of its one context.
fn open(ground: &Ground<'_>) -> (Peer, u32) {
    let mut peer = ground.peer();
    peer.form = Form::Extended;
    peer.send(&[fixed(), option(NBD_OPT_EXTENDED_HEADERS, &[])].concat());
    assert_eq!(peer.option_end(NBD_OPT_EXTENDED_HEADERS), NBD_REP_ACK);
    peer.send(&option(NBD_OPT_SET_META_CONTEXT, &queries(b"vol", &[b"base:allocation"])));
    let (_, kind, data) = peer.option_reply().unwrap();
    assert_eq!(kind, NBD_REP_META_CONTEXT);
    assert_eq!(peer.option_end(NBD_OPT_SET_META_CONTEXT), NBD_REP_ACK);
    peer.send(&option(NBD_OPT_GO, &info(b"vol", &[])));
    assert_eq!(peer.option_end(NBD_OPT_GO), NBD_REP_ACK);
    (peer, u32::from_be_bytes(data[..4].try_into().unwrap()))
}
