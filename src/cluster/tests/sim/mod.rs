//! Real machines and real frames over a network that loses, doubles, delays and reorders, disks that fill and tear, clocks that
//! jump, nodes that crash; everything chosen by a seed. Then all is healed, and what was begun has to come to an end.
//!
//! `KEYMOULT_SIM_SEEDS=first..end` runs other seeds (`tools/model --peers --seed A..B`); a failure prints the seed and what happened
//! up to it.

mod chance;
mod network;

use network::Sim;

const SEEDS: std::ops::Range<u64> = 0..200;

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("KEYMOULT_SIM_SEEDS") else { return SEEDS };
    let ends = text.split_once("..").and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
    ends.unwrap_or_else(|| panic!("KEYMOULT_SIM_SEEDS={text} is not first..end"))
}

#[test]
fn whatever_happens_everybody_agrees_in_the_end() {
    let (mut finished, mut undone, mut led) = (0, 0, 0);
    for seed in seeds() {
        let mut sim = Sim::new(seed);
        let end = sim.chaos().and_then(|()| sim.settle());
        if let Err(why) = end {
            panic!("seed {seed}: {why}\n{}", sim.transcript());
        }
        let record = sim.record();
        finished += usize::from(record.keys.len() > 1 && record.change.target.0 > 1);
        undone += usize::from(record.keys.len() > 1 && record.change.target.0 == 1);
        led += usize::from(record.stamp.epoch > 1);
    }
    println!("{finished} ended under a new generation, {undone} under the first one, {led} under another lead");
    let all = std::env::var_os("KEYMOULT_SIM_SEEDS").is_some();
    assert!(all || (finished > 10 && undone > 10 && led > 10), "{finished}, {undone}, {led}: it is too quiet");
}
