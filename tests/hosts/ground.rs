//! The ground the other tests stand on: a cut link cuts, a mended one is mended, the proxy does to bytes what it says.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::netns::Lan;
use crate::support::proxy::{Line, Passage, Proxy};
use crate::support::{pattern, run, same, tool};

const LISTEN: &str = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', 4444))
print('ready', flush=True)
s.settimeout(0.8)
s.recv(9)";

fn python(script: &str) -> Command {
    let mut command = tool("python3");
    command.args(["-c", script]);
    command
}

/// Whether a datagram from one host arrives at another.
fn reaches(lan: &Lan, from: &str, to: &str) -> bool {
    let mut listener = lan.on(to, &python(LISTEN)).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut ready = [0; 6];
    listener.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let address = lan.address(to);
    let send = format!(
        "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor i in range(4):\n try: s.sendto(b'x', ('{address}', 4444))\n except OSError: pass\n time.sleep(.1)"
    );
    run(&mut lan.on(from, &python(&send)));
    listener.wait().unwrap().success()
}

#[test]
fn links_are_cut_and_mended() {
    let lan = Lan::new(&["a", "b", "c"]);
    let pairs = [("a", "b"), ("b", "a"), ("b", "c")];
    let reached = |lan: &Lan| pairs.map(|(from, to)| reaches(lan, from, to));
    assert_eq!(reached(&lan), [true, true, true], "all is well");
    lan.deafen("a", "b");
    lan.unplug("c");
    assert_eq!(reached(&lan), [false, true, false], "one direction is cut, and one host has lost its plug");
    lan.heal();
    assert_eq!(reached(&lan), [true, true, true], "all is mended");
}

#[test]
fn several_lans_side_by_side() {
    let (one, other) = (Lan::new(&["a", "b"]), Lan::new(&["a", "b"]));
    one.cut("a", "b");
    assert!(!reaches(&one, "a", "b"));
    assert!(reaches(&other, "a", "b"));
    let mut gone = one.on("a", &Command::new("true"));
    drop(one);
    assert!(!run(&mut gone).status.success(), "the namespace is still there");
    assert!(reaches(&other, "b", "a"));
}

/// Answers one connection with what it hears.
fn echo() -> (std::net::SocketAddr, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..len]).is_err() {
                return;
            }
        }
    });
    (address, serving)
}

#[test]
fn a_bad_line_does_what_it_says() {
    let (target, serving) = echo();
    let proxy = Proxy::to(target);
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    proxy.set(Line { gulp: 7, delay: Duration::from_micros(10), ..Line::GOOD });
    let sent = pattern(5, 3000);
    let mut heard = vec![0; 3000];
    stream.write_all(&sent).unwrap();
    stream.read_exact(&mut heard).unwrap();
    same(&heard, &sent, "in small pieces");
    proxy.set(Line { back: Passage::Swallowed, ..Line::GOOD });
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.write_all(b"lost").unwrap();
    let nothing = stream.read(&mut heard).unwrap_err().kind();
    assert!(matches!(nothing, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{nothing:?}");
    proxy.set(Line { forth: Passage::Stalled, ..Line::GOOD });
    stream.write_all(b"late").unwrap();
    assert!(stream.read(&mut heard).is_err());
    proxy.set(Line::GOOD);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.read_exact(&mut heard[..4]).unwrap();
    assert_eq!(&heard[..4], b"late");
    proxy.sever_after(5);
    stream.write_all(b"123456789").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest); // ends, or is reset: either way it is over
    assert!(rest.len() < 5, "{rest:?} came although the line broke");
    serving.join().unwrap();
}
