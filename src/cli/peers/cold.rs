//! A proof from a fresh process: `keymoult volume prove` as a child, with a login of its own to the keepers.
//!
//! Invariants: the child gets paths, URIs and a number as arguments, and no secret; it is ended when it takes too long; what it says
//! is parsed, not believed beyond key id and check value.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::units::{Generation, unhex};

/// How long it may take: a keeper's patience included.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the child is looked at.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest answer that is read.
const ANSWER_MAX: u64 = 64 << 10;

/// What the child is told.
#[derive(Clone, Debug)]
pub struct Cold {
    /// The data backing.
    pub path: PathBuf,
    /// The detached header.
    pub header: Option<PathBuf>,
    /// The KEKs, as the configuration names them.
    pub keks: Vec<String>,
    /// Where it is recorded.
    pub state_dir: PathBuf,
}

#[derive(Deserialize)]
struct Answer {
    generation: u32,
    key_id: String,
    check: String,
}

/// Proves a generation from nothing; gives its key id and check value.
///
/// # Errors
/// The child did not prove it, with its own words.
pub fn prove_cold(cold: &Cold, generation: Generation) -> Result<([u8; 16], [u8; 16]), String> {
    let program = std::env::current_exe().map_err(|error| format!("this program is not found again: {error}"))?;
    let mut command = Command::new(program);
    command.args(["--json", "volume", "prove"]).arg(&cold.path).args(["--generation", &generation.to_string()]);
    for kek in &cold.keks {
        command.args(["--kek", kek]);
    }
    if let Some(header) = &cold.header {
        command.arg("--header").arg(header);
    }
    command.arg("--state-dir").arg(&cold.state_dir);
    let text = run(&mut command)?;
    let answer: Answer = serde_json::from_str(&text).map_err(|error| format!("the proof cannot be read: {error}"))?;
    let (key_id, check) = (unhex(answer.key_id.as_bytes()), unhex(answer.check.as_bytes()));
    match (answer.generation == generation.0, key_id, check) {
        (true, Some(key_id), Some(check)) => Ok((key_id, check)),
        _ => Err("the proof is of something else".into()),
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("the proving process does not start: {error}"))?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| format!("the proving process is lost: {error}"))? {
            Some(status) => break status,
            None if start.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("the proving process took more than {} s and was ended", PATIENCE.as_secs()));
            }
            None => std::thread::sleep(PAUSE),
        }
    };
    // Both answers are far shorter than a pipe holds, so the child never waited for this.
    let said = |pipe: Option<Box<dyn Read>>| {
        let mut text = String::new();
        pipe.map(|pipe| pipe.take(ANSWER_MAX).read_to_string(&mut text));
        text
    };
    let (out, err) =
        (said(child.stdout.take().map(|it| Box::new(it) as _)), said(child.stderr.take().map(|it| Box::new(it) as _)));
    match status.success() {
        true => Ok(out),
        false => Err(format!("a fresh process could not prove it: {}", err.trim())),
    }
}
