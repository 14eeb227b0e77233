//! The planted keys, through a whole life: create, serve, rotate, check, ask, err, stop.

use super::api::ask_everything;
use super::memory;
use super::needles::Heap;
use super::scene::{
    PASSPHRASE, all_raw, all_spelled, passphrase_uri, planted_kek, planted_volume, private, secrets, talkative,
};
use super::support::{Daemon, ServeOptions, Store, Volume, keymoult, run};
use std::fs;
use std::io::{Read, Write};

/// Commands that work on the files alone, and every kind of key error.
fn offline(store: &Store, volume: &Volume, heap: &mut Heap) {
    private(&store.path("wrong"), &format!("keymoult-kek-v1:{}\n", "7".repeat(64)));
    private(
        &store.path("broken"),
        "keymoult-kek-v1:c35e9127b84df2067ae913d468af359c41d80fb276ea59841dc73bf66298aezz\n",
    );
    private(&store.path("other"), "another passphrase\n");
    private(&store.path("open"), &fs::read_to_string(store.path("kek")).unwrap());
    fs::set_permissions(store.path("open"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let path = volume.path.to_str().unwrap();
    let at = |scheme: &str, name: &str| format!("{scheme}{}", store.path(name).display());
    let keks = [
        store.kek(),
        passphrase_uri(store),
        at("file:", "wrong"),
        at("file:", "broken"),
        at("file:", "open"),
        at("passphrase:file=", "other"),
        at("passphrase:file=", "kek"),
        format!("passphrase:{PASSPHRASE}"),
        PASSPHRASE.to_owned(),
        format!("pkcs11:token=t;object=o?module-path=/m&pin-value={PASSPHRASE}"),
        "systemd-cred:kek".to_owned(),
        "passphrase:fd=99".to_owned(),
    ];
    for kek in &keks {
        for json in [&[][..], &["--json"]] {
            let args = [&["volume", "check", path, "--full", "--kek", kek][..], json].concat();
            heap.add_output(&format!("check with {}", kek.split(':').next().unwrap()), &run(keymoult().args(&args)));
        }
    }
    for args in [&["volume", "info", path][..], &["volume", "info", path, "--json"], &["speed", "--help"]] {
        heap.add_output(&args.join(" "), &run(keymoult().args(args)));
    }
}

fn online(daemon: &Daemon<'_>, heap: &mut Heap) {
    // A client without manners, for the words the daemon has for it.
    let mut rude = std::os::unix::net::UnixStream::connect(daemon.socket()).unwrap();
    rude.write_all(&[0xff; 64]).unwrap();
    let _ = rude.read_to_end(&mut Vec::new());
    let mut client = daemon.connect();
    client.write(0, &[0x5a; 65536]).unwrap();
    client.flush().unwrap();
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["key", "list", "vol"],
        &["key", "list", "vol", "--json"],
        &["rotate", "plan", "vol"],
        &["rotate", "start", "vol", "--wait"],
        &["rotate", "status", "vol", "--json"],
        &["rotate", "verify", "vol"],
        &["rotate", "rollback", "vol"],
        &["rotate", "start", "none"],
        &["volume", "check", "--online", "vol"],
        &["key", "list", "vol"],
    ] {
        heap.add_output(&args.join(" "), &daemon.ask(args));
    }
    client.read(0, 65536).unwrap();
    client.disconnect().unwrap();
}

/// What the system shows others of a process: arguments and environment.
fn shown(pid: u32, heap: &mut Heap) {
    for name in ["cmdline", "environ", "maps", "status", "comm"] {
        heap.add(&format!("/proc/PID/{name}"), fs::read(format!("/proc/{pid}/{name}")).unwrap());
    }
}

#[test]
fn no_planted_secret_comes_out() {
    let store = Store::new();
    let mut heap = Heap::default();
    let volume = planted_volume(&store);
    offline(&store, &volume, &mut heap);
    let options = ServeOptions { more: vec!["--kek".into(), passphrase_uri(&store)], ..ServeOptions::default() };
    let mut daemon = Daemon::stopped(&store, std::slice::from_ref(&volume), &options);
    daemon.set_binary(Some(talkative(&store, "")));
    daemon.restart();
    online(&daemon, &mut heap);
    let routes = ask_everything(&daemon.control_path(), &mut heap);
    assert!(routes >= 18, "{routes} routes");
    shown(daemon.pid(), &mut heap);
    daemon.terminate();
    heap.add("the daemon's own words", daemon.log());
    for entry in fs::read_dir(store.path("state")).unwrap() {
        let path = entry.unwrap().path();
        heap.add(&path.display().to_string(), fs::read(&path).unwrap());
    }
    heap.add("the volume on disk", fs::read(&volume.path).unwrap());

    let secrets = secrets(&volume, &planted_kek(&store));
    // That there was something to find: the trace, the record of key uses, the list of keys, and an error of each keeper.
    assert!(heap.holds("own words", "DEBUG") && heap.holds("own words", "volume opened"), "no trace was written");
    assert!(heap.holds("audit", "unwrap") && heap.holds("key list", "file-"));
    assert!(
        heap.holds("check with pkcs11", "pin-value") && heap.holds("check with systemd-cred", "CREDENTIALS_DIRECTORY")
    );
    let found = heap.search(&all_spelled(&secrets));
    assert!(found.is_empty(), "secrets came out:\n{}", found.join("\n"));
}

/// Keys lie in memory that is locked and not dumped, and nowhere else; stacks are reported, not judged (what a call leaves
/// there is overwritten by later calls, but nothing wipes it).
#[test]
fn keys_lie_in_locked_memory_alone() {
    if !nix::unistd::geteuid().is_root() {
        println!("only root may read the memory of such a process, which is the point: nothing to look at");
        return;
    }
    for engine in ["auto", "aws-lc", "portable"] {
        let store = Store::new();
        let volume = planted_volume(&store);
        let options = ServeOptions {
            crypto_engine: Some(engine),
            more: vec!["--kek".into(), passphrase_uri(&store)],
            ..ServeOptions::default()
        };
        let mut daemon = Daemon::stopped(&store, std::slice::from_ref(&volume), &options);
        daemon.set_binary(Some(talkative(&store, "")));
        daemon.restart();
        let mut heap = Heap::default();
        online(&daemon, &mut heap);
        let needles = all_raw(&secrets(&volume, &planted_kek(&store)));
        let hits = memory::search(daemon.pid(), &needles);
        // The control: what is in use is found where it belongs.
        for name in ["KEK, part 0", "DEK of generation 1, part 0", "passphrase, part 0"] {
            let at_home = hits.iter().any(|hit| hit.needle == name && hit.secret);
            assert!(at_home, "{name} is not in locked memory with {engine}: the search is blind");
        }
        let stacks: Vec<&str> = hits.iter().filter(|hit| hit.stack).map(|hit| hit.needle.as_str()).collect();
        println!("{engine}: {} hits, of which on stacks: {stacks:?}", hits.len());
        let astray = hits.iter().filter(|hit| !hit.secret && !hit.stack);
        let astray: Vec<String> = astray.map(|hit| format!("{} in {}", hit.needle, hit.place)).collect();
        assert!(astray.is_empty(), "with {engine}, outside locked memory:\n{}", astray.join("\n"));
        daemon.terminate();
    }
}
