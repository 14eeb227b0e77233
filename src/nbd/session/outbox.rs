//! The sending side of a connection: replies that are ready, gathered into one send.
//!
//! Invariants: at most one send is under way; replies leave in the order in which they became ready; a payload is sent
//! from the buffer it is in, and all headers of a send share one buffer, which is written only while no send uses it;
//! a send is bounded in parts and bytes, so that buffers come back while the next is prepared.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::engine::{Buf, Data, Op, Pool, Sock};
use crate::nbd::form::Form;
use crate::nbd::reply::{HEADER_MAX, Place, Say, To};
use crate::nbd::wire::Errno;

/// Most parts of one send: two per reply with data.
const PARTS_MAX: usize = 128;
/// A send is closed once it holds this many bytes of payload.
const SEND_BYTES: usize = 1 << 20;
/// Size of the buffer that gathers headers, bytes.
const HEADS: usize = 4 << 10;

const _: () = assert!(HEADS >= HEADER_MAX);

/// A reply, or a chunk of one, that is ready.
#[derive(Debug)]
pub enum Item {
    /// Success of a request that brings no data.
    Done { to: To },
    /// Success of a read of no bytes.
    Nothing { to: To },
    /// Data at `offset`: all of a simple reply, or a chunk.
    Data { to: To, place: Place, offset: u64, data: Parts },
    /// An error, at a byte if that is known.
    Error { to: To, errno: Errno, text: &'static str, at: Option<u64> },
    /// Bytes that are complete: handshake answers, block status; `held` of them count as payload.
    Raw { buf: Buf, len: usize, held: usize },
}

/// Consecutive parts of a payload.
pub type Parts = Vec<(Buf, Range<usize>)>;

/// Bytes of a payload.
pub fn parts_len(parts: &[(Buf, Range<usize>)]) -> usize {
    parts.iter().map(|part| part.1.len()).sum()
}

impl Item {
    fn write_header(&self, form: Form, out: &mut Vec<u8>) {
        match self {
            Item::Done { to } => Say::Done.write(form, *to, out),
            Item::Nothing { to } => Say::Nothing.write(form, *to, out),
            Item::Data { to, place, offset, data } => {
                Say::Data { place: *place, offset: *offset, len: parts_len(data) }.write(form, *to, out);
            }
            Item::Error { to, errno, text, at } => {
                Say::Error { errno: *errno, text, at: *at }.write(form, *to, out);
            }
            Item::Raw { .. } => {}
        }
    }

    fn payload(&self) -> (usize, usize) {
        match self {
            Item::Data { data, .. } => (data.len(), parts_len(data)),
            Item::Raw { len, .. } => (1, *len),
            _ => (0, 0),
        }
    }
}

/// Replies waiting and the send under way.
#[derive(Debug, Default)]
pub struct Outbox {
    ready: VecDeque<Item>,
    /// Headers of the send being built, and where each reply's header ends in it.
    scratch: Vec<u8>,
    ends: Vec<usize>,
    heads: Option<Arc<Buf>>,
    /// The part list of the last send, kept for its memory.
    spare: Vec<(Data, Range<usize>)>,
    /// Payload bytes of reads and block status in the send under way.
    under_way: usize,
}

impl Outbox {
    /// Queues a reply.
    pub fn push(&mut self, item: Item) {
        self.ready.push_back(item);
    }

    /// Replies waiting.
    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Gathers waiting replies into one send, in the given form; `None` when none waits or the pool has no buffer for
    /// headers.
    pub fn send(&mut self, form: Form, socket: &Arc<Sock>, pool: &Pool) -> Option<Op> {
        if self.ready.is_empty() {
            return None;
        }
        let count = self.plan(form);
        self.fill_heads(pool)?;
        let heads = self.heads.as_ref()?;
        let mut parts = std::mem::take(&mut self.spare);
        let (mut from, mut to) = (0, 0);
        for (item, end) in self.ready.drain(..count).zip(&self.ends) {
            to = *end;
            let data = match item {
                Item::Data { data, .. } => {
                    self.under_way += parts_len(&data);
                    data
                }
                Item::Raw { buf, len, held } => {
                    self.under_way += held;
                    vec![(buf, 0..len)]
                }
                _ => continue,
            };
            if from < to {
                parts.push((Data::Shared(Arc::clone(heads)), from..to));
                from = to;
            }
            parts.extend(data.into_iter().map(|(buf, range)| (Data::Own(buf), range)));
        }
        if from < to {
            parts.push((Data::Shared(Arc::clone(heads)), from..to));
        }
        Some(Op::Send { socket: Arc::clone(socket), parts })
    }

    /// Writes the headers of the replies that go into one send; returns how many replies those are.
    fn plan(&mut self, form: Form) -> usize {
        self.scratch.clear();
        self.ends.clear();
        let (mut parts, mut bytes) = (0, 0);
        for item in &self.ready {
            let (item_parts, item_bytes) = item.payload();
            let full =
                parts + item_parts + 2 > PARTS_MAX || bytes >= SEND_BYTES || self.scratch.len() + HEADER_MAX > HEADS;
            // The first always goes: a long reply may have more parts than fit.
            if full && !self.ends.is_empty() {
                break;
            }
            item.write_header(form, &mut self.scratch);
            self.ends.push(self.scratch.len());
            parts += item_parts + 1;
            bytes += item_bytes;
        }
        self.ends.len()
    }

    /// Copies the headers to their buffer, taking one from the pool if there is none or it is still shared.
    fn fill_heads(&mut self, pool: &Pool) -> Option<()> {
        if self.heads.as_mut().is_none_or(|heads| Arc::get_mut(heads).is_none()) {
            self.heads = Some(Arc::new(pool.take(HEADS)?));
        }
        let heads = Arc::get_mut(self.heads.as_mut()?)?;
        heads[..self.scratch.len()].copy_from_slice(&self.scratch);
        Some(())
    }

    /// Takes back what a send leaves; returns the payload bytes that are free again.
    pub fn sent(&mut self, mut parts: Vec<(Data, Range<usize>)>) -> usize {
        parts.clear();
        self.spare = parts;
        std::mem::take(&mut self.under_way)
    }
}
