//! Rotations as the API shows and asks for them.
//!
//! Invariants: [`Verify`] travels as a word (`off`, `full`, `sample:0.05`); a sample is a fraction above 0 and at most 1;
//! ranges are bytes, `end` exclusive. [`Pace`] is checked by [`Pace::check`] before it reaches the daemon's worker.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a rotation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotationState {
    /// There has been none.
    #[default]
    Idle,
    /// Extents are being re-encrypted.
    Running,
    /// Held by an operator.
    Paused,
    /// All extents are moved; they are being read back.
    Verifying,
    /// Verified; waits for `finalize`.
    Verified,
    /// Done; the way back is a new rotation.
    Finalized,
    /// Going back to the old generation.
    RollingBack,
    /// Back at the old generation.
    RolledBack,
    /// Stopped by a failure; `why` says which.
    Failed,
}

impl RotationState {
    /// The word of the API.
    pub const fn name(self) -> &'static str {
        match self {
            RotationState::Idle => "idle",
            RotationState::Running => "running",
            RotationState::Paused => "paused",
            RotationState::Verifying => "verifying",
            RotationState::Verified => "verified",
            RotationState::Finalized => "finalized",
            RotationState::RollingBack => "rolling-back",
            RotationState::RolledBack => "rolled-back",
            RotationState::Failed => "failed",
        }
    }

    /// Whether nothing more happens without an operator's word. `paused` is not settled: it is on its way.
    pub const fn is_settled(self) -> bool {
        matches!(
            self,
            RotationState::Idle
                | RotationState::Verified
                | RotationState::Finalized
                | RotationState::RolledBack
                | RotationState::Failed
        )
    }
}

/// A range of bytes of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByteRange {
    /// First byte.
    pub first: u64,
    /// One past the last byte.
    pub end: u64,
}

/// In which order extents are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// From the first to the last.
    #[default]
    Sequential,
    /// Those of the oldest generation first.
    OldestFirst,
    /// Those in the given ranges first, then the rest.
    Ranges {
        /// The ranges, first come first served.
        ranges: Vec<ByteRange>,
    },
}

/// How fast a rotation may go.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Upper limit of bytes re-encrypted per second; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<u64>,
    /// Whether the rotation slows down when clients suffer.
    pub adaptive: bool,
    /// In adaptive mode, how far client p99 latency may rise above its own baseline; at least 1.
    pub factor: f64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { bytes_per_s: None, adaptive: true, factor: 1.5 }
    }
}

impl Pace {
    /// Smallest limit, bytes per second: one smallest extent.
    pub const RATE_MIN: u64 = crate::limits::EXTENT_MIN;

    /// Says what is wrong with this pace, if anything is.
    pub fn check(&self) -> Result<(), String> {
        if !self.factor.is_finite() || self.factor < 1.0 || self.factor > 1000.0 {
            return Err(format!("pace factor {} is not between 1 and 1000", self.factor));
        }
        match self.bytes_per_s {
            Some(rate) if rate < Pace::RATE_MIN => {
                Err(format!("pace of {rate} bytes/s is below {} bytes/s", Pace::RATE_MIN))
            }
            _ => Ok(()),
        }
    }
}

/// How much is read back after re-encryption, with the crypto engine that did not write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Verify {
    /// Nothing.
    Off,
    /// This fraction of the extents, above 0 and at most 1.
    Sample(f64),
    /// Every extent.
    #[default]
    Full,
}

impl fmt::Display for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verify::Off => f.write_str("off"),
            Verify::Sample(fraction) => write!(f, "sample:{fraction}"),
            Verify::Full => f.write_str("full"),
        }
    }
}

impl FromStr for Verify {
    type Err = String;

    fn from_str(text: &str) -> Result<Verify, String> {
        match text.split_once(':') {
            None if text == "off" => Ok(Verify::Off),
            None if text == "full" => Ok(Verify::Full),
            Some(("sample", fraction)) => match fraction.parse::<f64>() {
                Ok(value) if value > 0.0 && value <= 1.0 => Ok(Verify::Sample(value)),
                _ => Err(format!("`{fraction}` is not a fraction above 0 and at most 1, such as 0.05")),
            },
            _ => Err(format!("`{text}` is none of off, sample:FRACTION, full")),
        }
    }
}

impl From<Verify> for String {
    fn from(verify: Verify) -> String {
        verify.to_string()
    }
}

impl TryFrom<String> for Verify {
    type Error = String;

    fn try_from(text: String) -> Result<Verify, String> {
        text.parse()
    }
}

/// A rotation, running or last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rotation {
    /// Its number in the volume; 0 when there has been none.
    pub epoch: u64,
    /// Where it stands.
    pub state: RotationState,
    /// Why it stands there: the failure, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The generation it leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// The generation it goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
    /// The generation a rollback would return to; absent when there is no way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<u32>,
    /// In which order extents are taken.
    pub order: Order,
    /// How fast it may go.
    pub pace: Pace,
    /// How much is read back.
    pub verify: Verify,
    /// Whether it waits for `finalize` once verified.
    pub hold_finalize: bool,
    /// When it started, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// Extents it has to move.
    pub extents_total: u64,
    /// Extents moved.
    pub extents_done: u64,
    /// Extents read back and found right.
    pub extents_verified: u64,
    /// Bytes re-encrypted.
    pub bytes_rewritten: u64,
    /// Bytes skipped because they were holes.
    pub bytes_holes: u64,
    /// Current rate, bytes per second.
    pub rate_bytes_per_s: u64,
    /// Forecast of the time left at that rate, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u64>,
    /// Batches committed.
    pub batches: u64,
    /// Flushes issued for the rotation alone.
    pub flushes: u64,
    /// Bytes of metadata written for it.
    pub metadata_bytes: u64,
    /// Bytes written over bytes re-encrypted.
    pub write_amplification: f64,
    /// The last error it met, whether or not it recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What an action did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActionResult {
    /// Export name of the volume.
    pub volume: String,
    /// Whether anything changed: pausing what is paused changes nothing and is no error.
    pub changed: bool,
    /// Whether it is done. If not it stays under way, and `notes` say what it waits for.
    pub complete: bool,
    /// What an operator should know, in words.
    pub notes: Vec<String>,
    /// The rotation after the act.
    pub rotation: Rotation,
}

/// What a keeper of a KEK says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeeperState {
    /// The KEK, as the operator named it.
    pub kek: String,
    /// Whether the KEK's bytes are in the daemon: it protects against nobody who controls that.
    pub held_here: bool,
    /// How wraps are bound to volume and generation: `derivation`, `associated-data` or `digest`.
    pub binding: String,
    /// Why it cannot be had now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a rotation would do: a dry run that changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RotationPlan {
    /// Export name of the volume.
    pub volume: String,
    /// The generation it would leave.
    pub from: u32,
    /// The generation it would go to.
    pub to: u32,
    /// Cipher suite of the new generation.
    pub suite: String,
    /// Extents it would move.
    pub extents: u64,
    /// Bytes it would re-encrypt at most; holes are skipped.
    pub bytes: u64,
    /// Forecast of its duration, seconds; absent if there is nothing to forecast from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<u64>,
    /// Forecast of batches, which is also that of flushes.
    pub batches: u64,
    /// Forecast of metadata written, bytes.
    pub metadata_bytes: u64,
    /// Forecast of bytes written over bytes re-encrypted.
    pub write_amplification: f64,
    /// The keepers that would have to wrap the new key, as they are now.
    pub keepers: Vec<KeeperState>,
    /// The steps, in order.
    pub steps: Vec<String>,
    /// What could go wrong.
    pub risks: Vec<String>,
    /// How to go back.
    pub way_back: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verify_reads_what_it_writes_and_refuses_the_rest() {
        for word in ["off", "full", "sample:0.05", "sample:1"] {
            assert_eq!(word.parse::<Verify>().unwrap().to_string(), word);
        }
        for word in ["", "sample", "sample:0", "sample:1.5", "sample:NaN", "sample:-1", "Full", "full:1"] {
            assert!(word.parse::<Verify>().is_err(), "{word}");
        }
    }

    #[test]
    fn pace_is_checked() {
        assert!(Pace::default().check().is_ok());
        assert!(Pace { factor: 0.5, ..Pace::default() }.check().is_err());
        assert!(Pace { factor: f64::NAN, ..Pace::default() }.check().is_err());
        assert!(Pace { bytes_per_s: Some(1), ..Pace::default() }.check().is_err());
    }
}
