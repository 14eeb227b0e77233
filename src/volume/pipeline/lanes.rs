//! The lanes of a pipeline: the first runs on the pipeline's own thread, helpers on threads of theirs.
//!
//! Invariant: when an epoch has been run, no helper does anything; without helpers all is one thread's, so that a seed
//! replays.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::epoch::{Epoch, Share};
use super::lane::Lane;
use crate::volume::error::VolumeError;

/// See the module's head.
pub struct Lanes {
    own: Lane,
    helpers: Vec<Helper>,
}

impl Lanes {
    /// One lane.
    pub fn new(own: Lane) -> Lanes {
        Lanes { own, helpers: Vec::new() }
    }

    /// Adds a lane on a thread of its own.
    pub fn add(&mut self, lane: Lane) -> io::Result<()> {
        self.helpers.push(Helper::new(lane)?);
        Ok(())
    }

    /// Does all of `epoch`, without helpers if `alone`.
    pub fn run(&mut self, epoch: &Arc<Epoch>, alone: bool) -> Share {
        let helpers = if alone { &[] } else { self.helpers.as_slice() };
        let begun: Vec<&Helper> = helpers.iter().filter(|helper| helper.begin(epoch)).collect();
        let mut share = self.own.run(epoch);
        for helper in begun {
            share.add(helper.end());
        }
        share
    }
}

/// A lane on a thread of its own, which ends with it.
struct Helper {
    epochs: Option<SyncSender<Arc<Epoch>>>,
    shares: Receiver<Share>,
    thread: Option<JoinHandle<()>>,
}

impl Helper {
    fn new(mut lane: Lane) -> io::Result<Helper> {
        let (epochs, given) = sync_channel::<Arc<Epoch>>(1);
        let (give, shares) = sync_channel(1);
        let run = move || {
            while let Ok(epoch) = given.recv() {
                if give.send(lane.run(&epoch)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("km-lane".into()).spawn(run)?;
        Ok(Helper { epochs: Some(epochs), shares, thread: Some(thread) })
    }

    fn begin(&self, epoch: &Arc<Epoch>) -> bool {
        self.epochs.as_ref().is_some_and(|epochs| epochs.send(Arc::clone(epoch)).is_ok())
    }

    fn end(&self) -> Share {
        self.shares.recv().unwrap_or_else(|_| Share {
            failure: Some(VolumeError::Refused("a thread of the rotation broke off".into())),
            ..Share::default()
        })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.epochs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
