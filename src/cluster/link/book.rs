//! The book of peers: who is configured, who has a link, what went through it.
//!
//! Invariants: at most one link of a peer is live. Both ends judge two links of a pair alike, so that they keep the same one: a peer that
//! was started anew has the newer; else that counts which the node with the smaller name has dialled; of two dialled by the same
//! node, the newer. A link that lost is told so and ends; what ends is told to the driver exactly once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::hello::Hello;
use super::outbox::Outbox;
use super::{PeerAddress, PeerState};
use crate::cluster::identity::NodeName;
use crate::tls;

/// A link that is up.
pub struct Live {
    /// Distinguishes it from every other of this process.
    pub number: u64,
    /// Whose it is.
    pub peer: NodeName,
    /// Whether we dialled.
    pub dialled: bool,
    /// What the peer has said of itself.
    pub hello: Hello,
    /// The certificate it has shown, and those up to its authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// What waits to be sent.
    pub outbox: Outbox,
    /// When something was heard last.
    pub heard: Mutex<Instant>,
    /// Why it has to end, once it has to.
    cut: Mutex<Option<String>>,
}

impl Live {
    /// One that begins now.
    pub fn new(number: u64, hello: Hello, dialled: bool, chain: Vec<CertificateDer<'static>>) -> Live {
        Live {
            number,
            peer: hello.node.clone(),
            dialled,
            hello,
            chain,
            outbox: Outbox::default(),
            heard: Mutex::new(Instant::now()),
            cut: Mutex::new(None),
        }
    }

    /// Says that it has to end, unless that was said before; whoever runs it looks after each change.
    pub fn cut(&self, why: &str) {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.to_owned());
    }

    /// Why it has to end, if it has to.
    pub fn is_cut(&self) -> Option<String> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something was heard.
    pub fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When something was heard last.
    pub fn heard(&self) -> Instant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Entry {
    address: String,
    /// Whether it is configured; if not, it only waits for its link to end.
    configured: bool,
    /// Whether somebody sees to it that it is dialled.
    tended: bool,
    live: Option<Arc<Live>>,
    state: PeerState,
}

/// What a peer needs of whoever dials it.
#[derive(Debug, PartialEq, Eq)]
pub enum Need {
    /// It is not configured any more.
    Gone,
    /// It has a link.
    Nothing,
    /// It has none; this is where it is.
    Link(String),
}

/// Whether a new link is the one that counts.
pub enum Admission {
    /// It is; another one may have given way.
    Up(Option<Arc<Live>>),
    /// It is not: another one is live, or the peer is not configured any more.
    Lost,
}

/// All peers.
#[derive(Default)]
pub struct Book {
    peers: BTreeMap<NodeName, Entry>,
}

impl Book {
    /// Puts these peers in place of those before; links to others are cut.
    pub fn set(&mut self, peers: Vec<PeerAddress>, now: u64) {
        for entry in self.peers.values_mut() {
            entry.configured = false;
        }
        for PeerAddress { name, address } in peers {
            let state = || PeerState::new(name.clone(), address.clone(), now);
            let entry = self.peers.entry(name.clone()).or_insert_with(|| Entry {
                address: String::new(),
                configured: true,
                tended: false,
                live: None,
                state: state(),
            });
            entry.configured = true;
            entry.address.clone_from(&address);
            entry.state.address = address;
        }
        for entry in self.peers.values().filter(|entry| !entry.configured) {
            if let Some(live) = &entry.live {
                live.cut("it is no longer a configured peer");
            }
        }
        self.forget();
    }

    /// Forgets peers that nothing is left of.
    fn forget(&mut self) {
        self.peers.retain(|_, entry| entry.configured || entry.tended || entry.live.is_some());
    }

    /// Whether `name` is a configured peer.
    pub fn allows(&self, name: &str) -> bool {
        self.peers.iter().any(|(known, entry)| entry.configured && known.as_str() == name)
    }

    /// Peers that nobody sees to yet; from now on the caller does.
    pub fn untended(&mut self) -> Vec<NodeName> {
        let free = self.peers.iter_mut().filter(|(_, entry)| entry.configured && !entry.tended);
        free.map(|(name, entry)| {
            entry.tended = true;
            name.clone()
        })
        .collect()
    }

    /// What `name` needs; with [`Need::Gone`] the caller does not see to it any more.
    pub fn need(&mut self, name: &NodeName) -> Need {
        let Some(entry) = self.peers.get_mut(name) else {
            return Need::Gone;
        };
        match (entry.configured, &entry.live) {
            (true, Some(_)) => Need::Nothing,
            (true, None) => Need::Link(entry.address.clone()),
            (false, _) => {
                entry.tended = false;
                self.forget();
                Need::Gone
            }
        }
    }

    /// A connection became a link: says whether it counts.
    pub fn admit(&mut self, me: &NodeName, new: &Arc<Live>, now: u64) -> Admission {
        let Some(entry) = self.peers.get_mut(&new.peer).filter(|entry| entry.configured) else {
            return Admission::Lost;
        };
        if entry.live.as_ref().is_some_and(|old| !wins(me, new, old)) {
            return Admission::Lost;
        }
        entry.state.up = true;
        entry.state.since = now;
        entry.state.heard = now;
        entry.state.hello = Some(new.hello.clone());
        entry.state.certificate_ends = new.chain.first().and_then(|own| tls::ends(own));
        entry.state.last_error = None;
        let old = entry.live.replace(Arc::clone(new));
        if let Some(old) = &old {
            old.cut("another link of this peer takes its place");
        }
        Admission::Up(old)
    }

    /// A link has ended. Whether it was the one that counted, so that the driver has to hear of it.
    pub fn end(&mut self, live: &Live, why: &str, now: u64) -> bool {
        let Some(entry) = self.peers.get_mut(&live.peer) else {
            return false;
        };
        if entry.live.as_ref().is_none_or(|current| current.number != live.number) {
            return false;
        }
        entry.live = None;
        entry.state.up = false;
        entry.state.since = now;
        entry.state.last_error = Some(why.to_owned());
        self.forget();
        true
    }

    /// Whether this link is the one that counts.
    #[cfg(test)]
    pub fn is_current(&self, live: &Live) -> bool {
        let current = self.peers.get(&live.peer).and_then(|entry| entry.live.as_ref());
        current.is_some_and(|current| current.number == live.number)
    }

    /// A try to reach `name` came to nothing. Whether that is news.
    pub fn failed(&mut self, name: &NodeName, why: &str) -> bool {
        let Some(entry) = self.peers.get_mut(name).filter(|entry| entry.live.is_none()) else {
            return false;
        };
        entry.state.last_error.replace(why.to_owned()).as_deref() != Some(why)
    }

    /// The link of `name`, if it has one.
    pub fn live(&self, name: &NodeName) -> Option<Arc<Live>> {
        self.peers.get(name).filter(|entry| entry.configured)?.live.clone()
    }

    /// Every link.
    pub fn all_live(&self) -> Vec<Arc<Live>> {
        self.peers.values().filter_map(|entry| entry.live.clone()).collect()
    }

    /// Changes what is told of `name`.
    pub fn note(&mut self, name: &NodeName, change: impl FnOnce(&mut PeerState)) {
        if let Some(entry) = self.peers.get_mut(name) {
            change(&mut entry.state);
        }
    }

    /// What is told of all configured peers.
    pub fn states(&self) -> Vec<PeerState> {
        self.peers.values().filter(|entry| entry.configured).map(|entry| entry.state.clone()).collect()
    }
}

/// Whether `new` takes the place of `old`, which is live.
fn wins(me: &NodeName, new: &Live, old: &Live) -> bool {
    let dialler = |live: &Live| if live.dialled { me.clone() } else { live.peer.clone() };
    if new.hello.session != old.hello.session || dialler(new) == dialler(old) {
        return true;
    }
    dialler(new) < dialler(old)
}

#[cfg(test)]
mod tests {
    use super::super::hello::{Capabilities, VERSIONS};
    use super::*;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    fn link(number: u64, peer: &str, dialled: bool, session: u8) -> Arc<Live> {
        let hello = Hello {
            versions: VERSIONS,
            node: name(peer),
            cluster: "lab".into(),
            capabilities: Capabilities::default(),
            frame_max: 1 << 20,
            session: [session; 16],
        };
        Arc::new(Live::new(number, hello, dialled, Vec::new()))
    }

    fn book(peers: &[&str]) -> Book {
        let mut book = Book::default();
        book.set(peers.iter().map(|peer| PeerAddress { name: name(peer), address: format!("{peer}:1") }).collect(), 7);
        book
    }

    fn is_up(admission: &Admission) -> bool {
        matches!(admission, Admission::Up(_))
    }

    /// Whichever of the two is seen first at either end, both keep the one that `a` has dialled.
    #[test]
    fn both_ends_keep_the_same_link_when_both_dial() {
        for (first_at_a, first_at_b) in [(true, true), (true, false), (false, true), (false, false)] {
            let keeps = |me: &str, peer: &str, a_first: bool| {
                let mut book = book(&[peer]);
                let by_a = link(1, peer, me == "a", 1);
                let by_b = link(2, peer, me == "b", 1);
                let order = if a_first { [by_a, by_b] } else { [by_b, by_a] };
                order.iter().for_each(|link| drop(book.admit(&name(me), link, 0)));
                book.live(&name(peer)).unwrap().number
            };
            assert_eq!((keeps("a", "b", first_at_a), keeps("b", "a", first_at_b)), (1, 1));
        }
    }

    #[test]
    fn a_peer_that_was_started_anew_or_dials_again_has_the_newer_link() {
        let (me, mut book) = (name("b"), book(&["a", "c"]));
        let old = link(1, "a", false, 1);
        assert!(is_up(&book.admit(&me, &old, 10)));
        let again = link(2, "a", false, 1);
        assert!(matches!(book.admit(&me, &again, 11), Admission::Up(Some(old)) if old.number == 1));
        assert!(old.is_cut().is_some() && !book.is_current(&old) && book.is_current(&again));
        assert!(!book.end(&old, "replaced", 12), "the driver has heard of the newer one already");
        assert!(!is_up(&book.admit(&me, &link(3, "a", true, 1), 13)), "we are the greater");
        assert!(is_up(&book.admit(&me, &link(4, "a", true, 2), 14)), "another run of its process");
    }

    #[test]
    fn peers_that_are_taken_out_lose_their_link_and_are_forgotten() {
        let (me, mut book) = (name("a"), book(&["b", "c"]));
        assert_eq!(book.untended(), [name("b"), name("c")]);
        assert!(book.untended().is_empty());
        let live = link(1, "b", true, 1);
        book.admit(&me, &live, 10);
        assert_eq!((book.need(&name("b")), book.need(&name("c"))), (Need::Nothing, Need::Link("c:1".into())));
        book.set(vec![PeerAddress { name: name("c"), address: "c:2".into() }], 11);
        assert!(live.is_cut().unwrap().contains("no longer"));
        assert!(!book.allows("b") && book.live(&name("b")).is_none() && book.states().len() == 1);
        assert_eq!((book.need(&name("b")), book.need(&name("c"))), (Need::Gone, Need::Link("c:2".into())));
        assert!(book.end(&live, "gone", 12), "the driver hears of it");
        assert!(!is_up(&book.admit(&me, &link(2, "b", true, 1), 13)));
    }

    #[test]
    fn the_state_tells_what_is_and_why_it_is_not() {
        let (me, mut book) = (name("a"), book(&["b"]));
        assert!(book.failed(&name("b"), "nobody there") && !book.failed(&name("b"), "nobody there"), "told once");
        assert_eq!(book.states()[0].last_error.as_deref(), Some("nobody there"));
        let live = link(1, "b", true, 1);
        book.admit(&me, &live, 10);
        assert!(!book.failed(&name("b"), "another try"));
        let state = &book.states()[0];
        assert!(state.up && state.since == 10 && state.last_error.is_none() && state.hello.is_some());
        book.end(&live, "silence", 20);
        let state = &book.states()[0];
        assert!(!state.up && state.since == 20 && state.last_error.as_deref() == Some("silence"));
    }
}
