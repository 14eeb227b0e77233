//! Who is connected, how many may be, and who has to go when there is no place left.
//!
//! Nobody can lock others out by connections that are never finished or never used:
//! - A connection that came through its handshake is never displaced: a newcomer cannot hurt a served client.
//! - One peer (an IPv4 address, an IPv6 /64, a user, a machine) has at most its share, a part of all places, so that
//!   others find room however many connections it holds open.
//! - A handshake costs nothing but its place, and gives that up. When no place is left, a newcomer takes that of the oldest
//!   handshake of the peer that has most of them: whoever floods displaces itself, and a client that just needs the few
//!   milliseconds of one handshake is displaced only if, in that time, every other handshake was displaced before.
//! - Only when all places are taken by clients in transmission is a newcomer turned away.
//!
//! Invariants: `total` and the parties' sums count the same connections, those that were displaced left out; of those, which
//! still hold a descriptor until their worker has noticed, there are at most [`LEAVING_MAX`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::access::Peer;
use crate::engine::Sock;

/// Most displaced connections that are not gone yet.
const LEAVING_MAX: usize = 256;

/// Whom a connection counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// An IPv4 address.
    Four(u32),
    /// An IPv6 network of 64 bits, which is what one host gets.
    Six(u64),
    /// A user of this machine.
    User(u32),
    /// A virtual machine.
    Machine(u32),
    /// Everybody of whom nothing is known.
    Unknown,
}

impl From<&Peer> for Party {
    fn from(peer: &Peer) -> Party {
        match peer {
            Peer::Address(IpAddr::V4(address)) => Party::Four(address.to_bits()),
            Peer::Address(IpAddr::V6(address)) => Party::Six((address.to_bits() >> 64) as u64),
            Peer::Process { uid, .. } => Party::User(*uid),
            Peer::Machine(cid) => Party::Machine(*cid),
            Peer::Unknown => Party::Unknown,
        }
    }
}

/// Why a newcomer found no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All places are taken by clients in transmission.
    Server,
    /// The peer has its share, all of it in transmission.
    Peer,
    /// Too many displaced connections are not gone yet.
    Leaving,
}

/// The connections of a server.
#[derive(Debug)]
pub struct Roll {
    places: usize,
    per_party: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    total: usize,
    leaving: usize,
    displaced: u64,
    entries: HashMap<u64, Entry>,
    parties: HashMap<Party, Guests>,
    /// Parties with handshakes: how many, the oldest one, whose.
    crowds: BTreeSet<(usize, Reverse<u64>, Party)>,
}

#[derive(Debug)]
struct Entry {
    party: Party,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    Transmission,
    Displaced,
}

/// The connections of one party.
#[derive(Debug, Default)]
struct Guests {
    total: usize,
    /// Handshakes by age, each with its socket.
    handshakes: BTreeMap<u64, Weak<Sock>>,
}

impl Guests {
    fn crowd(&self, party: Party) -> Option<(usize, Reverse<u64>, Party)> {
        let oldest = self.handshakes.keys().next()?;
        Some((self.handshakes.len(), Reverse(*oldest), party))
    }
}

impl Roll {
    /// A roll of `places` places, of which one party may have `per_party`.
    pub fn new(places: usize, per_party: usize) -> Arc<Roll> {
        Arc::new(Roll { places, per_party, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic leaves counts at worst one too high; everybody goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a newcomer a place, if need be that of a handshake.
    pub fn admit(self: &Arc<Roll>, party: Party, socket: &Arc<Sock>) -> Result<Guest, Full> {
        let mut state = self.lock();
        let own = state.parties.get(&party).map_or(0, |guests| guests.total);
        if own >= self.per_party {
            state.displace_of(party).ok_or(Full::Peer)??;
        } else if state.total >= self.places {
            let largest = state.crowds.last().map(|(_, _, party)| *party).ok_or(Full::Server)?;
            state.displace_of(largest).ok_or(Full::Server)??;
        }
        let id = state.next;
        state.next += 1;
        state.total += 1;
        state.entries.insert(id, Entry { party, stage: Stage::Handshake });
        state.change(party, |guests| {
            guests.total += 1;
            guests.handshakes.insert(id, Arc::downgrade(socket));
        });
        Ok(Guest { roll: Arc::clone(self), party, id })
    }

    /// Displaces a handshake, if there is one: its descriptor is wanted.
    pub fn make_room(&self) -> bool {
        let mut state = self.lock();
        let largest = state.crowds.last().map(|(_, _, party)| *party);
        largest.and_then(|party| state.displace_of(party)).is_some_and(|done| done.is_ok())
    }

    /// Handshakes that had to give up their places.
    pub fn displaced(&self) -> u64 {
        self.lock().displaced
    }
}

impl State {
    /// Changes a party's connections and keeps `crowds` in step.
    fn change(&mut self, party: Party, change: impl FnOnce(&mut Guests)) {
        let guests = self.parties.entry(party).or_default();
        if let Some(crowd) = guests.crowd(party) {
            self.crowds.remove(&crowd);
        }
        change(guests);
        if let Some(crowd) = guests.crowd(party) {
            self.crowds.insert(crowd);
        }
        if guests.total == 0 {
            self.parties.remove(&party);
        }
    }

    /// Ends the oldest handshake of a party; `None` when it has none.
    fn displace_of(&mut self, party: Party) -> Option<Result<(), Full>> {
        let (&id, socket) = self.parties.get(&party)?.handshakes.first_key_value()?;
        if self.leaving >= LEAVING_MAX {
            return Some(Err(Full::Leaving));
        }
        // Its worker sees the end of the stream and lets it go.
        if let Some(socket) = socket.upgrade() {
            socket.shutdown();
        }
        self.entries.insert(id, Entry { party, stage: Stage::Displaced });
        self.leaving += 1;
        self.displaced += 1;
        self.take_out(id, party);
        Some(Ok(()))
    }

    fn take_out(&mut self, id: u64, party: Party) {
        self.total -= 1;
        self.change(party, |guests| {
            guests.total -= 1;
            guests.handshakes.remove(&id);
        });
    }
}

/// A connection's place; given up when dropped.
#[derive(Debug)]
pub struct Guest {
    roll: Arc<Roll>,
    party: Party,
    id: u64,
}

impl Guest {
    /// Whom it counts for.
    pub fn party(&self) -> Party {
        self.party
    }

    /// The handshake is over: from here on the place is safe. False when it was given to somebody else already.
    pub fn settle(&self) -> bool {
        let mut state = self.roll.lock();
        let Some(entry) = state.entries.get_mut(&self.id).filter(|entry| entry.stage != Stage::Displaced) else {
            return false;
        };
        entry.stage = Stage::Transmission;
        state.change(self.party, |guests| {
            guests.handshakes.remove(&self.id);
        });
        true
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.roll.lock();
        match state.entries.remove(&self.id) {
            Some(Entry { stage: Stage::Displaced, .. }) => state.leaving -= 1,
            Some(Entry { party, .. }) => state.take_out(self.id, party),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    /// A connection: its place and the other end of its socket.
    struct Connection {
        guest: Guest,
        _socket: Arc<Sock>,
        other: UnixStream,
    }

    impl Connection {
        fn is_cut(&self) -> bool {
            self.other.set_nonblocking(true).unwrap();
            matches!((&self.other).read(&mut [0; 1]), Ok(0))
        }
    }

    fn connect(roll: &Arc<Roll>, party: Party) -> Result<Connection, Full> {
        let (ours, other) = UnixStream::pair().unwrap();
        let socket = Arc::new(Sock::try_from(ours).unwrap());
        let guest = roll.admit(party, &socket)?;
        Ok(Connection { guest, _socket: socket, other })
    }

    const MANY: Party = Party::Four(1);
    const ONE: Party = Party::Four(2);

    #[test]
    fn a_flood_of_handshakes_displaces_itself() {
        let roll = Roll::new(8, 6);
        let single = connect(&roll, ONE).unwrap();
        let flood: Vec<Connection> = (0..100).map(|_| connect(&roll, MANY).unwrap()).collect();
        assert_eq!(flood.iter().filter(|it| !it.is_cut()).count(), 6, "its share, the latest");
        assert!(flood[..94].iter().all(Connection::is_cut));
        assert!(!single.is_cut() && single.guest.settle());
        let more = connect(&roll, Party::User(0)).unwrap();
        assert!(more.guest.settle() && !flood[0].guest.settle());
        assert_eq!(roll.displaced(), 94);
    }

    #[test]
    fn when_all_places_are_taken_the_largest_crowd_pays() {
        let roll = Roll::new(4, 4);
        let single = connect(&roll, ONE).unwrap();
        let crowd: Vec<Connection> = (0..3).map(|_| connect(&roll, MANY).unwrap()).collect();
        let _third = connect(&roll, Party::Six(3)).unwrap();
        assert!(crowd[0].is_cut() && !crowd[1].is_cut() && !single.is_cut());
    }

    #[test]
    fn served_clients_are_never_displaced() {
        let roll = Roll::new(3, 2);
        let served: Vec<Connection> = [MANY, MANY, ONE].map(|party| connect(&roll, party).unwrap()).into();
        assert!(served.iter().all(|it| it.guest.settle()));
        assert_eq!(connect(&roll, MANY).err(), Some(Full::Peer));
        assert_eq!(connect(&roll, ONE).err(), Some(Full::Server));
        assert!(!roll.make_room());
        assert!(served.iter().all(|it| !it.is_cut()));
        drop(served);
        assert!(connect(&roll, MANY).is_ok());
    }

    #[test]
    fn displaced_connections_that_linger_are_bounded() {
        let roll = Roll::new(1, 1);
        let mut all: Vec<Connection> = (0..=LEAVING_MAX).map(|_| connect(&roll, ONE).unwrap()).collect();
        assert_eq!(connect(&roll, ONE).err(), Some(Full::Leaving));
        all.remove(0);
        assert!(connect(&roll, ONE).is_ok());
        drop(all);
        let state = roll.lock();
        assert_eq!((state.total, state.leaving, state.entries.len(), state.parties.len()), (0, 0, 0, 0));
        assert!(state.crowds.is_empty());
    }

    #[test]
    fn an_ipv6_host_is_one_party_whatever_address_it_takes() {
        let party = |text: &str| Party::from(&Peer::Address(text.parse().unwrap()));
        assert_eq!(party("2001:db8::1"), party("2001:db8::ffff:2"));
        assert_ne!(party("2001:db8::1"), party("2001:db8:0:1::1"));
        assert_ne!(party("192.0.2.1"), party("192.0.2.2"));
    }
}
