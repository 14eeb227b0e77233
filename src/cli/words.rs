//! Translation between the words of the API and the types of the volume and rotation layers.

use crate::control::api::{self, RewriteMode};
use crate::crypto::{Standing, Suite, SuitePolicy, Verdict};
use crate::format::generations::{Entry, KeyState, Order, Pace, VerifyMode};
use crate::format::layout::WriteMode;
use crate::format::wrapped::Wrapped;
use crate::keys::ProviderKind;
use crate::rotation::{StateName, Status};
use crate::units::{Generation, hex};
use crate::volume::open::Opening;
use crate::volume::wraps::WrapId;

/// Seconds since 1970 as RFC 3339; none for 0.
pub fn time(seconds: u64) -> Option<String> {
    let seconds = i64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
    jiff::Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

/// Seconds since 1970.
pub fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}

/// The rewrite mode's word.
pub fn mode(mode: WriteMode) -> RewriteMode {
    match mode {
        WriteMode::InPlace => RewriteMode::InPlace,
        WriteMode::Journal => RewriteMode::Journal,
    }
}

/// A suite id's name.
pub fn suite(id: u16) -> String {
    match Suite::from_id(id) {
        Some(suite) => suite.to_string(),
        None if id == crate::format::generations::SUITE_METADATA => "hkdf-sha256".into(),
        None => format!("unknown ({id})"),
    }
}

/// A wrap; `opened` says whether it is the one that opened the key.
pub fn wrap(id: &WrapId, opened: bool) -> api::Wrap {
    let keeper = ProviderKind::from_id(id.provider);
    api::Wrap {
        provider: keeper.map_or_else(|| format!("keeper {}", id.provider), |kind| kind.to_string()),
        kek_id: id.kek_id.clone(),
        kek_version: id.kek_version,
        opened,
    }
}

/// A suite and where policy has it, in words.
pub fn standing(suite: Suite, verdict: &Verdict) -> String {
    format!("{suite} is {}", stands(verdict))
}

/// `deprecated by policy.suites.… since 2026-01-01`.
fn stands(verdict: &Verdict) -> String {
    let since = verdict.since.and_then(time).and_then(|time| time.get(..10).map(|day| format!(" since {day}")));
    format!("{} by {}{}", verdict.standing.name(), verdict.rule, since.unwrap_or_default())
}

/// What policy says of the suite `id`, if it is not simply allowed.
fn suite_standing(id: u16, policy: &SuitePolicy) -> Option<String> {
    let suite = Suite::from_id(id)?;
    let verdict = policy.verdict(suite, now());
    (verdict.standing != Standing::Allowed).then(|| stands(&verdict))
}

/// A generation's entry, which `opening` opened.
pub fn key(entry: &Entry, extents: u64, opening: Option<&Opening>, policy: &SuitePolicy) -> api::KeyInfo {
    let opened = |it: &Wrapped| opening.is_some_and(|opening| opening.is_by(it));
    let wrap = |it: &Wrapped| wrap(&WrapId::of(it), opened(it));
    api::KeyInfo {
        generation: entry.generation.0,
        key_id: hex(&entry.key_id),
        suite: suite(entry.suite),
        suite_standing: suite_standing(entry.suite, policy),
        data_unit_bytes: entry.data_unit,
        state: state(entry.state),
        compromised: entry.compromised,
        created: time(entry.created).unwrap_or_default(),
        activated: time(entry.activated),
        bytes_encrypted: entry.bytes_reserved,
        extents,
        wraps: entry.wraps.iter().map(wrap).collect(),
        ..api::KeyInfo::default()
    }
}

/// A key state's word.
pub fn state(state: KeyState) -> api::KeyState {
    match state {
        KeyState::Prepared => api::KeyState::Prepared,
        KeyState::Active => api::KeyState::Active,
        KeyState::Draining => api::KeyState::Draining,
        KeyState::Empty => api::KeyState::Empty,
        KeyState::Disabled => api::KeyState::Disabled,
        KeyState::Scheduled => api::KeyState::Scheduled,
        KeyState::Destroyed => api::KeyState::Destroyed,
        KeyState::Revoked => api::KeyState::Revoked,
    }
}

/// A pace from the API.
pub fn pace_in(pace: &api::Pace) -> Pace {
    Pace {
        rate: pace.bytes_per_s.unwrap_or(0),
        adaptive: pace.adaptive,
        factor_percent: (pace.factor * 100.0).clamp(100.0, 65_535.0) as u16,
    }
}

/// A pace in the API's words.
pub fn pace_out(pace: Pace) -> api::Pace {
    api::Pace {
        bytes_per_s: Some(pace.rate).filter(|rate| *rate > 0),
        adaptive: pace.adaptive,
        factor: f64::from(pace.factor_percent) / 100.0,
    }
}

/// An order from the API.
pub fn order_in(order: &api::Order) -> Order {
    match order {
        api::Order::Sequential => Order::Sequential,
        api::Order::OldestFirst => Order::OldestFirst,
        api::Order::Ranges { ranges } => Order::Ranges(ranges.iter().map(|range| (range.first, range.end)).collect()),
    }
}

fn order_out(order: &Order) -> api::Order {
    match order {
        Order::Sequential => api::Order::Sequential,
        Order::OldestFirst => api::Order::OldestFirst,
        Order::Ranges(ranges) => api::Order::Ranges {
            ranges: ranges.iter().map(|(first, end)| api::ByteRange { first: *first, end: *end }).collect(),
        },
    }
}

/// A verification from the API.
pub fn verify_in(verify: api::Verify) -> VerifyMode {
    match verify {
        api::Verify::Off => VerifyMode::Off,
        api::Verify::Full => VerifyMode::Full,
        api::Verify::Sample(fraction) => match (fraction * 1e6).clamp(1.0, 1e6) as u32 {
            1_000_000 => VerifyMode::Full,
            ppm => VerifyMode::Sample(ppm),
        },
    }
}

/// A verification in the API's words.
pub fn verify_out(verify: VerifyMode) -> api::Verify {
    match verify {
        VerifyMode::Off => api::Verify::Off,
        VerifyMode::Full => api::Verify::Full,
        VerifyMode::Sample(ppm) => api::Verify::Sample(f64::from(ppm) / 1e6),
    }
}

/// A rotation's record, without figures.
fn recorded(rotation: &crate::format::generations::Rotation) -> api::Rotation {
    api::Rotation {
        epoch: rotation.id,
        to: Some(rotation.target.0).filter(|_| rotation.id > 0),
        rollback_to: rotation.rollback_to.map(|back| back.0),
        order: order_out(&rotation.order),
        pace: pace_out(rotation.pace),
        verify: verify_out(rotation.verify),
        hold_finalize: rotation.hold_finalize,
        started: time(rotation.started),
        ..api::Rotation::default()
    }
}

/// A rotation away from `from`, with its figures.
pub fn rotation(status: &Status, extent_bytes: u64, from: Option<Generation>) -> api::Rotation {
    let (counters, progress) = (&status.progress.counters, &status.progress);
    let left = status.extents_total - status.extents_done;
    let moving = matches!(status.state, StateName::Running | StateName::RollingBack);
    let rate = progress.rate.max(0.0) as u64;
    let eta = (moving && rate > 0).then(|| (left * extent_bytes).div_ceil(rate));
    let rewritten = counters.bytes;
    let amplification =
        if rewritten == 0 { 1.0 } else { (rewritten + progress.metadata_bytes) as f64 / rewritten as f64 };
    api::Rotation {
        state: state_out(status.state),
        why: status.why.clone(),
        from: from.filter(|_| status.rotation.id > 0).map(|from| from.0),
        extents_total: status.extents_total,
        extents_done: status.extents_done,
        extents_verified: counters.verified.max(status.rotation.verified),
        bytes_rewritten: rewritten,
        bytes_holes: counters.holes,
        rate_bytes_per_s: if moving { rate } else { 0 },
        eta_s: eta,
        batches: counters.batches,
        flushes: counters.flushes - counters.flushes_shared,
        metadata_bytes: progress.metadata_bytes,
        write_amplification: amplification,
        last_error: progress.last_error.clone(),
        ..recorded(&status.rotation)
    }
}

fn state_out(state: StateName) -> api::RotationState {
    match state {
        StateName::Idle => api::RotationState::Idle,
        StateName::Running => api::RotationState::Running,
        StateName::Paused => api::RotationState::Paused,
        StateName::Verifying => api::RotationState::Verifying,
        StateName::Verified => api::RotationState::Verified,
        StateName::Finalized => api::RotationState::Finalized,
        StateName::RollingBack => api::RotationState::RollingBack,
        StateName::RolledBack => api::RotationState::RolledBack,
        StateName::Failed => api::RotationState::Failed,
    }
}
