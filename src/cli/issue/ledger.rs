//! What an authority has to remember: `ca/cluster.toml`, its members and the certificates it has issued. Nothing in it is secret.
//!
//! Invariants: what is written is read back as the same; a file that does not fit together is refused before anything is made
//! after it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::cli::config::peers::{FilePeers, PeersPlan};
use crate::cluster::identity::Role;

/// Version of the file.
const FORMAT: u32 = 1;

/// A cluster as its authority knows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    format: u32,
    /// Name of the cluster.
    pub cluster: String,
    /// The node that leads.
    pub lead: String,
    /// Where each node has its folder.
    pub folder: String,
    /// How many lists of revoked certificates were made.
    pub lists: u64,
    /// All members.
    #[serde(default)]
    pub member: Vec<Member>,
    /// All certificates.
    #[serde(default)]
    pub certificate: Vec<Issued>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// `HOST:PORT`.
    pub address: String,
    /// `full` or `witness`.
    pub role: String,
    /// The line of its public keys.
    pub public: String,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// Whose.
    pub node: String,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// When it ends, seconds since 1970.
    pub ends: u64,
    /// When it was revoked, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<u64>,
}

/// A string in TOML, which takes those of JSON.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

impl Ledger {
    /// A cluster without members.
    pub fn new(cluster: &str, lead: &str, folder: &str) -> Ledger {
        let (cluster, lead, folder) = (cluster.to_owned(), lead.to_owned(), folder.to_owned());
        Ledger { format: FORMAT, cluster, lead, folder, lists: 0, member: Vec::new(), certificate: Vec::new() }
    }

    /// Reads the file.
    pub fn read(text: &str) -> Result<Ledger, String> {
        let ledger: Ledger = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        match ledger.format {
            FORMAT => Ok(ledger),
            newer => Err(format!("it has format {newer}; this program knows {FORMAT}")),
        }
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text = String::from("# Written by `keymoult peer`; not secret.\n");
        let _ = writeln!(
            text,
            "format = {}\ncluster = {}\nlead = {}",
            self.format,
            quoted(&self.cluster),
            quoted(&self.lead)
        );
        let _ = writeln!(text, "folder = {}\nlists = {}", quoted(&self.folder), self.lists);
        for member in &self.member {
            let _ = writeln!(text, "\n[[member]]\n{}", member.lines());
        }
        for one in &self.certificate {
            let _ = writeln!(
                text,
                "\n[[certificate]]\nnode = {}\nserial = {}\nends = {}",
                quoted(&one.node),
                quoted(&one.serial),
                one.ends
            );
            if let Some(at) = one.revoked {
                let _ = writeln!(text, "revoked = {at}");
            }
        }
        text
    }

    /// What `node` puts into its configuration, checked as it will be there.
    pub fn fragment(&self, node: &Member) -> Result<String, String> {
        let file = |name: &str| quoted(&format!("{}/{name}", self.folder.trim_end_matches('/')));
        let mut text = String::from("# For the configuration file of this node, made by `keymoult peer`.\n[peers]\n");
        let _ = writeln!(
            text,
            "cluster = {}\nnode = {}\nlead = {}",
            quoted(&self.cluster),
            quoted(&node.name),
            quoted(&self.lead)
        );
        let _ = writeln!(text, "listen = {}", quoted(&listen(&node.address)));
        for (setting, name) in [
            ("certificate", "node.crt"),
            ("key", "node.key"),
            ("authority", "ca.crt"),
            ("revoked", "ca.crl"),
            ("identity", "node.id"),
        ] {
            let _ = writeln!(text, "{setting} = {}", file(name));
        }
        for member in &self.member {
            let _ = writeln!(text, "\n[[peers.member]]\n{}", member.lines());
        }
        plan(&text)?;
        Ok(text)
    }
}

/// The plan that a configuration of nothing but this fragment has.
pub fn plan(fragment: &str) -> Result<PeersPlan, String> {
    #[derive(Deserialize)]
    struct Whole {
        peers: FilePeers,
    }
    let whole: Whole = toml::from_str(fragment).map_err(|error| error.message().to_owned())?;
    whole.peers.plan()
}

impl Member {
    /// A member that begins now.
    pub fn new(name: &str, address: &str, role: Role, public: &str) -> Member {
        let (name, address, public) = (name.to_owned(), address.to_owned(), public.to_owned());
        Member { name, address, role: role.word().to_owned(), public }
    }

    fn lines(&self) -> String {
        let [name, address, role, public] =
            [&self.name, &self.address, &self.role, &self.public].map(|text| quoted(text));
        format!("name = {name}\naddress = {address}\nrole = {role}\npublic = {public}")
    }
}

/// Where a node listens that is dialled at `address`: there, if that is in digits, else everywhere.
fn listen(address: &str) -> String {
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => format!("0.0.0.0:{}", address.rsplit(':').next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::identity::NodeKeys;

    #[test]
    fn what_is_written_is_read_back() {
        let mut ledger = Ledger::new("lab", "a", "/etc/\"odd\" folder");
        for (name, address) in [("a", "10.0.0.1:7010"), ("b", "b.example.com:7011")] {
            let public = NodeKeys::new(name.parse().unwrap()).unwrap().public().to_string();
            ledger.member.push(Member::new(name, address, Role::Full, &public));
            let issued = Issued { node: name.into(), serial: "0a1b".into(), ends: 7, revoked: None };
            ledger.certificate.push(Issued { revoked: (name == "b").then_some(5), ..issued });
        }
        assert_eq!(Ledger::read(&ledger.text()), Ok(ledger.clone()));
        let fragment = ledger.fragment(&ledger.member[1]).unwrap();
        let plan = plan(&fragment).unwrap();
        assert_eq!((plan.node.as_str(), plan.listen.to_string().as_str()), ("b", "0.0.0.0:7011"));
        assert_eq!(plan.identity, std::path::Path::new("/etc/\"odd\" folder/node.id"));
        assert!(Ledger::read(&ledger.text().replace("format = 1", "format = 2")).unwrap_err().contains("format 2"));
    }
}
