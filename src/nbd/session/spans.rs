//! Long ranges without payload: trims and write-zeroes, run in parts.
//!
//! Extended headers let a client name a whole volume in one request. Invariants: one part runs at a time, so what a request
//! costs does not grow with its length; parts end at multiples of [`SPAN_PART`], which are boundaries of everything below;
//! after a failure no further part is started; only the last part carries FUA, as what makes it durable covers those
//! before it.

use super::intake::{Admission, Flow};
use super::{Io, Session, Wait};
use crate::limits::EXTENT_MAX;
use crate::nbd::backend::{Backend, Work};
use crate::nbd::reply::To;
use crate::nbd::stats::Kind;

/// Longest part, bytes.
const SPAN_PART: u64 = 256 << 20;

const _: () = assert!(SPAN_PART.is_multiple_of(EXTENT_MAX));

/// What is left of a range, and what is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    at: u64,
    end: u64,
    fua: bool,
    act: Act,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Trim,
    Zeroes { no_hole: bool },
}

impl Span {
    /// A trim. Ranges lie inside an export, so their ends fit in 64 bits.
    pub fn trim(offset: u64, len: u64, fua: bool) -> Span {
        Span { at: offset, end: offset + len, fua, act: Act::Trim }
    }

    /// A write of zeros.
    pub fn zeroes(offset: u64, len: u64, fua: bool, no_hole: bool) -> Span {
        Span { at: offset, end: offset + len, fua, act: Act::Zeroes { no_hole } }
    }

    /// Takes the next part off; `None` when nothing is left.
    fn next(&mut self) -> Option<Work> {
        if self.at >= self.end {
            return None;
        }
        let offset = self.at;
        let len = (SPAN_PART - offset % SPAN_PART).min(self.end - offset);
        self.at += len;
        let fua = self.fua && self.at == self.end;
        Some(match self.act {
            Act::Trim => Work::Trim { offset, len, fua },
            Act::Zeroes { no_hole } => Work::Zeroes { offset, len, fua, no_hole },
        })
    }
}

impl<B: Backend> Session<B> {
    pub(super) fn begin_span(&mut self, to: To, kind: Kind, span: Span, io: &Io<'_, B>) -> Admission {
        let flight = self.insert(to, kind, span.end - span.at, 0, io);
        Admission::Span { flight, span }
    }

    /// Starts the next part once the one before has finished, which calls this again.
    pub(super) fn advance_span(&mut self, flight: u16, mut span: Span, io: &mut Io<'_, B>) -> Flow {
        let Some(state) = self.flights.get(flight) else {
            return Flow::Continue(());
        };
        if state.running > 0 {
            self.set_admission(Admission::Span { flight, span });
            return Flow::Break(Wait::Own);
        }
        let failed = state.failure.is_some();
        if let Some(work) = span.next().filter(|_| !failed) {
            self.start(flight, 0, work, io);
        }
        if span.at < span.end && !failed {
            self.set_admission(Admission::Span { flight, span });
            return Flow::Break(Wait::Own);
        }
        self.shut(flight);
        self.conclude(flight, io);
        Flow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offset, length and FUA of every part.
    fn parts(mut span: Span) -> Vec<(u64, u64, bool)> {
        std::iter::from_fn(|| span.next())
            .map(|work| match work {
                Work::Trim { offset, len, fua } | Work::Zeroes { offset, len, fua, .. } => (offset, len, fua),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_short_range_is_one_part() {
        assert_eq!(parts(Span::trim(5, SPAN_PART - 5, true)), [(5, SPAN_PART - 5, true)]);
        assert_eq!(parts(Span::zeroes(0, 1, false, true)), [(0, 1, false)]);
    }

    #[test]
    fn parts_cover_the_range_end_on_boundaries_and_the_last_carries_fua() {
        let (offset, len) = (SPAN_PART - 100, 2 * SPAN_PART + 150);
        let expected = [
            (offset, 100, false),
            (SPAN_PART, SPAN_PART, false),
            (2 * SPAN_PART, SPAN_PART, false),
            (3 * SPAN_PART, 50, true),
        ];
        assert_eq!(parts(Span::zeroes(offset, len, true, false)), expected);
        let end = parts(Span::zeroes(u64::MAX - 10, 10, true, true));
        assert_eq!(end, [(u64::MAX - 10, 10, true)]);
    }
}
