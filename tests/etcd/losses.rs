//! What etcd forgets is noticed: which way it went backwards, and that etcd itself is content.

use keymoult::cluster::coordinator::{Backwards, Coordinator, CoordinatorError};
use keymoult::cluster::stamp::Stamp;
use keymoult::units::VolumeId;

use crate::cluster::Etcd;
use crate::contract::{publish, won};

const V: VolumeId = VolumeId([7; 16]);

fn backwards<T: std::fmt::Debug>(answer: Result<T, CoordinatorError>) -> Backwards {
    match answer {
        Err(CoordinatorError::Backwards(backwards)) => backwards,
        other => panic!("not noticed: {other:?}"),
    }
}

#[test]
fn an_old_snapshot_is_noticed_although_etcd_is_content() {
    let etcd = Etcd::start();
    let a = etcd.node("lab", "a");
    won(a.campaign(V, 0));
    publish(&a, V, None, Stamp::new(1, 1), b"1").unwrap();
    let copy = etcd.save();
    assert_eq!(won(a.campaign(V, 3)), 4);
    publish(&a, V, Some(Stamp::new(1, 1)), Stamp::new(4, 2), b"2").unwrap();

    etcd.restore(&copy, "first");
    etcd.control(&["endpoint", "health"]);
    let Backwards::Revision { seen, found } = backwards(a.fetch(V)) else { panic!("by its revision") };
    assert!(found < seen, "{found} {seen}");

    // Somebody writes until the revision is past what was seen: the volume's own epoch still tells.
    for _ in 0..(seen - found + 1) {
        etcd.control(&["put", "/elsewhere", "x"]);
    }
    assert_eq!(backwards(a.fetch(V)), Backwards::Epoch { seen: 4, found: 1 });
    assert_eq!(backwards(a.campaign(V, 4)), Backwards::Epoch { seen: 4, found: 1 });

    // The same copy put back as an etcd of its own.
    etcd.restore(&copy, "second");
    assert!(matches!(backwards(a.fetch(V)), Backwards::Replaced { .. }));
}

#[test]
fn a_record_that_was_put_back_is_noticed() {
    let etcd = Etcd::start();
    let a = etcd.node("lab", "a");
    won(a.campaign(V, 0));
    let (one, two) = (Stamp::new(1, 1), Stamp::new(1, 2));
    let key = format!("/keymoult/v1/lab/volume/{V}/keyring");
    publish(&a, V, None, one, b"1").unwrap();
    publish(&a, V, Some(one), two, b"2").unwrap();
    let old = [&b"KMRING1\n"[..], &1_u64.to_le_bytes(), &1_u64.to_le_bytes(), b"1"].concat();
    etcd.put(&key, &old);
    let record = Backwards::Record { seen: two, found: Some(one) };
    assert_eq!(backwards(a.fetch(V)), record);
    assert_eq!(backwards(publish(&a, V, Some(two), Stamp::new(1, 3), b"3")), record);
    etcd.put(&key, b"something else");
    assert!(matches!(a.fetch(V), Err(CoordinatorError::Malformed { .. })));
    etcd.control(&["del", &key]);
    assert_eq!(backwards(a.fetch(V)), Backwards::Record { seen: two, found: None });
}
