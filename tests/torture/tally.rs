//! What a run has done, counted where it is done, and told at the end as text and as JSON.

use std::ops::AddAssign;
use std::time::Duration;

use serde::Serialize;

/// What clients did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Traffic {
    /// Requests answered with success.
    pub requests: u64,
    pub bytes_written: u64,
    pub bytes_read: u64,
    /// Bytes read while the daemon ran for which there was one right answer.
    pub bytes_verified: u64,
    pub flushes: u64,
    pub fua: u64,
    pub trims: u64,
    pub zeroes: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Traffic) {
        self.requests += other.requests;
        self.bytes_written += other.bytes_written;
        self.bytes_read += other.bytes_read;
        self.bytes_verified += other.bytes_verified;
        self.flushes += other.flushes;
        self.fua += other.fua;
        self.trims += other.trims;
        self.zeroes += other.zeroes;
    }
}

/// What the operator did: commands that were carried out, by their names, and those that were not.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Commands {
    pub rotations: u64,
    pub rollbacks: u64,
    pub finalized: u64,
    pub pauses: u64,
    pub resumes: u64,
    pub paces: u64,
    pub read_backs: u64,
    pub refused: u64,
    /// Refused because a device failed: with the power off it does.
    pub failed: u64,
    pub cut_off: u64,
}

impl AddAssign for Commands {
    fn add_assign(&mut self, other: Commands) {
        self.rotations += other.rotations;
        self.rollbacks += other.rollbacks;
        self.finalized += other.finalized;
        self.pauses += other.pauses;
        self.resumes += other.resumes;
        self.paces += other.paces;
        self.read_backs += other.read_backs;
        self.refused += other.refused;
        self.failed += other.failed;
        self.cut_off += other.cut_off;
    }
}

/// The whole count.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Volumes made, each with a setting of its own.
    pub campaigns: u64,
    /// SIGKILL to a serving daemon.
    pub kills: u64,
    /// SIGKILL to a daemon that was starting, often in its recovery.
    pub kills_while_starting: u64,
    pub power_cuts: u64,
    pub power_cuts_while_starting: u64,
    pub orderly_stops: u64,
    /// `volume check --full` passed.
    pub full_checks: u64,
    pub restarts: u64,
    pub longest_restart_ms: u64,
    /// Openings that found live records in the ring.
    pub recoveries: u64,
    /// Those that rolled extents forward, and how many.
    pub recoveries_rolling_forward: u64,
    pub extents_rolled_forward: u64,
    /// Bytes of whole volumes held against the ledger after restarts.
    pub bytes_verified_after_restarts: u64,
    pub traffic: Traffic,
    pub commands: Commands,
    /// What was wrong, if anything: the run ends with it.
    pub violation: Option<String>,
}

impl Tally {
    /// Ends of daemons by force.
    pub fn blows(&self) -> u64 {
        self.kills + self.kills_while_starting + self.power_cuts + self.power_cuts_while_starting
    }

    /// A daemon was ready again after so long.
    pub fn restarted(&mut self, took: Duration) {
        self.restarts += 1;
        self.longest_restart_ms = self.longest_restart_ms.max(took.as_millis() as u64);
    }

    /// Counts what daemons say of the volumes they opened.
    pub fn read_log(&mut self, log: &str) {
        let figure = |line: &str, name: &str| {
            let rest = line.split_once(name)?.1;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        for line in log.lines().filter(|line| line.contains("volume opened")) {
            let forward = figure(line, " rolled_forward=").unwrap_or(0);
            self.recoveries += u64::from(figure(line, " records=").unwrap_or(0) > 0);
            self.recoveries_rolling_forward += u64::from(forward > 0);
            self.extents_rolled_forward += forward;
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        let (traffic, commands) = (&self.traffic, &self.commands);
        let rows = [
            ("campaigns (volumes)", self.campaigns.to_string()),
            ("kills, serving", self.kills.to_string()),
            ("kills, starting", self.kills_while_starting.to_string()),
            ("power cuts, serving", self.power_cuts.to_string()),
            ("power cuts, starting", self.power_cuts_while_starting.to_string()),
            ("orderly stops", self.orderly_stops.to_string()),
            ("full checks passed", self.full_checks.to_string()),
            ("restarts", self.restarts.to_string()),
            ("longest restart", format!("{} ms", self.longest_restart_ms)),
            ("recoveries", self.recoveries.to_string()),
            ("  that rolled extents forward", self.recoveries_rolling_forward.to_string()),
            ("  extents rolled forward", self.extents_rolled_forward.to_string()),
            ("requests answered", traffic.requests.to_string()),
            ("  written", mib(traffic.bytes_written)),
            ("  read", mib(traffic.bytes_read)),
            ("  flushes", traffic.flushes.to_string()),
            ("  with FUA", traffic.fua.to_string()),
            ("  trims, write-zeroes", format!("{}, {}", traffic.trims, traffic.zeroes)),
            ("verified while serving", mib(traffic.bytes_verified)),
            ("verified after restarts", mib(self.bytes_verified_after_restarts)),
            ("rotations started", commands.rotations.to_string()),
            ("  rolled back", commands.rollbacks.to_string()),
            ("  finalized by command", commands.finalized.to_string()),
            ("  paused, resumed, paced", format!("{}, {}, {}", commands.pauses, commands.resumes, commands.paces)),
            ("  read back by command", commands.read_backs.to_string()),
            (
                "commands refused, failed, cut off",
                format!("{}, {}, {}", commands.refused, commands.failed, commands.cut_off),
            ),
            ("violations", self.violation.clone().unwrap_or_else(|| "none".into())),
        ];
        rows.iter().map(|(name, value)| format!("{name:<32} {value}\n")).collect()
    }
}
