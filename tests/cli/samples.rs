//! Answers of the cardboard daemon that are always the same.

use keymoult::control::api::*;

use crate::fake::EXTENTS;

/// A holder, made, drilled and released.
pub fn holder(kind: HolderKind) -> HolderInfo {
    HolderInfo {
        id: "00112233445566778899aabbccddeeff".into(),
        kind,
        label: "/srv/backup/disk0.kmb".into(),
        first_generation: 1,
        last_generation: 2,
        made: "2026-01-02T03:04:05Z".into(),
        drilled: Some("2026-01-03T03:04:05Z".into()),
        released: Some("2026-01-04T03:04:05Z".into()),
        overdue: false,
    }
}

/// A report with something of everything.
pub fn report() -> CheckReport {
    let finding = |severity: &str, name: &str, hint: bool| {
        let mut finding = serde_json::json!({
            "severity": severity, "name": name, "place": "superblock copy A, header offset 0",
            "backing": "header", "offset": 0, "what": "superblock is damaged"
        });
        if hint {
            finding["means"] = "an accident".into();
            finding["hint"] = "volume check --repair rewrites it from its twin".into();
        }
        finding
    };
    serde_json::from_value(serde_json::json!({
        "passed": false, "online": true, "with_keys": true, "volume": "00000000-0000-4000-8000-000000000000",
        "findings": [finding("ok", "ok", false), finding("error", "superblock-differs", true)],
        "census": {"1": 3, "2": 1},
        "references": [{"generation": 1, "state": "draining", "suite": "aes-256-xts", "is_target": false, "extents": 3,
            "page_tags": 3, "ring_records": 1, "live_intents": 1, "proven_empty": false}],
        "live_intents": [{"extent": 2, "old": 1, "new": 2, "record": 7}],
        "data": {"extents": 4, "bytes_read": 8192, "bytes_holes": 4096, "bytes_agreed": 4096, "bytes_moving": 4096,
            "extents_unread": 1, "granules_old": 0, "granules_new": 0},
        "repaired": [], "poisoned": "a flush failed", "poison_cleared": false
    }))
    .unwrap()
}

pub fn wrap(kek_id: &str) -> Wrap {
    Wrap { provider: "file".into(), kek_id: kek_id.into(), kek_version: 1, opened: kek_id == "ab12" }
}

pub fn rewrapped(volume: &str, added: Option<Wrap>, removed: Vec<Wrap>, kek: &str) -> Rewrapped {
    let wraps = vec![wrap("cd34")];
    Rewrapped {
        volume: volume.into(),
        changed: true,
        keys: [0, 1]
            .map(|generation| KeyRewrapped {
                generation,
                added: added.clone(),
                removed: removed.clone(),
                wraps: wraps.clone(),
            })
            .to_vec(),
        keks: vec![kek.into()],
        wrap_us: 250,
        add_us: 4100,
        prove_us: 900,
        remove_us: 3950,
        swept_bytes: if removed.is_empty() { 0 } else { 524_288 },
        notes: vec!["change /etc/keymoult/keymoult.toml".into()],
    }
}

fn keeper(kek: &str, error: Option<&str>) -> KeeperState {
    let held_here = kek.starts_with("file:");
    let binding = if held_here { "derivation" } else { "associated-data" };
    KeeperState { kek: kek.into(), held_here, binding: binding.into(), error: error.map(str::to_string) }
}

/// What a rotation would do.
pub fn plan(volume: &str, request: &RotateStart) -> RotationPlan {
    RotationPlan {
        volume: volume.into(),
        from: 1,
        to: 2,
        suite: request.suite.clone().unwrap_or_else(|| "aes-256-xts".into()),
        extents: EXTENTS,
        bytes: EXTENTS << 20,
        duration_s: Some(75),
        batches: 1,
        metadata_bytes: 12288,
        write_amplification: 1.003,
        keepers: vec![
            keeper("file:/etc/keymoult/kek", None),
            keeper("vault://vault:8200/transit/disks", Some("sealed")),
        ],
        steps: vec!["prepare generation 2".into(), "move 4 extents".into()],
        risks: vec!["clients may see higher latency".into()],
        way_back: "`rotate rollback` until finalize".into(),
    }
}
