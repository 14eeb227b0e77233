//! fio through its NBD engine, checking a CRC in every block it wrote.

use crate::support::{Daemon, map, run, succeed, tool, total};
use crate::{Variant, with_daemon};
use std::process::Command;

fn job(daemon: &Daemon<'_>, args: &[&str]) -> Command {
    let mut command = tool("fio");
    // The folder of the socket: fio leaves its verify state where it is started.
    command.current_dir(daemon.socket().parent().unwrap());
    command.args(["--name=job", "--ioengine=nbd", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0"]);
    command.arg(format!("--uri={}", daemon.uri())).args(args);
    command
}

pub fn verify_random(variant: Variant) {
    with_daemon(variant, 32, |_, daemon| {
        succeed(&mut job(daemon, &["--rw=randwrite", "--bsrange=4k-64k", "--size=32M", "--iodepth=32"]));
        succeed(&mut job(daemon, &["--rw=randwrite", "--bs=4k", "--size=16M", "--iodepth=32", "--verify_backlog=256"]));
    });
}

pub fn verify_sequential(variant: Variant) {
    with_daemon(variant, 32, |_, daemon| {
        let args = ["--bs=128k", "--size=32M", "--iodepth=16"];
        succeed(&mut job(daemon, &[&["--rw=write", "--end_fsync=1"][..], &args].concat()));
        succeed(&mut job(daemon, &[&["--rw=read", "--verify_only=1"][..], &args].concat()));
        // The verification can fail: one flipped byte is found.
        let mut client = daemon.connect();
        let byte = client.read((5 << 20) + 77, 1).unwrap()[0];
        client.write((5 << 20) + 77, &[byte ^ 0x80]).unwrap();
        assert!(!run(&mut job(daemon, &[&["--rw=read", "--verify_only=1"][..], &args].concat())).status.success());
    });
}

pub fn verify_during_rotation(variant: Variant) {
    with_daemon(variant, 32, |_, daemon| {
        let args =
            ["--rw=randwrite", "--bsrange=4k-64k", "--size=32M", "--iodepth=16", "--verify_backlog=64", "--loops=3"];
        succeed(&mut job(daemon, &["--rw=write", "--bs=1M", "--size=32M"]));
        daemon.rotate("start", &["--rate", "16MiB", "--fixed"]);
        succeed(&mut job(daemon, &args));
        daemon.rotate("wait", &[]);
        let entries = map(&daemon.uri(), "x-keymoult:generation");
        assert_eq!(total(&entries, 1), 0, "generation 1 still encrypts something: {entries:?}");
    });
}
