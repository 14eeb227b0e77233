//! A KEK in a real PKCS#11 token (SoftHSM) under the real daemon: it serves, rotates and restarts, says what is wrong, and the
//! PIN stays where it is.

use super::memory;
use super::needles::{Heap, Needle};
use super::scene::{
    PASSPHRASE, all_raw, all_spelled, key_line, passphrase_uri, planted_kek, private, secrets, talkative,
};
use super::support::{Daemon, ServeOptions, Store, Volume, keymoult, run, succeed, tool};
use std::process::Output;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// A PIN that is like nothing else.
const PIN: &str = "planted-pin-77Qx41Zv";

/// A store with a SoftHSM in it, and the planted key file beside.
fn store() -> Store {
    let store = Store::new();
    private(&store.path("kek"), &key_line());
    private(&store.path("pass"), &format!("{PASSPHRASE}\n"));
    private(&store.path("pin"), &format!("{PIN}\n"));
    private(&store.path("wrong-pin"), "4321\n");
    std::fs::create_dir(store.path("tokens")).unwrap();
    let tokens = store.path("tokens");
    private(
        &store.path("hsm.conf"),
        &format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display()),
    );
    let make = ["--init-token", "--free", "--label", "kek", "--so-pin", "12345678", "--pin", PIN];
    succeed(tool("softhsm2-util").args(make).env("SOFTHSM2_CONF", store.path("hsm.conf")));
    let make = ["--keygen", "--key-type", "AES:32", "--label", "g1", "--id", "01", "--sensitive"];
    let login = ["--module", MODULE, "--token-label", "kek", "--login", "--pin", PIN];
    succeed(tool("pkcs11-tool").args(login).args(make).env("SOFTHSM2_CONF", store.path("hsm.conf")));
    store
}

fn uri(store: &Store, named: &str, pin: &str, more: &str) -> String {
    format!("pkcs11:{named}?module-path={MODULE}&pin-source=file:{}{more}", store.path(pin).display())
}

fn create(store: &Store, kek: &str) -> Output {
    let mut create = keymoult();
    create.args(["volume", "create"]).arg(store.path("vol.km")).args(["--size", "32MiB", "--extent-size", "64KiB"]);
    create.args(["--kek", kek, "--kek", &store.kek(), "--kek", &passphrase_uri(store)]);
    run(create.env("SOFTHSM2_CONF", store.path("hsm.conf")))
}

/// A whole life with the KEK in a token; afterwards nothing of the PIN or a key is anywhere.
fn life(more: &str) {
    let store = store();
    let kek = uri(&store, "token=kek;object=g1", "pin", more);
    let mut heap = Heap::default();
    let made = create(&store, &kek);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    heap.add_output("create", &made);
    let volume = Volume { name: "vol".into(), path: store.path("vol.km"), header: None, size: 32 << 20 };
    let options = ServeOptions { more: vec!["--kek".into(), kek], ..ServeOptions::default() };
    let mut daemon = Daemon::stopped(&store, std::slice::from_ref(&volume), &options);
    let variable = format!("export SOFTHSM2_CONF='{}'\n", store.path("hsm.conf").display());
    daemon.set_binary(Some(talkative(&store, &variable)));
    daemon.restart();
    let mut client = daemon.connect();
    client.write(8192, &[9; 4096]).unwrap();
    client.flush().unwrap();
    client.disconnect().unwrap();
    // The file's KEK is out of the way: from here the token alone opens.
    daemon.terminate();
    std::fs::rename(store.path("kek"), store.path("kept")).unwrap();
    private(&store.path("kek"), &format!("keymoult-kek-v1:{}\n", "6".repeat(64)));
    daemon.restart();
    let mut client = daemon.connect();
    assert_eq!(client.read(8192, 4096).unwrap(), [9; 4096]);
    daemon.rotate("start", &["--wait"]);
    let keys = daemon.ask(&["key", "list", "vol"]);
    assert!(String::from_utf8_lossy(&keys.stdout).contains("pkcs11:"), "{}", String::from_utf8_lossy(&keys.stdout));
    heap.add_output("key list", &keys);
    let pin = [Needle { name: "PIN".into(), bytes: PIN.as_bytes().to_vec() }];
    if nix::unistd::geteuid().is_root() {
        let hits = memory::search(daemon.pid(), &pin);
        assert!(hits.iter().any(|hit| hit.secret), "the PIN is not in locked memory: the search is blind");
        let astray: Vec<String> =
            hits.iter().filter(|hit| !hit.secret && !hit.stack).map(|hit| hit.place.clone()).collect();
        assert!(astray.is_empty(), "the PIN is outside locked memory: {astray:?}");
    }
    client.disconnect().unwrap();
    for name in ["cmdline", "environ"] {
        heap.add(name, std::fs::read(format!("/proc/{}/{name}", daemon.pid())).unwrap());
    }
    daemon.terminate();
    daemon.restart();
    assert_eq!(daemon.connect().read(8192, 4096).unwrap(), [9; 4096]);
    daemon.terminate();
    heap.add("the daemon's own words", daemon.log());
    for entry in std::fs::read_dir(store.path("state")).unwrap() {
        heap.add("state", std::fs::read(entry.unwrap().path()).unwrap());
    }
    assert!(heap.holds("state", "pkcs11:token=kek;object=g1"), "the record does not name the KEK");
    let found = heap.search(&pin);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_token_carries_a_volume_through_its_life() {
    life("");
}

#[test]
fn a_token_without_gcm_does_too() {
    life("&mechanism=kw");
}

/// What the token's module leaves of the keys it gave us is its own affair; what we leave is none.
#[test]
fn keys_from_a_token_lie_in_locked_memory() {
    if !nix::unistd::geteuid().is_root() {
        println!("only root may read the memory of such a process");
        return;
    }
    let store = store();
    let kek = uri(&store, "token=kek;object=g1", "pin", "");
    assert!(create(&store, &kek).status.success());
    let volume = Volume { name: "vol".into(), path: store.path("vol.km"), header: None, size: 32 << 20 };
    let options = ServeOptions { more: vec!["--kek".into(), kek], ..ServeOptions::default() };
    let mut daemon = Daemon::stopped(&store, std::slice::from_ref(&volume), &options);
    let variable = format!("export SOFTHSM2_CONF='{}'\n", store.path("hsm.conf").display());
    daemon.set_binary(Some(talkative(&store, &variable)));
    daemon.restart();
    let keys: Vec<_> =
        secrets(&volume, &planted_kek(&store)).into_iter().filter(|(name, _)| name.contains("DEK")).collect();
    let hits = memory::search(daemon.pid(), &all_raw(&keys));
    assert!(hits.iter().any(|hit| hit.secret), "the search is blind");
    let astray: Vec<String> = hits
        .iter()
        .filter(|hit| !hit.secret && !hit.stack)
        .map(|hit| format!("{} in {}", hit.needle, hit.place))
        .collect();
    assert!(astray.is_empty(), "outside locked memory:\n{}", astray.join("\n"));
    daemon.terminate();
    let mut heap = Heap::default();
    heap.add("the daemon's own words", daemon.log());
    assert!(heap.search(&all_spelled(&keys)).is_empty());
}

/// A token that is away keeps nobody from a volume that another KEK opens, and no DEK is made that it could not wrap.
#[test]
fn a_volume_opens_without_its_token_and_does_not_rotate() {
    let store = store();
    let kek = uri(&store, "token=kek;object=g1", "pin", "");
    assert!(create(&store, &kek).status.success());
    std::fs::rename(store.path("tokens"), store.path("away")).unwrap();
    std::fs::create_dir(store.path("tokens")).unwrap();
    let volume = Volume { name: "vol".into(), path: store.path("vol.km"), header: None, size: 32 << 20 };
    let options = ServeOptions { more: vec!["--kek".into(), kek], ..ServeOptions::default() };
    let mut daemon = Daemon::stopped(&store, std::slice::from_ref(&volume), &options);
    let variable = format!("export SOFTHSM2_CONF='{}'\n", store.path("hsm.conf").display());
    daemon.set_binary(Some(talkative(&store, &variable)));
    daemon.restart();
    let mut client = daemon.connect();
    client.write(0, &[3; 4096]).unwrap();
    let refused = daemon.ask(&["rotate", "start", "vol"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(9), "{said}");
    assert!(said.contains("the token is not there") && said.contains("hint: "), "{said}");
    let keys = String::from_utf8(daemon.ask(&["key", "list", "vol", "--json"]).stdout).unwrap();
    assert!(!keys.contains("\"generation\":2") && !keys.contains("\"generation\": 2"), "{keys}");
    assert_eq!(client.read(0, 4096).unwrap(), [3; 4096]);
    client.disconnect().unwrap();
    daemon.terminate();
}

/// What the operator reads and what the program ends with, for each thing that can be wrong with a token.
#[test]
fn faults_of_a_token_are_told() {
    let store = store();
    let told = |kek: &str| {
        let output = create(&store, kek);
        assert!(!store.path("vol.km").exists(), "a volume was left behind");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (kek, code, said) in [
        (uri(&store, "token=kek;object=g1", "wrong-pin", ""), 4, "the token refuses the PIN\n  because: C_Login"),
        (uri(&store, "token=gone;object=g1", "pin", ""), 9, "the token is not there"),
        (uri(&store, "token=kek;object=g2", "pin", ""), 4, "the token has no such AES key"),
        (uri(&store, "token=kek;object=g1", "no-pin", ""), 3, "there is no such file"),
        (uri(&store, "token=kek;object=g1", "pin", "&pin-value=1"), 3, "pin-value is refused"),
        (format!("pkcs11:token=kek;object=g1?module-path={MODULE}"), 3, "no terminal to ask for it on"),
    ] {
        let (found, text) = told(&kek);
        assert!(found == Some(code) && text.contains(said), "{kek}: {found:?}\n{text}");
        assert!(text.contains("hint: "), "{text}");
    }
}
