//! Extended headers against a volume in memory: long ranges, block status of 64 bits, chosen contexts, sizes that change.

use super::super::Config;
use super::super::form::Form;
use super::super::wire::*;
use super::client::{Client, FORMS, Got, extended_request, request};
use super::memory::Setup;

const TIB: u64 = 1 << 40;
const BOTH: [&str; 2] = ["base:allocation", "x-keymoult:generation"];

/// Context, and (length, flags) descriptors.
fn status(chunk: &Got) -> (bool, u32, Vec<(u64, u64)>) {
    let Got::Chunk { done, kind: NBD_REPLY_TYPE_BLOCK_STATUS_EXT, payload, .. } = chunk else { panic!("{chunk:?}") };
    let mut reader = Reader::new(payload);
    let (context, count) = (reader.u32().unwrap(), reader.u32().unwrap());
    let extents = (0..count).map(|_| (reader.u64().unwrap(), reader.u64().unwrap())).collect();
    reader.end().expect("the count is right");
    (*done, context, extents)
}

#[test]
fn one_request_zeroes_or_trims_a_whole_export() {
    let rig = Setup { len: 1 << 20, size: Some(TIB), ..Setup::default() }.start();
    let mut client = Client::open(&rig, Form::Extended, &[]);
    for (command, flags) in [(NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FUA), (NBD_CMD_TRIM, 0)] {
        assert_eq!(client.write(5000, &[7; 4096]), 0);
        rig.volume.spans.lock().unwrap().clear();
        client.request(command, flags, 1, 100, TIB - 100);
        // Behind it in the stream: taken up once the last part has started.
        client.request(NBD_CMD_FLUSH, 0, 2, 0, 0);
        assert_eq!([client.status(), client.status()], [(0, 1), (0, 2)]);
        let spans = rig.volume.spans.lock().unwrap().clone();
        let (mut at, last) = (100, spans.len() - 1);
        for (index, (offset, len, fua)) in spans.into_iter().enumerate() {
            assert_eq!((offset, fua), (at, flags != 0 && index == last));
            at += len;
        }
        assert_eq!((at, last), (TIB, 4095), "parts of 256 MiB that cover the range");
        assert_eq!(rig.volume.contents(5000..9096), [0; 4096]);
    }
}

#[test]
fn a_long_range_stops_at_a_failure_and_says_where() {
    let rig = Setup { len: 1 << 20, size: Some(TIB), ..Setup::default() }.start();
    let bad = 3 * (256 << 20) + 12_345;
    *rig.volume.bad.lock().unwrap() = bad..bad + 1;
    let mut client = Client::open(&rig, Form::Extended, &[]);
    client.request(NBD_CMD_WRITE_ZEROES, 0, 1, 0, TIB);
    let Got::Chunk { done: true, kind: NBD_REPLY_TYPE_ERROR_OFFSET, payload, .. } = client.reply() else { panic!() };
    assert_eq!(payload[..4], Errno::Io.code().to_be_bytes());
    assert_eq!(payload[payload.len() - 8..], bad.to_be_bytes());
    assert_eq!(rig.volume.spans.lock().unwrap().len(), 3, "nothing behind the failure is touched");
    assert_eq!(client.read(0, 4096), Ok(vec![0; 4096]));
}

/// Every request but a flush can say where it failed.
#[test]
fn errors_of_every_kind_carry_their_offset() {
    let rig = Setup::default().start();
    *rig.volume.bad.lock().unwrap() = 70_000..70_001;
    for form in [Form::Structured, Form::Extended] {
        let mut client = Client::open(&rig, form, &[]);
        let cases = [
            (NBD_CMD_READ, Errno::Io),
            (NBD_CMD_WRITE, Errno::NoSpc),
            (NBD_CMD_TRIM, Errno::Io),
            (NBD_CMD_WRITE_ZEROES, Errno::Io),
        ];
        for (command, errno) in cases {
            client.request(command, 0, 1, 4096, 100_000);
            if command == NBD_CMD_WRITE {
                client.send(&[1; 100_000]);
            }
            let Got::Chunk { done: true, kind, payload, .. } = client.reply() else { panic!("{command}") };
            assert_eq!((kind, &payload[..4]), (NBD_REPLY_TYPE_ERROR_OFFSET, &errno.code().to_be_bytes()[..]));
            assert_eq!(payload[payload.len() - 8..], 70_000u64.to_be_bytes(), "{form:?} {command}");
        }
    }
}

#[test]
fn block_status_tells_a_terabyte_in_one_descriptor() {
    let rig = Setup { len: 1 << 20, size: Some(TIB), ..Setup::default() }.start();
    let mut client = Client::open(&rig, Form::Extended, &BOTH);
    client.request(NBD_CMD_BLOCK_STATUS, 0, 3, 4096, TIB - 4096);
    assert_eq!(status(&client.reply()), (false, 1, vec![(TIB - 4096, 3)]));
    assert_eq!(status(&client.reply()), (true, 2, vec![(TIB - 4096, 7)]));
    assert_eq!(client.write(8192, &[1; 4096]), 0);
    client.request(NBD_CMD_BLOCK_STATUS, 0, 4, 0, TIB);
    assert_eq!(status(&client.reply()).2, [(8192, 3), (4096, 0), (TIB - 12_288, 3)]);
    client.reply();
    // The same volume in 32 bits: descriptors end where they can say no more.
    let mut compact = Client::open(&rig, Form::Structured, &BOTH[..1]);
    compact.request(NBD_CMD_BLOCK_STATUS, 0, 5, 1 << 30, u64::from(u32::MAX));
    let Got::Chunk { kind: NBD_REPLY_TYPE_BLOCK_STATUS, payload, .. } = compact.reply() else { panic!() };
    assert_eq!(payload[4..], [0xff, 0xff, 0xfe, 0, 0, 0, 0, 3]);
}

#[test]
fn block_status_answers_the_contexts_its_payload_names() {
    let rig = Setup { len: 1 << 20, ..Setup::default() }.start();
    let mut client = Client::open(&rig, Form::Extended, &BOTH);
    let ask = |client: &mut Client, flags: u16, payload: &[u8], cut: usize| {
        let flags = flags | NBD_CMD_FLAG_PAYLOAD_LEN;
        let request = extended_request(NBD_CMD_BLOCK_STATUS, flags, 9, 512, payload.len() as u64);
        client.note(9, 512);
        client.send(&[&request, &payload[..cut]].concat());
        client.send(&payload[cut..]);
    };
    let query = |ids: &[u32]| {
        let mut payload = (64u64 << 10).to_be_bytes().to_vec();
        ids.iter().for_each(|id| payload.extend_from_slice(&id.to_be_bytes()));
        payload
    };
    for cut in [0, 1, 8, 11, 12] {
        ask(&mut client, 0, &query(&[2]), cut);
        assert_eq!(status(&client.reply()), (true, 2, vec![(64 << 10, 7)]));
    }
    ask(&mut client, NBD_CMD_FLAG_REQ_ONE, &query(&[2, 1]), 16);
    assert_eq!(status(&client.reply()), (false, 1, vec![(64 << 10, 3)]));
    assert_eq!(status(&client.reply()), (true, 2, vec![(64 << 10, 7)]));
    for wrong in [query(&[]), query(&[1, 1]), query(&[3]), query(&[1, 2, 1]), vec![0; 5], vec![1; 40_000]] {
        ask(&mut client, 0, &wrong, wrong.len() / 2);
        assert_eq!(client.status(), (Errno::Inval.code(), 9), "{} bytes", wrong.len());
    }
    assert_eq!(client.read(0, 512), Ok(vec![0; 512]), "every payload was consumed");
}

#[test]
fn payloads_nobody_wants_are_consumed() {
    let rig = Setup::default().start();
    let mut client = Client::open(&rig, Form::Extended, &[]);
    for command in [NBD_CMD_READ, NBD_CMD_FLUSH, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES, 7, 8, 99] {
        client.note(4, 0);
        client.send(&extended_request(command, NBD_CMD_FLAG_PAYLOAD_LEN, 4, 0, 300_000));
        client.send(&[0x25; 300_000]);
        assert_eq!(client.status(), (Errno::Inval.code(), 4), "command {command}");
    }
    client.note(5, 0);
    client.send(&extended_request(NBD_CMD_WRITE, 0, 5, 0, 4096));
    client.send(&[6; 4096]);
    assert_eq!(client.status(), (0, 5), "a write that does not say so has one all the same");
    assert_eq!(client.read(0, 4096), Ok(vec![6; 4096]));
}

#[test]
fn a_compact_request_ends_an_extended_connection_and_the_reverse() {
    let rig = Setup::default().start();
    for (form, other) in [(Form::Extended, Form::Simple), (Form::Structured, Form::Extended)] {
        let mut client = Client::open(&rig, form, &[]);
        let mut bytes = match other {
            Form::Extended => extended_request(NBD_CMD_FLUSH, 0, 1, 0, 0),
            _ => request(NBD_CMD_FLUSH, 0, 1, 0, 0),
        };
        // As long as the longer header, and in one piece: the server may close before it has read the shorter's end.
        bytes.resize(EXTENDED_REQUEST_LEN, 0);
        client.send(&bytes);
        assert!(client.is_closed());
    }
}

/// There is no message for it in the specification: later handshakes tell the new size, requests go by it at once.
#[test]
fn a_new_size_is_told_to_new_connections_and_holds_for_old_ones() {
    let rig = Setup { len: 1 << 20, config: Config { workers: 1, ..Default::default() }, ..Setup::default() }.start();
    rig.export.set_size(512 << 10);
    let mut old: Vec<Client> = FORMS.iter().map(|form| Client::open(&rig, *form, &[])).collect();
    for client in &mut old {
        assert_eq!(client.size, 512 << 10);
        assert_eq!(client.read(512 << 10, 1), Err(Errno::Inval.code()));
        assert_eq!(client.write(512 << 10, &[1]), Errno::NoSpc.code());
    }
    rig.export.set_size(1 << 20);
    assert_eq!(Client::open(&rig, Form::Extended, &[]).size, 1 << 20);
    for client in &mut old {
        assert_eq!(client.write((1 << 20) - 1, &[1]), 0);
        assert_eq!(client.read((1 << 20) - 1, 1), Ok(vec![1]));
    }
    rig.export.set_size(64 << 10);
    for client in &mut old {
        assert_eq!(client.read((64 << 10) - 1, 2), Err(Errno::Inval.code()));
        client.request(NBD_CMD_WRITE_ZEROES, 0, 7, 64 << 10, 1);
        assert_eq!(client.status(), (Errno::NoSpc.code(), 7));
    }
}
