//! Bytes of the keyring record, and what of it and of promises is signed.
//!
//! Invariants: names, generations, ancestors and promises stand in their order, once each, so that one record has one
//! encoding; its hash is SHA-256 of that encoding, its signature is over a label and that encoding.

use sha2::{Digest, Sha256};

use super::{
    LABEL_KEYRING, LABEL_PROMISE, end, read_bool, read_count, read_generation, read_hash, read_head, read_long,
    read_name, read_stamp, write_count, write_long, write_name, write_stamp,
};
use crate::cluster::record::{
    ANCESTORS_MAX, Ancestor, CLUSTER_MAX, Change, Hash, Key, Keyring, MEMBERS_MAX, Member, NodeWrap, OnDeadline,
    Promise, RECORD_MAX, Role, Signed, Step,
};
use crate::format::codec::{Reader, Writer};
use crate::format::generations::{KeyState, Pace, REASON_MAX, VerifyMode};
use crate::format::lives::ACTOR_MAX;
use crate::format::wrapped::Wrapped;
use crate::format::{COUNTER_MAX, Damage};
use crate::limits::{GENERATIONS_MAX, WRAPS_MAX};
use crate::units::{Generation, VolumeId};

const WHAT: &str = "keyring record";
const MAGIC: &[u8; 8] = b"KMKEYREC";

/// Names of expelled members a record keeps.
pub const EXPELLED_MAX: usize = 64;
/// Wraps of one generation, over all members.
pub const NODE_WRAPS_MAX: usize = MEMBERS_MAX * WRAPS_MAX;

impl Keyring {
    /// The record's bytes. Texts longer than their bounds are cut; what breaks another bound is refused by
    /// [`Keyring::decode`], which whoever makes a record asks first.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(MAGIC).u16(super::VERSION);
        out.short_text(&self.cluster, CLUSTER_MAX).raw(&self.volume.0);
        write_stamp(&mut out, self.stamp);
        write_name(&mut out, &self.lead);
        write_count(&mut out, self.ancestors.len());
        for ancestor in &self.ancestors {
            write_stamp(&mut out, ancestor.stamp);
            out.raw(&ancestor.hash);
        }
        write_count(&mut out, self.members.len());
        for member in &self.members {
            write_member(&mut out, member);
        }
        write_count(&mut out, self.expelled.len());
        for name in &self.expelled {
            write_name(&mut out, name);
        }
        write_count(&mut out, self.mandate.len());
        for promise in &self.mandate {
            promise.write(&mut out);
        }
        write_count(&mut out, self.keys.len());
        for key in &self.keys {
            write_key(&mut out, key);
        }
        write_change(&mut out, &self.change);
        out.bytes
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The bytes are no record, or not as this build would write it.
    pub fn decode(bytes: &[u8]) -> Result<Keyring, Damage> {
        let mut r = Reader::new(WHAT, bytes);
        r.require(bytes.len() <= RECORD_MAX, "length")?;
        read_head(&mut r, WHAT, MAGIC)?;
        let record = Keyring {
            cluster: r.string("cluster", CLUSTER_MAX)?,
            volume: VolumeId(r.array("volume")?),
            stamp: read_stamp(&mut r, "stamp")?,
            lead: read_name(&mut r, "lead")?,
            ancestors: read_list(&mut r, "ancestors", ANCESTORS_MAX, read_ancestor)?,
            members: read_list(&mut r, "members", MEMBERS_MAX, read_member)?,
            expelled: read_list(&mut r, "expelled members", EXPELLED_MAX, |r| read_name(r, "expelled member"))?,
            mandate: read_list(&mut r, "mandate", MEMBERS_MAX, Promise::read)?,
            keys: read_list(&mut r, "generations", GENERATIONS_MAX, read_key)?,
            change: read_change(&mut r)?,
        };
        end(&r)?;
        in_order(&r, &record)?;
        Ok(record)
    }

    /// SHA-256 of the record's bytes.
    pub fn hash(&self) -> Hash {
        Sha256::digest(self.encode()).into()
    }

    /// What its lead signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        [LABEL_KEYRING, &self.encode()].concat()
    }
}

/// Whatever has an order stands in it.
fn in_order(r: &Reader<'_>, record: &Keyring) -> Result<(), Damage> {
    let older = record.ancestors.first().is_none_or(|first| first.stamp < record.stamp);
    r.require(older && record.ancestors.is_sorted_by(|a, b| a.stamp > b.stamp), "ancestors")?;
    r.require(!record.members.is_empty() && record.members.is_sorted_by(|a, b| a.name < b.name), "members")?;
    r.require(record.expelled.is_sorted_by(|a, b| a < b), "expelled members")?;
    r.require(record.mandate.is_sorted_by(|a, b| a.by < b.by), "mandate")?;
    r.require(record.keys.is_sorted_by(|a, b| a.generation < b.generation), "generations")
}

fn read_list<'a, T>(
    r: &mut Reader<'a>,
    field: &'static str,
    max: usize,
    one: impl Fn(&mut Reader<'a>) -> Result<T, Damage>,
) -> Result<Vec<T>, Damage> {
    let count = read_count(r, field, max)?;
    (0..count).map(|_| one(r)).collect()
}

fn read_ancestor(r: &mut Reader<'_>) -> Result<Ancestor, Damage> {
    Ok(Ancestor { stamp: read_stamp(r, "ancestor")?, hash: read_hash(r, "ancestor")? })
}

fn write_member(out: &mut Writer, member: &Member) {
    write_name(out, &member.name);
    out.u8(member.role as u8).raw(&member.sign).raw(&member.seal);
}

fn read_member(r: &mut Reader<'_>) -> Result<Member, Damage> {
    let name = read_name(r, "member")?;
    let role = match r.u8("role")? {
        1 => Role::Full,
        2 => Role::Witness,
        _ => return Err(r.bad("role")),
    };
    Ok(Member { name, role, sign: r.array("signing key")?, seal: r.array("sealing key")? })
}

fn write_key(out: &mut Writer, key: &Key) {
    out.u32(key.generation.0).raw(&key.key_id).u16(key.suite).u8(key.state as u8).u8(u8::from(key.compromised));
    out.u64(key.created).u64(key.activated).u64(key.scheduled).raw(&key.check);
    out.short_text(&key.reason, REASON_MAX);
    write_count(out, key.wraps.len());
    for wrap in &key.wraps {
        write_name(out, &wrap.node);
        wrap.wrapped.encode(out);
    }
}

fn read_key(r: &mut Reader<'_>) -> Result<Key, Damage> {
    let key = Key {
        generation: read_generation(r, "generation")?,
        key_id: r.array("key id")?,
        suite: r.u16("suite")?,
        state: KeyState::from_u8(r.u8("key state")?).ok_or_else(|| r.bad("key state"))?,
        compromised: read_bool(r, "compromised mark")?,
        created: r.u64("creation time")?,
        activated: r.u64("activation time")?,
        scheduled: r.u64("destruction date")?,
        check: r.array("check value")?,
        reason: r.string("reason", REASON_MAX)?,
        wraps: read_list(r, "wraps", NODE_WRAPS_MAX, |r| {
            Ok(NodeWrap { node: read_name(r, "wrap's node")?, wrapped: Wrapped::decode(r)? })
        })?,
    };
    r.require(key.wraps.is_sorted_by(|a, b| a.node <= b.node), "wraps")?;
    let each = key.wraps.chunk_by(|a, b| a.node == b.node).all(|wraps| wraps.len() <= WRAPS_MAX);
    r.require(each, "wraps")?;
    Ok(key)
}

fn write_change(out: &mut Writer, change: &Change) {
    out.u64(change.id).u8(change.step as u8).u32(change.target.0).u32(change.from.0);
    let flags = [change.paused, change.hold_finalize, change.one_at_a_time, change.cold_proof, change.pace.adaptive];
    out.u8((0..).zip(flags).map(|(bit, flag)| u8::from(flag) << bit).sum());
    out.u64(change.pace.rate).u16(change.pace.factor_percent).u32(change.verify.number());
    out.u64(change.deadline_s).u8(change.on_deadline as u8).u64(change.since);
    out.short_text(&change.actor, ACTOR_MAX).short_text(&change.reason, REASON_MAX);
}

fn read_change(r: &mut Reader<'_>) -> Result<Change, Damage> {
    let id = r.u64("change")?;
    r.require(id <= COUNTER_MAX, "change")?;
    let step = match r.u8("step")? {
        0 => Step::Idle,
        1 => Step::Prepared,
        2 => Step::Active,
        3 => Step::RolledBack,
        4 => Step::Finalized,
        _ => return Err(r.bad("step")),
    };
    let (target, from) = (Generation(r.u32("target")?), Generation(r.u32("generation before")?));
    let flags = r.u8("flags of the change")?;
    r.require(flags < 32, "flags of the change")?;
    let flag = |bit: u8| flags & 1 << bit != 0;
    let (rate, factor_percent) = (r.u64("rate")?, r.u16("pace factor")?);
    let verify = r.u32("verification")?;
    Ok(Change {
        id,
        step,
        target,
        from,
        paused: flag(0),
        hold_finalize: flag(1),
        one_at_a_time: flag(2),
        cold_proof: flag(3),
        pace: Pace { rate, adaptive: flag(4), factor_percent },
        verify: VerifyMode::from_number(verify).ok_or_else(|| r.bad("verification"))?,
        deadline_s: r.u64("deadline")?,
        on_deadline: match r.u8("what a deadline does")? {
            0 => OnDeadline::Alarm,
            1 => OnDeadline::Undo,
            _ => return Err(r.bad("what a deadline does")),
        },
        since: r.u64("time of the step")?,
        actor: r.string("actor", ACTOR_MAX)?,
        reason: r.string("reason", REASON_MAX)?,
    })
}

impl Signed {
    /// The record's bytes behind their length, then the signature.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.write(&mut out);
        out.bytes
    }

    /// Reads a signed record. The signature is not checked.
    ///
    /// # Errors
    /// The bytes are no signed record.
    pub fn decode(bytes: &[u8]) -> Result<Signed, Damage> {
        let mut r = Reader::new(WHAT, bytes);
        let signed = Signed::read(&mut r)?;
        end(&r)?;
        Ok(signed)
    }

    pub(super) fn write(&self, out: &mut Writer) {
        write_long(out, &self.record.encode());
        out.raw(&self.signature);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Signed, Damage> {
        let record = Keyring::decode(read_long(r, "record", RECORD_MAX)?)?;
        Ok(Signed { record, signature: r.array("signature")? })
    }
}

impl Promise {
    /// What the member that promises signs, for one volume.
    pub fn signed_bytes(&self, volume: VolumeId) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(LABEL_PROMISE).raw(&volume.0);
        self.write_unsigned(&mut out);
        out.bytes
    }

    fn write_unsigned(&self, out: &mut Writer) {
        out.u64(self.epoch);
        write_name(out, &self.candidate);
        write_name(out, &self.by);
        write_stamp(out, self.stamp);
        out.raw(&self.hash).u32(self.highest.0);
    }

    pub(super) fn write(&self, out: &mut Writer) {
        self.write_unsigned(out);
        out.raw(&self.signature);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Promise, Damage> {
        let epoch = r.u64("promised epoch")?;
        r.require(epoch <= COUNTER_MAX, "promised epoch")?;
        Ok(Promise {
            epoch,
            candidate: read_name(r, "candidate")?,
            by: read_name(r, "promising member")?,
            stamp: read_stamp(r, "promise's record")?,
            hash: read_hash(r, "promise's record")?,
            highest: Generation(r.u32("highest generation")?),
            signature: r.array("signature")?,
        })
    }

    /// The promise's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.write(&mut out);
        out.bytes
    }

    /// Reads a promise. The signature is not checked.
    ///
    /// # Errors
    /// The bytes are no promise.
    pub fn decode(bytes: &[u8]) -> Result<Promise, Damage> {
        let mut r = Reader::new("promise", bytes);
        let promise = Promise::read(&mut r)?;
        end(&r)?;
        Ok(promise)
    }
}
