//! Digests of tags and content: the same wherever the content is, whatever key it is under, and in the middle of a rewrite.

use super::*;
use crate::units::Extent;
use crate::volume::replica::{DIGEST_BYTES_MAX, PlainDigest};

const KEY: [u8; 32] = [3; 32];

fn digests(rig: &Rig, step: u64) -> Vec<PlainDigest> {
    rig.volume.plain_digests(&KEY, 0, SIZE, step).unwrap()
}

fn filled(content: &[u8], suite: Suite) -> Rig {
    let mut rig = Rig::new(&small(WriteMode::InPlace), suite, false, EngineKind::AwsLc);
    rig.client.write(0, content).unwrap();
    rig.client.trim(2 * EXTENT, EXTENT).unwrap();
    rig.client.flush().unwrap();
    rig
}

#[test]
fn the_same_content_has_the_same_digests_whatever_encrypts_it() {
    let content = pattern(SIZE, 5);
    let (mut one, mut two) = (filled(&content, Suite::Aes256Xts), filled(&content, Suite::Aes128Xts));
    for step in [4096, 8192, EXTENT] {
        assert_eq!(digests(&one, step), digests(&two, step), "step {step}");
        assert_eq!(digests(&one, step).len() as u64, SIZE / step);
    }
    let before = digests(&one, 4096);
    one.start_rotation(Suite::Aes256Xts);
    while !one.behind().is_empty() {
        one.step(1).unwrap();
        assert_eq!(digests(&one, 4096), before, "also of what is being rewritten");
    }
    let part = two.volume.plain_digests(&KEY, EXTENT, 3 * EXTENT, 4096).unwrap();
    assert_eq!(part, before[16..64]);
    assert_ne!(two.volume.plain_digests(&[4; 32], 0, SIZE, 4096).unwrap()[0], before[0], "another key");
    two.client.write(EXTENT + 4096 + 7, &[1]).unwrap();
    let after = digests(&two, 4096);
    let changed: Vec<usize> = (0..before.len()).filter(|index| before[*index] != after[*index]).collect();
    assert_eq!(changed, [17]);
    let holes: Vec<&PlainDigest> = after[32..48].iter().collect();
    assert!(holes.windows(2).all(|pair| pair[0] != pair[1]), "zeros, each at its own place");
}

#[test]
fn what_cannot_be_read_is_said_to_be_so() {
    let mut rig = filled(&pattern(SIZE, 5), Suite::Aes256Xts);
    let before = digests(&rig, EXTENT);
    let new = rig.start_rotation(Suite::Aes256Xts);
    rig.step(2).unwrap();
    rig.step(2).unwrap();
    rig.pipeline.drain(new).unwrap();
    rig.volume.revoke(OLD, &by(3), &crate::volume::life::SystemClock::default()).unwrap();
    let after = digests(&rig, EXTENT);
    for (extent, (before, after)) in (0..).zip(before.into_iter().zip(after)) {
        match rig.volume.tag(Extent(extent)) {
            OLD => assert_eq!(after, PlainDigest::Closed(OLD)),
            _ => assert_eq!(after, before),
        }
    }
    assert!(rig.volume.census().contains_key(&OLD));
    rig.volume.gates.bar(Extent(0));
    assert_eq!(digests(&rig, EXTENT)[0], PlainDigest::Barred);
}

#[test]
fn one_call_is_bounded() {
    let rig = rig();
    let plain = |offset, len, step| why(rig.volume.plain_digests(&KEY, offset, len, step));
    assert!(plain(0, SIZE + 1, 4096).contains("the volume has"));
    assert!(plain(u64::MAX, 2, 4096).contains("the volume has"));
    for step in [0, 512, 4095, 12288, 2 * EXTENT] {
        assert!(plain(0, SIZE, step).contains("are not possible"), "{step}");
    }
    assert!(plain(4096, 8192, 8192).contains("aligned"));
    assert_eq!(rig.volume.plain_digests(&KEY, SIZE, 0, 4096).unwrap(), []);
    let large = Rig::new(&shape(80 << 20, 4096, 4096, WriteMode::InPlace), Suite::None, false, EngineKind::AwsLc);
    let refused = large.volume.plain_digests(&KEY, 0, DIGEST_BYTES_MAX + 4096, 1 << 16);
    assert!(why(refused).contains("too many"));
    assert_eq!(large.volume.plain_digests(&KEY, 0, 1 << 20, 1 << 16).unwrap().len(), 16);
    assert!(why(rig.volume.map_digests(Extent(5), 2, 1)).contains("no extents 5"));
    assert!(why(rig.volume.map_digests(Extent(u32::MAX), 2, 1)).contains("the volume has 6"));
    assert!(why(rig.volume.map_digests(Extent(0), 2, 0)).contains("not possible"));
}

#[test]
fn tags_have_digests_by_range() {
    let mut rig = filled(&pattern(SIZE, 5), Suite::Aes256Xts);
    let all = |rig: &Rig, per: u32| rig.volume.map_digests(Extent(0), EXTENTS as u32, per).unwrap();
    let before = all(&rig, 2);
    assert_eq!((before.len(), all(&rig, 4).len(), all(&rig, u32::MAX).len()), (3, 2, 1));
    assert_eq!(all(&filled(&pattern(SIZE, 6), Suite::Aes256Xts), 2), before, "of tags, not of content");
    let new = rig.start_rotation(Suite::Aes256Xts);
    let candidates = [Extent(3)];
    rig.pipeline.step(&candidates, new, 0).unwrap();
    rig.pipeline.step(&[], new, 0).unwrap();
    rig.pipeline.drain(new).unwrap();
    let after = all(&rig, 2);
    assert_eq!((before[0] == after[0], before[1] == after[1], before[2] == after[2]), (true, false, true));
    assert_eq!(rig.volume.map_digests(Extent(2), 2, 2).unwrap(), after[1..2]);
}
