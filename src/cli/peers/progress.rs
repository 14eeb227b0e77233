//! How far this node's replica is, in the words that peers understand.
//!
//! Invariant: what is told is what the volume's own table, tags and worker say at that moment; it is told when it changes, and now and
//! then anyhow, so that silence means trouble.

use crate::cli::operations::Served;
use crate::cluster::progress::Progress;
use crate::cluster::record::{Keyring, Step};
use crate::cluster::stamp::Stamp;
use crate::format::generations::Phase;
use crate::rotation::StateName;
use crate::volume::check::JobState;

/// Seconds after which it is told although nothing has changed.
const EVERY: u64 = 10;

/// What the seat knows of its own replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The record its volume has been brought to.
    pub converged: Stamp,
    /// What keeps it from being brought further.
    pub hindrance: Option<String>,
    /// Held by an operator on this node alone.
    pub held: bool,
}

/// Tells how far a replica is.
#[derive(Debug, Default)]
pub struct Reporter {
    sequence: u64,
    last: Option<Progress>,
}

impl Reporter {
    /// A reporter whose words count more than those of an earlier run of the daemon.
    pub fn new(now: u64) -> Reporter {
        Reporter { sequence: now.saturating_mul(1000), last: None }
    }

    /// What there is to tell now, if anything is.
    pub fn tell(&mut self, served: &Served, record: &Keyring, standing: &Standing, now: u64) -> Option<Progress> {
        let fresh = measure(served, record, standing, now);
        let is_news = self.last.as_ref().is_none_or(|last| {
            now.abs_diff(last.at) >= EVERY
                || Progress { at: last.at, sequence: last.sequence, ..fresh.clone() } != *last
        });
        if !is_news {
            return None;
        }
        self.sequence += 1;
        let told = Progress { sequence: self.sequence, ..fresh };
        self.last = Some(told.clone());
        Some(told)
    }
}

fn measure(served: &Served, record: &Keyring, standing: &Standing, now: u64) -> Progress {
    let status = served.controller.status();
    let (volume, rotation) = (served.controller.volume(), &status.rotation);
    let census: Vec<_> = volume.census().into_iter().collect();
    let rate = status.progress.rate as u64;
    let left = status.extents_total.saturating_sub(status.extents_done).saturating_mul(volume.extent_size());
    // A generation that was given up again before this node wrote under it leaves nothing to drain.
    let never_left = record.change.step == Step::RolledBack
        && rotation.target == record.change.target
        && matches!(rotation.phase, Phase::Idle | Phase::Finalized)
        && census.iter().all(|(generation, _)| *generation == rotation.target);
    // What is poisoned does not go on, whatever the record says.
    let has_failed = status.state == StateName::Failed;
    let phase = match never_left {
        _ if has_failed => Phase::Failed,
        true => Phase::Drained,
        false => rotation.phase,
    };
    let eta_s = (phase == Phase::Running && rate > 0).then(|| left.div_ceil(rate.max(1)));
    let failed = status.why.filter(|_| phase == Phase::Failed);
    let job = served.checker.status();
    let is_whole = job.options.full && matches!(job.state, JobState::Done(_));
    Progress {
        sequence: 0,
        at: now,
        converged: standing.converged,
        hindrance: standing.hindrance.clone().or(failed),
        target: rotation.target,
        phase,
        held: standing.held,
        census,
        verified: status.progress.counters.verified,
        rate,
        eta_s,
        last_verified: if is_whole { job.started } else { 0 },
    }
}
