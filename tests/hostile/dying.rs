//! Writes of connections that die, and of several connections to one sector: nothing old lands over what was acknowledged
//! later, and no update is lost.
//!
//! Writes parked behind a rotation's hold are `torture::parked`; here many real connections do it as fast as they can.

use keymoult::nbd::wire::*;

use crate::ground::{Ground, SCRATCH};
use crate::peer::{FORMS, Form, Peer, request};

/// Rounds of each test: connections that die.
const ROUNDS: u8 = 60;

/// A connection sends many writes and dies without reading an answer; then another one writes the same sectors.
#[test]
fn what_the_dead_sent_never_lies_over_newer_data() {
    Ground::with(&[], |ground| {
        let mut client = ground.client();
        for round in 1..=ROUNDS {
            let form = FORMS[usize::from(round) % FORMS.len()];
            let mut dying = Peer::open(ground, form);
            for cookie in 0..64 {
                dying.send(&request(form, NBD_CMD_WRITE, 0, cookie, SCRATCH + cookie % 4 * 512, 4096));
                dying.send(&[0xdd; 4096]);
            }
            // It lives on until something of it was taken up, then dies with the rest under way.
            dying.take(1).unwrap();
            drop(dying);
            // Until the daemon has seen the end, what it sent may be carried out: a write of its own follows each.
            let newer = vec![round; 8192];
            client.write(SCRATCH, &newer).unwrap();
            let first = client.read(SCRATCH, newer.len()).unwrap();
            settle(ground);
            let later = client.read(SCRATCH, newer.len()).unwrap();
            assert!(first == later, "round {round}: something landed after a newer write was read");
        }
    });
}

/// Returns once every worker of the daemon has dealt with what it had: connections made now were served to their ends.
fn settle(ground: &Ground<'_>) {
    for _ in 0..8 {
        let mut client = ground.client();
        client.read(0, 512).unwrap();
        client.disconnect().unwrap();
    }
}

#[test]
fn requests_before_disconnect_are_carried_out_in_every_form() {
    Ground::with(&[], |ground| {
        let mut client = ground.client();
        for (round, form) in (1..=20).flat_map(|round| FORMS.map(|form| (round, form))) {
            client.write(SCRATCH, &[0; 64 << 10]).unwrap();
            let mut peer = Peer::open(ground, form);
            let mut bytes = Vec::new();
            for part in 0..16 {
                bytes.extend(request(form, NBD_CMD_WRITE, 0, part, SCRATCH + part * 4096, 4096));
                bytes.extend([round; 4096]);
            }
            bytes.extend(request(form, NBD_CMD_DISC, 0, 99, 0, 0));
            peer.send(&bytes);
            // The end of the connection is what says that all of it is done.
            peer.rest();
            assert!(client.read(SCRATCH, 64 << 10).unwrap() == vec![round; 64 << 10], "round {round}, {form:?}");
        }
    });
}

/// Every connection owns some bytes of one sector, and only those may ever be lost to nobody.
#[test]
fn writes_to_parts_of_one_sector_lose_no_update() {
    const WRITERS: usize = 8;
    const OWN: usize = 64;
    Ground::with(&[], |ground| {
        let socket = ground.socket();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let socket = &socket;
                scope.spawn(move || {
                    let mut client = crate::support::Client::connect(socket, "vol").unwrap();
                    let place = SCRATCH + (writer * OWN) as u64;
                    for round in 0..150u8 {
                        client.write(place, &[round; OWN]).unwrap();
                        assert_eq!(client.read(place, OWN).unwrap(), [round; OWN], "writer {writer}, round {round}");
                    }
                });
            }
        });
        let sector = ground.client().read(SCRATCH, WRITERS * OWN).unwrap();
        assert!(sector.iter().all(|byte| *byte == 149));
    });
}

/// Far more than a connection may have running, then the end: what was not taken up when the end was seen is dropped, and what
/// was is done before the end is over.
#[test]
fn a_connection_that_ends_behind_its_limits_harms_nobody() {
    Ground::with(&["[limits]", "requests = 4"], |ground| {
        let mut client = ground.client();
        for round in 1..=ROUNDS {
            let mut dying = Peer::open(ground, Form::Structured);
            let write = [request(Form::Structured, NBD_CMD_WRITE, 0, 1, SCRATCH, 512), vec![0xdd; 512]].concat();
            dying.send(&write.repeat(100));
            dying.half_close();
            // All answers there are; the daemon has then let go of the connection.
            dying.rest();
            client.write(SCRATCH, &[round; 512]).unwrap();
            settle(ground);
            assert_eq!(client.read(SCRATCH, 512).unwrap(), [round; 512], "round {round}");
        }
    });
}
