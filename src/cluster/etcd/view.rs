//! What etcd holds of one volume, read at one moment, and checked against what it held before.

use etcd_client::{Compare, CompareOp, GetResponse, KeyValue, Txn, TxnOp};

use super::held::Mine;
use super::line::{Line, gotten};
use super::reach::Trouble;
use super::seen::Found;
use super::values;
use crate::cluster::coordinator::{Backwards, CoordinatorError, Freeze, Lead, Published};
use crate::units::VolumeId;

/// Who leads, as it stands there.
pub struct LeadThere {
    /// Who, since when.
    pub lead: Lead,
    /// The lease it stands under; 0: none.
    pub lease: i64,
    /// The revision in which it was made.
    pub create_revision: i64,
}

/// What there is of a volume.
pub struct View {
    /// Who leads.
    pub lead: Option<LeadThere>,
    /// The highest epoch; 0: none yet.
    pub epoch: u64,
    /// The revision of that; 0: none yet.
    pub epoch_revision: i64,
    /// The record.
    pub record: Option<Published>,
    /// The revision of that; 0: none.
    pub record_revision: i64,
    /// The freeze.
    pub freeze: Option<Freeze>,
}

impl Line {
    /// Reads what there is of a volume. An epoch that fell is the answer to whatever was asked.
    pub(super) async fn view(&mut self, volume: VolumeId) -> Result<View, Trouble> {
        let keys = self.shared.names.of_volume(volume);
        let answers = self.read(keys.iter().map(|key| (key.clone(), None)).collect()).await?;
        let view = parsed(&keys, &answers)?;
        self.shared.seen().notice_epoch(volume, view.epoch)?;
        Ok(view)
    }

    /// Takes what there is of a volume as it is, by an operator's word; how it is less than before, if it is.
    pub(super) async fn accept(&mut self, volume: VolumeId) -> Result<Option<Backwards>, Trouble> {
        let keys = self.shared.names.of_volume(volume);
        let asked = self.shared.seen().revision;
        let gets: Vec<TxnOp> = keys.iter().map(|key| TxnOp::get(key.clone(), None)).collect();
        let response = self.txn_unheeded(Txn::new().and_then(gets)).await?;
        let header = response.header().ok_or_else(|| CoordinatorError::Other("an answer without a header".into()))?;
        let view = parsed(&keys, &gotten(&response, keys.len())?)?;
        let found = Found {
            cluster: header.cluster_id(),
            revision: header.revision(),
            epoch: view.epoch,
            record: view.record.map(|record| record.stamp),
        };
        let lost = self.shared.seen().accept(volume, asked, &found);
        if lost.is_some() {
            // A lead that stands there from before goes on in a new epoch, whose record takes the place of the older one.
            self.shared.held().follow(volume, None);
        }
        Ok(lost)
    }

    /// What this node leads the volume by, if it does, as far as it knows.
    pub(super) fn mine(&self, volume: VolumeId) -> Option<Mine> {
        self.shared.held().mine.get(&volume).copied()
    }

    /// What this node leads the volume by, if etcd agrees; else who does.
    pub(super) fn led(&self, volume: VolumeId, view: &View) -> Result<Mine, Trouble> {
        let there = view.lead.as_ref();
        let mine = self.mine(volume).filter(|mine| {
            there.is_some_and(|there| there.create_revision == mine.create_revision && there.lead.epoch == mine.epoch)
        });
        mine.ok_or_else(|| {
            let lead = there.map(|there| there.lead.clone());
            self.shared.held().follow(volume, lead.clone());
            CoordinatorError::NotLead { lead }.into()
        })
    }

    /// The guard of what only the lead may do.
    pub(super) fn guard(&self, volume: VolumeId, mine: Mine) -> Compare {
        Compare::create_revision(self.shared.names.lead(volume), CompareOp::Equal, mine.create_revision)
    }
}

/// What stands at the keys of [`super::names::Names::of_volume`].
fn parsed(keys: &[String; 4], answers: &[GetResponse]) -> Result<View, CoordinatorError> {
    let [lead_key, epoch_key, record_key, _] = keys;
    let [lead, epoch, record, freeze] = [0, 1, 2, 3].map(|at| answers.get(at).and_then(only));
    Ok(View {
        lead: lead.map(|found| lead_there(lead_key, found)).transpose()?,
        epoch: epoch.map_or(Ok(0), |found| values::epoch(found.value()).map_err(values::at(epoch_key)))?,
        epoch_revision: epoch.map_or(0, KeyValue::mod_revision),
        record: record.map(|found| values::record(found.value()).map_err(values::at(record_key))).transpose()?,
        record_revision: record.map_or(0, KeyValue::mod_revision),
        freeze: freeze.map(|found| values::freeze(found.value())),
    })
}

/// The only key of an answer.
pub fn only(answer: &GetResponse) -> Option<&KeyValue> {
    answer.kvs().first()
}

/// The guard that a key stands there as it did in that revision; 0: that it does not.
pub fn unmoved(key: String, revision: i64) -> Compare {
    Compare::mod_revision(key, CompareOp::Equal, revision)
}

fn lead_there(key: &str, found: &KeyValue) -> Result<LeadThere, CoordinatorError> {
    let lead = values::lead(found.value()).map_err(values::at(key))?;
    Ok(LeadThere { lead, lease: found.lease(), create_revision: found.create_revision() })
}
