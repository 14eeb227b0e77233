//! `keymoult peer init-ca`, `issue` and `revoke-certificate`: an authority for a cluster, kept in a directory.
//!
//! ```text
//! DIR/ca/       ca.key (0600, belongs offline)  ca.crt  ca.crl  cluster.toml
//! DIR/NODE/     ca.crt  ca.crl  node.crt  node.key  node.id  peers.toml       (0700; goes to the node as it is)
//! ```
//!
//! Invariants: no key is ever overwritten, and none is made unless everything that was asked for can be; certificates, lists and
//! fragments are replaced in one step; every fragment was read as a node will read it.

mod authority;
mod ledger;
#[cfg(test)]
mod tests;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::KeyPair;
use serde::Serialize;
use zeroize::Zeroizing;

use super::args::{InitCaArgs, IssueArgs, IssueCommand, NodeAt, RevokeArgs};
use super::exit::Exit;
use super::failure::{Failure, bad_input};
use super::files;
use super::output::{Output, row, table};
use crate::cluster::identity::{BadName, IdentityError, NodeKeys, Role};
use crate::cluster::link::is_cluster;
use crate::crypto::Secret;
use crate::units::hex;
use authority::{Authority, DAY, Revoked};
use ledger::{Issued, Ledger, Member};

/// Longest file that is read, bytes.
const FILE_MAX: u64 = 1 << 20;
/// Length of a serial number, bytes; the first bit is never set, so that it is no negative number.
const SERIAL_LEN: usize = 16;

/// Runs one of the commands.
pub fn run(command: &IssueCommand, output: &Output) -> Result<Exit, Failure> {
    match command {
        IssueCommand::InitCa(args) => init(args, output),
        IssueCommand::Issue(args) => issue(args, output),
        IssueCommand::RevokeCertificate(args) => revoke(args, output),
    }
}

/// What was made.
#[derive(Debug, Serialize)]
struct Made {
    /// Name of the cluster.
    cluster: String,
    /// The directory of everything.
    directory: String,
    /// The nodes with a new certificate.
    nodes: Vec<MadeNode>,
    /// What is allowed and will be regretted.
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct MadeNode {
    name: String,
    role: String,
    address: String,
    /// Its folder.
    folder: String,
    /// Serial number of the certificate.
    serial: String,
    /// When that ends.
    certificate_ends: String,
    /// The line of its public keys.
    public: String,
}

/// What was revoked.
#[derive(Debug, Serialize)]
struct Withdrawn {
    cluster: String,
    node: String,
    /// Serial numbers that are revoked now and were not before.
    serials: Vec<String>,
    /// The list that says so.
    list: String,
}

fn init(args: &InitCaArgs, output: &Output) -> Result<Exit, Failure> {
    if !is_cluster(&args.cluster) {
        return Err(bad_input("a cluster's name is 1 to 63 letters, digits, `-`, `_` and `.`").at("--cluster"));
    }
    let lead = args.lead.as_ref().unwrap_or(&args.nodes[0].name);
    let folder = args.folder.to_str().ok_or_else(|| bad_input("the path is not UTF-8").at("--folder"))?;
    let mut place = Place {
        directory: args.into.clone(),
        ledger: Ledger::new(&args.cluster, lead.as_str(), folder),
        now: now(),
        days: args.days,
    };
    let new = new_members(&args.nodes, &args.witnesses);
    place.check(&new)?;
    let ca = place.ca("");
    if ca.exists() {
        return Err(bad_input("there is an authority already, and keys are never overwritten")
            .at(ca.display().to_string())
            .hint("`keymoult peer issue` adds nodes; name another directory with --into"));
    }
    make_folder(&args.into)?;
    make_folder(&ca)?;
    let key = KeyPair::generate().map_err(crypto)?;
    make(&place.ca("ca.key"), Zeroizing::new(key.serialize_pem()).as_bytes())?;
    make(&place.ca("ca.crt"), Authority::certificate(&args.cluster, &key, place.now).map_err(crypto)?.as_bytes())?;
    let authority = Authority::of(&args.cluster, key);
    let made = place.add(&authority, &new)?;
    tell(&place, made, output)
}

fn issue(args: &IssueArgs, output: &Output) -> Result<Exit, Failure> {
    let (mut place, authority) = Place::open(&args.ca, args.days)?;
    let new = new_members(&args.nodes, &args.witnesses);
    place.check(&new)?;
    for name in &args.renew {
        place.member(name.as_str())?;
    }
    let mut made = place.add(&authority, &new)?;
    for name in &args.renew {
        made.push(place.renew(&authority, name.as_str())?);
    }
    place.save(&authority)?;
    tell(&place, made, output)
}

fn revoke(args: &RevokeArgs, output: &Output) -> Result<Exit, Failure> {
    let (mut place, authority) = Place::open(&args.ca, 1)?;
    let (node, now) = (args.node.as_str(), place.now);
    let is_meant = |one: &&mut Issued| {
        one.node == node && args.serial.as_ref().is_none_or(|serial| one.serial.eq_ignore_ascii_case(serial))
    };
    let meant: Vec<&mut Issued> = place.ledger.certificate.iter_mut().filter(is_meant).collect();
    if meant.is_empty() {
        let known = bad_input(format!("this authority has issued no such certificate of `{node}`"));
        return Err(known.at(place.ca("cluster.toml").display().to_string()));
    }
    let new = meant.into_iter().filter(|one| one.revoked.is_none()).map(|one| {
        one.revoked = Some(now);
        one.serial.clone()
    });
    let serials: Vec<String> = new.collect();
    place.save(&authority)?;
    let list = place.ca("ca.crl").display().to_string();
    let withdrawn = Withdrawn { cluster: place.ledger.cluster.clone(), node: node.into(), serials, list };
    output.result(&withdrawn, |withdrawn| {
        let serials = if withdrawn.serials.is_empty() { "nothing new".into() } else { withdrawn.serials.join(", ") };
        format!(
            "revoked of {}: {serials}\n  {} and ca.crl in the folder of every node say so\n  copy ca.crl to all nodes and send each \
             daemon SIGHUP: links of revoked certificates then end at once\n",
            withdrawn.node, withdrawn.list
        )
    })?;
    Ok(Exit::Ok)
}

fn tell(place: &Place, nodes: Vec<MadeNode>, output: &Output) -> Result<Exit, Failure> {
    let first = place.ledger.member.first().map(|member| place.ledger.fragment(member));
    let plan = first.and_then(Result::ok).and_then(|text| ledger::plan(&text).ok());
    let made = Made {
        cluster: place.ledger.cluster.clone(),
        directory: place.directory.display().to_string(),
        nodes,
        warnings: plan.map(|plan| plan.warnings()).unwrap_or_default(),
    };
    output.result(&made, |made| {
        let mut rows = vec![row(["  node", "role", "address", "certificate ends", "folder"])];
        rows.extend(made.nodes.iter().map(|node| {
            row([&format!("  {}", node.name), &node.role, &node.address, &node.certificate_ends, &node.folder])
        }));
        let mut text =
            format!("cluster {}: {} new certificates in {}\n", made.cluster, made.nodes.len(), made.directory);
        text += &table(&rows);
        text += &format!(
            "  copy each folder to {} of its node, and its peers.toml into the configuration there\n  {}/ca/ca.key \
             belongs offline: whoever has it can make peers\n",
            place.ledger.folder, made.directory
        );
        made.warnings.iter().for_each(|warning| text += &format!("  note: {warning}\n"));
        text
    })?;
    Ok(Exit::Ok)
}

/// A directory with an authority, and what is to be done there.
struct Place {
    directory: PathBuf,
    ledger: Ledger,
    /// Seconds since 1970.
    now: u64,
    /// Days that new certificates are good.
    days: u32,
}

impl Place {
    /// Reads what `init-ca` has made.
    fn open(directory: &Path, days: u32) -> Result<(Place, Authority), Failure> {
        let path = directory.join("ca/cluster.toml");
        let wrong = |why: String| {
            bad_input(format!("the authority's ledger will not do: {why}")).at(path.display().to_string())
        };
        let text = String::from_utf8(files::read(&path, FILE_MAX)?).map_err(|_| wrong("it is no text".into()))?;
        let ledger = Ledger::read(&text).map_err(wrong)?;
        let key = directory.join("ca/ca.key");
        let text = Zeroizing::new(files::read(&key, FILE_MAX)?);
        if std::fs::metadata(&key).is_ok_and(|found| found.mode() & 0o077 != 0) {
            let exposed = bad_input("others than its owner can read the authority's key").at(key.display().to_string());
            return Err(exposed.hint(format!("close it: chmod 600 {}", key.display())));
        }
        let refused = || bad_input("the authority's key is no private key in PEM form").at(key.display().to_string());
        let pem = std::str::from_utf8(&text).map_err(|_| refused())?;
        let authority = Authority::of(&ledger.cluster, KeyPair::from_pem(pem).map_err(|_| refused())?);
        Ok((Place { directory: directory.to_owned(), ledger, now: now(), days }, authority))
    }

    fn ca(&self, name: &str) -> PathBuf {
        self.directory.join("ca").join(name)
    }

    fn of(&self, node: &str) -> PathBuf {
        self.directory.join(node)
    }

    fn member(&self, name: &str) -> Result<&Member, Failure> {
        let found = self.ledger.member.iter().find(|member| member.name == name);
        found.ok_or_else(|| bad_input(format!("`{name}` is no member of the cluster {}", self.ledger.cluster)))
    }

    /// Whether these members can be added, found before any key is made: as they will be, but for their keys.
    fn check(&self, new: &[(NodeAt, Role)]) -> Result<(), Failure> {
        let mut then = self.ledger.clone();
        for (node, role) in new {
            let (name, folder) = (node.name.as_str(), self.of(node.name.as_str()));
            if name == "ca" || folder.exists() {
                return Err(bad_input("there is such a folder already, and keys are never overwritten")
                    .at(folder.display().to_string())
                    .hint("`keymoult peer issue --renew NAME` makes a new certificate for the key that is there"));
            }
            let stand_in = NodeKeys::new(node.name.clone()).map_err(|error| identity(&error))?;
            then.member.push(Member::new(name, &node.address, *role, &stand_in.public().to_string()));
        }
        then.member.first().map_or(Ok(()), |first| then.fragment(first).map(drop)).map_err(bad_input)
    }

    /// Makes keys, folders and certificates of new members.
    fn add(&mut self, authority: &Authority, new: &[(NodeAt, Role)]) -> Result<Vec<MadeNode>, Failure> {
        for (node, role) in new {
            let folder = self.of(node.name.as_str());
            make_folder(&folder)?;
            let keys = NodeKeys::new(node.name.clone()).map_err(|error| identity(&error))?;
            keys.write(&folder.join("node.id")).map_err(|error| identity(&error))?;
            let key = KeyPair::generate().map_err(crypto)?;
            make(&folder.join("node.key"), Zeroizing::new(key.serialize_pem()).as_bytes())?;
            let public = keys.public().to_string();
            self.ledger.member.push(Member::new(node.name.as_str(), &node.address, *role, &public));
        }
        let made = new.iter().map(|(node, _)| self.renew(authority, node.name.as_str())).collect::<Result<_, _>>()?;
        self.save(authority)?;
        Ok(made)
    }

    /// Makes a certificate for the key that the node's folder has.
    fn renew(&mut self, authority: &Authority, name: &str) -> Result<MadeNode, Failure> {
        let member = self.member(name)?.clone();
        let node = member.name.parse().map_err(|error: BadName| identity(&error.into()))?;
        let folder = self.of(name);
        let path = folder.join("node.key");
        let text = Zeroizing::new(files::read(&path, FILE_MAX)?);
        let refused = || bad_input("the node's key is no private key in PEM form").at(path.display().to_string());
        let pem = std::str::from_utf8(&text).map_err(|_| refused())?;
        let key = KeyPair::from_pem(pem).map_err(|_| refused())?;
        let ends = self.now + u64::from(self.days) * DAY;
        let serial = serial()?;
        let certificate = authority.issue(&node, &key, &serial, self.now, ends).map_err(crypto)?;
        // Before it can be used: what is not in the ledger cannot be revoked.
        let serial = hex(&serial);
        self.ledger.certificate.push(Issued { node: name.into(), serial: serial.clone(), ends, revoked: None });
        replace(&self.ca("cluster.toml"), self.ledger.text().as_bytes())?;
        replace(&folder.join("node.crt"), certificate.as_bytes())?;
        Ok(MadeNode {
            name: member.name,
            role: member.role,
            address: member.address,
            folder: folder.display().to_string(),
            serial,
            certificate_ends: time(ends),
            public: member.public,
        })
    }

    /// Writes the ledger, the list, and what every folder that is here has of them.
    fn save(&mut self, authority: &Authority) -> Result<(), Failure> {
        self.ledger.lists += 1;
        let revoked: Vec<Revoked> = self.ledger.certificate.iter().filter_map(revoked).collect();
        let list = authority.list(&revoked, self.ledger.lists, self.now).map_err(crypto)?;
        replace(&self.ca("cluster.toml"), self.ledger.text().as_bytes())?;
        replace(&self.ca("ca.crl"), list.as_bytes())?;
        let certificate = files::read(&self.ca("ca.crt"), FILE_MAX)?;
        for member in &self.ledger.member {
            let folder = self.of(&member.name);
            if !folder.is_dir() {
                continue;
            }
            replace(&folder.join("ca.crt"), &certificate)?;
            replace(&folder.join("ca.crl"), list.as_bytes())?;
            replace(&folder.join("peers.toml"), self.ledger.fragment(member).map_err(bad_input)?.as_bytes())?;
        }
        Ok(())
    }
}

fn new_members(nodes: &[NodeAt], witnesses: &[NodeAt]) -> Vec<(NodeAt, Role)> {
    let of = |nodes: &[NodeAt], role: Role| nodes.iter().map(move |node| (node.clone(), role)).collect::<Vec<_>>();
    [of(nodes, Role::Full), of(witnesses, Role::Witness)].concat()
}

fn revoked(one: &Issued) -> Option<Revoked> {
    let at = one.revoked?;
    let digits: Vec<u8> =
        one.serial.bytes().filter_map(|digit| char::from(digit).to_digit(16)).map(|value| value as u8).collect();
    Some(Revoked {
        serial: digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect(),
        at,
    })
}

fn serial() -> Result<Vec<u8>, Failure> {
    let bytes = Secret::random(SERIAL_LEN).map_err(|error| Failure::from_error(Exit::Internal, &error))?;
    let mut serial = bytes.expose().to_vec();
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// A time as people and programs read it.
fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "never".into(), |time| time.to_string())
}

fn crypto(error: rcgen::Error) -> Failure {
    Failure::from_error(Exit::Internal, &error)
}

fn identity(error: &IdentityError) -> Failure {
    Failure::from_error(Exit::BadInput, error)
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::StorageFull { Exit::Io } else { Exit::BadInput };
    Failure::new(exit, "cannot write it").at(path.display().to_string()).at(format!("because: {error}"))
}

/// Makes a folder for its owner alone, unless it is there.
fn make_folder(path: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().mode(0o700).recursive(true).create(path);
    made.and_then(|()| files::sync_directory(path)).map_err(|error| unwritable(path, &error))
}

/// Makes a file for its owner alone; it must not exist.
fn make(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    files::make(path, bytes).map_err(|error| unwritable(path, &error))
}

/// Writes a file, in place of what is there in one step. Never for keys.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    // What a run that was cut off has left is of no use.
    let _ = std::fs::remove_file(&new);
    let replaced =
        files::make(&new, bytes).and_then(|()| std::fs::rename(&new, path)).and_then(|()| files::sync_directory(path));
    replaced.map_err(|error| unwritable(path, &error))
}
