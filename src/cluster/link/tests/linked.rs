//! What good links do: frames in order, one link for each pair, up again after everything that takes them down.

use super::*;

#[test]
fn frames_arrive_in_order_and_are_counted() {
    let pki = Pki::new();
    let (a, b) = pair(&pki);
    let sent: Vec<Vec<u8>> = (0..300u32).map(|number| number.to_be_bytes().repeat(number as usize + 1)).collect();
    for payload in &sent {
        assert!(a.links.send(&name("b"), payload.clone()) && b.links.send(&name("a"), payload.clone()));
    }
    for node in [&a, &b] {
        node.ears.wait("all frames", |_| node.frames_are(&sent));
    }
    let state = a.state("b");
    assert!(state.up && state.since == THEN && state.heard == THEN && state.last_error.is_none());
    assert_eq!(state.certificate_ends, Some(4_102_444_800), "2100-01-01");
    assert_eq!(a.links.certificate_ends(), Some(4_102_444_800));
    let bytes: u64 = sent.iter().map(|payload| payload.len() as u64).sum();
    assert_eq!((state.received_frames, state.received_bytes, state.sent_bytes), (300, bytes, bytes));
    let hello = state.hello.unwrap();
    assert_eq!((hello.node.as_str(), hello.cluster.as_str()), ("b", "lab"));
    assert_eq!((hello.capabilities.suites.as_slice(), hello.frame_max as usize), (&[1, 2][..], FRAME_MAX));
}

impl Node {
    fn frames_are(&self, sent: &[Vec<u8>]) -> bool {
        // What waits holds the lock of the ears: so this looks at the counts alone, and at the frames after that.
        self.links.peers().iter().any(|state| state.received_frames == sent.len() as u64)
    }
}

#[test]
fn the_longest_frame_passes_and_a_longer_one_is_not_taken() {
    let pki = Pki::new();
    let (a, b) = pair(&pki);
    assert!(!a.links.send(&name("b"), vec![0; FRAME_MAX + 1]) && !a.links.send(&name("c"), vec![1]));
    assert!(a.links.send(&name("b"), vec![7; FRAME_MAX]));
    b.ears.wait("the frame", |heard| heard.contains(&Heard::Frame("a".into(), vec![7; FRAME_MAX])));
}

/// Whoever is first, both ends end up with one and the same link, and it works both ways.
#[test]
fn when_both_dial_at_once_one_link_is_left() {
    let pki = Pki::new();
    for _ in 0..6 {
        let (a, b) = pair(&pki);
        for (from, to, peer) in [(&a, &b, "b"), (&b, &a, "a")] {
            // A link that gives way takes its frames along: the driver would send again, and so do we.
            let began = std::time::Instant::now();
            while to.frames().is_empty() {
                assert!(began.elapsed() < PATIENCE, "no frame came through");
                from.links.send(&name(peer), vec![1]);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        for node in [&a, &b] {
            let heard = node.ears.heard();
            let count = |is_it: &dyn Fn(&Heard) -> bool| heard.iter().filter(|heard| is_it(heard)).count();
            let ups = count(&|heard| matches!(heard, Heard::Up(_)));
            assert_eq!(ups, count(&|heard| matches!(heard, Heard::Down(..))) + 1, "{heard:?}");
        }
    }
}

#[test]
fn a_peer_that_is_started_anew_is_up_again() {
    let pki = Pki::new();
    let (a, b) = pair(&pki);
    let address = b.address();
    b.links.stop();
    assert!(
        b.ears
            .heard()
            .iter()
            .any(|heard| matches!(heard, Heard::Down(of, why) if of == "a" && why.contains("takes its links down")))
    );
    a.waits_for_down("b");
    assert!(!a.links.send(&name("b"), vec![1]), "there is no link");
    let again = Node::new(LinkConfig {
        listen: address,
        peers: vec![PeerAddress { name: name("a"), address: a.address().to_string() }],
        ..pki.config("b")
    });
    again.waits_for_up("a");
    a.waits_for_up("b");
}

#[test]
fn three_nodes_have_a_link_each() {
    let pki = Pki::new();
    let nodes = ["a", "b", "c"].map(|me| (me, pki.node(me)));
    for (me, node) in &nodes {
        let others: Vec<_> =
            nodes.iter().filter(|other| other.0 != *me).map(|other| (other.0, other.1.address())).collect();
        node.knows(&others);
    }
    for (me, node) in &nodes {
        node.ears.wait("two links", |_| node.links.peers().iter().filter(|state| state.up).count() == 2);
        for (other, _) in nodes.iter().filter(|other| other.0 != *me) {
            assert!(node.state(other).hello.is_some_and(|hello| hello.node == name(other)));
        }
    }
}

#[test]
fn peers_come_and_go_while_links_are_up() {
    let pki = Pki::new();
    let (a, b) = pair(&pki);
    a.knows(&[]);
    assert!(a.waits_for_down("b").contains("no longer a configured peer"));
    assert!(a.links.peers().is_empty() && !a.links.send(&name("b"), vec![1]));
    b.waits_for_error("a", "");
    a.knows(&[("b", b.address())]);
    a.waits_for_up("b");
    b.waits_for_up("a");
    let elsewhere = pki.node("b");
    elsewhere.knows(&[("a", a.address())]);
    b.links.stop();
    a.knows(&[("b", elsewhere.address())]);
    elsewhere.waits_for_up("a");
    a.waits_for_up("b");
}

/// Nobody reads at the other end: what waits stays bounded, and then the link goes.
#[test]
fn a_peer_that_takes_nothing_loses_its_link() {
    let pki = Pki::new();
    let a = pki.node("a");
    a.knows(&[("b", "127.0.0.1:1".parse().unwrap())]);
    let identity = pki.authority.issue(node(&["b"]));
    let mut raw = Raw::dial(a.address(), pki.client(Some(&identity), &rustls::version::TLS13), "a").unwrap();
    raw.send(&encode(Kind::Hello, &hello("b").encode()));
    a.waits_for_up("b");
    let began = std::time::Instant::now();
    let mut bytes = 0;
    while a.links.send(&name("b"), vec![0; 64 << 10]) {
        bytes += 64 << 10;
        assert!(began.elapsed() < PATIENCE);
    }
    assert!(bytes >= outbox::BYTES_MAX / 2, "{bytes} bytes are too few to be refused");
    assert!(a.waits_for_down("b").contains("does not keep up"));
}

/// What a driver breaks is its own; the link says so and comes again.
#[test]
fn a_driver_that_panics_takes_no_link_with_it_for_good() {
    struct Clumsy(Ears);
    impl Incoming for Clumsy {
        fn up(&self, peer: &NodeName, hello: &Hello) {
            self.0.up(peer, hello);
        }

        fn frame(&self, from: &NodeName, payload: Vec<u8>) {
            assert_ne!(payload, b"stumble", "a fault of the driver, as it should be");
            self.0.frame(from, payload);
        }

        fn down(&self, peer: &NodeName, why: &str) {
            self.0.down(peer, why);
        }
    }
    let pki = Pki::new();
    let a = pki.node("a");
    let clumsy = Arc::new(Clumsy(Ears::default()));
    let config = LinkConfig {
        peers: vec![PeerAddress { name: name("a"), address: a.address().to_string() }],
        ..pki.config("b")
    };
    let clock: Clock = Arc::new(|| THEN);
    let b = Links::start_with(config, Arc::clone(&clumsy) as Arc<dyn Incoming>, times(), clock).unwrap();
    a.knows(&[("b", b.address())]);
    a.waits_for_up("b");
    assert!(a.links.send(&name("b"), b"stumble".to_vec()));
    clumsy.0.wait("the end of the link", |heard| {
        heard.iter().any(|heard| matches!(heard, Heard::Down(_, why) if why.contains("could not be handled")))
    });
    let began = std::time::Instant::now();
    while !clumsy.0.heard().contains(&Heard::Frame("a".into(), b"walk".to_vec())) {
        assert!(began.elapsed() < PATIENCE, "the link did not come again");
        a.links.send(&name("b"), b"walk".to_vec());
        std::thread::sleep(Duration::from_millis(5));
    }
}
