//! nbdinfo: what an export says of itself, and its maps.

use crate::support::{MIB, map, pattern, succeed, tool, total};
use crate::{Variant, with_daemon};
use serde_json::Value;

const HOLE_AND_ZERO: u32 = 3;

pub fn export_is_described(variant: Variant) {
    with_daemon(variant, 32, |_, daemon| {
        let text = succeed(tool("nbdinfo").args(["--json", &daemon.uri()]));
        let info: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(info["protocol"], "newstyle-fixed");
        assert_eq!(info["structured"], true);
        let export = &info["exports"][0];
        assert_eq!(export["export-name"], "vol");
        assert_eq!(export["export-size"], 32 * MIB);
        assert_eq!(export["is_read_only"], false);
        let described = export["description"].as_str().unwrap();
        assert!(described.starts_with("keymoult volume ") && described.len() == 16 + 36, "{described}");
        for ability in ["cache", "df", "fast_zero", "flush", "fua", "multi_conn", "trim", "zero"] {
            assert_eq!(export[format!("can_{ability}")], true, "can_{ability}");
        }
        assert_eq!(export["block_size_minimum"], 1);
        assert_eq!(export["block_size_preferred"], 4096);
        assert_eq!(export["block_size_maximum"], 32 * MIB);
        let contexts: Vec<&str> = export["contexts"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(contexts.contains(&"base:allocation"), "{contexts:?}");
        assert!(contexts.contains(&"x-keymoult:generation"), "{contexts:?}");
    });
}

pub fn export_is_listed(variant: Variant) {
    with_daemon(variant, 32, |_, daemon| {
        let socket = daemon.socket();
        let text = succeed(
            tool("nbdinfo").args(["--list", "--json"]).arg(format!("nbd+unix:///?socket={}", socket.display())),
        );
        let list: Value = serde_json::from_str(&text).unwrap();
        let names: Vec<&str> =
            list["exports"].as_array().unwrap().iter().filter_map(|e| e["export-name"].as_str()).collect();
        assert_eq!(names, ["vol"]);
        let sole = format!("nbd+unix:///?socket={}", socket.display());
        assert_eq!(succeed(tool("nbdinfo").args(["--size", &sole])).trim(), (32 * MIB).to_string(), "the empty name");
        let wrong = format!("nbd+unix:///nothing?socket={}", socket.display());
        assert!(!crate::support::run(tool("nbdinfo").args(["--size", &wrong])).status.success());
    });
}

pub fn allocation_map(variant: Variant) {
    with_daemon(variant, 32, |_, daemon| {
        let fresh = map(&daemon.uri(), "base:allocation");
        assert_eq!(total(&fresh, HOLE_AND_ZERO), 32 * MIB, "fresh volume: {fresh:?}");
        let mut client = daemon.connect();
        client.write(8 * MIB, &pattern(1, 4 << 20)).unwrap();
        client.write(20 * MIB, &pattern(2, 1 << 20)).unwrap();
        client.flush().unwrap();
        let written = map(&daemon.uri(), "base:allocation");
        assert_eq!(total(&written, 0), 5 * MIB, "{written:?}");
        client.trim(9 * MIB, 1 << 20).unwrap();
        let trimmed = map(&daemon.uri(), "base:allocation");
        assert_eq!(total(&trimmed, 0), 4 * MIB, "{trimmed:?}");
        assert!(client.read(9 * MIB, 1 << 20).unwrap().iter().all(|byte| *byte == 0));
    });
}

pub fn generation_map(variant: Variant) {
    with_daemon(variant, 32, |_, daemon| {
        let mut client = daemon.connect();
        client.write(0, &pattern(3, 32 << 20)).unwrap();
        client.flush().unwrap();
        let before = map(&daemon.uri(), "x-keymoult:generation");
        assert_eq!(total(&before, 1), 32 * MIB, "before the rotation: {before:?}");
        daemon.rotate("start", &["--rate", "4MiB", "--fixed"]);
        daemon.rotate("pause", &[]);
        let middle = map(&daemon.uri(), "x-keymoult:generation");
        assert_eq!(total(&middle, 1) + total(&middle, 2), 32 * MIB, "while paused: {middle:?}");
        daemon.rotate("pace", &["--rate", "unlimited"]);
        daemon.rotate("resume", &[]);
        daemon.rotate("wait", &[]);
        let after = map(&daemon.uri(), "x-keymoult:generation");
        assert_eq!(total(&after, 2), 32 * MIB, "after the rotation: {after:?}");
    });
}
