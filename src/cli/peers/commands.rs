//! An operator's commands on a replicated volume: requests in, the seat asked, words out.
//!
//! Invariants: what may be said here is said by the lead's record, or refused with the lead's name; an answer says what is committed,
//! or that it is still under way, and who is waited for; nobody waits longer than a client does.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::{Seat, telling};
use crate::cli::operations::life::{insist, user};
use crate::cli::operations::{Served, failed, reason, suite};
use crate::cli::words;
use crate::cluster::node::{By, Command, Refused, Waiting, Wanted};
use crate::cluster::record::{Key, OnDeadline};
use crate::control::api::{
    self, ActionResult, ApiError, BreakGlassRequest, DestroyRequest, ErrorKind, KeyActed, KeyRequest, PaceRequest,
    RotateStart, ScheduleRequest,
};
use crate::format::generations::KeyState;
use crate::units::Generation;
use crate::volume::VolumeError;
use crate::volume::holders::undrilled;
use crate::volume::life::{SystemClock, wait_until};

/// How long an answer is waited for; a client waits longer.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long this node's own volume is waited for, once it is committed.
const FOLLOWING: Duration = Duration::from_secs(2);

/// What came of asking.
pub enum Asked {
    /// It is committed, and what there is to say.
    Done(String),
    /// It stays under way, and what it waits for.
    UnderWay(Vec<Waiting>),
}

/// Who asks, and why.
pub fn wish(given: Option<&String>) -> Result<By, ApiError> {
    Ok(By { actor: user(), reason: reason(given)? })
}

impl Seat {
    /// Asks the state machine, and waits for what comes of it.
    pub fn ask(&self, command: Command, by: By) -> Result<Asked, ApiError> {
        let answer = self.begin(command, by)?;
        match answer.recv_timeout(PATIENCE) {
            Ok(Ok(said)) => Ok(Asked::Done(said)),
            Ok(Err(refused)) => Err(self.refused(&refused)),
            Err(RecvTimeoutError::Timeout) => Ok(Asked::UnderWay(self.waiting())),
            Err(RecvTimeoutError::Disconnected) => Err(going()),
        }
    }

    /// Waits until this node's volume is as the committed record says, but not for long; what to say if it is not.
    fn follow(&self) -> Option<String> {
        let followed = wait_until(&SystemClock::default(), FOLLOWING, || self.has_followed());
        followed.is_none().then(|| {
            "this node's own volume is still being brought to it; `keymoult peer status` says what hinders it".into()
        })
    }

    fn refused(&self, refused: &Refused) -> ApiError {
        let error = ApiError::new(ErrorKind::State, refused.to_string()).at(format!("volume {}", self.name()));
        match refused {
            Refused::NotLead { lead, epoch } if self.leave.is_some() => {
                ApiError::new(ErrorKind::State, format!("{lead} leads this volume (epoch {epoch})"))
                    .at(format!("volume {}", self.name()))
                    .hint(format!("say it on {lead}; if {lead} is gone, another node leads once its lease has ended"))
            }
            Refused::NotLead { lead, .. } => error.hint(format!(
                "say it on {lead}; if {lead} is gone, `keymoult peer promote {}` makes this node the lead",
                self.name()
            )),
            Refused::Members(_) => ApiError::new(ErrorKind::Unavailable, refused.to_string())
                .at(format!("volume {}", self.name()))
                .hint(format!("`keymoult peer status {}` shows who is missing", self.name())),
            Refused::Busy(_) => error.hint(format!("`keymoult peer status {}` shows how far it is", self.name())),
            Refused::State(_) => error,
        }
    }
}

/// The daemon, or the seat, is going away.
pub fn going() -> ApiError {
    ApiError::new(ErrorKind::Unavailable, "the daemon is going away")
}

/// What is waited for, a sentence each.
pub fn waits(waiting: &[Waiting]) -> Vec<String> {
    let one = |it: &Waiting| {
        let since = words::time(it.since).map(|since| format!(", since {since}")).unwrap_or_default();
        format!("it waits for {}: {}{since}", it.member, it.what)
    };
    match waiting {
        [] => vec!["it stays under way; `keymoult peer status` shows how far it is".into()],
        several => several.iter().map(one).collect(),
    }
}

/// Whether it is done, and what there is to say of it.
fn came_of(seat: &Seat, asked: Asked) -> (bool, Vec<String>) {
    match asked {
        Asked::Done(said) => (true, std::iter::once(said).chain(seat.follow()).collect()),
        Asked::UnderWay(waiting) => (false, waits(&waiting)),
    }
}

/// Carries out a command about the rotation.
pub fn act(seat: &Seat, served: &Served, command: Command, by: By) -> Result<ActionResult, ApiError> {
    let (complete, notes) = came_of(seat, seat.ask(command, by)?);
    let (volume, rotation) = (served.name.clone(), telling::rotation(seat, served));
    Ok(ActionResult { volume, changed: complete, complete, notes, rotation })
}

/// `rotate start`.
pub fn start(seat: &Seat, served: &Served, request: &RotateStart) -> Result<ActionResult, ApiError> {
    request.pace.check().map_err(|error| ApiError::new(ErrorKind::BadInput, error))?;
    if request.order != crate::control::api::Order::Sequential {
        let what = "replicas are re-encrypted in sequential order: leave --order away";
        return Err(ApiError::new(ErrorKind::Unsupported, what));
    }
    let table = served.controller.volume().table();
    let present = table.entry(table.rotation.target).map_or(0, |entry| entry.suite);
    let together = request.together.unwrap_or_default();
    let wanted = Wanted {
        suite: suite(request.suite.as_ref(), present)?.id(),
        hold_finalize: request.hold_finalize,
        one_at_a_time: together.one_at_a_time,
        cold_proof: together.cold_proof,
        pace: words::pace_in(&request.pace),
        verify: words::verify_in(request.verify),
        deadline_s: together.deadline_s.unwrap_or(0),
        on_deadline: match together.on_deadline {
            api::OnDeadline::Alarm => OnDeadline::Alarm,
            api::OnDeadline::Undo => OnDeadline::Undo,
        },
    };
    rotate(seat, served, wanted, wish(request.reason.as_ref())?)
}

/// Starts a rotation, by leave of the coordinator where there is one.
fn rotate(seat: &Seat, served: &Served, wanted: Wanted, by: By) -> Result<ActionResult, ApiError> {
    let Some(leave) = &seat.leave else { return begin(seat, served, wanted, by) };
    if let Some(view) = seat.view().filter(|view| view.leads) {
        leave.take(view.durable.committed.record.change.id + 1).map_err(|why| {
            ApiError::new(ErrorKind::State, why)
                .at(format!("volume {}", served.name))
                .hint("`keymoult peer list` shows the coordinator, a freeze, and who has leave to rotate")
        })?;
    }
    let done = begin(seat, served, wanted, by);
    if done.is_err() {
        leave.give_back();
    }
    done
}

/// Begins a change, and waits until it is on this node's disk, so that it can be told of.
fn begin(seat: &Seat, served: &Served, wanted: Wanted, by: By) -> Result<ActionResult, ApiError> {
    let accepted = || seat.view().map_or(0, |view| view.durable.accepted.record.change.id);
    let before = accepted();
    let done = act(seat, served, Command::Rotate(wanted), by)?;
    wait_until(&SystemClock::default(), FOLLOWING, || accepted() > before);
    Ok(ActionResult { rotation: telling::rotation(seat, served), ..done })
}

/// `rotate pace`.
pub fn pace(seat: &Seat, served: &Served, request: &PaceRequest) -> Result<ActionResult, ApiError> {
    request.pace.check().map_err(|error| ApiError::new(ErrorKind::BadInput, error))?;
    act(seat, served, Command::Pace(words::pace_in(&request.pace)), wish(request.reason.as_ref())?)
}

/// What a step in the life of a key came to, on record.
fn acted(seat: &Seat, served: &Served, generation: Generation, asked: Asked) -> KeyActed {
    let key = seat.committed_key(generation);
    let (complete, notes) = came_of(seat, asked);
    KeyActed {
        volume: served.name.clone(),
        generation: generation.0,
        state: key.map(|key: Key| words::state(key.state)).unwrap_or_default(),
        changed: complete,
        complete,
        notes,
        ..KeyActed::default()
    }
}

/// A step of a key that takes no more than its number.
pub fn key(
    seat: &Seat,
    served: &Served,
    request: &KeyRequest,
    command: fn(Generation) -> Command,
) -> Result<KeyActed, ApiError> {
    let generation = Generation(request.generation);
    let asked = seat.ask(command(generation), wish(request.reason.as_ref())?)?;
    Ok(acted(seat, served, generation, asked))
}

/// `key schedule`. `least` is the policy's delay, seconds.
pub fn schedule(seat: &Seat, served: &Served, request: &ScheduleRequest, least: u64) -> Result<KeyActed, ApiError> {
    let generation = Generation(request.generation);
    let after = request.after_s.unwrap_or(least);
    if after < least {
        insist(request.break_glass, request.reason.as_ref(), &format!("a delay below the policy's {least} s"))?;
    }
    let date = words::now().saturating_add(after);
    let asked = seat.ask(Command::Schedule(generation, date), wish(request.reason.as_ref())?)?;
    let mut acted = acted(seat, served, generation, asked);
    if acted.complete {
        acted.notes.push(format!("it may be destroyed from {} on", words::time(date).unwrap_or_default()));
    }
    Ok(acted)
}

/// `key destroy`. `drill_max_age` is the policy's, seconds: it is asked of the backups and bundles that this node has made.
pub fn destroy(
    seat: &Seat,
    served: &Served,
    request: &DestroyRequest,
    drill_max_age: Option<u64>,
) -> Result<KeyActed, ApiError> {
    let generation = Generation(request.generation);
    for (given, what) in [
        (request.break_glass, "destroying a key before its date"),
        (request.despite_holders, "destroying a key that something else holds"),
    ] {
        if given {
            insist(true, request.reason.as_ref(), what)?;
        }
    }
    if seat.view().is_some_and(|view| view.leads) && !request.despite_holders {
        let undrilled = undrilled(&served.controller.volume().holders(), drill_max_age, words::now());
        if let Some(why) = undrilled {
            let why = format!("generation {generation} cannot be destroyed: {why}");
            return Err(failed(VolumeError::Refused(why)));
        }
    }
    let command = Command::Destroy { generation, early: request.break_glass, despite_pins: request.despite_holders };
    let asked = seat.ask(command, wish(request.reason.as_ref())?)?;
    Ok(acted(seat, served, generation, asked))
}

/// `key compromise`: the mark, and a rotation away from the key at top priority if it is the one that is written.
pub fn compromise(seat: &Seat, served: &Served, request: &BreakGlassRequest) -> Result<KeyActed, ApiError> {
    let generation = Generation(request.generation);
    if request.undo {
        insist(request.break_glass, request.reason.as_ref(), "taking the mark away")?;
    }
    let by = wish(request.reason.as_ref())?;
    let asked = seat.ask(Command::Compromise(generation, !request.undo), by.clone())?;
    let mut acted = acted(seat, served, generation, asked);
    if !request.undo {
        acted.notes.push(flight(seat, generation, by));
    }
    Ok(acted)
}

/// Away from a key that is known to others.
fn flight(seat: &Seat, generation: Generation, by: By) -> String {
    let Some(key) = seat.committed_key(generation) else { return "it stays under way".into() };
    let top = crate::rotation::TOP;
    let (command, what) = match key.state {
        KeyState::Active => {
            let wanted = Wanted {
                suite: key.suite,
                hold_finalize: false,
                one_at_a_time: false,
                cold_proof: false,
                pace: top,
                verify: crate::format::generations::VerifyMode::Full,
                deadline_s: 0,
                on_deadline: OnDeadline::Alarm,
            };
            (Command::Rotate(wanted), "a rotation away from it has begun, at top priority")
        }
        KeyState::Draining => (Command::Pace(top), "the rotation leaves it, at top priority from now on"),
        _ => return "nothing is written under it".into(),
    };
    match seat.ask(command, By { reason: format!("generation {generation} is compromised: {}", by.reason), ..by }) {
        Ok(Asked::Done(said)) => format!("{what}: {said}"),
        Ok(Asked::UnderWay(waiting)) => format!("{what}; {}", waits(&waiting).join("; ")),
        Err(error) => format!("no rotation away from it could begin: {}", error.what),
    }
}

/// `key revoke`: by majority, and out of memory here and wherever it is known.
pub fn revoke(seat: &Seat, served: &Served, request: &KeyRequest) -> Result<KeyActed, ApiError> {
    let generation = Generation(request.generation);
    let asked = seat.ask(Command::Revoke(generation), wish(request.reason.as_ref())?)?;
    let mut acted = acted(seat, served, generation, asked);
    let is_gone = served.controller.volume().is_closed(generation);
    acted.notes.push(match is_gone {
        true => "its key has left memory on this node".into(),
        false => "its key is about to leave memory on this node".to_owned(),
    });
    Ok(acted)
}

/// `key reinstate`.
pub fn reinstate(seat: &Seat, served: &Served, request: &BreakGlassRequest) -> Result<KeyActed, ApiError> {
    insist(request.break_glass, request.reason.as_ref(), "giving a withdrawn key back")?;
    let generation = Generation(request.generation);
    let asked = seat.ask(Command::Reinstate(generation), wish(request.reason.as_ref())?)?;
    Ok(acted(seat, served, generation, asked))
}

/// `rotate pause --here` and `resume --here`: this node's drain alone, whoever leads.
pub fn hold_here(seat: &Seat, served: &Served, hold: bool, by: By) -> Result<ActionResult, ApiError> {
    if !hold && served.controller.volume().rotation().phase == crate::format::generations::Phase::Failed {
        // What failed here goes on here.
        served.controller.resume().map_err(failed)?;
    }
    act(seat, served, if hold { Command::Hold } else { Command::Release }, by)
}
