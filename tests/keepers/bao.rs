//! A real OpenBao as operators run it: raft storage, TLS with a client authority, an audit file declared in its
//! configuration, three unseal keys of which two are needed, logins by certificate and AppRole.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::certificates::{Authority, Says, write};
use crate::support::{succeed, tool};

/// Longest it may take to answer after its start.
const LIMIT: Duration = Duration::from_secs(60);

/// A program of `target/keepers`, or of the folder that `KEYMOULT_KEEPERS` names.
pub fn keeper(name: &str) -> Command {
    let folder = std::env::var_os("KEYMOULT_KEEPERS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/keepers"), PathBuf::from);
    let program = folder.join("bin").join(name);
    assert!(program.is_file(), "{} is missing: run tools/setup", program.display());
    Command::new(program)
}

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running, unsealed OpenBao with a Transit engine at `transit`.
pub struct Bao {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    keys: Vec<String>,
    root: String,
    /// Who signs its certificate and those of its clients.
    pub authority: Authority,
}

impl Bao {
    /// Starts one; the policy `keymoult` may use the Transit key `kek`, which is made with `derived=true`.
    #[track_caller]
    pub fn start() -> Bao {
        let folder = tempfile::Builder::new().prefix("km").tempdir().unwrap();
        let authority = Authority::new("keeper authority");
        write(folder.path(), "ca.pem", &authority.pem);
        for (name, says) in [("server", Says::server()), ("client", Says::client("keymoult-a"))] {
            let identity = authority.issue(says);
            write(folder.path(), &format!("{name}.pem"), &identity.certificate);
            write(folder.path(), &format!("{name}.key"), &identity.key);
        }
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let (port, cluster) = (free_port(), free_port());
        write(folder.path(), "bao.hcl", &configuration(folder.path(), port, cluster));
        let (keys, root) = (Vec::new(), String::new());
        let mut bao = Bao { folder, port, child: None, keys, root, authority };
        bao.spawn();
        let (status, made) = bao.ask("PUT", "sys/init", json!({ "secret_shares": 3, "secret_threshold": 2 }));
        assert_eq!(status, 200, "{made}");
        bao.keys = made["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect();
        bao.root = made["root_token"].as_str().unwrap().to_owned();
        bao.unseal();
        bao.furnish();
        bao
    }

    /// Everything that a keymoult daemon needs there.
    fn furnish(&self) {
        self.set("sys/mounts/transit", json!({ "type": "transit" }));
        self.make_key("kek", json!({ "derived": true }));
        let allow = |path: &str, verb: &str| format!("path \"{path}\" {{ capabilities = [\"{verb}\"] }}\n");
        let policy = allow("transit/keys/kek", "read")
            + &allow("transit/encrypt/kek", "update")
            + &allow("transit/decrypt/kek", "update");
        self.set("sys/policies/acl/keymoult", json!({ "policy": policy }));
        self.set("sys/auth/cert", json!({ "type": "cert" }));
        let role = json!({ "certificate": self.authority.pem, "allowed_common_names": ["keymoult-a"],
            "token_policies": ["keymoult"], "token_ttl": "10m" });
        self.set("auth/cert/certs/keymoult", role);
        self.set("sys/auth/approle", json!({ "type": "approle" }));
        self.set("auth/approle/role/keymoult", json!({ "token_policies": ["keymoult"], "token_ttl": "10m" }));
    }

    /// Makes a Transit key.
    #[track_caller]
    pub fn make_key(&self, name: &str, options: Value) {
        self.set(&format!("transit/keys/{name}"), options);
    }

    /// Starts the process and waits until it answers at all.
    #[track_caller]
    pub fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = keeper("bao");
        command.arg("server").arg("-config").arg(self.path("bao.hcl"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        self.until("answers", |bao| bao.try_ask("GET", "sys/seal-status", None).is_some());
    }

    /// Ends the process at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops or continues the process: stopped, it takes connections and never answers.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.as_ref().unwrap().id().try_into().unwrap()), signal).unwrap();
    }

    /// Seals it.
    #[track_caller]
    pub fn seal(&self) {
        self.set("sys/seal", json!({}));
    }

    /// Unseals it and waits until it leads itself.
    #[track_caller]
    pub fn unseal(&self) {
        for key in &self.keys[..2] {
            assert_eq!(self.ask("PUT", "sys/unseal", json!({ "key": key })).0, 200);
        }
        self.until("leads", |bao| bao.try_ask("GET", "sys/health", None).is_some_and(|(status, _)| status == 200));
    }

    fn until(&self, what: &str, is_so: impl Fn(&Bao) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < LIMIT, "OpenBao never {what}\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes `body` to `path` as its root; it must succeed.
    #[track_caller]
    pub fn set(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask("POST", path, body);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// Asks something of it as its root: status code and answer.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.try_ask(method, path, Some(body)).unwrap()
    }

    fn try_ask(&self, method: &str, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let mut command = tool("curl");
        command.args(["--silent", "--max-time", "20", "--write-out", "\n%{http_code}", "--request", method]);
        command.arg("--cacert").arg(self.path("ca.pem")).args(["--header", &format!("X-Vault-Token: {}", self.root)]);
        if let Some(body) = body {
            command.args(["--data", &body.to_string()]);
        }
        command.arg(format!("https://127.0.0.1:{}/v1/{path}", self.port)).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (answer, status) = text.rsplit_once('\n')?;
        let status = status.parse().ok().filter(|status| *status > 0)?;
        Some((status, serde_json::from_str(answer).unwrap_or(Value::Null)))
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that only its owner can read; returns where.
    pub fn file(&self, name: &str, text: &str) -> String {
        write(self.folder.path(), name, text).display().to_string()
    }

    /// The URI of a Transit key without the login: `settings` follow.
    pub fn uri(&self, key: &str, settings: &str) -> String {
        format!("vault://127.0.0.1:{}/transit/{key}?ca={}&{settings}", self.port, self.path("ca.pem").display())
    }

    /// The URI of the key `kek` with a login by certificate.
    pub fn kek(&self) -> String {
        self.uri("kek", &self.certificate("client"))
    }

    /// Settings that name the certificate `NAME.pem` and its key.
    pub fn certificate(&self, name: &str) -> String {
        let path = |end: &str| self.path(&format!("{name}.{end}")).display().to_string();
        format!("cert={}&key={}", path("pem"), path("key"))
    }

    /// Settings that name a file with a token of `policy`.
    pub fn token(&self, policy: &str) -> String {
        let made = self.set("auth/token/create", json!({ "policies": [policy], "ttl": "10m" }));
        format!("token-file={}", self.file(&format!("token-{policy}"), made["auth"]["client_token"].as_str().unwrap()))
    }

    /// Settings that name files with a role id and a secret id.
    pub fn approle(&self) -> String {
        let (_, role) = self.ask("GET", "auth/approle/role/keymoult/role-id", Value::Null);
        let secret = self.set("auth/approle/role/keymoult/secret-id", json!({}));
        let role = self.file("role-id", role["data"]["role_id"].as_str().unwrap());
        let secret = self.file("secret-id", secret["data"]["secret_id"].as_str().unwrap());
        format!("role-id-file={role}&secret-id-file={secret}")
    }

    /// Its audit file so far, one value a record.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("audit.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.signal(Signal::SIGCONT);
        }
        self.kill();
        if thread::panicking() {
            eprintln!("--- OpenBao's own words\n{}", self.log());
        }
    }
}

fn configuration(folder: &Path, port: u16, cluster: u16) -> String {
    let folder = folder.display();
    format!(
        r#"
storage "raft" {{
  path = "{folder}/data"
  node_id = "one"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_cert_file = "{folder}/server.pem"
  tls_key_file = "{folder}/server.key"
  tls_client_ca_file = "{folder}/ca.pem"
}}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
ui = false
audit "file" "to-file" {{
  options {{
    file_path = "{folder}/audit.log"
  }}
}}
"#
    )
}

/// What `tools/setup` says it installs is what runs here.
#[test]
fn the_keepers_have_the_versions_that_are_pinned() {
    assert!(succeed(keeper("bao").arg("version")).starts_with("OpenBao v2.7.2"));
}
