//! `keymoult rotate …`: asks the daemon, shows what it says; `wait` follows a rotation to its end.
//!
//! Invariants: `wait` ends with 0 if the rotation is finalized, or verified and held; if it goes back or fails, with 10, except that a
//! rollback waited for from its beginning ends with 0 when it is back. A paused rotation is waited for.

use std::time::{Duration, Instant};

use super::args::{Global, PaceArgs, RotateCommand, StartArgs, WaitArgs};
use super::exit::Exit;
use super::failure::{Failure, bad_input};
use super::output::{Output, properties};
use super::progress::{self, Progress};
use super::{remote, size};
use crate::control::Client;
use crate::control::api::{
    ActionResult, KeeperState, Pace, PaceRequest, Rotation, RotationPlan, RotationState, VerifyRequest,
};

/// Runs a `rotate` command.
pub fn run(command: &RotateCommand, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let client = remote::client(global)?;
    let result = match command {
        RotateCommand::Plan(args) => {
            let plan = client.plan(&args.volume, &args.request()?)?;
            output.result(&plan, plan_text)?;
            return Ok(Exit::Ok);
        }
        RotateCommand::Status { volume } => {
            output.result(&client.rotation(volume)?, |rotation| rotation_text(volume, rotation))?;
            return Ok(Exit::Ok);
        }
        RotateCommand::Wait(args) => return wait(&client, args, output),
        RotateCommand::Start(args) => return start(&client, args, output),
        RotateCommand::Pause(args) => client.pause(&args.of.volume, &args.request())?,
        RotateCommand::Resume(args) => client.resume(&args.of.volume, &args.request())?,
        RotateCommand::Rollback(args) => client.rollback(&args.volume, &args.request())?,
        RotateCommand::Finalize(args) => client.finalize(&args.volume, &args.request())?,
        RotateCommand::Pace { volume, pace, reason } => set_pace(&client, volume, pace, reason.clone())?,
        RotateCommand::Verify { volume, verify, reason } => {
            client.verify(volume, &VerifyRequest { verify: *verify, reason: reason.clone() })?
        }
    };
    output.result(&result, action_text)?;
    Ok(exit(&result))
}

/// 10 where something stays under way.
fn exit(result: &ActionResult) -> Exit {
    if result.complete { Exit::Ok } else { Exit::NotReached }
}

fn start(client: &Client, args: &StartArgs, output: &Output) -> Result<Exit, Failure> {
    let result = client.start(&args.rotate.volume, &args.rotate.request()?)?;
    if !args.wait {
        output.result(&result, action_text)?;
        return Ok(exit(&result));
    }
    if !output.is_json() {
        output.text(&action_text(&result))?;
    }
    wait(client, &WaitArgs { volume: args.rotate.volume.clone(), timeout: None, interval: 0.5 }, output)
}

fn set_pace(client: &Client, volume: &str, pace: &PaceArgs, reason: Option<String>) -> Result<ActionResult, Failure> {
    if pace.is_empty() {
        return Err(bad_input("no pace is given").hint("add --rate, --factor, --adaptive or --fixed"));
    }
    pace.apply(Pace::default())?;
    let pace = pace.apply(client.rotation(volume)?.pace)?;
    Ok(client.pace(volume, &PaceRequest { pace, reason })?)
}

/// Follows a rotation until it settles.
fn wait(client: &Client, args: &WaitArgs, output: &Output) -> Result<Exit, Failure> {
    let began = Instant::now();
    let mut progress = Progress::new(output);
    let mut shown = RotationState::Idle;
    let mut rotation = client.rotation(&args.volume)?;
    let going_back = matches!(rotation.state, RotationState::RollingBack | RotationState::RolledBack);
    while !is_over(&rotation) {
        if shown != rotation.state {
            progress.begin(rotation.state.name(), rotation.extents_total);
            shown = rotation.state;
        }
        progress.show(steps(&rotation), &detail(&rotation));
        if args.timeout.is_some_and(|seconds| began.elapsed().as_secs_f64() > seconds) {
            return Err(Failure::new(Exit::NotReached, "the rotation is not done in time")
                .at(format!("volume {}: {}", args.volume, super::status::rotation_line(&rotation)))
                .hint("it goes on; `keymoult rotate wait` again"));
        }
        std::thread::sleep(Duration::from_secs_f64(args.interval));
        rotation = client.rotation(&args.volume)?;
    }
    progress.end();
    output.result(&rotation, |rotation| rotation_text(&args.volume, rotation))?;
    match rotation.state {
        RotationState::Failed => Err(ended(&args.volume, &rotation, "the rotation failed")),
        RotationState::RolledBack if !going_back => Err(ended(&args.volume, &rotation, "the rotation went back")),
        _ => Ok(Exit::Ok),
    }
}

/// Whether waiting longer shows nothing new. A verified rotation that is not held finalizes itself; where none has begun, a reason for
/// that is a change of all replicas that is to come.
fn is_over(rotation: &Rotation) -> bool {
    let finalizes_itself = rotation.state == RotationState::Verified && !rotation.hold_finalize;
    let is_to_come = rotation.state == RotationState::Idle && rotation.why.is_some();
    rotation.state.is_settled() && !finalizes_itself && !is_to_come
}

fn ended(volume: &str, rotation: &Rotation, what: &str) -> Failure {
    let why = rotation.why.as_ref().or(rotation.last_error.as_ref());
    let failure = Failure::new(Exit::NotReached, what).at(format!("volume {volume}"));
    let failure = why.map_or(failure.clone(), |why| failure.at(format!("because: {why}")));
    failure.hint("the volume is served as before; `keymoult status` shows which key encrypts what")
}

/// How far the present step is, in extents.
fn steps(rotation: &Rotation) -> u64 {
    match rotation.state {
        RotationState::Verifying => rotation.extents_verified,
        _ => rotation.extents_done,
    }
}

fn detail(rotation: &Rotation) -> String {
    match rotation.state {
        RotationState::Paused => rotation.why.clone().unwrap_or_else(|| "waits for resume".into()),
        _ => progress::speed(rotation.rate_bytes_per_s, rotation.eta_s),
    }
}

fn action_text(result: &ActionResult) -> String {
    let changed = match (result.complete, result.changed) {
        (false, _) => " (under way)",
        (true, false) => " (nothing to change)",
        (true, true) => "",
    };
    let mut text = format!("volume {}: {}{changed}\n", result.volume, super::status::rotation_line(&result.rotation));
    text.extend(result.notes.iter().map(|note| format!("  {note}\n")));
    text
}

fn rotation_text(volume: &str, rotation: &Rotation) -> String {
    if rotation.state == RotationState::Idle {
        let why = rotation.why.as_ref().map_or_else(String::new, |why| format!("; {why}"));
        return format!("volume {volume}: no rotation yet{why}\n");
    }
    let mut pairs = vec![
        (
            "extents",
            format!(
                "{} of {} moved, {} verified",
                rotation.extents_done, rotation.extents_total, rotation.extents_verified
            ),
        ),
        (
            "rewritten",
            format!("{}, holes skipped {}", size::bytes(rotation.bytes_rewritten), size::bytes(rotation.bytes_holes)),
        ),
        ("cost", cost(rotation)),
        ("pace", pace_text(&rotation.pace)),
        ("verify", rotation.verify.to_string()),
        ("way back", rotation.rollback_to.map_or_else(|| "none".into(), |to| format!("to generation {to}"))),
    ];
    pairs.extend(rotation.last_error.iter().map(|error| ("last error", error.clone())));
    format!(
        "volume {volume}: rotation {}, {}\n{}",
        rotation.epoch,
        super::status::rotation_line(rotation),
        properties(&pairs)
    )
}

fn cost(rotation: &Rotation) -> String {
    format!(
        "batches {}, flushes {}, metadata {}, write amplification {:.4}",
        rotation.batches,
        rotation.flushes,
        size::bytes(rotation.metadata_bytes),
        rotation.write_amplification
    )
}

fn pace_text(pace: &Pace) -> String {
    let rate = pace.bytes_per_s.map_or_else(|| "unlimited".into(), size::rate);
    match pace.adaptive {
        true => format!("{rate}, adaptive: client p99 within {} times its baseline", pace.factor),
        false => format!("{rate}, fixed"),
    }
}

fn keeper_line(keeper: &KeeperState) -> String {
    let place = if keeper.held_here { "held by the daemon" } else { "with its keeper" };
    let state = keeper.error.as_deref().unwrap_or("answers");
    format!("  KEK {}: {place}, binds by {}; {state}\n", keeper.kek, keeper.binding)
}

fn plan_text(plan: &RotationPlan) -> String {
    let time = plan.duration_s.map_or_else(|| "not known".into(), size::seconds);
    let pairs = [
        ("from", format!("generation {}", plan.from)),
        ("to", format!("generation {}, {}", plan.to, plan.suite)),
        ("moves", format!("{} extents, at most {}", plan.extents, size::bytes(plan.bytes))),
        ("time", time),
        (
            "cost",
            format!(
                "flushes {}, metadata {}, write amplification {:.4}",
                plan.batches,
                size::bytes(plan.metadata_bytes),
                plan.write_amplification
            ),
        ),
        ("way back", plan.way_back.clone()),
    ];
    let mut text = format!("plan for volume {}; nothing has changed\n{}", plan.volume, properties(&pairs));
    text.extend(plan.keepers.iter().map(keeper_line));
    text.extend(plan.steps.iter().enumerate().map(|(index, step)| format!("  {}. {step}\n", index + 1)));
    text.extend(plan.risks.iter().map(|risk| format!("  risk: {risk}\n")));
    text
}
