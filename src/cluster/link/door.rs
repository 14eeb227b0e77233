//! How many connections may be on their way to a link at a time, before anybody knows whose they are.
//!
//! Invariants: at most [`PENDING_MAX`] of all and [`PENDING_OF_ONE`] of one origin; one more makes the oldest give way, since a peer is done in a
//! moment and whoever holds connections open is not; an origin that comes faster than [`PER_SECOND`] is turned away unheard. What is kept of origins
//! is bounded, too. An origin is an IPv4 address or an IPv6 network of 64 bits.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Most connections at a time.
pub const PENDING_MAX: usize = 64;
/// Of these, most of one origin.
pub const PENDING_OF_ONE: usize = 16;
/// New connections of one origin, each second.
pub const PER_SECOND: u32 = 8;
/// New connections of one origin that may come at once.
pub const BURST: u32 = 32;
/// Origins whose rate is known.
const ORIGINS_MAX: usize = 256;

/// The book of who is on the way in.
#[derive(Default)]
pub struct Door {
    pending: VecDeque<Pending>,
    origins: VecDeque<Origin>,
    next: u64,
}

struct Pending {
    number: u64,
    origin: IpAddr,
    cut: Arc<Notify>,
}

struct Origin {
    origin: IpAddr,
    /// When it will have nothing on account; each connection puts this off.
    even: Instant,
}

/// One that came in.
pub struct Entered {
    /// For [`Door::leave`].
    pub number: u64,
    /// Told when it has to give way.
    pub cut: Arc<Notify>,
}

impl Door {
    /// Lets a connection from `address` in; none if its origin comes too often.
    pub fn enter(&mut self, address: IpAddr, now: Instant) -> Option<Entered> {
        let origin = origin(address);
        if !self.is_within_rate(origin, now) {
            return None;
        }
        let of_one = self.pending.iter().filter(|other| other.origin == origin).count();
        if of_one >= PENDING_OF_ONE {
            self.cut_first(|other| other.origin == origin);
        } else if self.pending.len() >= PENDING_MAX {
            self.cut_first(|_| true);
        }
        self.next += 1;
        let (number, cut) = (self.next, Arc::new(Notify::new()));
        self.pending.push_back(Pending { number, origin, cut: Arc::clone(&cut) });
        Some(Entered { number, cut })
    }

    /// It is a link by now, or gone.
    pub fn leave(&mut self, number: u64) {
        self.pending.retain(|other| other.number != number);
    }

    fn cut_first(&mut self, is_it: impl Fn(&Pending) -> bool) {
        if let Some(oldest) = self.pending.iter().position(is_it).and_then(|at| self.pending.remove(at)) {
            oldest.cut.notify_one();
        }
    }

    fn is_within_rate(&mut self, origin: IpAddr, now: Instant) -> bool {
        let step = Duration::from_secs(1) / PER_SECOND;
        // Whoever has nothing on account any more is like somebody new.
        self.origins.retain(|known| known.even > now);
        let known = self.origins.iter().position(|known| known.origin == origin).and_then(|at| self.origins.remove(at));
        let even = known.map_or(now, |known| known.even);
        let is_within = even + step <= now + step * BURST;
        if self.origins.len() >= ORIGINS_MAX {
            self.origins.pop_front();
        }
        self.origins.push_back(Origin { origin, even: if is_within { even + step } else { even } });
        is_within
    }

    /// How many are on their way in.
    #[cfg(test)]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

/// Who counts as one.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::timeout;

    use super::*;

    fn at(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    async fn is_cut(entered: &Entered) -> bool {
        timeout(Duration::from_millis(1), entered.cut.notified()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn one_origin_makes_only_its_own_give_way() {
        let mut door = Door::default();
        let other = door.enter(at(1), Instant::now()).unwrap();
        let many: Vec<Entered> = (0..=PENDING_OF_ONE).map(|_| door.enter(at(2), Instant::now()).unwrap()).collect();
        assert_eq!(door.pending(), 1 + PENDING_OF_ONE);
        assert!(is_cut(&many[0]).await && !is_cut(&many[1]).await && !is_cut(&other).await);
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_origins_the_oldest_gives_way() {
        let mut door = Door::default();
        let all: Vec<Entered> =
            (0..=PENDING_MAX as u8).map(|last| door.enter(at(last), Instant::now()).unwrap()).collect();
        assert_eq!(door.pending(), PENDING_MAX);
        assert!(is_cut(&all[0]).await && !is_cut(&all[1]).await);
        all.iter().for_each(|entered| door.leave(entered.number));
        assert_eq!(door.pending(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_too_often_is_turned_away_until_later() {
        let (mut door, now) = (Door::default(), Instant::now());
        let let_in = |door: &mut Door, address, now| (0..100).filter(|_| door.enter(address, now).is_some()).count();
        assert_eq!(let_in(&mut door, at(1), now), BURST as usize);
        assert!(door.enter(at(2), now).is_some(), "others come in");
        assert_eq!(let_in(&mut door, at(1), now + Duration::from_secs(1)), PER_SECOND as usize);
        assert_eq!(let_in(&mut door, at(1), now + Duration::from_secs(3600)), BURST as usize);
        for last in 0..2000u32 {
            door.enter(IpAddr::V4(Ipv4Addr::from(last)), now);
        }
        assert!(door.origins.len() <= ORIGINS_MAX && door.pending() <= PENDING_MAX);
    }

    #[test]
    fn a_network_of_ipv6_and_an_address_of_ipv4_in_it_are_one() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(origin(ip("2001:db8::1")), origin(ip("2001:db8::ffff:1:2:3")));
        assert_ne!(origin(ip("2001:db8::1")), origin(ip("2001:db8:0:1::1")));
        assert_eq!(origin(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }
}
