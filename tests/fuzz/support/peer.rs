//! The other end of one connection, without a network: what the client sends arrives in pieces of the harness's choice,
//! and what the server sends is kept. Drives a worker's own table of sessions, round by round, as the worker does.
//!
//! Invariant: the engine here completes an operation only when the harness says so, and every operation once.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keymoult::engine::{Done, Engine, EngineReport, EngineStats, Op, Pool, Sock, Waker};
use keymoult::nbd::parts::{Bounds, Budget, Io, Table};
use keymoult::nbd::stats::WorkerStats;
use keymoult::nbd::{Export, Exports, TlsMode};

use super::client::engine;
use super::input::Input;
use super::memory::{Memory, MemoryBackend};

/// Bytes of the volume.
pub const SIZE: usize = 1280 << 10;
/// Bytes of payload sessions may hold: less than two of the longest reads.
const HELD: usize = 2 << 20;
/// Rounds without an operation under way after which the session has stalled.
const ROUNDS_MAX: usize = 200_000;

/// How a stream is cut and how slow the client is to read.
#[derive(Clone)]
pub enum Cuts<'a> {
    /// All there is, at once; sends end at once.
    None,
    /// One byte after another says how much arrives next, and whether sends end before or after it.
    By(Input<'a>),
}

/// What came of a connection.
pub struct Outcome {
    /// Everything the server sent.
    pub sent: Vec<u8>,
    /// What the volume holds.
    pub content: Vec<u8>,
}

/// The engine: keeps the receive and the send that are under way.
struct Held {
    /// Lends its waker and counters.
    idle: Box<dyn Engine>,
    receive: Option<(u64, Op)>,
    send: Option<(u64, Op)>,
    cut: bool,
}

impl Engine for Held {
    fn submit(&mut self, token: u64, op: Op) {
        let place = if matches!(op, Op::Recv { .. }) { &mut self.receive } else { &mut self.send };
        assert!(place.is_none(), "two operations of a kind on one socket");
        *place = Some((token, op));
    }

    fn wait(&mut self, _timeout: Option<Duration>, _done: &mut Vec<Done>) -> io::Result<()> {
        Ok(())
    }

    fn cancel_socket(&mut self, _socket: &Arc<Sock>) {
        self.cut = true;
    }

    fn pending(&self) -> usize {
        usize::from(self.receive.is_some()) + usize::from(self.send.is_some())
    }

    fn waker(&self) -> Waker {
        self.idle.waker()
    }

    fn report(&self) -> EngineReport {
        self.idle.report()
    }

    fn stats(&self) -> EngineStats {
        self.idle.stats()
    }
}

/// A connection over which `stream` is sent, then ended.
pub struct Peer<'a> {
    stream: &'a [u8],
    cuts: Cuts<'a>,
    sent: Vec<u8>,
    engine: Held,
    pool: Pool,
}

impl<'a> Peer<'a> {
    /// Sends `stream` to a server of one export, `v`.
    pub fn serve(stream: &'a [u8], cuts: Cuts<'a>, read_only: bool) -> Outcome {
        let engine = Held { idle: engine(), receive: None, send: None, cut: false };
        let pool = Pool::new(64 << 20);
        let mut peer = Peer { stream, cuts, sent: Vec::new(), engine, pool };
        let volume = Arc::new(Memory(vec![0; SIZE].into()));
        peer.run(&volume, read_only);
        assert_eq!(peer.pool.usage().taken, 0, "a buffer is lost");
        let content = std::mem::take(&mut *volume.0.lock().unwrap());
        Outcome { sent: peer.sent, content }
    }

    fn run(&mut self, volume: &Arc<Memory>, read_only: bool) {
        let exports = Exports::new();
        let export = Export::new("v", SIZE as u64, 4096, Arc::clone(volume)).unwrap();
        exports.add(export.with_read_only(read_only)).unwrap();
        let (mut backend, mut budget, stats) =
            (MemoryBackend::new(&self.pool), Budget::new(HELD), WorkerStats::default());
        let now = Instant::now();
        let bounds = Bounds { handshake_time: Duration::from_secs(3600), ..Bounds::default() };
        let mut table = Table::new(&bounds);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        table.insert(Arc::new(Sock::try_from(ours).unwrap()), None, TlsMode::Off, now);
        let pool = self.pool.clone();
        let mut done = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let mut io = Io {
                engine: &mut self.engine,
                backend: &mut backend,
                pool: &pool,
                budget: &mut budget,
                stats: &stats,
                exports: &exports,
                tls: None,
                bounds: &bounds,
                now,
                stopping: false,
            };
            table.take_events(&mut done, &mut io);
            table.serve(&mut io);
            if table.is_empty() {
                return;
            }
            done = self.complete();
        }
        panic!("the session stalls: {} operations under way", self.engine.pending());
    }

    /// What the engine hands back next.
    fn complete(&mut self) -> Vec<Done> {
        let choice = match &mut self.cuts {
            Cuts::By(input) if !input.is_empty() => Some(input.u8()),
            _ => None,
        };
        let slow = choice.is_some_and(|choice| choice & 0x80 != 0) && self.engine.receive.is_some();
        let mut done = Vec::new();
        if let Some(send) = self.engine.send.take_if(|_| !slow) {
            done.push(self.finish_send(send));
        }
        if let Some(receive) = self.engine.receive.take() {
            let most = choice.map_or(usize::MAX, |choice| 1 + usize::from(choice & 0x7f));
            done.push(self.finish_receive(receive, most));
        }
        done
    }

    fn finish_send(&mut self, (token, op): (u64, Op)) -> Done {
        let Op::Send { parts, .. } = &op else { panic!("{op:?}") };
        if self.engine.cut {
            return Done { token, result: Err(io::ErrorKind::BrokenPipe.into()), op };
        }
        let before = self.sent.len();
        parts.iter().for_each(|(data, range)| self.sent.extend_from_slice(&data[range.clone()]));
        Done { token, result: Ok(self.sent.len() - before), op }
    }

    fn finish_receive(&mut self, (token, mut op): (u64, Op), most: usize) -> Done {
        let Op::Recv { first, rest, .. } = &mut op else { panic!("{op:?}") };
        let mut total = 0;
        for (buf, range) in first.iter_mut().chain([rest]) {
            let left = if self.engine.cut { 0 } else { self.stream.len().min(most - total) };
            let now = range.len().min(left);
            buf[range.start..range.start + now].copy_from_slice(&self.stream[..now]);
            self.stream = &self.stream[now..];
            total += now;
        }
        Done { token, result: Ok(total), op }
    }
}
