//! Whoever is no peer, or a bad one: refused, told why where that may be, and no harm to anybody else.

use rustls::version::{TLS12, TLS13};

use super::*;

/// A node `a` that knows `b`, which is nowhere.
fn alone(pki: &Pki) -> Node {
    let a = pki.node("a");
    a.knows(&[("b", "127.0.0.1:1".parse().unwrap())]);
    a
}

/// What `a` says to somebody with this certificate who sends this.
fn answer(pki: &Pki, a: &Node, says: Says<'_>, bytes: &[u8]) -> Option<Frame> {
    let identity = pki.authority.issue(says);
    let mut raw = Raw::dial(a.address(), pki.client(Some(&identity), &TLS13), "a").ok()?;
    raw.send(bytes);
    raw.receive()
}

fn greeting(hello: &Hello) -> Vec<u8> {
    encode(Kind::Hello, &hello.encode())
}

#[test]
fn a_good_hello_is_answered_by_one() {
    let pki = Pki::new();
    let a = alone(&pki);
    let skipped = encode(Kind::Skippable, b"from a later version");
    let bytes = [skipped, greeting(&hello("b"))].concat();
    let frame = answer(&pki, &a, node(&["b"]), &bytes).unwrap();
    assert_eq!((frame.kind, Hello::decode(&frame.payload).unwrap().node), (Kind::Hello, name("a")));
}

#[test]
fn a_hello_that_will_not_do_is_refused_by_reason() {
    let pki = Pki::new();
    let a = alone(&pki);
    let cases = [
        (Hello { versions: (2, 3), ..hello("b") }, "no common version"),
        (Hello { cluster: "other".into(), ..hello("b") }, "belongs to the cluster \"other\""),
        (hello("c"), "calls itself c"),
        (hello("a"), "calls itself a"),
    ];
    for (hello, says) in cases {
        let frame = answer(&pki, &a, node(&["b"]), &greeting(&hello)).unwrap();
        let reason = super::hello::shown(&frame.payload);
        assert!(frame.kind == Kind::Refused && reason.contains(says), "{reason} does not say {says}");
    }
    let cut = greeting(&hello("b"));
    let cut = encode(Kind::Hello, &cut[5..30]);
    assert!(super::hello::shown(&answer(&pki, &a, node(&["b"]), &cut).unwrap().payload).contains("cannot be read"));
    assert!(!a.was_up());
}

/// A certificate with several names opens only what is configured and said.
#[test]
fn certificate_configuration_and_hello_have_to_agree() {
    let pki = Pki::new();
    let a = alone(&pki);
    assert_eq!(answer(&pki, &a, node(&["b", "c"]), &greeting(&hello("b"))).unwrap().kind, Kind::Hello);
    assert_eq!(answer(&pki, &a, node(&["b", "c"]), &greeting(&hello("c"))).unwrap().kind, Kind::Refused);
    // None of these gets as far as a hello.
    let common = Says { common: "b", ..node(&[]) };
    for says in [node(&["c"]), node(&["*"]), node(&["B"]), common] {
        let frame = answer(&pki, &a, says, &greeting(&hello("b"))).unwrap();
        assert!(super::hello::shown(&frame.payload).contains("none of the configured peers"));
    }
    assert_eq!(a.ears.heard().iter().filter(|heard| matches!(heard, Heard::Up(_))).count(), 1);
}

#[test]
fn only_a_good_certificate_of_the_authority_for_both_ends_opens() {
    let pki = Pki::new();
    let a = alone(&pki);
    let hello = greeting(&hello("b"));
    assert!(answer(&pki, &a, node(&["b"]), &hello).is_some(), "the control");
    a.time.store(LATER, Ordering::SeqCst);
    let bad = [
        Says { for_clients: false, ..node(&["b"]) },
        Says { for_clients: false, for_servers: false, ..node(&["b"]) },
        Says { expired: true, ..node(&["b"]) },
    ];
    for says in bad {
        assert_eq!(answer(&pki, &a, says, &hello), None);
    }
    let stranger = Authority::new("authority").issue(node(&["b"]));
    for (identity, version) in [(Some(&stranger), &TLS13), (None, &TLS13)] {
        let raw = Raw::dial(a.address(), pki.client(identity, version), "a");
        let answer = raw.ok().and_then(|mut raw| {
            raw.send(&hello);
            raw.receive()
        });
        assert_eq!(answer, None);
    }
    let good = pki.authority.issue(node(&["b"]));
    assert!(Raw::dial(a.address(), pki.client(Some(&good), &TLS12), "a").is_err(), "TLS 1.2");
    let mut foreign = pki.client(Some(&good), &TLS13);
    foreign.alpn_protocols.clear();
    let mut raw = Raw::dial(a.address(), foreign, "a").unwrap();
    raw.send(&hello);
    assert_eq!(raw.receive(), None, "another protocol within TLS");
}

#[test]
fn what_is_no_tls_or_no_frame_ends_the_connection() {
    let pki = Pki::new();
    let a = alone(&pki);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100], &[0xff; 5000], b"\x16\x03\x01\xff\xff"] {
        let mut stream = TcpStream::connect(a.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        // An alert may come, or the connection is reset; what counts is that it ends.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 100);
    }
    let long = [&(frame::GREETING_MAX as u32 + 1).to_be_bytes()[..], &[1]].concat();
    assert_eq!(answer(&pki, &a, node(&["b"]), &long), None, "too long before it is known");
    assert_eq!(answer(&pki, &a, node(&["b"]), &encode(Kind::Data, b"early")), None, "no hello");
    for after in [[&u32::MAX.to_be_bytes()[..], &[5]].concat(), vec![0, 0, 0, 0, 0x77], greeting(&hello("b"))] {
        let identity = pki.authority.issue(node(&["b"]));
        let mut raw = Raw::dial(a.address(), pki.client(Some(&identity), &TLS13), "a").unwrap();
        raw.send(&greeting(&hello("b")));
        assert_eq!(raw.receive().unwrap().kind, Kind::Hello);
        raw.send(&after);
        while raw.receive().is_some() {}
    }
    for says in ["4294967295 bytes", "unknown kind 119", "second hello"] {
        let is_it = |heard: &Heard| matches!(heard, Heard::Down(_, why) if why.contains(says));
        a.ears.wait(says, |heard| heard.iter().any(is_it));
    }
}

/// Connections that say nothing, and more of them than there is room for, keep no peer out.
#[test]
fn a_flood_of_silent_connections_keeps_no_peer_out() {
    let pki = Pki::new();
    let a = alone(&pki);
    let silent: Vec<TcpStream> = (0..24).map(|_| TcpStream::connect(a.address()).unwrap()).collect();
    let b = pki.node("b");
    b.knows(&[("a", a.address())]);
    a.waits_for_up("b");
    b.waits_for_up("a");
    let ended = silent.iter().filter(|stream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        matches!((&mut &**stream).read(&mut [0]), Ok(0)) || stream.take_error().is_ok_and(|error| error.is_some())
    });
    assert!(ended.count() >= 24 - door::PENDING_OF_ONE, "the oldest have given way");
}

#[test]
fn a_node_refuses_at_its_start_what_every_peer_would_refuse() {
    let pki = Pki::new();
    let refused = |says: Says<'_>| {
        let config = LinkConfig { files: pki.files("x", says), ..pki.config("a") };
        match Links::start(config, Arc::new(Ears::default())) {
            Ok(_) => panic!("started"),
            Err(error) => error,
        }
    };
    assert!(matches!(refused(node(&["b"])), LinkError::OtherNode { .. }));
    assert!(matches!(refused(Says { common: "a", ..node(&[]) }), LinkError::OtherNode { .. }));
    assert!(matches!(refused(Says { for_clients: false, ..node(&["a"]) }), LinkError::Useless { .. }));
    assert!(matches!(refused(Says { for_servers: false, ..node(&["a"]) }), LinkError::Useless { .. }));
    let mut config = pki.config("a");
    config.files.authority = write(pki.path(), "other.crt", &Authority::new("other").pem);
    assert!(matches!(Links::start(config, Arc::new(Ears::default())), Err(LinkError::Useless { .. })));
    let expired = LinkConfig { files: pki.files("x", Says { expired: true, ..node(&["a"]) }), ..pki.config("a") };
    let links = Links::start(expired, Arc::new(Ears::default())).unwrap();
    assert_eq!(links.certificate_ends(), Some(1_609_459_200), "it starts, and the end is told");
    let crowd = (0..=PEERS_MAX).map(|at| PeerAddress { name: name(&format!("n{at}")), address: "127.0.0.1:1".into() });
    let crowded = LinkConfig { peers: crowd.collect(), ..pki.config("a") };
    assert!(matches!(Links::start(crowded, Arc::new(Ears::default())), Err(LinkError::TooManyPeers(_))));
}
