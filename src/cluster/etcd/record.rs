//! Publishing records, reading them, and taking those that are there by an operator's word.

use std::sync::Arc;

use etcd_client::{Txn, TxnOp};

use super::lead::COLLISIONS_MAX;
use super::line::Line;
use super::reach::Trouble;
use super::view::unmoved;
use super::{Answer, EtcdCoordinator, values};
use crate::cluster::coordinator::{
    Backwards, CoordinatorError, DuringFreeze, PUBLISHED_MAX, Publication, Published, forward, misplaced, within,
};
use crate::cluster::stamp::Stamp;
use crate::units::VolumeId;

/// A publication that outlives its caller's buffer.
#[derive(Clone)]
struct Owned {
    volume: VolumeId,
    previous: Option<Stamp>,
    stamp: Stamp,
    record: Arc<[u8]>,
    during_freeze: DuringFreeze,
}

impl EtcdCoordinator {
    pub(super) fn publishes(&self, publication: &Publication<'_>) -> Answer<()> {
        let Publication { volume, previous, stamp, record, during_freeze } = *publication;
        within("the record", record.len(), PUBLISHED_MAX)?;
        let owned = Owned { volume, previous, stamp, record: record.into(), during_freeze };
        self.call(move |line| publish(line, owned.clone()))
    }

    pub(super) fn accepts(&self, volume: VolumeId) -> Answer<Option<Backwards>> {
        self.call(move |mut line| async move { line.accept(volume).await })
    }

    pub(super) fn fetches(&self, volume: VolumeId) -> Answer<Option<Published>> {
        self.call(move |mut line| async move {
            let view = line.view(volume).await?;
            let stamp = view.record.as_ref().map(|record| record.stamp);
            line.shared.seen().notice_record(volume, stamp)?;
            Ok(view.record)
        })
    }
}

async fn publish(mut line: Line, wanted: Owned) -> Result<(), Trouble> {
    let volume = wanted.volume;
    for _ in 0..COLLISIONS_MAX {
        let view = line.view(volume).await?;
        let mine = line.led(volume, &view)?;
        if wanted.stamp.epoch != mine.epoch {
            let lead = view.lead.map(|there| there.lead);
            return Err(CoordinatorError::NotLead { lead }.into());
        }
        let found = view.record.as_ref();
        let is_there = found.is_some_and(|found| found.stamp == wanted.stamp && found.record[..] == wanted.record[..]);
        if is_there || write(&mut line, &wanted, &view).await? {
            line.shared.seen().published(volume, wanted.stamp);
            return Ok(());
        }
    }
    Err(CoordinatorError::NoQuorum("others write at the same time, again and again".into()).into())
}

/// Writes it, if everything is as it was read; false if something has moved.
async fn write(line: &mut Line, wanted: &Owned, view: &super::view::View) -> Result<bool, Trouble> {
    let volume = wanted.volume;
    let mine = line.led(volume, view)?;
    forward(wanted.stamp, wanted.previous)?;
    let is_mending = line.shared.seen().mending.contains(&volume);
    match misplaced(wanted.previous, view.record.as_ref().map(|record| record.stamp)) {
        Some(CoordinatorError::Backwards(_)) if is_mending => {}
        Some(wrong) => return Err(wrong.into()),
        None => {}
    }
    let (record_key, freeze_key) = (line.shared.names.keyring(volume), line.shared.names.freeze());
    let mut guards = vec![line.guard(volume, mine), unmoved(record_key.clone(), view.record_revision)];
    guards.push(unmoved(line.shared.names.epoch(volume), view.epoch_revision));
    if wanted.during_freeze == DuringFreeze::Refused {
        if let Some(freeze) = &view.freeze {
            return Err(CoordinatorError::Frozen(freeze.clone()).into());
        }
        guards.push(unmoved(freeze_key, 0));
    }
    let put = TxnOp::put(record_key, values::of_record(wanted.stamp, &wanted.record), None);
    Ok(line.txn(Txn::new().when(guards).and_then([put])).await?.succeeded())
}
