//! What can happen next in a state of the model, and what clients do.
//!
//! Invariant: clients may do anything at every point, within their budgets; only a hold, asked of the state as the gates
//! would, makes a write wait.

use super::clock::Waits;
use super::pipeline;
use super::setting::Lie;
use super::state::{At, State, World};
use crate::units::Extent;
use crate::volume::rules;

/// How a client changes a granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Write,
    Fua,
    Trim,
}

/// One transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client's write begins; unless writes are slow it ends at once.
    Client {
        change: Change,
        granule: usize,
    },
    /// The client's write under way has ended.
    ClientEnds,
    /// A flush of the data starts, asked for by a client or by the pipeline alone.
    FlushStarts {
        by_client: bool,
    },
    FlushEnds,
    /// The rotation's target changes.
    NextTarget,
    /// Somebody else writes a superblock (an epoch, a poisoning).
    Superblock,
    SuperblockDurable,
    /// The pipeline holds a batch and reads it.
    Take(Vec<Extent>),
    /// The pipeline holds an extent whatever its client does.
    TakeByForce(Extent),
    /// The pipeline writes its held batch before a pause.
    EndHolds,
    /// The pipeline gives up a durable intent by a void.
    Void(Extent),
    /// A lie: it gives it up without one.
    Drop(Extent),
    /// The pipeline, being idle, checkpoints.
    Close,
    /// The pipeline's next step.
    Step,
}

/// Everything that can happen in `state`, in a fixed order.
pub fn enabled(world: &World, state: &State) -> Vec<Action> {
    let mut actions = Vec::new();
    clients(world, state, &mut actions);
    if state.committing {
        actions.push(Action::SuperblockDurable);
        return actions;
    }
    if state.superblocks > 0 && !matches!(state.pipe.at, At::Checkpoint { .. }) {
        actions.push(Action::Superblock);
    }
    match state.pipe.at {
        At::Between => pipeline::choices(world, state, &mut actions),
        At::Forced | At::Flushing { .. } => {}
        _ => actions.push(Action::Step),
    }
    actions
}

fn clients(world: &World, state: &State, actions: &mut Vec<Action>) {
    let client = &state.client;
    if client.flying.is_some() {
        actions.push(Action::ClientEnds);
    } else if client.writes > 0 {
        let free = |granule: &usize| !state.is_held(Extent(world.setting.extent_of(*granule) as u32));
        for granule in (0..world.setting.granules_in_all()).filter(free) {
            let budgets = [(Change::Write, 1), (Change::Fua, client.fuas), (Change::Trim, client.trims)];
            let affordable = budgets.iter().filter(|(_, budget)| *budget > 0);
            actions.extend(affordable.map(|(change, _)| Action::Client { change: *change, granule }));
        }
    }
    let waits = state.clock.pipeline();
    if state.clock.is_running() {
        // What the flush settles for the pipeline needs the metadata, which somebody may hold.
        if !(state.committing && waits == Waits::Served) {
            actions.push(Action::FlushEnds);
        }
    } else if waits == Waits::Queued {
        actions.push(Action::FlushStarts { by_client: false });
    } else if client.flushes > 0 {
        actions.push(Action::FlushStarts { by_client: true });
    }
}

/// The state after `action`; an error is a violation.
pub fn apply(world: &mut World, state: &State, action: &Action) -> Result<State, String> {
    let mut next = state.clone();
    match action {
        Action::Client { change, granule } => begin_change(world, &mut next, *change, *granule),
        Action::ClientEnds => end_change(world, &mut next),
        Action::FlushStarts { by_client } => start_flush(world, &mut next, *by_client),
        Action::FlushEnds => return end_flush(world, next),
        Action::NextTarget => next.turn += 1,
        Action::Superblock => {
            next.superblocks -= 1;
            next.committing = true;
            let flying = next.flying(world);
            next.books.put_superblock(world, flying);
        }
        Action::SuperblockDurable => {
            next.committing = false;
            let flying = next.flying(world);
            next.books.flush_header(world, flying);
            next.books.copies.superblock_durable();
        }
        other => return pipeline::apply(world, next, other),
    }
    Ok(next)
}

fn begin_change(world: &mut World, state: &mut State, change: Change, granule: usize) {
    let extent = world.setting.extent_of(granule);
    state.client.writes -= 1;
    state.client.newest[granule] += 1;
    let version = state.client.newest[granule];
    let generation = (change != Change::Trim).then_some(state.books.tags.current[extent]);
    let id = world.library.cell_number(super::content::Cell { generation, version });
    for cell in world.setting.cells_of(granule) {
        if change == Change::Fua && !world.setting.slow_writes {
            state.books.device.write_through(cell, id);
        } else {
            state.books.device.write(cell, id);
        }
    }
    match change {
        Change::Write => {}
        Change::Fua => state.client.fuas -= 1,
        Change::Trim => state.client.trims -= 1,
    }
    state.client.flying = Some((granule as u8, change == Change::Fua));
    if !world.setting.slow_writes {
        end_change(world, state);
    }
}

/// A write is answered: it counts for R0 from here, and a FUA write is a promise.
fn end_change(world: &World, state: &mut State) {
    let Some((granule, fua)) = state.client.flying.take() else { return };
    let granule = granule as usize;
    let extent = Extent(world.setting.extent_of(granule) as u32);
    state.clock.mark(extent);
    if fua {
        for cell in world.setting.cells_of(granule) {
            state.books.device.settle(cell);
        }
        state.client.floor[granule] = state.client.newest[granule];
        if world.setting.lie == Some(Lie::FuaCleans) {
            state.clock.forget(extent);
        }
    }
}

fn start_flush(world: &World, state: &mut State, by_client: bool) {
    if by_client {
        state.client.flushes -= 1;
    }
    assert!(state.clock.start(by_client), "a flush starts where none is under way");
    cover(world, state);
}

/// The device's part of a flush that starts now, and what will be promised when it is done.
fn cover(world: &World, state: &mut State) {
    let flying = state.flying(world);
    state.books.device.start_flush(&world.layout, flying);
    let under_way = state.client.flying.map(|(granule, _)| granule as usize);
    for (granule, rising) in state.client.rising.iter_mut().enumerate() {
        *rising = state.client.newest[granule] - u8::from(under_way == Some(granule));
    }
}

fn end_flush(world: &mut World, mut state: State) -> Result<State, String> {
    state.books.device.finish_flush(&world.layout);
    let client = &mut state.client;
    for (floor, rising) in client.floor.iter_mut().zip(&mut client.rising) {
        *floor = (*floor).max(std::mem::take(rising));
    }
    let (serves, again) = state.clock.finish();
    if again {
        cover(world, &mut state);
    }
    if serves { pipeline::flushed(world, state) } else { Ok(state) }
}

/// Whether R0 lets the pipeline take an extent, as the product asks it.
pub fn is_behind_a_flush(state: &State, extent: Extent) -> bool {
    state.clock.ask(|group| rules::r0_holds(group, extent))
}
