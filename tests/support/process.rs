//! Running a program with a time limit, and saying everything when it fails.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longer than anything a test runs; only there so that a hang fails instead of hanging.
const LIMIT: Duration = Duration::from_secs(180);

/// A command for a program that `tools/setup` installs; panics with that hint when it is not there.
#[track_caller]
pub fn tool(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    match places.map(|folder| folder.join(name)).find(|file| file.is_file()) {
        Some(file) => Command::new(file),
        None => panic!("{name} is not installed: run tools/setup"),
    }
}

/// Runs a command to its end and returns what it said; panics when it cannot start or exceeds the limit.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => panic!("{command:?} does not start: {error}"),
    };
    let stdout = drain(child.stdout.take().unwrap());
    let stderr = drain(child.stderr.take().unwrap());
    let status = wait(&mut child, LIMIT);
    let output = |reader: JoinHandle<Vec<u8>>| reader.join().unwrap();
    match status {
        Some(status) => Output { status, stdout: output(stdout), stderr: output(stderr) },
        None => {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} ran for more than {LIMIT:?}: {}", String::from_utf8_lossy(&output(stderr)));
        }
    }
}

/// Like [`run`], and panics with both outputs unless the program succeeded. Returns its standard output.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", output.status);
    stdout
}

/// Waits for a child, at most `limit`.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if start.elapsed() > limit {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn drain(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}
