//! The results of the commands on local files, worded for people.

use super::{Checked, Created, Finding, Info, Ready, References, Severity, Speed};
use crate::cli::output::{properties, row, table};
use crate::cli::size;
use crate::control::api::RewriteMode;

/// `mode` in words.
pub fn mode(mode: RewriteMode) -> &'static str {
    match mode {
        RewriteMode::InPlace => "in place",
        RewriteMode::Journal => "journal",
    }
}

/// The text of [`Created`].
pub fn created(made: &Created) -> String {
    let mut pairs = vec![
        ("id", made.id.clone()),
        ("size", format!("{} in extents of {}", size::bytes(made.size_bytes), size::bytes(made.extent_bytes))),
        ("cipher", format!("{}, data unit {} bytes", made.suite, made.data_unit_bytes)),
        (
            "rewrites",
            format!(
                "{}; granule {} ({})",
                mode(made.mode),
                size::bytes(made.granule_bytes.into()),
                made.granule_source
            ),
        ),
        ("opened by", made.keks.join(", ")),
    ];
    pairs.extend(made.header.iter().map(|header| ("header", header.clone())));
    pairs.extend(
        made.new_key_files
            .iter()
            .map(|file| ("new key file", format!("{file}: keep a copy elsewhere, no volume opens without it"))),
    );
    format!("created {}\n{}", made.path, properties(&pairs))
}

/// The text of [`Info`].
pub fn info(info: &Info) -> String {
    let trust = if info.authenticated { "authenticated" } else { "by checksum only; give --kek to authenticate" };
    let mut pairs = vec![
        ("id", info.id.clone()),
        ("format", format!("version {}, {trust}", info.format_version)),
        ("size", format!("{} in extents of {}", size::bytes(info.size_bytes), size::bytes(info.extent_bytes))),
        ("may grow to", size::bytes(info.max_size_bytes)),
        ("rewrites", mode(info.mode).into()),
    ];
    pairs.extend(info.header.iter().map(|header| ("header", header.clone())));
    pairs.extend(info.poisoned.iter().map(|why| ("poisoned", why.clone())));
    pairs.extend(info.rotation.iter().map(|rotation| ("rotation", crate::cli::status::rotation_line(rotation))));
    let mut text = format!("{}\n{}", info.path, properties(&pairs));
    let mut zones = vec![row(["zone", "file", "offset", "size"])];
    zones.extend(
        info.zones.iter().map(|zone| row([&zone.name, &zone.file, &zone.offset.to_string(), &size::bytes(zone.bytes)])),
    );
    text.push_str(&format!("\n{}\n{}", table(&zones), crate::cli::status::key_table(&info.keys)));
    text + &findings(&info.findings)
}

/// The text of [`Checked`].
pub fn checked(checked: &Checked) -> String {
    let verdict = if checked.is_sound() { "sound" } else { "damaged" };
    let depth = match (checked.full, checked.authenticated) {
        (true, _) => "everything was read",
        (false, true) => "metadata authenticated",
        (false, false) => "by checksum only; give --kek to authenticate",
    };
    let mut text = format!("{}: {verdict} ({depth}, {} read)\n", checked.path, size::bytes(checked.bytes_read));
    if checked.poison_cleared {
        text.push_str("  it was poisoned by a failed write; that is cleared\n");
    }
    if !checked.references.is_empty() {
        let mut rows = vec![row(["generation", "extents", "ring records"])];
        let cells = |(generation, refs): (&u32, &References)| {
            row([&generation.to_string(), &refs.extents.to_string(), &refs.ring_records.to_string()])
        };
        rows.extend(checked.references.iter().map(cells));
        text.push_str(&format!("\n{}", table(&rows)));
    }
    text + &findings(&checked.findings)
}

fn findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let severity = match finding.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        text.push_str(&format!("{severity}: {}\n", finding.what));
        text.extend(finding.place.iter().map(|place| format!("  {place}\n")));
        text.extend(finding.hint.iter().map(|hint| format!("  hint: {hint}\n")));
    }
    text
}

/// The text of [`Ready`].
pub fn ready(ready: &Ready) -> String {
    let mut text = String::new();
    for (name, bytes) in &ready.volumes {
        text.push_str(&format!("serving {name} ({}) at {}\n", size::bytes(*bytes), ready.nbd.join(", ")));
    }
    text.extend(ready.lost.iter().map(|lost| format!("  without {lost}\n")));
    text + &format!("control at {}, process {}\n", ready.control, ready.pid)
}

/// The text of [`Speed`].
pub fn speed(speed: &Speed) -> String {
    let mut rows = vec![row(["what", "engine", "detail", "unit", "direction", "GB/s"])];
    rows.extend(speed.rows.iter().map(|cell| {
        let rate = format!("{:.2}", cell.bytes_per_s as f64 / 1e9);
        row([&cell.what, &cell.engine, &cell.detail, &cell.unit_bytes.to_string(), &cell.direction, &rate])
    }));
    format!("{}\n\n{}", speed.cpu, table(&rows))
}
