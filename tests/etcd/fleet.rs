//! Three real daemons whose coordinator is an etcd of this test's own.
//!
//! Invariant: daemons are ended before etcd's members are, each by its own process id.

use keymoult::cluster::coordinator::Coordinator;
use keymoult::cluster::etcd::EtcdCoordinator;
use keymoult::cluster::record::Signed;
use keymoult::units::VolumeId;
use serde_json::Value;

use crate::cluster::Etcd;
use crate::support::certificates::{Says, write};
use crate::support::peers::{Peers, PeersOptions, VOLUME};

/// The cluster's name, as the certificates of the daemons say it.
pub const CLUSTER: &str = "lab";

/// The daemons and their etcd.
pub struct Fleet {
    pub peers: Peers,
    pub etcd: Etcd,
    /// Somebody who reads what stands in etcd for the test.
    reader: EtcdCoordinator,
}

/// What `options` says of daemons, with a coordinator: one volume of the fleet rotates at a time.
pub fn coordinated(etcd: &Etcd, options: PeersOptions) -> PeersOptions {
    for node in &options.full {
        let identity = etcd.authority.issue(Says::client(node));
        write(etcd.folder.path(), &format!("daemon-{node}.crt"), &identity.certificate);
        write(etcd.folder.path(), &format!("daemon-{node}.key"), &identity.key);
    }
    let folder = etcd.folder.path().display();
    let table = format!(
        "[peers.etcd]\nendpoints = {:?}\ncertificate = \"{folder}/daemon-NODE.crt\"\nkey = \"{folder}/daemon-NODE.key\"\n\
         authority = \"{folder}/ca.crt\"\nlease = \"5s\"\npatience = \"4s\"\nconcurrent = 1\n",
        etcd.endpoints()
    );
    PeersOptions { tables: options.tables + &table, ..options }
}

impl Fleet {
    /// Three daemons with one replicated volume, and somebody who leads it.
    #[track_caller]
    pub fn founded() -> Fleet {
        let etcd = Etcd::start();
        let peers = Peers::founded(&coordinated(&etcd, PeersOptions::default()));
        Fleet::of(etcd, peers)
    }

    /// These daemons, once somebody leads.
    #[track_caller]
    pub fn of(etcd: Etcd, peers: Peers) -> Fleet {
        let reader = etcd.node(CLUSTER, "reader");
        let fleet = Fleet { peers, etcd, reader };
        fleet.lead();
        fleet
    }

    /// Waits until one node leads by etcd's word and all that run follow it; says which.
    #[track_caller]
    pub fn lead(&self) -> String {
        let mut lead = String::new();
        self.peers.wait("one node leads by the coordinator's word", |peers| {
            let running = self.running();
            let views: Vec<Value> = running.iter().map(|node| peers.status(node)).collect();
            let Some(first) = views.first() else { return false };
            lead = first["lead"].as_str().unwrap_or_default().into();
            let by_etcd = self.reader.lead(self.volume_of(first)).ok().flatten();
            let same = |view: &Value| {
                (&view["lead"], &view["epoch"]) == (&first["lead"], &first["epoch"])
                    && view["accepted"] == view["committed"]
            };
            by_etcd.is_some_and(|by| by.node.as_str() == lead && first["epoch"] == by.epoch)
                && views.iter().all(same)
                && running.contains(&lead)
        });
        lead
    }

    /// Waits until a node leads that is not `old`.
    #[track_caller]
    pub fn lead_after(&self, old: &str) -> String {
        self.peers.wait("another node leads", |peers| {
            self.running().iter().filter(|node| *node != old).all(|node| {
                let status = peers.status(node);
                status["lead"].as_str().is_some_and(|lead| lead != old)
            })
        });
        self.lead()
    }

    /// Nodes that run.
    pub fn running(&self) -> Vec<String> {
        self.peers.names().into_iter().filter(|node| self.peers.is_running(node)).collect()
    }

    fn volume_of(&self, status: &Value) -> VolumeId {
        let digits: String = status["id"].as_str().unwrap_or_default().chars().filter(|c| *c != '-').collect();
        let byte = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2).unwrap_or_default(), 16).unwrap_or(0);
        VolumeId(std::array::from_fn(byte))
    }

    /// The record in etcd is the one that every node holds as committed.
    #[track_caller]
    pub fn record_is_everywhere(&self) {
        self.peers.wait("etcd and all nodes hold one record", |peers| {
            let running = self.running();
            let status = peers.status(&running[0]);
            let Ok(Some(there)) = self.reader.fetch(self.volume_of(&status)) else { return false };
            let record = Signed::decode(&there.record).unwrap().record;
            assert_eq!(record.stamp, there.stamp, "what etcd is told of a record is what it says");
            let hash: String = record.hash().iter().map(|byte| format!("{byte:02x}")).collect();
            let name = serde_json::json!({
                "stamp": { "epoch": there.stamp.epoch, "revision": there.stamp.revision }, "hash": hash
            });
            running.iter().all(|node| peers.status(node)["committed"] == name)
        });
    }

    /// Waits until every node has looked at what stands in etcd, as its own file of that says.
    #[track_caller]
    pub fn all_have_seen_it(&self) {
        self.record_is_everywhere();
        self.peers.wait("all nodes have seen the record in etcd", |peers| {
            self.running().iter().all(|node| {
                let text = std::fs::read(peers.path(node, "state/peers/etcd.seen")).unwrap_or_default();
                let seen: Value = serde_json::from_slice(&text).unwrap_or_default();
                let status = peers.status(node);
                let stamp = &status["committed"]["stamp"];
                let id = status["id"].as_str().unwrap_or_default();
                seen["volumes"][id]["record"] == serde_json::json!([stamp["epoch"], stamp["revision"]])
            })
        });
    }

    /// Lets a change go as fast as it can, and waits until it is at its end on all nodes.
    #[track_caller]
    pub fn finish(&self) {
        let lead = self.lead();
        self.peers.succeed(&lead, &["rotate", "pace", VOLUME, "--rate", "unlimited", "--fixed"]);
        self.peers.wait_for_step("finalized");
        self.record_is_everywhere();
    }

    /// Waits until a node's `peer status` says this in plain text.
    #[track_caller]
    pub fn says(&self, node: &str, words: &[&str]) {
        self.peers.wait(&format!("{node} says {words:?}"), |peers| {
            let output = peers.ask(node, &["peer", "status", VOLUME]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            words.iter().all(|word| text.contains(word))
        });
    }

    /// Whoever reads here for the test believes etcd, too, whatever it has lost.
    pub fn reader_accepts_history(&self) {
        let volume = self.volume_of(&self.peers.status("a"));
        self.reader.accept_history(volume).unwrap();
    }

    /// Volumes that have leave to rotate.
    pub fn leaves(&self) -> usize {
        self.reader.tokens().map_or(usize::MAX, |tokens| tokens.len())
    }
}
