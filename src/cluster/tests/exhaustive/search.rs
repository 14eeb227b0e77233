//! The exploration: breadth first, the shortest way to what is wrong told.
//!
//! Invariant: of a state seen only its number is kept, of the way to it its parent and the number of the act.

use std::collections::{HashSet, VecDeque};

use super::setting::Setting;
use super::state::State;
use crate::cluster::rules::{Rule, drop_rule};
use crate::cluster::tests::invariants::{Goal, reached, sank, wrong};

/// What an exploration came to.
pub struct Explored {
    pub states: usize,
    pub transitions: u64,
    pub depth: u32,
    pub cut_off: bool,
    pub goals: Vec<Goal>,
    /// What is wrong, and the way there.
    pub violation: Option<(String, Vec<String>)>,
}

#[derive(Clone, Copy)]
struct Way {
    parent: u32,
    act: u32,
    depth: u32,
}

/// Explores a setting without a rule, until something is wrong.
pub fn explore(setting: &Setting, rule: Option<Rule>, goals: &[Goal]) -> Explored {
    drop_rule(rule);
    let explored = run(setting, goals);
    drop_rule(None);
    explored
}

fn run(setting: &Setting, goals: &[Goal]) -> Explored {
    let first = State::first(setting);
    let mut seen = HashSet::from([first.number()]);
    let mut ways = vec![Way { parent: 0, act: 0, depth: 0 }];
    let mut queue = VecDeque::from([(first, 0u32)]);
    let mut out = Explored { states: 1, transitions: 0, depth: 0, cut_off: false, goals: Vec::new(), violation: None };
    while let Some((state, index)) = queue.pop_front() {
        for (number, act) in (0u32..).zip(state.acts(setting)) {
            let Some(next) = state.after(&act) else { continue };
            out.transitions += 1;
            if !seen.insert(next.number()) {
                continue;
            }
            let depth = ways[index as usize].depth + 1;
            ways.push(Way { parent: index, act: number, depth });
            (out.states, out.depth) = (ways.len(), depth);
            if let Some(what) = sunk(&state, &next).or_else(|| wrong(&next.all())) {
                out.violation = Some((what, told(&ways, setting)));
                return out;
            }
            for goal in goals {
                if !out.goals.contains(goal) && reached(*goal, &next.all()) {
                    out.goals.push(*goal);
                }
            }
            queue.push_back((next, ways.len() as u32 - 1));
            if ways.len() >= setting.states {
                out.cut_off = true;
                return out;
            }
        }
    }
    out
}

fn sunk(before: &State, after: &State) -> Option<String> {
    before.seats.iter().zip(&after.seats).find_map(|(old, new)| {
        let what = sank(&old.disk, &new.disk);
        what.map(|what| format!("{}: {what}", new.name))
    })
}

/// The acts that lead to the last state.
fn told(ways: &[Way], setting: &Setting) -> Vec<String> {
    let mut acts = Vec::new();
    let mut at = ways.len() - 1;
    while ways[at].depth > 0 {
        acts.push(ways[at].act);
        at = ways[at].parent as usize;
    }
    let mut state = State::first(setting);
    let mut lines = Vec::new();
    for number in acts.into_iter().rev() {
        let act = state.acts(setting).swap_remove(number as usize);
        state = state.after(&act).expect("it was taken before");
        let mut said = format!("{act:?}");
        if let Some(at) = said.find("Wanted") {
            said.truncate(at + 6);
        }
        lines.push(said);
    }
    lines
}
