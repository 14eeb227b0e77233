//! What a volume must hold after a crash, block by block, as a client that was there can know it.
//!
//! Invariants: a block holds one of its candidates and nothing else. A write adds a candidate before it is sent; its
//! acknowledgement leaves that one alone (a killed process loses no page cache, so what was acknowledged must be there).
//! At most one write is in flight per block, or two answers could not be told apart. Contents come from a seed, never zero
//! bytes alone, so a hole where data should be is seen; seed 0 stands for zeros.

use super::bytes::pattern;
use super::nbd::{Client, ClientError};
use std::collections::BTreeMap;

/// Bytes of one block of the oracle.
pub const BLOCK: usize = 4096;

/// The candidates of every block, and the writes in flight.
pub struct Oracle {
    candidates: Vec<Vec<u64>>,
    in_flight: BTreeMap<u64, (usize, u64)>,
    next_seed: u64,
}

impl Oracle {
    /// The oracle of a fresh volume of `size` bytes: zeros everywhere.
    pub fn fresh(size: u64) -> Oracle {
        Oracle { candidates: vec![vec![0]; size as usize / BLOCK], in_flight: BTreeMap::new(), next_seed: 1 }
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.candidates.len()
    }

    /// The volume has grown to `size` bytes; what it has gained reads as zeros.
    pub fn grow(&mut self, size: u64) {
        self.candidates.resize(size as usize / BLOCK, vec![0]);
    }

    /// The content that a seed stands for.
    pub fn content(seed: u64) -> Vec<u8> {
        if seed == 0 { vec![0; BLOCK] } else { pattern(seed, BLOCK) }
    }

    /// Whether a write to this block is still in flight.
    pub fn is_busy(&self, block: usize) -> bool {
        self.in_flight.values().any(|(busy, _)| *busy == block)
    }

    /// Sends a write of new content to a block, without waiting for its answer.
    pub fn start_write(&mut self, client: &mut Client, block: usize) -> Result<(), ClientError> {
        assert!(!self.is_busy(block), "two writes in flight to block {block}");
        let seed = self.next_seed;
        self.next_seed += 1;
        self.candidates[block].push(seed);
        let cookie = client.start_write((block * BLOCK) as u64, &Oracle::content(seed))?;
        self.in_flight.insert(cookie, (block, seed));
        Ok(())
    }

    /// Takes one answer and settles its block.
    pub fn take_answer(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let (cookie, error) = client.receive()?;
        let (block, seed) = self.in_flight.remove(&cookie).unwrap();
        if error != 0 {
            return Err(ClientError::Refused(error));
        }
        self.candidates[block] = vec![seed];
        Ok(())
    }

    /// Writes in flight.
    pub fn depth(&self) -> usize {
        self.in_flight.len()
    }

    /// After the connection ended: nothing is in flight any more; unanswered writes stay candidates.
    pub fn connection_ended(&mut self) {
        self.in_flight.clear();
    }

    /// Keeps `depth` random single-block writes in flight until the connection ends or `writes` are answered.
    /// Returns how many were answered.
    pub fn hammer(&mut self, client: &mut Client, random: &mut u64, depth: usize, writes: usize) -> usize {
        let mut answered = 0;
        while answered < writes {
            while self.depth() < depth {
                let block = (next(random) % self.blocks() as u64) as usize;
                if !self.is_busy(block) && self.start_write(client, block).is_err() {
                    return answered;
                }
            }
            match self.take_answer(client) {
                Ok(()) => answered += 1,
                Err(ClientError::Gone(_)) => return answered,
                Err(refused) => panic!("a write was refused: {refused:?}"),
            }
        }
        while self.depth() > 0 && self.take_answer(client).is_ok() {}
        answered
    }

    /// Reads the whole volume; every block must hold one of its candidates, and from now on holds that one.
    #[track_caller]
    pub fn check(&mut self, client: &mut Client) {
        for (block, found) in self.read(client) {
            self.settle(block, &found);
        }
    }

    /// Whether every block holds one of its candidates, which stay what they are.
    pub fn holds(&self, client: &mut Client) -> bool {
        let is_one = |(block, found): (usize, Vec<u8>)| {
            self.candidates[block].iter().any(|seed| Oracle::content(*seed) == found)
        };
        self.read(client).all(is_one)
    }

    /// Every block's number and content.
    fn read<'a>(&self, client: &'a mut Client) -> impl Iterator<Item = (usize, Vec<u8>)> + use<'a> {
        const CHUNK: usize = 256;
        let blocks = self.blocks();
        (0..blocks).step_by(CHUNK).flat_map(move |first| {
            let data = client.read((first * BLOCK) as u64, CHUNK.min(blocks - first) * BLOCK).unwrap();
            let found: Vec<Vec<u8>> = data.chunks_exact(BLOCK).map(<[u8]>::to_vec).collect();
            found.into_iter().enumerate().map(move |(index, found)| (first + index, found))
        })
    }

    #[track_caller]
    fn settle(&mut self, block: usize, found: &[u8]) {
        let held = self.candidates[block].iter().copied().find(|seed| Oracle::content(*seed) == found);
        match held {
            Some(seed) => self.candidates[block] = vec![seed],
            None => panic!(
                "block {block} holds none of its {} candidates; it begins {:02x?}",
                self.candidates[block].len(),
                &found[..16]
            ),
        }
    }
}

/// The next number of a seeded sequence (splitmix64).
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
