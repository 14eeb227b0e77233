//! A systemd credential, as the service manager hands it to the real daemon: a folder and a variable.

use super::scene::{key_line, talkative};
use super::support::{Daemon, ServeOptions, Store, Volume, keymoult, run, succeed};
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn credentials(store: &Store) {
    fs::create_dir(store.path("credentials")).unwrap();
    fs::write(store.path("credentials/kek"), key_line()).unwrap();
    fs::set_permissions(store.path("credentials/kek"), PermissionsExt::from_mode(0o400)).unwrap();
}

#[test]
fn a_credential_opens_a_volume() {
    let store = Store::new();
    credentials(&store);
    let path = store.path("vol.km");
    let mut create = keymoult();
    create.args(["volume", "create"]).arg(&path).args(["--size", "32MiB", "--extent-size", "64KiB"]);
    succeed(create.args(["--kek", "systemd-cred:kek"]).env("CREDENTIALS_DIRECTORY", store.path("credentials")));
    // The store's own key file is another KEK, which opens nothing; both are given.
    fs::copy(store.path("credentials/kek"), store.path("kek")).unwrap();
    let options = ServeOptions { more: vec!["--kek".into(), "systemd-cred:kek".into()], ..ServeOptions::default() };
    let volume = Volume { name: "vol".into(), path, header: None, size: 32 << 20 };
    let mut daemon = Daemon::stopped(&store, &[volume], &options);
    let variable = format!("export CREDENTIALS_DIRECTORY='{}'\n", store.path("credentials").display());
    daemon.set_binary(Some(talkative(&store, &variable)));
    daemon.restart();
    let mut client = daemon.connect();
    client.write(4096, &[7; 4096]).unwrap();
    daemon.rotate("start", &["--wait"]);
    assert_eq!(client.read(4096, 4096).unwrap(), [7; 4096]);
    client.disconnect().unwrap();
    daemon.terminate();
    // And again after a restart; without the variable it says what the unit lacks.
    daemon.restart();
    daemon.terminate();
    daemon.set_binary(None);
    let why = daemon.try_restart().unwrap_err();
    assert!(why.contains("systemd-cred:kek: CREDENTIALS_DIRECTORY is not set"), "{why}");
    assert!(why.contains("LoadCredentialEncrypted=kek:/etc/keymoult/kek.cred"), "{why}");
}

#[test]
fn a_credential_that_others_can_read_is_refused() {
    let store = Store::new();
    credentials(&store);
    fs::set_permissions(store.path("credentials/kek"), PermissionsExt::from_mode(0o444)).unwrap();
    let mut create = keymoult();
    create.args(["volume", "create"]).arg(store.path("vol.km")).args(["--size", "32MiB", "--kek", "systemd-cred:kek"]);
    let output = run(create.env("CREDENTIALS_DIRECTORY", store.path("credentials")));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("its mode 0444 lets others than its owner at it"), "{said}");
    assert!(!store.path("vol.km").exists());
}
