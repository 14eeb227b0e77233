//! The `[peers.etcd]` of the configuration file: the coordinator of a fleet.
//!
//! ```toml
//! [peers.etcd]
//! endpoints = ["https://10.0.0.1:2379", "https://10.0.0.2:2379", "https://10.0.0.3:2379"]
//! certificate = "/etc/keymoult/peers/etcd.crt"
//! key = "/etc/keymoult/peers/etcd.key"
//! authority = "/etc/keymoult/peers/etcd-ca.crt"
//! lease = "15s"
//! patience = "10s"
//! concurrent = 2
//! ```
//!
//! Invariants: an unknown setting is refused; endpoints are distinct, and none is without TLS; a program that was built without
//! etcd refuses the table and does not pass over it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::limits::Time;
use crate::cluster::coordinator::{Coordinator, CoordinatorError, TOKENS_MAX};
use crate::cluster::name::NodeName;

/// How long a lead leads without a sign of life, unless the file says otherwise.
const LEASE: Duration = Duration::from_secs(15);
/// How long a call may take, unless the file says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
/// Shortest lease: etcd takes about a second to choose a new leader of its own.
const LEASE_MIN: Duration = Duration::from_secs(5);
/// Longest lease: for so long nobody leads after a lead's death.
const LEASE_MAX: Duration = Duration::from_secs(600);
/// Shortest patience: a leader of etcd may die, and a new one be chosen, within it.
const PATIENCE_MIN: Duration = Duration::from_secs(3);
/// Longest patience.
const PATIENCE_MAX: Duration = Duration::from_secs(120);
/// Endpoints there can be.
const ENDPOINTS_MAX: usize = 16;

/// The coordinator, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdPlan {
    /// `https://HOST:PORT` of each member.
    pub endpoints: Vec<String>,
    /// This node's certificate for etcd.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who vouches for etcd's members.
    pub authority: PathBuf,
    /// How long a lead leads without a sign of life.
    pub lease: Duration,
    /// How long a call may take.
    pub patience: Duration,
    /// How many volumes of the fleet may rotate at a time.
    pub concurrent: usize,
}

/// The table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileEtcd {
    endpoints: Vec<String>,
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
    lease: Option<Time>,
    patience: Option<Time>,
    concurrent: Option<usize>,
}

impl FileEtcd {
    /// What it says, checked.
    ///
    /// # Errors
    /// What is wrong with it; or that this program was built without etcd.
    pub fn plan(&self) -> Result<EtcdPlan, String> {
        self.plan_for(cfg!(feature = "etcd"))
    }

    fn plan_for(&self, has_etcd: bool) -> Result<EtcdPlan, String> {
        match has_etcd {
            true => self.checked(),
            false => Err(
                "peers.etcd: this keymoult was built without etcd; build it with `--features etcd`, or take the table away".into(),
            ),
        }
    }

    fn checked(&self) -> Result<EtcdPlan, String> {
        let wrong = |what: String| format!("peers.etcd.{what}");
        if self.endpoints.is_empty() || self.endpoints.len() > ENDPOINTS_MAX {
            return Err(wrong(format!("endpoints: 1 to {ENDPOINTS_MAX} are needed, not {}", self.endpoints.len())));
        }
        let mut known = BTreeSet::new();
        for endpoint in &self.endpoints {
            check_endpoint(endpoint).map_err(wrong)?;
            if !known.insert(endpoint) {
                return Err(wrong(format!("endpoints: `{endpoint}` is named twice")));
            }
        }
        let concurrent = self.concurrent.unwrap_or(1);
        if !(1..=TOKENS_MAX).contains(&concurrent) {
            return Err(wrong(format!("concurrent is from 1 to {TOKENS_MAX}, not {concurrent}")));
        }
        Ok(EtcdPlan {
            endpoints: self.endpoints.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            authority: self.authority.clone(),
            lease: within("lease", self.lease, LEASE, LEASE_MIN, LEASE_MAX)?,
            patience: within("patience", self.patience, PATIENCE, PATIENCE_MIN, PATIENCE_MAX)?,
            concurrent,
        })
    }
}

fn within(
    name: &str,
    given: Option<Time>,
    otherwise: Duration,
    least: Duration,
    most: Duration,
) -> Result<Duration, String> {
    let time = match given {
        None => otherwise,
        Some(Time(Some(time))) => time,
        Some(Time(None)) => return Err(format!("peers.etcd.{name} needs a time, not \"never\"")),
    };
    // Leases are counted in seconds there.
    match (least..=most).contains(&time) && time.subsec_nanos() == 0 {
        true => Ok(time),
        false => Err(format!("peers.etcd.{name} is whole seconds from {} to {}", least.as_secs(), most.as_secs())),
    }
}

fn check_endpoint(endpoint: &str) -> Result<(), String> {
    let Some(address) = endpoint.strip_prefix("https://") else {
        return Err(format!("endpoints: `{endpoint}` is no https://HOST:PORT; etcd is spoken to over TLS alone"));
    };
    let port = address.rsplit_once(':').filter(|(host, _)| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte))
    });
    let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(1..) => Ok(()),
        _ => Err(format!("endpoints: `{endpoint}` is no https://HOST:PORT")),
    }
}

impl EtcdPlan {
    /// Opens the coordinator as a node of a cluster. `memory` is the file in which it keeps what etcd has shown; its folder is there.
    ///
    /// # Errors
    /// Files of it cannot be used; or this program was built without etcd.
    #[cfg(feature = "etcd")]
    pub fn open(
        &self,
        cluster: &str,
        node: &NodeName,
        memory: &Path,
    ) -> Result<Arc<dyn Coordinator>, CoordinatorError> {
        use crate::cluster::etcd::{EtcdCoordinator, EtcdOptions};
        let options = EtcdOptions {
            cluster: cluster.to_owned(),
            node: node.clone(),
            endpoints: self.endpoints.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            authority: self.authority.clone(),
            lease: self.lease,
            patience: self.patience,
            memory: memory.to_owned(),
        };
        Ok(Arc::new(EtcdCoordinator::start(options)?))
    }

    /// Opens the coordinator as a node of a cluster.
    ///
    /// # Errors
    /// This program was built without etcd.
    #[cfg(not(feature = "etcd"))]
    pub fn open(&self, _: &str, _: &NodeName, _: &Path) -> Result<Arc<dyn Coordinator>, CoordinatorError> {
        Err(CoordinatorError::Other("this keymoult was built without etcd".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &str) -> Result<EtcdPlan, String> {
        let text = format!("certificate = \"c\"\nkey = \"k\"\nauthority = \"a\"\n{more}");
        let file: FileEtcd = toml::from_str(&text).map_err(|error| error.message().to_owned())?;
        file.checked()
    }

    const GOOD: &str = "endpoints = [\"https://a:2379\", \"https://[::1]:2379\"]\n";

    #[test]
    fn what_is_left_out_has_its_default() {
        let plan = read(GOOD).unwrap();
        assert_eq!((plan.lease, plan.patience, plan.concurrent), (LEASE, PATIENCE, 1));
        let plan = read(&format!("{GOOD}lease = \"1min\"\npatience = 5\nconcurrent = 3\n")).unwrap();
        assert_eq!((plan.lease.as_secs(), plan.patience.as_secs(), plan.concurrent), (60, 5, 3));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (bad, says) in [
            ("endpoints = []", "endpoints"),
            ("endpoints = [\"http://a:2379\"]", "TLS alone"),
            ("endpoints = [\"https://a\"]", "HOST:PORT"),
            ("endpoints = [\"https://a:0\"]", "HOST:PORT"),
            ("endpoints = [\"https://a/b:1\"]", "HOST:PORT"),
            ("endpoints = [\"https://a:1\", \"https://a:1\"]", "twice"),
        ] {
            assert!(read(bad).is_err_and(|error| error.contains(says)), "{bad}: {:?}", read(bad));
        }
        for bad in ["lease = \"4s\"", "lease = \"never\"", "patience = 1", "concurrent = 0", "prefix = \"/x\""] {
            assert!(read(&format!("{GOOD}{bad}\n")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_build_without_etcd_says_so() {
        let text = format!("certificate = \"c\"\nkey = \"k\"\nauthority = \"a\"\n{GOOD}");
        let file: FileEtcd = toml::from_str(&text).unwrap();
        assert!(file.plan_for(true).is_ok());
        assert!(file.plan_for(false).is_err_and(|error| error.contains("built without etcd")));
        assert_eq!(file.plan().is_ok(), cfg!(feature = "etcd"));
    }
}
