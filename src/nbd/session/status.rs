//! Answers block status: one chunk per context, written whole into a buffer of its own.
//!
//! Invariants: every chunk has at least one descriptor, none beyond the range asked for, and fits its buffer; either every
//! context is answered or the request gets one error.

use super::intake::{Admission, Flow};
use super::outbox::Item;
use super::{Io, Phase, Session, Wait};
use crate::nbd::backend::{Backend, Failure};
use crate::nbd::form::Form;
use crate::nbd::meta::Contexts;
use crate::nbd::reply::{Place, Say, To, status_len};
use crate::nbd::stats::Kind;

/// Buffer of one chunk, bytes.
const STATUS_BUF: usize = 64 << 10;
/// Longest range one descriptor of a structured reply covers, bytes: 32 bits, whole sectors.
const DESCRIPTOR_MAX: u64 = (u32::MAX - 511) as u64;

/// What a block status asks.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// One descriptor only.
    pub one: bool,
    /// In which contexts.
    pub contexts: Contexts,
}

/// Most descriptors of one chunk: what fits [`STATUS_BUF`].
const fn descriptors_max(form: Form) -> usize {
    let one = status_len(form, 1) - status_len(form, 0);
    (STATUS_BUF - status_len(form, 0)) / one
}

impl<B: Backend> Session<B> {
    /// Answers a block status request, or waits for buffers to do so.
    pub(super) fn answer_status(&mut self, to: To, asked: Asked, io: &mut Io<'_, B>) -> Flow {
        let Phase::Transmission(link) = &self.phase else {
            return Flow::Break(Wait::End);
        };
        let count = asked.contexts.iter().count();
        let most = if asked.one { 1 } else { descriptors_max(self.form) };
        let mut chunks = Vec::with_capacity(count);
        for (index, context) in asked.contexts.iter().enumerate() {
            let Ok(states) = B::block_status(link.export.volume(), asked.offset, asked.len, context, most) else {
                io.stats.record(Kind::Status, asked.len, false, io.now.elapsed());
                self.push_error(to, Failure::Io.errno(), Failure::Io.text(), None);
                return Flow::Continue(());
            };
            let place = if index + 1 == count { Place::Last } else { Place::More };
            let extents = descriptors(states, asked.len, most, self.form);
            let mut bytes = Vec::with_capacity(status_len(self.form, extents.len()));
            Say::Status { place, context: context.id(), extents: &extents }.write(self.form, to, &mut bytes);
            chunks.push(bytes);
        }
        if !self.queue_status(&chunks, io) {
            self.set_admission(Admission::Status { to, asked });
            return Flow::Break(Wait::Shared);
        }
        io.stats.record(Kind::Status, asked.len, true, io.now.elapsed());
        Flow::Continue(())
    }
}

impl<B: Backend> Session<B> {
    /// Queues all chunks of an answer, or none: a client that takes no answers must not fill the pool with them.
    fn queue_status(&mut self, chunks: &[Vec<u8>], io: &mut Io<'_, B>) -> bool {
        let len = chunks.iter().map(Vec::len).sum();
        if !self.reserve(len, io) {
            return false;
        }
        let bufs: Vec<_> = chunks.iter().map_while(|chunk| io.pool.take(chunk.len())).collect();
        if bufs.len() < chunks.len() {
            self.release(len, io);
            return false;
        }
        for (mut buf, chunk) in bufs.into_iter().zip(chunks) {
            buf[..chunk.len()].copy_from_slice(chunk);
            self.outbox.push(Item::Raw { buf, len: chunk.len(), held: chunk.len() });
        }
        true
    }
}

/// Descriptors as they are sent: never beyond the range asked for, at least one.
fn descriptors(states: Vec<(u64, u32)>, len: u64, most: usize, form: Form) -> Vec<(u64, u32)> {
    let longest = if form == Form::Extended { u64::MAX } else { DESCRIPTOR_MAX };
    let mut left = len;
    let mut sent = Vec::with_capacity(states.len().min(most));
    for (state_len, flags) in states.into_iter().take(most) {
        let now = state_len.min(left).min(longest);
        if now == 0 {
            break;
        }
        sent.push((now, flags));
        left -= now;
        if now < state_len {
            break;
        }
    }
    if sent.is_empty() {
        // A state of 0 is always true: allocated, content unknown.
        sent.push((len.min(longest), 0));
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_end_with_the_range_and_with_what_the_form_can_say() {
        let states = || vec![(8192, 3), (1 << 40, 0), (512, 3)];
        let extended = descriptors(states(), 1 << 41, 9, Form::Extended);
        assert_eq!(extended, [(8192, 3), (1 << 40, 0), (512, 3)]);
        let structured = descriptors(states(), 1 << 41, 9, Form::Structured);
        assert_eq!(structured, [(8192, 3), (DESCRIPTOR_MAX, 0)], "what is behind a cut one is not consecutive");
        assert_eq!(descriptors(states(), 8193, 9, Form::Extended), [(8192, 3), (1, 0)]);
        assert_eq!(descriptors(states(), 1 << 41, 1, Form::Extended), [(8192, 3)]);
        assert_eq!(descriptors(Vec::new(), 1 << 41, 9, Form::Structured), [(DESCRIPTOR_MAX, 0)]);
    }

    #[test]
    fn the_most_descriptors_fill_a_buffer() {
        for form in [Form::Structured, Form::Extended] {
            let most = descriptors_max(form);
            assert!(status_len(form, most) <= STATUS_BUF && status_len(form, most + 1) > STATUS_BUF);
        }
    }
}
