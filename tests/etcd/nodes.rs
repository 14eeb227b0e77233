//! Nodes of keymoult on an etcd of this test's own.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use keymoult::cluster::coordinator::Coordinator;
use keymoult::cluster::etcd::{EtcdCoordinator, EtcdOptions};

use crate::cluster::Etcd;
use crate::contract::World;
use crate::support::certificates::{Identity, Says, write};

/// Patience of a node in these tests.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// A lease long enough that none runs out by itself in a slow test.
pub const LEASE: Duration = Duration::from_secs(60);

impl Etcd {
    /// What a node says of itself.
    pub fn options(&self, cluster: &str, node: &str) -> EtcdOptions {
        let identity = self.authority.issue(Says::client(node));
        self.options_of(cluster, node, &identity)
    }

    /// The same, with another certificate.
    pub fn options_of(&self, cluster: &str, node: &str, identity: &Identity) -> EtcdOptions {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (folder, count) = (self.folder.path(), COUNT.fetch_add(1, SeqCst));
        EtcdOptions {
            cluster: cluster.into(),
            node: node.parse().unwrap(),
            endpoints: self.endpoints(),
            certificate: write(folder, &format!("node{count}.crt"), &identity.certificate),
            key: write(folder, &format!("node{count}.key"), &identity.key),
            authority: folder.join("ca.crt"),
            lease: LEASE,
            patience: PATIENCE,
            memory: folder.join(format!("{cluster}-{node}.seen")),
        }
    }

    /// A node.
    pub fn node(&self, cluster: &str, node: &str) -> EtcdCoordinator {
        EtcdCoordinator::start(self.options(cluster, node)).unwrap()
    }
}

/// The world of one case: a cluster of keymoult in an etcd that others may use too.
pub struct Lab<'a> {
    pub etcd: &'a Etcd,
    pub cluster: &'a str,
}

impl World for Lab<'_> {
    fn node(&self, name: &str) -> Box<dyn Coordinator> {
        Box::new(self.etcd.node(self.cluster, name))
    }

    fn expire(&self, name: &str) {
        self.etcd.expire(self.cluster, name);
    }

    fn rewind(&self, between: &mut dyn FnMut()) {
        let copy = self.etcd.save();
        between();
        self.etcd.restore(&copy, "first");
    }

    fn wipe(&self) {
        self.etcd.wipe();
    }
}
