//! Three hosts, a replica on each, a verifying client of all of them.

use std::process::Output;
use std::thread::{self, JoinHandle};

use crate::support::netns::Lan;
use crate::support::peers::{Peers, PeersOptions, VOLUME};
use crate::support::writer::{Mirror, Writer};
use crate::support::{keymoult, map, run, total};

/// The port every node listens at, on a host of its own.
const PORT: u16 = 7010;
/// So many generations a test may have made.
const GENERATIONS: u32 = 8;

/// The scene. Nodes end before their hosts do.
pub struct Scene {
    pub peers: Peers,
    pub lan: Lan,
}

impl Scene {
    /// Nodes a, b and c, founded, a leading.
    #[track_caller]
    pub fn three() -> Scene {
        Scene::of(&["a", "b", "c"], PeersOptions::default())
    }

    /// Nodes on a host each; whoever is named in the options takes part from the start.
    #[track_caller]
    pub fn of(hosts: &[&'static str], mut options: PeersOptions) -> Scene {
        let lan = Lan::new(hosts);
        for host in hosts {
            options.addresses.insert(host, format!("{}:{PORT}", lan.address(host)));
            options.prefixes.insert(host, lan.prefix(host));
        }
        Scene { peers: Peers::founded(&options), lan }
    }

    /// Where a host's node is reached.
    pub fn address(&self, host: &str) -> String {
        format!("{}:{PORT}", self.lan.address(host))
    }

    /// The client of all replicas.
    pub fn client(&self, seed: u64) -> Mirror {
        let legs = self.peers.full().into_iter().map(|node| {
            let socket = self.peers.path(&node, "nbd");
            (node, socket, VOLUME.to_owned())
        });
        Mirror::new(legs.collect(), PeersOptions::default().size, seed)
    }

    /// The client, at work.
    pub fn writer(&self, seed: u64) -> Writer {
        Writer::start(self.client(seed))
    }

    /// Begins a rotation on the lead, at a pace that leaves time to look. Links that have just come up may give way to others once
    /// more: it is asked for until nobody is missing.
    #[track_caller]
    pub fn rotate(&self, lead: &str, rate: &str) {
        let start = ["rotate", "start", VOLUME, "--rate", rate, "--fixed", "--reason", "test"];
        self.peers.wait("a rotation begins", |peers| peers.ask(lead, &start).status.success());
    }

    /// Asks a node in a thread of its own: an answer may wait for members that are cut off.
    pub fn ask_beside(&self, node: &str, args: &[&str]) -> JoinHandle<Output> {
        let control = format!("unix:{}", self.peers.path(node, "ctl").display());
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        thread::spawn(move || run(keymoult().args(args).args(["--control", &control])))
    }

    /// Whether a node says that it waits for a member.
    pub fn waits_for(&self, node: &str, member: &str) -> bool {
        let status = self.peers.status(node);
        status["waiting"].as_array().is_some_and(|waiting| waiting.iter().any(|one| one["member"] == member))
    }

    /// Who leads, and in which epoch, as a node sees it.
    pub fn lead(&self, node: &str) -> (String, u64) {
        let status = self.peers.status(node);
        (status["lead"].as_str().unwrap_or("nobody").to_owned(), status["epoch"].as_u64().unwrap_or(0))
    }

    /// Extents of a node's replica that are under generations other than `wanted`, in bytes.
    pub fn elsewhere(&self, node: &str, wanted: u32) -> u64 {
        let uri = format!("nbd+unix:///{VOLUME}?socket={}", self.peers.path(node, "nbd").display());
        let found = map(&uri, "x-keymoult:generation");
        (0..GENERATIONS).filter(|generation| *generation != wanted).map(|generation| total(&found, generation)).sum()
    }

    /// The end of every story: the change is finalized everywhere, all replicas hold what was written, all of it under one
    /// generation; then the old key is retired and destroyed everywhere.
    #[track_caller]
    pub fn ends_well(&self, lead: &str, mut client: Mirror) {
        self.peers.wait_for_step("finalized");
        client.verify();
        let change = self.peers.status(lead)["change"].clone();
        let (target, old) = (change["target"].as_u64().unwrap(), change["from"].as_u64().unwrap());
        for node in self.peers.full() {
            assert_eq!(
                self.elsewhere(&node, target as u32),
                0,
                "{node} has extents under another generation than {target}"
            );
        }
        let old = old.to_string();
        let sure = ["--i-know-this-cannot-be-undone", "--reason", "test"];
        self.peers.succeed(lead, &["key", "retire", VOLUME, &old]);
        self.peers.succeed(lead, &[&["key", "schedule", VOLUME, &old, "--now"][..], &sure].concat());
        self.peers.succeed(lead, &["key", "destroy", VOLUME, &old, "--reason", "test"]);
        self.peers.wait("the key is gone everywhere", |peers| {
            let gone = |node: &String| peers.key(node, old.parse().unwrap()).is_some_and(|key| key.0 == "destroyed");
            peers.full().iter().all(gone)
        });
        client.verify();
    }
}
