//! `keymoult volume resize`: a volume that a daemon serves is grown by it, one that nobody serves here, by the same code.
//!
//! Invariants: keys on the line mean files on this machine, no keys a daemon; the report is the same; a size relative to
//! the present one is made absolute once, before anything is asked for.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::args::{Global, NewSize, ResizeArgs};
use super::daemon::open_keks;
use super::exit::Exit;
use super::failure::{Failure, bad_input};
use super::opening::patiently;
use super::output::Output;
use super::progress::Progress;
use super::records::Records;
use super::{failure_of, remote, size};
use crate::control::api::{ResizeRequest, Resized};
use crate::control::authorize::Verb;
use crate::crypto::EngineKind;
use crate::engine::{CacheMode, EngineError};
use crate::keys::NewKek;
use crate::volume::VolumeError;
use crate::volume::open::{OpenVolume, open};

/// Pause between two looks at a growth that takes its time.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs `volume resize`.
pub fn run(args: &ResizeArgs, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let resized = match args.keks.is_empty() {
        true => served(args, global, output)?,
        false => {
            let records = Records::wanted(&args.record, output)?;
            let reason = args.reason.as_deref();
            records.act(Verb::VolumeResize, &args.volume, reason, || alone(args, &records, output))?
        }
    };
    output.result(&resized, text)?;
    Ok(Exit::Ok)
}

/// The daemon does it; it is asked how far it is as long as there is no answer.
fn served(args: &ResizeArgs, global: &Global, output: &Output) -> Result<Resized, Failure> {
    let client = remote::client(global)?;
    let name = args.volume.display().to_string();
    let size_bytes = match args.size {
        NewSize::To(size) => size,
        NewSize::By(more) => sum(client.volume(&name)?.size_bytes, more)?,
    };
    let (request, asking) = (ResizeRequest { size_bytes, reason: args.reason.clone() }, remote::client(global)?);
    let (tell, told) = channel();
    let volume = name.clone();
    std::thread::spawn(move || tell.send(asking.resize(&volume, &request)));
    let mut progress = Zeroing::new(output);
    loop {
        match told.recv_timeout(LOOK_EVERY) {
            Ok(answer) => return Ok(answer?),
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::new(Exit::Internal, "the request was lost")),
            Err(RecvTimeoutError::Timeout) => {
                let growing = client.volume(&name).ok().and_then(|volume| volume.growing);
                growing.into_iter().for_each(|growing| progress.advance(growing.bytes_done, growing.bytes_total));
            }
        }
    }
}

/// Nobody serves it: it is opened, which recovers it if need be, grown and closed.
fn alone(args: &ResizeArgs, records: &Records, output: &Output) -> Result<Resized, Failure> {
    crate::crypto::selftest::run().map_err(|error| Failure::from_error(Exit::Internal, &error))?;
    let path = args.volume.display().to_string();
    let (keks, _) = open_keks(&args.keks, NewKek::Never, records.witness().as_ref())?;
    let how = OpenVolume {
        path: &args.volume,
        header: args.header.as_deref(),
        keks: &keks,
        read_only: false,
        cache: CacheMode::Auto,
        engine: EngineKind::best(),
    };
    let volume = Arc::new(patiently(|| open(&how)).map_err(|error| refused(&error).at(path.clone()))?);
    let size_bytes = match args.size {
        NewSize::To(size) => size,
        NewSize::By(more) => sum(volume.size(), more)?,
    };
    let mut progress = Zeroing::new(output);
    let grown = volume.grow(size_bytes, &mut |done, total| {
        progress.advance(done, total);
        true
    });
    drop(progress);
    let size_before_bytes = grown.map_err(|error| failure_of::volume(&error).at(path.clone()))?;
    Ok(Resized {
        volume: path,
        changed: size_before_bytes != volume.size(),
        size_before_bytes,
        size_bytes: volume.size(),
        max_size_bytes: volume.shape().max_size,
    })
}

/// Progress that begins when there is some.
struct Zeroing {
    progress: Progress,
    begun: bool,
}

impl Zeroing {
    fn new(output: &Output) -> Zeroing {
        Zeroing { progress: Progress::new(output), begun: false }
    }

    fn advance(&mut self, done: u64, total: u64) {
        if !std::mem::replace(&mut self.begun, true) {
            self.progress.begin("zeroing what is added", total);
        }
        self.progress.advance(done);
    }
}

fn sum(present: u64, more: u64) -> Result<u64, Failure> {
    present.checked_add(more).ok_or_else(|| bad_input("the size is too large").at("--size"))
}

/// A volume in use can be grown all the same: by whoever serves it.
fn refused(error: &VolumeError) -> Failure {
    match error {
        VolumeError::Backing(EngineError::InUse { .. }) => failure_of::volume(error)
            .hint("a daemon serves it: `keymoult volume resize NAME --size SIZE`, with its export name and no --kek"),
        _ => failure_of::volume(error),
    }
}

fn text(resized: &Resized) -> String {
    let room = format!("it may grow to {}", size::bytes(resized.max_size_bytes));
    match resized.changed {
        true => format!(
            "{} has grown from {} to {}; {room}\n",
            resized.volume,
            size::bytes(resized.size_before_bytes),
            size::bytes(resized.size_bytes)
        ),
        false => format!("{} has {} already; {room}\n", resized.volume, size::bytes(resized.size_bytes)),
    }
}
