//! Becoming the lead of a volume, and ceasing to be.
//!
//! Invariant: an epoch is taken in the transaction that makes the lead's key, above every epoch etcd, this node and the record
//! have shown; the epoch's key has no lease and only grows.

use etcd_client::{PutOptions, Txn, TxnOp};

use super::held::Mine;
use super::line::Line;
use super::reach::Trouble;
use super::view::{View, unmoved};
use super::{Answer, EtcdCoordinator, values};
use crate::cluster::coordinator::{Campaign, CoordinatorError, Lead};
use crate::units::VolumeId;

/// How often somebody else may come between reading and writing.
pub const COLLISIONS_MAX: usize = 16;

impl EtcdCoordinator {
    pub(super) fn campaigns(&self, volume: VolumeId, at_least: u64) -> Answer<Campaign> {
        self.call(move |line| campaign(line, volume, at_least))
    }

    pub(super) fn leads(&self, volume: VolumeId) -> Answer<Option<Lead>> {
        self.call(move |mut line| async move {
            let view = line.view(volume).await?;
            Ok(view.lead.map(|there| there.lead))
        })
    }

    pub(super) fn resigns(&self, volume: VolumeId) -> Answer<()> {
        let Some(mine) = self.shared.held().mine.remove(&volume) else { return Ok(()) };
        self.call(move |mut line| async move {
            let key = line.shared.names.lead(volume);
            let txn = Txn::new().when([line.guard(volume, mine)]).and_then([TxnOp::delete(key, None)]);
            line.txn(txn).await.map(|_| ())
        })
    }
}

async fn campaign(mut line: Line, volume: VolumeId, at_least: u64) -> Result<Campaign, Trouble> {
    for _ in 0..COLLISIONS_MAX {
        let view = line.view(volume).await?;
        let lease = line.lease().await?;
        if let Some(there) = view.lead.as_ref().filter(|there| there.lease != lease) {
            line.shared.held().follow(volume, Some(there.lead.clone()));
            return Ok(Campaign::Held(there.lead.clone()));
        }
        if let Some(there) = view.lead.as_ref().filter(|there| there.lead.epoch > at_least) {
            return won(&line, volume, lease, Mine { epoch: there.lead.epoch, create_revision: there.create_revision });
        }
        if let Some(mine) = take(&mut line, volume, lease, &view, at_least).await? {
            return won(&line, volume, lease, mine);
        }
    }
    Err(CoordinatorError::NoQuorum("others campaign at the same time, again and again".into()).into())
}

/// Takes the lead, or raises the epoch this node leads in; none if somebody came between.
async fn take(
    line: &mut Line,
    volume: VolumeId,
    lease: i64,
    view: &View,
    at_least: u64,
) -> Result<Option<Mine>, Trouble> {
    let seen = line.shared.seen().epochs.get(&volume).copied().unwrap_or(0);
    let record = view.record.as_ref().map_or(0, |record| record.stamp.epoch);
    let highest = view.epoch.max(seen).max(record).max(at_least);
    let epoch = highest.checked_add(1).ok_or_else(|| CoordinatorError::Other("there is no higher epoch".into()))?;
    let (lead_key, epoch_key) = (line.shared.names.lead(volume), line.shared.names.epoch(volume));
    let lead = values::of_lead(&Lead { node: line.shared.node.clone(), epoch });
    let there = view.lead.as_ref().map(|there| there.create_revision);
    let guards = [
        etcd_client::Compare::create_revision(lead_key.clone(), etcd_client::CompareOp::Equal, there.unwrap_or(0)),
        unmoved(epoch_key.clone(), view.epoch_revision),
    ];
    let puts = [
        TxnOp::put(lead_key, lead, Some(PutOptions::new().with_lease(lease))),
        TxnOp::put(epoch_key, values::of_epoch(epoch), None),
    ];
    let response = line.txn_under(lease, Txn::new().when(guards).and_then(puts)).await?;
    if !response.succeeded() {
        return Ok(None);
    }
    let written = response.header().map(|header| header.revision());
    let create_revision = there.or(written).unwrap_or_default();
    line.shared.seen().notice_epoch(volume, epoch)?;
    Ok(Some(Mine { epoch, create_revision }))
}

/// Takes in that this node leads, unless its lease was lost meanwhile.
fn won(line: &Line, volume: VolumeId, lease: i64, mine: Mine) -> Result<Campaign, Trouble> {
    let mut held = line.shared.held();
    if held.lease.is_none_or(|now| now.id != lease) {
        return Err(Trouble::Fault(super::fault::Fault::LeaseLost));
    }
    held.others.remove(&volume);
    held.mine.insert(volume, mine);
    Ok(Campaign::Won { epoch: mine.epoch })
}
