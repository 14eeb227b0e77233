//! Connections that behave badly in time: byte by byte, all at once, too early, half closed, gone in the middle.

use std::collections::BTreeMap;

use keymoult::nbd::wire::*;

use crate::ground::{Case, Ground, SCRATCH, case};
use crate::peer::{FORMS, Form, Peer, handshake, request};
use crate::support::pattern;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for form in FORMS {
        let name = form.name();
        cases.push(case(format!("byte by byte, {name}"), move |ground| talk(ground, form, 1)));
        cases.push(case(format!("in pieces of 7 bytes, {name}"), move |ground| talk(ground, form, 7)));
        cases.push(case(format!("all at once, before any answer, {name}"), move |ground| {
            talk(ground, form, usize::MAX)
        }));
        cases.push(case(format!("half closed behind requests, {name}"), move |ground| half_closed(ground, form)));
        cases.push(case(format!("half closed behind DISC, {name}"), move |ground| {
            half_closed_behind_disc(ground, form)
        }));
        cases.push(case(format!("the same cookie for everything, {name}"), move |ground| same_cookie(ground, form)));
        cases.push(case(format!("a write behind DISC, {name}"), move |ground| behind_disc(ground, form)));
        cases.push(case(format!("DISC twice, {name}"), move |ground| disc_twice(ground, form)));
        cases.push(case(format!("5000 reads before the first answer is read, {name}"), move |ground| {
            early(ground, form)
        }));
        cases.push(case(format!("gone in the middle of a write, {name}"), move |ground| gone_in_write(ground, form)));
        cases.push(case(format!("gone in the middle of a read, {name}"), move |ground| gone_in_read(ground, form)));
        cases.push(case(format!("gone with every kind of request running, {name}"), move |ground| gone(ground, form)));
        cases.push(case(format!("answers never read, {name}"), move |ground| deaf(ground, form)));
    }
    cases.push(case("connections that go at once", |ground| {
        (0..300).for_each(|_| drop(std::os::unix::net::UnixStream::connect(ground.socket()).unwrap()));
    }));
    cases.push(case("handshakes that go at once", |ground| {
        (0..100).for_each(|_| drop(Peer::open(ground, Form::Structured)));
    }));
    cases.push(case("cookies of all zeros and all ones", |ground| {
        let mut peer = Peer::open(ground, Form::Simple);
        for cookie in [0, u64::MAX, 1 << 63] {
            peer.send(&request(Form::Simple, NBD_CMD_FLUSH, 0, cookie, 0, 0));
            assert_eq!(peer.reply(0).map(|reply| (reply.cookie, reply.errno)), Some((cookie, 0)));
        }
    }));
    cases
}

/// A whole conversation, sent in pieces: handshake, a write, a read of it, DISC.
fn talk(ground: &Ground<'_>, form: Form, piece: usize) {
    let data = pattern(3, 600);
    let bytes = [
        handshake(form, "vol"),
        request(form, NBD_CMD_WRITE, 0, 1, SCRATCH, 600),
        data,
        request(form, NBD_CMD_READ, 0, 2, 4096, 512),
        request(form, NBD_CMD_DISC, 0, 3, 0, 0),
    ];
    let mut peer = ground.peer();
    peer.form = form;
    bytes.concat().chunks(piece.min(1 << 20)).for_each(|piece| peer.send(piece));
    while peer.option_reply().map(|it| (it.0, it.1)) != Some((NBD_OPT_GO, NBD_REP_ACK)) {}
    let replies = gather(&mut peer, &[(1, 0), (2, 512)]);
    assert_eq!(replies[&1], (0, vec![]));
    assert!(replies[&2] == (0, ground.known(4096, 512).to_vec()));
    peer.is_closed();
}

/// Errors and data by cookie. Simple replies to reads are told by their cookies, with the lengths given here.
fn gather(peer: &mut Peer, expected: &[(u64, usize)]) -> BTreeMap<u64, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let simple = peer.form == Form::Simple;
    while found.len() < expected.len() {
        let mut reply = peer.reply(0).expect("every request is answered");
        let (_, len) = expected.iter().find(|(cookie, _)| *cookie == reply.cookie).expect("a cookie that was sent");
        if simple && reply.errno == 0 {
            reply.data = peer.take(*len).unwrap();
        }
        assert!(found.insert(reply.cookie, (reply.errno, reply.data)).is_none(), "answered twice");
    }
    found
}

/// An end without DISC is the end: what was not answered by then is not owed, and what is said is whole and true.
fn half_closed(ground: &Ground<'_>, form: Form) {
    let mut peer = Peer::open(ground, form);
    (0..200).for_each(|cookie| peer.send(&request(form, NBD_CMD_READ, 0, cookie, cookie * 512, 512)));
    peer.half_close();
    while let Some(reply) = peer.reply(512) {
        assert_eq!(reply.errno, 0);
        assert!(reply.data == ground.known(reply.cookie as usize * 512, 512));
    }
    peer.is_closed();
}

/// Behind DISC everything is owed.
fn half_closed_behind_disc(ground: &Ground<'_>, form: Form) {
    let mut peer = Peer::open(ground, form);
    (0..200).for_each(|cookie| peer.send(&request(form, NBD_CMD_READ, 0, cookie, cookie * 512, 512)));
    peer.send(&request(form, NBD_CMD_DISC, 0, 0, 0, 0));
    peer.half_close();
    let expected: Vec<(u64, usize)> = (0..200).map(|cookie| (cookie, 512)).collect();
    for (cookie, (errno, data)) in gather(&mut peer, &expected) {
        assert_eq!(errno, 0);
        assert!(data == ground.known(cookie as usize * 512, 512));
    }
    peer.is_closed();
}

fn same_cookie(ground: &Ground<'_>, form: Form) {
    let mut peer = Peer::open(ground, form);
    (0..50).for_each(|_| peer.send(&request(form, NBD_CMD_READ, 0, 9, 1024, 512)));
    for _ in 0..50 {
        let reply = peer.reply(512).unwrap();
        assert!((reply.cookie, reply.errno) == (9, 0) && reply.data == ground.known(1024, 512));
    }
    peer.is_in_step(ground);
}

fn behind_disc(ground: &Ground<'_>, form: Form) {
    let mut client = ground.client();
    client.write(SCRATCH, &[1; 512]).unwrap();
    let mut peer = Peer::open(ground, form);
    let write = |cookie, byte| [request(form, NBD_CMD_WRITE, 0, cookie, SCRATCH, 512), vec![byte; 512]].concat();
    peer.send(&[write(1, 2), request(form, NBD_CMD_DISC, 0, 2, 0, 0), write(3, 3)].concat());
    assert_eq!(peer.reply(0).map(|reply| (reply.cookie, reply.errno)), Some((1, 0)), "what came before is carried out");
    peer.is_closed();
    assert_eq!(client.read(SCRATCH, 512).unwrap(), [2; 512], "what came behind is not");
}

fn disc_twice(ground: &Ground<'_>, form: Form) {
    let mut peer = Peer::open(ground, form);
    peer.send(&request(form, NBD_CMD_DISC, u16::MAX, 1, u64::MAX, 99).repeat(2));
    peer.is_closed();
}

fn early(ground: &Ground<'_>, form: Form) {
    const COUNT: u64 = 5000;
    let mut peer = Peer::open(ground, form);
    let mut sender = Peer { stream: peer.stream.try_clone().unwrap(), form };
    std::thread::scope(|scope| {
        scope
            .spawn(move || (0..COUNT).for_each(|cookie| sender.send(&request(form, NBD_CMD_READ, 0, cookie, 0, 4096))));
        let expected: Vec<(u64, usize)> = (0..COUNT).map(|cookie| (cookie, 4096)).collect();
        let found = gather(&mut peer, &expected);
        assert!(found.values().all(|(errno, data)| *errno == 0 && data == ground.known(0, 4096)));
    });
}

fn gone_in_write(ground: &Ground<'_>, form: Form) {
    for (len, sent) in [(512, 1), (4096, 4095), (1 << 20, 1), (1 << 20, 300_000), (8 << 20, 5 << 20)] {
        let mut peer = Peer::open(ground, form);
        peer.send(&request(form, NBD_CMD_WRITE, 0, 1, SCRATCH, len));
        peer.send(&vec![4; sent]);
    }
}

fn gone_in_read(ground: &Ground<'_>, form: Form) {
    for take in [0, 1, 17, 4096, 1 << 20] {
        let mut peer = Peer::open(ground, form);
        peer.send(&request(form, NBD_CMD_READ, 0, 1, 0, 4 << 20));
        peer.take(take);
    }
}

fn gone(ground: &Ground<'_>, form: Form) {
    for _ in 0..20 {
        let mut peer = Peer::open(ground, form);
        for (command, len) in [
            (NBD_CMD_READ, 1 << 20),
            (NBD_CMD_TRIM, 1 << 20),
            (NBD_CMD_FLUSH, 0),
            (NBD_CMD_WRITE_ZEROES, 1 << 20),
            (NBD_CMD_CACHE, 1 << 20),
            (NBD_CMD_BLOCK_STATUS, 1 << 20),
        ] {
            let offset = if command == NBD_CMD_FLUSH { 0 } else { SCRATCH };
            peer.send(&request(form, command, 0, 1, offset, len));
        }
        peer.send(&request(form, NBD_CMD_WRITE, 0, 1, SCRATCH, 65536));
        peer.send(&[5; 65536]);
    }
}

fn deaf(ground: &Ground<'_>, form: Form) {
    let mut peer = Peer::open(ground, form);
    // More than any socket buffer holds, of every kind.
    peer.stream.set_write_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    for command in [NBD_CMD_READ, NBD_CMD_BLOCK_STATUS, 99] {
        peer.send(&request(form, command, 0, 1, 0, 1 << 20).repeat(200));
    }
    (0..20).for_each(|_| ground.check());
}
