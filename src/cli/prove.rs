//! `keymoult volume prove`: that a key can be had from nothing, in this fresh process, whoever serves the volume meanwhile.

use serde::Serialize;

use super::args::ProveArgs;
use super::backup::selftest;
use super::daemon::open_keks;
use super::exit::Exit;
use super::failure::Failure;
use super::failure_of;
use super::output::{Output, properties};
use super::records::Records;
use crate::control::authorize::Verb;
use crate::crypto::Suite;
use crate::keys::NewKek;
use crate::units::{Generation, hex};
use crate::volume::open::cold::{ColdProof, prove_cold};

/// What was proven.
#[derive(Debug, Serialize)]
struct Proven {
    path: String,
    volume: String,
    generation: u32,
    /// 32 hexadecimal digits.
    key_id: String,
    state: &'static str,
    suite: String,
    /// Check value of the key, 32 hexadecimal digits: the same on every replica.
    check: String,
    /// The KEK that opened it, as it was given; absent where the suite has no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    kek: Option<String>,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    kek_id: Option<String>,
    /// Sequence of the generation table that was read.
    table_sequence: u64,
}

/// Runs `volume prove`.
pub fn run(args: &ProveArgs, output: &Output) -> Result<Exit, Failure> {
    selftest()?;
    let records = Records::wanted(&args.record, output)?;
    let proven = records.act(Verb::VolumeProve, &args.path, None, || prove(args, &records))?;
    output.result(&proven, text)?;
    Ok(Exit::Ok)
}

fn prove(args: &ProveArgs, records: &Records) -> Result<Proven, Failure> {
    let (keks, _) = open_keks(&args.keks, NewKek::Never, records.witness().as_ref())?;
    let proof = prove_cold(&args.path, args.header.as_deref(), &keks, Generation(args.generation));
    let proof = proof.map_err(|error| failure_of::volume(&error).at(args.path.display().to_string()))?;
    Ok(proven(args, proof))
}

fn proven(args: &ProveArgs, cold: ColdProof) -> Proven {
    let ColdProof { volume, proof, check, opening, table } = cold;
    Proven {
        path: args.path.display().to_string(),
        volume: volume.to_string(),
        generation: proof.generation.0,
        key_id: hex(&proof.key_id),
        state: proof.state.name(),
        suite: Suite::from_id(proof.suite).map_or_else(|| proof.suite.to_string(), |suite| suite.to_string()),
        check: hex(&check),
        kek: opening.as_ref().map(|opening| opening.kek.clone()),
        kek_id: opening.map(|opening| opening.kek_id),
        table_sequence: table,
    }
}

fn text(proven: &Proven) -> String {
    let opened = match (&proven.kek, &proven.kek_id) {
        (Some(kek), Some(id)) => format!("{kek} ({id})"),
        _ => "nothing: the suite has no key".into(),
    };
    let pairs = [
        ("volume", proven.volume.clone()),
        ("key", format!("{}, {}, {}", proven.key_id, proven.suite, proven.state)),
        ("check value", proven.check.clone()),
        ("opened by", opened),
        ("canary", "both engines decrypt it to what it must be".into()),
    ];
    format!("{}: generation {} is proven\n{}", proven.path, proven.generation, properties(&pairs))
}
