//! QEMU's quorum over replicas: a guest-less client whose every write goes to all of them.

use std::path::PathBuf;
use std::thread;

use crate::support::quorum::{Quorum, Reading};
use crate::support::{Daemon, MIB, Oracle, ServeOptions, Store, VolumeOptions, map, total};

#[test]
fn one_of_three_is_killed() {
    let stores = [(); 3].map(|()| Store::new());
    let mut daemons: Vec<Daemon<'_>> = Vec::new();
    for store in &stores {
        let volume = store.create("vol", &VolumeOptions { size: 32 * MIB, ..VolumeOptions::default() });
        daemons.push(Daemon::start(store, &[volume], &ServeOptions::default()));
    }
    let legs: Vec<(PathBuf, String)> = daemons.iter().map(|daemon| (daemon.socket(), "vol".into())).collect();
    let folder = stores[0].path("qemu");
    let mut quorum = Quorum::start(&folder, &legs, 2, Reading::Vote);
    let mut oracle = Oracle::fresh(32 * MIB);
    let mut client = quorum.connect();
    assert_eq!(oracle.hammer(&mut client, &mut 1, 8, 400), 400);
    for daemon in &daemons {
        daemon.rotate("start", &["--rate", "4MiB", "--fixed"]);
    }
    oracle.hammer(&mut client, &mut 2, 8, 400);
    daemons[2].kill_9();
    assert!(oracle.hammer(&mut client, &mut 3, 8, 400) >= 400);
    daemons[2].restart();
    assert!(oracle.hammer(&mut client, &mut 4, 8, 400) >= 400);
    oracle.check(&mut client);
    println!("{:?}", quorum.complaints());
    for daemon in &daemons {
        oracle.check(&mut daemon.connect());
        daemon.rotate("pace", &["--rate", "unlimited"]);
        daemon.rotate("wait", &[]);
        let generations = map(&daemon.uri(), "x-keymoult:generation");
        assert_eq!(total(&generations, 1), 0, "{generations:?}");
        oracle.check(&mut daemon.connect());
    }
    let _ = thread::panicking();
}
