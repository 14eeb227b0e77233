//! `keymoult volume resize`: what clients see of it, what kill -9 in the middle of it leaves, and what is refused.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::time::Duration;

use crate::Variant;
use crate::support::{
    Client, Daemon, MIB, Oracle, Store, Volume, VolumeOptions, keymoult, map, pattern, run, same, succeed, tool, total,
};
use serde_json::Value;

/// How often the daemon is killed while it grows a volume.
const KILLS: u64 = 12;

fn volume(store: &Store, size: u64) -> Volume {
    store.create("vol", &VolumeOptions { size, max_size: Some(64 * MIB), ..VolumeOptions::default() })
}

/// `volume resize vol --size SIZE`, which must succeed.
#[track_caller]
fn resize(daemon: &Daemon<'_>, size: &str) -> Value {
    let output = daemon.ask(&["volume", "resize", "vol", "--size", size, "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn nbdinfo_size(daemon: &Daemon<'_>) -> u64 {
    succeed(tool("nbdinfo").args(["--size", &daemon.uri()])).trim().parse().unwrap()
}

pub fn clients_see_it(variant: Variant) {
    let store = Store::new();
    // The last extent is short, now and later.
    let (first, second) = (8 * MIB - 12288, 21 * MIB + 4096);
    let volume = volume(&store, first);
    // What somebody left behind the volume must not come to light in it.
    let behind = File::options().write(true).open(&volume.path).unwrap();
    let end = behind.metadata().unwrap().len();
    behind.write_all_at(&pattern(9, 1 << 20), end).unwrap();
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &variant.serve());
    let mut client = daemon.connect();
    let mut content = pattern(1, first as usize);
    client.write(0, &content).unwrap();
    assert!(client.write(first, &[1; 4096]).is_err(), "beyond the end");
    let grown = resize(&daemon, &second.to_string());
    assert_eq!((&grown["changed"], &grown["size_before_bytes"]), (&Value::Bool(true), &first.into()));
    assert_eq!((&grown["size_bytes"], &grown["max_size_bytes"]), (&second.into(), &(64 * MIB).into()));
    assert_eq!(nbdinfo_size(&daemon), second);
    // The old connection goes by the new size at once.
    content.resize(second as usize, 0);
    same(&client.read(0, second as usize).unwrap(), &content, "what was there, then zeros");
    client.write(first - 4096, &pattern(2, 3 << 20)).unwrap();
    content[first as usize - 4096..][..3 << 20].copy_from_slice(&pattern(2, 3 << 20));
    client.write(second - 5000, &pattern(3, 5000)).unwrap();
    content[second as usize - 5000..].copy_from_slice(&pattern(3, 5000));
    client.flush().unwrap();
    let (back, image) = (store.path("back"), store.path("image"));
    succeed(tool("nbdcopy").arg(daemon.uri()).arg(&back));
    same(&std::fs::read(&back).unwrap(), &content, "nbdcopy of the whole");
    std::fs::write(&image, &content).unwrap();
    let compared = succeed(tool("qemu-img").args(["compare", "-f", "raw", "-F", "raw"]).arg(&image).arg(daemon.uri()));
    assert!(compared.contains("identical"), "{compared}");
    assert_eq!(resize(&daemon, &second.to_string())["changed"], false);
    // While a rotation is held it may grow, and the rotation then ends over all of it.
    daemon.rotate("start", &["--rate", "4MiB", "--fixed"]);
    assert_eq!(daemon.ask(&["volume", "resize", "vol", "--size", "+8MiB"]).status.code(), Some(8), "it moves extents");
    daemon.rotate("pause", &[]);
    let third = second + 8 * MIB;
    assert_eq!(resize(&daemon, "+8MiB")["size_bytes"], third);
    content.resize(third as usize, 0);
    daemon.rotate("pace", &["--rate", "unlimited"]);
    daemon.rotate("resume", &[]);
    daemon.rotate("wait", &["--timeout", "120"]);
    let entries = map(&daemon.uri(), "x-keymoult:generation");
    assert_eq!(total(&entries, 2), third, "{entries:?}");
    same(&daemon.connect().read(0, third as usize).unwrap(), &content, "after the rotation");
    let output = daemon.ask(&["volume", "check", "vol", "--online", "--full", "--rate", "unlimited"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let audit = String::from_utf8(daemon.ask(&["audit", "show"]).stdout).unwrap();
    assert!(audit.contains("volume-resize"), "{audit}");
    daemon.terminate();
    daemon.restart();
    assert_eq!(nbdinfo_size(&daemon), third);
    same(&daemon.connect().read(0, third as usize).unwrap(), &content, "after a restart");
    daemon.terminate();
    store.passes(&volume);
}

pub fn kill_9_while_it_grows(variant: Variant) {
    let store = Store::new();
    let mut size = 4 * MIB - 8192;
    let volume = volume(&store, size);
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &variant.serve());
    let mut oracle = Oracle::fresh(size);
    let mut random = 7;
    let mut grown = 0;
    for round in 0..KILLS {
        let mut client = daemon.connect();
        let wanted = size + MIB + round * 20480;
        std::thread::scope(|scope| {
            let hammer = scope.spawn(|| oracle.hammer(&mut client, &mut random, 16, usize::MAX));
            let mut command = keymoult();
            command.args(["volume", "resize", "vol", "--size", &wanted.to_string(), "--control", &daemon.control()]);
            let mut resize = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(5 + 4 * round));
            daemon.kill_9();
            resize.wait().unwrap();
            hammer.join().unwrap();
        });
        oracle.connection_ended();
        daemon.restart();
        let found = nbdinfo_size(&daemon);
        assert!(found == size || found == wanted, "round {round}: {found} is neither {size} nor {wanted}");
        grown += u64::from(found == wanted);
        size = found;
        oracle.grow(size);
        oracle.check(&mut daemon.connect());
    }
    println!("{grown} of {KILLS} resizes were committed before the kill");
    size += MIB + 4096;
    resize(&daemon, &size.to_string());
    oracle.grow(size);
    daemon.rotate("start", &[]);
    daemon.rotate("wait", &["--timeout", "120"]);
    oracle.check(&mut daemon.connect());
    daemon.terminate();
    let check = store.check(&volume);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

/// Offline, and everything that is refused, with its exit code and the reason.
pub fn alone_and_refused(variant: Variant) {
    let store = Store::new();
    let volume = volume(&store, 8 * MIB);
    let alone = |size: &str| {
        let mut command = keymoult();
        command.args(["volume", "resize"]).arg(&volume.path).args(["--size", size, "--kek", &store.kek()]);
        run(&mut command)
    };
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let grown = alone("+4MiB");
    assert!(grown.status.success(), "{}", said(&grown));
    assert!(String::from_utf8_lossy(&grown.stdout).contains("has grown from 8 MiB to 12 MiB"));
    for (size, reason) in
        [("8MiB", "cannot shrink"), ("12582913", "no multiple of 4096"), ("65MiB", "as --max-size said")]
    {
        let refused = alone(size);
        assert_eq!(refused.status.code(), Some(8), "{size}: {}", said(&refused));
        assert!(said(&refused).contains(reason), "{size}: {}", said(&refused));
    }
    let info = succeed(keymoult().args(["volume", "info"]).arg(&volume.path));
    assert!(info.contains("12 MiB in 192 extents") && info.contains("64 MiB"), "{info}");
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &variant.serve());
    assert_eq!(Client::connect(&daemon.socket(), "vol").unwrap().size, 12 * MIB);
    let in_use = alone("16MiB");
    assert!(in_use.status.code() == Some(6) && said(&in_use).contains("with its export name"), "{}", said(&in_use));
    let missing = daemon.ask(&["volume", "resize", "nothing", "--size", "16MiB"]);
    assert_eq!(missing.status.code(), Some(3), "{}", said(&missing));
    let shrink = daemon.ask(&["volume", "resize", "vol", "--size", "4MiB"]);
    assert!(shrink.status.code() == Some(8) && said(&shrink).contains("cannot shrink"), "{}", said(&shrink));
    daemon.terminate();
    store.passes(&volume);
}
