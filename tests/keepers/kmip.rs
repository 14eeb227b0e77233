//! A KEK in a real KMIP server: what binds its wraps, what its states mean, and who is let in.

use keymoult::keys::KeyErrorClass as Class;

use crate::pykmip::PyKmip;
use crate::rules::{PURPOSE, data_key, keeper_holds_to_the_rules, kek, refused, story};
use crate::support::certificates::{Authority, write};
use crate::support::{Daemon, ServeOptions, Store, VolumeOptions};

#[test]
fn aes_gcm_with_additional_data_binds_wraps() {
    let server = PyKmip::start();
    keeper_holds_to_the_rules(&kek(&server.uri(&server.active_key(), "client")));
}

#[test]
fn every_state_but_active_is_disabled_and_says_which() {
    let server = PyKmip::start();
    for (verb, says) in
        [("deactivate", "the key is deactivated there"), ("compromise", "the key is marked compromised there")]
    {
        let key = server.active_key();
        let kek = kek(&server.uri(&key, "client"));
        let wrapped = kek.wrap(&PURPOSE, &data_key()).unwrap();
        server.operate(verb, Some(&key));
        for error in
            [refused(kek.unwrap(&PURPOSE, &wrapped)), refused(kek.wrap(&PURPOSE, &data_key())), refused(kek.probe())]
        {
            assert_eq!(error.class(), Class::Disabled, "{}", story(&error));
            assert!(error.to_string().ends_with(says), "{error}");
        }
        server.operate("destroy", Some(&key));
        for error in [refused(kek.unwrap(&PURPOSE, &wrapped)), refused(kek.probe())] {
            assert_eq!(error.class(), Class::Disabled, "{}", story(&error));
            assert!(error.to_string().contains("it has no such key: destroyed, or the id is wrong"), "{error}");
        }
    }
    let young = server.operate("create", None);
    let error = refused(kek(&server.uri(&young, "client")).wrap(&PURPOSE, &data_key()));
    assert_eq!(error.class(), Class::Disabled);
    assert!(error.to_string().ends_with("the key is not yet active there"), "{error}");
}

#[test]
fn strangers_get_nothing() {
    let server = PyKmip::start();
    let key = server.active_key();
    let wrapped = kek(&server.uri(&key, "client")).wrap(&PURPOSE, &data_key()).unwrap();
    for name in ["stranger", "useless"] {
        let kek = kek(&server.uri(&key, name));
        for error in [refused(kek.unwrap(&PURPOSE, &wrapped)), refused(kek.probe())] {
            assert_eq!(error.class(), Class::Denied, "{name}: {}", story(&error));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let other = write(folder.path(), "other.pem", &Authority::new("elsewhere").pem);
    let uri = server.uri(&key, "client");
    let (front, back) = uri.split_once("ca=").unwrap();
    let uri = format!("{front}ca={}&{}", other.display(), back.split_once('&').unwrap().1);
    let error = refused(kek(&uri).unwrap(&PURPOSE, &wrapped));
    assert_eq!(error.class(), Class::Local, "{}", story(&error));
    assert!(error.to_string().ends_with("its certificate is not to be trusted"), "{error}");
}

#[test]
fn a_server_that_is_gone_is_unreachable() {
    let mut server = PyKmip::start();
    let kek = kek(&server.uri(&server.active_key(), "client"));
    let wrapped = kek.wrap(&PURPOSE, &data_key()).unwrap();
    server.kill();
    for error in
        [refused(kek.unwrap(&PURPOSE, &wrapped)), refused(kek.wrap(&PURPOSE, &data_key())), refused(kek.probe())]
    {
        assert_eq!(error.class(), Class::Unreachable, "{}", story(&error));
    }
}

#[test]
fn a_volume_lives_with_a_key_of_a_kmip_server() {
    let server = PyKmip::start();
    let key = server.active_key();
    let mut store = Store::new();
    store.use_kek(server.uri(&key, "client"));
    let volume = store.create("vol", &VolumeOptions { size: 4 << 20, ..VolumeOptions::default() });
    let mut daemon = Daemon::start(&store, &[volume], &ServeOptions::default());
    daemon.rotate("start", &["--wait"]);
    let keys = String::from_utf8(daemon.ask(&["key", "list", "vol"]).stdout).unwrap();
    assert!(keys.contains(&format!("kmip:{key} v1")), "{keys}");
    daemon.terminate();
    daemon.restart();
    server.operate("deactivate", Some(&key));
    let output = daemon.ask(&["rotate", "start", "vol"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8(output.stderr).unwrap().contains("the key is deactivated there"));
    daemon.terminate();
    let failed = daemon.try_restart().unwrap_err();
    assert!(failed.contains("exit status: 4") && failed.contains("the key is deactivated there"), "{failed}");
}
