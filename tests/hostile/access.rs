//! Who may come in: rules by user and address, the rights of the socket's file, read-only exports; a daemon configured by a
//! file alone.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keymoult::nbd::wire::*;

use crate::peer::{FORMS, Peer, handshake, request};
use crate::support::{MIB, Store, Volume, VolumeOptions, keymoult, wait};

/// A daemon, and what it said when it was ready.
pub struct Served {
    child: Child,
    /// Its `nbd` addresses.
    pub nbd: Vec<String>,
}

impl Served {
    /// Starts `command`, which runs `keymoult serve --json`, and waits for its first words.
    pub fn start(mut command: Command) -> Served {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut text = String::new();
        let ready: serde_json::Value = loop {
            let Some(Ok(line)) = lines.next() else { panic!("the daemon ended before it was ready: {text}") };
            text.push_str(&line);
            if let Ok(ready) = serde_json::from_str(&text) {
                break ready;
            }
        };
        let nbd = ready["nbd"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect();
        Served { child, nbd }
    }

    /// The port of a TCP address.
    pub fn port(&self, index: usize) -> u16 {
        self.nbd[index].rsplit(':').next().unwrap().parse().unwrap()
    }

    /// SIGTERM; it must leave by itself.
    pub fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(wait(&mut self.child, Duration::from_secs(30)).is_some_and(|status| status.success()));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A store with a volume `vol`, and a configuration that serves it with `nbd` and `more` lines of its own table.
pub fn configured(nbd: &str, more: &str) -> (Store, Volume) {
    let store = Store::new();
    let volume = store.create("vol", &VolumeOptions { size: 4 * MIB, ..VolumeOptions::default() });
    let text = format!(
        "nbd = [{nbd}]\ncontrol = \"unix:{}\"\nstate-dir = \"{}\"\n[[volume]]\npath = \"{}\"\nkek = [\"{}\"]\n{more}\n",
        store.path("ctl").display(),
        store.path("state").display(),
        volume.path.display(),
        store.kek()
    );
    std::fs::write(store.path("config.toml"), text.replace("DIR", &store.path("").display().to_string())).unwrap();
    (store, volume)
}

/// The daemon of that configuration.
pub fn serve_command(store: &Store) -> Command {
    let mut command = keymoult();
    command.args(["serve", "--json", "--config"]).arg(store.path("config.toml"));
    command
}

/// What a connection says first: nothing, if it is refused.
fn first_words(mut stream: impl Read) -> Vec<u8> {
    let mut greeting = [0; 18];
    match stream.read_exact(&mut greeting) {
        Ok(()) => greeting.to_vec(),
        Err(_) => Vec::new(),
    }
}

fn is_welcome(path: &Path) -> bool {
    first_words(UnixStream::connect(path).unwrap()).starts_with(b"NBDMAGIC")
}

#[test]
fn users_and_groups_decide_before_the_greeting() {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let nbd = format!(
        "{{ address = \"unix:DIR/mine\", users = [{uid}] }}, {{ address = \"unix:DIR/group\", groups = [{gid}] }}, \
         {{ address = \"unix:DIR/other\", users = [{}], groups = [{}], socket-mode = \"0666\" }}",
        uid.as_raw() + 1,
        4_000_000
    );
    let (store, _) = configured(&nbd, "");
    let served = Served::start(serve_command(&store));
    assert!(is_welcome(&store.path("mine")) && is_welcome(&store.path("group")));
    (0..50).for_each(|_| assert!(!is_welcome(&store.path("other"))));
    let mode = std::fs::metadata(store.path("other")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o666);
    assert!(is_welcome(&store.path("mine")), "others are served on");
    served.stop();
}

#[test]
fn addresses_decide_before_the_greeting() {
    let nbd = "{ address = \"tcp:127.0.0.1:0\", allow = [\"127.0.0.0/8\"] }, \
        { address = \"tcp:127.0.0.1:0\", allow = [\"10.0.0.0/8\", \"127.0.0.2\", \"::1\"] }";
    let (store, _) = configured(nbd, "");
    let served = Served::start(serve_command(&store));
    let greeting = |index| first_words(TcpStream::connect(("127.0.0.1", served.port(index))).unwrap());
    assert!(greeting(0).starts_with(b"NBDMAGIC"));
    (0..50).for_each(|_| assert!(greeting(1).is_empty()));
    assert!(greeting(0).starts_with(b"NBDMAGIC"), "others are served on");
    served.stop();
}

#[test]
fn a_read_only_volume_takes_no_writes_in_any_form() {
    let (store, _) = configured("\"unix:DIR/s\"", "read-only = true");
    let served = Served::start(serve_command(&store));
    for form in FORMS {
        let mut peer = Peer::connect(&store.path("s"));
        peer.form = form;
        peer.send(&handshake(form, "vol"));
        let mut flags = 0;
        loop {
            let (option, kind, data) = peer.option_reply().unwrap();
            if (option, kind) == (NBD_OPT_GO, NBD_REP_INFO) && data[..2] == [0, 0] {
                flags = u16::from_be_bytes(data[10..12].try_into().unwrap());
            }
            if (option, kind) == (NBD_OPT_GO, NBD_REP_ACK) {
                break;
            }
        }
        let writing = NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
        assert_eq!(flags & (NBD_FLAG_READ_ONLY | writing), NBD_FLAG_READ_ONLY);
        for command in [NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES] {
            peer.send(&request(form, command, 0, 7, 0, 4096));
            if command == NBD_CMD_WRITE {
                peer.send(&[1; 4096]);
            }
            let reply = peer.reply(0).unwrap();
            assert_eq!((reply.cookie, reply.errno), (7, Errno::Perm.code()), "{form:?} {command}");
        }
        peer.send(&request(form, NBD_CMD_READ, 0, 8, 0, 4096));
        let reply = peer.reply(4096).unwrap();
        assert!(reply.errno == 0 && reply.data == [0; 4096], "nothing was written");
    }
    served.stop();
}
