//! PyKMIP's server: KMIP 1.4 over TLS 1.2 alone, with client certificates.

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::bao::{free_port, keeper};
use crate::support::certificates::{Authority, Says, write};
use crate::support::succeed;

/// Longest it may take to listen.
const LIMIT: Duration = Duration::from_secs(60);

/// A running server.
pub struct PyKmip {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl PyKmip {
    /// Starts one without keys.
    #[track_caller]
    pub fn start() -> PyKmip {
        let folder = tempfile::Builder::new().prefix("km").tempdir().unwrap();
        let authority = Authority::new("keeper authority");
        write(folder.path(), "ca.pem", &authority.pem);
        for (name, says) in [
            ("server", Says::server()),
            ("client", Says::client("keymoult-a")),
            ("stranger", Says::client("somebody")),
            ("useless", Says { common: "useless", ..Says::default() }),
        ] {
            let identity = authority.issue(says);
            write(folder.path(), &format!("{name}.pem"), &identity.certificate);
            write(folder.path(), &format!("{name}.key"), &identity.key);
        }
        std::fs::create_dir(folder.path().join("policy")).unwrap();
        let port = free_port();
        write(folder.path(), "server.conf", &configuration(folder.path(), port));
        let mut server = PyKmip { folder, port, child: None };
        server.spawn();
        server
    }

    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("out")).unwrap();
        let mut command = keeper("pykmip-server");
        command.arg("-f").arg(self.path("server.conf")).arg("-l").arg(self.path("log"));
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(start.elapsed() < LIMIT, "PyKMIP does not listen\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it at once: a group of processes of its own, since it starts another that would outlive it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            killpg(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
            child.wait().unwrap();
        }
    }

    /// Does something to a key as its operator; the key's id.
    #[track_caller]
    pub fn operate(&self, verb: &str, key: Option<&str>) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keepers/scripts/kmip_operator.py");
        let mut command = keeper("python3");
        command.arg(script).arg(self.port.to_string()).arg(self.folder.path()).arg(verb).args(key);
        succeed(&mut command).trim().to_owned()
    }

    /// A new key that is active; its id.
    #[track_caller]
    pub fn active_key(&self) -> String {
        let key = self.operate("create", None);
        self.operate("activate", Some(&key));
        key
    }

    /// The URI of a key for who has the certificate `NAME.pem`.
    pub fn uri(&self, key: &str, name: &str) -> String {
        let path = |file: &str| self.path(file).display().to_string();
        let (certificate, private) = (path(&format!("{name}.pem")), path(&format!("{name}.key")));
        format!("kmip://127.0.0.1:{}/{key}?ca={}&cert={certificate}&key={private}", self.port, path("ca.pem"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        ["log", "out"].map(|name| std::fs::read_to_string(self.path(name)).unwrap_or_default()).join("\n")
    }
}

impl Drop for PyKmip {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- PyKMIP's own words\n{}", self.log());
        }
    }
}

fn configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "[server]\nhostname=127.0.0.1\nport={port}\ncertificate_path={folder}/server.pem\n\
         key_path={folder}/server.key\nca_path={folder}/ca.pem\nauth_suite=TLS1.2\npolicy_path={folder}/policy\n\
         enable_tls_client_auth=True\nlogging_level=INFO\ndatabase_path={folder}/keys.db\n"
    )
}
