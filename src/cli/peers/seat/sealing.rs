//! A DEK on its way to other members: sealed to each of them, with the record that names it.
//!
//! Invariants: it goes out sealed or not at all; it is in memory only while its generation is merely prepared.

use super::{Running, SEALING_MAX};
use crate::cli::peers::notary::Context;
use crate::cli::words;
use crate::cluster::message::{Body, Message};
use crate::cluster::name::NodeName;
use crate::cluster::record::Keyring;
use crate::format::generations::KeyState;
use crate::units::Generation;

impl Running {
    /// A DEK leaves memory when its generation is not merely prepared any more.
    pub(super) fn forget_handed_over(&self, committed: &Keyring) {
        let Some((tools, _)) = &self.driver.hands else { return };
        let mut at_hand = tools.handover();
        let is_past =
            |generation: Generation| committed.key(generation).is_some_and(|key| key.state != KeyState::Prepared);
        if at_hand.as_ref().is_some_and(|handover| is_past(handover.generation)) {
            *at_hand = None;
        }
    }

    /// Sends a record with a DEK that is sealed to the receiver; later, if the DEK has to be had from a keeper first.
    pub(super) fn send_sealed(&mut self, to: NodeName, message: Message, generation: Generation) {
        let Some((tools, workers)) = &self.driver.hands else { return };
        let is_at_hand = tools.handover().as_ref().is_some_and(|handover| handover.generation == generation);
        if is_at_hand {
            return self.seal_and_send(&to, message, generation);
        }
        if self.sealing.len() >= SEALING_MAX {
            self.sealing.remove(0);
        }
        self.sealing.push((to, message, generation));
        workers.fetch(generation);
    }

    pub(super) fn fetched(&mut self, generation: Generation, fetched: &Result<(), String>) {
        let waiting = std::mem::take(&mut self.sealing);
        let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(.., wanted)| *wanted == generation);
        self.sealing = rest;
        match fetched {
            Ok(()) => {
                self.alarms.clear("handover");
                ready.into_iter().for_each(|(to, message, generation)| self.seal_and_send(&to, message, generation));
            }
            Err(why) => {
                let what = format!("the key of generation {generation} cannot be had to hand it over: {why}");
                self.alarms.raise("handover", &what, words::now());
            }
        }
    }

    fn seal_and_send(&self, to: &NodeName, mut message: Message, generation: Generation) {
        let sealed = self.sealed(to, &message, generation);
        match (&mut message.body, sealed) {
            (Body::Put { handover, .. }, Some(sealed)) => *handover = Some(sealed),
            _ => return tracing::error!(%to, %generation, "a key could not be sealed to a peer"),
        }
        self.driver.post.send(to, &message);
    }

    fn sealed(&self, to: &NodeName, message: &Message, generation: Generation) -> Option<Vec<u8>> {
        let Body::Put { record, .. } = &message.body else { return None };
        let (tools, _) = self.driver.hands.as_ref()?;
        let at_hand = tools.handover();
        let key = record.record.key(generation)?;
        let handover = at_hand.as_ref().filter(|handover| handover.key_id == key.key_id)?;
        let member = record.record.member(to)?;
        Context::of(&record.record, key, to).seal(&member.seal, &handover.encode()).ok()
    }
}
