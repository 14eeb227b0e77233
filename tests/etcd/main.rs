//! The coordinator on real etcd: three members of this test's own, killed, brought back, rewound and wiped; alone, and
//! beside real daemons.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod cluster;
#[path = "../coordinator/contract.rs"]
mod contract;
mod daemons;
mod fleet;
mod losses;
mod nodes;
mod outage;
#[path = "../support/mod.rs"]
mod support;
mod trust;

use cluster::Etcd;
use contract::{CASES, LOSSES};
use nodes::Lab;

#[test]
fn etcd_keeps_the_contract() {
    let etcd = Etcd::start();
    for (name, case) in CASES {
        println!("case {name}");
        case(&Lab { etcd: &etcd, cluster: name });
    }
}

#[test]
fn etcd_that_lost_something_keeps_the_contract() {
    let etcd = Etcd::start();
    for (name, case) in LOSSES {
        println!("case {name}");
        case(&Lab { etcd: &etcd, cluster: name });
    }
}
