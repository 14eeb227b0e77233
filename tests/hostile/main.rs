//! Hostile peers against the real daemon: whatever comes over a connection, its own peer gets what the protocol says or the
//! end of the connection, and everybody else is served on as if nothing had happened.
//!
//! Most cases are rows of tables: what is sent, what must come back. After every row a well-behaved client on a connection of
//! its own reads known data, writes, reads that back ([`ground::Ground::check`]), and at the end the whole volume is
//! compared. `crowd` holds what takes many connections or more than bytes: floods, stalls, memory; `access` who may come in.
//! `every_case_has_a_name_of_its_own` lists and counts the cases.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod bounds;
mod crowd;
mod dying;
mod flags;
mod garbage;
mod ground;
mod manners;
mod memory;
mod options;
mod passed;
mod peer;
mod status;
mod strings;
mod truncation;

use std::collections::BTreeSet;

use ground::{Case, Ground};

/// A table: its name, and what makes its cases.
type Table = (&'static str, fn() -> Vec<Case>);

/// The tables of cases.
const TABLES: &[Table] = &[
    ("truncation", truncation::cases),
    ("garbage", garbage::cases),
    ("options", options::cases),
    ("strings", strings::cases),
    ("flags", flags::cases),
    ("bounds", bounds::cases),
    ("status", status::cases),
    ("manners", manners::cases),
];

/// Runs one table, every case followed by a look at whether others are served.
fn run(table: &str) {
    let (_, cases) = TABLES.iter().find(|(name, _)| *name == table).unwrap();
    Ground::with(&[], |ground| {
        for case in cases() {
            ground.set_case(&case.name);
            (case.run)(ground);
            ground.check();
        }
    });
}

macro_rules! tables {
    ($($name:ident),*) => { $(#[test] fn $name() { run(stringify!($name)); })* };
}

mod tables {
    use super::run;
    tables!(truncation, garbage, options, strings, flags, bounds, status, manners);
}

/// Distinct cases the tables must hold, whatever becomes of them.
const CASES_MIN: usize = 200;

#[test]
fn every_case_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for (table, cases) in TABLES {
        for case in cases() {
            let name = format!("{table}: {}", case.name);
            println!("{name}");
            assert!(names.insert(name.clone()), "two cases are called {name}");
        }
    }
    println!("{} cases", names.len());
    assert!(names.len() >= CASES_MIN, "{} cases", names.len());
}
