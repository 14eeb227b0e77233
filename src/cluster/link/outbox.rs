//! What waits to be sent to one peer, bounded.
//!
//! Invariants: at most [`FRAMES_MAX`] frames and [`BYTES_MAX`] bytes wait; a replaceable frame gives way to a later one of the same topic
//! and, oldest first, to one that is not replaceable; if that is not enough, nothing is lost in silence: the caller hears of
//! it and the link is cut. What the link itself says (pings, answers) goes first, and of that the oldest gives way.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::frame::{HEADER_LEN, Kind, encode};

/// Most frames that wait.
pub const FRAMES_MAX: usize = 1024;
/// Most bytes that wait, headers counted.
pub const BYTES_MAX: usize = 4 << 20;
/// Most frames of the link itself that wait.
const OWN_MAX: usize = 16;

#[derive(Default)]
struct Waiting {
    own: VecDeque<Vec<u8>>,
    frames: VecDeque<(Option<u64>, Vec<u8>)>,
    bytes: usize,
}

/// The queue of one link: any thread puts, one task takes.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame of the link itself.
    pub fn put_own(&self, kind: Kind, payload: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.own.len() == OWN_MAX {
            // The hello is sent before anything else is put here.
            waiting.own.pop_front();
        }
        waiting.own.push_back(encode(kind, payload));
        drop(waiting);
        self.ready.notify_one();
    }

    /// Queues data; a later one of the same `topic` replaces it. False if there is no room.
    pub fn put(&self, topic: Option<u64>, payload: &[u8]) -> bool {
        let mut waiting = self.waiting();
        let room = payload.len() + HEADER_LEN;
        if let Some(topic) = topic {
            waiting.drop_where(|other| other == Some(topic));
        }
        while !waiting.has(room) && topic.is_none() && waiting.drop_oldest_replaceable() {}
        if !waiting.has(room) {
            return false;
        }
        waiting.bytes += room;
        waiting.frames.push_back((topic, encode(Kind::Data, payload)));
        drop(waiting);
        self.ready.notify_one();
        true
    }

    /// The bytes of the next frame, and whether it is data; waits until there is one.
    pub async fn next(&self) -> (Vec<u8>, bool) {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.ready.notified().await;
        }
    }

    /// The next frame, if one waits.
    pub fn take(&self) -> Option<(Vec<u8>, bool)> {
        let mut waiting = self.waiting();
        if let Some(own) = waiting.own.pop_front() {
            return Some((own, false));
        }
        let (_, bytes) = waiting.frames.pop_front()?;
        waiting.bytes -= bytes.len();
        Some((bytes, true))
    }
}

impl Waiting {
    fn has(&self, room: usize) -> bool {
        self.frames.len() < FRAMES_MAX && self.bytes + room <= BYTES_MAX
    }

    fn drop_where(&mut self, is_it: impl Fn(Option<u64>) -> bool) -> bool {
        let Some(at) = self.frames.iter().position(|(topic, _)| is_it(*topic)) else {
            return false;
        };
        if let Some((_, bytes)) = self.frames.remove(at) {
            self.bytes -= bytes.len();
        }
        true
    }

    fn drop_oldest_replaceable(&mut self) -> bool {
        self.drop_where(|topic| topic.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(outbox: &Outbox) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| outbox.take()).map(|(bytes, _)| bytes[HEADER_LEN..].to_vec()).collect()
    }

    #[test]
    fn a_later_report_replaces_an_earlier_one_of_its_topic() {
        let outbox = Outbox::default();
        for (topic, byte) in [(Some(1), 1), (None, 2), (Some(2), 3), (Some(1), 4)] {
            assert!(outbox.put(topic, &[byte]));
        }
        assert_eq!(payloads(&outbox), [[2], [3], [4]]);
    }

    #[test]
    fn a_full_queue_gives_up_reports_first_and_then_says_no() {
        let outbox = Outbox::default();
        assert!(outbox.put(Some(7), b"a report"));
        for _ in 0..FRAMES_MAX - 1 {
            assert!(outbox.put(None, b"kept"));
        }
        assert!(!outbox.put(Some(8), b"another report"), "nothing gives way to a report");
        assert!(outbox.put(None, b"kept"));
        assert!(!outbox.put(None, b"one too many"));
        let left = payloads(&outbox);
        assert!(left.len() == FRAMES_MAX && left.iter().all(|payload| payload == b"kept"));
        let outbox = Outbox::default();
        let long = vec![0; BYTES_MAX / 8 - HEADER_LEN];
        assert!((0..8).all(|_| outbox.put(None, &long)) && !outbox.put(None, b""));
        assert_eq!(payloads(&outbox).len(), 8);
        assert!(outbox.put(None, b""), "room comes back");
    }

    #[test]
    fn what_the_link_itself_says_goes_first_and_is_bounded() {
        let outbox = Outbox::default();
        assert!(outbox.put(None, b"data"));
        (0..100).for_each(|byte| outbox.put_own(Kind::Pong, &[byte]));
        let all = payloads(&outbox);
        assert_eq!((all.len(), &all[0][..], &all[OWN_MAX][..]), (OWN_MAX + 1, &[84][..], &b"data"[..]));
    }
}
