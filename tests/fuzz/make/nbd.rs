//! What clients say: handshakes, requests, connections.

use keymoult::nbd::wire::*;

const FLAGS: u32 = NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES;

fn option(option: u32, data: &[u8]) -> Vec<u8> {
    [&IHAVEOPT.to_be_bytes()[..], &option.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

fn query(export: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = [&text(export)[..], &(queries.len() as u32).to_be_bytes()].concat();
    queries.iter().for_each(|query| data.extend(text(query)));
    data
}

fn info(export: &str, kinds: &[u16]) -> Vec<u8> {
    let mut data = [&text(export)[..], &(kinds.len() as u16).to_be_bytes()].concat();
    kinds.iter().for_each(|kind| data.extend(kind.to_be_bytes()));
    data
}

/// Choice of exports, length of the pieces, flags, then options.
fn handshake(choice: u8, flags: u32, options: &[Vec<u8>]) -> Vec<u8> {
    [&[choice, 6][..], &flags.to_be_bytes(), &options.concat()].concat()
}

pub fn handshakes() -> Vec<Vec<u8>> {
    let contexts = query("v", &["base:allocation", "x-keymoult:generation"]);
    let whole = [
        option(NBD_OPT_LIST, b""),
        option(NBD_OPT_STARTTLS, b""),
        option(NBD_OPT_STRUCTURED_REPLY, b""),
        option(NBD_OPT_LIST_META_CONTEXT, &query("v", &["base:"])),
        option(NBD_OPT_SET_META_CONTEXT, &contexts),
        option(NBD_OPT_INFO, &info("v", &[NBD_INFO_BLOCK_SIZE, NBD_INFO_NAME, NBD_INFO_DESCRIPTION])),
        option(NBD_OPT_GO, &info("v", &[])),
    ];
    vec![
        handshake(1, FLAGS, &whole),
        handshake(2, FLAGS, &[option(NBD_OPT_GO, &info("other", &[NBD_INFO_BLOCK_SIZE])), vec![1, 2, 3]]),
        handshake(1, NBD_FLAG_C_FIXED_NEWSTYLE, &[option(NBD_OPT_EXPORT_NAME, b"v")]),
        handshake(1, 0, &[option(NBD_OPT_EXPORT_NAME, b"")]),
        handshake(1, 0, &[option(NBD_OPT_LIST, b"")]),
        handshake(0, FLAGS, &[option(NBD_OPT_EXPORT_NAME, b"nobody")]),
        handshake(5, FLAGS, &[option(NBD_OPT_GO, &info("v", &[])), option(NBD_OPT_ABORT, b"bye")]),
        handshake(1, FLAGS, &[option(NBD_OPT_LIST, &[7; 600]), option(NBD_OPT_ABORT, b"")]),
        handshake(1, FLAGS, &[option(NBD_OPT_SET_META_CONTEXT, &[7; 600]), option(99, b"x")]),
        handshake(1, FLAGS, &vec![option(NBD_OPT_EXTENDED_HEADERS, b""); 17]),
        handshake(1, 0xffff_ffff, &[]),
        handshake(
            1,
            FLAGS,
            &[
                option(NBD_OPT_EXTENDED_HEADERS, b""),
                option(NBD_OPT_STRUCTURED_REPLY, b""),
                option(NBD_OPT_SET_META_CONTEXT, &contexts),
                option(NBD_OPT_GO, &info("v", &[])),
            ],
        ),
        handshake(1, FLAGS, &[option(NBD_OPT_EXTENDED_HEADERS, b""), option(NBD_OPT_EXPORT_NAME, b"v")]),
    ]
}

pub fn queries() -> Vec<Vec<u8>> {
    vec![
        query("v", &["base:allocation", "x-keymoult:generation", "qemu:dirty-bitmap:x"]),
        query("v", &["base:", "x-keymoult:", ":", ""]),
        query("", &[]),
        [&text("v")[..], &u32::MAX.to_be_bytes()].concat(),
    ]
}

fn request(command: u16, flags: u16, offset: u64, length: u32) -> Vec<u8> {
    let cookie = 0x0102_0304_0506_0708_u64;
    [
        &NBD_REQUEST_MAGIC.to_be_bytes()[..],
        &flags.to_be_bytes(),
        &command.to_be_bytes(),
        &cookie.to_be_bytes(),
        &offset.to_be_bytes(),
        &length.to_be_bytes(),
    ]
    .concat()
}

fn extended_request(command: u16, flags: u16, offset: u64, length: u64) -> Vec<u8> {
    let compact = request(command, flags, offset, 0);
    [&NBD_EXTENDED_REQUEST_MAGIC.to_be_bytes(), &compact[4..24], &length.to_be_bytes()].concat()
}

/// As `targets/request.rs` reads them: a header of 32 bytes, terms, a payload.
pub fn requests() -> Vec<Vec<u8>> {
    let terms = |flags: u8| [&[flags][..], &(1u64 << 20).to_le_bytes()].concat();
    let compact = |command, flags, offset, length| [request(command, flags, offset, length), vec![0; 4]].concat();
    let (extended, structured, writable) = (0x34, 0x32, 8);
    let mut all = Vec::new();
    for command in 0..9 {
        all.push([compact(command, 0, 4096, 8192), terms(structured | writable)].concat());
        all.push([compact(command, 1, 0, 0), terms(1)].concat());
        all.push([compact(command, 0x1f, u64::MAX - 5, u32::MAX), terms(structured)].concat());
        all.push([extended_request(command, 0, 4096, 8192), terms(extended | writable)].concat());
        all.push([extended_request(command, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 8192), terms(extended)].concat());
    }
    let ids = |ids: &[u32]| {
        let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_be_bytes()).collect();
        [&8192u64.to_be_bytes()[..], &ids].concat()
    };
    for payload in [ids(&[1]), ids(&[2, 1]), ids(&[1, 1]), ids(&[]), vec![0; 3]] {
        let flags = NBD_CMD_FLAG_PAYLOAD_LEN | NBD_CMD_FLAG_REQ_ONE;
        let head = extended_request(NBD_CMD_BLOCK_STATUS, flags, 4096, payload.len() as u64);
        all.push([head, terms(extended), payload].concat());
    }
    all
}

/// As `targets/session.rs` reads them: terms, cuts, then requests of kind, offset and length, or bytes as they are.
pub fn sessions() -> Vec<Vec<u8>> {
    let cuts = [3, 0x83, 0, 0x90, 27, 1, 0xff, 100, 0, 0, 5];
    let start = |choice: u8| [&[choice, cuts.len() as u8][..], &cuts].concat();
    let ask = |kind: u8, offset: u32, length: u32| {
        let seed: &[u8] = if matches!(kind >> 4, 1 | 7) || kind & 0xf == 0xf { &[9] } else { &[] };
        [&[kind][..], &offset.to_le_bytes(), &length.to_le_bytes(), seed].concat()
    };
    let every: Vec<u8> = (0..10).flat_map(|kind| ask(kind << 4, 4096 * u32::from(kind), 5000)).collect();
    let long = [ask(0x10, 100, 300_000), ask(0x00, 0, 1_200_000), ask(0x70, 262_000, 1000), ask(0x20, 0, 0)].concat();
    let many: Vec<u8> = (0..40).flat_map(|at| ask(if at % 2 == 0 { 0x10 } else { 0 }, at * 100, 512)).collect();
    let raw = |bytes: &[u8]| [&[0xf0, bytes.len() as u8][..], bytes].concat();
    let mut all: Vec<_> =
        [0, 1, 3, 4, 0x12, 0x16].iter().map(|choice| [start(*choice), every.clone()].concat()).collect();
    all.extend([0, 1, 0x10].map(|choice| [start(choice), long.clone()].concat()));
    all.push([start(3), many.clone()].concat());
    all.push([start(0x12), many].concat());
    // Payloads that are consumed.
    let flagged: Vec<u8> = (0..10).flat_map(|kind| ask(kind << 4 | 0xf, 0, 5000)).collect();
    all.push([start(0x12), flagged].concat());
    all.push([start(1), ask(0, 0, 512), raw(b"garbage and no request header")].concat());
    all.push([start(1), raw(&request(NBD_CMD_WRITE, 0, 0, u32::MAX)), ask(0, 0, 1)].concat());
    all.push([start(0), raw(&request(NBD_CMD_WRITE, 0, u64::MAX, 40)), raw(&[7; 40]), ask(0, 0, 1)].concat());
    // Bytes as they are from the greeting on.
    let handshake = [&FLAGS.to_be_bytes()[..], &option(NBD_OPT_EXPORT_NAME, b"v")].concat();
    all.push([start(8), handshake, request(NBD_CMD_READ, 0, 0, 100), request(NBD_CMD_DISC, 0, 0, 0)].concat());
    all.push([start(8), FLAGS.to_be_bytes().to_vec(), option(NBD_OPT_LIST, b""), option(NBD_OPT_ABORT, b"")].concat());
    all
}
