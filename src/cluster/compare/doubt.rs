//! A stretch whose replicas differed at the finest look: it is looked at again until it is known why.
//!
//! Invariants: what was equal once, in one look, is equal; what differed in [`STEADY`] looks in a row without a change on any
//! replica differs; what is neither after [`LOOKS`] is busy. A client that keeps a write from some replicas for longer than
//! those looks take is not told from a difference: for that time it is one.

use super::span::Span;
use super::wire::Digest;

/// Looks in a row without a change that make a difference.
pub const STEADY: u32 = 3;
/// Looks in all.
pub const LOOKS: u32 = 12;

/// One range, and what its replicas held at the last look, replica by replica; absent: not compared.
pub(super) type Held = Vec<Option<Digest>>;

/// What has become of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Equal,
    Differs,
    Busy,
}

#[derive(Clone, Debug)]
struct Suspect {
    held: Held,
    steady: u32,
    verdict: Option<Verdict>,
}

/// The stretch.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    /// Where.
    pub(super) span: Span,
    /// When the next look is due, milliseconds.
    pub(super) due: u64,
    looks: u32,
    suspects: Vec<Suspect>,
}

/// Whether all replicas that are compared hold the same.
pub(super) fn is_equal(held: &Held) -> bool {
    let mut known = held.iter().flatten();
    let first = known.next();
    known.all(|digest| Some(digest) == first)
}

impl Doubt {
    /// A stretch of which `held` was seen, range by range.
    pub(super) fn new(span: Span, held: Vec<Held>, due: u64) -> Doubt {
        let suspect = |held: Held| {
            let verdict = is_equal(&held).then_some(Verdict::Equal);
            Suspect { held, steady: 1, verdict }
        };
        Doubt { span, due, looks: 1, suspects: held.into_iter().map(suspect).collect() }
    }

    /// Another look. A replica left out since the last one is no change.
    pub(super) fn look(&mut self, held: Vec<Held>) {
        self.looks += 1;
        for (suspect, held) in self.suspects.iter_mut().zip(held) {
            if suspect.verdict.is_some() {
                continue;
            }
            let same = suspect.held.iter().zip(&held).all(|(old, new)| old == new || new.is_none());
            suspect.steady = if same { suspect.steady + 1 } else { 1 };
            suspect.held = held;
            suspect.verdict = match suspect.steady {
                _ if is_equal(&suspect.held) => Some(Verdict::Equal),
                STEADY.. => Some(Verdict::Differs),
                _ if self.looks >= LOOKS => Some(Verdict::Busy),
                _ => None,
            };
        }
    }

    /// Whether all is known.
    pub(super) fn is_over(&self) -> bool {
        self.suspects.iter().all(|suspect| suspect.verdict.is_some())
    }

    /// The ranges with what became of them and what was last seen there; those not known yet are left away.
    pub(super) fn verdicts(&self) -> impl Iterator<Item = (Span, Verdict, &Held)> {
        let ranges = self.span.ranges().zip(&self.suspects);
        ranges.filter_map(|(range, suspect)| suspect.verdict.map(|verdict| (range, verdict, &suspect.held)))
    }
}
