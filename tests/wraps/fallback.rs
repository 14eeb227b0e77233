//! Several wraps: any opens, and using a fallback is seen in the log, on record, in `status` and in `key list`.

use std::os::unix::fs::PermissionsExt;

use super::support::{Daemon, MIB, ServeOptions, Store, Volume, keymoult, succeed};
use super::{alarms, json, refused, said, wraps};

#[test]
fn any_wrap_opens_and_a_fallback_raises_an_alarm() {
    let store = Store::new();
    let (first, path) = (format!("file:{}", store.path("first").display()), store.path("vol.km"));
    let size = (8 * MIB).to_string();
    succeed(keymoult().args(["volume", "create"]).arg(&path).args([
        "--size",
        &size,
        "--kek",
        &first,
        "--kek",
        &store.kek(),
        "--new-kek",
    ]));
    let volume = Volume { name: "vol".into(), path, header: None, size: 8 * MIB };
    let options = ServeOptions { more: vec!["--kek".into(), first], ..ServeOptions::default() };
    let mut daemon = Daemon::start(&store, &[volume], &options);
    let both = wraps(&daemon, "vol");
    assert!(both.iter().all(|(wraps, by)| wraps.len() == 2 && by.as_ref() == wraps.first()), "{both:?}");
    assert_eq!(alarms(&daemon, "vol"), []);
    daemon.terminate();
    // The first one's key file can be read by others, so it is not used.
    std::fs::set_permissions(store.path("first"), std::fs::Permissions::from_mode(0o644)).unwrap();
    daemon.restart();
    let kinds = alarms(&daemon, "vol");
    let names: Vec<&str> = kinds.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(names, ["fallback-kek", "kek-unavailable"], "{kinds:?}");
    assert!(kinds[0].1.contains("generations 0, 1") && kinds[0].1.contains("0644"), "{kinds:?}");
    let fallen = wraps(&daemon, "vol");
    assert!(fallen.iter().all(|(wraps, by)| by.as_ref() == wraps.get(1)), "{fallen:?}");
    let text = said(&daemon.ask(&["status", "vol"]));
    assert!(text.contains("ALARM") && text.contains("fallback-kek"), "{text}");
    let listed = said(&daemon.ask(&["key", "list", "vol"]));
    assert!(listed.contains("(opened it)"), "{listed}");
    assert!(daemon.log().contains("ERROR") && daemon.log().contains("alarm=\"fallback-kek\""), "{}", daemon.log());
    let audit = said(&daemon.ask(&["audit", "show", "--limit", "1000"]));
    assert!(audit.contains("alarm: the keys of generations 0, 1 were opened by the fallback"), "{audit}");
    // A new KEK in the first place ends the alarm about the fallback; that the other cannot be had stays true.
    let new = format!("file:{}", store.path("new").display());
    let unclear = refused(&daemon, 8, &["key", "rewrap", "vol", "--to", &new, "--new-kek"]);
    assert!(unclear.contains("say whose wraps go (--from)"), "{unclear}");
    json(&daemon, &["key", "rewrap", "vol", "--to", &new, "--from", &fallen[0].0[0]]);
    let left = wraps(&daemon, "vol");
    assert!(left.iter().all(|(wraps, by)| wraps.len() == 2 && by.as_ref() == wraps.first()), "{left:?}");
    assert!(
        left.iter().zip(&fallen).all(|((now, _), (before, _))| now[1] == before[1] && now[0] != before[0]),
        "{left:?}"
    );
    assert_eq!(alarms(&daemon, "vol").len(), 1);
    daemon.terminate();
}
