//! What this node holds in etcd: its one lease, and the volumes it leads under it.
//!
//! Invariants: nothing is led without a lease; once the lease is known to be gone, so is everything under it; while it cannot be
//! known, the standing says so. Time here only informs: what decides is etcd's transaction, guarded by the lead's create-revision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::fault::Fault;
use super::line::Line;
use super::reach::Trouble;
use crate::cluster::coordinator::{CoordinatorError, Lead, Standing};
use crate::units::VolumeId;

/// How many signs of life a lease has room for.
const BEATS: u32 = 4;

/// This node's lease.
#[derive(Clone, Copy)]
pub struct Lease {
    /// Its number.
    pub id: i64,
    /// Until when etcd surely keeps it.
    pub until: Instant,
}

/// A volume this node leads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mine {
    /// The epoch.
    pub epoch: u64,
    /// The revision in which the lead's key was made: what guards everything the lead writes.
    pub create_revision: i64,
}

/// What is held.
#[derive(Default)]
pub struct Held {
    /// The lease, if there is one.
    pub lease: Option<Lease>,
    /// What is led under it.
    pub mine: BTreeMap<VolumeId, Mine>,
    /// Who led the others when they were last looked at.
    pub others: BTreeMap<VolumeId, Lead>,
}

impl Held {
    /// That lease is gone, and all under it.
    pub fn lose(&mut self, id: i64) {
        if self.lease.is_some_and(|lease| lease.id == id) {
            self.lease = None;
            self.mine.clear();
        }
    }

    /// Takes in who leads; it is not this node.
    pub fn follow(&mut self, volume: VolumeId, lead: Option<Lead>) {
        self.mine.remove(&volume);
        match lead {
            Some(lead) => self.others.insert(volume, lead),
            None => self.others.remove(&volume),
        };
    }

    /// Where this node stands at `now`.
    pub fn standing(&self, volume: VolumeId, now: Instant) -> Standing {
        match (self.mine.get(&volume), self.lease) {
            (Some(mine), Some(lease)) if now < lease.until => Standing::Leads { epoch: mine.epoch },
            (Some(mine), Some(_)) => Standing::Doubtful { epoch: mine.epoch },
            _ => Standing::Follows { lead: self.others.get(&volume).cloned() },
        }
    }
}

impl Line {
    /// The number of this node's lease, granted now if there is none.
    pub(super) async fn lease(&mut self) -> Result<i64, Trouble> {
        let shared = Arc::clone(&self.shared);
        let _one = shared.granting.lock().await;
        if let Some(lease) = shared.held().lease {
            return Ok(lease.id);
        }
        let asked = Instant::now();
        let seconds = i64::try_from(shared.lease.as_secs()).unwrap_or(i64::MAX);
        let granted = self.client.lease_grant(seconds, None).await?;
        if granted.id() == 0 {
            return Err(CoordinatorError::Other(format!("no lease was granted: {}", granted.error())).into());
        }
        shared.held().lease = Some(Lease { id: granted.id(), until: asked + shared.lease });
        Ok(granted.id())
    }
}

/// Keeps the lease alive for as long as the client runs.
pub async fn keep_alive(shared: Arc<Shared>) {
    let beat = shared.lease / BEATS;
    loop {
        tokio::time::sleep(beat).await;
        let Some(Lease { id, .. }) = shared.held().lease else { continue };
        renew(&shared, id, beat).await;
    }
}

/// One sign of life. That nobody answers ends nothing: etcd extends leases itself when it has had no leader.
async fn renew(shared: &Arc<Shared>, id: i64, patience: Duration) {
    let beat = |mut line: Line| async move {
        let asked = Instant::now();
        match line.client.lease_keep_alive(id).await.map_err(Trouble::from) {
            Ok(_) => Ok(Some(asked)),
            Err(Trouble::Fault(Fault::LeaseLost)) => {
                line.shared.held().lose(id);
                Ok(None)
            }
            Err(trouble) => Err(trouble),
        }
    };
    match Line::run(shared, patience, beat).await {
        Ok(None) => tracing::warn!("the lease in etcd has run out; this node leads nothing any more"),
        Ok(Some(asked)) => {
            let until = asked + shared.lease;
            if let Some(lease) = &mut shared.held().lease
                && lease.id == id
            {
                lease.until = lease.until.max(until);
            }
        }
        Err(error) => tracing::warn!(%error, "the lease in etcd is not renewed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_not_renewed_is_doubtful_and_one_that_is_lost_leads_nothing() {
        let (volume, now) = (VolumeId([1; 16]), Instant::now());
        let mut held = Held { lease: Some(Lease { id: 1, until: now + Duration::from_secs(9) }), ..Held::default() };
        held.mine.insert(volume, Mine { epoch: 4, create_revision: 7 });
        assert_eq!(held.standing(volume, now), Standing::Leads { epoch: 4 });
        assert_eq!(held.standing(volume, now + Duration::from_secs(9)), Standing::Doubtful { epoch: 4 });
        held.lose(2);
        assert_eq!(held.standing(volume, now), Standing::Leads { epoch: 4 }, "another lease");
        held.lose(1);
        assert_eq!(held.standing(volume, now), Standing::Follows { lead: None });
    }
}
