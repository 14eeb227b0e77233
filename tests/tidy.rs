//! Tidy is a test: layer edges, the unsafe fence, module docs, sizes, leftovers, private places, dead files.
//!
//! Every rule stands beside a canary that feeds it a fault and sees it caught: a rule that cannot fail is no rule.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "tidy/faults.rs"]
mod faults;
#[path = "tidy/matrix.rs"]
mod matrix;
#[path = "tidy/model.rs"]
mod model;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/secrets.rs"]
mod secrets;
#[path = "tidy/source.rs"]
mod source;

use source::{File, committed, root, rust, src_folders};

fn assert_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} fault(s):\n{}", wrong.len(), wrong.join("\n"));
}

fn assert_caught(wrong: Vec<String>, count: usize) {
    assert_eq!(wrong.len(), count, "a canary was missed, or too much was caught:\n{}", wrong.join("\n"));
}

#[test]
fn layers_point_down() {
    assert_none(rules::layer_edges(&rust(&["src"])));
}

#[test]
fn layers_point_down_canary() {
    let bad = [
        File::fake("src/nbd/session.rs", "use crate::keys::KekUri;"),
        File::fake("src/engine/ring.rs", "use crate::{limits, format::Superblock, units::{self, Extent}};"),
        File::fake("src/crypto/xts.rs", "fn f() { let x = crate::volume::Volume::new(); }"),
        File::fake("src/format/tags.rs", "use std::fs::File;\n#[cfg(test)]\nmod tests {}"),
        File::fake("src/fleet/mod.rs", "//! A layer nobody knows."),
    ];
    assert_caught(rules::layer_edges(&bad), bad.len());
    let good = [
        File::fake(
            "src/nbd/session.rs",
            "// use crate::keys::KekUri;\nuse crate::volume::Volume; const S: &str = \"crate::keys\";",
        ),
        File::fake("src/format/tags.rs", "//! Tags.\n#[cfg(test)]\nmod tests { use std::fs::File; }"),
        File::fake("src/volume/mod.rs", "use crate::{limits, keys::Kek, units::{self, Extent}};"),
    ];
    assert_caught(rules::layer_edges(&good), 0);
}

#[test]
fn every_layer_is_in_the_crate() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (layer, _) in rules::EDGES.iter().filter(|(layer, _)| *layer != "main") {
        assert!(lib.contains(&format!("pub mod {layer};")), "src/lib.rs has no module {layer}");
    }
}

#[test]
fn unsafe_stays_behind_its_fence() {
    assert_none(rules::unsafe_fence(&rust(&["src", "tests"])));
}

#[test]
fn unsafe_fence_canary() {
    let bad = [
        File::fake("src/nbd/session.rs", "fn f() { unsafe { g() } }"),
        File::fake("src/volume/io.rs", "#![allow(unsafe_code, reason = \"speed\")]"),
        File::fake("src/engine/ringleader.rs", "unsafe impl Send for X {}"),
    ];
    assert_caught(rules::unsafe_fence(&bad), bad.len());
    let good = [
        File::fake("src/engine/ring.rs", "fn f() { unsafe { g() } }"),
        File::fake("src/engine/ring/fixed.rs", "fn f() { unsafe { g() } }"),
        File::fake(
            "src/volume/io.rs",
            "// unsafe\nconst S: &str = r#\"unsafe \"quoted\" \"#; /* unsafe /* still */ unsafe */",
        ),
    ];
    assert_caught(rules::unsafe_fence(&good), 0);
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_none(rules::module_docs(&rust(&["src", "tests"])));
}

#[test]
fn module_docs_canary() {
    let bad = [
        File::fake("src/a.rs", "use std::io;\n//! Late."),
        File::fake("src/b.rs", "//! b"),
        File::fake("src/c.rs", ""),
    ];
    assert_caught(rules::module_docs(&bad), bad.len());
}

#[test]
fn files_stay_small() {
    assert_none(rules::file_sizes(&rust(&["src", "tests"])));
}

#[test]
fn file_sizes_canary() {
    let long = "let x = 1;\n".repeat(rules::CODE_LINES_MAX + 1);
    let padded = "let x = 1;\n// a comment\n\n".repeat(rules::CODE_LINES_MAX);
    assert_caught(rules::file_sizes(&[File::fake("src/a.rs", &long), File::fake("src/b.rs", &padded)]), 1);
}

#[test]
fn nothing_is_left_half_done() {
    assert_none(rules::leftovers(&rust(&["src", "tests"])));
}

#[test]
fn leftovers_canary() {
    let bad = [
        File::fake("src/a.rs", "fn f() { todo!() }"),
        File::fake("src/b.rs", "fn f() { unimplemented!(\"later\") }"),
        File::fake("src/c.rs", "fn f() { dbg!(1); }"),
    ];
    assert_caught(rules::leftovers(&bad), bad.len());
}

#[test]
fn no_private_places() {
    assert_none(rules::private_places(&committed()));
}

#[test]
fn private_places_canary() {
    let bad = [
        File::fake("README.md", &format!("see /{}/someone/notes", "home")),
        File::fake("tools/x", &format!("cd '/{}/main'", "work")),
        File::fake("deny.toml", &format!("https://{}.org/simple", "pypi")),
    ];
    assert_caught(rules::private_places(&bad), bad.len());
    assert_caught(
        rules::private_places(&[File::fake("src/a.rs", &format!("{{root}}/{}/x and target/{}/y", "work", "work"))]),
        0,
    );
}

#[test]
fn no_unfinished_merges() {
    assert_none(rules::merge_marks(&committed()));
}

#[test]
fn merge_marks_canary() {
    let bad = ["<", "=", ">"].map(|sign| File::fake("src/a.rs", &format!("fn f() {{}}\n{} ours\n", sign.repeat(7))));
    assert_caught(rules::merge_marks(&bad), bad.len());
    assert_caught(rules::merge_marks(&[File::fake("README.md", "Title\n=========\n")]), 0);
}

#[test]
fn documents_name_every_folder() {
    let documents: Vec<File> =
        committed().into_iter().filter(|file| matches!(file.path.as_str(), "README.md" | "ARCHITECTURE.md")).collect();
    assert_eq!(documents.len(), 2, "README.md and ARCHITECTURE.md both exist");
    assert_none(rules::documented_folders(&src_folders(), &documents));
}

#[test]
fn documented_folders_canary() {
    let documents = [File::fake("README.md", "`src/nbd` speaks to clients")];
    assert_caught(rules::documented_folders(&["nbd".into(), "volume".into()], &documents), 1);
}

#[test]
fn no_dead_files() {
    assert_none(rules::dead_files(&rust(&["src"])));
}

#[test]
fn dead_files_canary() {
    let files = [
        File::fake("src/lib.rs", "pub mod nbd;\n// mod ghost;"),
        File::fake("src/nbd/mod.rs", "mod session;\n#[path = \"tests/session.rs\"]\nmod tests;"),
        File::fake("src/nbd/tests/session.rs", "//! Used by path."),
        File::fake("src/nbd/session.rs", "//! Used."),
        File::fake("src/nbd/old.rs", "//! Dead."),
        File::fake("src/ghost.rs", "//! Only a comment names it."),
    ];
    assert_caught(rules::dead_files(&files), 2);
}

#[test]
fn documents_name_tests_that_exist() {
    let notes: Vec<File> = committed().into_iter().filter(|file| file.path.starts_with("kernel-notes/")).collect();
    assert!(notes.iter().any(|file| file.text.contains("::")), "the notes name no test at all");
    assert_none(rules::named_tests(&notes, &rust(&["src", "tests"])));
}

#[test]
fn named_tests_canary() {
    let notes = [File::fake("kernel-notes/a.md", "see `nbd::tests::gone`, `nbd::tests::here` and `session`")];
    let files = [File::fake("src/nbd/tests/session.rs", "fn here() {} // gone")];
    assert_caught(rules::named_tests(&notes, &files), 1);
}

#[test]
fn key_faults_are_tested() {
    let notes = committed();
    let note = notes.iter().find(|file| file.path == "kernel-notes/key-faults.md").unwrap();
    assert_none(faults::fault_rows(note, &rust(&["src", "tests"])));
}

#[test]
fn key_faults_canary() {
    let row =
        |class: &str, exit: &str, test: &str| format!("| file | open | fault | {class} | {exit} | told | {test} |\n");
    let good = row("tampered", "5", "`transit::opens`, `rules::opens`");
    let text = good
        + &row("lost", "5", "`transit::opens`")
        + &row("denied", "9", "`transit::opens`")
        + &row("denied", "4", "by hand")
        + &row("denied", "4", "`kmip::opens`");
    let files = [
        File::fake("tests/keepers/transit.rs", "fn opens() {}"),
        File::fake("tests/keepers/rules.rs", "fn opens() {}"),
        File::fake("tests/keepers/kmip.rs", "// fn opens() {}\nfn other() { opens() }"),
    ];
    let wrong = faults::fault_rows(&File::fake("kernel-notes/key-faults.md", &text), &files);
    // And no row of the keepers outside: seven, nine and eight classes.
    assert_caught(wrong, 4 + 7 + 9 + 8);
}

#[test]
fn every_failure_of_peers_has_a_row() {
    let notes = committed();
    let note = notes.iter().find(|file| file.path == "kernel-notes/peers.md").unwrap();
    assert_none(matrix::failure_rows(note, &rust(&["src", "tests"])));
}

#[test]
fn every_failure_of_peers_has_a_row_canary() {
    let head = "| failure | what happens | what is said | test |\n|---|---|---|---|\n";
    let row = |failure: &str, test: &str| format!("| {failure} | something | a word | {test} |\n");
    let rows: String = matrix::FAILURES.iter().skip(1).map(|failure| row(failure, "–")).collect();
    let text = format!(
        "| word | meaning |\n| clock jumps | not here |\n\n{head}{rows}{}{}{}",
        row("lightning", "`scene::strikes`"),
        row("clock jumps", "`scene::strikes`, `scene::gone`"),
        row("etcd wiped", "by hand")
    );
    let files = [File::fake("tests/hosts/scene.rs", "fn strikes() {} // fn gone() {}")];
    // The first failure is missing, two stand twice, one is none, one test is not there, one row names none.
    assert_caught(matrix::failure_rows(&File::fake("kernel-notes/peers.md", &text), &files), 6);
}

#[test]
fn the_model_runs_the_product() {
    assert_none(model::model_shares(&rust(&["src"])));
}

#[test]
fn the_model_runs_the_product_canary() {
    let shared = model::model_shares(&[]).len();
    let own = [
        File::fake(
            "src/volume/tests/exhaustive/a.rs",
            "use crate::volume::replay::{Side, classify};\nfn live_records() {}",
        ),
        File::fake("src/volume/replay.rs", "pub fn classify() {}"),
    ];
    assert_caught(model::model_shares(&own), shared);
}

#[test]
fn every_rule_has_a_control() {
    assert_none(model::every_rule_has_a_control(&rust(&["src"])));
}

#[test]
fn every_rule_has_a_control_canary() {
    let files = [
        File::fake("src/volume/rules.rs", "pub enum Rule { R0, Fence }\npub fn r0_holds() {}\npub fn settles() {}"),
        File::fake("src/volume/tests/exhaustive/controls.rs", "// Fence\ndrops(R0);"),
        File::fake("src/volume/replay.rs", "if settles() {}"),
        File::fake("src/volume/pipeline.rs", "if r0_holds() {}"),
    ];
    assert_caught(model::every_rule_has_a_control(&files), 2);
}

#[test]
fn secrets_stay_where_they_are() {
    assert_none(secrets::secrets_stay(&rust(&["src"])));
}

#[test]
fn secrets_stay_where_they_are_canary() {
    let bad = [
        File::fake("src/keys/a.rs", "#[derive(Debug)]\npub struct A {\n    kek: Secret,\n}"),
        File::fake("src/keys/b.rs", "pub struct B(Arc<A>);\nimpl<T> fmt::Debug for B {}"),
        File::fake("src/crypto/c.rs", "struct D;\n#[derive(PartialEq, Clone)]\nenum C { Key(Locked<u8>), None }"),
        File::fake("src/crypto/d.rs", "impl std::fmt::Display for Secret { }"),
    ];
    assert_caught(secrets::secrets_stay(&bad), bad.len());
    let good = [
        File::fake("src/keys/a.rs", "#[derive(Debug)]\nstruct A { name: String }\nstruct B { kek: Secret }"),
        File::fake("src/crypto/c.rs", "#[derive(Clone, Debug)]\nenum Kind { Secret, Other(u8) }"),
        File::fake("src/keys/b.rs", "impl Drop for B {}\nimpl fmt::Debug for A { fn f(x: Secret) {} }"),
    ];
    assert_caught(secrets::secrets_stay(&good), 0);
}
