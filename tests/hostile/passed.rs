//! Sockets the service manager hands over, and what it is told: a launcher stands in for systemd.

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Output};

use crate::access::{Served, configured, serve_command};
use crate::support::{Store, run, tool};

/// Binds sockets (`unix:PATH`, `tcp`, `udp`), puts them at 3 and up, announces them to itself, and becomes the program.
const LAUNCHER: &str = r#"
import os, socket, sys
kinds, names, program = sys.argv[1].split(","), sys.argv[2], sys.argv[3:]
made = []
for kind in kinds:
    if kind.startswith("unix:"):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.bind(kind[5:])
        one.listen(9)
    elif kind == "tcp":
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.bind(("127.0.0.1", 0))
        one.listen(9)
    else:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind(("127.0.0.1", 0))
    made.append(os.dup2(one.fileno(), 50 + len(made)))
for index, number in enumerate(made):
    os.dup2(number, 3 + index, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(made)), LISTEN_FDNAMES=names)
os.execv(program[0], program)
"#;

/// The daemon, launched with sockets of these kinds and names.
fn launched(store: &Store, kinds: &str, names: &str) -> Command {
    let kinds = kinds.replace("DIR", &store.path("").display().to_string());
    let serve = serve_command(store);
    let mut command = tool("python3");
    command.args(["-c", LAUNCHER, &kinds, names]).arg(serve.get_program()).args(serve.get_args());
    command
}

fn greets(mut stream: impl Read) -> bool {
    let mut magic = [0; 8];
    stream.read_exact(&mut magic).is_ok() && magic == *b"NBDMAGIC"
}

#[test]
fn passed_sockets_are_served_and_their_files_stay() {
    let (store, _) = configured("\"systemd\"", "");
    let served = Served::start(launched(&store, "unix:DIR/s,tcp", "a:b"));
    assert_eq!(served.nbd.len(), 2);
    assert!(greets(UnixStream::connect(store.path("s")).unwrap()));
    assert!(greets(TcpStream::connect(("127.0.0.1", served.port(1))).unwrap()));
    served.stop();
    assert!(store.path("s").exists(), "it is the service manager's");
}

#[test]
fn a_passed_socket_has_rules_by_its_name() {
    let (store, _) = configured("{ address = \"systemd:b\", allow = [\"10.0.0.0/8\"] }, \"systemd:a\"", "");
    let served = Served::start(launched(&store, "unix:DIR/s,tcp", "a:b"));
    assert!(greets(UnixStream::connect(store.path("s")).unwrap()));
    assert!(!greets(TcpStream::connect(("127.0.0.1", served.port(0))).unwrap()));
    served.stop();
}

/// What the daemon says when it does not start.
fn complaint(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_was_not_passed_or_does_not_fit_is_named() {
    let (store, _) = configured("\"systemd:nbd\"", "");
    let nothing = complaint(&run(&mut serve_command(&store)));
    assert!(nothing.contains("passed no socket called `nbd`"), "{nothing}");
    let other = complaint(&run(&mut launched(&store, "unix:DIR/s", "other")));
    assert!(other.contains("there are: other"), "{other}");
    let datagram = complaint(&run(&mut launched(&store, "udp", "nbd")));
    assert!(datagram.contains("descriptor 3 (`nbd`)") && datagram.contains("not a stream"), "{datagram}");
    let names = complaint(&run(&mut launched(&store, "tcp", "nbd:more")));
    assert!(names.contains("LISTEN_FDNAMES has 2 names for 1 sockets"), "{names}");
}

#[test]
fn the_service_manager_is_told_of_start_and_end() {
    let (store, _) = configured("\"unix:DIR/s\"", "");
    let socket = UnixDatagram::bind(store.path("notify")).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let mut command = serve_command(&store);
    command.env("NOTIFY_SOCKET", store.path("notify"));
    let served = Served::start(command);
    let word = || {
        let mut bytes = [0; 100];
        let len = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    };
    assert_eq!(word(), "READY=1\n");
    served.stop();
    assert_eq!(word(), "STOPPING=1\n");
}
