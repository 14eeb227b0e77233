//! The exploration: breadth first over all states, every crash of every state checked, the shortest way to a violation told.
//!
//! Invariants: of a state seen only its number is kept, of the way to it its parent and the number of the action, so memory
//! is bounded by [`Setting::states`]; an exploration that meets that bound says so and counts as cut off, not as done.

use std::collections::{HashSet, VecDeque};

use super::action::{apply, enabled};
use super::checker::{ByNumber, Checker, number_of};
use super::recovery::recover;
use super::sentence::sentence;
use super::setting::Setting;
use super::state::{State, World};
use crate::volume::rules::{Rule, drop_rule};

/// What an exploration came to.
pub struct Explored {
    pub name: &'static str,
    pub states: usize,
    pub transitions: u64,
    /// Crash images held against what clients were promised.
    pub images: u64,
    /// Different images recovered, and crashes inside their recovery.
    pub recovered: u64,
    pub again: u64,
    /// Steps of the longest shortest way.
    pub depth: usize,
    /// The bound of memory was met.
    pub cut_off: bool,
    /// The way to a violation, readable.
    pub violation: Option<String>,
}

impl std::fmt::Display for Explored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = match (&self.violation, self.cut_off) {
            (Some(violation), _) => format!("VIOLATION\n{violation}"),
            (None, true) => "no violation, CUT OFF at the bound of memory".into(),
            (None, false) => "no violation, explored to the end".into(),
        };
        write!(
            f,
            "{}: {} states, {} transitions, {} crash images checked, {} different ones recovered with {} crashes inside \
             recovery, depth {}: {verdict}",
            self.name, self.states, self.transitions, self.images, self.recovered, self.again, self.depth
        )
    }
}

/// How a state was reached.
#[derive(Clone, Copy)]
struct Step {
    parent: u32,
    action: u32,
    depth: u32,
}

struct Search {
    world: World,
    checker: Checker,
    seen: HashSet<u128, ByNumber>,
    steps: Vec<Step>,
    queue: VecDeque<(State, u32)>,
    transitions: u64,
}

/// Explores `setting` without `rule`.
pub fn explore(setting: Setting, rule: Option<Rule>) -> Explored {
    drop_rule(rule);
    let mut search = Search {
        world: World::new(setting),
        checker: Checker::default(),
        seen: HashSet::default(),
        steps: Vec::new(),
        queue: VecDeque::new(),
        transitions: 0,
    };
    let violation = search.run().err();
    let explored = Explored {
        name: setting.name,
        states: search.steps.len(),
        transitions: search.transitions,
        images: search.checker.checked,
        recovered: search.checker.recovered,
        again: search.checker.again,
        depth: search.steps.iter().map(|step| step.depth as usize).max().unwrap_or(0),
        cut_off: search.steps.len() >= setting.states,
        violation,
    };
    drop_rule(None);
    explored
}

impl Search {
    fn run(&mut self) -> Result<(), String> {
        let first = State::first(&mut self.world);
        self.enter(None, first, Step { parent: 0, action: 0, depth: 0 })?;
        while let Some((state, index)) = self.queue.pop_front() {
            let depth = self.steps[index as usize].depth + 1;
            for (action, successor) in (0u32..).zip(self.successors(&state)) {
                self.transitions += 1;
                let step = Step { parent: index, action, depth };
                let next = successor.map_err(|wrong| self.told(step, &format!("    {wrong}")))?;
                self.enter(Some(&state), next, step)?;
                if self.steps.len() >= self.world.setting.states {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Every state that may follow, in the order that [`Step::action`] counts: actions, then openings after a crash.
    fn successors(&mut self, state: &State) -> Vec<Result<State, String>> {
        let world = &mut self.world;
        let mut states: Vec<_> = enabled(world, state).iter().map(|action| apply(world, state, action)).collect();
        for image in openings(world, state) {
            states.push(reopened(world, state, image));
        }
        states
    }

    /// A state is reached: if it is new, what a read finds and what every crash leaves is checked.
    fn enter(&mut self, from: Option<&State>, state: State, step: Step) -> Result<(), String> {
        if !self.seen.insert(number_of(&state)) {
            return Ok(());
        }
        let index = self.steps.len() as u32;
        self.steps.push(step);
        if let Some(wrong) = state.misread(&self.world) {
            return Err(self.told(step, &format!("    WRONG KEY: {wrong}")));
        }
        // What could be left before was checked there, unless more is promised now.
        let same = from.filter(|from| from.client.floor == state.client.floor);
        let fresh = same.and_then(|from| state.books.device.written_since(&from.books.device));
        let checked = self.checker.crash(&mut self.world, &state.books.device, &state.client, fresh.as_deref());
        checked.map_err(|wrong| self.told(step, &wrong))?;
        self.queue.push_back((state, index));
        Ok(())
    }

    /// The way to `step` and what is wrong there.
    fn told(&mut self, step: Step, wrong: &str) -> String {
        let mut way = vec![step];
        while let Some(at) = way.last().filter(|at| at.depth > 1) {
            way.push(self.steps[at.parent as usize]);
        }
        let mut state = State::first(&mut self.world);
        let mut out = String::new();
        for (number, step) in way.iter().rev().filter(|step| step.depth > 0).enumerate() {
            let actions = enabled(&self.world, &state);
            let line = match actions.get(step.action as usize) {
                Some(action) => sentence(&state, action),
                None => "the volume crashes, is opened again and goes on".into(),
            };
            out.push_str(&format!("    {:>2}. {line}\n", number + 1));
            match self.successors(&state).swap_remove(step.action as usize) {
                Ok(next) => state = next,
                Err(_) => break,
            }
        }
        let device = state.books.device.describe(&self.world.layout, &self.world.library);
        format!("{out}    then the device holds:\n{device}{wrong}")
    }
}

/// The images from which the volume is opened again.
fn openings(world: &World, state: &State) -> Vec<super::device::Device> {
    let mut images = Vec::new();
    if state.sessions > 0 {
        state.books.device.images(&world.library, None, |image| images.push(image));
    }
    images
}

/// The state after a crash and the recovery that follows: clients start from what is there.
fn reopened(world: &mut World, state: &State, image: super::device::Device) -> Result<State, String> {
    let mut next = state.clone();
    next.books = recover(world, image, &mut |_, _| {})?;
    let versions: Vec<u8> = (0..world.setting.granules_in_all())
        .map(|granule| world.cell(&next.books.device, world.setting.cells_of(granule).start).version)
        .collect();
    next.client.floor.clone_from(&versions);
    next.client.newest = versions;
    next.forget_the_process(world);
    Ok(next)
}
