//! The exhaustive model proves something of the product only while what decides is the product's own code: these rules
//! keep it so.

use super::source::{File, code_of, words};

/// Where the schedules live.
const SCHEDULES: &str = "src/volume/tests/schedule/";
/// Where the model lives.
const MODEL: &str = "src/volume/tests/exhaustive/";

/// What decides, with the module of `crate::volume` or `crate::format` it comes from.
const SHARED: &[(&str, &str)] = &[
    ("volume::log", "IntentLog"),
    ("volume::replay", "live_records"),
    ("volume::replay", "replay"),
    ("volume::replay", "classify"),
    ("volume::replay", "expected"),
    ("volume::recover", "outcome"),
    ("volume::checkpoint", "Copies"),
    ("volume::checkpoint", "PageState"),
    ("volume::checkpoint", "Checkpoint"),
    ("volume::tags", "TagTable"),
    ("volume::flush", "FlushGroup"),
    ("volume", "rules"),
    ("format::intents", "slot_of"),
    ("format::layout", "copy_of"),
    ("crypto::fingerprint", "Fingerprinter"),
];

/// The product files whose functions the model calls: a rule that one of them asks is asked in the model.
const CALLED: &[&str] = &["log", "replay", "recover", "checkpoint", "tags", "flush"];

/// The product files that ask rules about what the model does not have.
const OUTSIDE: &[&str] = &[
    "src/volume/grow.rs",
    "src/volume/life/destroy.rs",
    "src/volume/open/pages.rs",
    "src/volume/prepare.rs",
    "src/volume/wraps.rs",
];

/// The model imports all of [`SHARED`] and defines none of it.
pub fn model_shares(files: &[File]) -> Vec<String> {
    let model: Vec<(&File, String)> =
        files.iter().filter(|file| file.path.starts_with(MODEL)).map(|file| (file, code_of(&file.text))).collect();
    let mut wrong = Vec::new();
    for (module, name) in SHARED {
        if !model.iter().any(|(_, code)| imports(code, module, name)) {
            wrong.push(format!("{MODEL}: imports no {name} of crate::{module}"));
        }
        for (file, code) in &model {
            let all: Vec<&str> = words(code).map(|(_, word)| word).collect();
            let defines = |pair: &[&str]| matches!(pair[0], "fn" | "struct" | "enum" | "mod") && pair[1] == *name;
            if all.windows(2).any(defines) {
                wrong.push(format!("{}: defines {name}, which is crate::{module}'s", file.path));
            }
        }
    }
    wrong
}

fn imports(code: &str, module: &str, name: &str) -> bool {
    let prefix = format!("use crate::{module}::");
    let lists = code.match_indices(&prefix).filter_map(|(at, _)| code[at + prefix.len()..].split(';').next());
    lists.into_iter().any(|list| words(list).any(|(_, word)| word == name))
}

/// Every rule is dropped by a control of the model or, where it is about threads that meet, of the schedules, or, where it
/// is about growth, wraps or the life of keys, which the model does not have, of the simulated device's crashes; and every
/// function of a rule that the model drops is asked by what the model runs.
pub fn every_rule_has_a_control(files: &[File]) -> Vec<String> {
    let code =
        |path: &str| files.iter().find(|file| file.path == path).map(|file| code_of(&file.text)).unwrap_or_default();
    let rules = code("src/volume/rules.rs");
    let (model, schedules) = (code(&format!("{MODEL}controls.rs")), code(&format!("{SCHEDULES}controls.rs")));
    let dropped = |code: &str, rule: &str| words(code).any(|(_, word)| word == rule);
    let variants = variants(&rules);
    let crashes = code("src/volume/tests/controls.rs");
    let outside: String = OUTSIDE.iter().map(|path| code(path)).collect();
    let asked_there =
        |function: &str| function.split('(').next().is_some_and(|name| outside.contains(&format!("rules::{name}(")));
    let is_outside = |rule: &str| {
        let mut drops = rules.split("pub fn ").skip(1).filter(|function| function.contains(&format!("Rule::{rule}")));
        drops.any(asked_there)
    };
    let mut wrong: Vec<String> = variants
        .iter()
        .filter(|rule| !dropped(&model, rule) && !dropped(&schedules, rule))
        .filter(|rule| !(is_outside(rule) && dropped(&crashes, rule)))
        .map(|rule| format!("{MODEL}controls.rs, {SCHEDULES}controls.rs: no control drops {rule}"))
        .collect();
    let asks = |file: &&File| {
        let called = CALLED.iter().any(|name| file.path == format!("src/volume/{name}.rs"));
        called || file.path.starts_with(MODEL)
    };
    let asked: String = files.iter().filter(asks).map(|file| code_of(&file.text)).collect();
    let is_scheduled = |function: &str| {
        let named: Vec<&&str> = variants.iter().filter(|rule| function.contains(&format!("Rule::{rule}"))).collect();
        !named.is_empty() && named.iter().all(|rule| !dropped(&model, rule))
    };
    let functions = rules.split("pub fn ").skip(1).filter(|function| !is_scheduled(function));
    wrong.extend(
        functions
            .filter_map(|function| function.split('(').next())
            .filter(|name| !name.starts_with("drop_") && !asked.contains(&format!("{name}(")))
            .map(|name| format!("{MODEL}: nothing the model runs asks rules::{name}")),
    );
    wrong
}

/// The variants of the enum `Rule`.
fn variants(code: &str) -> Vec<&str> {
    let body = code.split_once("enum Rule {").and_then(|(_, rest)| rest.split_once('}')).map_or("", |(body, _)| body);
    words(body).map(|(_, word)| word).collect()
}
