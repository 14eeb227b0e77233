//! Who may connect to a listener, judged before a byte is exchanged.
//!
//! Invariants: without a rule everybody may who can reach the listener; with one, only who is named, and a peer of which
//! nothing is known is nobody; a network matches by whole prefixes of bits, never by text; an IPv4 address that arrives in
//! IPv6 clothes (`::ffff:10.0.0.1`) is the IPv4 address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Addresses that share the first `bits` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |one: u128, other: u128, width: u32| {
            // A shift by the whole width is the empty prefix, which everything has.
            (one ^ other).checked_shr(width - u32::from(self.bits)).unwrap_or(0) == 0
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same(own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        const FORM: &str = "an address or a network: 192.0.2.7, 10.0.0.0/8, ::1, fd00::/8";
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| format!("`{text}` is not {FORM}"))?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(width), |bits| bits.parse().ok().filter(|bits| *bits <= width));
        let bits = bits.ok_or_else(|| format!("`{text}` has no prefix length from 0 to {width}"))?;
        let network = Network { address, bits };
        let network = unmapped(network).ok_or_else(|| format!("`{text}` is IPv4 in part only: write it as IPv4"))?;
        match network.first() == network.address {
            true => Ok(network),
            false => Err(format!("`{text}` has bits behind its prefix: write {}/{}", network.first(), network.bits)),
        }
    }
}

/// The IPv4 network that is meant by a mapped one; `None` if it is not wholly inside the mapped range.
fn unmapped(network: Network) -> Option<Network> {
    match network.address.to_canonical() {
        IpAddr::V4(address) if network.address.is_ipv6() => {
            Some(Network { address: address.into(), bits: network.bits.checked_sub(96)? })
        }
        _ => Some(network),
    }
}

impl Network {
    /// Its lowest address.
    fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(own) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4((own.to_bits() & mask).into())
            }
            IpAddr::V6(own) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(own.to_bits() & mask))
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Who connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody at an address; TCP.
    Address(IpAddr),
    /// A process of this machine; unix sockets.
    Process {
        /// Its user.
        uid: u32,
        /// Its groups.
        gids: Vec<u32>,
    },
    /// A virtual machine, or the host of this one; vsock.
    Machine(u32),
    /// The system did not say.
    Unknown,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Address(address) => write!(f, "{address}"),
            Peer::Process { uid, .. } => write!(f, "uid {uid}"),
            Peer::Machine(cid) => write!(f, "cid {cid}"),
            Peer::Unknown => f.write_str("unknown"),
        }
    }
}

/// The rules of one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Addresses that may connect by TCP.
    pub networks: Vec<Network>,
    /// Context ids that may connect by vsock.
    pub machines: Vec<u32>,
    /// Users that may connect to a unix socket.
    pub users: Vec<u32>,
    /// Groups whose members may connect to a unix socket.
    pub groups: Vec<u32>,
}

/// Kinds of sockets, as far as rules differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Tcp,
    Vsock,
    Unix,
}

impl Access {
    /// Whether `peer` may connect.
    pub fn admits(&self, peer: &Peer) -> bool {
        if *self == Access::default() {
            return true;
        }
        match peer {
            Peer::Address(address) => self.networks.iter().any(|network| network.contains(*address)),
            Peer::Machine(cid) => self.machines.contains(cid),
            Peer::Process { uid, gids } => self.users.contains(uid) || gids.iter().any(|gid| self.groups.contains(gid)),
            Peer::Unknown => false,
        }
    }

    /// Says what is wrong with these rules for a socket of that kind: a rule that could never match is a mistake.
    pub fn check(&self, kind: Kind) -> Result<(), String> {
        let stray = [
            (!self.networks.is_empty() && kind != Kind::Tcp, "`allow` with addresses is for TCP"),
            (!self.machines.is_empty() && kind != Kind::Vsock, "`allow` with cid:NUMBER is for vsock"),
            (!self.users.is_empty() && kind != Kind::Unix, "`users` is for unix sockets"),
            (!self.groups.is_empty() && kind != Kind::Unix, "`groups` is for unix sockets"),
        ];
        match stray.into_iter().find(|(is_stray, _)| *is_stray) {
            Some((_, what)) => Err(what.into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn networks_match_whole_prefixes_of_bits() {
        for (network, address) in [
            ("10.0.0.0/8", "10.255.0.1"),
            ("192.0.2.7", "192.0.2.7"),
            ("0.0.0.0/0", "203.0.113.9"),
            ("192.0.2.128/25", "192.0.2.129"),
            ("::1", "::1"),
            ("fd00::/8", "fdff::1"),
            ("::/0", "2001:db8::1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.1.2.3"),
        ] {
            assert!(inside(network, address), "{network} {address}");
        }
        for (network, address) in [
            // The text of one is a prefix of the other's.
            ("192.0.2.1", "192.0.2.10"),
            ("10.0.0.0/8", "100.0.0.1"),
            ("192.0.2.0/25", "192.0.2.128"),
            ("0.0.0.0/0", "2001:db8::1"),
            ("::/0", "192.0.2.1"),
            ("::/0", "::ffff:192.0.2.1"),
            ("fd00::/8", "fe00::1"),
            ("::1", "::2"),
        ] {
            assert!(!inside(network, address), "{network} {address}");
        }
    }

    #[test]
    fn every_prefix_length_decides_by_its_last_bit() {
        for bits in 1..=32u32 {
            let network: Network = format!("0.0.0.0/{bits}").parse().unwrap();
            let address = |value: u32| IpAddr::V4(value.into());
            assert!(network.contains(address(u32::MAX.checked_shr(bits).unwrap_or(0))), "{bits}");
            assert!(!network.contains(address(1 << (32 - bits))), "{bits}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let texts = ["", "10", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.1/8", "fd00::1/8", "host", "10.0.0.0/-1"];
        for text in texts.into_iter().chain(["::ffff:10.0.0.0/90", "10.0.0.0/8/8", " ::1"]) {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert!("10.0.0.1/8".parse::<Network>().unwrap_err().contains("write 10.0.0.0/8"));
    }

    #[test]
    fn rules_name_who_may_and_nobody_else() {
        let everybody = Access::default();
        assert!(everybody.admits(&Peer::Unknown));
        let by_address = Access { networks: vec!["10.0.0.0/8".parse().unwrap()], ..Access::default() };
        assert!(by_address.admits(&Peer::Address("10.0.0.1".parse().unwrap())));
        assert!(!by_address.admits(&Peer::Address("11.0.0.1".parse().unwrap())));
        let process = |uid, gids: &[u32]| Peer::Process { uid, gids: gids.to_vec() };
        let local = Access { users: vec![7], groups: vec![100], ..Access::default() };
        assert!(local.admits(&process(7, &[])) && local.admits(&process(8, &[1, 100])));
        assert!(!local.admits(&process(0, &[0, 7])), "root is no exception: whoever is not named is not");
        let machines = Access { machines: vec![3], ..Access::default() };
        assert!(machines.admits(&Peer::Machine(3)) && !machines.admits(&Peer::Machine(4)));
        for rules in [by_address, local, machines] {
            assert!(!rules.admits(&Peer::Unknown));
        }
    }

    #[test]
    fn a_rule_that_cannot_match_is_a_mistake() {
        let users = Access { users: vec![0], ..Access::default() };
        assert!(users.check(Kind::Unix).is_ok() && users.check(Kind::Tcp).is_err());
        let networks = Access { networks: vec!["::1".parse().unwrap()], ..Access::default() };
        assert!(networks.check(Kind::Tcp).is_ok() && networks.check(Kind::Unix).is_err());
        let machines = Access { machines: vec![2], ..Access::default() };
        assert!(machines.check(Kind::Vsock).is_ok() && machines.check(Kind::Tcp).is_err());
    }
}
