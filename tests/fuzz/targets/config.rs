//! Configuration files. Promises: one that is accepted serves at least one volume, each under a name of its own and with
//! a key, in at least one place, and beyond this machine only if it says `insecure`; a line number in a refusal is one
//! of the file's.

use std::collections::BTreeSet;
use std::path::PathBuf;

use keymoult::cli::args::ServeArgs;
use keymoult::cli::config::{ServePlan, plan};

use crate::support::files::private;

pub fn run(bytes: &[u8]) {
    let path = private("fuzzed.toml", bytes);
    let args = ServeArgs { config: Some(path), ..ServeArgs::default() };
    if let Ok(plan) = plan(&args, None, || Ok(PathBuf::from("/run/c"))) {
        let text = String::from_utf8_lossy(bytes);
        holds(&plan, text.contains("insecure"));
    }
}

/// What every plan promises.
pub fn holds(plan: &ServePlan, insecure: bool) {
    let names: BTreeSet<_> = plan.volumes.iter().map(|volume| &volume.name).collect();
    assert!(!names.is_empty() && names.len() == plan.volumes.len());
    for volume in &plan.volumes {
        assert!((1..=255).contains(&volume.name.len()) && !volume.name.contains('/') && !volume.keks.is_empty());
    }
    assert!(!plan.nbd.is_empty() && plan.workers.is_none_or(|workers| (1..=256).contains(&workers)));
    assert!(insecure || plan.nbd.iter().all(|listener| listener.address.is_local()));
}
