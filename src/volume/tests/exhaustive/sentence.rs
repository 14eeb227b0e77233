//! Transitions in words, for the way to a violation.

use super::action::{Action, Change};
use super::state::{At, State};
use crate::units::Extent;

fn names(extents: &[Extent]) -> String {
    let names: Vec<String> = extents.iter().map(ToString::to_string).collect();
    format!("extent {}", names.join(" and "))
}

/// What `action` does in `state`.
pub fn sentence(state: &State, action: &Action) -> String {
    match action {
        Action::Client { change, granule } => {
            let change = match change {
                Change::Write => "writes",
                Change::Fua => "writes with FUA",
                Change::Trim => "trims",
            };
            format!("a client {change} granule {granule}: version {}", state.client.newest[*granule] + 1)
        }
        Action::ClientEnds => "the client's write is answered".into(),
        Action::FlushStarts { by_client: true } => "a client flushes: the flush starts".into(),
        Action::FlushStarts { by_client: false } => "the flush the pipeline waits for starts".into(),
        Action::FlushEnds => "the flush ends, and what it settles is settled".into(),
        Action::NextTarget => "the target changes to the next one".into(),
        Action::Superblock => "somebody else writes a superblock".into(),
        Action::SuperblockDurable => "that superblock is flushed".into(),
        Action::Take(extents) if extents.is_empty() => "the pipeline begins a step and takes nothing".into(),
        Action::Take(extents) => format!("the pipeline begins a step: it holds and reads {}", names(extents)),
        Action::TakeByForce(extent) => format!("the pipeline begins a step: it holds extent {extent} by force"),
        Action::EndHolds => "the pipeline ends its holds before a pause".into(),
        Action::Void(extent) => format!("the pipeline gives up extent {extent}, to be voided"),
        Action::Drop(extent) => format!("the pipeline drops its hold on extent {extent}"),
        Action::Close => "the pipeline, idle, begins a checkpoint: the tag pages are written".into(),
        Action::Step => step(state),
    }
}

fn step(state: &State) -> String {
    let member = || state.pipe.current.first().map_or_else(String::new, |member| names(&[member.extent]));
    match &state.pipe.at {
        At::Writing { early: true, .. } => format!("the data of {} is written", member()),
        At::Writing { .. } => format!("the data of {} is written and its tag changes", member()),
        At::Recording { made_room } => {
            let intents: Vec<Extent> = state.pipe.next.iter().map(|member| member.extent).collect();
            let full = !made_room && !state.books.log.has_room();
            let commits: Vec<Extent> = state.books.log.ready_commits().iter().map(|commit| commit.extent).collect();
            match (commits.is_empty(), intents.is_empty()) {
                (true, true) => "no record is needed".into(),
                _ if full => "the ring is full: a checkpoint begins and its tag pages are written".into(),
                (true, false) => format!("the record is written: intent of {}", names(&intents)),
                (false, true) => format!("the record is written: commit of {}", names(&commits)),
                (false, false) => {
                    format!("the record is written: commit of {}, intent of {}", names(&commits), names(&intents))
                }
            }
        }
        At::Header { .. } => "the header is flushed".into(),
        At::Checkpoint { named: false, .. } => "a flush; the superblock that names the checkpoint is written".into(),
        At::Checkpoint { named: true, .. } => "a flush: the checkpoint counts".into(),
        At::Between | At::Forced | At::Flushing { .. } => "the pipeline waits".into(),
    }
}
