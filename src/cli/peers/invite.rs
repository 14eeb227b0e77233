//! An invite: what another node makes its replica of a volume from. A file for certain nodes, signed by the one that made it.
//!
//! `KMINVITE`, version (u32), cluster, volume (16 bytes), who made it, how many it is for (u8), and for each of them its name, a
//! length (u32) and the founding, HPKE-sealed to that node's key; then an Ed25519 signature of all of that. Numbers are little endian, names
//! have a length (u16) in front.
//!
//! Invariants: nothing of it is believed before its signature is proven to be a configured member's; keys are in it only sealed, each
//! copy for one node, in the name of cluster, volume, maker and receiver; lengths are bounded before anything is copied.

use std::path::Path;
use std::sync::Arc;

use super::Peers;
use crate::cli::config::PeersPlan;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, bad_input};
use crate::cli::files;
use crate::cli::operations::Served;
use crate::cluster::identity::{NodeKeys, NodePublic};
use crate::cluster::name::NodeName;
use crate::cluster::record::{CLUSTER_MAX, MEMBERS_MAX};
use crate::control::api::{ApiError, ErrorKind, InviteRequest, InviteResult};
use crate::crypto::sign::PublicSigningKey;
use crate::crypto::{CryptoError, Secret, hpke};
use crate::format::Damage;
use crate::format::codec::{Reader, Writer};
use crate::format::handover::{FOUNDING_MAX, Founding};
use crate::units::VolumeId;

const MAGIC: &[u8; 8] = b"KMINVITE";
const VERSION: u32 = 1;
const WHAT: &str = "invite";
/// The purpose of the signature.
const SIGNED: &str = "keymoult invite 1";
/// The purpose of what is sealed.
const SEALED: &[u8] = b"keymoult invite 1";
const SIGNATURE: usize = 64;
/// Longest founding, sealed.
const SEALED_MAX: usize = FOUNDING_MAX + hpke::OVERHEAD;
/// Longest file, bytes.
pub const INVITE_MAX: usize = 1024 + MEMBERS_MAX * (SEALED_MAX + 128);

/// Reads the keys of the node that a plan is for, and holds them against its public line.
///
/// # Errors
/// They cannot be read, or are another node's.
pub fn read_identity(plan: &PeersPlan) -> Result<NodeKeys, Failure> {
    let place = plan.identity.display().to_string();
    let keys = NodeKeys::read(plan.node.clone(), &plan.identity)
        .map_err(|error| Failure::from_error(Exit::WrongKey, &error).at(place.clone()))?;
    match plan.members.iter().find(|member| member.name == plan.node) {
        Some(me) if me.public == keys.public() => Ok(keys),
        _ => Err(bad_input(format!("the node keys are not those that the public line of {} tells of", plan.node))
            .at(place)
            .hint(format!("its line would be {}", keys.public()))),
    }
}

/// `peer invite`.
pub fn make(peers: &Peers, volume: &str, request: &InviteRequest) -> Result<InviteResult, ApiError> {
    let bad = |what: String| ApiError::new(ErrorKind::BadInput, what);
    if request.nodes.is_empty() || request.nodes.len() > MEMBERS_MAX {
        return Err(bad(format!("an invite is for 1 to {MEMBERS_MAX} nodes")));
    }
    let known = |name: &String| {
        let member = peers.configured(name).map(|member| member.public);
        member.ok_or_else(|| {
            bad(format!("{name} stands in no [[peers.member]]"))
                .hint("add it to the configuration, and reload the daemon")
        })
    };
    let nodes = request.nodes.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    let served = peers.served(volume)?;
    let founding = served.controller.founding().map_err(crate::cli::operations::failed)?;
    let failed = |error: CryptoError| ApiError::new(ErrorKind::Internal, format!("the invite cannot be made: {error}"));
    let bytes = seal(&peers.plan.cluster, &peers.keys, &founding, &nodes).map_err(failed)?;
    files::make(Path::new(&request.into), &bytes).map_err(|error| {
        ApiError::new(ErrorKind::Io, format!("cannot write the file: {error}")).at(request.into.clone())
    })?;
    Ok(InviteResult {
        volume: volume.into(),
        path: request.into.clone(),
        size_bytes: bytes.len() as u64,
        nodes: request.nodes.clone(),
        generations: founding.keys.iter().map(|key| key.handover.generation.0).collect(),
    })
}

/// The file.
fn seal(cluster: &str, keys: &NodeKeys, founding: &Founding, nodes: &[NodePublic]) -> Result<Vec<u8>, CryptoError> {
    let mut out = Writer::new();
    out.raw(MAGIC).u32(VERSION).short_bytes(cluster.as_bytes()).raw(&founding.volume.0);
    out.short_bytes(keys.name().as_str().as_bytes()).u8(u8::try_from(nodes.len()).unwrap_or(u8::MAX));
    let plain = founding.encode();
    for node in nodes {
        let about = about(cluster, founding.volume, keys.name(), &node.name);
        let sealed = hpke::seal(&node.seal, SEALED, &about, &plain)?;
        out.short_bytes(node.name.as_str().as_bytes())
            .u32(u32::try_from(sealed.len()).unwrap_or(u32::MAX))
            .raw(&sealed);
    }
    let signature = keys.sign().sign(SIGNED, &out.bytes)?;
    out.raw(&signature);
    Ok(out.bytes)
}

/// What a sealed founding is bound to.
fn about(cluster: &str, volume: VolumeId, from: &NodeName, to: &NodeName) -> Vec<u8> {
    let mut out = Writer::new();
    out.short_bytes(cluster.as_bytes()).raw(&volume.0);
    out.short_bytes(from.as_str().as_bytes()).short_bytes(to.as_str().as_bytes());
    out.bytes
}

/// An invite as it stands in its file; sealed, and not proven.
struct Envelope<'a> {
    cluster: String,
    volume: VolumeId,
    from: String,
    sealed: Vec<(String, &'a [u8])>,
    signed: &'a [u8],
    signature: &'a [u8],
}

fn parse(bytes: &[u8]) -> Result<Envelope<'_>, Damage> {
    let (signed, signature) = bytes.split_at(bytes.len().saturating_sub(SIGNATURE));
    let mut reader = Reader::new(WHAT, signed);
    let magic: [u8; 8] = reader.array("magic")?;
    reader.require(magic == *MAGIC, "magic")?;
    let version = reader.u32("version")?;
    reader.require(version == VERSION, "version")?;
    let cluster = reader.string("cluster", CLUSTER_MAX)?;
    let volume = VolumeId(reader.array("volume")?);
    let from = reader.string("maker", crate::cluster::name::NAME_MAX)?;
    let count = usize::from(reader.u8("count")?);
    reader.require((1..=MEMBERS_MAX).contains(&count), "count")?;
    let mut sealed = Vec::with_capacity(count);
    for _ in 0..count {
        let name = reader.string("receiver", crate::cluster::name::NAME_MAX)?;
        let length = reader.u32("length")? as usize;
        reader.require(length <= SEALED_MAX, "length")?;
        sealed.push((name, reader.bytes("sealed founding", length)?));
    }
    reader.require(reader.rest().is_empty(), "end")?;
    Ok(Envelope { cluster, volume, from, sealed, signed, signature })
}

/// Opens an invite for the node that `plan` is for.
///
/// # Errors
/// It is none, not for this node, or not by a member that the plan names.
pub fn open_invite(plan: &PeersPlan, path: &Path) -> Result<Founding, Failure> {
    let keys = read_identity(plan)?;
    let bytes = files::read(path, INVITE_MAX as u64)?;
    opened(plan, &keys, &bytes).map_err(|failure| failure.at(path.display().to_string()))
}

fn opened(plan: &PeersPlan, keys: &NodeKeys, bytes: &[u8]) -> Result<Founding, Failure> {
    let invite = parse(bytes).map_err(|damage| bad_input(format!("this is no invite: {damage}")))?;
    let Some(maker) = plan.members.iter().find(|member| member.name.as_str() == invite.from) else {
        let what = format!("the invite is by {}, which is no member of this node's cluster", invite.from);
        return Err(Failure::new(Exit::Refused, what));
    };
    let verified = PublicSigningKey(maker.public.sign).verify(SIGNED, invite.signed, invite.signature);
    verified.map_err(|_| {
        Failure::new(Exit::Refused, format!("the invite is not signed by {}, or was changed", maker.name))
            .hint("nothing of it was believed; have it made again")
    })?;
    if invite.cluster != plan.cluster {
        return Err(Failure::new(
            Exit::Refused,
            format!("the invite is to cluster {}, this node is of {}", invite.cluster, plan.cluster),
        ));
    }
    let mine = invite.sealed.iter().find(|(name, _)| name == plan.node.as_str());
    let Some((_, sealed)) = mine else {
        let names: Vec<&str> = invite.sealed.iter().map(|(name, _)| name.as_str()).collect();
        let what = format!("the invite is for {}, not for {}", names.join(", "), plan.node);
        return Err(Failure::new(Exit::Refused, what).hint(format!("`keymoult peer invite … --node {}`", plan.node)));
    };
    let about = about(&plan.cluster, invite.volume, &maker.name, &plan.node);
    let plain: Secret = keys.seal().open(SEALED, &about, sealed).map_err(|error| {
        Failure::from_error(Exit::WrongKey, &error)
            .hint("was this node given new keys since? have the invite made again")
    })?;
    let founding = Founding::decode(plain.expose()).map_err(|damage| bad_input(damage.to_string()))?;
    match founding.volume == invite.volume {
        true => Ok(founding),
        false => Err(bad_input("the invite's volume is not that of its keys")),
    }
}

impl Peers {
    /// A served volume.
    pub(super) fn served(&self, volume: &str) -> Result<&Arc<Served>, ApiError> {
        let served = self.volumes.iter().find(|served| served.name == volume);
        served.ok_or_else(|| ApiError::no_such_volume(volume))
    }
}

#[cfg(test)]
#[path = "tests/invite.rs"]
mod tests;
