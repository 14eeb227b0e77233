//! Keys shared with other replicas in a workload: taken, held, given up and activated at random, beside a rotation and a client.

use std::sync::Arc;

use super::super::kek::OpenKek;
use super::super::replica::made_elsewhere;
use super::super::rig::spec;
use super::ledger::Note;
use super::work::{Run, in_full};
use crate::crypto::Suite;
use crate::engine::Disk;
use crate::format::canary;
use crate::format::generations::{Entry, KeyState};
use crate::format::handover::Handover;
use crate::units::Generation;
use crate::volume::life::By;
use crate::volume::replica::PreparedKey;
use crate::volume::{Volume, VolumeError};

fn by() -> By {
    By { actor: "another replica".into(), reason: "because ".repeat(64), now: 5 }
}

fn hold(volume: &Arc<Volume>, handover: &Handover) -> Result<PreparedKey, VolumeError> {
    volume.hold_prepared(volume.take_key(&OpenKek::list(), handover, &by())?)
}

impl Run {
    /// What a driver may do next: take a key, or decide about the one that is held.
    pub fn share(&mut self) -> Result<(), VolumeError> {
        let table = self.volume.table();
        let held = table.entries.iter().find(|entry| entry.state == KeyState::Prepared).cloned();
        match held {
            None if table.entries.len() >= 8 => Ok(()),
            None => self.take_one(table.next_generation()),
            Some(held) if self.rng.once_in(2) => self.give_up(&held),
            Some(held) => self.activate(&held),
        }
    }

    /// A key that was given up may have had the same number.
    fn take_one(&mut self, least: Generation) -> Result<(), VolumeError> {
        let generation = Generation(least.0 + self.rng.below(3) as u32);
        let suite = self.rng.pick(&[Suite::Aes256Xts, Suite::Aes128Xts]);
        let handover = made_elsewhere(&self.volume, generation, suite);
        let state = vec![(KeyState::Prepared, false)];
        self.note(Note::Key { generation, allowed: state });
        self.note(Note::Shared { generation, allowed: vec![None, Some(handover.key_id)] });
        let held = hold(&self.volume, &handover);
        self.settled(generation);
        let first = held?;
        if self.rng.once_in(3) {
            let again = hold(&self.volume, &handover)?;
            assert_eq!(first, again, "holding it once more changes nothing");
        }
        Ok(())
    }

    fn give_up(&mut self, held: &Entry) -> Result<(), VolumeError> {
        let generation = held.generation;
        let blobs = held.wraps.iter().map(|wrap| wrap.blob.clone()).collect();
        self.note(Note::Erasing { generation, blobs });
        self.note(Note::Shared { generation, allowed: vec![Some(held.key_id), None] });
        let given_up = self.volume.abandon(generation, &by());
        self.settled(generation);
        assert!(given_up?, "it was there");
        assert!(!self.volume.abandon(generation, &by())?, "it is there no more");
        Ok(())
    }

    fn activate(&mut self, held: &Entry) -> Result<(), VolumeError> {
        let suite = Suite::from_id(held.suite).expect("a suite that was taken");
        self.note(Note::TargetBegun);
        assert!(self.volume.activate_prepared(held.generation, &spec(suite))?, "it was not the target");
        self.note(Note::TargetDone { target: held.generation });
        assert!(!self.volume.activate_prepared(held.generation, &spec(suite))?, "once is enough");
        Ok(())
    }

    /// What was told is durable; on a poisoned volume nothing is told.
    fn settled(&mut self, generation: Generation) {
        if self.volume.poisoned().is_none() {
            let now = self.volume.table().entry(generation).map(|entry| entry.key_id);
            self.note(Note::Shared { generation, allowed: vec![now] });
        }
    }

    fn note(&mut self, note: Note) {
        self.actor.borrow_mut().note(note);
    }
}

/// Gives up every key that a crash found prepared, and holds the canary zone against what is left: no slot that no entry names
/// holds anything. Whether there was one.
pub fn give_up_all(volume: &Arc<Volume>, header: &dyn Disk) -> Result<bool, String> {
    let held: Vec<Entry> =
        volume.table().entries.iter().filter(|entry| entry.state == KeyState::Prepared).cloned().collect();
    for entry in &held {
        let proven = volume.prove_again(entry.generation);
        proven.map_err(|error| format!("generation {} is not proven: {}", entry.generation, in_full(&error)))?;
        let given_up = volume.abandon(entry.generation, &by());
        given_up.map_err(|error| format!("generation {} stays: {}", entry.generation, in_full(&error)))?;
    }
    if held.is_empty() {
        // One that is gone already is given up once more: the rest is done.
        volume.abandon(Generation(u32::MAX - 1), &by()).map_err(|error| in_full(&error))?;
    }
    let (table, zone) = (volume.table(), volume.meta().superblock.zones.canaries);
    let is_named = |slot: u16| table.entries.iter().any(|entry| entry.canary_slot == slot);
    let mut blocks = vec![0; zone.length as usize];
    header.read_at(zone.offset, &mut blocks).map_err(|error| format!("the canaries cannot be read: {error}"))?;
    let zeros = vec![0; canary::SLOT as usize];
    let stray = (0u16..).zip(blocks.chunks(zeros.len())).find(|(slot, block)| !is_named(*slot) && *block != zeros);
    if let Some((slot, _)) = stray {
        return Err(format!("slot {slot} of the canaries is no generation's, and holds something"));
    }
    Ok(!held.is_empty())
}
