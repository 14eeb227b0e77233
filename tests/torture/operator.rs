//! An operator in a hurry: starts, paces, pauses, resumes, rolls back and finalizes rotations at random.
//!
//! Invariant: which generation is the target is known whenever the last command that changes it was answered; a command
//! that was cut off leaves it open until the next start of the daemon tells.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use keymoult::control::api::{
    ActionResult, ByteRange, ErrorKind, Order, Pace, PaceRequest, PauseRequest, ReasonRequest, RotateStart, Verify,
    VerifyRequest,
};
use keymoult::control::{Client, ClientError};

use crate::support::next;
use crate::tally::Commands;

/// The rotation's target, as far as it is certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target(Option<u32>);

impl Target {
    /// The daemon says that it is `found`; from here on it is certain.
    pub fn judge(&mut self, found: Option<u32>) -> Result<(), String> {
        let known = std::mem::replace(&mut self.0, found);
        match known {
            Some(known) if found != Some(known) => {
                Err(format!("the rotation's target is generation {found:?}, but {known} was confirmed"))
            }
            _ => Ok(()),
        }
    }
}

/// Commands the volume `name` until told to stop, or until the daemon is gone.
pub fn operate(
    socket: &Path,
    name: &str,
    stop: &AtomicBool,
    target: &mut Target,
    seed: u64,
) -> Result<Commands, String> {
    let client = Client::new(socket).map_err(|error| error.to_string())?;
    let mut random = seed;
    let mut done = Commands::default();
    // Half of the rounds begin with a new rotation, so that there is one.
    let mut first = next(&mut random).is_multiple_of(2).then_some(Command::Start);
    while !stop.load(Relaxed) {
        let command = first.take().unwrap_or_else(|| Command::draw(&mut random));
        let before = *target;
        if command.retargets() {
            *target = Target(None);
        }
        match command.run(&client, name, &mut random) {
            Ok(result) => {
                *command.count(&mut done) += 1;
                if command.retargets() {
                    *target = Target(result.rotation.to);
                }
            }
            Err(ClientError::Daemon(error)) if matches!(error.error, ErrorKind::State | ErrorKind::Unavailable) => {
                done.refused += 1;
                *target = before;
            }
            // With the power off, devices fail: whoever cut it knows, and what was not answered is open.
            Err(ClientError::Daemon(error)) if matches!(error.error, ErrorKind::Io | ErrorKind::Damaged) => {
                done.failed += 1;
            }
            Err(ClientError::Daemon(error)) => return Err(format!("{command:?} was answered with {error:?}")),
            Err(_) => {
                done.cut_off += 1;
                return Ok(done);
            }
        }
        std::thread::sleep(Duration::from_millis(5 + next(&mut random) % 60));
    }
    Ok(done)
}

#[derive(Clone, Copy, Debug)]
enum Command {
    Start,
    Pause,
    Resume,
    Pace,
    RollBack,
    Finalize,
    ReadBack,
}

impl Command {
    fn draw(random: &mut u64) -> Command {
        match next(random) % 100 {
            0..28 => Command::Start,
            28..36 => Command::Pause,
            36..52 => Command::Resume,
            52..68 => Command::Pace,
            68..78 => Command::RollBack,
            78..95 => Command::Finalize,
            _ => Command::ReadBack,
        }
    }

    fn retargets(self) -> bool {
        matches!(self, Command::Start | Command::RollBack)
    }

    fn count(self, commands: &mut Commands) -> &mut u64 {
        match self {
            Command::Start => &mut commands.rotations,
            Command::Pause => &mut commands.pauses,
            Command::Resume => &mut commands.resumes,
            Command::Pace => &mut commands.paces,
            Command::RollBack => &mut commands.rollbacks,
            Command::Finalize => &mut commands.finalized,
            Command::ReadBack => &mut commands.read_backs,
        }
    }

    fn run(self, client: &Client, name: &str, random: &mut u64) -> Result<ActionResult, ClientError> {
        let reason = ReasonRequest::default();
        match self {
            Command::Start => client.start(name, &rotation(random)),
            Command::Pause => client.pause(name, &PauseRequest::default()),
            Command::Resume => client.resume(name, &PauseRequest::default()),
            Command::Pace => client.pace(name, &PaceRequest { pace: pace(random), reason: None }),
            Command::RollBack => client.rollback(name, &reason),
            Command::Finalize => client.finalize(name, &reason),
            Command::ReadBack => client.verify(name, &VerifyRequest { verify: Verify::Full, reason: None }),
        }
    }
}

fn rotation(random: &mut u64) -> RotateStart {
    let suite = ["aes-256-xts", "aes-128-xts"][next(random) as usize % 2];
    let verify = [Verify::Off, Verify::Sample(0.25), Verify::Full][next(random) as usize % 3];
    let order = match next(random) % 4 {
        0 => Order::OldestFirst,
        1 => Order::Ranges { ranges: vec![ByteRange { first: 1 << 20, end: 3 << 20 }] },
        _ => Order::Sequential,
    };
    let hold_finalize = next(random).is_multiple_of(2);
    let suite = Some(suite.into());
    RotateStart { suite, order, pace: pace(random), verify, hold_finalize, ..RotateStart::default() }
}

/// From a crawl to as fast as it goes; mostly so that a volume of some MiB keeps a rotation busy for about a round.
fn pace(random: &mut u64) -> Pace {
    let rates = [Some(1 << 20), Some(8 << 20), Some(16 << 20), Some(24 << 20), Some(64 << 20), None];
    Pace {
        bytes_per_s: rates[next(random) as usize % rates.len()],
        adaptive: next(random).is_multiple_of(4),
        ..Pace::default()
    }
}
