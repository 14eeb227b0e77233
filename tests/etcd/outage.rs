//! Members of etcd die and come back.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use keymoult::cluster::coordinator::{Campaign, Coordinator, CoordinatorError, Standing};
use keymoult::cluster::etcd::EtcdCoordinator;
use keymoult::cluster::stamp::Stamp;
use keymoult::units::VolumeId;

use crate::cluster::{Etcd, MEMBERS};
use crate::contract::{CASES, publish, won};
use crate::nodes::Lab;

const V: VolumeId = VolumeId([7; 16]);

/// Publishes one record after the other, and says how long the last one took.
struct Publisher {
    node: EtcdCoordinator,
    last: Option<Stamp>,
}

impl Publisher {
    fn next(&mut self) -> Result<Duration, CoordinatorError> {
        let start = Instant::now();
        let stamp = Stamp::new(1, self.last.map_or(1, |last| last.revision + 1));
        publish(&self.node, V, self.last, stamp, &[0xab; 2048])?;
        self.last = Some(stamp);
        Ok(start.elapsed())
    }
}

fn publisher(etcd: &Etcd) -> Publisher {
    let node = etcd.node("lab", "a");
    assert_eq!(won(node.campaign(V, 0)), 1);
    Publisher { node, last: None }
}

#[test]
fn publishing_goes_on_when_etcds_leader_dies() {
    let etcd = Etcd::start();
    let mut publisher = publisher(&etcd);
    let mut times: Vec<Duration> = (0..60).map(|_| publisher.next().unwrap()).collect();
    times.sort();
    println!("publish: median {:?}, worst {:?}", times[times.len() / 2], times[times.len() - 1]);
    for _ in 0..3 {
        let leader = etcd.leader();
        etcd.kill(leader);
        println!("first publish after the leader's death: {:?}", publisher.next().unwrap());
        assert_eq!(publisher.node.standing(V), Standing::Leads { epoch: 1 });
        etcd.run(leader);
        etcd.settle();
        publisher.next().unwrap();
    }
}

#[test]
fn a_lost_quorum_is_told_and_gets_better() {
    let etcd = Etcd::start();
    let mut publisher = publisher(&etcd);
    publisher.next().unwrap();
    etcd.kill(0);
    etcd.kill(1);
    let answer = publisher.next();
    assert!(matches!(answer, Err(CoordinatorError::NoQuorum(_))), "{answer:?}");
    assert!(answer.is_err_and(|error| error.is_passing()));
    etcd.kill(2);
    let answer = publisher.next();
    assert!(matches!(answer, Err(CoordinatorError::Unreachable(_))), "{answer:?}");
    (0..MEMBERS).for_each(|index| etcd.run(index));
    etcd.settle();
    // The publication that failed may have been carried out, or not: saying it again is right in both cases.
    publisher.next().unwrap();
    publisher.next().unwrap();
    assert_eq!(publisher.node.fetch(V).unwrap().map(|found| found.stamp), publisher.last);
}

#[test]
fn tokens_never_exceed_the_limit_while_members_die() {
    let etcd = Etcd::start();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for index in (0..MEMBERS).cycle() {
                if ended.load(SeqCst) {
                    return;
                }
                etcd.kill(index);
                etcd.run(index);
                etcd.settle();
            }
        });
        let (_, waves) = CASES.iter().find(|(name, _)| *name == "waves").unwrap();
        let done =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waves(&Lab { etcd: &etcd, cluster: "lab" })));
        ended.store(true, SeqCst);
        done.unwrap();
    });
}

#[test]
fn a_lease_that_nobody_renews_ends_by_itself() {
    let etcd = Etcd::start();
    let mut options = etcd.options("lab", "a");
    options.lease = Duration::from_secs(8);
    let a = EtcdCoordinator::start(options.clone()).unwrap();
    let b = etcd.node("lab", "b");
    won(a.campaign(V, 0));
    // As long as it lives it leads: longer than its lease.
    let start = Instant::now();
    while start.elapsed() < options.lease * 3 / 2 {
        assert!(matches!(b.campaign(V, 0), Ok(Campaign::Held(_))));
        thread::sleep(Duration::from_millis(100));
    }
    drop(a);
    let dead = Instant::now();
    while !matches!(b.campaign(V, 0), Ok(Campaign::Won { epoch: 2 })) {
        assert!(dead.elapsed() < Duration::from_secs(60), "a dead node's lease does not end");
        thread::sleep(Duration::from_millis(50));
    }
    println!("led by the next one after {:?}", dead.elapsed());
}
