//! Several real daemons that are peers: certificates and identities by the product's own `peer init-ca`, replicas from its own
//! invite, one folder a node; kill -9, start again, wait on conditions.
//!
//! Invariants: everything is in a temporary folder and on loopback unless a test says where its nodes are; what is waited for is polled,
//! with a watchdog that is only there so that a hang fails; daemons are ended by their own process id.

use super::process::{run, succeed, wait};
use super::{Client, MIB, keymoult};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any condition takes on a machine that is busy with other tests.
const WATCHDOG: Duration = Duration::from_secs(150);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Longest a daemon may take to leave after SIGTERM.
const LEAVE_LIMIT: Duration = Duration::from_secs(30);
/// Export name of the replicated volume.
pub const VOLUME: &str = "disk";

/// What a cluster is like.
#[derive(Clone)]
pub struct PeersOptions {
    /// Names of the nodes that hold replicas; the first one leads.
    pub full: Vec<&'static str>,
    /// Names of witnesses.
    pub witnesses: Vec<&'static str>,
    /// Size of the volume, bytes.
    pub size: u64,
    /// Size of an extent, bytes.
    pub extent_size: u64,
    /// More lines for every node's configuration, in front of the first table.
    pub more: String,
    /// Tables at the end of every node's configuration; `NODE` in them stands for its name, `FOLDER` for its folder.
    pub tables: String,
    /// Where a node is reached; a free port of loopback if not said.
    pub addresses: BTreeMap<&'static str, String>,
    /// What stands in front of a node's command line, such as `ip netns exec NAME`.
    pub prefixes: BTreeMap<&'static str, Vec<String>>,
}

impl Default for PeersOptions {
    fn default() -> PeersOptions {
        PeersOptions {
            full: vec!["a", "b", "c"],
            witnesses: Vec::new(),
            size: 16 * MIB,
            extent_size: 64 << 10,
            more: String::new(),
            tables: String::new(),
            addresses: BTreeMap::new(),
            prefixes: BTreeMap::new(),
        }
    }
}

/// A cluster of daemons; all are killed when it is dropped.
pub struct Peers {
    folder: tempfile::TempDir,
    options: PeersOptions,
    addresses: BTreeMap<String, String>,
    children: BTreeMap<String, Child>,
}

impl Peers {
    /// Certificates, configurations and the first node's volume; nobody runs yet.
    #[track_caller]
    pub fn new(options: &PeersOptions) -> Peers {
        let folder = tempfile::Builder::new().prefix("kp").tempdir().unwrap();
        let names = options.full.iter().chain(&options.witnesses);
        let address = |name: &&'static str| options.addresses.get(name).cloned().unwrap_or_else(free_address);
        let addresses = names.map(|name| ((*name).to_owned(), address(name))).collect();
        let peers = Peers { folder, options: options.clone(), addresses, children: BTreeMap::new() };
        peers.make_authority();
        for name in peers.names() {
            peers.make_node(&name);
        }
        peers.make_volume(options.full[0]);
        peers
    }

    /// A cluster whose replicas are made, and whose nodes run and agree on the first record.
    #[track_caller]
    pub fn founded(options: &PeersOptions) -> Peers {
        let mut peers = Peers::new(options);
        peers.start(options.full[0]);
        peers.make_replicas();
        for name in peers.names().into_iter().filter(|name| *name != options.full[0]) {
            peers.start(&name);
        }
        peers.wait_for_agreement();
        peers.wait_for_links();
        peers
    }

    /// All nodes, by name.
    pub fn names(&self) -> Vec<String> {
        self.addresses.keys().cloned().collect()
    }

    /// Nodes with replicas.
    pub fn full(&self) -> Vec<String> {
        self.options.full.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A path in a node's folder.
    pub fn path(&self, node: &str, file: &str) -> PathBuf {
        self.folder.path().join(node).join(file)
    }

    /// Where a node is reached.
    pub fn address(&self, node: &str) -> &str {
        &self.addresses[node]
    }

    /// The folder of all.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn make_authority(&self) {
        let mut command = keymoult();
        command.args(["peer", "init-ca", "--cluster", "lab"]);
        for (flag, names) in [("--node", &self.options.full), ("--witness", &self.options.witnesses)] {
            for name in names {
                command.args([flag, &format!("{name}={}", self.addresses[*name])]);
            }
        }
        succeed(command.arg("--into").arg(self.folder.path().join("ca")));
    }

    /// What `peer init-ca` made for a node.
    pub fn credentials(&self, node: &str) -> PathBuf {
        self.folder.path().join("ca").join(node)
    }

    fn make_node(&self, node: &str) {
        fs::create_dir(self.folder.path().join(node)).unwrap();
        self.configure(node, "");
    }

    /// Writes a node's configuration, with `more` at its end.
    pub fn configure(&self, node: &str, more: &str) {
        let path = |file: &str| self.path(node, file).display().to_string();
        let folder = self.credentials(node);
        let peers = fs::read_to_string(folder.join("peers.toml")).unwrap();
        let peers = peers.replace("/etc/keymoult/peers", folder.to_str().unwrap());
        let mut text = format!(
            "nbd = [\"unix:{}\"]\ncontrol = \"unix:{}\"\nstate-dir = \"{}\"\nkek = [\"file:{}\"]\n{}\n",
            path("nbd"),
            path("ctl"),
            path("state"),
            path("kek"),
            self.options.more
        );
        if self.options.full.contains(&node) {
            text += &format!("[[volume]]\nname = \"{VOLUME}\"\npath = \"{}\"\nreplicated = true\n", path("disk.km"));
        }
        text += &peers;
        if self.options.witnesses.contains(&node) {
            text += &format!("[[peers.witness]]\nname = \"{VOLUME}\"\nvolume = \"{}\"\n", self.volume_id());
        }
        text += &self
            .options
            .tables
            .replace("NODE", node)
            .replace("FOLDER", &self.folder.path().join(node).display().to_string());
        text += more;
        fs::write(self.path(node, "config.toml"), text).unwrap();
    }

    /// Identity of the volume, which a witness is told.
    fn volume_id(&self) -> String {
        let first = self.options.full[0];
        match self.path(first, "disk.km").exists() {
            false => "00000000-0000-4000-8000-000000000000".into(),
            true => {
                let mut command = keymoult();
                let info = succeed(command.args(["--json", "volume", "info"]).arg(self.path(first, "disk.km")));
                let info: Value = serde_json::from_str(&info).unwrap();
                info["volume"]["id"].as_str().unwrap_or_default().to_owned()
            }
        }
    }

    fn make_volume(&self, node: &str) {
        let mut command = keymoult();
        command.args(["volume", "create"]).arg(self.path(node, "disk.km"));
        command.args([
            "--size",
            &self.options.size.to_string(),
            "--extent-size",
            &self.options.extent_size.to_string(),
        ]);
        command.args(["--kek", &self.kek(node), "--new-kek"]);
        succeed(&mut command);
        self.options.witnesses.iter().for_each(|witness| self.configure(witness, ""));
    }

    /// The URI of a node's KEK: each has one of its own.
    pub fn kek(&self, node: &str) -> String {
        format!("file:{}", self.path(node, "kek").display())
    }

    /// Makes the other replicas from an invite of the first node, which runs.
    #[track_caller]
    pub fn make_replicas(&self) {
        let others: Vec<String> = self.full().into_iter().skip(1).collect();
        let invite = self.folder.path().join("invite");
        let mut args = vec!["peer", "invite", VOLUME, "--into", invite.to_str().unwrap()];
        others.iter().for_each(|node| args.extend(["--node", node]));
        self.succeed(self.options.full[0], &args);
        others.iter().for_each(|node| self.make_replica(node, &invite));
    }

    /// Makes a node's replica from an invite.
    #[track_caller]
    pub fn make_replica(&self, node: &str, invite: &Path) {
        let mut command = keymoult();
        command.args(["volume", "create"]).arg(self.path(node, "disk.km")).arg("--replica-of").arg(invite);
        command.arg("--peers").arg(self.path(node, "config.toml")).args(["--kek", &self.kek(node), "--new-kek"]);
        succeed(&mut command);
    }

    /// Starts a node and returns when it serves.
    #[track_caller]
    pub fn start(&mut self, node: &str) {
        self.spawn(node);
        let start = Instant::now();
        while Client::connect(&self.path(node, "nbd"), VOLUME).is_err() && self.options.full.contains(&node) {
            self.still_runs(node);
            assert!(start.elapsed() < WATCHDOG, "{node} is not ready\n{}", self.log(node));
            thread::sleep(LOOK);
        }
        while !self.ask(node, &["status"]).status.success() {
            self.still_runs(node);
            assert!(start.elapsed() < WATCHDOG, "{node} does not answer\n{}", self.log(node));
            thread::sleep(LOOK);
        }
    }

    #[track_caller]
    fn still_runs(&mut self, node: &str) {
        if let Some(status) = self.children.get_mut(node).unwrap().try_wait().unwrap() {
            self.children.remove(node);
            panic!("{node} ended: {status}\n{}", self.log(node));
        }
    }

    /// Starts a node without waiting for anything.
    #[track_caller]
    pub fn spawn(&mut self, node: &str) {
        assert!(!self.is_running(node), "{node} still runs");
        let log = File::options().create(true).append(true).open(self.path(node, "log")).unwrap();
        let mut command = self.command(node);
        command.arg("serve").arg("--config").arg(self.path(node, "config.toml"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.children.insert(node.to_owned(), command.spawn().unwrap());
    }

    /// The program, behind the node's prefix.
    fn command(&self, node: &str) -> Command {
        let program = keymoult();
        let Some(prefix) = self.options.prefixes.get(node).filter(|prefix| !prefix.is_empty()) else { return program };
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).arg(program.get_program());
        for (name, value) in program.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command
    }

    /// Whether a node dials another, and whether the link between them is up, as `keymoult peer list --json` says there.
    pub fn link(&self, node: &str, other: &str) -> Option<bool> {
        let output = self.ask(node, &["--json", "peer", "list"]);
        let list: Value = serde_json::from_slice(&output.stdout).ok()?;
        list["links"].as_array()?.iter().find(|link| link["node"] == other)?["up"].as_bool()
    }

    /// SIGHUP: certificates and addresses of peers are read anew.
    #[track_caller]
    pub fn reload(&self, node: &str) {
        let pid = nix::unistd::Pid::from_raw(self.children[node].id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    }

    /// A further node: certificates, folder and configuration; the configurations of all others name it from now on.
    #[track_caller]
    pub fn add(&mut self, node: &'static str, address: String) {
        let mut command = keymoult();
        command.args(["peer", "issue", "--node", &format!("{node}={address}")]);
        succeed(command.arg("--ca").arg(self.folder.path().join("ca")));
        self.addresses.insert(node.into(), address);
        self.options.full.push(node);
        self.make_node(node);
        self.names().iter().for_each(|name| self.configure(name, ""));
    }

    /// Forgets a node, and all that it had.
    pub fn forget(&mut self, node: &str) {
        self.kill_9(node);
        self.options.full.retain(|name| *name != node);
        self.addresses.remove(node);
        fs::remove_dir_all(self.folder.path().join(node)).unwrap();
    }

    /// Whether a node was started and not ended.
    pub fn is_running(&self, node: &str) -> bool {
        self.children.contains_key(node)
    }

    /// Process id of a node that runs.
    pub fn pid(&self, node: &str) -> u32 {
        self.children[node].id()
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill_9(&mut self, node: &str) {
        if let Some(mut child) = self.children.remove(node) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; the daemon must leave by itself and successfully.
    #[track_caller]
    pub fn terminate(&mut self, node: &str) {
        let mut child = self.children.remove(node).unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        match wait(&mut child, LEAVE_LIMIT) {
            Some(status) => assert!(status.success(), "{node} left with {status}\n{}", self.log(node)),
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{node} did not leave within {LEAVE_LIMIT:?} of SIGTERM\n{}", self.log(node));
            }
        }
    }

    /// What a node's daemon has written, over all its starts.
    pub fn log(&self, node: &str) -> String {
        fs::read_to_string(self.path(node, "log")).unwrap_or_default()
    }

    /// Runs `keymoult ARGS… --control …` against a node and returns whatever came of it.
    pub fn ask(&self, node: &str, args: &[&str]) -> Output {
        run(keymoult().args(args).args(["--control", &format!("unix:{}", self.path(node, "ctl").display())]))
    }

    /// The same, which must succeed. Returns standard output.
    #[track_caller]
    pub fn succeed(&self, node: &str, args: &[&str]) -> String {
        let output = self.ask(node, args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{node}: {args:?}\n--- stdout\n{out}\n--- stderr\n{err}\n{}", self.logs());
        out
    }

    /// The same, which must be refused. Returns standard error.
    #[track_caller]
    pub fn refused(&self, node: &str, args: &[&str]) -> String {
        let output = self.ask(node, args);
        assert!(!output.status.success(), "{node}: {args:?} was not refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// `keymoult peer status disk --json` on a node; null if it does not answer.
    pub fn status(&self, node: &str) -> Value {
        let output = self.ask(node, &["--json", "peer", "status", VOLUME]);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// `keymoult rotate status disk --json` on a node; null if it does not answer.
    pub fn rotation(&self, node: &str) -> Value {
        let output = self.ask(node, &["--json", "rotate", "status", VOLUME]);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// The state of a generation on a node, and how many extents carry it.
    pub fn key(&self, node: &str, generation: u64) -> Option<(String, u64)> {
        let output = self.ask(node, &["--json", "key", "list", VOLUME]);
        let list: Value = serde_json::from_slice(&output.stdout).ok()?;
        let key = list["keys"].as_array()?.iter().find(|key| key["generation"] == generation)?.clone();
        Some((key["state"].as_str()?.to_owned(), key["extents"].as_u64().unwrap_or(0)))
    }

    /// How far the change on record has come, as a node sees it: `idle`, `prepared`, `active`, `rolled-back`, `finalized`.
    pub fn step(&self, node: &str) -> String {
        self.status(node)["change"]["step"].as_str().unwrap_or("none").to_owned()
    }

    /// Polls until `is_so`; fails with every node's view and log when the watchdog barks.
    #[track_caller]
    pub fn wait(&self, what: &str, mut is_so: impl FnMut(&Peers) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            if start.elapsed() > WATCHDOG {
                let views: Vec<String> =
                    self.children.keys().map(|node| format!("{node}: {:#}", self.status(node))).collect();
                panic!("waited in vain: {what}\n{}\n{}", views.join("\n"), self.logs());
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits until every running node can reach every other one.
    #[track_caller]
    pub fn wait_for_links(&self) {
        let running: Vec<&String> = self.children.keys().collect();
        self.wait("all nodes reach each other", |peers| {
            running.iter().all(|node| {
                let members = peers.status(node)["members"].as_array().cloned().unwrap_or_default();
                let up = |other: &&String| {
                    members.iter().any(|member| member["name"] == other.as_str() && member["link"]["up"] == true)
                };
                running.iter().filter(|other| other != &node).all(up)
            })
        });
    }

    /// Waits until all running nodes have brought their volumes to one committed record.
    #[track_caller]
    pub fn wait_for_agreement(&self) {
        self.wait("all nodes agree", |peers| {
            let stamps: Vec<Value> =
                peers.children.keys().map(|node| peers.status(node)["committed"]["stamp"].clone()).collect();
            let converged = peers.children.keys().all(|node| peers.converged(node));
            stamps.windows(2).all(|pair| pair[0] == pair[1]) && stamps.iter().all(Value::is_object) && converged
        });
    }

    /// Whether a node's own volume is as the committed record says.
    pub fn converged(&self, node: &str) -> bool {
        let status = self.status(node);
        let members = status["members"].as_array().cloned().unwrap_or_default();
        let me = members.iter().find(|member| member["name"] == node);
        me.is_some_and(|me| me["role"] == "witness" || me["progress"]["converged"] == status["committed"]["stamp"])
    }

    /// Waits until the change on record is at `step`, as every running node sees it.
    #[track_caller]
    pub fn wait_for_step(&self, step: &str) {
        self.wait(&format!("the change is {step}"), |peers| {
            peers.children.keys().all(|node| peers.step(node) == step && peers.converged(node))
        });
    }

    /// A new connection of the small client to a node's replica.
    #[track_caller]
    pub fn connect(&self, node: &str) -> Client {
        Client::connect(&self.path(node, "nbd"), VOLUME).unwrap()
    }

    fn logs(&self) -> String {
        let last = |text: String| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(60)..].join("\n")
        };
        self.names().iter().map(|node| format!("--- {node}\n{}", last(self.log(node)))).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for node in self.names() {
            self.kill_9(&node);
        }
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// A port of loopback that nobody has just now.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("127.0.0.1:{}", listener.local_addr().unwrap().port())
}
