//! Opening the volumes of a daemon: with patience for keepers that are not there yet, and without the volumes whose
//! keeper stays away, if the operator wants that.
//!
//! Invariants: the patience is over all volumes, counted from the start, so that many volumes do not wait in turn; every
//! try asks all KEKs of a volume, so that one that answers is enough; what waiting does not mend is not waited for; a
//! signal to stop ends the waiting. A volume that is damaged, or whose wrap was changed, is never merely left out.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::alarms::{self, Alarms};
use super::args::{KekPatience, Unavailable};
use super::config::{ServePlan, VolumePlan};
use super::daemon::cache_mode;
use super::failure::Failure;
use super::failure_of;
use super::keks::{self, Missing};
use super::operations::census_line;
use crate::control::authorize::{Object, Verb};
use crate::control::door::Door;
use crate::crypto::EngineKind;
use crate::engine::EngineError;
use crate::keys::{Backoff, Keks, KeyErrorClass, Witness};
use crate::volume::open::{OpenVolume, open};
use crate::volume::{Volume, VolumeError};

/// How often, and how long apart, a held lock is tried again: three seconds in all.
const LOCK_TRIES: u32 = 30;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// A volume that was opened to be served.
pub struct Opened<'a> {
    /// Its plan.
    pub planned: &'a VolumePlan,
    /// The volume.
    pub volume: Arc<Volume>,
    /// Its KEKs.
    pub keks: Arc<Keks>,
    /// What opening it gave cause for.
    pub alarms: Alarms,
}

/// What came of opening all of them.
pub enum Opening<'a> {
    /// These are open; of those left out, each with the reason.
    Done(Vec<Opened<'a>>, Vec<String>),
    /// A signal came first.
    Stopped,
}

/// Opens what `plan` names. `signals` are those that end the daemon, blocked in this thread.
pub fn open_all<'a>(
    plan: &'a ServePlan,
    engine: EngineKind,
    door: &Arc<Door>,
    witness: &Arc<dyn Witness>,
    signals: &SigSet,
) -> Result<Opening<'a>, Failure> {
    let start = Instant::now();
    let (mut opened, mut left_out, mut first) = (Vec::new(), Vec::new(), None);
    for planned in &plan.volumes {
        let (keks, missing) = keks::open_each(&planned.keks, witness)?;
        let how = OpenVolume {
            path: &planned.path,
            header: planned.header.as_deref(),
            keks: &keks,
            read_only: planned.read_only,
            cache: cache_mode(plan.cache),
            engine,
        };
        let error = match open_patiently(&how, &planned.name, plan.kek_patience, start, signals) {
            Ok(None) => return Ok(Opening::Stopped),
            Ok(Some(volume)) => {
                told(&planned.name, &volume);
                let alarms = Alarms::default();
                alarms::of_opening(&alarms, &planned.name, &volume, &missing, door);
                opened.push(Opened { planned, volume: Arc::new(volume), keks: Arc::new(Keks::new(keks)), alarms });
                continue;
            }
            Err(error) => error,
        };
        let failure = failure(&error, planned, &missing, door);
        if plan.kek_unavailable == Unavailable::End || !may_be_left_out(&error) {
            return Err(failure);
        }
        let why = failure_of::volume_api(&error).what;
        tracing::error!(name = planned.name, why, "the volume is not served");
        door.note(Verb::VolumeOpen, &Object::Volume(planned.name.clone()), &format!("not opened: {why}"));
        left_out.push(format!("volume {}: {why}; restart the daemon when its KEK can be had", planned.name));
        first.get_or_insert(failure);
    }
    match first {
        Some(failure) if opened.is_empty() => Err(failure),
        _ => Ok(Opening::Done(opened, left_out)),
    }
}

/// What the operator is told of a volume that does not open.
fn failure(error: &VolumeError, planned: &VolumePlan, missing: &[Missing], door: &Door) -> Failure {
    let mut failure = failure_of::volume(error).at(planned.path.display().to_string());
    for Missing { kek, why, hint } in missing {
        let what_to_do = hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        failure = failure.at(format!("{kek} was not tried: {why}{what_to_do}"));
    }
    let changed = matches!(error, VolumeError::WrongKey { .. } | VolumeError::Key(_))
        .then(|| keks::last_change(door.audit().path(), &planned.name));
    match changed.flatten() {
        Some(change) => failure.at(format!("its KEK was changed while it was served: {change}")),
        None => failure,
    }
}

fn told(name: &str, volume: &Volume) {
    let recovered = volume.recovered();
    tracing::info!(
        name,
        id = %volume.id(),
        backing = volume.caps().describe,
        census = census_line(&volume.census()),
        records = recovered.records,
        rolled_forward = recovered.rolled_forward,
        "volume opened"
    );
    if let Some(reason) = volume.poisoned() {
        tracing::error!(name, reason, "the volume is poisoned: it is served for reading only");
    }
}

/// Whether the trouble is the keeper's, and none of the volume.
fn may_be_left_out(error: &VolumeError) -> bool {
    use KeyErrorClass as Class;
    let VolumeError::Key(error) = error else { return false };
    matches!(error.class(), Class::Unreachable | Class::Sealed | Class::Throttled | Class::Denied | Class::Disabled)
}

/// Opens something; waits a little for a lock that is held, because the kernel may still be ending the I/O of a daemon
/// that was killed a moment ago.
pub fn patiently<T>(mut open: impl FnMut() -> Result<T, VolumeError>) -> Result<T, VolumeError> {
    let mut tries = 0;
    loop {
        let error = match open() {
            Err(error) => error,
            opened => return opened,
        };
        let Some(pause) = lock_pause(&error, &mut tries) else { return Err(error) };
        std::thread::sleep(pause);
    }
}

/// How long to wait for a lock that is held; none for another trouble, or after enough tries.
fn lock_pause(error: &VolumeError, tries: &mut u32) -> Option<Duration> {
    let is_held = matches!(error, VolumeError::Backing(EngineError::InUse { .. }));
    *tries += u32::from(is_held);
    (is_held && *tries <= LOCK_TRIES).then_some(LOCK_PAUSE)
}

/// Opens a volume as [`patiently`] does; waits as long as `patience` allows for a keeper. None: a signal came.
fn open_patiently(
    how: &OpenVolume<'_>,
    name: &str,
    patience: KekPatience,
    start: Instant,
    signals: &SigSet,
) -> Result<Option<Volume>, VolumeError> {
    let mut backoff = Backoff::new(patience.0.unwrap_or(Duration::MAX));
    let mut tries = 0;
    loop {
        let error = match open(how) {
            Ok(volume) => return Ok(Some(volume)),
            Err(error) => error,
        };
        let pause = match &error {
            VolumeError::Key(error) if error.class().is_retryable() => {
                backoff.pause(start.elapsed(), getrandom::u32().unwrap_or(0))
            }
            other => lock_pause(other, &mut tries),
        };
        let Some(pause) = pause else { return Err(error) };
        if matches!(error, VolumeError::Key(_)) {
            let why = failure_of::volume_api(&error).what;
            tracing::warn!(name, why, "the volume cannot be opened yet; trying again");
        }
        if stopped_within(pause, signals) {
            return Ok(None);
        }
    }
}

/// Waits; whether a signal to stop came meanwhile.
fn stopped_within(pause: Duration, signals: &SigSet) -> bool {
    let mut stop = *signals;
    stop.remove(nix::sys::signal::Signal::SIGHUP);
    let Ok(signal) = SignalFd::with_flags(&stop, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC) else {
        std::thread::sleep(pause);
        return false;
    };
    let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [PollFd::new(signal.as_fd(), PollFlags::POLLIN)], timeout);
    matches!(signal.read_signal(), Ok(Some(_)))
}
