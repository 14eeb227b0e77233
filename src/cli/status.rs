//! `keymoult status` and `keymoult key list`: what the daemon says about itself, its volumes and their keys.

use std::io::IsTerminal;
use std::time::Duration;

use super::args::{Global, StatusArgs};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, properties, row, table};
use super::{remote, report, size};
use crate::control::Client;
use crate::control::api::{Alarm, DaemonStatus, KeyInfo, KeyState, Rotation, RotationState, VolumeStatus, Wrap};

/// Clears a terminal and goes to its upper left corner (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Runs `status`.
pub fn run(args: &StatusArgs, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let client = remote::client(global)?;
    let clear = args.watch && !output.is_json() && std::io::stdout().is_terminal();
    let mut looks = 0;
    loop {
        if clear {
            output.text(CLEAR)?;
        }
        show(&client, args.volume.as_deref(), output)?;
        looks += 1;
        if !args.watch || args.count.is_some_and(|count| looks >= count) {
            return Ok(Exit::Ok);
        }
        std::thread::sleep(Duration::from_secs_f64(args.interval));
    }
}

fn show(client: &Client, volume: Option<&str>, output: &Output) -> Result<(), Failure> {
    match volume {
        Some(name) => output.result(&client.volume(name)?, volume_text),
        None => output.result(&client.status()?, daemon_text),
    }
}

/// Runs `key list`.
pub fn keys(volume: &str, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let list = remote::client(global)?.keys(volume)?;
    output.result(&list, |list| key_table(&list.keys))?;
    Ok(Exit::Ok)
}

fn daemon_text(status: &DaemonStatus) -> String {
    let mut pairs = vec![
        ("io", with(&status.io.name, &status.io.features)),
        ("crypto", status.crypto_engine.clone()),
        ("policy", status.control.policy.clone()),
        ("audit", format!("{}, {} records", status.control.audit_log, status.control.audit_head.sequence)),
    ];
    pairs.extend(status.io.lost.iter().chain(&status.lost).map(|lost| ("without", lost.clone())));
    if status.unlocked_secret_bytes > 0 {
        pairs.push(("without", format!("memory lock for {} of keys", size::bytes(status.unlocked_secret_bytes))));
    }
    if !status.control.audit_reserve {
        pairs.push(("without", "space set aside in the audit log".into()));
    }
    pairs.extend(status.control.audit_refusing.iter().map(|why| ("refusing", format!("control actions: {why}"))));
    let mut text = format!(
        "keymoult {}, process {}, since {}\n{}",
        status.version,
        status.pid,
        status.started,
        properties(&pairs)
    );
    for volume in &status.volumes {
        text.push('\n');
        text.push_str(&volume_text(volume));
    }
    text
}

fn with(name: &str, features: &[String]) -> String {
    match features.is_empty() {
        true => name.into(),
        false => format!("{name} ({})", features.join(", ")),
    }
}

fn volume_text(volume: &VolumeStatus) -> String {
    let extents = volume.size_bytes.div_ceil(volume.extent_bytes.max(1));
    let granule = match volume.granule_bytes {
        0 => "nothing vouches for a granule".into(),
        bytes => format!("granule {} ({})", size::bytes(bytes.into()), volume.granule_source),
    };
    let read_only = if volume.read_only { ", read only" } else { "" };
    let mut pairs = vec![
        ("id", volume.id.clone()),
        ("backing", format!("{}, cache {}{read_only}", volume.path, volume.cache)),
        (
            "size",
            format!("{}, {extents} extents of {}", size::bytes(volume.size_bytes), size::bytes(volume.extent_bytes)),
        ),
        ("data unit", format!("{} bytes", volume.data_unit_bytes)),
        ("rewrites", format!("{}; {granule}", report::mode(volume.mode))),
        ("generation", format!("{} active; extents {}", volume.active_generation, census(volume))),
    ];
    pairs.extend(volume.header.iter().map(|header| ("header", header.clone())));
    pairs.extend(volume.poisoned.iter().map(|why| ("POISONED", format!("writes are refused: {why}"))));
    let alarm = |alarm: &Alarm| ("ALARM", format!("{}, since {}: {}", alarm.kind.name(), alarm.since, alarm.what));
    pairs.extend(volume.alarms.iter().map(alarm));
    if volume.drills_overdue > 0 {
        let what =
            format!("{} of its backups and bundles: `keymoult key holder list {}`", volume.drills_overdue, volume.name);
        pairs.push(("OVERDUE", format!("a restore drill of {what}")));
    }
    pairs.push(("rotation", rotation_line(&volume.rotation)));
    pairs.extend(volume.peers.iter().flat_map(super::peer::member_pairs));
    format!("volume {}\n{}", volume.name, properties(&pairs))
}

/// `1: 100, 2: 28`.
fn census(volume: &VolumeStatus) -> String {
    let parts: Vec<String> =
        volume.census.iter().map(|(generation, extents)| format!("{generation}: {extents}")).collect();
    parts.join(", ")
}

/// A rotation in one line.
pub fn rotation_line(rotation: &Rotation) -> String {
    if rotation.state == RotationState::Idle {
        return rotation.why.as_ref().map_or_else(|| "none".into(), |why| format!("none yet; {why}"));
    }
    let percent = size::percent(rotation.extents_done, rotation.extents_total);
    let mut line =
        format!("{} {} → {}, {percent}%", rotation.state.name(), generation(rotation.from), generation(rotation.to));
    let moves = !rotation.state.is_settled() && rotation.state != RotationState::Paused;
    if moves && rotation.rate_bytes_per_s > 0 {
        line.push_str(&format!(", {}", super::progress::speed(rotation.rate_bytes_per_s, rotation.eta_s)));
    }
    line.extend(rotation.why.iter().map(|why| format!("; {why}")));
    line
}

/// A generation that may not be known.
fn generation(generation: Option<u32>) -> String {
    generation.map_or_else(|| "?".into(), |generation| generation.to_string())
}

/// A wrap; among several the one that opened the key is marked.
fn wrap_text(wrap: &Wrap, among_others: bool) -> String {
    let mark = if among_others && wrap.opened { " (opened it)" } else { "" };
    format!("{}:{} v{}{mark}", wrap.provider, wrap.kek_id, wrap.kek_version)
}

/// Key generations as a table.
pub fn key_table(keys: &[KeyInfo]) -> String {
    let mut rows =
        vec![row(["generation", "state", "cipher", "unit", "extents", "encrypted", "created", "key id", "wrapped by"])];
    for key in keys {
        let state =
            if key.compromised { format!("{}, compromised", key.state.name()) } else { key.state.name().into() };
        let wraps: Vec<String> = key.wraps.iter().map(|wrap| wrap_text(wrap, key.wraps.len() > 1)).collect();
        let standing = key.suite_standing.as_ref().and_then(|standing| standing.split(' ').next());
        let suite = standing.map_or_else(|| key.suite.clone(), |word| format!("{}, {word}", key.suite));
        rows.push(row([
            &if key.generation == 0 { "0 (metadata)".to_owned() } else { key.generation.to_string() },
            &state,
            &suite,
            &key.data_unit_bytes.to_string(),
            &key.extents.to_string(),
            &size::bytes(key.bytes_encrypted),
            &key.created,
            key.key_id.get(..8).unwrap_or(&key.key_id),
            &wraps.join(", "),
        ]));
    }
    let mut text = table(&rows);
    text.extend(keys.iter().flat_map(life_lines));
    text
}

/// What else there is to say of a key: its age against the policy, how it came into its state, when it goes.
fn life_lines(key: &KeyInfo) -> Vec<String> {
    let mut said = Vec::new();
    let rotate = if key.state == KeyState::Active { "; rotate away from it" } else { "" };
    if let Some(left) = key.cryptoperiod_left_s {
        let time = size::seconds(left.unsigned_abs());
        said.push(match left < 0 {
            true => format!("OVERDUE: its cryptoperiod ended {time} ago{rotate}"),
            false => format!("cryptoperiod: {time} left of {}", size::seconds(left.unsigned_abs() + key.age_s)),
        });
    }
    if let Some(left) = key.bytes_left {
        let bytes = size::bytes(left.unsigned_abs());
        said.push(match left < 0 {
            true => format!("OVERDUE: it has encrypted {bytes} more than the policy allows{rotate}"),
            false => format!("may encrypt {bytes} more by policy"),
        });
    }
    if let Some(changed) = &key.changed {
        let actor = key.actor.as_deref().unwrap_or("somebody");
        let reason = key.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        said.push(format!("{} since {changed}, by {actor}{reason}", key.state.name()));
    }
    said.extend(key.scheduled.iter().map(|date| format!("may be destroyed from {date} on")));
    said.extend(key.evidence.iter().map(|digest| format!("proven unneeded by statement sha256:{digest}")));
    said.into_iter().map(|what| format!("generation {}: {what}\n", key.generation)).collect()
}
