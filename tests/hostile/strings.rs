//! Names and queries: lengths that lie, bytes that are no text, names that are nearly right.

use keymoult::nbd::wire::*;

use crate::ground::{Case, case};
use crate::peer::{fixed, info, option, queries, string};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, data, end) in informations() {
        for (which, number) in [("INFO", NBD_OPT_INFO), ("GO", NBD_OPT_GO)] {
            let data = data.clone();
            cases.push(case(format!("{which} with {name}"), move |ground| {
                let mut peer = ground.peer();
                peer.send(&[fixed(), option(number, &data)].concat());
                assert_eq!(peer.option_end(number), end);
                peer.still_haggles();
            }));
        }
    }
    for (name, text) in names() {
        cases.push(case(format!("EXPORT_NAME {name}"), move |ground| {
            let mut peer = ground.peer();
            peer.send(&[fixed(), option(NBD_OPT_EXPORT_NAME, &text)].concat());
            peer.is_closed();
        }));
    }
    for (name, data, end) in metadata() {
        for (which, number) in
            [("LIST_META_CONTEXT", NBD_OPT_LIST_META_CONTEXT), ("SET_META_CONTEXT", NBD_OPT_SET_META_CONTEXT)]
        {
            let data = data.clone();
            cases.push(case(format!("{which} with {name}"), move |ground| {
                let mut peer = ground.peer();
                peer.send(&[fixed(), option(NBD_OPT_STRUCTURED_REPLY, &[]), option(number, &data)].concat());
                assert_eq!(peer.option_end(NBD_OPT_STRUCTURED_REPLY), NBD_REP_ACK);
                assert_eq!(peer.option_end(number), end);
                peer.still_haggles();
            }));
        }
    }
    cases
}

/// Names of no export.
fn names() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("unknown", b"none".to_vec()),
        ("that is a prefix", b"vo".to_vec()),
        ("that is longer", b"vol2".to_vec()),
        ("in capitals", b"VOL".to_vec()),
        ("with a zero byte behind", b"vol\0".to_vec()),
        ("with a slash before", b"/vol".to_vec()),
        ("with dots before", b"../vol".to_vec()),
        ("with a line end behind", b"vol\n".to_vec()),
        ("of formats", b"%n%n%s%x".to_vec()),
        ("that is no UTF-8", vec![0xff, 0xfe, 0x80]),
        ("of 4096 bytes", vec![b'a'; 4096]),
        ("of 4097 bytes", vec![b'a'; 4097]),
        ("of 60000 bytes", vec![b'a'; 60_000]),
    ]
}

fn informations() -> Vec<(String, Vec<u8>, u32)> {
    let (invalid, unknown) = (NBD_REP_ERR_INVALID, NBD_REP_ERR_UNKNOWN);
    let mut all: Vec<(String, Vec<u8>, u32)> = Vec::new();
    for (name, text) in names() {
        // A name longer than any string may be, or that is no text, is malformed; any other is just not there.
        let end = if text.len() > STRING_MAX || text[0] == 0xff { invalid } else { unknown };
        all.push((format!("a name {name}"), info(&text, &[]), end));
    }
    let mut short = info(b"vol", &[1, 2]);
    short.pop();
    let mut long = info(b"vol", &[1, 2]);
    long.push(0);
    let claims = |len: u32| [len.to_be_bytes().to_vec(), b"vol\0\0".to_vec()].concat();
    let mut most = string(b"vol");
    most.extend(u16::MAX.to_be_bytes());
    for (name, data) in [
        ("nothing", vec![]),
        ("half a length", vec![0, 0]),
        ("a name of 4 GiB", claims(u32::MAX)),
        ("a name one byte too long", claims(6)),
        ("a name of 2 GiB", claims(1 << 31)),
        ("no count", string(b"vol")),
        ("a count of 65535 and nothing behind", most),
        ("one byte too few", short),
        ("one byte too many", long),
    ] {
        all.push((name.into(), data, invalid));
    }
    all
}

fn metadata() -> Vec<(&'static str, Vec<u8>, u32)> {
    let (ack, invalid) = (NBD_REP_ACK, NBD_REP_ERR_INVALID);
    let mut claims_queries = string(b"vol");
    claims_queries.extend(u32::MAX.to_be_bytes());
    let mut claims_length = string(b"vol");
    claims_length.extend(1u32.to_be_bytes());
    claims_length.extend(u32::MAX.to_be_bytes());
    let mut behind = queries(b"vol", &[b"base:allocation"]);
    behind.push(0);
    let many: Vec<&[u8]> = vec![b"base:allocation"; 1000];
    let unknown: Vec<&[u8]> = vec![b"x:y"; 5000];
    vec![
        ("nothing", vec![], invalid),
        ("no count of queries", string(b"vol"), invalid),
        ("a count of 2^32-1", claims_queries, invalid),
        ("a query of 4 GiB", claims_length, invalid),
        ("a byte too many", behind, invalid),
        ("1000 times the same query", queries(b"vol", &many), ack),
        ("5000 unknown queries", queries(b"vol", &unknown), ack),
        ("a query of colons", queries(b"vol", &[b":::::"]), ack),
        ("a query with zero bytes", queries(b"vol", &[b"base:allocation\0"]), ack),
        ("an export that is not there", queries(b"none", &[b"base:allocation"]), NBD_REP_ERR_UNKNOWN),
    ]
}
