//! `key rewrap`, `wrap-add` and `wrap-remove` on a daemon that serves clients and rotates, on many volumes at once, and on
//! a volume that nobody serves; and what a restart with the old configuration says.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::support::{Daemon, MIB, Oracle, ServeOptions, Store, Volume, VolumeOptions, keymoult, run, succeed};
use super::{json, refused, said, wraps};

fn volume(store: &Store, name: &str) -> Volume {
    store.create(name, &VolumeOptions { size: 16 * MIB, ..VolumeOptions::default() })
}

fn with_kek(uri: &str) -> ServeOptions {
    ServeOptions { more: vec!["--kek".into(), uri.into()], ..ServeOptions::default() }
}

fn check(volume: &Volume, kek: &str) -> std::process::Output {
    run(keymoult().args(["volume", "check"]).arg(&volume.path).args(["--full", "--kek", kek]))
}

/// The bytes of the header that hold the wraps: two copies of the generation table.
fn table_zone(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()[65536..65536 + 524_288].to_vec()
}

#[test]
fn a_kek_changes_under_clients_in_the_middle_of_a_rotation() {
    let store = Store::new();
    let volume = volume(&store, "vol");
    let new = format!("file:{}", store.path("new").display());
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &ServeOptions::default());
    let mut oracle = Oracle::fresh(volume.size);
    let (mut client, mut random) = (daemon.connect(), 5);
    oracle.hammer(&mut client, &mut random, 16, 400);
    daemon.rotate("start", &["--rate", "2MiB", "--fixed"]);
    let old = wraps(&daemon, "vol")[0].1.clone().unwrap();
    let before = table_zone(&volume.path);
    assert!(before.windows(old.len()).any(|at| at == old.as_bytes()), "the zone names the old KEK");
    let text = std::thread::scope(|scope| {
        let hammer = scope.spawn(|| oracle.hammer(&mut client, &mut random, 16, 2000));
        let args = ["key", "rewrap", "vol", "--to", &new, "--new-kek", "--reason", "drill"];
        let output = daemon.ask(&args);
        assert!(output.status.success(), "{}", said(&output));
        hammer.join().unwrap();
        said(&output)
    });
    println!("{text}");
    assert!(text.contains("vol: KEK changed; no data was re-encrypted"), "{text}");
    assert!(text.contains("metadata key: added file:file-") && text.contains("DEK of generation 2: added"), "{text}");
    assert!(text.contains("no removed wrap is left in the 524288 bytes"), "{text}");
    assert!(text.contains(&format!("kek = [\"{new}\"]")) && text.contains("opens it no more"), "{text}");
    let now = wraps(&daemon, "vol");
    assert!(
        now.len() == 3 && now.iter().all(|(wraps, by)| wraps.len() == 1 && by.as_ref() == wraps.first()),
        "{now:?}"
    );
    assert_ne!(now[0].1.as_ref(), Some(&old));
    let after = table_zone(&volume.path);
    assert!(!after.windows(old.len()).any(|at| at == old.as_bytes()), "nothing on the device names the old KEK");
    daemon.rotate("pace", &["--rate", "unlimited"]);
    daemon.rotate("wait", &["--timeout", "120"]);
    oracle.check(&mut daemon.connect());
    // The next generation is wrapped for the new KEK alone; a paused rotation is no obstacle either.
    daemon.rotate("start", &["--rate", "2MiB", "--fixed"]);
    daemon.rotate("pause", &[]);
    let now = wraps(&daemon, "vol");
    assert!(now.len() == 4 && now[3] == now[0], "{now:?}");
    let same = json(&daemon, &["key", "rewrap", "vol", "--to", &new]);
    assert_eq!(same["changed"], false, "it is the KEK already");
    let audit = said(&daemon.ask(&["audit", "show", "--limit", "1000"]));
    assert!(audit.contains("key-rewrap") && audit.contains("KEK changed; the next start needs"), "{audit}");
    drop(client);
    daemon.terminate();
    oracle.connection_ended();
    // The old configuration: refused, and it says what happened.
    let why = daemon.try_restart().unwrap_err();
    assert!(why.contains("none of the keys given opens volume"), "{why}");
    assert!(why.contains("its KEK was changed while it was served") && why.contains(&new), "{why}");
    assert_eq!(check(&volume, &store.kek()).status.code(), Some(5), "the old KEK opens nothing");
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &with_kek(&new));
    daemon.rotate("pace", &["--rate", "unlimited"]);
    daemon.rotate("resume", &[]);
    daemon.rotate("wait", &["--timeout", "120"]);
    oracle.check(&mut daemon.connect());
    daemon.terminate();
    assert!(check(&volume, &new).status.success());
}

#[test]
fn wraps_are_added_and_removed_and_never_the_last_proven_one() {
    let store = Store::new();
    let volume = volume(&store, "vol");
    let other = format!("file:{}", store.path("other").display());
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &ServeOptions::default());
    let last = refused(&daemon, 8, &["key", "wrap-remove", "vol", "--from", &store.kek()]);
    assert!(last.contains("would have no wrap left"), "{last}");
    let added = json(&daemon, &["key", "wrap-add", "vol", "--to", &other, "--new-kek"]);
    assert!(added["keks"].as_array().unwrap().len() == 2 && added["swept_bytes"] == 0, "{added}");
    let now = wraps(&daemon, "vol");
    assert!(now.iter().all(|(wraps, by)| wraps.len() == 2 && by.as_ref() == wraps.first()), "{now:?}");
    for kek in [&store.kek(), &other] {
        let info = succeed(keymoult().args(["volume", "info", "--json"]).arg(&volume.path));
        assert!(info.matches(now[0].0[1].as_str()).count() == 2, "volume info shows every wrap without a key: {info}");
        assert!(
            refused(&daemon, 8, &["key", "wrap-remove", "vol", "--from", "file-0"]).contains("no wrap is by"),
            "{kek}"
        );
    }
    let prompt = refused(&daemon, 3, &["key", "wrap-add", "vol", "--to", "passphrase:"]);
    assert!(prompt.contains("asks on a terminal"), "{prompt}");
    let missing = refused(&daemon, 3, &["key", "rewrap", "vol", "--to", "file:/nonexistent/kek"]);
    assert!(missing.contains("no such file"), "{missing}");
    let removed = json(&daemon, &["key", "wrap-remove", "vol", "--from", &now[0].0[0]]);
    assert_eq!(removed["keks"], serde_json::json!([other]));
    daemon.terminate();
    assert!(check(&volume, &other).status.success());
    // Alone: to a passphrase, and back.
    let secret = store.path("passphrase");
    std::fs::write(&secret, "correct horse battery staple\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let passphrase = format!("passphrase:file={}", secret.display());
    let alone = |args: &[&str]| run(keymoult().args(["key", args[0]]).arg(&volume.path).args(&args[1..]));
    let changed = alone(&["rewrap", "--to", &passphrase, "--kek", &other]);
    println!("{}", said(&changed));
    assert!(changed.status.success() && said(&changed).contains("passphrase:pass-"), "{}", said(&changed));
    assert!(check(&volume, &passphrase).status.success());
    let wrong = alone(&["rewrap", "--to", &passphrase, "--kek", &other]);
    assert_eq!(wrong.status.code(), Some(4), "{}", said(&wrong));
    assert!(alone(&["wrap-add", "--to", &store.kek(), "--kek", &passphrase]).status.success());
    assert!(
        alone(&["wrap-remove", "--from", &passphrase, "--kek", &passphrase, "--kek", &store.kek()]).status.success()
    );
    let back = check(&volume, &store.kek());
    assert!(back.status.success(), "{}", said(&back));
}

#[test]
fn all_volumes_of_a_node_change_and_a_failure_of_one_stops_no_other() {
    let store = Store::new();
    let volumes: Vec<Volume> = ["a", "b", "c", "d", "e"].iter().map(|name| volume(&store, name)).collect();
    let new = format!("file:{}", store.path("new").display());
    let daemon = Daemon::start(&store, &volumes, &ServeOptions::default());
    // A generation that only one of them has: the others fail, each with its reason.
    daemon.rotate("start", &["--hold-finalize"]);
    let args = ["key", "rewrap", "--all", "--jobs", "3", "--to", &new, "--new-kek", "--generation", "2", "--keep-old"];
    let output = daemon.ask(&args);
    assert_eq!(output.status.code(), Some(8), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("1 volumes are done, 4 failed") && text.contains("a: KEK added"), "{text}");
    assert!(text.matches("the volume has no generation 2").count() == 4, "{text}");
    let all = json(&daemon, &["key", "rewrap", "--all", "--to", &new]);
    assert_eq!((all["done"].as_array().unwrap().len(), all["failed"].as_array().unwrap().len()), (5, 0));
    for volume in &volumes {
        let now = wraps(&daemon, &volume.name);
        assert!(now.iter().all(|(wraps, by)| wraps.len() == 1 && by.is_some()), "{}: {now:?}", volume.name);
    }
}
