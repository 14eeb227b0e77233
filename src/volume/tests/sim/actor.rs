//! The client of a workload: it writes, trims, zeroes, flushes and reads at random, and keeps the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::rig::{Client, bytes_of};
use super::ledger::{End, Ledger, Note};
use super::rng::Rng;
use super::world::World;
use crate::volume::executor::RequestKind;

/// What a request was.
pub enum Asked {
    Change,
    Flush,
    Read { offset: u64 },
}

/// The client.
pub struct Actor {
    pub client: Client,
    pub world: Arc<World<Note>>,
    pub ledger: Ledger,
    pub rng: Rng,
    pub asked: BTreeMap<u64, Asked>,
    pub wrongs: Vec<String>,
    /// Requests that were answered with an error.
    pub failed: u64,
    /// A key is revoked: errors are what was asked for.
    pub excused: bool,
    /// Requests before this one were asked for while a key was revoked: parts of them may have failed long ago.
    pub excused_before: u64,
    /// How seldom it acts when interrupted.
    pub seldom: u64,
}

impl Actor {
    pub fn note(&mut self, note: Note) {
        self.ledger.take(&note);
        self.world.note(note);
    }

    pub fn place(&mut self) -> (u64, u64) {
        let size = self.client.volume.size();
        let rng = &mut self.rng;
        let (at, len) = match rng.below(5) {
            0 => (rng.below(size), 1 + rng.below(6000)),
            1 => (rng.below(size / 512) * 512, 512 * (1 + rng.below(12))),
            2 | 3 => (rng.below(size / 4096) * 4096, 4096 * (1 + rng.below(4))),
            _ => (rng.below(size / 4096) * 4096, 4096 * (1 + rng.below(20))),
        };
        (at, len.min(size - at))
    }

    /// Asks for something at random and moves it on.
    pub fn act(&mut self) {
        match self.rng.below(16) {
            0..9 => self.write(),
            9 | 10 => self.forget(),
            11..14 => self.flush(),
            _ => self.read(),
        }
        self.pump();
    }

    pub fn write(&mut self) {
        let (offset, len) = self.place();
        self.write_at(offset, len as usize);
    }

    pub fn write_at(&mut self, offset: u64, len: usize) {
        let mut bytes = vec![0u8; len];
        for chunk in bytes.chunks_mut(8) {
            let word = self.rng.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        let fua = self.rng.once_in(5);
        let kind = self.client.write_kind(offset, &bytes, fua);
        self.change(offset, len as u64, Some(bytes.into()), fua, kind);
    }

    pub fn forget(&mut self) {
        let (offset, len) = self.place();
        let fua = self.rng.once_in(4);
        if self.rng.once_in(2) {
            let unit = u64::from(self.client.volume.shape().write_unit());
            let first = offset.next_multiple_of(unit);
            let inner = ((offset + len) / unit * unit).saturating_sub(first);
            self.change(first, inner, None, fua, RequestKind::Trim { offset, len, fua });
        } else {
            let no_hole = self.rng.once_in(2);
            self.change(offset, len, None, fua, RequestKind::Zeroes { offset, len, fua, no_hole });
        }
    }

    pub fn change(&mut self, offset: u64, len: u64, bytes: Option<Arc<[u8]>>, fua: bool, kind: RequestKind) {
        let id = self.client.next_number();
        self.note(Note::Begun { id, offset, len, bytes, fua });
        self.asked.insert(id, Asked::Change);
        self.client.start(kind);
    }

    pub fn flush(&mut self) {
        let id = self.client.next_number();
        self.note(Note::FlushBegun { id });
        self.asked.insert(id, Asked::Flush);
        self.client.start(RequestKind::Flush);
    }

    pub fn read(&mut self) {
        let (offset, len) = self.place();
        let offset = offset / 512 * 512;
        self.asked.insert(self.client.next_number(), Asked::Read { offset });
        self.client.start(RequestKind::Read { offset, len: len as u32 });
    }

    /// Moves on what can be moved.
    pub fn pump(&mut self) {
        for (id, outcome) in self.client.pump() {
            let reply = match outcome {
                Ok(reply) => reply,
                Err(_) => {
                    self.failed += u64::from(!self.excused && id >= self.excused_before);
                    if let Some(Asked::Change) = self.asked.remove(&id) {
                        self.note(Note::Failed { id });
                    }
                    continue;
                }
            };
            match self.asked.remove(&id) {
                Some(Asked::Change) => self.note(Note::Done { id }),
                Some(Asked::Flush) => self.note(Note::FlushDone { id }),
                Some(Asked::Read { offset }) => {
                    if let Err(wrong) = self.ledger.judge(offset, &bytes_of(&reply), End::Kill) {
                        self.wrongs.push(format!("read {id}: {wrong}"));
                    }
                }
                None => self.wrongs.push(format!("request {id} was answered twice")),
            }
        }
    }

    /// Until nothing is under way that waits for nobody.
    pub fn settle(&mut self) {
        self.pump();
        while self.client.pending() > 0 {
            self.pump();
        }
    }
}
