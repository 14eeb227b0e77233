//! What a daemon does at its start about a keeper that is not there, sealed, or says no; and what the commands say.

use std::process::Output;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::bao::Bao;
use crate::support::{Daemon, ServeOptions, Store, Volume, VolumeOptions, keymoult, run, succeed};

/// A keeper, a store whose KEK it keeps, and a volume.
fn volume() -> (Bao, Store, Volume) {
    let bao = Bao::start();
    let mut store = Store::new();
    store.use_kek(bao.kek());
    let volume = store.create("vol", &VolumeOptions::default());
    (bao, store, volume)
}

fn options(more: &[&str]) -> ServeOptions {
    ServeOptions { more: more.iter().map(|arg| (*arg).to_owned()).collect(), ..ServeOptions::default() }
}

/// Exit code and message, with what changes from run to run left out.
fn told(output: &Output, bao: &Bao, store: &Store) -> (i32, String) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let from = text.find("error: ").unwrap_or(0);
    let host = bao.uri("", "").split('/').nth(2).unwrap().to_owned();
    let folder = store.path("x").parent().unwrap().display().to_string();
    (output.status.code().unwrap(), text[from..].replace(&host, "HOST").replace(&folder, "DIR"))
}

/// A daemon's start that must fail.
fn serve(daemon: &Daemon<'_>) -> Output {
    run(&mut daemon.serve_command())
}

#[test]
fn a_volume_lives_with_a_key_of_transit() {
    let (bao, store, volume) = volume();
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &ServeOptions::default());
    let keys = daemon.ask(&["key", "list", "vol"]);
    let keys = String::from_utf8(keys.stdout).unwrap();
    assert!(keys.contains("vault:transit/kek v1"), "{keys}");
    bao.set("transit/keys/kek/rotate", json!({}));
    daemon.rotate("start", &["--wait"]);
    let keys = String::from_utf8(daemon.ask(&["key", "list", "vol"]).stdout).unwrap();
    assert!(keys.contains("vault:transit/kek v2"), "{keys}");
    daemon.terminate();
    daemon.restart();
    daemon.terminate();
    store.passes(&volume);
}

#[test]
fn a_sealed_keeper_is_waited_for() {
    let (bao, store, volume) = volume();
    bao.seal();
    let mut daemon = Daemon::stopped(&store, &[volume], &options(&["--kek-patience", "never"]));
    daemon.spawn();
    while !daemon.log().contains("the volume cannot be opened yet; trying again") {
        thread::sleep(Duration::from_millis(20));
    }
    bao.unseal();
    daemon.await_ready().unwrap();
    daemon.terminate();
}

#[test]
fn a_signal_ends_the_waiting() {
    let (bao, store, volume) = volume();
    bao.seal();
    let mut daemon = Daemon::stopped(&store, &[volume], &options(&["--kek-patience", "never"]));
    daemon.spawn();
    while !daemon.log().contains("the volume cannot be opened yet; trying again") {
        thread::sleep(Duration::from_millis(20));
    }
    daemon.terminate();
}

#[test]
fn patience_ends_and_the_class_is_told() {
    let (mut bao, store, volume) = volume();
    let daemon = Daemon::stopped(&store, std::slice::from_ref(&volume), &options(&["--kek-patience", "1s"]));
    bao.seal();
    let sealed = "\
error: a key-encryption key cannot be used
  because: vault://HOST/transit/kek: it is sealed, and waits for its own operators (it says: Vault is sealed)
  DIR/vol.km
  hint: its operators have to unseal it; what is open goes on without it
";
    assert_eq!(told(&serve(&daemon), &bao, &store), (9, sealed.into()));
    bao.unseal();

    bao.ask("DELETE", "transit/keys/kek/soft-delete", json!({}));
    let disabled = "\
error: a key-encryption key cannot be used
  because: vault://HOST/transit/kek: the key is deleted there, and can be restored (it says: refusing to use soft-deleted key)
  DIR/vol.km
  hint: enable or restore the KEK at its keeper, or open with another KEK of the volume
";
    assert_eq!(told(&serve(&daemon), &bao, &store), (4, disabled.into()));
    bao.set("transit/keys/kek/soft-delete-restore", json!({}));

    bao.set("sys/policies/acl/keymoult", json!({ "policy": "path \"x\" { capabilities = [\"read\"] }" }));
    let denied = "\
error: a key-encryption key cannot be used
  because: vault://HOST/transit/kek: it denies us the use of the key (it says: permission denied)
  DIR/vol.km
  hint: what this identity needs is in kernel-notes/key-faults.md; its administrator can grant it
";
    assert_eq!(told(&serve(&daemon), &bao, &store), (4, denied.into()));

    bao.kill();
    let unreachable = "\
error: a key-encryption key cannot be used
  because: vault://HOST/transit/kek: cannot be reached
  because: Connection refused (os error 111)
  DIR/vol.km
  hint: is it running, and is its address right? what is open goes on without it
";
    assert_eq!(told(&serve(&daemon), &bao, &store), (9, unreachable.into()));
    let check = store.check(&volume);
    assert!(!check.status.success());
}

#[test]
fn the_other_volumes_are_served_if_the_operator_says_so() {
    let (bao, mut store, far) = volume();
    let kek = store.kek();
    store.use_kek(format!("file:{}", store.path("kek").display()));
    let mut make = keymoult();
    make.args(["volume", "create"]).arg(store.path("near.km")).args(["--size", "4MiB", "--new-kek", "--kek"]);
    succeed(make.arg(store.kek()));
    let config = format!(
        "kek-patience = \"0s\"\nkek-unavailable = \"skip\"\n[[volume]]\npath = \"{}\"\nkek = [\"{kek}\"]\n[[volume]]\npath = \"{}\"\nkek = [\"{}\"]\n",
        far.path.display(),
        store.path("near.km").display(),
        store.kek(),
    );
    std::fs::write(store.path("config"), config).unwrap();
    bao.seal();
    let config = store.path("config").display().to_string();
    let mut daemon = Daemon::stopped(&store, &[], &ServeOptions::default());
    daemon.set_keys(vec!["--config".into(), config]);
    daemon.restart();
    let status = String::from_utf8(daemon.ask(&["status"]).stdout).unwrap();
    assert!(status.contains("volume near\n"), "{status}");
    assert!(status.contains("volume vol: ") && status.contains("it is sealed"), "{status}");
    daemon.terminate();
    bao.unseal();
    daemon.restart();
    let status = String::from_utf8(daemon.ask(&["status"]).stdout).unwrap();
    assert!(status.contains("volume vol\n") && status.contains("volume near\n"), "{status}");
    daemon.terminate();
}

/// Any one wrap opens: a keeper that is away costs one try for each key, and no patience.
#[test]
fn another_kek_of_the_volume_opens_it() {
    let (mut bao, store, _) = volume();
    let file = format!("file:{}", store.path("kek").display());
    let mut make = keymoult();
    make.args(["volume", "create"]).arg(store.path("two.km")).args(["--size", "4MiB", "--new-kek", "--kek"]);
    succeed(make.arg(store.kek()).args(["--kek", &file]));
    bao.kill();
    let two = Volume { name: "two".into(), path: store.path("two.km"), header: None, size: 4 << 20 };
    let mut daemon = Daemon::start(&store, &[two], &options(&["--kek", &file, "--kek-patience", "never"]));
    daemon.terminate();
}
