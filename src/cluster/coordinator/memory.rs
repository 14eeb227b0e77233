//! A coordinator in this process: the dull twin of the real one, for tests of what stands on it and as its oracle.
//!
//! Invariant: it gives the same answers as the real one in the same order of calls; it has no clock, so leases end and links break
//! when a test says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Backwards, Campaign, Coordinator, CoordinatorError, DuringFreeze, Freeze, Lead, PUBLISHED_MAX, Publication,
    Published, REQUEST_MAX, REQUESTS_MAX, Request, STATE_MAX, Standing, TOKENS_MAX, Taken, Token, forward, misplaced,
    spoken, within,
};
use crate::cluster::name::NodeName;
use crate::cluster::stamp::Stamp;
use crate::units::VolumeId;

type Answer<T> = Result<T, CoordinatorError>;

/// What it keeps, and a copy of it can be put back.
#[derive(Clone, Default)]
struct Content {
    identity: u64,
    revision: i64,
    leads: BTreeMap<VolumeId, Lead>,
    epochs: BTreeMap<VolumeId, u64>,
    records: BTreeMap<VolumeId, Published>,
    states: BTreeMap<(VolumeId, NodeName), Vec<u8>>,
    requests: BTreeMap<(VolumeId, u64), Vec<u8>>,
    freeze: Option<Freeze>,
    tokens: BTreeMap<VolumeId, Token>,
}

/// What a node remembers of it, which no copy changes.
#[derive(Clone, Default)]
struct Seen {
    identity: Option<u64>,
    revision: i64,
    epochs: BTreeMap<VolumeId, u64>,
    records: BTreeMap<VolumeId, Stamp>,
    /// Volumes whose record may be older than this node's, by an operator's word.
    mending: BTreeSet<VolumeId>,
    standings: BTreeMap<VolumeId, Standing>,
}

#[derive(Default)]
struct State {
    content: Content,
    seen: BTreeMap<NodeName, Seen>,
    cut: BTreeSet<NodeName>,
    no_quorum: bool,
}

/// The store all nodes share.
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

/// A copy of what the store held.
pub struct Snapshot(Content);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        let store = MemoryStore::default();
        store.lock().content.identity = 1;
        store
    }

    /// The coordinator as this node has it.
    pub fn node(&self, name: NodeName) -> MemoryCoordinator {
        MemoryCoordinator { store: self.clone(), name }
    }

    /// Ends a node's lease: it leads nothing and shows nothing any more, and does not know it yet.
    pub fn expire(&self, name: &NodeName) {
        let mut state = self.lock();
        let content = &mut state.content;
        content.revision += 1;
        content.leads.retain(|_, lead| lead.node != *name);
        content.states.retain(|(_, node), _| node != name);
        if let Some(seen) = state.seen.get_mut(name) {
            for standing in seen.standings.values_mut() {
                if let Standing::Leads { epoch } = *standing {
                    *standing = Standing::Doubtful { epoch };
                }
            }
        }
    }

    /// Starts a node's process anew: it knows what it has kept of the store's history, and not that it leads.
    pub fn restart(&self, name: &NodeName) {
        if let Some(seen) = self.lock().seen.get_mut(name) {
            seen.standings.clear();
        }
    }

    /// Cuts a node off.
    pub fn cut(&self, name: &NodeName) {
        self.lock().cut.insert(name.clone());
    }

    /// Reaches it again.
    pub fn heal(&self, name: &NodeName) {
        self.lock().cut.remove(name);
    }

    /// Takes the quorum away, or brings it back.
    pub fn set_quorum(&self, there: bool) {
        self.lock().no_quorum = !there;
    }

    /// A copy.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.lock().content.clone())
    }

    /// Puts a copy back, as if nothing had been written since. Leases start anew, as etcd has them.
    pub fn restore(&self, snapshot: &Snapshot) {
        self.lock().content = snapshot.0.clone();
    }

    /// Loses everything, under a new identity.
    pub fn wipe(&self) {
        let mut state = self.lock();
        let identity = state.content.identity + 1;
        state.content = Content { identity, ..Content::default() };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store as one node has it.
pub struct MemoryCoordinator {
    store: MemoryStore,
    name: NodeName,
}

impl MemoryCoordinator {
    /// The store, if this node reaches it and it has a quorum.
    fn reach(&self) -> Answer<MutexGuard<'_, State>> {
        let state = self.store.lock();
        if state.cut.contains(&self.name) {
            return Err(CoordinatorError::Unreachable("this node is cut off".into()));
        }
        if state.no_quorum {
            return Err(CoordinatorError::NoQuorum("most members are away".into()));
        }
        Ok(state)
    }

    /// Carries out what a reachable store with a quorum and an unbroken history does.
    fn with<T>(&self, act: impl FnOnce(&mut Content, &mut Seen, &NodeName) -> Answer<T>) -> Answer<T> {
        let mut state = self.reach()?;
        let State { content, seen, .. } = &mut *state;
        let seen = seen.entry(self.name.clone()).or_default();
        notice(content, seen)?;
        let answer = act(content, seen, &self.name);
        seen.identity = Some(content.identity);
        seen.revision = content.revision;
        answer
    }
}

fn notice(content: &Content, seen: &Seen) -> Answer<()> {
    let backwards = match seen.identity {
        Some(was) if was != content.identity => Backwards::Replaced { was, is: content.identity },
        _ if content.revision < seen.revision => Backwards::Revision { seen: seen.revision, found: content.revision },
        _ => return Ok(()),
    };
    Err(CoordinatorError::Backwards(backwards))
}

/// How the store shows less of a volume than before.
fn lost(content: &Content, seen: &Seen, volume: VolumeId) -> Option<Backwards> {
    if let Err(CoordinatorError::Backwards(whole)) = notice(content, seen) {
        return Some(whole);
    }
    let (before, found) = [&seen.epochs, &content.epochs].map(|of| of.get(&volume).copied().unwrap_or(0)).into();
    if found < before {
        return Some(Backwards::Epoch { seen: before, found });
    }
    let record = content.records.get(&volume).map(|found| found.stamp);
    match misplaced(seen.records.get(&volume).copied(), record) {
        Some(CoordinatorError::Backwards(record)) => Some(record),
        _ => None,
    }
}

/// The epoch there, if it has not fallen.
fn epoch_of(content: &Content, seen: &mut Seen, volume: VolumeId) -> Answer<u64> {
    let found = content.epochs.get(&volume).copied().unwrap_or(0);
    let before = seen.epochs.entry(volume).or_insert(found);
    if *before > found && !seen.mending.contains(&volume) {
        return Err(CoordinatorError::Backwards(Backwards::Epoch { seen: *before, found }));
    }
    *before = found.max(*before);
    Ok(found)
}

/// Whether `name` leads the volume; its epoch.
fn led(content: &Content, seen: &mut Seen, name: &NodeName, volume: VolumeId) -> Answer<u64> {
    let lead = content.leads.get(&volume).cloned();
    match (seen.standings.get(&volume), &lead) {
        (Some(Standing::Leads { epoch } | Standing::Doubtful { epoch }), Some(lead))
            if lead.node == *name && lead.epoch == *epoch =>
        {
            Ok(*epoch)
        }
        _ => {
            seen.standings.insert(volume, Standing::Follows { lead: lead.clone() });
            Err(CoordinatorError::NotLead { lead })
        }
    }
}

impl Coordinator for MemoryCoordinator {
    fn campaign(&self, volume: VolumeId, at_least: u64) -> Answer<Campaign> {
        self.with(|content, seen, name| {
            let shown = epoch_of(content, seen, volume)?;
            if let Some(lead) = content.leads.get(&volume)
                && (lead.node != *name || led(content, seen, name, volume).is_err())
            {
                let lead = lead.clone();
                seen.standings.insert(volume, Standing::Follows { lead: Some(lead.clone()) });
                return Ok(Campaign::Held(lead));
            }
            let record = content.records.get(&volume).map_or(0, |record| record.stamp.epoch);
            let before = seen.epochs.get(&volume).copied().unwrap_or(0);
            let past = shown.max(record).max(before).max(at_least);
            let epoch = match content.leads.get(&volume) {
                Some(lead) if lead.epoch > at_least => lead.epoch,
                _ => past.checked_add(1).ok_or_else(|| CoordinatorError::Other("there is no higher epoch".into()))?,
            };
            content.leads.insert(volume, Lead { node: name.clone(), epoch });
            content.epochs.insert(volume, epoch);
            content.revision += 1;
            seen.epochs.insert(volume, epoch);
            seen.standings.insert(volume, Standing::Leads { epoch });
            Ok(Campaign::Won { epoch })
        })
    }

    fn standing(&self, volume: VolumeId) -> Standing {
        let state = self.store.lock();
        let known = state.seen.get(&self.name).and_then(|seen| seen.standings.get(&volume)).cloned();
        known.unwrap_or(Standing::Follows { lead: None })
    }

    fn lead(&self, volume: VolumeId) -> Answer<Option<Lead>> {
        self.with(|content, seen, _| {
            epoch_of(content, seen, volume)?;
            Ok(content.leads.get(&volume).cloned())
        })
    }

    fn resign(&self, volume: VolumeId) -> Answer<()> {
        let was = {
            let mut state = self.store.lock();
            let seen = state.seen.entry(self.name.clone()).or_default();
            seen.standings.insert(volume, Standing::Follows { lead: None })
        };
        let Some(Standing::Leads { epoch } | Standing::Doubtful { epoch }) = was else { return Ok(()) };
        self.with(|content, _, name| {
            if content.leads.get(&volume).is_some_and(|lead| lead.node == *name && lead.epoch == epoch) {
                content.leads.remove(&volume);
                content.revision += 1;
            }
            Ok(())
        })
    }

    fn publish(&self, publication: &Publication<'_>) -> Answer<()> {
        let Publication { volume, previous, stamp, record, during_freeze } = *publication;
        within("the record", record.len(), PUBLISHED_MAX)?;
        self.with(|content, seen, name| {
            epoch_of(content, seen, volume)?;
            let epoch = led(content, seen, name, volume)?;
            if stamp.epoch != epoch {
                return Err(CoordinatorError::NotLead { lead: content.leads.get(&volume).cloned() });
            }
            let found = content.records.get(&volume);
            if found.is_some_and(|found| found.stamp == stamp && found.record == record) {
                return Ok(());
            }
            forward(stamp, previous)?;
            match misplaced(previous, found.map(|found| found.stamp)) {
                Some(CoordinatorError::Backwards(_)) if seen.mending.contains(&volume) => {}
                Some(wrong) => return Err(wrong),
                None => {}
            }
            if let (Some(freeze), DuringFreeze::Refused) = (&content.freeze, during_freeze) {
                return Err(CoordinatorError::Frozen(freeze.clone()));
            }
            content.records.insert(volume, Published { stamp, record: record.to_vec() });
            content.revision += 1;
            seen.records.insert(volume, stamp);
            seen.mending.remove(&volume);
            Ok(())
        })
    }

    fn fetch(&self, volume: VolumeId) -> Answer<Option<Published>> {
        self.with(|content, seen, _| {
            epoch_of(content, seen, volume)?;
            let found = content.records.get(&volume).cloned();
            let stamp = found.as_ref().map(|found| found.stamp);
            let before = seen.records.get(&volume).copied();
            match misplaced(before, stamp) {
                Some(wrong @ CoordinatorError::Backwards(_)) if !seen.mending.contains(&volume) => return Err(wrong),
                Some(CoordinatorError::Backwards(_)) => {}
                _ => {
                    seen.records.extend(stamp.map(|stamp| (volume, stamp)));
                    seen.mending.remove(&volume);
                }
            }
            Ok(found)
        })
    }

    fn report(&self, volume: VolumeId, state: &[u8]) -> Answer<()> {
        within("the state", state.len(), STATE_MAX)?;
        self.with(|content, _, name| {
            content.states.insert((volume, name.clone()), state.to_vec());
            content.revision += 1;
            Ok(())
        })
    }

    fn states(&self, volume: VolumeId) -> Answer<Vec<(NodeName, Vec<u8>)>> {
        self.with(|content, _, _| {
            let of = content.states.iter().filter(|((of, _), _)| *of == volume);
            Ok(of.map(|((_, node), state)| (node.clone(), state.clone())).collect())
        })
    }

    fn ask(&self, volume: VolumeId, request: &Request) -> Answer<()> {
        within("the request", request.bytes.len(), REQUEST_MAX)?;
        self.with(|content, _, _| {
            if let Some(known) = content.requests.get(&(volume, request.id)) {
                let same = *known == request.bytes;
                return if same { Ok(()) } else { Err(CoordinatorError::Taken { id: request.id }) };
            }
            let waiting = content.requests.keys().filter(|(of, _)| *of == volume).count();
            within("the list of waiting requests", waiting + 1, REQUESTS_MAX)?;
            content.requests.insert((volume, request.id), request.bytes.clone());
            content.revision += 1;
            Ok(())
        })
    }

    fn asked(&self, volume: VolumeId) -> Answer<Vec<Request>> {
        self.with(|content, _, _| {
            let of = content.requests.iter().filter(|((of, _), _)| *of == volume);
            Ok(of.map(|((_, id), bytes)| Request { id: *id, bytes: bytes.clone() }).collect())
        })
    }

    fn answered(&self, volume: VolumeId, id: u64) -> Answer<()> {
        self.with(|content, seen, name| {
            led(content, seen, name, volume)?;
            content.requests.remove(&(volume, id));
            content.revision += 1;
            Ok(())
        })
    }

    fn freeze(&self, freeze: &Freeze) -> Answer<Freeze> {
        spoken(freeze)?;
        self.with(|content, _, _| {
            content.revision += 1;
            Ok(content.freeze.get_or_insert_with(|| freeze.clone()).clone())
        })
    }

    fn frozen(&self) -> Answer<Option<Freeze>> {
        self.with(|content, _, _| Ok(content.freeze.clone()))
    }

    fn unfreeze(&self) -> Answer<Option<Freeze>> {
        self.with(|content, _, _| {
            content.revision += 1;
            Ok(content.freeze.take())
        })
    }

    fn take_token(&self, volume: VolumeId, since: u64, limit: usize) -> Answer<Taken> {
        self.with(|content, seen, name| {
            led(content, seen, name, volume)?;
            if content.tokens.contains_key(&volume) {
                return Ok(Taken::Yes);
            }
            if content.tokens.len() >= limit.min(TOKENS_MAX) {
                return Ok(Taken::Full(content.tokens.values().cloned().collect()));
            }
            content.tokens.insert(volume, Token { volume, node: name.clone(), since });
            content.revision += 1;
            Ok(Taken::Yes)
        })
    }

    fn return_token(&self, volume: VolumeId) -> Answer<()> {
        self.with(|content, seen, name| {
            led(content, seen, name, volume)?;
            content.tokens.remove(&volume);
            content.revision += 1;
            Ok(())
        })
    }

    fn drop_token(&self, volume: VolumeId) -> Answer<bool> {
        self.with(|content, _, _| {
            content.revision += 1;
            Ok(content.tokens.remove(&volume).is_some())
        })
    }

    fn tokens(&self) -> Answer<Vec<Token>> {
        self.with(|content, _, _| Ok(content.tokens.values().cloned().collect()))
    }

    fn accept_history(&self, volume: VolumeId) -> Answer<Option<Backwards>> {
        let mut state = self.reach()?;
        let State { content, seen, .. } = &mut *state;
        let seen = seen.entry(self.name.clone()).or_default();
        let lost = lost(content, seen, volume);
        if lost.is_some() {
            (seen.identity, seen.revision) = (Some(content.identity), content.revision);
            seen.mending.insert(volume);
            seen.standings.insert(volume, Standing::Follows { lead: None });
        }
        Ok(lost)
    }
}
