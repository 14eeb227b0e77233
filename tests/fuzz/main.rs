//! Every input the fuzzer knows, through every target, without a fuzzer: seeds, what fuzzing found worth keeping, and
//! what once broke something. `tools/fuzz` runs the same targets under libFuzzer.
//!
//! | place | what it holds |
//! |---|---|
//! | `targets/` | what is fuzzed, and what each target promises |
//! | `seeds/` | inputs that `make.rs` makes from golden images and by hand |
//! | `corpus/` | inputs that fuzzing found to reach what no seed reaches; `tools/fuzz --keep TARGET` adds to them |
//! | `crashes/` | inputs that once broke a promise, each under its story |
//! | `dictionaries/` | words for libFuzzer |
//! | `libfuzzer/` | the same targets as a libFuzzer program, built by `tools/fuzz` alone (feature `fuzzing`) |
//!
//! Inputs stand one to a line, in hexadecimal; `-` is the empty one, and `#` begins a comment.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a panic is the report")]

mod corpus;
mod harness;
mod make;
mod support;
mod targets;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use corpus::{Line, encode, names, path, read};
use harness::Target;
use targets::TARGETS;

/// Held by every test: memory is counted for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target {name}"))
}

/// Runs all inputs of a target; says which one it was that broke a promise.
fn replay(name: &str) {
    let _alone = alone();
    let target = target(name);
    let mut ran = 0;
    for folder in ["seeds", "corpus", "crashes"] {
        for (number, line) in read(folder, name) {
            let Line::Input(bytes) = line else { continue };
            ran += 1;
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target.check(&bytes))) {
                eprintln!("{}, line {number}, breaks a promise of target {name}", path(folder, name).display());
                resume_unwind(panic);
            }
        }
    }
    assert!(ran > 0, "target {name} has no input");
}

macro_rules! replays {
    ($($name:ident),*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        #[test]
        fn every_target_is_replayed() {
            let tests: BTreeSet<&str> = [$(stringify!($name)),*].into();
            assert_eq!(tests, TARGETS.iter().map(|target| target.name).collect());
        }
    };
}

replays! {
    api, arguments, audit, canary, config, envelope, generations, handover, handshake, kek_uri, key_file, kmip, link, meta,
    peers, record, replay_ring, request, session, stamp, superblock, tags, transit, volume, wrap, wrapped
}

/// A target that allocates what an input asks for is caught, however short the input.
#[test]
fn a_decoder_that_believes_a_length_is_caught() {
    let _alone = alone();
    fn believes(bytes: &[u8]) {
        let claimed = usize::from(bytes.first().copied().unwrap_or(0)) << 20;
        assert_eq!(Vec::<u8>::with_capacity(claimed).len(), 0);
    }
    let target = Target { name: "believes", run: believes, bound: |len| (64 << 10) + 8 * len };
    target.check(&[0]);
    let caught = catch_unwind(|| target.check(&[1])).unwrap_err();
    assert!(caught.downcast_ref::<String>().unwrap().contains("made it allocate"));
}

/// `KEYMOULT_SEEDS=1` writes them anew.
#[test]
fn the_seeds_are_what_makes_them() {
    let _alone = alone();
    for target in TARGETS {
        let text = make::text(target.name);
        let path = path("seeds", target.name);
        if std::env::var_os("KEYMOULT_SEEDS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "{}: not what tests/fuzz/make.rs makes; KEYMOULT_SEEDS=1 writes it", path.display());
    }
}

#[test]
fn every_file_belongs_to_a_target_and_says_something() {
    let _alone = alone();
    let known: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    for folder in ["seeds", "corpus", "crashes", "dictionaries"] {
        let names = names(folder);
        assert!(names.is_subset(&known), "{folder}: {:?} belong to no target", names.difference(&known));
        if folder == "seeds" {
            assert_eq!(names, known);
        }
        for name in names.iter().filter(|_| folder != "dictionaries") {
            let inputs: Vec<_> =
                read(folder, name).into_iter().filter(|line| matches!(line.1, Line::Input(_))).collect();
            let distinct: BTreeSet<String> = inputs.iter().map(|line| line.1.to_string()).collect();
            assert_eq!(inputs.len(), distinct.len(), "{folder}/{name}.hex holds an input twice");
        }
    }
}

/// Every crash stands right below the comment that tells its story.
#[test]
fn every_crash_has_its_story() {
    let _alone = alone();
    for name in names("crashes") {
        let mut story = false;
        for (number, line) in read("crashes", &name) {
            assert!(story || matches!(line, Line::Comment(_)), "crashes/{name}.hex, line {number}: no story above");
            story = matches!(line, Line::Comment(text) if text.len() > 20);
        }
    }
}

#[test]
fn all_of_it_stays_small() {
    let _alone = alone();
    let folder =
        |folder| names(folder).into_iter().map(move |name| std::fs::metadata(path(folder, &name)).unwrap().len());
    let total: u64 = ["seeds", "corpus", "crashes"].into_iter().flat_map(folder).sum();
    assert!(total <= 1 << 20, "{total} bytes of inputs");
}

#[test]
fn inputs_come_back_from_their_lines() {
    let _alone = alone();
    for bytes in [&b""[..], b"\0", b"\xff\x00abc"] {
        assert_eq!(corpus::decode(&encode(bytes)), Line::Input(bytes.to_vec()));
    }
    assert_eq!(corpus::decode("# why"), Line::Comment("why".into()));
}
