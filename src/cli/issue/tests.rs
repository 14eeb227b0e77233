//! What the commands leave behind makes links, and so does what the notes make with openssl; keys are never overwritten.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;

use super::*;
use crate::cli::args::{Cli, Command as Parsed, PeerCommand};
use crate::cluster::identity::NodeName;
use crate::cluster::link::{Capabilities, Hello, Incoming, LinkConfig, LinkError, LinkFiles, Links, PeerAddress};
use crate::tls;

const PATIENCE: Duration = Duration::from_secs(40);

fn peer(line: &str) -> Result<Exit, Failure> {
    let cli = Cli::try_parse_from(["keymoult", "peer"].into_iter().chain(line.split_whitespace())).unwrap();
    let Parsed::Peer { command: PeerCommand::Issue(command) } = cli.command else { panic!("another command") };
    run(&command, &Output::new(true))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[derive(Default)]
struct Ears {
    down: Mutex<Vec<String>>,
    up: Mutex<usize>,
    more: Condvar,
}

impl Incoming for Ears {
    fn up(&self, _: &NodeName, _: &Hello) {
        *self.up.lock().unwrap() += 1;
        self.more.notify_all();
    }

    fn frame(&self, _: &NodeName, _: Vec<u8>) {}

    fn down(&self, _: &NodeName, why: &str) {
        self.down.lock().unwrap().push(why.to_owned());
    }
}

struct Node {
    links: Links,
    ears: Arc<Ears>,
}

fn start(me: &str, files: LinkFiles) -> Result<Node, LinkError> {
    let config = LinkConfig {
        me: me.parse().unwrap(),
        cluster: "lab".into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        files,
        peers: Vec::new(),
        capabilities: Capabilities::default(),
    };
    let ears = Arc::new(Ears::default());
    Links::start(config, Arc::clone(&ears) as Arc<dyn Incoming>).map(|links| Node { links, ears })
}

fn files_in(folder: &Path) -> LinkFiles {
    LinkFiles {
        certificate: folder.join("node.crt"),
        key: folder.join("node.key"),
        authority: folder.join("ca.crt"),
        revoked: Some(folder.join("ca.crl")),
    }
}

/// Lets the two know each other, and waits for their link.
fn link(a: (&str, &Node), b: (&str, &Node)) {
    for ((_, node), (other, there)) in [(a, b), (b, a)] {
        let address = there.links.address().to_string();
        node.links.set_peers(vec![PeerAddress { name: other.parse().unwrap(), address }]);
    }
    for node in [a.1, b.1] {
        let up = node.ears.up.lock().unwrap();
        let (_up, waited) = node.ears.more.wait_timeout_while(up, PATIENCE, |up| *up == 0).unwrap();
        assert!(!waited.timed_out(), "no link: {:?}", node.links.peers());
    }
}

#[test]
fn a_made_set_is_private_and_makes_links_until_it_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("lab");
    let (at, made) = (into.display(), "--cluster lab --node a=10.0.0.1:7010 --node b=b.example.com:7010");
    peer(&format!("init-ca {made} --witness c=10.0.0.3:7010 --into {at} --folder /etc/km")).unwrap();
    let mode = |path: &str| std::fs::metadata(into.join(path)).unwrap().permissions().mode() & 0o7777;
    for private in ["ca/ca.key", "a/node.key", "a/node.id", "c/node.key"] {
        assert_eq!(mode(private), 0o600, "{private}");
    }
    assert_eq!((mode("ca"), mode("b")), (0o700, 0o700));
    let plan = ledger::plan(&read(&into.join("b/peers.toml"))).unwrap();
    assert_eq!((plan.node.as_str(), plan.lead.as_str(), plan.members.len()), ("b", "a", 3));
    assert_eq!(plan.members[2].role, Role::Witness);
    assert_eq!((plan.identity.to_str(), plan.listen.port()), (Some("/etc/km/node.id"), 7010));
    let keys = NodeKeys::read(plan.node.clone(), &into.join("b/node.id")).unwrap();
    assert_eq!(keys.public(), plan.members[1].public);
    let (a, b) = (start("a", files_in(&into.join("a"))).unwrap(), start("b", files_in(&into.join("b"))).unwrap());
    let ends = a.links.certificate_ends().unwrap();
    assert!((364 * DAY..=365 * DAY).contains(&(ends - now())), "{ends}");
    link(("a", &a), ("b", &b));
    peer(&format!("revoke-certificate b --ca {at}")).unwrap();
    a.links.reload().unwrap();
    let began = Instant::now();
    while a.ears.down.lock().unwrap().is_empty() {
        assert!(began.elapsed() < PATIENCE, "the link of a revoked certificate stays up");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(a.ears.down.lock().unwrap()[0].contains("Revoked"));
}

#[test]
fn nodes_are_added_and_renewed_and_no_key_changes() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("lab");
    let at = into.display();
    peer(&format!("init-ca --cluster lab --node a=10.0.0.1:7010 --node b=10.0.0.2:7010 --into {at}")).unwrap();
    let before = ["ca/ca.key", "a/node.key", "a/node.id", "b/node.key"].map(|file| read(&into.join(file)));
    let certificate = read(&into.join("a/node.crt"));
    peer(&format!("issue --ca {at} --node d=10.0.0.4:7010")).unwrap();
    assert_eq!(ledger::plan(&read(&into.join("a/peers.toml"))).unwrap().members.len(), 3, "the others know of it");
    peer(&format!("issue --ca {at} --renew a --days 30")).unwrap();
    assert_ne!(read(&into.join("a/node.crt")), certificate);
    let ends = |path: &str| tls::ends(&tls::chain("certificate", &into.join(path)).unwrap()[0]).unwrap();
    assert!(ends("a/node.crt") < ends("b/node.crt"));
    let after = ["ca/ca.key", "a/node.key", "a/node.id", "b/node.key"].map(|file| read(&into.join(file)));
    assert_eq!(before, after);
    let (a, d) = (start("a", files_in(&into.join("a"))).unwrap(), start("d", files_in(&into.join("d"))).unwrap());
    link(("a", &a), ("d", &d));
}

#[test]
fn what_cannot_be_is_refused_before_any_key_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("lab");
    let at = into.display();
    let refused = |line: &str, says: &str| {
        let failure = peer(line).unwrap_err().human();
        assert!(failure.contains(says), "{failure} does not say {says}");
    };
    let (a, b) = ("--node a=10.0.0.1:7010", "--node b=10.0.0.2:7010");
    for (line, says) in [
        (format!("init-ca --cluster a/b {a} {b} --into {at}"), "a cluster's name"),
        (format!("init-ca --cluster lab {a} --into {at}"), "has 2 to"),
        (format!("init-ca --cluster lab {a} {a} --into {at}"), "two members are called `a`"),
        (format!("init-ca --cluster lab {a} --node b=10.0.0.1:7010 --into {at}"), "another member has the address"),
        (format!("init-ca --cluster lab {a} --node ca=10.0.0.2:7010 --into {at}"), "never overwritten"),
        (format!("init-ca --cluster lab {a} --witness b=10.0.0.2:7010 --lead b --into {at}"), "is a witness"),
        (format!("issue --ca {at} {a}"), "cannot read the file"),
    ] {
        refused(&line, says);
        assert!(!into.exists(), "{line}");
    }
    peer(&format!("init-ca --cluster lab {a} {b} --into {at}")).unwrap();
    let ledger = read(&into.join("ca/cluster.toml"));
    refused(&format!("init-ca --cluster lab {a} {b} --into {at}"), "never overwritten");
    refused(&format!("issue --ca {at} {a}"), "never overwritten");
    refused(&format!("issue --ca {at} --renew x"), "is no member");
    refused(&format!("revoke-certificate x --ca {at}"), "no such certificate");
    refused(&format!("revoke-certificate a --ca {at} --serial 00"), "no such certificate");
    let key = into.join("ca/ca.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&format!("issue --ca {at} --renew a"), "others than its owner");
    assert_eq!(read(&into.join("ca/cluster.toml")), ledger);
}

/// The lines stand in `kernel-notes/peers.md` for operators who have an authority of their own.
#[test]
fn what_the_notes_make_with_openssl_works() {
    let notes = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("kernel-notes/peers.md"));
    let script = notes.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ran = Command::new("sh").args(["-euc", script]).current_dir(folder.path()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let files = |node: &str| LinkFiles {
        certificate: folder.path().join(format!("{node}.crt")),
        key: folder.path().join(format!("{node}.key")),
        authority: folder.path().join("ca.crt"),
        revoked: None,
    };
    let (a, b) = (start("a", files("a")).unwrap(), start("b", files("b")).unwrap());
    link(("a", &a), ("b", &b));
    assert!(start("c", files("a")).is_err(), "it is the certificate of another node");
}
