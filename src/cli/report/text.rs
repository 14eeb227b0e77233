//! The results of the commands on local files, worded for people.

use super::{Created, Ready, Speed};
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
    pairs.extend(made.warnings.iter().map(|warning| ("warning", warning.clone())));
    format!("created {}\n{}", made.path, properties(&pairs))
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
