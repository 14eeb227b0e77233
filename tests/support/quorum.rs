//! QEMU's storage daemon as the one who writes to every replica: a quorum node over NBD exports, offered over NBD itself, and
//! steered over QMP.
//!
//! Invariant: the daemon is ended by its own process id when this is dropped; its words are printed when a test panics.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Client;
use super::process::tool;

/// Longest the daemon may take to answer, or to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// The name of its export, and of the node behind it.
const NAME: &str = "disk";

/// How the replicas are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// All of them, and those in the minority are written over with what the majority says.
    Vote,
    /// The first that answers.
    First,
}

/// A running `qemu-storage-daemon` with a quorum over some exports.
pub struct Quorum {
    child: Child,
    folder: PathBuf,
    monitor: Monitor,
}

impl Quorum {
    /// A quorum over the exports, each the socket of an NBD server and the name there; a request has succeeded once
    /// `threshold` replicas say so. Sockets and words go to `folder`.
    #[track_caller]
    pub fn start(folder: &Path, legs: &[(PathBuf, String)], threshold: usize, reading: Reading) -> Quorum {
        std::fs::create_dir_all(folder).unwrap();
        let log = File::create(folder.join("qemu.log")).unwrap();
        let mut command = tool("qemu-storage-daemon");
        for (index, leg) in legs.iter().enumerate() {
            command.arg("--blockdev").arg(replica(index, leg).to_string());
        }
        let children: Vec<String> = (0..legs.len()).map(|index| node(index, 0)).collect();
        let vote = reading == Reading::Vote;
        let quorum = json!({ "driver": "quorum", "node-name": NAME, "children": children, "vote-threshold": threshold,
            "read-pattern": if vote { "quorum" } else { "fifo" }, "rewrite-corrupted": vote });
        command.arg("--blockdev").arg(quorum.to_string());
        let (nbd, qmp) = (folder.join("disk.nbd"), folder.join("disk.qmp"));
        command.arg("--nbd-server").arg(format!("addr.type=unix,addr.path={},max-connections=16", nbd.display()));
        command.args(["--export", &format!("type=nbd,id=out,node-name={NAME},name={NAME},writable=on")]);
        command.arg("--chardev").arg(format!("socket,id=qmp,path={},server=on,wait=off", qmp.display()));
        command.args(["--monitor", "chardev=qmp"]);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let monitor = Monitor::connect(&qmp, folder);
        Quorum { child, folder: folder.into(), monitor }
    }

    /// Where it offers the disk.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("disk.nbd")
    }

    /// Its NBD URI.
    pub fn uri(&self) -> String {
        format!("nbd+unix:///{NAME}?socket={}", self.socket().display())
    }

    /// A new connection of the small client.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(&self.socket(), NAME).unwrap()
    }

    /// Takes a replica out of the quorum, which must be able to do without, and forgets it.
    #[track_caller]
    pub fn remove(&mut self, index: usize) {
        self.monitor.run("x-blockdev-change", json!({ "parent": NAME, "child": format!("children.{index}") }));
        self.monitor.run("blockdev-del", json!({ "node-name": node(index, 0) }));
    }

    /// Brings a replica in again, as QEMU does it: a new node, mirrored onto while clients write, and made part of the quorum.
    /// Between the end of the mirror and the change of the graph clients must be quiet.
    #[track_caller]
    pub fn resync(&mut self, index: usize, leg: &(PathBuf, String)) {
        let mut fresh = replica(index, leg);
        let name = node(index, 1);
        fresh["node-name"] = json!(name);
        self.monitor.run("blockdev-add", fresh);
        let job = json!({ "job-id": "resync", "device": NAME, "target": name, "sync": "full", "copy-mode": "write-blocking" });
        self.monitor.run("blockdev-mirror", job);
        self.monitor.await_event("BLOCK_JOB_READY");
        // Cancelled when ready, a mirror leaves a whole copy behind and the graph as it is.
        self.monitor.run("block-job-cancel", json!({ "device": "resync", "force": false }));
        self.monitor.await_event("BLOCK_JOB_COMPLETED");
        self.monitor.run("x-blockdev-change", json!({ "parent": NAME, "node": name }));
    }

    /// Replicas that the quorum has complained about so far, by the events it sent.
    pub fn complaints(&mut self) -> Vec<String> {
        self.monitor.run("query-version", json!({}));
        let bad = self.monitor.events.iter().filter(|event| event["event"] == "QUORUM_REPORT_BAD");
        let mut nodes: Vec<String> = bad.map(|event| event["data"]["node-name"].to_string()).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }
}

impl Drop for Quorum {
    fn drop(&mut self) {
        if self.child.kill().and_then(|()| self.child.wait()).is_err() {
            eprintln!("qemu-storage-daemon could not be ended");
        }
        if thread::panicking() {
            eprintln!("--- QEMU's own words\n{}", words(&self.folder));
        }
    }
}

fn words(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("qemu.log")).unwrap_or_default()
}

fn node(index: usize, round: u32) -> String {
    format!("leg{index}.{round}")
}

/// The node of a replica. A lost connection fails requests at once, and is tried again with every one of them.
fn replica(index: usize, (socket, export): &(PathBuf, String)) -> Value {
    json!({ "driver": "nbd", "node-name": node(index, 0), "server": { "type": "unix", "path": socket }, "export": export,
        "reconnect-delay": 0 })
}

/// The control connection.
struct Monitor {
    lines: BufReader<UnixStream>,
    events: VecDeque<Value>,
}

impl Monitor {
    #[track_caller]
    fn connect(socket: &Path, folder: &Path) -> Monitor {
        let start = Instant::now();
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(start.elapsed() < PATIENCE, "no QMP: {error}\n{}", words(folder)),
            }
            thread::sleep(Duration::from_millis(10));
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut monitor = Monitor { lines: BufReader::new(stream), events: VecDeque::new() };
        assert!(monitor.read()["QMP"].is_object());
        monitor.run("qmp_capabilities", json!({}));
        monitor
    }

    #[track_caller]
    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("QMP said {line:?}: {error}"))
    }

    /// Runs a command, which must succeed.
    #[track_caller]
    fn run(&mut self, command: &str, arguments: Value) {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.lines.get_mut().write_all(line.as_bytes()).unwrap();
        loop {
            let answer = self.read();
            if answer.get("event").is_some() {
                self.events.push_back(answer);
            } else {
                assert!(answer.get("return").is_some(), "{line}: {answer}");
                return;
            }
        }
    }

    /// Waits for an event that may have come already.
    #[track_caller]
    fn await_event(&mut self, name: &str) {
        while !self.events.iter().any(|event| event["event"] == name) {
            let next = self.read();
            self.events.push_back(next);
        }
        self.events.retain(|event| event["event"] != name);
    }
}
