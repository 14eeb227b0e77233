//! Arguments of `rotate …`.
//!
//! Invariants: a pace given in part leaves the rest as it is ([`PaceArgs::apply`]); ranges are bytes, `end` exclusive.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::volume::{Cipher, check_plaintext};
use crate::cli::failure::{Failure, bad_input};
use crate::cli::size::{self, Rate, parse_rate};
use crate::control::api::{
    ByteRange, OnDeadline, Order, Pace, PauseRequest, ReasonRequest, RotateStart, Together, Verify,
};

/// The verbs of `rotate`.
#[derive(Debug, Subcommand)]
pub enum RotateCommand {
    /// Say what a rotation would do; changes nothing
    Plan(RotateArgs),
    /// Make a new key and re-encrypt the volume with it
    Start(StartArgs),
    /// Show the rotation of a volume
    Status {
        /// Export name of the volume
        volume: String,
    },
    /// Wait until the rotation is done, and show how it goes
    Wait(WaitArgs),
    /// Hold the rotation
    Pause(PauseArgs),
    /// Let it go on
    Resume(PauseArgs),
    /// Change how fast it goes
    Pace {
        /// Export name of the volume
        volume: String,
        /// The new pace.
        #[command(flatten)]
        pace: PaceArgs,
        /// Why; recorded
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Go back to the old key; possible until finalize
    Rollback(ReasonArgs),
    /// Read moved extents back with the crypto engine that did not write
    Verify {
        /// Export name of the volume
        volume: String,
        /// How much to read: sample:FRACTION or full
        #[arg(long, value_name = "sample:FRACTION|full", default_value = "full", value_parser = parse_verify)]
        verify: Verify,
        /// Why; recorded
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// End the way back and prove the old key unused
    Finalize(ReasonArgs),
}

/// Orders of extents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OrderChoice {
    /// From the first to the last
    #[default]
    Sequential,
    /// Those of the oldest key first
    OldestFirst,
    /// Those of --range first
    Ranges,
}

/// A range on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeArg(pub ByteRange);

/// Arguments of a verb that only needs a reason.
#[derive(Clone, Debug, Args)]
pub struct ReasonArgs {
    /// Export name of the volume
    pub volume: String,
    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

impl ReasonArgs {
    /// The request body.
    pub fn request(&self) -> ReasonRequest {
        ReasonRequest { reason: self.reason.clone() }
    }
}

/// Pace on the command line; what is not given stays as it is.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct PaceArgs {
    /// Re-encrypt at most so much per second, such as 200MiB, or unlimited
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub rate: Option<Rate>,
    /// Slow down when clients' p99 latency passes so many times its own baseline; 1.5 at first
    #[arg(long, value_name = "FACTOR", conflicts_with = "fixed")]
    pub factor: Option<f64>,
    /// Slow down when clients suffer
    #[arg(long, conflicts_with = "fixed")]
    pub adaptive: bool,
    /// Do not slow down for clients
    #[arg(long)]
    pub fixed: bool,
}

impl PaceArgs {
    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.rate.is_none() && self.factor.is_none() && !self.adaptive && !self.fixed
    }

    /// `pace` with what was given.
    pub fn apply(&self, mut pace: Pace) -> Result<Pace, Failure> {
        if let Some(Rate(rate)) = self.rate {
            pace.bytes_per_s = rate;
        }
        pace.adaptive = (pace.adaptive || self.adaptive || self.factor.is_some()) && !self.fixed;
        pace.factor = self.factor.unwrap_or(pace.factor);
        pace.check().map(|()| pace).map_err(|what| bad_input(what).at("pace").hint("see `keymoult help rotate pace`"))
    }
}

/// Arguments of `rotate plan`, and most of those of `rotate start`.
#[derive(Clone, Debug, Args)]
pub struct RotateArgs {
    /// Export name of the volume
    pub volume: String,
    /// Cipher suite of the new key [default: the present one]
    #[arg(long, value_enum)]
    pub cipher: Option<Cipher>,
    /// Which extents first
    #[arg(long, value_enum, default_value_t)]
    pub order: OrderChoice,
    /// Take these bytes first, such as 0-1GiB (end exclusive); repeatable, implies --order ranges
    #[arg(long = "range", value_name = "FIRST-END", value_parser = parse_range)]
    pub ranges: Vec<RangeArg>,
    /// How fast.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// How much to read back with the crypto engine that did not write
    #[arg(long, value_name = "off|sample:FRACTION|full", default_value = "full", value_parser = parse_verify)]
    pub verify: Verify,
    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Wait for `rotate finalize` once verified; until then there is a way back
    #[arg(long)]
    pub hold_finalize: bool,
    /// How replicas take it together.
    #[command(flatten)]
    pub together: TogetherArgs,
    /// Allow --cipher none
    #[arg(long)]
    pub i_know_this_is_plaintext: bool,
}

impl RotateArgs {
    /// The request body.
    pub fn request(&self) -> Result<RotateStart, Failure> {
        if let Some(cipher) = self.cipher {
            check_plaintext(cipher, self.i_know_this_is_plaintext)?;
        }
        Ok(RotateStart {
            suite: self.cipher.map(|cipher| cipher.to_string()),
            order: self.order()?,
            pace: self.pace.apply(Pace::default())?,
            verify: self.verify,
            reason: self.reason.clone(),
            hold_finalize: self.hold_finalize,
            together: self.together.request(),
        })
    }

    fn order(&self) -> Result<Order, Failure> {
        match (self.order, self.ranges.is_empty()) {
            (OrderChoice::Sequential | OrderChoice::Ranges, false) => {
                Ok(Order::Ranges { ranges: self.ranges.iter().map(|range| range.0).collect() })
            }
            (OrderChoice::Sequential, true) => Ok(Order::Sequential),
            (OrderChoice::OldestFirst, true) => Ok(Order::OldestFirst),
            (OrderChoice::OldestFirst, false) => {
                Err(bad_input("--range goes with --order ranges").at("--order oldest-first"))
            }
            (OrderChoice::Ranges, true) => {
                Err(bad_input("no range is given").at("--order ranges").hint("add --range 0-1GiB"))
            }
        }
    }
}

/// How the replicas of a volume take a rotation together; refused where there are none.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct TogetherArgs {
    /// Re-encrypt one replica at a time
    #[arg(long, help_heading = "Of a volume with replicas")]
    pub one_at_a_time: bool,
    /// Prove the new key by a fresh process with a new login to the keeper, on every node
    #[arg(long, help_heading = "Of a volume with replicas")]
    pub cold_proof: bool,
    /// How long a step may wait for other nodes, such as 10min [default: never give up]
    #[arg(long, help_heading = "Of a volume with replicas", value_name = "TIME", value_parser = parse_deadline)]
    pub deadline: Option<Deadline>,
    /// Go back then, while there is a way back; else there is an alarm only
    #[arg(long, help_heading = "Of a volume with replicas", requires = "deadline")]
    pub undo_on_deadline: bool,
}

/// How long a step may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Duration);

impl TogetherArgs {
    fn request(&self) -> Option<Together> {
        let on_deadline = if self.undo_on_deadline { OnDeadline::Undo } else { OnDeadline::Alarm };
        let (one_at_a_time, cold_proof) = (self.one_at_a_time, self.cold_proof);
        let deadline_s = self.deadline.map(|deadline| deadline.0.as_secs());
        let together = Together { one_at_a_time, cold_proof, deadline_s, on_deadline };
        (together != Together::default()).then_some(together)
    }
}

fn parse_deadline(text: &str) -> Result<Deadline, String> {
    match size::parse_time(text)? {
        Some(time) if time.as_secs() > 0 => Ok(Deadline(time)),
        _ => Err("it is a second at least, such as 30s or 10min; leave it out to wait for ever".into()),
    }
}

/// Arguments of `rotate pause` and `rotate resume`.
#[derive(Clone, Debug, Args)]
pub struct PauseArgs {
    /// Which volume, and why.
    #[command(flatten)]
    pub of: ReasonArgs,
    /// On this node alone, whoever leads
    #[arg(long)]
    pub here: bool,
}

impl PauseArgs {
    /// The request body.
    pub fn request(&self) -> PauseRequest {
        PauseRequest { here: self.here, reason: self.of.reason.clone() }
    }
}

/// Arguments of `rotate start`.
#[derive(Clone, Debug, Args)]
pub struct StartArgs {
    /// What to do.
    #[command(flatten)]
    pub rotate: RotateArgs,
    /// Wait until it is done
    #[arg(long)]
    pub wait: bool,
}

/// Arguments of `rotate wait`.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Export name of the volume
    pub volume: String,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = super::parse_interval)]
    pub timeout: Option<f64>,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5, value_parser = super::parse_interval)]
    pub interval: f64,
}

fn parse_verify(text: &str) -> Result<Verify, String> {
    text.parse()
}

fn parse_range(text: &str) -> Result<RangeArg, String> {
    let (first, end) = text.split_once('-').ok_or("a range is FIRST-END, such as 0-1GiB")?;
    let range = ByteRange { first: size::parse(first)?, end: size::parse(end)? };
    match range.first < range.end {
        true => Ok(RangeArg(range)),
        false => Err("the end of a range comes after its first byte".into()),
    }
}
