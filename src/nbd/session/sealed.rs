//! TLS between the socket and a session: ciphertext in pool buffers on one side, inbox and outbox on the other.
//!
//! Receiving, ciphertext arrives in a buffer of its own and is decrypted there; a record's plaintext is copied once, to where
//! the inbox would have received it. Sending, replies are taken over from the outbox as one send and encrypted into pool
//! buffers, many small parts to a record; each part's buffer goes back as soon as it is encrypted.
//!
//! Invariants: at most one send of the outbox is being encrypted or sent, and its payload stays reserved until the last
//! byte of it is sent; records leave in the order in which they were made; what was received and is not decrypted is
//! at most [`CIPHER_MAX`] bytes, and nothing is received while any of it can be decrypted. While a receive has the buffer,
//! a copy of the part of a record it begins with stands in for it, because the library must see it to encrypt.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::inbox::{Inbox, carried};
use super::outbox::Outbox;
use super::transport::Refill;
use crate::engine::{Buf, CLASS_MIN, Data, Op, Pool, Sock};
use crate::nbd::form::Form;
use crate::nbd::tls::stream::{OVERHEAD, RECORD, Room, Stream};

/// Largest buffer of ciphertext received, bytes.
const CIPHER_MAX: usize = 128 << 10;
/// Buffer that holds any record, bytes.
const RECORD_BUF: usize = 32 << 10;
/// Largest buffer of ciphertext to send, bytes.
const SEALED_BUF: usize = 256 << 10;
/// A send is closed once it holds this many bytes.
const SEND_BYTES: usize = 1 << 20;

const _: () = assert!(SEALED_BUF >= RECORD + OVERHEAD && RECORD_BUF >= RECORD + OVERHEAD && CIPHER_MAX > RECORD_BUF);

/// One connection under TLS.
pub struct Sealed {
    stream: Stream,
    /// Ciphertext received; `None` while a receive has it, or before the first.
    cipher: Option<Buf>,
    filled: Range<usize>,
    /// Stands in for the ciphertext that is with a receive.
    shadow: Vec<u8>,
    /// Size of the next buffer, bytes.
    size: usize,
    starved: bool,
    /// What was taken over from the outbox and is not encrypted.
    queue: VecDeque<(Data, Range<usize>)>,
    /// Bytes in it.
    queued: usize,
    /// Gathers small parts into one record.
    stage: Vec<u8>,
    /// A send of the outbox is being encrypted or sent.
    owes: bool,
    /// Part lists, kept for their memory: the outbox's and ours.
    lists: [Vec<(Data, Range<usize>)>; 2],
}

impl Sealed {
    /// TLS from here on.
    pub fn new(stream: Stream) -> Sealed {
        Sealed {
            stream,
            cipher: None,
            filled: 0..0,
            shadow: Vec::new(),
            size: CLASS_MIN,
            starved: true,
            queue: VecDeque::new(),
            queued: 0,
            stage: Vec::new(),
            owes: false,
            lists: [Vec::new(), Vec::new()],
        }
    }

    /// The TLS connection.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// All that was received and is not done with.
    fn pending<'a>(cipher: &'a mut Option<Buf>, filled: &Range<usize>, shadow: &'a mut [u8]) -> &'a mut [u8] {
        match cipher {
            Some(cipher) => &mut cipher[filled.clone()],
            None => shadow,
        }
    }

    /// Takes note that `len` bytes of the ciphertext are done with.
    fn consume(&mut self, len: usize) {
        debug_assert!(len == 0 || self.cipher.is_some(), "what begins with a receive is no whole record");
        self.filled.start += len;
    }

    /// The receive to start now, or `None` when the pool has no buffer for it.
    pub fn receive(&mut self, socket: &Arc<Sock>, pool: &Pool) -> Option<Op> {
        let kept = self.filled.len();
        let mut buf = match self.cipher.take() {
            Some(buf) if buf.len() >= self.size => buf,
            old => {
                let larger = self.larger(pool, old.as_ref().map_or(0, |old| old.len()));
                carried(larger, old, &mut self.filled)?
            }
        };
        buf.copy_within(self.filled.clone(), 0);
        self.filled = 0..kept;
        if kept == buf.len() {
            // A record or message does not fit, and there is no larger buffer now, or never will be.
            if kept >= CIPHER_MAX {
                self.stream.give_up();
            }
            self.cipher = Some(buf);
            return None;
        }
        self.shadow.clear();
        self.shadow.extend_from_slice(&buf[..kept]);
        let room = kept..buf.len();
        Some(Op::Recv { socket: Arc::clone(socket), first: None, rest: (buf, room) })
    }

    /// A buffer of the wanted size, if that is more than `len`. Those that hold more than a record leave half of the pool to
    /// payloads: an idle connection keeps its own.
    fn larger(&self, pool: &Pool, len: usize) -> Option<Buf> {
        let usage = pool.usage();
        let room = usage.taken + self.size <= usage.limit / 2;
        let size = if room { self.size } else { self.size.min(RECORD_BUF) };
        if size > len { pool.take(size) } else { None }
    }

    /// Takes the buffer of a receive back, in which `len` bytes arrived.
    pub fn received(&mut self, (buf, range): (Buf, Range<usize>), len: usize) {
        debug_assert_eq!(range.start, self.filled.end);
        self.filled.end = range.start + len;
        if len == range.len() {
            self.size = (self.size * 4).min(CIPHER_MAX);
        }
        self.cipher = Some(buf);
        self.starved = false;
    }

    /// Decrypts what was received into the inbox.
    pub fn refill(&mut self, inbox: &mut Inbox, socket: &Arc<Sock>, pool: &Pool) -> Refill {
        if self.stream.is_handshaking() {
            return self.shake_hands();
        }
        if self.starved && !self.stream.has_plaintext() {
            return if self.stream.end().is_some() { Refill::Ended } else { Refill::Starved };
        }
        let Some(Op::Recv { mut first, mut rest, .. }) = inbox.receive(socket, pool) else {
            return Refill::NoBuffer;
        };
        let mut room = Room {
            first: first.as_mut().map_or(&mut [], |(buf, range)| &mut buf[range.clone()]),
            rest: &mut rest.0[rest.1.clone()],
            filled: 0,
        };
        let cipher = Sealed::pending(&mut self.cipher, &self.filled, &mut self.shadow);
        let (used, starved) = self.stream.open(cipher, &mut room);
        let filled = room.filled;
        inbox.received(first, rest, filled);
        self.consume(used);
        self.starved = starved;
        self.outcome(filled > 0)
    }

    fn shake_hands(&mut self) -> Refill {
        let mut nowhere = Room { first: &mut [], rest: &mut [], filled: 0 };
        let cipher = Sealed::pending(&mut self.cipher, &self.filled, &mut self.shadow);
        let (used, starved) = self.stream.open(cipher, &mut nowhere);
        self.consume(used);
        self.starved = starved;
        // With the handshake over, the next bytes may be the client's.
        let over = !self.stream.is_handshaking() && self.stream.says().is_empty();
        self.outcome(over)
    }

    fn outcome(&mut self, moved: bool) -> Refill {
        if moved {
            Refill::Done
        } else if self.stream.end().is_some() {
            Refill::Ended
        } else if !self.stream.says().is_empty() {
            Refill::Blocked
        } else {
            Refill::Starved
        }
    }

    /// Whether something is to be sent, besides what the outbox has.
    pub fn has_output(&mut self) -> bool {
        !self.stream.says().is_empty() || self.queued > 0
    }

    /// Whether a send of the outbox is being encrypted or sent.
    pub fn owes(&self) -> bool {
        self.owes
    }

    /// Says that nothing more will be sent, once.
    pub fn part(&mut self) -> bool {
        let cipher = Sealed::pending(&mut self.cipher, &self.filled, &mut self.shadow);
        if self.stream.is_handshaking() {
            return false;
        }
        let used = self.stream.settle(cipher);
        let parted = self.stream.part(&mut cipher[used..]);
        self.consume(used);
        parted
    }

    /// The send to start now: what TLS has to say, then replies.
    pub fn send(&mut self, outbox: &mut Outbox, form: Form, socket: &Arc<Sock>, pool: &Pool) -> Option<Op> {
        if self.queued == 0
            && !self.owes
            && let Some(Op::Send { mut parts, .. }) = outbox.send(form, socket, pool)
        {
            self.owes = true;
            self.queued = parts.iter().map(|part| part.1.len()).sum();
            self.queue.extend(parts.drain(..));
            self.lists[0] = parts;
        }
        if self.queued > 0 && !self.stream.has_failed() {
            let cipher = Sealed::pending(&mut self.cipher, &self.filled, &mut self.shadow);
            let used = self.stream.settle(cipher);
            self.consume(used);
        }
        let mut parts = std::mem::take(&mut self.lists[1]);
        let said = self.say(pool, &mut parts);
        if said && self.queued > 0 && !self.stream.has_failed() {
            self.seal(pool, &mut parts);
        }
        match parts.is_empty() {
            true => {
                self.lists[1] = parts;
                None
            }
            false => Some(Op::Send { socket: Arc::clone(socket), parts }),
        }
    }

    /// Puts what TLS has to say into a buffer; false if there is none for it.
    fn say(&mut self, pool: &Pool, parts: &mut Vec<(Data, Range<usize>)>) -> bool {
        let says = self.stream.says();
        if says.is_empty() {
            return true;
        }
        let Some(mut buf) = pool.take(says.len()) else {
            return false;
        };
        buf[..says.len()].copy_from_slice(says);
        parts.push((Data::Own(buf), 0..says.len()));
        says.clear();
        true
    }

    /// Encrypts as much of the queue as goes into one send and buffers can be had for.
    fn seal(&mut self, pool: &Pool, parts: &mut Vec<(Data, Range<usize>)>) {
        let mut sealed = 0;
        while self.queued > 0 && sealed < SEND_BYTES {
            let records = self.queued.div_ceil(RECORD);
            let wanted = (self.queued + records * OVERHEAD).min(SEALED_BUF);
            let Some(mut buf) = pool.take(wanted) else {
                return;
            };
            let mut at = 0;
            while self.queued > 0 && buf.len() - at >= self.queued.min(RECORD) + OVERHEAD {
                let Some(len) = self.seal_record(&mut buf[at..]) else {
                    return;
                };
                at += len;
            }
            sealed += at;
            parts.push((Data::Own(buf), 0..at));
        }
    }

    /// Encrypts one record; `None` when TLS is broken.
    fn seal_record(&mut self, out: &mut [u8]) -> Option<usize> {
        let cipher = Sealed::pending(&mut self.cipher, &self.filled, &mut self.shadow);
        // A part that fills a record by itself is encrypted from where it is.
        if let Some((data, range)) = self.queue.front_mut()
            && range.len() >= RECORD
        {
            let len = self.stream.seal(cipher, &data[range.start..range.start + RECORD], out)?;
            range.start += RECORD;
            if range.start == range.end {
                self.queue.pop_front();
            }
            self.queued -= RECORD;
            return Some(len);
        }
        self.stage.clear();
        while let Some((data, range)) = self.queue.front_mut()
            && self.stage.len() < RECORD
        {
            let now = range.len().min(RECORD - self.stage.len());
            self.stage.extend_from_slice(&data[range.start..range.start + now]);
            range.start += now;
            if range.start == range.end {
                self.queue.pop_front();
            }
        }
        self.queued -= self.stage.len();
        self.stream.seal(cipher, &self.stage, out)
    }

    /// Takes back what a send leaves; returns the payload bytes of reads that are free again.
    pub fn sent(&mut self, outbox: &mut Outbox, mut parts: Vec<(Data, Range<usize>)>) -> usize {
        parts.clear();
        self.lists[1] = parts;
        if self.queued > 0 || !std::mem::take(&mut self.owes) {
            return 0;
        }
        outbox.sent(std::mem::take(&mut self.lists[0]))
    }
}
