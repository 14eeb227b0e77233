//! A member's first record: taken from the configured lead, if it is of the keys that the volume holds.
//!
//! Invariants: it is noted and durable before the member counts it as its own; a record that is to be believed, and does not have
//! this member yet, is nothing wrong: an operator will have it admitted.

use super::{Chair, Running};
use crate::cli::words;
use crate::cluster::durable::Durable;
use crate::cluster::message::{Body, Message, Refusal};
use crate::cluster::name::NodeName;
use crate::cluster::node::Event;
use crate::cluster::stamp::Stamp;
use crate::units::VolumeId;

impl Running {
    /// Takes the first record, if that is what was said.
    pub(super) fn begin(&mut self, from: NodeName, message: Message) {
        let Chair::Waiting(founding) = &self.driver.chair else { return };
        let volume = founding.volume;
        let signed = match &message.body {
            Body::Put { record, .. } => record,
            Body::Beat { .. } | Body::Elect { .. } => {
                let message = Message { volume, body: Body::Behind { have: Stamp::default() } };
                self.driver.post.send(&from, &message);
                return;
            }
            _ => return,
        };
        let stamp = signed.record.stamp;
        match Durable::first(founding, &from, signed, &self.driver.notary) {
            Ok(durable) => match self.keep_first(&durable) {
                Ok(()) => self.sit_down(durable, from, message),
                Err(why) => self.decline(&from, volume, stamp, Refusal::Failed(why)),
            },
            Err(why) if why == founding.not_admitted() => {
                self.alarms.clear("founding");
                self.unadmitted.get_or_insert_with(words::now);
            }
            Err(why) => self.decline(&from, volume, stamp, why),
        }
    }

    fn keep_first(&mut self, durable: &Durable) -> Result<(), String> {
        let record = &durable.committed.record;
        let what = format!("takes record {} of {} as its first", record.stamp, record.lead);
        self.note(&[what], Some(durable))?;
        self.save(durable)
    }

    fn sit_down(&mut self, durable: Durable, from: NodeName, message: Message) {
        self.alarms.clear("founding");
        self.unadmitted = None;
        self.driver.chair = Chair::new(&self.driver.me, durable, self.driver.guard.is_some());
        for (peer, suites) in self.links.clone() {
            self.step(Event::Up(peer, suites));
        }
        self.step(Event::Heard(from, message));
    }

    fn decline(&mut self, from: &NodeName, volume: VolumeId, stamp: Stamp, why: Refusal) {
        self.unadmitted = None;
        self.alarm("founding", &format!("the first record of {from} is not taken: {why}"));
        self.driver.post.send(from, &Message { volume, body: Body::Refused { stamp, why } });
    }
}
