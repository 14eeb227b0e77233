//! Certificates of peers, from the side that dials, and while links are up: wrong ones, expiry, revocation, exchange.

use super::*;

/// `a` dials `b`, whose configuration is `b`; what comes of it is told at `a`.
fn dials(pki: &Pki, b: LinkConfig, says: &str) {
    let b = Node::new(b);
    let a = pki.node("a");
    b.knows(&[("a", "127.0.0.1:1".parse().unwrap())]);
    a.knows(&[("b", b.address())]);
    a.waits_for_error("b", says);
    assert!(!a.was_up() && !b.was_up());
}

#[test]
fn a_peer_of_another_authority_is_none() {
    let (pki, other) = (Pki::new(), Pki::new());
    dials(&pki, other.config("b"), "invalid peer certificate");
}

#[test]
fn the_peer_that_is_meant_has_to_be_there() {
    let pki = Pki::new();
    dials(&pki, pki.config("c"), "not valid for name");
}

#[test]
fn a_peer_of_another_cluster_says_so() {
    let pki = Pki::new();
    dials(
        &pki,
        LinkConfig { cluster: "other".into(), ..pki.config("b") },
        "refused: it belongs to the cluster \"lab\"",
    );
}

#[test]
fn a_node_that_is_no_configured_peer_gets_nowhere() {
    let pki = Pki::new();
    let (a, d) = (pki.node("a"), pki.node("d"));
    d.knows(&[("a", a.address())]);
    d.waits_for_error("a", "refused: the certificate names d, none of the configured peers");
    assert!(!a.was_up() && !d.was_up());
}

#[test]
fn a_link_ends_when_its_certificate_does() {
    let pki = Pki::new();
    let files = pki.files("short", Says { expired: true, ..node(&["b"]) });
    let b = Node::new(LinkConfig { files, ..pki.config("b") });
    let a = pki.node("a");
    a.knows(&[("b", b.address())]);
    b.knows(&[("a", a.address())]);
    a.waits_for_up("b");
    assert_eq!(a.state("b").certificate_ends, Some(1_609_459_200), "2021-01-01");
    a.time.store(LATER, Ordering::SeqCst);
    let why = a.waits_for_down("b");
    assert!(why.contains("not good any more") && why.contains("expired"), "{why}");
    // A new one, without a restart.
    b.time.store(LATER, Ordering::SeqCst);
    let renewed = pki.authority.issue(node(&["b"]));
    write(pki.path(), "short.crt", &renewed.certificate);
    write(pki.path(), "short.key", &renewed.key);
    b.links.reload().unwrap();
    a.ears.wait("the link with the new certificate", |heard| {
        heard.iter().filter(|heard| matches!(heard, Heard::Up(_))).count() > 1
    });
    assert_eq!(b.links.certificate_ends(), Some(4_102_444_800));
}

#[test]
fn a_revoked_peer_loses_its_link_at_the_reload_and_gets_no_other() {
    let pki = Pki::new();
    let revoked = write(pki.path(), "ca.crl", &pki.authority.revoke(&[99]));
    let mut config = pki.config("a");
    config.files.revoked = Some(revoked.clone());
    let a = Node::new(config);
    let b = Node::new(LinkConfig { files: pki.files("five", Says { serial: 5, ..node(&["b"]) }), ..pki.config("b") });
    let c = Node::new(LinkConfig { files: pki.files("six", Says { serial: 6, ..node(&["c"]) }), ..pki.config("c") });
    a.knows(&[("b", b.address()), ("c", c.address())]);
    b.knows(&[("a", a.address())]);
    c.knows(&[("a", a.address())]);
    a.ears.wait("both links", |_| a.links.peers().iter().all(|state| state.up));
    write(pki.path(), "ca.crl", &pki.authority.revoke(&[99, 5]));
    a.links.reload().unwrap();
    assert!(a.waits_for_down("b").contains("Revoked"));
    a.waits_for_error("b", "Revoked");
    b.waits_for_error("a", "");
    assert!(a.state("c").up && !a.state("b").up, "the other goes on");
}

#[test]
fn files_that_will_not_do_change_nothing() {
    let pki = Pki::new();
    let (a, b) = pair(&pki);
    for (file, text) in [("a.crt", "no certificate"), ("a.key", "no key"), ("ca.crt", "")] {
        let before = std::fs::read_to_string(pki.path().join(file)).unwrap();
        write(pki.path(), file, text);
        assert!(a.links.reload().is_err(), "{file}");
        write(pki.path(), file, &before);
    }
    a.links.reload().unwrap();
    b.links.reload().unwrap();
    assert!(a.links.send(&name("b"), vec![9]));
    b.ears.wait("a frame", |heard| heard.contains(&Heard::Frame("a".into(), vec![9])));
    assert!(!a.ears.heard().iter().any(|heard| matches!(heard, Heard::Down(..))));
}

/// Another authority takes over: links of certificates of the old one go down.
#[test]
fn a_link_of_an_authority_that_is_no_longer_ours_goes_down() {
    let (pki, new) = (Pki::new(), Pki::new());
    let (a, _b) = pair(&pki);
    let identity = new.authority.issue(node(&["a"]));
    write(pki.path(), "ca.crt", &new.authority.pem);
    write(pki.path(), "a.crt", &identity.certificate);
    write(pki.path(), "a.key", &identity.key);
    a.links.reload().unwrap();
    assert!(a.waits_for_down("b").contains("not good any more"));
}
