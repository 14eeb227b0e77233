//! `keymoult key retire` to `key reinstate`, and `key verify-proof`: arguments in, the daemon asked, what was reached out.

use super::args::{Global, KeyArgs, LifeCommand};
use super::exit::Exit;
use super::failure::{Failure, bad_input};
use super::output::{Output, properties};
use super::remote;
use crate::control::api::{
    BreakGlassRequest, DestroyRequest, KeyActed, KeyRequest, ProofRequest, ProofVerdict, ScheduleRequest,
};

/// Longest statement read, bytes.
const PROOF_MAX: u64 = 32 << 10;

/// Runs a verb.
pub fn run(command: &LifeCommand, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let client = remote::client(global)?;
    let step = |key: &KeyArgs, step: &str| client.key_step(&key.volume, step, &plain(key));
    let acted = match command {
        LifeCommand::Retire(key) => step(key, "retire")?,
        LifeCommand::Restore(key) => step(key, "restore")?,
        LifeCommand::Cancel(key) => step(key, "cancel")?,
        LifeCommand::Revoke(key) => step(key, "revoke")?,
        LifeCommand::Schedule(args) => {
            let after = args.after.map(|delay| delay.0.as_secs()).or(args.now.then_some(0));
            let KeyRequest { generation, reason } = plain(&args.key);
            let break_glass = args.i_know_this_cannot_be_undone;
            let request = ScheduleRequest { generation, after_s: after, break_glass, reason };
            client.key_step(&args.key.volume, "schedule", &request)?
        }
        LifeCommand::Destroy(args) => {
            let KeyRequest { generation, reason } = plain(&args.key);
            let (despite_holders, break_glass) = (args.despite_holders, args.i_know_this_cannot_be_undone);
            let request = DestroyRequest { generation, despite_holders, break_glass, reason };
            client.key_step(&args.key.volume, "destroy", &request)?
        }
        LifeCommand::Compromise(args) => {
            let KeyRequest { generation, reason } = plain(&args.key);
            let request = BreakGlassRequest { generation, undo: args.undo, break_glass: args.break_glass, reason };
            client.key_step(&args.key.volume, "compromise", &request)?
        }
        LifeCommand::Reinstate(args) => {
            let KeyRequest { generation, reason } = plain(&args.key);
            let request = BreakGlassRequest { generation, undo: false, break_glass: args.break_glass, reason };
            client.key_step(&args.key.volume, "reinstate", &request)?
        }
        LifeCommand::VerifyProof { volume, file } => {
            let verdict = client.verify_proof(volume, &ProofRequest { proof: read(file)? })?;
            output.result(&verdict, verdict_text)?;
            return Ok(if verdict.authentic && verdict.on_record { Exit::Ok } else { Exit::Damaged });
        }
    };
    output.result(&acted, acted_text)?;
    Ok(if acted.complete { Exit::Ok } else { Exit::NotReached })
}

fn plain(key: &KeyArgs) -> KeyRequest {
    KeyRequest { generation: key.generation, reason: key.reason.clone() }
}

fn read(file: &std::path::Path) -> Result<String, Failure> {
    let unreadable = |why: String| bad_input(why).at(file.display().to_string());
    let length = std::fs::metadata(file).map_err(|error| unreadable(format!("cannot read the statement: {error}")))?;
    if length.len() > PROOF_MAX {
        return Err(unreadable(format!("not a retirement statement: it is longer than {PROOF_MAX} bytes")));
    }
    std::fs::read_to_string(file).map_err(|error| unreadable(format!("cannot read the statement: {error}")))
}

fn acted_text(acted: &KeyActed) -> String {
    let changed = if acted.changed { "" } else { " (nothing to change)" };
    let (volume, generation, state) = (&acted.volume, acted.generation, acted.state.name());
    let mut text = format!("volume {volume}: generation {generation} is {state}{changed}\n");
    text.extend(acted.notes.iter().map(|note| format!("  {note}\n")));
    text.extend(acted.proof.iter().map(|path| format!("  proof: {path}\n")));
    text
}

fn verdict_text(verdict: &ProofVerdict) -> String {
    let said = |good: bool, yes: &str, no: &str| if good { yes.to_owned() } else { no.to_owned() };
    let mut pairs = vec![
        ("signature", said(verdict.authentic, "of this volume", "WRONG: not of this volume, or changed since")),
        ("on record", said(verdict.on_record, "yes", "NO: the generation table names another statement, or none")),
        ("digest", format!("sha256:{}", verdict.digest)),
        ("made by", verdict.actor.clone()),
    ];
    pairs.extend(verdict.time.iter().map(|time| ("made at", time.clone())));
    pairs.extend(verdict.holders.iter().map(|holder| ("held by", holder.clone())));
    format!("volume {}: retirement of generation {}\n{}", verdict.volume, verdict.generation, properties(&pairs))
}
