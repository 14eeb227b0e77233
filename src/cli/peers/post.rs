//! The post office: frames of the links to the seats they are for, and words of the seats to the links.
//!
//! Invariants: nothing here blocks, since the links' thread calls it; a frame that cannot be decoded, or is for a volume without a
//! seat, is told in the log and dropped, and the link goes on; what a seat has no room for is dropped like on a bad network.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

use super::seat::Input;
use crate::cluster::link::{Hello, Incoming, Links};
use crate::cluster::message::{Body, Message};
use crate::cluster::name::NodeName;
use crate::cluster::node::Event;
use crate::units::VolumeId;

/// Inputs that may wait for a seat.
pub const INBOX_MAX: usize = 1024;

/// The post office.
#[derive(Default)]
pub struct Post {
    links: OnceLock<Links>,
    seats: OnceLock<BTreeMap<VolumeId, SyncSender<Input>>>,
    dropped: AtomicU64,
}

impl Post {
    /// Says where seats are. Once.
    pub fn open(&self, seats: BTreeMap<VolumeId, SyncSender<Input>>) {
        let _ = self.seats.set(seats);
    }

    /// Says by which links words go out. Once.
    pub fn connect(&self, links: Links) {
        let _ = self.links.set(links);
    }

    /// The links, once they are there.
    pub fn links(&self) -> Option<&Links> {
        self.links.get()
    }

    /// Sends a message; false if it cannot be sent now.
    pub fn send(&self, to: &NodeName, message: &Message) -> bool {
        let Some(links) = self.links.get() else { return false };
        let bytes = message.encode();
        match message.body {
            // Only the latest counts: a topic of the volume's own.
            Body::Progress(_) => links.send_latest(to, topic(message.volume), bytes),
            _ => links.send(to, bytes),
        }
    }

    fn everyone(&self, event: impl Fn() -> Event) {
        self.seats.get().into_iter().flat_map(BTreeMap::values).for_each(|seat| self.put(seat, event()));
    }

    fn put(&self, seat: &SyncSender<Input>, event: Event) {
        if let Err(TrySendError::Full(_)) = seat.try_send(Input::Event(Box::new(event))) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn topic(volume: VolumeId) -> u64 {
    let (first, _) = volume.0.as_chunks::<8>();
    first.first().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Incoming for Post {
    fn up(&self, peer: &NodeName, hello: &Hello) {
        self.everyone(|| Event::Up(peer.clone(), hello.capabilities.suites.clone()));
    }

    fn frame(&self, from: &NodeName, payload: Vec<u8>) {
        let message = match Message::decode(&payload) {
            Ok(message) => message,
            Err(error) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%from, %error, "a peer said something that cannot be read");
                return;
            }
        };
        match self.seats.get().and_then(|seats| seats.get(&message.volume)) {
            Some(seat) => self.put(seat, Event::Heard(from.clone(), message)),
            None => tracing::debug!(%from, volume = %message.volume, "a peer speaks of a volume that has no seat here"),
        }
    }

    fn down(&self, peer: &NodeName, why: &str) {
        tracing::info!(%peer, why, "a peer cannot be reached");
        self.everyone(|| Event::Down(peer.clone()));
    }
}
