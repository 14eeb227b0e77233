//! The TLS stream in memory, against a library's client and against records that no library sends.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Error};

use super::super::tls::stream::{End, OVERHEAD, RECORD, Room, Stream};
use super::client::pattern;
use super::tls_pki::{ALERT, DATA, Forger, HANDSHAKE, Pki, VERSIONS, Version};

/// A client, a server and the ciphertext between them.
struct Wire {
    client: ClientConnection,
    server: Stream,
    /// Received by the server and not done with.
    cipher: Vec<u8>,
}

impl Wire {
    fn new(version: Version) -> Wire {
        let pki = Pki::new();
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(pki.anonymous(version), name).unwrap();
        Wire { client, server: Stream::new(pki.server()).unwrap(), cipher: Vec::new() }
    }

    /// A connection whose handshake is over.
    fn ready(version: Version) -> Wire {
        let mut wire = Wire::new(version);
        while wire.client.is_handshaking() || wire.server.is_handshaking() {
            wire.carry();
            assert_eq!(wire.open(0), b"");
            wire.answer();
        }
        wire
    }

    /// Brings what the client has to send.
    fn carry(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.cipher).unwrap();
        }
    }

    /// What the server decrypts, at most `room` bytes at a time, cut in two.
    fn open(&mut self, room: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let (mut first, mut rest) = (vec![0; room / 3], vec![0; room - room / 3]);
            let mut into = Room { first: &mut first, rest: &mut rest, filled: 0 };
            let (used, starved) = self.server.open(&mut self.cipher, &mut into);
            let filled = into.filled;
            self.cipher.drain(..used);
            all.extend_from_slice(&[first, rest].concat()[..filled]);
            if filled == 0 || starved && !self.server.has_plaintext() {
                return all;
            }
        }
    }

    /// Hands the client what the server has to say.
    fn answer(&mut self) {
        let says = std::mem::take(self.server.says());
        self.deliver(&says);
    }

    fn deliver(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            self.client.process_new_packets().unwrap();
        }
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let used = self.server.settle(&mut self.cipher);
        self.cipher.drain(..used);
        let mut sealed = std::mem::take(self.server.says());
        for record in plain.chunks(RECORD) {
            let mut out = vec![0; record.len() + OVERHEAD];
            let len = self.server.seal(&mut self.cipher, record, &mut out).unwrap();
            sealed.extend_from_slice(&out[..len]);
        }
        sealed
    }

    /// The client's records from here on are forged.
    fn forge(self) -> (Stream, Forger) {
        assert!(self.cipher.is_empty());
        (self.server, Forger::new(self.client))
    }
}

fn open_all(server: &mut Stream, cipher: &mut Vec<u8>) -> Vec<u8> {
    let (mut all, mut chunk) = (Vec::new(), vec![0; 1000]);
    loop {
        let mut room = Room { first: &mut [], rest: &mut chunk, filled: 0 };
        let (used, _) = server.open(cipher, &mut room);
        let filled = room.filled;
        cipher.drain(..used);
        all.extend_from_slice(&chunk[..filled]);
        if filled == 0 {
            return all;
        }
    }
}

#[test]
fn bytes_come_out_as_they_went_in_both_ways() {
    for version in VERSIONS {
        let mut wire = Wire::ready(version);
        assert!(wire.server.parameters().contains(&format!("{:?}", version.version)), "{}", wire.server.parameters());
        for (len, room) in [(1, 1), (100, 7), (RECORD, RECORD), (RECORD + 1, 4096), (50_000, 1 << 20)] {
            let data = pattern(len, len as u64);
            wire.client.writer().write_all(&data).unwrap();
            wire.carry();
            assert_eq!(wire.open(room), data, "{version:?} {len}");
            let sealed = wire.seal(&data);
            let records = len.div_ceil(RECORD);
            assert!(sealed.len() <= len + records * OVERHEAD);
            let mut got = Vec::new();
            for piece in sealed.chunks(3000) {
                wire.deliver(piece);
                let mut chunk = [0; 65536];
                while let Ok(len @ 1..) = wire.client.reader().read(&mut chunk) {
                    got.extend_from_slice(&chunk[..len]);
                }
            }
            assert_eq!(got, data);
        }
    }
}

#[test]
fn pieces_of_any_size_make_the_same_bytes() {
    for version in VERSIONS {
        let mut wire = Wire::ready(version);
        let data = pattern(20_000, 3);
        wire.client.writer().write_all(&data).unwrap();
        let mut whole = Vec::new();
        while wire.client.wants_write() {
            wire.client.write_tls(&mut whole).unwrap();
        }
        let mut got = Vec::new();
        for byte in whole {
            wire.cipher.push(byte);
            got.extend(wire.open(5000));
            assert!(wire.cipher.len() <= RECORD + OVERHEAD, "no more than a record waits");
        }
        assert_eq!(got, data);
    }
}

#[test]
fn nothing_is_decrypted_while_tls_has_something_to_say() {
    let mut wire = Wire::new(VERSIONS[1]);
    wire.carry();
    assert_eq!(wire.open(0), b"");
    let flight = wire.server.says().clone();
    assert!(!flight.is_empty());
    wire.cipher.extend_from_slice(b"more");
    let mut room = Room { first: &mut [], rest: &mut [], filled: 0 };
    assert_eq!(wire.server.open(&mut wire.cipher, &mut room), (0, false));
    assert_eq!((wire.server.says(), wire.cipher.as_slice()), (&mut flight.clone(), &b"more"[..]));
}

#[test]
fn keys_change_on_either_sides_wish() {
    let mut wire = Wire::ready(VERSIONS[1]);
    for round in 0..3 {
        // The client changes its keys and asks for the same.
        wire.client.refresh_traffic_keys().unwrap();
        wire.client.writer().write_all(b"after").unwrap();
        wire.carry();
        assert_eq!(wire.open(100), b"after", "round {round}");
        let sealed = wire.seal(b"answer");
        assert!(sealed.len() > 6 + 22, "the answer to the change goes first");
        wire.deliver(&sealed);
        let mut got = [0; 6];
        wire.client.reader().read_exact(&mut got).unwrap();
        assert_eq!(&got, b"answer");
    }
}

#[test]
fn both_sides_can_say_that_they_are_done() {
    for version in VERSIONS {
        let mut wire = Wire::ready(version);
        wire.client.writer().write_all(b"last").unwrap();
        wire.client.send_close_notify();
        wire.carry();
        assert_eq!(wire.open(100), b"last");
        assert_eq!(wire.server.end(), Some(&End::Closed));
        let sealed = wire.seal(b"still");
        wire.deliver(&sealed);
        assert!(wire.server.part(&mut wire.cipher));
        assert!(!wire.server.part(&mut wire.cipher), "once");
        wire.answer();
        let mut got = Vec::new();
        wire.client.reader().read_to_end(&mut got).unwrap();
        assert_eq!(got, b"still", "and a clean end, else that is an error");
    }
}

#[test]
fn what_is_no_client_hello_fails_and_is_told_so() {
    let hostile: [&[u8]; 6] = [
        b"IHAVEOPT\0\0\0\x03\0\0\0\0",
        b"GET / HTTP/1.0\r\n\r\n",
        &[0; 64],
        &[0xff; 64],
        &[22, 3, 1, 0xff, 0xff, 1, 2, 3],
        // A finished message first.
        &[22, 3, 1, 0, 4, 20, 0, 0, 0],
    ];
    for (index, bytes) in hostile.into_iter().enumerate() {
        let mut server = Stream::new(Pki::new().server()).unwrap();
        assert_eq!(open_all(&mut server, &mut bytes.to_vec()), b"");
        assert!(matches!(server.end(), Some(End::Failed(_))), "case {index}: {:?}", server.end());
        assert_eq!(server.says().first(), Some(&ALERT), "case {index}");
        assert!(!server.part(&mut []), "there is nothing to part from");
    }
}

#[test]
fn a_handshake_has_an_end() {
    // A hello that claims 60000 bytes, a byte to a record.
    let mut server = Stream::new(Pki::new().server()).unwrap();
    let mut cipher = vec![22, 3, 1, 0, 4, 1, 0, 0xea, 0x60];
    let mut sent = 0;
    while server.end().is_none() {
        cipher.extend_from_slice(&[22, 3, 1, 0, 1, 0]);
        sent += 6;
        assert_eq!(open_all(&mut server, &mut cipher), b"");
        assert!(sent < 200 << 10, "it goes on for ever");
    }
    assert_eq!(server.end(), Some(&End::TooLong));
    assert!(server.has_failed());
}

#[test]
fn a_record_changed_anywhere_yields_nothing() {
    for version in VERSIONS {
        for at in [0, 1, 3, 5, 12, 30, 60] {
            let (mut server, mut forger) = Wire::ready(version).forge();
            let mut cipher = forger.seal(DATA, b"good");
            let mut bad = forger.seal(DATA, &[7; 64]);
            bad[at] ^= 0x40;
            cipher.extend(bad);
            cipher.extend(forger.seal(DATA, b"after"));
            assert_eq!(open_all(&mut server, &mut cipher), b"good", "{version:?} {at}");
            // A longer length makes it wait for more, at most for a record.
            if !server.has_failed() {
                cipher.extend(vec![0; 2 * RECORD]);
                assert_eq!(open_all(&mut server, &mut cipher), b"");
            }
            assert!(server.has_failed(), "{version:?} {at}");
            assert_eq!(server.seal(&mut cipher, b"x", &mut [0; 100]), None, "nothing is said after a failure");
        }
    }
}

#[test]
fn replayed_and_swapped_records_are_refused() {
    for version in VERSIONS {
        for order in [[0, 0], [1, 0]] {
            let (mut server, mut forger) = Wire::ready(version).forge();
            let records = [forger.seal(DATA, b"one"), forger.seal(DATA, b"two")];
            let mut cipher = order.map(|index| records[index].clone()).concat();
            let got = open_all(&mut server, &mut cipher);
            assert!(got.is_empty() || got == b"one", "{got:?}");
            assert!(matches!(server.end(), Some(End::Failed(Error::DecryptError))), "{:?}", server.end());
        }
    }
}

/// The library remembers where in the ciphertext a message began; whoever encrypts meanwhile has to show it that place.
#[test]
fn part_of_a_message_may_wait_while_the_other_side_talks() {
    let (mut server, mut forger) = Wire::ready(VERSIONS[1]).forge();
    // A change of keys is 5 bytes long: 24, a length of 3 bytes, and whether the same is asked for.
    let mut cipher = forger.seal(HANDSHAKE, &[24, 0]);
    assert_eq!(open_all(&mut server, &mut cipher), b"");
    assert!(!cipher.is_empty(), "the library wants to see it again");
    for _ in 0..2 {
        assert_eq!(server.settle(&mut cipher), 0);
        assert!(server.seal(&mut cipher, b"reply", &mut [0; 100]).is_some());
    }
    cipher.extend(forger.seal(HANDSHAKE, &[0, 1, 0]));
    assert_eq!(open_all(&mut server, &mut cipher), b"");
    assert_eq!((server.end(), cipher.len()), (None, 0));
    // Anything else in between is an attack.
    let (mut server, mut forger) = Wire::ready(VERSIONS[1]).forge();
    let mut cipher = [forger.seal(HANDSHAKE, &[24, 0]), forger.seal(DATA, b"data")].concat();
    assert_eq!(open_all(&mut server, &mut cipher), b"");
    assert!(server.has_failed());
}

#[test]
fn renegotiation_is_refused_and_costs_nothing() {
    let (mut server, mut forger) = Wire::ready(VERSIONS[0]).forge();
    // The hello of another handshake, without the header of its record.
    let mut another = Wire::new(VERSIONS[0]);
    another.carry();
    let hello = another.cipher.split_off(5);
    let mut cipher = [forger.seal(HANDSHAKE, &hello), forger.seal(DATA, b"data")].concat();
    assert_eq!(open_all(&mut server, &mut cipher), b"", "the refusal comes first");
    let refusal = std::mem::take(server.says());
    assert_eq!(refusal.first(), Some(&ALERT));
    assert_eq!(open_all(&mut server, &mut cipher), b"data", "the connection goes on");
    let mut cipher = forger.seal(HANDSHAKE, &hello);
    assert_eq!(open_all(&mut server, &mut cipher), b"");
    assert!(server.has_failed(), "who insists is thrown out");
}

#[test]
fn a_flood_of_nothing_is_refused() {
    for (kind, plain) in [(DATA, &[][..]), (HANDSHAKE, &[24, 0, 0, 1, 0])] {
        let (mut server, mut forger) = Wire::ready(VERSIONS[1]).forge();
        let mut cipher = Vec::new();
        let mut floods = 0;
        while !server.has_failed() {
            cipher.extend(forger.seal(kind, plain));
            assert_eq!(open_all(&mut server, &mut cipher), b"");
            floods += 1;
            // After a change of keys this forger's next record is sealed with the old ones, and that is refused as well.
            assert!(floods < 1000, "kind {kind}");
        }
    }
}

#[test]
fn a_stream_is_made_for_one_configuration() {
    let pki = Pki::new();
    let config = pki.server();
    drop(Stream::new(Arc::clone(&config)).unwrap());
    assert_eq!(Arc::strong_count(&config), 1, "nothing is kept of a connection that is over");
}
