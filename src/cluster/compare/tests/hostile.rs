//! Replicas that lie, are silent, fail or talk nonsense; bytes that are none of ours.

use proptest::prelude::*;

use super::super::wire::{Answer, Reply};
use super::world::{EXTENT, World, name};
use super::*;
use crate::cluster::record::Role;

const SMALL: u64 = 40 * EXTENT;

/// What comes of a third replica that misbehaves: it is left out, and the difference between the others is found.
fn left_out(misbehave: impl FnOnce(&mut World)) -> String {
    let mut world = World::new(3, SMALL);
    world.flip("b", 5 * EXTENT);
    misbehave(&mut world);
    let report = world.run(true);
    assert_eq!((report.outcome.clone(), report.differing), (Outcome::Done, 4096), "{report:?}");
    assert_eq!(report.left_out.len(), 1, "{:?}", report.left_out);
    assert_eq!(report.left_out[0].node, name("c"));
    report.left_out[0].why.clone()
}

#[test]
fn a_lie_about_the_size_leaves_out_the_liar() {
    let why = left_out(|world| world.replica("c").shape.size = SMALL - EXTENT);
    assert!(why.starts_with("its disk is of 40894464 bytes"), "{why}");
    let why = left_out(|world| world.replica("c").shape.extent = 2 * EXTENT);
    assert!(why.contains("in extents of 2097152"), "{why}");
}

#[test]
fn nonsense_leaves_out_who_says_it() {
    for nonsense in [Vec::new(), vec![0; 100], b"KMCK\x01\x02".to_vec(), vec![0xff; 1 << 20]] {
        let why = left_out(|world| world.replica("c").says = Some((2, nonsense)));
        assert!(why.starts_with("its answer makes no sense"), "{why}");
    }
}

#[test]
fn too_many_digests_or_too_few_or_an_answer_to_something_else_leave_out_who_says_it() {
    let cells = |count: usize| Reply::Cells { target: Generation(1), moving: false, cells: vec![Some([1; 16]); count] };
    let shape = Reply::Shape(Shape { size: SMALL, extent: EXTENT });
    for reply in [cells(0), cells(2), cells(CELLS_MAX), shape] {
        let said = Answer { check: [7; 16], number: 2, reply }.encode();
        let why = left_out(|world| world.replica("c").says = Some((2, said)));
        assert!(why.contains("none to what was asked"), "{why}");
    }
}

#[test]
fn silence_leaves_out_the_silent_after_some_patience() {
    assert_eq!(left_out(|world| world.replica("c").silent_after = Some(0)), "it does not answer");
    assert_eq!(left_out(|world| world.replica("c").silent_after = Some(3)), "it does not answer");
}

#[test]
fn who_keeps_failing_is_left_out_with_its_own_words() {
    assert_eq!(left_out(|world| world.replica("c").fails = Some("the device is gone".into())), "the device is gone");
}

/// Answers to another comparison, to an earlier question, or from a stranger change nothing.
#[test]
fn what_nobody_asked_for_is_not_heard() {
    let settings = Settings {
        check: [7; 16],
        key: CheckKey([9; 32]),
        replicas: vec![name("a"), name("b")],
        data: false,
        bytes_per_s: None,
        from: Cursor::default(),
    };
    let mut comparer = Comparer::start(settings);
    assert_eq!(comparer.tick(0).len(), 2);
    let shape = Reply::Shape(Shape { size: SMALL, extent: EXTENT });
    let said = |check, number| Answer { check, number, reply: shape.clone() }.encode();
    for (from, payload) in
        [("a", said([8; 16], 1)), ("a", said([7; 16], 0)), ("a", said([7; 16], 2)), ("x", said([7; 16], 1))]
    {
        assert_eq!(comparer.heard(1, &name(from), &payload), []);
    }
    comparer.heard(1, &name("x"), b"nonsense");
    assert_eq!(comparer.report().left_out, []);
    assert_eq!(comparer.heard(1, &name("a"), &said([7; 16], 1)), []);
    assert_eq!(comparer.heard(1, &name("a"), &said([7; 16], 1)), [], "twice is once");
    assert_eq!(comparer.heard(1, &name("b"), &said([7; 16], 1)).len(), 2, "and on");
}

#[test]
fn one_replica_is_no_comparison() {
    let report = World::new(1, SMALL).run(true);
    assert_eq!(report.outcome, Outcome::Failed("fewer than two replicas can be compared".into()));
    let mut two = World::new(2, SMALL);
    two.replica("b").silent_after = Some(1);
    let report = two.run(true);
    assert_eq!(report.outcome, Outcome::Failed("fewer than two replicas can be compared".into()));
    assert_eq!(report.left_out[0].node, name("b"));
}

#[test]
fn a_witness_is_told_nothing() {
    let world = World::new(2, SMALL);
    let ask = Ask::Plain { key: CheckKey([1; 32]), first: 0, count: 4096, step: 4096 };
    for ask in [Ask::Shape, ask] {
        let question = Question { check: [7; 16], number: 1, ask }.encode();
        let said = Answer::decode(&answer(&question, Role::Witness, &world.replicas[0]).unwrap()).unwrap();
        assert_eq!(said.reply, Reply::Failed("a witness is not answered".into()));
    }
}

#[test]
fn questions_out_of_bounds_are_not_answered() {
    let plain = |first, count, step| Ask::Plain { key: CheckKey([1; 32]), first, count, step };
    let map = |first, count, step| Ask::Map { first, count, step };
    let world = World::new(2, SMALL);
    for ask in [
        plain(0, WINDOW_MAX + 1, EXTENT),
        plain(0, 0, 4096),
        plain(0, 4096, 512),
        plain(0, 4096, 4097),
        plain(512, 4096, 4096),
        plain(u64::MAX - 4095, 8192, 4096),
        map(0, 0, 1),
        map(0, 1 << 20, 1),
        map(0, 1, 0),
        map(EXTENTS_MAX, 1, 1),
        map(u64::MAX, 2, 1),
    ] {
        let question = Question { check: [7; 16], number: 1, ask: ask.clone() }.encode();
        assert!(answer(&question, Role::Full, &world.replicas[0]).is_err(), "{ask:?}");
    }
}

#[test]
fn shapes_nobody_can_have_are_nonsense() {
    for (size, extent) in [(0, EXTENT), (EXTENT, 0), (EXTENT, EXTENT + 1), (EXTENT, 512), (u64::MAX, 4096)] {
        let said = Answer { check: [7; 16], number: 1, reply: Reply::Shape(Shape { size, extent }) }.encode();
        assert!(Answer::decode(&said).is_err(), "{size} {extent}");
    }
}

fn reply() -> impl Strategy<Value = Reply> {
    let cells = proptest::collection::vec(proptest::option::of(any::<[u8; 16]>()), 0..40);
    prop_oneof![
        "[ -~]{0,80}".prop_map(Reply::Failed),
        (0..1u64 << 30, 12u32..26).prop_map(|(size, bits)| Reply::Shape(Shape { size: size + 1, extent: 1 << bits })),
        (any::<u32>(), any::<bool>(), cells).prop_map(|(target, moving, cells)| Reply::Cells {
            target: Generation(target),
            moving,
            cells
        }),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        Just(Ask::Shape),
        (0..1u64 << 20, 1..1u64 << 12, 1..1u64 << 10).prop_map(|(first, count, step)| Ask::Map { first, count, step }),
        (any::<[u8; 32]>(), 0..1u64 << 30, 1..WINDOW_MAX).prop_map(|(key, first, count)| {
            let (step, key) = (1 << 16, CheckKey(key));
            Ask::Plain { key, first: first << 16, count, step }
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_nothing_shorter_or_longer(
        check in any::<[u8; 16]>(), number in any::<u64>(), ask in ask(), reply in reply(),
    ) {
        let question = Question { check, number, ask };
        let said = Answer { check, number, reply };
        let (asked, answered) = (question.encode(), said.encode());
        prop_assert_eq!(Question::decode(&asked).unwrap(), question);
        prop_assert_eq!(Answer::decode(&answered).unwrap(), said);
        for cut in 0..asked.len() {
            prop_assert!(Question::decode(&asked[..cut]).is_err());
        }
        for cut in 0..answered.len() {
            prop_assert!(Answer::decode(&answered[..cut]).is_err());
        }
        prop_assert!(Question::decode(&[asked.as_slice(), b"\0"].concat()).is_err());
        prop_assert!(Answer::decode(&[answered.as_slice(), b"\0"].concat()).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_is_taken_is_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let framed = [b"KMCK\x01".as_slice(), &bytes].concat();
        for bytes in [&bytes, &framed] {
            if let Ok(question) = Question::decode(bytes) {
                prop_assert_eq!(&question.encode(), bytes);
            }
            if let Ok(answer) = Answer::decode(bytes) {
                prop_assert_eq!(&answer.encode(), bytes);
            }
        }
    }
}
