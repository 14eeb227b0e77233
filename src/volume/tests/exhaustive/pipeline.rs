//! The pipeline's steps on the model: `Pipeline::step`, cut where a client or a crash may come between.
//!
//! Invariant: the order of steps is the product's; what may be taken, written, committed, released or checkpointed is decided
//! by the product's [`IntentLog`](crate::volume::log::IntentLog) and [`rules`]. A refusal of theirs in the middle of a
//! step, where the product would poison the volume, is a violation.

use super::action::{Action, is_behind_a_flush};
use super::content::Cell;
use super::setting::Lie;
use super::state::{At, Member, State, World};
use crate::format::intents::{Image, Intent};
use crate::format::layout::WriteMode;
use crate::units::Extent;
use crate::volume::rules;

/// What the pipeline may do between two steps.
pub fn choices(world: &World, state: &State, actions: &mut Vec<Action>) {
    let setting = &world.setting;
    if state.turn + 1 < setting.targets.len() {
        actions.push(Action::NextTarget);
    }
    let wanted: Vec<Extent> =
        (0..setting.extents as u32).map(Extent).filter(|it| is_wanted(world, state, *it)).collect();
    let (clean, dirty): (Vec<Extent>, Vec<Extent>) = wanted.into_iter().partition(|it| is_behind_a_flush(state, *it));
    for batch in 1u32..1 << clean.len() {
        if batch.count_ones() as usize <= setting.batch {
            let chosen = clean.iter().enumerate().filter(|(index, _)| batch & 1 << index != 0);
            actions.push(Action::Take(chosen.map(|(_, extent)| *extent).collect()));
        }
    }
    if state.forced > 0 {
        actions.extend(dirty.into_iter().map(Action::TakeByForce));
    }
    let idle = state.pipe.is_idle(&state.books.log);
    if !idle {
        actions.push(Action::Take(Vec::new()));
    } else if state.books.log.in_use() > 0 {
        actions.push(Action::Close);
    }
    if state.pauses > 0 && !state.pipe.current.is_empty() {
        actions.push(Action::EndHolds);
    }
    for member in &state.pipe.current {
        if state.voids > 0 {
            actions.push(Action::Void(member.extent));
        }
        if setting.lie == Some(Lie::DropsHold) {
            actions.push(Action::Drop(member.extent));
        }
    }
}

/// Whether the pipeline would take an extent if its client let it: as in `Pipeline::hold`, and no write in flight.
fn is_wanted(world: &World, state: &State, extent: Extent) -> bool {
    let flying = state.client.flying.map(|(granule, _)| world.setting.extent_of(granule as usize) as u32);
    let needless = state.books.tags.current[extent.0 as usize] == world.setting.target(state.turn);
    !state.books.log.is_busy(extent) && !needless && !state.is_held(extent) && flying != Some(extent.0)
}

/// The state after an action of the pipeline.
pub fn apply(world: &mut World, mut state: State, action: &Action) -> Result<State, String> {
    match action {
        Action::Take(extents) => {
            extents.iter().for_each(|extent| state.hold(*extent));
            state.pipe.taken.clone_from(extents);
            return read(world, state);
        }
        Action::TakeByForce(extent) => {
            state.forced -= 1;
            state.hold(*extent);
            state.pipe.taken = vec![*extent];
            if world.setting.lie == Some(Lie::ForcedWithoutFlush) {
                return read(world, state);
            }
            state.pipe.at = At::Forced;
            state.clock.join();
        }
        Action::EndHolds => {
            state.pauses -= 1;
            state.pipe.at = At::Writing { early: false, pausing: true };
        }
        Action::Void(extent) => {
            state.voids -= 1;
            state.books.log.void(*extent);
            state.pipe.current.retain(|member| member.extent != *extent);
            if world.setting.lie == Some(Lie::DropsVoidedHold) {
                state.release(*extent);
            } else {
                state.pipe.awaiting.push(*extent);
            }
        }
        Action::Drop(extent) => {
            state.pipe.current.retain(|member| member.extent != *extent);
            state.release(*extent);
        }
        Action::Close => begin_checkpoint(world, &mut state, true),
        _ => return step(world, state),
    }
    Ok(state)
}

/// A flush that serves the pipeline is done.
pub fn flushed(world: &mut World, state: State) -> Result<State, String> {
    match state.pipe.at {
        At::Forced => read(world, state),
        At::Flushing { sequence } => {
            let mut state = state;
            settle(world, &mut state, sequence);
            Ok(state)
        }
        _ => Err("a flush served a pipeline that waits for none".into()),
    }
}

/// Reads the batch taken: fingerprints of what is there, and the same text under the target.
fn read(world: &mut World, mut state: State) -> Result<State, String> {
    let target = world.setting.target(state.turn);
    for extent in std::mem::take(&mut state.pipe.taken) {
        let granules = world.setting.granules_of(extent.0 as usize);
        let cells: Vec<Cell> = granules
            .flat_map(|granule| world.setting.cells_of(granule))
            .map(|cell| world.cell(&state.books.device, cell).under(target))
            .collect();
        state.pipe.next.push(Member { extent, generation: target, cells });
    }
    state.pipe.at = At::Writing { early: false, pausing: false };
    if state.pipe.current.is_empty() {
        state.pipe.at = At::Recording { made_room: false };
    }
    Ok(state)
}

fn intent(world: &World, state: &State, member: &Member) -> Intent {
    let granules = world.setting.granules_of(member.extent.0 as usize);
    let image = match (world.setting.mode, world.setting.lie) {
        (WriteMode::Journal, _) => Image::Ciphertext(member.cells.iter().flat_map(|cell| cell.journalled()).collect()),
        (WriteMode::InPlace, Some(Lie::FingerprintsOfNew)) => {
            let new: Vec<u8> = member.cells.iter().flat_map(|cell| cell.bytes()).collect();
            let granule = new.len() / granules.len();
            Image::Fingerprints(new.chunks(granule).map(|bytes| world.prints.one(bytes)).collect())
        }
        (WriteMode::InPlace, _) => {
            let print = |granule| world.prints.one(&world.granule(&state.books.device, granule));
            Image::Fingerprints(granules.map(print).collect())
        }
    };
    let old = state.books.tags.current[member.extent.0 as usize];
    Intent { extent: member.extent, old, new: member.generation, image }
}

fn step(world: &mut World, mut state: State) -> Result<State, String> {
    match state.pipe.at.clone() {
        At::Writing { early, pausing } => write(world, state, early, pausing),
        At::Recording { made_room } => record(world, state, made_room),
        At::Header { sequence } => {
            let flying = state.flying(world);
            state.books.flush_header(world, flying);
            ask_for_flush(world, &mut state, sequence);
            Ok(state)
        }
        At::Checkpoint { begun, named, closing } => {
            let flying = state.flying(world);
            let skipped = if named { Lie::FreesBeforeFlush } else { Lie::NamesBeforeFlush };
            if world.setting.lie != Some(skipped) {
                state.books.flush_header(world, &flying);
            }
            if named {
                state.books.end_checkpoint(&begun);
                state.pipe.at = if closing { At::Between } else { At::Recording { made_room: true } };
            } else {
                state.books.name_checkpoint(world, &begun, flying);
                state.pipe.at = At::Checkpoint { begun, named: true, closing };
            }
            Ok(state)
        }
        at => Err(format!("the pipeline has no step of its own at {at:?}")),
    }
}

/// Step 3 for the next extent of the batch.
fn write(world: &mut World, mut state: State, early: bool, pausing: bool) -> Result<State, String> {
    let member = state.pipe.current[0].clone();
    let extent = member.extent;
    if !early && !state.books.log.may_write(extent) {
        return Err(format!("the pipeline stops: the intent of extent {extent} is not durable"));
    }
    if !early && rules::releases_before_data() {
        rewritten(world, &mut state, &member);
        state.pipe.at = At::Writing { early: true, pausing };
        return Ok(state);
    }
    let first = world.setting.granules_of(extent.0 as usize).start * world.setting.cells;
    for (index, cell) in member.cells.iter().enumerate() {
        if cell.generation.is_some() {
            let id = world.library.cell_number(*cell);
            state.books.device.write(first + index, id);
        }
    }
    if !early {
        rewritten(world, &mut state, &member);
    }
    state.pipe.current.remove(0);
    state.pipe.written.push(extent);
    state.pipe.at = match (state.pipe.current.is_empty(), pausing) {
        (false, _) => At::Writing { early: false, pausing },
        (true, true) => At::Between,
        (true, false) => At::Recording { made_room: false },
    };
    Ok(state)
}

/// `Pipeline::rewritten`.
fn rewritten(world: &World, state: &mut State, member: &Member) {
    state.books.tags.step(|table| table.set_current(member.extent, member.generation));
    if rules::releases_with_data(world.setting.mode) {
        state.release(member.extent);
    } else {
        state.pipe.awaiting.push(member.extent);
    }
}

/// Step 4, up to the flush that is asked for.
fn record(world: &mut World, mut state: State, made_room: bool) -> Result<State, String> {
    if rules::commits_before_flush() {
        let written = state.pipe.written.clone();
        state.books.log.flushed(0, &written);
    }
    let commits = state.books.log.ready_commits();
    let mut sequence = state.books.log.next() - 1;
    if !commits.is_empty() || !state.pipe.next.is_empty() {
        if !state.books.log.has_room() && !made_room {
            begin_checkpoint(world, &mut state, false);
            return Ok(state);
        }
        let intents: Vec<Intent> = state.pipe.next.iter().map(|member| intent(world, &state, member)).collect();
        let appended = state.books.log.append(commits, intents);
        let record = appended.map_err(|refused| format!("the pipeline stops: {refused}"))?;
        state.books.write_record(world, &record);
        sequence = record.sequence;
    }
    state.pipe.current.append(&mut state.pipe.next);
    let due = rules::checkpoint_is_due(state.books.log.in_use(), world.setting.slots as u32);
    if due && state.pipe.named.is_none() {
        let flying = state.flying(world);
        state.pipe.begun = Some(state.books.begin_checkpoint(world, flying));
    }
    if state.pipe.written.is_empty() && !rules::flushes_intents() {
        settle(world, &mut state, sequence);
    } else if world.setting.detached && world.setting.lie != Some(Lie::LeavesTheHeader) {
        state.pipe.at = At::Header { sequence };
    } else {
        ask_for_flush(world, &mut state, sequence);
    }
    Ok(state)
}

fn ask_for_flush(world: &World, state: &mut State, sequence: u64) {
    state.pipe.at = At::Flushing { sequence };
    if world.setting.lie == Some(Lie::EarlierFlushServes) {
        state.clock.join_the_one_under_way();
    } else {
        state.clock.join();
    }
}

fn begin_checkpoint(world: &mut World, state: &mut State, closing: bool) {
    let flying = state.flying(world);
    let begun = state.books.begin_checkpoint(world, flying);
    state.pipe.at = At::Checkpoint { begun, named: false, closing };
}

/// After step 5: what the flush has settled, and the superblock of the checkpoint that rides along.
fn settle(world: &mut World, state: &mut State, sequence: u64) {
    let written = std::mem::take(&mut state.pipe.written);
    for extent in state.books.log.flushed(sequence, &written) {
        state.books.tags.step(|table| table.commit(extent));
        state.books.touch(world, extent);
        if let Some(index) = state.pipe.awaiting.iter().position(|other| *other == extent) {
            state.pipe.awaiting.remove(index);
            state.release(extent);
        }
    }
    if let Some(named) = state.pipe.named.take() {
        state.books.end_checkpoint(&named);
    }
    if let Some(begun) = state.pipe.begun.take() {
        let flying = state.flying(world);
        state.books.name_checkpoint(world, &begun, flying);
        state.pipe.named = Some(begun);
    }
    state.pipe.at = At::Between;
}
