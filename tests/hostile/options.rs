//! Options with wrong lengths, in wrong order, too many of them.

use keymoult::nbd::wire::*;

use crate::garbage::OPTIONS;
use crate::ground::{Case, case};
use crate::peer::{Form, Peer, fixed, info, option, option_claiming, queries, request};

/// Option data that are kept, bytes.
const KEPT: usize = 64 << 10;
/// Option data that are skipped, bytes.
const SKIPPED: u32 = 32 << 20;
/// Options of one handshake.
const OPTIONS_MAX: usize = 64;

pub fn cases() -> Vec<Case> {
    let mut cases = lengths();
    cases.extend(sequences());
    cases.extend(floods());
    cases
}

/// What an option with data nobody wants, or too many of them, is answered with; `None` for the end of the connection.
fn refusal(number: u32, data: usize) -> Option<u32> {
    match number {
        NBD_OPT_EXPORT_NAME => None,
        NBD_OPT_ABORT => Some(NBD_REP_ACK),
        4 | NBD_OPT_STARTTLS => Some(NBD_REP_ERR_UNSUP),
        _ if data > KEPT => Some(NBD_REP_ERR_TOO_BIG),
        _ => Some(NBD_REP_ERR_INVALID),
    }
}

fn lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, number) in OPTIONS {
        for (what, len) in
            [("junk", 99), ("64 KiB of junk", KEPT), ("more than is kept", KEPT + 1), ("a megabyte", 1 << 20)]
        {
            cases.push(case(format!("{name} with {what}"), move |ground| {
                let mut peer = ground.peer();
                peer.send(&[fixed(), option(number, &vec![0xa5; len])].concat());
                match refusal(number, len) {
                    None => return peer.is_closed(),
                    Some(expected) => assert_eq!(peer.option_end(number), expected),
                }
                if number == NBD_OPT_ABORT { peer.is_closed() } else { peer.still_haggles() }
            }));
        }
        for (what, len) in [("one more than is skipped", SKIPPED + 1), ("four gigabytes", u32::MAX)] {
            cases.push(case(format!("{name} that claims {what}"), move |ground| {
                let mut peer = ground.peer();
                peer.send(&[fixed(), option_claiming(number, len)].concat());
                peer.is_closed();
            }));
        }
    }
    for number in [0, 12, 99, 0x7fff_ffff, u32::MAX] {
        for (what, data) in [("no data", 0), ("data", 40)] {
            cases.push(case(format!("unknown option {number} with {what}"), move |ground| {
                let mut peer = ground.peer();
                peer.send(&[fixed(), option(number, &vec![1; data])].concat());
                assert_eq!(peer.option_end(number), NBD_REP_ERR_UNSUP);
                peer.still_haggles();
            }));
        }
    }
    cases
}

/// Options and how each ends; `None` closes.
type Talk = Vec<(u32, Vec<u8>, Option<u32>)>;

fn sequences() -> Vec<Case> {
    let contexts = |name: &[u8]| queries(name, &[b"base:allocation"]);
    let (ack, invalid) = (Some(NBD_REP_ACK), Some(NBD_REP_ERR_INVALID));
    let all: Vec<(&str, Talk)> = vec![
        (
            "STRUCTURED_REPLY twice",
            vec![(NBD_OPT_STRUCTURED_REPLY, vec![], ack), (NBD_OPT_STRUCTURED_REPLY, vec![], ack)],
        ),
        (
            "STRUCTURED_REPLY after EXTENDED_HEADERS",
            vec![
                (NBD_OPT_EXTENDED_HEADERS, vec![], ack),
                (NBD_OPT_STRUCTURED_REPLY, vec![], Some(NBD_REP_ERR_EXT_HEADER_REQD)),
            ],
        ),
        (
            "EXPORT_NAME after EXTENDED_HEADERS",
            vec![(NBD_OPT_EXTENDED_HEADERS, vec![], ack), (NBD_OPT_EXPORT_NAME, b"vol".to_vec(), None)],
        ),
        ("SET_META_CONTEXT before STRUCTURED_REPLY", vec![(NBD_OPT_SET_META_CONTEXT, contexts(b"vol"), invalid)]),
        ("LIST_META_CONTEXT before STRUCTURED_REPLY", vec![(NBD_OPT_LIST_META_CONTEXT, contexts(b"vol"), invalid)]),
        (
            "SET_META_CONTEXT for no export",
            vec![
                (NBD_OPT_STRUCTURED_REPLY, vec![], ack),
                (NBD_OPT_SET_META_CONTEXT, contexts(b"none"), Some(NBD_REP_ERR_UNKNOWN)),
            ],
        ),
        (
            "INFO of everything, and again",
            vec![
                (NBD_OPT_INFO, info(b"vol", &[0, 1, 2, 3, 3, 3, 99, 65535]), ack),
                (NBD_OPT_INFO, info(b"vol", &[]), ack),
            ],
        ),
        (
            "GO to no export, then on",
            vec![(NBD_OPT_GO, info(b"none", &[]), Some(NBD_REP_ERR_UNKNOWN)), (NBD_OPT_LIST, vec![], ack)],
        ),
    ];
    let row = |(name, talk): (&str, Talk)| {
        case(name, move |ground| {
            let mut peer = ground.peer();
            peer.send(&fixed());
            for (number, data, end) in &talk {
                peer.send(&option(*number, data));
                match end {
                    Some(kind) => assert_eq!(peer.option_end(*number), *kind),
                    None => return peer.is_closed(),
                }
            }
            peer.still_haggles();
        })
    };
    let mut cases: Vec<Case> = all.into_iter().map(row).collect();
    cases.push(case("an option after ABORT", |ground| {
        let mut peer = ground.peer();
        peer.send(&[fixed(), option(NBD_OPT_ABORT, &[]), option(NBD_OPT_LIST, &[])].concat());
        assert_eq!(peer.option_end(NBD_OPT_ABORT), NBD_REP_ACK);
        peer.is_closed();
    }));
    cases.push(case("an option after GO", |ground| {
        let mut peer = Peer::open(ground, Form::Structured);
        peer.send(&[option(NBD_OPT_LIST, &[]), vec![0; 32]].concat());
        peer.is_closed();
    }));
    cases.push(case("a request before GO", |ground| {
        let mut peer = ground.peer();
        peer.send(&[fixed(), request(Form::Simple, NBD_CMD_READ, 0, 1, 0, 512)].concat());
        peer.is_closed();
    }));
    cases.push(case("STARTTLS where there is no TLS, with bytes behind it", |ground| {
        let mut peer = ground.peer();
        peer.send(&[fixed(), option(NBD_OPT_STARTTLS, &[]), option(NBD_OPT_LIST, &[])].concat());
        assert_eq!(peer.option_end(NBD_OPT_STARTTLS), NBD_REP_ERR_UNSUP);
        assert_eq!(peer.option_end(NBD_OPT_LIST), NBD_REP_ACK, "still plaintext, still in step");
        peer.still_haggles();
    }));
    cases
}

fn floods() -> Vec<Case> {
    let mut cases = Vec::new();
    let kinds = [
        ("LIST", NBD_OPT_LIST),
        ("STRUCTURED_REPLY", NBD_OPT_STRUCTURED_REPLY),
        ("unknown option", 77),
        ("STARTTLS", NBD_OPT_STARTTLS),
    ];
    for (name, number) in kinds {
        cases.push(case(format!("{name} {OPTIONS_MAX} times, then once more"), move |ground| {
            let mut peer = ground.peer();
            peer.send(&fixed());
            peer.send(&option(number, &[]).repeat(OPTIONS_MAX + 1));
            (0..OPTIONS_MAX).for_each(|_| {
                peer.option_end(number);
            });
            peer.is_closed();
        }));
        cases.push(case(format!("{name} in a flood whose answers nobody reads"), move |ground| {
            let mut peer = ground.peer();
            peer.send(&[fixed(), option(number, &[]).repeat(10_000)].concat());
            ground.check();
        }));
    }
    cases.push(case("64 options of 64 KiB each", |ground| {
        let mut peer = ground.peer();
        peer.send(&fixed());
        for _ in 0..OPTIONS_MAX {
            peer.send(&option(NBD_OPT_INFO, &vec![0; KEPT]));
            assert_eq!(peer.option_end(NBD_OPT_INFO), NBD_REP_ERR_INVALID);
        }
        peer.send(&option(NBD_OPT_LIST, &[]));
        peer.is_closed();
    }));
    cases
}
