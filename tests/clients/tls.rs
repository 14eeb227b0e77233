//! TLS with other people's clients: libnbd's tools and QEMU's, both on GnuTLS.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::Variant;
use crate::shell::PYTHON;
use crate::support::certificates::{Authority, Identity, Says, write};
use crate::support::{Daemon, MIB, ServeOptions, Store, VolumeOptions, pattern, run, same, succeed, tool};

/// What clients find certificates in.
fn folder(store: &Store, name: &str, authority: &Authority, identity: Option<&Identity>) -> PathBuf {
    let folder = store.path(name);
    std::fs::create_dir(&folder).unwrap();
    write(&folder, "ca-cert.pem", &authority.pem);
    if let Some(identity) = identity {
        write(&folder, "client-cert.pem", &identity.certificate);
        write(&folder, "client-key.pem", &identity.key);
    }
    folder
}

/// Writes the server's files; returns the options that name them.
fn server(store: &Store, authority: &Authority) -> Vec<String> {
    let identity = authority.issue(Says::server());
    let at = |name: &str, text: &str| write(&store.path(""), name, text).display().to_string();
    let (certificate, key) = (at("server.pem", &identity.certificate), at("server.key", &identity.key));
    ["--tls-certificate", &certificate, "--tls-key", &key].map(String::from).to_vec()
}

fn with_client_ca(store: &Store, authority: &Authority, mut options: Vec<String>) -> Vec<String> {
    let path = write(&store.path(""), "clients.pem", &authority.pem);
    options.extend(["--tls-client-ca".into(), path.display().to_string()]);
    options
}

fn serve(variant: Variant, more: Vec<String>) -> ServeOptions {
    ServeOptions { more, ..variant.serve() }
}

fn uri(daemon: &Daemon<'_>, export: &str, folder: &Path) -> String {
    let socket = daemon.socket();
    format!("nbds+unix:///{export}?socket={}&tls-certificates={}", socket.display(), folder.display())
}

fn small() -> VolumeOptions {
    VolumeOptions { size: 8 * MIB, ..VolumeOptions::default() }
}

/// Whether nbdinfo gets through to an export.
fn welcome(uri: &str) -> bool {
    run(tool("nbdinfo").args(["--size", uri])).status.success()
}

/// The TCP port, which the daemon tells a moment after its sockets answer.
fn port(daemon: &Daemon<'_>) -> String {
    let start = Instant::now();
    loop {
        let log = daemon.log();
        let rest = log.split_once("tcp:127.0.0.1:").map(|(_, rest)| rest.to_owned());
        // Something behind the number: all of it is there.
        if let Some((port, _)) = rest.as_deref().and_then(|rest| rest.split_once(|c: char| !c.is_ascii_digit())) {
            return port.to_owned();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no port in\n{log}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A whole volume in and out, by TCP, where the name of the server is checked too.
pub fn copy_both_ways(variant: Variant) {
    let (store, authority) = (Store::new(), Authority::new("authority"));
    let volume = store.create("vol", &VolumeOptions { size: 32 * MIB, ..VolumeOptions::default() });
    let mut more = server(&store, &authority);
    more.extend(["--nbd".into(), "tcp:localhost:0".into()]);
    let mut daemon = Daemon::start(&store, &[volume], &serve(variant, more));
    let folder = folder(&store, "pki", &authority, None);
    let port = port(&daemon);
    let uri = format!("nbds://localhost:{port}/vol?tls-certificates={}", folder.display());
    let (source, back) = (store.path("source"), store.path("back"));
    let data = pattern(7, 32 << 20);
    std::fs::write(&source, &data).unwrap();
    succeed(tool("nbdcopy").arg("--flush").arg(&source).arg(&uri));
    succeed(tool("nbdcopy").arg(&uri).arg(&back));
    same(&std::fs::read(&back).unwrap(), &data, "copied in and out over TLS");
    let info = succeed(tool("nbdinfo").arg(&uri));
    assert!(info.contains("protocol: newstyle-fixed with TLS"), "{info}");
    // Without TLS nothing is to be had, not even the name.
    assert!(!welcome(&daemon.uri()) && !welcome(&format!("nbd://localhost:{port}/vol")));
    let strangers = self::folder(&store, "strangers", &Authority::new("authority"), None);
    let wrong = format!("nbds://localhost:{port}/vol?tls-certificates={}", strangers.display());
    assert!(!welcome(&wrong), "a client that trusts another authority stays away");
    daemon.terminate();
}

fn qemu_io(daemon: &Daemon<'_>, folder: &Path, priority: &str, lines: &[&str]) -> std::process::Output {
    let object = format!("tls-creds-x509,id=tls0,dir={},endpoint=client,priority={priority}", folder.display());
    let image = format!(
        "driver=nbd,server.type=unix,server.path={},export=vol,tls-creds=tls0,tls-hostname=localhost",
        daemon.socket().display()
    );
    let mut command = tool("qemu-io");
    command.args(["--object", &object, "--image-opts", "-t", "none"]);
    for line in lines {
        command.args(["-c", line]);
    }
    run(command.arg(&image))
}

/// QEMU in either version of TLS, with a certificate; older versions are refused.
pub fn qemu_in_every_version(variant: Variant) {
    let (store, authority) = (Store::new(), Authority::new("authority"));
    let volume = store.create("vol", &small());
    let more = with_client_ca(&store, &authority, server(&store, &authority));
    let mut daemon = Daemon::start(&store, &[volume], &serve(variant, more));
    let identity = authority.issue(Says::client("qemu"));
    let folder = folder(&store, "pki", &authority, Some(&identity));
    let lines = [
        "write -P 0xab 4096 1M",
        "read -P 0xab 4096 1M",
        "write -z 64k 128k",
        "read -P 0 64k 128k",
        "aio_flush",
        "flush",
    ];
    for version in ["1.2", "1.3"] {
        let said = qemu_io(&daemon, &folder, &format!("NORMAL:-VERS-ALL:+VERS-TLS{version}"), &lines);
        let text = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && !text.contains("rror") && !text.contains("failed"), "{version}: {text}");
    }
    assert!(!qemu_io(&daemon, &folder, "NORMAL:-VERS-ALL:+VERS-TLS1.1", &lines).status.success());
    assert_eq!(daemon_reads(&uri(&daemon, "vol", &folder), 4096), 0xab);
    daemon.terminate();
}

/// The byte at `offset`.
fn daemon_reads(uri: &str, offset: u64) -> u8 {
    let script = format!(
        "import nbd\nh = nbd.NBD()\nh.set_uri_allow_local_file(True)\nh.connect_uri('{uri}')\nprint(h.pread(1, {offset})[0])"
    );
    succeed(Command::new(PYTHON).args(["-c", &script])).trim().parse().unwrap()
}

/// Who shows no certificate, or a bad one, does not get in.
pub fn clients_are_judged(variant: Variant) {
    let (store, authority) = (Store::new(), Authority::new("authority"));
    let volume = store.create("vol", &small());
    let more = with_client_ca(&store, &authority, server(&store, &authority));
    let mut daemon = Daemon::start(&store, &[volume], &serve(variant, more));
    let good = authority.issue(Says::client("alice"));
    let bad = [
        ("expired", authority.issue(Says { expired: true, ..Says::client("alice") })),
        ("unmarked", authority.issue(Says { for_clients: false, ..Says::client("alice") })),
        ("servers", authority.issue(Says { common: "alice", ..Says::server() })),
        ("strangers", Authority::new("stranger").issue(Says::client("alice"))),
    ];
    assert!(welcome(&uri(&daemon, "vol", &folder(&store, "good", &authority, Some(&good)))));
    assert!(!welcome(&uri(&daemon, "vol", &folder(&store, "none", &authority, None))));
    for (name, identity) in &bad {
        assert!(!welcome(&uri(&daemon, "vol", &folder(&store, name, &authority, Some(identity)))), "{name}");
    }
    assert!(daemon.log().contains("TLS refused"), "{}", daemon.log());
    let key = std::fs::read_to_string(store.path("server.key")).unwrap();
    assert!(!daemon.log().contains(key.lines().nth(1).unwrap()), "the key is in the log");
    daemon.terminate();
}

/// A configuration with a volume for everybody, one for TLS and one for `clients`.
fn configure(store: &Store, clients: &str) -> String {
    let at = |name: &str| store.path(name).display().to_string();
    let text = format!(
        "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\nclient-ca = \"{}\"\nmode = \"allowed\"\n\
         [[volume]]\npath = \"{}\"\n[[volume]]\npath = \"{}\"\ntls-only = true\n\
         [[volume]]\npath = \"{}\"\nclients = [{clients}]\n",
        at("server.pem"),
        at("server.key"),
        at("clients.pem"),
        at("open.km"),
        at("tls.km"),
        at("named.km"),
    );
    write(&store.path(""), "keymoult.toml", &text).display().to_string()
}

/// A daemon on one listener for both plaintext and TLS.
fn mixed<'s>(variant: Variant, store: &'s Store, authority: &Authority, clients: &str) -> Daemon<'s> {
    ["open", "tls", "named"].iter().for_each(|name| drop(store.create(name, &small())));
    with_client_ca(store, authority, server(store, authority));
    let config = configure(store, clients);
    Daemon::start(store, &[], &serve(variant, vec!["--config".into(), config]))
}

fn listed(uri: &str) -> Vec<String> {
    let list: serde_json::Value =
        serde_json::from_str(&succeed(tool("nbdinfo").args(["--list", "--json", uri]))).unwrap();
    let exports = list["exports"].as_array().unwrap();
    exports.iter().filter_map(|export| export["export-name"].as_str()).map(Into::into).collect()
}

pub fn mixed_listener(variant: Variant) {
    let (store, authority) = (Store::new(), Authority::new("authority"));
    let mut daemon = mixed(variant, &store, &authority, "\"bob\", \"host.example\"");
    let plain = |name: &str| format!("nbd+unix:///{name}?socket={}", daemon.socket().display());
    assert_eq!(listed(&plain("")), ["open"]);
    assert!(welcome(&plain("open")) && !welcome(&plain("tls")) && !welcome(&plain("named")));
    let asked = run(tool("nbdinfo").args(["--size", &plain("tls")]));
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(said.contains("TLS"), "the client is told why: {said}");
    let alice = authority.issue(Says::client("alice"));
    let bob = authority.issue(Says::client("bob"));
    // The common name does not count beside a DNS name.
    let masked = authority.issue(Says { names: &["alice.example"], ..Says::client("bob") });
    let host = authority.issue(Says { names: &["HOST.example"], ..Says::client("alice") });
    for (name, identity, is_named) in [("a", alice, false), ("b", bob, true), ("m", masked, false), ("h", host, true)] {
        let folder = folder(&store, name, &authority, Some(&identity));
        let all: &[&str] = if is_named { &["named", "open", "tls"] } else { &["open", "tls"] };
        assert_eq!(listed(&uri(&daemon, "", &folder)), all, "{name}");
        assert!(welcome(&uri(&daemon, "open", &folder)) && welcome(&uri(&daemon, "tls", &folder)));
        assert_eq!(welcome(&uri(&daemon, "named", &folder)), is_named, "{name}");
    }
    daemon.terminate();
}

/// Sends SIGHUP and waits until the daemon has said `word` once more.
fn reload(daemon: &Daemon<'_>, word: &str) {
    let count = || daemon.log().matches(word).count();
    let before = count();
    kill(nix::unistd::Pid::from_raw(daemon.pid() as i32), Signal::SIGHUP).unwrap();
    let start = Instant::now();
    while count() == before {
        assert!(start.elapsed() < Duration::from_secs(60), "no {word:?} in\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client that goes on writing and reading back until its standard input ends.
const BUSY: &str = "
import nbd, sys, threading
h = nbd.NBD()
h.set_uri_allow_local_file(True)
h.connect_uri(sys.argv[1])
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
rounds = 0
while not done.is_set():
    data = bytes([rounds % 251]) * 300000
    h.pwrite(data, rounds * 4096 % 4000000)
    assert h.pread(len(data), rounds * 4096 % 4000000) == data
    rounds += 1
    if rounds == 1:
        print('busy', flush=True)
h.shutdown()
print('rounds', rounds, flush=True)
";

pub fn reload_while_in_use(variant: Variant) {
    let (store, authority) = (Store::new(), Authority::new("authority"));
    let mut daemon = mixed(variant, &store, &authority, "\"bob\"");
    let bob = folder(&store, "bob", &authority, Some(&authority.issue(Says::client("bob"))));
    let alice = folder(&store, "alice", &authority, Some(&authority.issue(Says::client("alice"))));
    let mut busy = Command::new(PYTHON);
    busy.args(["-c", BUSY, &uri(&daemon, "named", &bob)]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut busy = busy.spawn().unwrap();
    let mut said = BufReader::new(busy.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "busy");

    configure(&store, "\"alice\"");
    reload(&daemon, "are read again");
    assert!(welcome(&uri(&daemon, "named", &alice)) && !welcome(&uri(&daemon, "named", &bob)));

    // A key that others can read: nothing changes, and the log says why.
    use std::os::unix::fs::PermissionsExt;
    let key = store.path("server.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    configure(&store, "\"bob\"");
    reload(&daemon, "nothing is changed");
    assert!(daemon.log().contains("chmod 600"), "{}", daemon.log());
    assert!(welcome(&uri(&daemon, "named", &alice)) && !welcome(&uri(&daemon, "named", &bob)));
    std::fs::write(store.path("keymoult.toml"), "colour = 1").unwrap();
    reload(&daemon, "nothing is changed");
    assert!(welcome(&uri(&daemon, "named", &alice)));

    // Another authority altogether.
    let successor = Authority::new("successor");
    with_client_ca(&store, &successor, server(&store, &successor));
    configure(&store, "\"bob\"");
    reload(&daemon, "are read again");
    let next = folder(&store, "next", &successor, Some(&successor.issue(Says::client("bob"))));
    assert!(welcome(&uri(&daemon, "named", &next)));
    assert!(!welcome(&uri(&daemon, "open", &alice)), "certificates of the old authority are worth nothing");

    let mut stdin = busy.stdin.take().unwrap();
    stdin.flush().unwrap();
    drop(stdin);
    let rounds = said.next().unwrap().unwrap();
    assert!(rounds.starts_with("rounds ") && busy.wait().unwrap().success(), "{rounds}");
    let record = std::fs::read_to_string(store.path("state/audit.jsonl")).unwrap();
    assert_eq!(record.matches("daemon-reload").count(), 4, "{record}");
    daemon.terminate();
}
