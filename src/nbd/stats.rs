//! Counters of a worker: requests, bytes, errors and latency by operation, connections.
//!
//! Each counter has one writer, the worker's thread, so counting is a load and a store without a locked
//! instruction; anyone may read at any time. Values of different counters are not one consistent moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::latency::{BUCKETS, Histogram, bucket};

/// Operations that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the requests")]
pub enum Kind {
    Read,
    Write,
    Flush,
    Trim,
    Cache,
    Zeroes,
    Status,
}

impl Kind {
    /// Every operation, in the order of the arrays of [`Snapshot`].
    pub const ALL: [Kind; 7] =
        [Kind::Read, Kind::Write, Kind::Flush, Kind::Trim, Kind::Cache, Kind::Zeroes, Kind::Status];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Flush => "flush",
            Kind::Trim => "trim",
            Kind::Cache => "cache",
            Kind::Zeroes => "write_zeroes",
            Kind::Status => "block_status",
        }
    }
}

/// A number that one thread counts and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `by`; for the one writing thread.
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Operation {
    errors: Counter,
    bytes: Counter,
    latency: [Counter; BUCKETS],
}

impl Default for Operation {
    fn default() -> Self {
        let latency = std::array::from_fn(|_| Counter::default());
        Operation { errors: Counter::default(), bytes: Counter::default(), latency }
    }
}

/// The counters of one worker.
#[derive(Debug, Default)]
pub struct WorkerStats {
    operations: [Operation; Kind::ALL.len()],
    /// Connections taken over.
    pub opened: Counter,
    /// Connections ended.
    pub closed: Counter,
    /// Handshakes that ended without transmission.
    pub handshakes_failed: Counter,
    /// Connections cut off because the client took or sent nothing for too long.
    pub stalled: Counter,
    /// Connections closed because the client asked for nothing for too long.
    pub idle: Counter,
    /// Requests refused before they ran: malformed, out of range, not permitted.
    pub refused: Counter,
    /// Bytes received from clients.
    pub received: Counter,
    /// Bytes sent to clients.
    pub sent: Counter,
}

impl WorkerStats {
    /// Records the end of a request of `bytes` that took `latency`.
    pub fn record(&self, kind: Kind, bytes: u64, ok: bool, latency: Duration) {
        let operation = &self.operations[kind as usize];
        operation.latency[bucket(latency)].add(1);
        if ok {
            operation.bytes.add(bytes);
        } else {
            operation.errors.add(1);
        }
    }

    /// The values now.
    pub fn snapshot(&self) -> Snapshot {
        let operations = std::array::from_fn(|index| {
            let operation = &self.operations[index];
            let latency = Histogram(std::array::from_fn(|bucket| operation.latency[bucket].get()));
            OperationSnapshot {
                count: latency.requests(),
                errors: operation.errors.get(),
                bytes: operation.bytes.get(),
                latency,
            }
        });
        Snapshot {
            operations,
            opened: self.opened.get(),
            closed: self.closed.get(),
            handshakes_failed: self.handshakes_failed.get(),
            stalled: self.stalled.get(),
            idle: self.idle.get(),
            refused: self.refused.get(),
            received: self.received.get(),
            sent: self.sent.get(),
        }
    }
}

/// One operation's counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperationSnapshot {
    /// Requests answered.
    pub count: u64,
    /// Of these, with an error.
    pub errors: u64,
    /// Bytes of requests answered without error.
    pub bytes: u64,
    /// Requests by latency.
    pub latency: Histogram,
}

/// A worker's counters at one moment, or the sum of several workers'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in WorkerStats")]
pub struct Snapshot {
    pub operations: [OperationSnapshot; Kind::ALL.len()],
    pub opened: u64,
    pub closed: u64,
    pub handshakes_failed: u64,
    pub stalled: u64,
    pub idle: u64,
    pub refused: u64,
    pub received: u64,
    pub sent: u64,
}

impl Snapshot {
    /// The counters of one operation.
    pub fn of(&self, kind: Kind) -> &OperationSnapshot {
        &self.operations[kind as usize]
    }

    /// Connections open now.
    pub fn connections(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    /// Adds another worker's counters.
    pub fn merge(&mut self, other: &Snapshot) {
        for (sum, operation) in self.operations.iter_mut().zip(&other.operations) {
            sum.count += operation.count;
            sum.errors += operation.errors;
            sum.bytes += operation.bytes;
            sum.latency.add(&operation.latency);
        }
        self.opened += other.opened;
        self.closed += other.closed;
        self.handshakes_failed += other.handshakes_failed;
        self.stalled += other.stalled;
        self.idle += other.idle;
        self.refused += other.refused;
        self.received += other.received;
        self.sent += other.sent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let stats = WorkerStats::default();
        stats.record(Kind::Read, 4096, true, Duration::from_micros(5));
        stats.record(Kind::Read, 4096, false, Duration::from_micros(100));
        stats.opened.add(1);
        let mut sum = stats.snapshot();
        sum.merge(&stats.snapshot());
        let reads = sum.of(Kind::Read);
        assert_eq!((reads.count, reads.errors, reads.bytes), (4, 2, 8192));
        assert_eq!(reads.latency.quantile_us(0.5), Some(6));
        assert_eq!(reads.latency.quantile_us(1.0), Some(104));
        assert_eq!(sum.of(Kind::Write).latency.quantile_us(0.5), None);
        assert_eq!(sum.connections(), 2);
    }
}
