//! The `[peers]` of the configuration file: which cluster this node belongs to, who it is, who the others are.
//!
//! ```toml
//! [peers]
//! cluster = "lab"
//! node = "a"
//! lead = "a"
//! listen = "0.0.0.0:7010"
//! certificate = "/etc/keymoult/peers/node.crt"
//! key = "/etc/keymoult/peers/node.key"
//! authority = "/etc/keymoult/peers/ca.crt"
//! revoked = "/etc/keymoult/peers/ca.crl"
//! identity = "/etc/keymoult/peers/node.id"
//!
//! [[peers.member]]
//! name = "a"
//! address = "10.0.0.1:7010"
//! role = "full"
//! public = "keymoult-node:a:…"
//! ```
//!
//! A volume is one of theirs if its `[[volume]]` says `replicated = true`; a witness names those it has a vote on:
//!
//! ```toml
//! [[peers.witness]]
//! name = "disk0"
//! volume = "3f2b…-…"
//! ```
//!
//! Invariants: an unknown setting is refused; members' names, addresses and keys are distinct, this node is one of them, the lead is a full
//! one; each member's public line is of its name.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::super::names::check_name;
use super::VolumePlan;
use super::etcd::{EtcdPlan, FileEtcd};
use crate::cluster::identity::{NodeName, NodePublic, Role};
use crate::cluster::link::{LinkFiles, PEERS_MAX, PeerAddress, is_cluster};
use crate::units::VolumeId;

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPlan {
    /// Its name.
    pub name: NodeName,
    /// `HOST:PORT`, where it is dialled.
    pub address: String,
    /// What it does.
    pub role: Role,
    /// Its public keys.
    pub public: NodePublic,
}

/// The cluster of this node, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeersPlan {
    /// The name of the cluster.
    pub cluster: String,
    /// This node.
    pub node: NodeName,
    /// The node that leads unless another was promoted; a full one.
    pub lead: NodeName,
    /// Where peers are listened for.
    pub listen: SocketAddr,
    /// Certificates of the link.
    pub files: LinkFiles,
    /// The file of this node's keys.
    pub identity: PathBuf,
    /// All members, this node among them; two at least.
    pub members: Vec<MemberPlan>,
    /// Volumes that this node has a vote on, and no replica of.
    pub witnessed: Vec<Witnessed>,
    /// The coordinator, if there is one.
    pub etcd: Option<EtcdPlan>,
}

/// A volume that this node has a vote on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// What it is called here.
    pub name: String,
    /// Its identity.
    pub volume: VolumeId,
}

impl PeersPlan {
    /// What this node is.
    pub fn me(&self) -> Option<&MemberPlan> {
        self.members.iter().find(|member| member.name == self.node)
    }

    /// All others, as links have them.
    pub fn others(&self) -> Vec<PeerAddress> {
        let others = self.members.iter().filter(|member| member.name != self.node);
        others.map(|member| PeerAddress { name: member.name.clone(), address: member.address.clone() }).collect()
    }

    /// How many members are a majority.
    pub fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// What is allowed and will be regretted, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let (members, majority) = (self.members.len(), self.majority());
        let mut warnings = Vec::new();
        if members.is_multiple_of(2) {
            let more = if members == 2 { "a witness" } else { "one member more" };
            warnings.push(format!(
                "{members} members: the majority is {majority}, so that with {} unreachable neither a rollback nor a new lead is \
                 possible; {more} would let one fail",
                members - majority + 1
            ));
        }
        if self.members.iter().filter(|member| member.role == Role::Full).count() < 2 {
            warnings.push("one full member alone: nothing is mirrored".into());
        }
        warnings
    }
}

/// The table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FilePeers {
    cluster: String,
    node: String,
    lead: String,
    listen: String,
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
    revoked: Option<PathBuf>,
    identity: PathBuf,
    #[serde(default)]
    member: Vec<FileMember>,
    #[serde(default)]
    witness: Vec<FileWitness>,
    etcd: Option<FileEtcd>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileWitness {
    name: String,
    volume: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileMember {
    name: String,
    address: String,
    #[serde(default)]
    role: Option<String>,
    public: String,
}

impl FilePeers {
    /// What it says, checked.
    pub fn plan(&self) -> Result<PeersPlan, String> {
        if !is_cluster(&self.cluster) {
            return Err("peers.cluster is a name of 1 to 63 letters, digits, `-`, `_` and `.`".into());
        }
        let node = named("peers.node", &self.node)?;
        let lead = named("peers.lead", &self.lead)?;
        let listen = self.listen.parse().map_err(|_| {
            format!("peers.listen `{}` is no ADDRESS:PORT with an address in digits, such as 0.0.0.0:7010", self.listen)
        })?;
        let members = self.member.iter().map(FileMember::plan).collect::<Result<Vec<_>, _>>()?;
        check(&node, &lead, &members)?;
        let witnessed = self.witness.iter().map(FileWitness::plan).collect::<Result<Vec<_>, _>>()?;
        let etcd = self.etcd.as_ref().map(FileEtcd::plan).transpose()?;
        let files = LinkFiles {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            authority: self.authority.clone(),
            revoked: self.revoked.clone(),
        };
        let (cluster, identity) = (self.cluster.clone(), self.identity.clone());
        Ok(PeersPlan { cluster, node, lead, listen, files, identity, members, witnessed, etcd })
    }
}

impl FileWitness {
    fn plan(&self) -> Result<Witnessed, String> {
        check_name(&self.name)?;
        let volume = uuid(&self.volume).ok_or_else(|| {
            format!(
                "peers.witness `{}`: `{}` is no identity of a volume, as `volume info` shows it",
                self.name, self.volume
            )
        })?;
        Ok(Witnessed { name: self.name.clone(), volume })
    }
}

/// The volume whose identity is written so.
fn uuid(text: &str) -> Option<VolumeId> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let mut bytes = [0; 16];
    let fits = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (index, byte) in bytes.iter_mut().enumerate().take(if fits { 16 } else { 0 }) {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    let volume = VolumeId(bytes);
    (fits && volume.to_string() == text).then_some(volume)
}

/// Says what does not fit between the cluster and the volumes, if anything.
pub fn check_replicas(peers: Option<&PeersPlan>, volumes: &[VolumePlan]) -> Result<(), String> {
    let replica = volumes.iter().find(|volume| volume.replicated);
    let (Some(plan), Some(replica)) = (peers, replica) else {
        return match replica {
            Some(volume) => Err(format!("volume `{}` is replicated, but there is no [peers]", volume.name)),
            None => Ok(()),
        };
    };
    if plan.me().is_some_and(|me| me.role == Role::Witness) {
        return Err(format!("volume `{}` is replicated, but this node is a witness", replica.name));
    }
    if replica.read_only {
        return Err(format!(
            "volume `{}` is replicated and read-only: it could follow no change of keys",
            replica.name
        ));
    }
    let both = plan.witnessed.iter().find(|it| volumes.iter().any(|volume| volume.name == it.name));
    both.map_or(Ok(()), |it| Err(format!("`{}` is the name of a volume and of one that is witnessed", it.name)))
}

impl FileMember {
    fn plan(&self) -> Result<MemberPlan, String> {
        let name = named("peers.member.name", &self.name)?;
        let wrong = |what: String| format!("peers.member `{name}`: {what}");
        let role = self.role.as_deref().map_or(Ok(Role::Full), str::parse).map_err(|error| wrong(error.to_string()))?;
        let public: NodePublic = self.public.parse().map_err(|error| wrong(format!("{error}")))?;
        if public.name != name {
            return Err(wrong(format!("its public line is that of `{}`", public.name)));
        }
        let address = self.address.clone();
        check_address(&address).map_err(wrong)?;
        Ok(MemberPlan { name, address, role, public })
    }
}

fn named(setting: &str, text: &str) -> Result<NodeName, String> {
    text.parse().map_err(|error| format!("{setting}: {error}"))
}

/// Says what is wrong with `HOST:PORT`, if anything is.
pub fn check_address(address: &str) -> Result<(), String> {
    let wrong = || format!("the address `{address}` is no HOST:PORT");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fits = match bare {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    };
    let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse::<u16>().ok()).flatten();
    if fits && port.is_some_and(|port| port != 0) { Ok(()) } else { Err(wrong()) }
}

fn check(node: &NodeName, lead: &NodeName, members: &[MemberPlan]) -> Result<(), String> {
    if members.len() < 2 || members.len() > PEERS_MAX + 1 {
        return Err(format!("peers.member: a cluster has 2 to {} members, not {}", PEERS_MAX + 1, members.len()));
    }
    let (mut names, mut addresses, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for member in members {
        let name = &member.name;
        if !names.insert(name) {
            return Err(format!("peers.member: two members are called `{name}`"));
        }
        if !addresses.insert(&member.address) {
            return Err(format!("peers.member `{name}`: another member has the address {}", member.address));
        }
        if !keys.insert(member.public.sign) || !keys.insert(member.public.seal) {
            return Err(format!("peers.member `{name}`: another member has the same key; each node makes its own"));
        }
    }
    if !names.contains(node) {
        return Err(format!("peers.node `{node}` is none of the members"));
    }
    match members.iter().find(|member| member.name == *lead) {
        None => Err(format!("peers.lead `{lead}` is none of the members")),
        Some(member) if member.role == Role::Witness => {
            Err(format!("peers.lead `{lead}` is a witness; only a full member, which has keys, can lead"))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration of these members, `role` and name each.
    fn text(members: &[(&str, &str)]) -> String {
        let mut text =
            "cluster = \"lab\"\nnode = \"a\"\nlead = \"a\"\nlisten = \"0.0.0.0:7010\"\ncertificate = \"c\"\n\
                        key = \"k\"\nauthority = \"ca\"\nidentity = \"id\"\n"
                .to_owned();
        for (index, (name, role)) in members.iter().enumerate() {
            let key = |add: u8| [index as u8 * 2 + add; 32];
            let public = NodePublic { name: name.parse().unwrap(), sign: key(1), seal: key(2) };
            text += &format!(
                "[[member]]\nname = \"{name}\"\naddress = \"10.0.0.{index}:7010\"\nrole = \"{role}\"\npublic = \"{public}\"\n"
            );
        }
        text
    }

    fn plan(text: &str) -> Result<PeersPlan, String> {
        let file: FilePeers = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        file.plan()
    }

    const THREE: [(&str, &str); 3] = [("a", "full"), ("b", "full"), ("c", "witness")];

    #[test]
    fn a_whole_configuration_is_read() {
        let plan = plan(&text(&THREE)).unwrap();
        assert_eq!((plan.cluster.as_str(), plan.majority(), plan.warnings().len()), ("lab", 2, 0));
        assert_eq!(plan.others().iter().map(|peer| peer.name.to_string()).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(plan.members[2].role, Role::Witness);
        assert_eq!(plan.me().map(|me| me.name.as_str()), Some("a"));
    }

    #[test]
    fn two_members_without_a_witness_are_warned_of() {
        let warned = |members: &[(&str, &str)]| plan(&text(members)).unwrap().warnings();
        assert!(warned(&THREE[..2])[0].contains("a witness would let one fail"));
        assert!(warned(&[("a", "full"), ("w", "witness")])[1].contains("nothing is mirrored"));
        assert_eq!(warned(&[("a", "full"), ("b", "full"), ("c", "full"), ("d", "full")]).len(), 1);
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_name() {
        let good = text(&THREE);
        let cases = [
            (good.replace("lead = \"a\"", "lead = \"c\""), "is a witness"),
            (good.replace("lead = \"a\"", "lead = \"z\""), "peers.lead `z` is none"),
            (good.replace("node = \"a\"", "node = \"z\""), "peers.node `z` is none"),
            (good.replace("node = \"a\"", "node = \"A\""), "no name of a node"),
            (good.replace("\"lab\"", "\"a lab\""), "peers.cluster"),
            (good.replace("0.0.0.0:7010", "here:7010"), "peers.listen"),
            (good.replace("10.0.0.1:7010", "10.0.0.0:7010"), "another member has the address"),
            (good.replace("10.0.0.1:7010", "10.0.0.1"), "no HOST:PORT"),
            (good.replace("name = \"b\"", "name = \"d\""), "its public line is that of `b`"),
            (good.replace("\"witness\"", "\"judge\""), "no role"),
            (good.replace("listen =", "liston = 1\nlisten ="), "unknown field"),
            (good.replace("role =", "rule ="), "unknown field"),
            (text(&[("a", "full"), ("b", "full"), ("b", "full")]), "two members are called `b`"),
            (text(&THREE[..1]), "2 to"),
        ];
        for (text, says) in cases {
            let refusal = plan(&text).unwrap_err();
            assert!(refusal.contains(says), "{refusal} does not say {says}");
        }
        let first = good.lines().find(|line| line.starts_with("public")).unwrap();
        let public: NodePublic = first.split('"').nth(1).unwrap().parse().unwrap();
        let same = NodePublic { name: "b".parse().unwrap(), ..public };
        let second = good.lines().filter(|line| line.starts_with("public")).nth(1).unwrap();
        let doubled = good.replace(second, &format!("public = \"{same}\""));
        assert!(plan(&doubled).unwrap_err().contains("the same key"));
    }

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["a:1", "10.0.0.1:7010", "[2001:db8::1]:7010", "node-1.example.com:65535"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in ["", "a", ":1", "a:", "a:0", "a:65536", "a:+1", "2001:db8::1:7010", "[x]:1", "a b:1", "[::1]"] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }
}
