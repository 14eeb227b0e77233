//! A KEK in the real OpenBao: bindings, versions, logins, and each way it can refuse.

use keymoult::keys::KeyErrorClass as Class;
use serde_json::json;

use crate::bao::Bao;
use crate::rules::{PURPOSE, data_key, keeper_holds_to_the_rules, kek, refused, story};
use crate::support::certificates::{Authority, Says, write};

#[test]
fn keys_of_every_kind_bind_their_wraps() {
    let bao = Bao::start();
    let root = bao.token("root");
    for (name, options, number) in [
        ("derived", json!({ "derived": true }), 1),
        ("aead", json!({ "type": "aes256-gcm96" }), 2),
        ("chacha", json!({ "type": "chacha20-poly1305" }), 2),
        ("rsa", json!({ "type": "rsa-2048" }), 3),
    ] {
        bao.make_key(name, options);
        let kek = kek(&bao.uri(name, &root));
        keeper_holds_to_the_rules(&kek);
        let wrapped = kek.wrap(&PURPOSE, &data_key()).unwrap();
        assert_eq!((wrapped.blob[0], wrapped.kek_version), (number, 1), "{name}");
        assert_eq!(wrapped.kek_id, format!("transit/{name}"));
    }
    bao.make_key("sign", json!({ "type": "ed25519" }));
    let error = refused(kek(&bao.uri("sign", &root)).wrap(&PURPOSE, &data_key()));
    assert_eq!(error.class(), Class::Usage, "{error}");
    // A name nobody made a key of stays one: Transit would make it when asked to encrypt.
    let error = refused(kek(&bao.uri("typo", &root)).wrap(&PURPOSE, &data_key()));
    assert_eq!(error.class(), Class::Disabled, "{error}");
    assert_eq!(bao.ask("GET", "transit/keys/typo", json!({})).0, 404);
}

#[test]
fn a_new_version_wraps_and_old_wraps_open_until_it_is_withdrawn() {
    let bao = Bao::start();
    let kek = kek(&bao.kek());
    let key = data_key();
    let old = kek.wrap(&PURPOSE, &key).unwrap();
    bao.set("transit/keys/kek/rotate", json!({}));
    let new = kek.wrap(&PURPOSE, &key).unwrap();
    assert_eq!((old.kek_version, new.kek_version), (1, 2));
    for wrapped in [&old, &new] {
        assert!(kek.unwrap(&PURPOSE, wrapped).unwrap().ct_eq(&key));
    }
    bao.set("transit/keys/kek/config", json!({ "min_decryption_version": 2 }));
    let error = refused(kek.unwrap(&PURPOSE, &old));
    assert_eq!(error.class(), Class::Disabled);
    assert!(error.to_string().contains("is withdrawn (min_decryption_version)"), "{error}");
    assert!(kek.unwrap(&PURPOSE, &new).is_ok());
    bao.set("transit/keys/kek/config", json!({ "min_decryption_version": 1 }));
    assert!(kek.unwrap(&PURPOSE, &old).unwrap().ct_eq(&key));
}

#[test]
fn deletion_disables_and_restoring_enables() {
    let bao = Bao::start();
    let kek = kek(&bao.kek());
    let key = data_key();
    let wrapped = kek.wrap(&PURPOSE, &key).unwrap();
    assert_eq!(bao.ask("DELETE", "transit/keys/kek/soft-delete", json!({})).0, 200);
    for error in [refused(kek.unwrap(&PURPOSE, &wrapped)), refused(kek.wrap(&PURPOSE, &key)), refused(kek.probe())] {
        assert_eq!(error.class(), Class::Disabled);
        assert!(story(&error).contains("the key is deleted there, and can be restored"), "{error}");
    }
    bao.set("transit/keys/kek/soft-delete-restore", json!({}));
    assert!(kek.unwrap(&PURPOSE, &wrapped).unwrap().ct_eq(&key));
    bao.set("transit/keys/kek/config", json!({ "deletion_allowed": true }));
    assert_eq!(bao.ask("DELETE", "transit/keys/kek", json!({})).0, 204);
    for error in [refused(kek.unwrap(&PURPOSE, &wrapped)), refused(kek.probe())] {
        assert_eq!(error.class(), Class::Disabled);
        assert!(story(&error).contains("it has no such key"), "{error}");
    }
}

#[test]
fn a_sealed_keeper_says_so_and_opens_again() {
    let bao = Bao::start();
    let kek = kek(&bao.kek());
    let key = data_key();
    let wrapped = kek.wrap(&PURPOSE, &key).unwrap();
    bao.seal();
    for error in [refused(kek.unwrap(&PURPOSE, &wrapped)), refused(kek.wrap(&PURPOSE, &key)), refused(kek.probe())] {
        assert_eq!(error.class(), Class::Sealed, "{error}");
        assert!(story(&error).contains("it is sealed, and waits for its own operators"), "{error}");
    }
    bao.unseal();
    assert!(kek.unwrap(&PURPOSE, &wrapped).unwrap().ct_eq(&key));
}

#[test]
fn every_way_to_log_in_works_and_nobody_else_gets_in() {
    let bao = Bao::start();
    let wrapped = kek(&bao.kek()).wrap(&PURPOSE, &data_key()).unwrap();
    let identity = bao.certificate("client");
    for settings in [
        identity.clone(),
        format!("{identity}&role=keymoult"),
        bao.approle(),
        bao.token("keymoult"),
        format!("{identity}&{}", bao.token("keymoult")),
    ] {
        let kek = kek(&bao.uri("kek", &settings));
        kek.probe().unwrap();
        kek.unwrap(&PURPOSE, &wrapped).unwrap();
    }

    let stranger = bao.authority.issue(Says::client("somebody"));
    bao.file("stranger.pem", &stranger.certificate);
    bao.file("stranger.key", &stranger.key);
    let foreign = Authority::new("elsewhere").issue(Says::client("keymoult-a"));
    bao.file("foreign.pem", &foreign.certificate);
    bao.file("foreign.key", &foreign.key);
    let files = format!("role-id-file={}&secret-id-file={}", bao.file("r", "no-role"), bao.file("s", "no-secret"));
    for settings in [
        bao.certificate("stranger"),
        bao.certificate("foreign"),
        format!("{identity}&role=other"),
        format!("{identity}&auth=nowhere"),
        files,
        format!("token-file={}", bao.file("t", "s.nobody")),
    ] {
        let error = refused(kek(&bao.uri("kek", &settings)).unwrap(&PURPOSE, &wrapped));
        assert_eq!(error.class(), Class::Denied, "{settings}: {}", story(&error));
    }
}

#[test]
fn a_keeper_that_is_not_the_one_meant_gets_nothing() {
    let bao = Bao::start();
    let wrapped = kek(&bao.kek()).wrap(&PURPOSE, &data_key()).unwrap();
    write(bao.path("x").parent().unwrap(), "other.pem", &Authority::new("elsewhere").pem);
    let before = bao.audit().len();
    let uri = bao.kek().replace("ca.pem", "other.pem");
    let error = refused(kek(&uri).unwrap(&PURPOSE, &wrapped));
    assert_eq!(error.class(), Class::Local, "{}", story(&error));
    assert!(story(&error).contains("its certificate is not to be trusted"), "{}", story(&error));
    assert_eq!(bao.audit().len(), before);
}

#[test]
fn a_token_that_ran_out_is_replaced_and_a_missing_permission_is_named() {
    let bao = Bao::start();
    let kek = kek(&bao.kek());
    let wrapped = kek.wrap(&PURPOSE, &data_key()).unwrap();
    bao.set("sys/leases/revoke-prefix/auth/cert/login", json!({}));
    kek.unwrap(&PURPOSE, &wrapped).unwrap();
    bao.set("sys/leases/revoke-prefix/auth/cert/login", json!({}));
    kek.probe().unwrap();

    let policy = "path \"transit/keys/kek\" { capabilities = [\"read\"] }\n\
                  path \"transit/encrypt/kek\" { capabilities = [\"update\"] }";
    bao.set("sys/policies/acl/keymoult", json!({ "policy": policy }));
    let error = refused(kek.unwrap(&PURPOSE, &wrapped));
    assert_eq!(error.class(), Class::Denied);
    assert!(story(&error).contains("it denies us the use of the key"), "{error}");
    let error = refused(kek.probe());
    assert_eq!(error.class(), Class::Denied);
    assert!(error.to_string().ends_with("no `update` on transit/decrypt/kek"), "{error}");
}

#[test]
fn a_keeper_that_asks_for_time_gets_it() {
    let bao = Bao::start();
    let kek = kek(&bao.kek());
    let key = data_key();
    let wrapped = kek.wrap(&PURPOSE, &key).unwrap();
    let slow = |interval: &str| json!({ "path": "transit", "rate": 1, "interval": interval });
    bao.set("sys/quotas/rate-limit/slow", slow("1s"));
    for _ in 0..3 {
        assert!(kek.unwrap(&PURPOSE, &wrapped).unwrap().ct_eq(&key));
    }
    bao.set("sys/quotas/rate-limit/slow", slow("1h"));
    // The first of the hour may pass.
    let _ = kek.unwrap(&PURPOSE, &wrapped);
    let error = refused(kek.unwrap(&PURPOSE, &wrapped));
    assert_eq!(error.class(), Class::Throttled, "{error}");
    assert!(error.to_string().contains("it asks to come back later"), "{error}");
}
