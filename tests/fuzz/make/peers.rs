//! What peers keep and say: the example of their format document, and messages about it.

use keymoult::cluster::durable::Durable;
use keymoult::cluster::message::{Body, Message, Refusal};
use keymoult::cluster::progress::Progress;
use keymoult::cluster::record::{Keyring, Promise, Signed};
use keymoult::cluster::stamp::Stamp;
use keymoult::format::generations::Phase;
use keymoult::units::Generation;

const DOCUMENT: &str = include_str!("../../../src/cluster/FORMAT.md");

fn example() -> Signed {
    let text = DOCUMENT.split("```").nth(1).unwrap().trim_start_matches("text");
    let digits: String = text.split_whitespace().collect();
    let bytes: Vec<u8> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
    Signed { record: Keyring::decode(&bytes).unwrap(), signature: [7; 64] }
}

fn tagged(kind: u8, bytes: Vec<u8>) -> Vec<u8> {
    [vec![kind], bytes].concat()
}

pub fn everything() -> Vec<Vec<u8>> {
    let signed = example();
    let (volume, stamp, hash) = (signed.record.volume, signed.record.stamp, signed.record.hash());
    let generation = Generation(1);
    let name = |text: &str| text.parse().unwrap();
    let promise =
        Promise { epoch: 2, candidate: name("b"), by: name("a"), stamp, hash, highest: generation, signature: [5; 64] };
    let progress = Progress {
        sequence: 1,
        at: 2,
        converged: stamp,
        hindrance: Some("none".into()),
        target: generation,
        phase: Phase::Running,
        held: false,
        census: vec![(generation, 3)],
        verified: 4,
        rate: 5,
        eta_s: Some(6),
        last_verified: 7,
    };
    let key_id = [1; 16];
    let refused = |why| Body::Refused { stamp, why };
    let bodies = vec![
        Body::Put { record: signed.clone(), handover: Some(vec![1, 2, 3]) },
        Body::Ack { stamp, hash, wraps: signed.record.keys[0].wraps.iter().map(|wrap| wrap.wrapped.clone()).collect() },
        refused(Refusal::Epoch { promised: 3 }),
        refused(Refusal::Fork { have: Stamp::new(1, 2) }),
        refused(Refusal::Upgrade("old".into())),
        Body::Beat { committed: stamp, hash, turn: Some(name("a")) },
        Body::Behind { have: stamp },
        Body::Prove { stamp, generation, key_id, cold: true },
        Body::Proven { stamp, generation, key_id, check: key_id, cold: true },
        Body::Report { stamp, generation },
        Body::Reported { stamp, generation, references: Some("1 extent".into()), pins: vec!["a backup".into()] },
        Body::Elect { epoch: 2 },
        Body::Promised { promise: promise.clone(), record: signed.clone() },
        Body::Progress(progress.clone()),
        Body::Check(vec![1, 2, 3]),
    ];
    let durable = Durable {
        promised: 2,
        accepted: signed.clone(),
        committed: signed.clone(),
        closed: [Generation(2)].into(),
        highest: Generation(2),
        held: true,
        out: None,
    };
    let mut inputs: Vec<Vec<u8>> =
        bodies.into_iter().map(|body| tagged(0, Message { volume, body }.encode())).collect();
    inputs.push(tagged(1, signed.record.encode()));
    inputs.push(tagged(2, promise.encode()));
    inputs.push(tagged(3, progress.encode()));
    inputs.push(tagged(4, durable.encode()));
    inputs
}
