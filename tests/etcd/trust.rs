//! Who may do what: certificates, and etcd's own users and roles.

use std::time::Duration;

use keymoult::cluster::coordinator::{Coordinator, CoordinatorError};
use keymoult::cluster::etcd::{EtcdCoordinator, EtcdOptions};
use keymoult::units::VolumeId;

use crate::cluster::Etcd;
use crate::contract::won;
use crate::nodes::PATIENCE;
use crate::support::certificates::{Authority, Says, write};

const V: VolumeId = VolumeId([7; 16]);

fn answer(options: EtcdOptions) -> CoordinatorError {
    match EtcdCoordinator::start(options).and_then(|node| node.campaign(V, 0)) {
        Err(error) => error,
        Ok(campaign) => panic!("it is let in: {campaign:?}"),
    }
}

#[test]
fn certificates_that_do_not_fit_are_told_apart_from_an_outage() {
    let etcd = Etcd::start();
    let other = Authority::new("another authority");
    let stranger = other.issue(Says::client("a"));
    let refused = answer(etcd.options_of("lab", "a", &stranger));
    assert!(matches!(refused, CoordinatorError::Certificate(_)), "{refused}");
    let expired = etcd.authority.issue(Says { expired: true, ..Says::client("a") });
    let refused = answer(etcd.options_of("lab", "a", &expired));
    assert!(matches!(refused, CoordinatorError::Certificate(_)), "{refused}");
    let mut options = etcd.options("lab", "a");
    options.authority = write(etcd.folder.path(), "other.crt", &other.pem);
    let refused = answer(options);
    assert!(matches!(refused, CoordinatorError::Certificate(_)), "{refused}");
    let mut options = etcd.options("lab", "a");
    options.endpoints = vec!["https://127.0.0.1:1".into()];
    options.patience = Duration::from_millis(500);
    let refused = answer(options);
    assert!(matches!(refused, CoordinatorError::Unreachable(_)), "{refused}");
}

#[test]
fn a_renewed_certificate_needs_no_restart() {
    let etcd = Etcd::start();
    let expired = etcd.authority.issue(Says { expired: true, ..Says::client("a") });
    let options = etcd.options_of("lab", "a", &expired);
    let (certificate, key) = (options.certificate.clone(), options.key.clone());
    let a = EtcdCoordinator::start(options).unwrap();
    let refused = a.campaign(V, 0);
    assert!(matches!(refused, Err(CoordinatorError::Certificate(_))), "{refused:?}");
    let renewed = etcd.authority.issue(Says::client("a"));
    std::fs::write(certificate, renewed.certificate).unwrap();
    std::fs::write(key, renewed.key).unwrap();
    won(a.campaign(V, 0));
}

#[test]
fn a_role_is_held_to_its_prefix() {
    let etcd = Etcd::start();
    for args in [
        &["user", "add", "root:unused"][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "keymoult"],
        &["role", "grant-permission", "keymoult", "--prefix=true", "readwrite", "/keymoult/v1/lab/"],
        &["user", "add", "a:unused"],
        &["user", "add", "b:unused"],
        &["user", "grant-role", "a", "keymoult"],
        &["auth", "enable"],
    ] {
        etcd.control(args);
    }
    let a = etcd.node("lab", "a");
    won(a.campaign(V, 0));
    a.report(V, b"state").unwrap();
    assert_eq!(a.states(V).unwrap().len(), 1);
    a.resign(V).unwrap();
    let start = std::time::Instant::now();
    for (cluster, name, why) in [("other", "a", "another prefix"), ("lab", "b", "no role"), ("lab", "c", "no user")] {
        let denied = answer(etcd.options(cluster, name));
        assert!(matches!(denied, CoordinatorError::Denied(_)), "{why}: {denied}");
    }
    assert!(start.elapsed() < PATIENCE, "nobody waits for a denial to pass");
}
