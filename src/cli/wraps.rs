//! `keymoult key rewrap`, `key wrap-add`, `key wrap-remove`: a volume that a daemon serves is changed by it, one that nobody
//! serves here, by the same code; with `--all` every volume of the daemon, some at a time.
//!
//! Invariants: every message says KEK or DEK; that no data was re-encrypted is said each time. With `--all` each volume is a
//! request of its own, authorized and recorded as such; the end tells which are done, and the exit code is the first
//! failure's.

use std::path::absolute;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::{Global, RewrapArgs, WrapAddArgs, WrapRemoveArgs, WrapTarget};
use super::daemon::open_keks;
use super::exit::Exit;
use super::failure::{Failure, bad_input};
use super::opening::patiently;
use super::output::Output;
use super::{failure_of, remote, words};
use crate::control::Client;
use crate::control::api::{KeyRewrapped, RewrapRequest, Rewrapped, Wrap, WrapAddRequest, WrapRemoveRequest};
use crate::crypto::EngineKind;
use crate::engine::{CacheMode, EngineError};
use crate::keys::{KekUri, NewKek, PassphraseSource};
use crate::units::Generation;
use crate::volume::VolumeError;
use crate::volume::open::{OpenVolume, open};
use crate::volume::wraps::{Addition, Removal, Step, WrapChange, WrapsChanged};

/// How long each step of a change takes.
pub struct Clock {
    last: Instant,
    times: [Duration; 4],
}

impl Clock {
    /// From now on.
    pub fn start() -> Clock {
        Clock { last: Instant::now(), times: [Duration::ZERO; 4] }
    }

    /// A step has ended.
    pub fn step(&mut self, step: Step) {
        let place = match step {
            Step::Wrapped => 0,
            Step::Added => 1,
            Step::Proven => 2,
            Step::Removed => 3,
        };
        self.times[place] = self.last.elapsed();
        self.last = Instant::now();
    }
}

/// A change in the words of the API.
pub fn rewrapped(volume: &str, changed: &WrapsChanged, clock: &Clock) -> Rewrapped {
    let wrap = |id| words::wrap(id, false);
    let keys = changed.keys.iter().map(|key| KeyRewrapped {
        generation: key.generation.0,
        added: key.added.as_ref().map(wrap),
        removed: key.removed.iter().map(wrap).collect(),
        wraps: key.wraps.iter().map(wrap).collect(),
    });
    let [wrap_us, add_us, prove_us, remove_us] =
        clock.times.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    let mut notes = Vec::new();
    if let Err(left) = &changed.swept {
        let left: Vec<String> = left.iter().map(ToString::to_string).collect();
        notes.push(format!(
            "the removed wraps of generations {} can still be read on the device: it does not overwrite in place; they open \
             nothing once the old KEK itself is destroyed",
            left.join(", ")
        ));
    }
    Rewrapped {
        volume: volume.to_owned(),
        changed: changed.is_change(),
        keys: keys.collect(),
        keks: changed.keks.iter().map(|kek| kek.describe().label.clone()).collect(),
        wrap_us,
        add_us,
        prove_us,
        remove_us,
        swept_bytes: changed.swept.as_ref().copied().unwrap_or(0),
        notes,
    }
}

/// A change that was asked for: of one volume, how it is asked of a daemon.
type Ask<'a> = &'a (dyn Fn(&Client, &str) -> Result<Rewrapped, Failure> + Sync);

/// Runs `key rewrap`.
pub fn rewrap(args: &RewrapArgs, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let target = &args.target;
    if !target.keks.is_empty() {
        let remove = match (&args.from, args.keep_old) {
            (_, true) => Removal::Nothing,
            (Some(kek), false) => Removal::By(kek.clone()),
            (None, false) => Removal::InUse,
        };
        return alone(target, Some((&args.to, args.new_kek, true)), remove, output);
    }
    let request = RewrapRequest {
        to: absolute_uri(&args.to)?,
        new_kek: args.new_kek,
        from: args.from.clone(),
        keep_old: args.keep_old,
        generation: target.generation,
        reason: target.reason.clone(),
    };
    served(target, global, output, &|client, volume| Ok(client.rewrap(volume, &request)?))
}

/// Runs `key wrap-add`.
pub fn add(args: &WrapAddArgs, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let target = &args.target;
    if !target.keks.is_empty() {
        return alone(target, Some((&args.to, args.new_kek, false)), Removal::Nothing, output);
    }
    let request = WrapAddRequest {
        to: absolute_uri(&args.to)?,
        new_kek: args.new_kek,
        generation: target.generation,
        reason: target.reason.clone(),
    };
    served(target, global, output, &|client, volume| Ok(client.wrap_add(volume, &request)?))
}

/// Runs `key wrap-remove`.
pub fn remove(args: &WrapRemoveArgs, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let target = &args.target;
    if !target.keks.is_empty() {
        return alone(target, None, Removal::By(args.from.clone()), output);
    }
    let request =
        WrapRemoveRequest { from: args.from.clone(), generation: target.generation, reason: target.reason.clone() };
    served(target, global, output, &|client, volume| Ok(client.wrap_remove(volume, &request)?))
}

/// The URI with its path made absolute, since the daemon has another directory.
fn absolute_uri(text: &str) -> Result<String, Failure> {
    let uri: KekUri = text.parse().map_err(|error| failure_of::key(&error))?;
    let whole = |path| absolute(path).map_err(|error| bad_input(format!("{text}: {error}")));
    Ok(match uri {
        KekUri::File(path) => KekUri::File(whole(path)?).to_string(),
        KekUri::Passphrase(PassphraseSource::File(path)) => {
            KekUri::Passphrase(PassphraseSource::File(whole(path)?)).to_string()
        }
        _ => text.to_owned(),
    })
}

fn served(target: &WrapTarget, global: &Global, output: &Output, ask: Ask<'_>) -> Result<Exit, Failure> {
    let client = remote::client(global)?;
    if let Some(volume) = target.volume.as_ref().filter(|_| !target.all) {
        output.result(&ask(&client, &volume.display().to_string())?, text)?;
        return Ok(Exit::Ok);
    }
    let names: Vec<String> = client.status()?.volumes.into_iter().map(|volume| volume.name).collect();
    let summary = every(&names, usize::from(target.jobs), &|name| ask(&remote::client(global)?, name));
    output.result(&summary, Summary::text)?;
    Ok(summary.exit)
}

/// What was done to which volume.
#[derive(Serialize)]
struct Summary {
    done: Vec<Rewrapped>,
    failed: Vec<Failed>,
    #[serde(skip)]
    exit: Exit,
}

#[derive(Serialize)]
struct Failed {
    volume: String,
    error: serde_json::Value,
    #[serde(skip)]
    human: String,
}

/// Does it to every volume, so many at a time.
fn every(names: &[String], jobs: usize, ask: &(dyn Fn(&str) -> Result<Rewrapped, Failure> + Sync)) -> Summary {
    let (next, results) = (Mutex::new(names.iter()), Mutex::new(Vec::new()));
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(names.len()) {
            scope.spawn(|| {
                while let Some(name) = take() {
                    let result = ask(name);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((name.clone(), result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut summary = Summary { done: Vec::new(), failed: Vec::new(), exit: Exit::Ok };
    for (volume, result) in results {
        match result {
            Ok(done) => summary.done.push(done),
            Err(failure) => {
                if summary.failed.is_empty() {
                    summary.exit = failure.exit();
                }
                let error = serde_json::from_str(&failure.json()).unwrap_or_default();
                summary.failed.push(Failed { volume, error, human: failure.human() });
            }
        }
    }
    summary
}

impl Summary {
    fn text(&self) -> String {
        let mut all: String = self.done.iter().map(text).collect();
        for failed in &self.failed {
            all.push_str(&format!(
                "{}: KEK not changed\n  {}\n",
                failed.volume,
                failed.human.trim_end().replace('\n', "\n  ")
            ));
        }
        all.push_str(&format!("{} volumes are done, {} failed\n", self.done.len(), self.failed.len()));
        all
    }
}

/// Nobody serves it: it is opened, which recovers it if need be, changed and closed. `add` is a URI, whether to make its key
/// file, and whether it comes first.
fn alone(
    target: &WrapTarget,
    add: Option<(&String, bool, bool)>,
    remove: Removal,
    output: &Output,
) -> Result<Exit, Failure> {
    crate::crypto::selftest::run().map_err(|error| Failure::from_error(Exit::Internal, &error))?;
    let Some(path) = &target.volume else { return Err(bad_input("no volume is named")) };
    let place = path.display().to_string();
    let (keks, _) = open_keks(&target.keks, NewKek::Never, None)?;
    let header = target.header.as_deref();
    let how =
        OpenVolume { path, header, keks: &keks, read_only: false, cache: CacheMode::Auto, engine: EngineKind::best() };
    let volume = Arc::new(patiently(|| open(&how)).map_err(|error| refused(&error).at(place.clone()))?);
    let (added, first) = match add {
        Some((uri, new, first)) => {
            let new = if new { NewKek::IfMissing } else { NewKek::Never };
            (open_keks(std::slice::from_ref(uri), new, None)?.0, first)
        }
        None => (Vec::new(), false),
    };
    let add = added.first().map(|kek| Addition { kek, first });
    let change = WrapChange { add, remove, generation: target.generation.map(Generation) };
    let mut clock = Clock::start();
    let changed = volume.change_wraps(&keks, &change, &mut |step| clock.step(step));
    let changed = changed.map_err(|error| failure_of::volume(&error).at(place.clone()))?;
    output.result(&rewrapped(&place, &changed, &clock), text)?;
    Ok(Exit::Ok)
}

/// The KEK of a volume in use is changed by whoever serves it.
fn refused(error: &VolumeError) -> Failure {
    match error {
        VolumeError::Backing(EngineError::InUse { .. }) => failure_of::volume(error)
            .hint("a daemon serves it: name it by its export name, without --kek, and the daemon does it"),
        _ => failure_of::volume(error),
    }
}

fn name(wrap: &Wrap) -> String {
    format!("{}:{} v{}", wrap.provider, wrap.kek_id, wrap.kek_version)
}

fn names(wraps: &[Wrap]) -> String {
    wraps.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// A change for people.
fn text(done: &Rewrapped) -> String {
    if !done.changed {
        return format!("{}: KEK unchanged: it opens every key asked for already, as was just proven\n", done.volume);
    }
    let (adds, removes) =
        (done.keys.iter().any(|key| key.added.is_some()), done.keys.iter().any(|key| !key.removed.is_empty()));
    let verb = match (adds, removes) {
        (true, false) => "added",
        (false, true) => "removed",
        _ => "changed",
    };
    let mut text = format!("{}: KEK {verb}; no data was re-encrypted\n", done.volume);
    for key in &done.keys {
        let whose = match key.generation {
            0 => "metadata key".to_owned(),
            generation => format!("DEK of generation {generation}"),
        };
        let mut parts: Vec<String> = key.added.iter().map(|wrap| format!("added {}", name(wrap))).collect();
        if !key.removed.is_empty() {
            parts.push(format!("removed {}", names(&key.removed)));
        }
        parts.push(format!("wrapped by {}", names(&key.wraps)));
        text.push_str(&format!("  {whose}: {}\n", parts.join("; ")));
    }
    let ms = |us: u64| format!("{}.{:01} ms", us / 1000, us % 1000 / 100);
    let mut times = vec![format!("opened and wrapped in {}", ms(done.wrap_us))];
    times.extend(adds.then(|| format!("added in {}", ms(done.add_us))));
    times.push(format!("proven from the device in {}", ms(done.prove_us)));
    times.extend(removes.then(|| format!("removed in {}", ms(done.remove_us))));
    text.push_str(&format!("  {}\n", times.join(", ")));
    if done.swept_bytes > 0 {
        text.push_str(&format!("  no removed wrap is left in the {} bytes of the key table\n", done.swept_bytes));
    }
    done.notes.iter().for_each(|note| text.push_str(&format!("  note: {note}\n")));
    text
}
