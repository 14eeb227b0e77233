//! The real daemon as a child process: serve, wait until ready, ask, kill -9, start again.

use super::process::{run, succeed, wait};
use super::{Client, Store, Volume, keymoult};
use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longest a daemon may take to listen; recovery of a small volume is far shorter.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Longest a daemon may take to leave after SIGTERM: it promises ten seconds.
const LEAVE_LIMIT: Duration = Duration::from_secs(30);

/// How a daemon is started.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// `--crypto-engine`, the daemon's choice when `None`.
    pub crypto_engine: Option<&'static str>,
    /// `--io`, the daemon's choice when `None`.
    pub io: Option<&'static str>,
    /// Anything more for the command line.
    pub more: Vec<String>,
}

/// A running daemon that serves some volumes of a [`Store`]; killed when dropped.
pub struct Daemon<'s> {
    store: &'s Store,
    volumes: Vec<Volume>,
    options: ServeOptions,
    binary: Option<PathBuf>,
    keks: Vec<String>,
    child: Option<Child>,
}

impl<'s> Daemon<'s> {
    /// Starts a daemon for `volumes` and returns when both of its sockets answer.
    #[track_caller]
    pub fn start(store: &'s Store, volumes: &[Volume], options: &ServeOptions) -> Daemon<'s> {
        let mut daemon = Daemon::stopped(store, volumes, options);
        daemon.restart();
        daemon
    }

    /// A daemon for `volumes` that does not run yet.
    pub fn stopped(store: &'s Store, volumes: &[Volume], options: &ServeOptions) -> Daemon<'s> {
        let keks = vec!["--kek".into(), store.kek()];
        Daemon { store, volumes: volumes.to_vec(), options: options.clone(), binary: None, keks, child: None }
    }

    /// From the next start on these instead of `--kek URI`.
    pub fn set_keys(&mut self, arguments: Vec<String>) {
        self.keks = arguments;
    }

    /// From the next start on another program than the one under test, if some.
    pub fn set_binary(&mut self, binary: Option<PathBuf>) {
        self.binary = binary;
    }

    /// Starts the daemon again, with the same options, after [`Daemon::kill_9`] or [`Daemon::terminate`].
    #[track_caller]
    pub fn restart(&mut self) {
        if let Err(why) = self.try_restart() {
            panic!("{why}");
        }
    }

    /// Like [`Daemon::restart`]; says why the daemon does not come up.
    pub fn try_restart(&mut self) -> Result<(), String> {
        self.spawn();
        self.await_ready()
    }

    /// Starts the daemon without waiting for anything.
    #[track_caller]
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the daemon still runs");
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.serve_command();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// The `serve` command line of this daemon.
    pub fn serve_command(&self) -> Command {
        let mut command = self.binary.as_ref().map_or_else(keymoult, Command::new);
        command.arg("serve");
        for volume in &self.volumes {
            command.arg(&volume.path);
            if let Some(header) = &volume.header {
                command.arg("--header").arg(header);
            }
        }
        command.args(&self.keks);
        command.arg("--nbd").arg(format!("unix:{}", self.socket().display()));
        command.arg("--control").arg(self.control());
        command.arg("--state-dir").arg(self.store.path("state"));
        for (flag, value) in [("--crypto-engine", self.options.crypto_engine), ("--io", self.options.io)] {
            if let Some(value) = value {
                command.args([flag, value]);
            }
        }
        command.args(&self.options.more);
        command
    }

    /// Polls both sockets until the NBD one greets and the control one accepts; a daemon that ends first fails.
    pub fn await_ready(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while !(greets(&self.socket()) && UnixStream::connect(self.control_path()).is_ok()) {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                self.child = None;
                return Err(format!("the daemon ended before it was ready: {status}\n{}", self.log()));
            }
            if start.elapsed() > READY_LIMIT {
                return Err(format!("not ready after {READY_LIMIT:?}\n{}", self.log()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill_9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; the daemon must leave by itself and successfully.
    #[track_caller]
    pub fn terminate(&mut self) {
        let mut child = self.child.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        match wait(&mut child, LEAVE_LIMIT) {
            Some(status) => assert!(status.success(), "the daemon left with {status}\n{}", self.log()),
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the daemon did not leave within {LEAVE_LIMIT:?} of SIGTERM\n{}", self.log());
            }
        }
    }

    /// Waits for a daemon that was sent a signal to end, and says how.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().unwrap();
        wait(&mut child, LEAVE_LIMIT).unwrap_or_else(|| panic!("the daemon did not end within {LEAVE_LIMIT:?}"))
    }

    /// Process id of the running daemon.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// What the daemon has written so far, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.store.path("daemon.log")
    }

    /// The NBD socket.
    pub fn socket(&self) -> PathBuf {
        self.store.path("nbd")
    }

    /// The control socket.
    pub fn control_path(&self) -> PathBuf {
        self.store.path("ctl")
    }

    /// The control socket as the command line wants it.
    pub fn control(&self) -> String {
        format!("unix:{}", self.control_path().display())
    }

    /// The NBD URI of the first volume, by its export name.
    pub fn uri(&self) -> String {
        format!("nbd+unix:///{}?socket={}", self.volumes[0].name, self.socket().display())
    }

    /// A new connection of the small client to the first volume.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(&self.socket(), &self.volumes[0].name).unwrap()
    }

    /// Runs `keymoult ARGS… --control …` and returns whatever came of it.
    #[track_caller]
    pub fn ask(&self, args: &[&str]) -> Output {
        run(keymoult().args(args).args(["--control", &self.control()]))
    }

    /// `keymoult rotate VERB VOLUME ARGS…` on the first volume, which must succeed. Returns standard output.
    #[track_caller]
    pub fn rotate(&self, verb: &str, args: &[&str]) -> String {
        let mut command = keymoult();
        command.args(["rotate", verb, &self.volumes[0].name]).args(args).args(["--control", &self.control()]);
        succeed(&mut command)
    }

    /// `keymoult rotate status --json`, parsed.
    #[track_caller]
    pub fn rotation(&self) -> serde_json::Value {
        serde_json::from_str(&self.rotate("status", &["--json"])).unwrap()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        self.kill_9();
        if thread::panicking() {
            eprintln!("--- the daemon's own words\n{}", self.log());
        }
    }
}

/// Whether an NBD server greets on `socket`.
fn greets(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return false;
    };
    let mut magic = [0; 8];
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.read_exact(&mut magic).is_ok()
        && magic == *b"NBDMAGIC"
}
