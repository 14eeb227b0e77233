//! What nodes say to each other when a link begins, and the lines by which they are known.

use keymoult::cluster::identity::NodePublic;
use keymoult::cluster::link::frame::{Kind, encode};
use keymoult::cluster::link::hello::{Capabilities, Hello, VERSIONS, reason};

fn hello(versions: (u16, u16), software: &str, suites: u16) -> Vec<u8> {
    let capabilities = Capabilities { software: software.into(), suites: (1..=suites).collect(), volumes: 64 };
    let (node, cluster) = ("node-a".parse().unwrap(), "lab".into());
    Hello { versions, node, cluster, capabilities, frame_max: 1 << 20, session: [7; 16] }.encode()
}

pub fn links() -> Vec<Vec<u8>> {
    let good = encode(Kind::Hello, &hello(VERSIONS, "0.1.0", 3));
    let skipped = [&[0, 0, 0, 2, 0x81][..], b"xy"].concat();
    let talk =
        [good.clone(), encode(Kind::Ping, b""), encode(Kind::Pong, b"12345"), skipped, encode(Kind::Data, &[9; 40])];
    let key = |byte: u8| [byte; 32];
    let public = NodePublic { name: "node-a".parse().unwrap(), sign: key(1), seal: key(2) }.to_string();
    let cases: Vec<(u8, Vec<u8>)> = vec![
        (255, good.clone()),
        (0, talk.concat()),
        (6, talk.concat()),
        (30, encode(Kind::Hello, &hello((2, 3), "", 0))),
        (30, encode(Kind::Hello, &hello(VERSIONS, &"v".repeat(64), 64))),
        (30, encode(Kind::Refused, &reason("no common version\n\u{1b}[2J"))),
        (4, vec![0, 0, 0x10, 1, 1]),
        (4, vec![0, 0x10, 0, 1, 5]),
        (4, vec![0xff, 0xff, 0xff, 0xff, 5]),
        (4, vec![0, 0, 0, 0, 6]),
        (200, public.clone().into_bytes()),
        (200, public.replace("01", "02").into_bytes()),
        (3, good[..30].to_vec()),
    ];
    cases.into_iter().map(|(cut, bytes)| [vec![cut], bytes].concat()).collect()
}
