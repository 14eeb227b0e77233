//! Several hosts on one machine: network namespaces that a switch (a bridge in a namespace of its own) joins, with links that
//! are cut and mended: one host's, two hosts' to each other, or one direction of those.
//!
//! Invariants: a [`Lan`] has a number of its own, so several live side by side; whatever it made is gone when it is dropped,
//! also by a panic, and what a killed test left behind goes when the next one starts. It needs root and iproute2: without them it
//! fails and says so. Packets on a cut link vanish without an error, as behind a switch that died.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process::{run, succeed, tool};

/// First part of the name of every namespace: the number of the process that made it follows.
const PREFIX: &str = "kmlan";
/// Where `ip netns` keeps them.
const PLACE: &str = "/run/netns";
/// The hardware address nobody has.
const NOBODY: &str = "02:00:00:00:00:fe";
/// The one interface of a host.
const CARD: &str = "lan";

static LANS: AtomicU32 = AtomicU32::new(0);

/// Some hosts and their switch; gone when dropped.
pub struct Lan {
    names: Vec<String>,
    tag: String,
    deaf: Mutex<BTreeSet<(usize, usize)>>,
}

impl Lan {
    /// Hosts of these names with the addresses of [`Lan::address`], every one reaching every other.
    #[track_caller]
    pub fn new(names: &[&str]) -> Lan {
        sweep();
        let tag = format!("{PREFIX}-{}-{}", std::process::id(), LANS.fetch_add(1, Ordering::Relaxed));
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let lan = Lan { names, tag, deaf: Mutex::default() };
        let switch = lan.switch();
        let made = run(ip().args(["netns", "add", &switch]));
        let why = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "no network namespace can be made (root and CONFIG_NET_NS are needed): {why}");
        succeed(ip().args(["-n", &switch, "link", "add", "bridge", "type", "bridge"]));
        succeed(ip().args(["-n", &switch, "link", "set", "bridge", "up"]));
        for host in 0..lan.names.len() {
            lan.plug_in(host, &switch);
        }
        lan
    }

    fn plug_in(&self, host: usize, switch: &str) {
        let (space, port) = (self.space(host), port(host));
        succeed(ip().args(["netns", "add", &space]));
        let peer = ["type", "veth", "peer", "name", &port, "netns", switch];
        succeed(ip().args(["link", "add", CARD, "netns", &space]).args(peer));
        succeed(ip().args(["-n", switch, "link", "set", &port, "master", "bridge", "up"]));
        let address = format!("{}/24", address(host));
        succeed(ip().args(["-n", &space, "address", "add", &address, "dev", CARD]));
        for device in ["lo", CARD] {
            succeed(ip().args(["-n", &space, "link", "set", device, "up"]));
        }
    }

    /// The address of a host.
    pub fn address(&self, name: &str) -> String {
        address(self.index(name))
    }

    /// What stands in front of a command line that runs on a host; the process id is that of the program itself.
    pub fn prefix(&self, name: &str) -> Vec<String> {
        let ip = ip().get_program().to_string_lossy().into_owned();
        [&ip, "netns", "exec", &self.space(self.index(name))].map(str::to_owned).to_vec()
    }

    /// `command` as it runs on a host.
    pub fn on(&self, name: &str, command: &Command) -> Command {
        let prefix = self.prefix(name);
        let mut inside = Command::new(&prefix[0]);
        inside.args(&prefix[1..]).arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Pulls a host's plug at the switch: it reaches nobody and nobody reaches it.
    pub fn unplug(&self, name: &str) {
        self.set_port(name, "down");
    }

    /// Puts it in again.
    pub fn plug(&self, name: &str) {
        self.set_port(name, "up");
    }

    fn set_port(&self, name: &str, state: &str) {
        succeed(ip().args(["-n", &self.switch(), "link", "set", &port(self.index(name)), state]));
    }

    /// Packets from one host to another vanish from now on; those of the other direction do not.
    pub fn deafen(&self, from: &str, to: &str) {
        let (from, to) = (self.index(from), self.index(to));
        self.neighbour(from, &["replace", &address(to), "lladdr", NOBODY, "nud", "permanent"]);
        self.deaf.lock().unwrap().insert((from, to));
    }

    /// Packets between two hosts vanish in both directions.
    pub fn cut(&self, one: &str, other: &str) {
        self.deafen(one, other);
        self.deafen(other, one);
    }

    /// Mends everything: every plug is in, every packet arrives.
    pub fn heal(&self) {
        for (from, to) in std::mem::take(&mut *self.deaf.lock().unwrap()) {
            self.neighbour(from, &["delete", &address(to)]);
        }
        for name in &self.names {
            self.plug(name);
        }
    }

    fn neighbour(&self, host: usize, what: &[&str]) {
        succeed(ip().args(["-n", &self.space(host), "neighbour"]).args(what).args(["dev", CARD]));
    }

    /// Bytes that a host has sent and received since it was made.
    pub fn traffic(&self, name: &str) -> (u64, u64) {
        let said = succeed(ip().args(["-n", &self.space(self.index(name)), "-s", "-j", "link", "show", CARD]));
        let parsed: serde_json::Value = serde_json::from_str(&said).unwrap();
        let bytes = |direction: &str| parsed[0]["stats64"][direction]["bytes"].as_u64().unwrap();
        (bytes("tx"), bytes("rx"))
    }

    #[track_caller]
    fn index(&self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| panic!("no host {name}: {:?}", self.names))
    }

    fn space(&self, host: usize) -> String {
        format!("{}-{}", self.tag, self.names[host])
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.tag)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // Its ends of the cables go with a namespace, and with them the other ends.
        for space in (0..self.names.len()).map(|host| self.space(host)).chain([self.switch()]) {
            remove(&space);
        }
    }
}

fn ip() -> Command {
    tool("ip")
}

fn port(host: usize) -> String {
    format!("port{host}")
}

fn address(host: usize) -> String {
    format!("10.77.0.{}", host + 1)
}

/// Removes what processes have left behind that do not live any more.
fn sweep() {
    let Ok(entries) = std::fs::read_dir(PLACE) else { return };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-')?.split('-').next()?.parse().ok());
        if owner.is_some_and(|owner: u32| !Path::new(&format!("/proc/{owner}")).exists()) {
            remove(&name);
        }
    }
}

/// Removes a namespace; another test may have been faster.
fn remove(space: &str) {
    let mut command = ip();
    if let Err(error) = command.args(["netns", "delete", space]).stderr(std::process::Stdio::null()).status() {
        eprintln!("the network namespace {space} could not be removed: {error}");
    }
}
