//! A histogram of latencies, fine enough to tell a quantile from one a tenth larger.
//!
//! Buckets are those of an HDR histogram with eight steps a power of two: below 8 µs a bucket is one microsecond wide,
//! from there on an eighth of the power of two it begins in. So a quantile is at most an eighth too high, and counting costs a
//! few shifts. The last bucket is open: from about two minutes.

use std::time::Duration;

/// Buckets of a histogram.
pub const BUCKETS: usize = 200;
/// Steps a power of two, as a power of two.
const FINE: u32 = 3;

/// Index of the bucket that counts `latency`.
pub fn bucket(latency: Duration) -> usize {
    let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let power = us.max(1).ilog2();
    let index = if power < FINE { us } else { (u64::from(power - FINE) << FINE) + (us >> (power - FINE)) };
    (index as usize).min(BUCKETS - 1)
}

/// The first microsecond above a bucket.
fn end_us(bucket: usize) -> u64 {
    let next = bucket as u64 + 1;
    let power = (next >> FINE).saturating_sub(1);
    (next - (power << FINE)) << power
}

/// How many requests took how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram(pub [u64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Histogram([0; BUCKETS])
    }
}

impl Histogram {
    /// Requests counted.
    pub fn requests(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Histogram) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, count)| *sum += count);
    }

    /// What came since `earlier`, an older state of this histogram.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        Histogram(std::array::from_fn(|index| self.0[index].saturating_sub(earlier.0[index])))
    }

    /// Half of every count: older requests weigh less than what is added next.
    pub fn halve(&mut self) {
        self.0.iter_mut().for_each(|count| *count /= 2);
    }

    /// Microseconds within which a share `q` (0 to 1) of the requests ended; `None` without requests.
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        let rank = ((self.requests() as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.0.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(end_us(bucket))
    }

    /// Their mean in microseconds, zero without requests.
    pub fn mean_us(&self) -> f64 {
        let sum: f64 = self.0.iter().enumerate().map(|(index, count)| *count as f64 * middle_us(index)).sum();
        sum / self.requests().max(1) as f64
    }
}

fn middle_us(bucket: usize) -> f64 {
    let begin = if bucket == 0 { 0 } else { end_us(bucket - 1) };
    (begin + end_us(bucket)) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(us: u64) -> usize {
        bucket(Duration::from_micros(us))
    }

    #[test]
    fn every_latency_lies_in_its_bucket_and_no_bucket_is_wider_than_an_eighth() {
        let mut last = 0;
        for us in (0..5000).chain((13..27).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1])) {
            let index = of(us);
            assert!(index >= last, "{us}");
            last = index;
            let begin = if index == 0 { 0 } else { end_us(index - 1) };
            assert!((begin..end_us(index)).contains(&us), "{us} is not in {begin}..{}", end_us(index));
            assert!(end_us(index) - begin <= (begin / 8).max(1), "{us}");
        }
        assert_eq!((of(0), bucket(Duration::MAX)), (0, BUCKETS - 1));
        assert_eq!(end_us(BUCKETS - 1), 1 << 27);
    }

    #[test]
    fn quantiles_and_means_of_a_difference() {
        let mut earlier = Histogram::default();
        earlier.0[of(1_000_000)] = 1000;
        let mut later = earlier;
        later.0[of(100)] = 990;
        later.0[of(1000)] = 10;
        let seen = later.since(&earlier);
        assert_eq!((seen.requests(), seen.quantile_us(0.99), seen.quantile_us(1.0)), (1000, Some(104), Some(1024)));
        assert!((108.0..110.0).contains(&seen.mean_us()), "{}", seen.mean_us());
        assert_eq!((Histogram::default().quantile_us(0.5), Histogram::default().mean_us()), (None, 0.0));
    }

    #[test]
    fn halving_keeps_the_shape() {
        let mut histogram = Histogram::default();
        histogram.0[of(10)] = 400;
        histogram.0[of(80)] = 40;
        let before = histogram.quantile_us(0.95);
        histogram.halve();
        assert_eq!((histogram.requests(), histogram.quantile_us(0.95)), (220, before));
        let other = histogram;
        histogram.add(&other);
        assert_eq!(histogram.requests(), 440);
    }
}
