//! `rotate plan`: what a rotation would do, and whether it could begin. Changes nothing.
//!
//! Invariant: every keeper that would have to wrap the new key is asked whether it can be had, so that a dry run names the one that
//! cannot.

use super::{DaemonOperations, suite, words};
use crate::control::api::{ApiError, KeeperState, RotateStart, RotationPlan};
use crate::crypto::{Standing, Suite};
use crate::format::layout::{COMMIT_BYTES, INTENT_BYTES, Shape, WriteMode};
use crate::keys::{Binding, Kek};

/// What a rotation as `request` asks for would do.
pub fn plan(ops: &DaemonOperations, volume: &str, request: &RotateStart) -> Result<RotationPlan, ApiError> {
    let served = ops.find(volume)?;
    let volume = served.controller.volume();
    let (table, shape) = (volume.table(), volume.shape());
    let from = table.rotation.target;
    let present = table.entry(from).map_or(0, |entry| entry.suite);
    let suite = suite(request.suite.as_ref(), present)?;
    let (batches, metadata) = forecast(&shape);
    let keepers: Vec<KeeperState> = served.controller.keks().now().iter().map(state).collect();
    let mut risks = vec!["a flush or metadata write that fails poisons the volume for writes; reads go on".to_string()];
    if table.rotation.rollback_to.is_some() {
        risks.push(format!("the rotation to generation {from} is not finalized: its way back ends with this start"));
    }
    risks.extend(risk_of(ops, suite));
    if suite == Suite::None {
        risks.push("suite none writes plaintext to the backing".into());
    }
    let missing = keepers.iter().filter_map(|keeper| Some((&keeper.kek, keeper.error.as_ref()?)));
    risks.extend(
        missing.map(|(kek, why)| format!("the KEK {kek} cannot be had now, so `rotate start` would fail: {why}")),
    );
    Ok(RotationPlan {
        volume: served.name.clone(),
        from: from.0,
        to: table.next_generation().0,
        suite: suite.to_string(),
        extents: u64::from(shape.extents()),
        bytes: shape.size,
        duration_s: request.pace.bytes_per_s.map(|rate| shape.size.div_ceil(rate)),
        batches,
        metadata_bytes: metadata,
        write_amplification: (shape.size + metadata) as f64 / shape.size as f64,
        keepers,
        steps: ["prepare", "prove canary", "activate", "re-encrypt", "verify", "finalize"].map(str::to_string).to_vec(),
        risks,
        way_back: format!("`keymoult rotate rollback {}`: one commit, until finalized", served.name),
    })
}

/// Batches, and bytes of metadata.
fn forecast(shape: &Shape) -> (u64, u64) {
    let extents = u64::from(shape.extents());
    let batches = extents.div_ceil(u64::from(shape.batch_extents()));
    let content = match shape.mode {
        WriteMode::InPlace => shape.extent_size / u64::from(shape.granule) * 8,
        WriteMode::Journal => shape.extent_size,
    };
    let per_extent = COMMIT_BYTES + INTENT_BYTES + content;
    (batches, extents * per_extent + batches * 4096 + u64::from(shape.tag_pages()) * 4096)
}

/// What a keeper says of itself, now.
fn state(kek: &Kek) -> KeeperState {
    let capabilities = kek.capabilities();
    let binding = match capabilities.binding {
        Binding::Derivation => "derivation",
        Binding::AssociatedData => "associated-data",
        Binding::Digest => "digest",
    };
    KeeperState {
        kek: kek.describe().label.clone(),
        held_here: capabilities.held_here,
        binding: binding.into(),
        error: kek.probe().err().map(|error| error.to_string()),
    }
}

/// What policy says against `suite`, if anything.
pub fn risk_of(ops: &DaemonOperations, suite: Suite) -> Option<String> {
    let verdict = ops.suites.verdict(suite, words::now());
    match verdict.standing {
        Standing::Allowed => None,
        Standing::Deprecated => Some(words::standing(suite, &verdict)),
        Standing::Forbidden => Some(format!("{}: `rotate start` refuses it", words::standing(suite, &verdict))),
    }
}
