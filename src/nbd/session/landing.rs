//! Answers requests when their parts finish.
//!
//! Invariants: a request is answered when its last part has finished, except that chunks of a long structured read go
//! out as they come; a failed request gets exactly one error; bytes of reads stay reserved until they are sent, bytes
//! of writes until they are written.

use super::flights::{Flight, Ticket, write_part};
use super::outbox::{Item, Parts};
use super::{Io, Phase, Session};
use crate::nbd::backend::{Backend, Failed, Failure, Reply};
use crate::nbd::reply::Place;
use crate::nbd::stats::Kind;

impl<B: Backend> Session<B> {
    /// Takes the outcome of one part of a request.
    pub fn finished(&mut self, ticket: Ticket, outcome: Result<Reply, Failed>, io: &mut Io<'_, B>) {
        if matches!(self.phase, Phase::Dead) {
            return;
        }
        let Some(flight) = self.flights.get(ticket.flight) else {
            return;
        };
        self.active = io.now;
        debug_assert!(flight.running > 0);
        flight.running = flight.running.saturating_sub(1);
        let reserved = reserved(flight, ticket.at);
        let offset = flight.offset + u64::from(ticket.at);
        match outcome {
            Ok(Reply::Data(data)) => {
                let flight = *flight;
                self.push_data(&flight, offset, data);
            }
            Ok(Reply::Done) => self.release(reserved, io),
            Err(failed) => {
                flight.fail(failed);
                self.release(reserved, io);
            }
        }
        self.conclude(ticket.flight, io);
        self.continue_span(io);
    }

    /// Ends a request that will get no more parts, with an error.
    pub(super) fn fail(&mut self, index: u16, failure: Failure, io: &mut Io<'_, B>) {
        if let Some(flight) = self.flights.get(index) {
            flight.fail(Failed { failure, at: None });
            flight.open = false;
        }
        self.conclude(index, io);
    }

    fn push_data(&mut self, flight: &Flight, offset: u64, data: Parts) {
        let last = flight.running == 0 && !flight.open && flight.failure.is_none();
        let place = if last { Place::Last } else { Place::More };
        self.outbox.push(Item::Data { to: flight.to(), place, offset, data });
    }

    /// Answers a request if nothing of it runs any more.
    pub(super) fn conclude(&mut self, index: u16, io: &mut Io<'_, B>) {
        let Some(flight) = self.flights.take_landed(index) else {
            return;
        };
        let latency = io.now.saturating_duration_since(flight.started);
        io.stats.record(flight.kind, flight.len, flight.failure.is_none(), latency);
        match flight.failure {
            Some(Failed { failure, at }) => self.push_error(flight.to(), failure.errno(), failure.text(), at),
            // The data went out by themselves.
            None if flight.kind == Kind::Read => {}
            None => self.outbox.push(Item::Done { to: flight.to() }),
        }
    }
}

/// Bytes reserved for the part of a request at `at`.
fn reserved(flight: &Flight, at: u32) -> usize {
    // Reads and writes are no longer than the maximum payload, which fits in 32 bits.
    let left = u32::try_from(flight.len).unwrap_or(u32::MAX).saturating_sub(at);
    match flight.kind {
        Kind::Read => left.min(flight.chunk) as usize,
        Kind::Write => write_part(flight.offset + u64::from(at), left, flight.chunk) as usize,
        _ => 0,
    }
}
