//! The keys in etcd. All of a cluster's begin with one prefix, which is what a node's role there needs.

use crate::cluster::name::NodeName;
use crate::units::VolumeId;

/// The keys of a cluster.
pub struct Names {
    root: String,
}

impl Names {
    /// Those under `/keymoult/v1/<cluster>/`.
    pub fn new(cluster: &str) -> Names {
        Names { root: format!("/keymoult/v1/{cluster}/") }
    }

    /// The freeze.
    pub fn freeze(&self) -> String {
        format!("{}freeze", self.root)
    }

    /// The wave tokens.
    pub fn tokens(&self) -> String {
        format!("{}tokens", self.root)
    }

    /// Who leads a volume; under the lead's lease.
    pub fn lead(&self, volume: VolumeId) -> String {
        self.of(volume, "lead")
    }

    /// The highest epoch anybody has led it in.
    pub fn epoch(&self, volume: VolumeId) -> String {
        self.of(volume, "epoch")
    }

    /// Its keyring record.
    pub fn keyring(&self, volume: VolumeId) -> String {
        self.of(volume, "keyring")
    }

    /// What decides about it: lead, epoch, record and freeze, in this order.
    pub fn of_volume(&self, volume: VolumeId) -> [String; 4] {
        [self.lead(volume), self.epoch(volume), self.keyring(volume), self.freeze()]
    }

    /// What all nodes show of it.
    pub fn states(&self, volume: VolumeId) -> String {
        self.of(volume, "state/")
    }

    /// What one node shows of it; under its lease.
    pub fn state(&self, volume: VolumeId, node: &NodeName) -> String {
        format!("{}{node}", self.states(volume))
    }

    /// The requests that wait for its lead.
    pub fn requests(&self, volume: VolumeId) -> String {
        self.of(volume, "request/")
    }

    /// One of them.
    pub fn request(&self, volume: VolumeId, id: u64) -> String {
        format!("{}{id:016x}", self.requests(volume))
    }

    fn of(&self, volume: VolumeId, what: &str) -> String {
        format!("{}volume/{volume}/{what}", self.root)
    }
}

/// What stands after `prefix` in a key.
pub fn tail<'a>(prefix: &str, key: &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(key).ok()?.strip_prefix(prefix)
}
