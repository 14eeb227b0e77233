//! SIGHUP: reads configuration and certificates again, while clients go on.
//!
//! What is taken over: certificate, key, authorities and revocation lists of TLS and of the links to peers, addresses of peers, and
//! who may see a volume. All else waits for the next start. Invariants: everything is read and found good before any of it is used, so a mistake changes nothing and
//! is told in the log; connections keep what they began with.

use std::sync::Arc;

use super::config::ServePlan;
use super::failure::{Failure, bad_input};
use super::failure_of;
use super::peers::Peers;
use crate::control::authorize::{Object, Verb};
use crate::control::door::Door;
use crate::nbd::Exports;
use crate::nbd::tls::{Files, Keeper};
use crate::volume::Volume;

/// What can be exchanged, and where to read it.
pub struct Reload<'a> {
    /// Makes the plan again.
    pub replan: &'a dyn Fn() -> Result<ServePlan, Failure>,
    /// What new TLS connections use.
    pub keeper: Option<Arc<Keeper>>,
    /// What is served.
    pub exports: Arc<Exports<Volume>>,
    /// Its peers.
    pub peers: Option<Arc<Peers>>,
    /// Where it is recorded.
    pub door: Arc<Door>,
}

impl Reload<'_> {
    /// Reads everything again; says in the log and on record what came of it.
    pub fn run(&self) {
        let outcome = match self.exchange() {
            Ok(()) => {
                tracing::info!("configuration and certificates are read again; running connections keep theirs");
                "read configuration and certificates again".into()
            }
            Err(failure) => {
                let why = failure.human().trim_end().replace('\n', ";");
                tracing::error!(why, "nothing is changed");
                format!("changed nothing: {why}")
            }
        };
        self.door.note(Verb::DaemonReload, &Object::Daemon, &outcome);
    }

    fn exchange(&self) -> Result<(), Failure> {
        let plan = (self.replan)()?;
        let config = match (&self.keeper, &plan.tls) {
            (Some(keeper), Some(files)) => Some((keeper, load(files)?)),
            (None, None) => None,
            _ => {
                let failure = bad_input("TLS cannot be begun or given up while serving");
                return Err(failure.hint("restart the daemon"));
            }
        };
        match &self.peers {
            Some(peers) => peers.reload(plan.peers.as_ref())?,
            None if plan.peers.is_some() => {
                return Err(bad_input("peers cannot be begun while serving").hint("restart the daemon"));
            }
            None => {}
        }
        if let Some((keeper, config)) = config {
            keeper.exchange(config);
        }
        for volume in plan.volumes {
            if let Some(export) = self.exports.get(&volume.name) {
                export.set_audience(volume.audience);
            }
        }
        Ok(())
    }
}

/// Reads the files of TLS.
pub fn load(files: &Files) -> Result<Arc<rustls::ServerConfig>, Failure> {
    files.load().map_err(|error| failure_of::tls(&error))
}

/// What new TLS connections begin with, if the plan has TLS.
pub fn keeper(plan: &ServePlan) -> Result<Option<Arc<Keeper>>, Failure> {
    plan.tls.as_ref().map(|files| Ok(Arc::new(Keeper::new(load(files)?)))).transpose()
}
