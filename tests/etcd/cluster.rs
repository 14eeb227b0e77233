//! Three etcd members of this test's own: TLS with client certificates, between members too; killed, brought back, rewound, wiped.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::certificates::{Authority, Says, write};
use crate::support::{run, succeed, tool};

/// Members.
pub const MEMBERS: usize = 3;
/// Longer than any start takes; only there so that a hang fails.
const START: Duration = Duration::from_secs(60);

struct Member {
    client: u16,
    peer: u16,
    data: PathBuf,
    child: Option<Child>,
}

/// The members.
pub struct Etcd {
    pub folder: tempfile::TempDir,
    pub authority: Authority,
    members: Mutex<Vec<Member>>,
    /// Distinguishes what would have the same name in the folder.
    count: AtomicUsize,
    token: Mutex<String>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Etcd {
    /// Starts three members and waits until they have a leader.
    pub fn start() -> Etcd {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("etcd's authority");
        write(folder.path(), "ca.crt", &authority.pem);
        let server = authority.issue(Says { for_clients: true, ..Says::server() });
        write(folder.path(), "server.crt", &server.certificate);
        write(folder.path(), "server.key", &server.key);
        let root = authority.issue(Says::client("root"));
        write(folder.path(), "root.crt", &root.certificate);
        write(folder.path(), "root.key", &root.key);
        let member = |index: usize| Member {
            client: free_port(),
            peer: free_port(),
            data: folder.path().join(format!("d{index}")),
            child: None,
        };
        let members = Mutex::new((0..MEMBERS).map(member).collect());
        let (count, token) = (AtomicUsize::new(0), Mutex::new("first".to_owned()));
        let etcd = Etcd { folder, authority, members, count, token };
        (0..MEMBERS).for_each(|index| etcd.run(index));
        etcd.settle();
        etcd
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn next(&self) -> usize {
        self.count.fetch_add(1, SeqCst)
    }

    fn initial(&self) -> String {
        let members = self.members.lock().unwrap();
        let one = |(index, member): (usize, &Member)| format!("m{index}=https://127.0.0.1:{}", member.peer);
        members.iter().enumerate().map(one).collect::<Vec<_>>().join(",")
    }

    /// Starts a member, on the data it has.
    pub fn run(&self, index: usize) {
        let initial = self.initial();
        let mut members = self.members.lock().unwrap();
        let member = &mut members[index];
        let (client, peer) =
            (format!("https://127.0.0.1:{}", member.client), format!("https://127.0.0.1:{}", member.peer));
        let log = File::options().create(true).append(true).open(self.path(&format!("m{index}.log"))).unwrap();
        let mut command = tool("etcd");
        command.args(["--name", &format!("m{index}"), "--data-dir"]).arg(&member.data);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &initial, "--initial-cluster-state", "new"]);
        command.args(["--initial-cluster-token", &self.token.lock().unwrap()]);
        for (flag, name) in [("trusted-ca-file", "ca.crt"), ("cert-file", "server.crt"), ("key-file", "server.key")] {
            command.arg(format!("--{flag}")).arg(self.path(name)).arg(format!("--peer-{flag}")).arg(self.path(name));
        }
        command.args(["--client-cert-auth", "--peer-client-cert-auth", "--logger", "zap", "--log-level", "warn"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        member.child = Some(command.spawn().unwrap());
    }

    /// Kills a member.
    pub fn kill(&self, index: usize) {
        if let Some(mut child) = self.members.lock().unwrap()[index].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Kills all.
    pub fn kill_all(&self) {
        (0..MEMBERS).for_each(|index| self.kill(index));
    }

    /// The members' addresses.
    pub fn endpoints(&self) -> Vec<String> {
        let members = self.members.lock().unwrap();
        members.iter().map(|member| format!("https://127.0.0.1:{}", member.client)).collect()
    }

    /// `etcdctl` as root, with these endpoints.
    pub fn control_at(&self, endpoints: &[String], args: &[&str]) -> Command {
        let mut command = tool("etcdctl");
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(endpoints.join(","));
        for (flag, name) in [("--cacert", "ca.crt"), ("--cert", "root.crt"), ("--key", "root.key")] {
            command.arg(flag).arg(self.path(name));
        }
        command.args(args);
        command
    }

    /// What `etcdctl` says.
    pub fn control(&self, args: &[&str]) -> String {
        succeed(&mut self.control_at(&self.endpoints(), args))
    }

    /// Writes any bytes under a key.
    pub fn put(&self, key: &str, value: &[u8]) {
        let path = self.path(&format!("value{}", self.next()));
        std::fs::write(&path, value).unwrap();
        let mut command = self.control_at(&self.endpoints(), &["put", key]);
        assert!(command.stdin(File::open(path).unwrap()).status().unwrap().success());
    }

    /// Waits until a write succeeds.
    pub fn settle(&self) {
        let start = Instant::now();
        while !run(&mut self.control_at(&self.endpoints(), &["put", "/settled", "yes"])).status.success() {
            assert!(start.elapsed() < START, "etcd does not come up:\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn logs(&self) -> String {
        let log = |index| std::fs::read_to_string(self.path(&format!("m{index}.log"))).unwrap_or_default();
        (0..MEMBERS).map(log).collect()
    }

    /// Which member leads etcd.
    pub fn leader(&self) -> usize {
        for (index, endpoint) in self.endpoints().into_iter().enumerate() {
            let status = run(&mut self.control_at(&[endpoint], &["endpoint", "status", "-w", "json"]));
            let parsed: Option<Value> = serde_json::from_slice(&status.stdout).ok();
            let status = parsed.map(|parsed| parsed[0]["Status"].clone()).unwrap_or_default();
            if !status["leader"].is_null() && status["leader"] == status["header"]["member_id"] {
                return index;
            }
        }
        panic!("etcd has no leader:\n{}", self.logs());
    }

    /// A copy of everything.
    pub fn save(&self) -> PathBuf {
        let path = self.path(&format!("copy{}", self.next()));
        let endpoints = self.endpoints();
        succeed(&mut self.control_at(&endpoints[..1], &["snapshot", "save", path.to_str().unwrap()]));
        path
    }

    /// Puts a copy back, as the same etcd or, with another `token`, as another one.
    pub fn restore(&self, copy: &Path, token: &str) {
        self.kill_all();
        token.clone_into(&mut self.token.lock().unwrap());
        let (initial, count) = (self.initial(), self.next());
        for index in 0..MEMBERS {
            let data = self.path(&format!("d{index}-{count}"));
            let peer = {
                let mut members = self.members.lock().unwrap();
                members[index].data.clone_from(&data);
                members[index].peer
            };
            let mut command = tool("etcdctl");
            command.env("ETCDCTL_API", "3").args(["snapshot", "restore"]).arg(copy);
            command.args(["--name", &format!("m{index}"), "--initial-cluster", &initial]);
            command.args(["--initial-cluster-token", token, "--data-dir"]).arg(&data);
            command.args(["--initial-advertise-peer-urls", &format!("https://127.0.0.1:{peer}")]);
            succeed(&mut command);
        }
        (0..MEMBERS).for_each(|index| self.run(index));
        self.settle();
    }

    /// Loses everything; the members are the same.
    pub fn wipe(&self) {
        self.kill_all();
        let count = self.next();
        for (index, member) in self.members.lock().unwrap().iter_mut().enumerate() {
            member.data = self.path(&format!("d{index}-{count}"));
        }
        (0..MEMBERS).for_each(|index| self.run(index));
        self.settle();
    }

    /// Revokes the lease under which a node of a cluster holds anything.
    pub fn expire(&self, cluster: &str, node: &str) {
        let found = self.control(&["get", "--prefix", &format!("/keymoult/v1/{cluster}/volume/"), "-w", "json"]);
        let found: Value = serde_json::from_str(&found).unwrap();
        let mut leases = Vec::new();
        for found in found["kvs"].as_array().into_iter().flatten() {
            let Some(lease) = found["lease"].as_i64().filter(|lease| *lease != 0) else { continue };
            let text =
                |field: &str| String::from_utf8(base64(found[field].as_str().unwrap_or_default())).unwrap_or_default();
            let is_state = text("key").ends_with(&format!("/state/{node}"));
            let is_lead = text("key").ends_with("/lead") && text("value").contains(&format!("\"node\":\"{node}\""));
            if (is_state || is_lead) && !leases.contains(&lease) {
                leases.push(lease);
            }
        }
        for lease in leases {
            // Somebody else may have been faster.
            run(&mut self.control_at(&self.endpoints(), &["lease", "revoke", &format!("{lease:x}")]));
        }
    }
}

fn base64(text: &str) -> Vec<u8> {
    use base64ct::{Base64, Encoding};
    Base64::decode_vec(text).unwrap_or_default()
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill_all();
    }
}
