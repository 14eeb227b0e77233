//! Replicas in memory, a clock, and a client that writes to them while they are compared.

use sha2::{Digest as _, Sha256};

use crate::cluster::compare::*;
use crate::cluster::name::NodeName;
use crate::cluster::record::Role;
use crate::units::Generation;

pub const EXTENT: u64 = 1 << 20;

pub fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

/// A replica: its content is zeros, but for some blocks.
pub struct Replica {
    pub name: NodeName,
    pub shape: Shape,
    pub target: Generation,
    pub moving: bool,
    pub tags: Vec<u32>,
    /// Extents that cannot be read.
    pub closed: Vec<u64>,
    /// Bytes that are not zero.
    pub bytes: std::collections::BTreeMap<u64, u8>,
    /// Answers nothing after so many questions.
    pub silent_after: Option<u64>,
    /// Says this instead of an answer to the question of this number.
    pub says: Option<(u64, Vec<u8>)>,
    /// Why it fails.
    pub fails: Option<String>,
    pub heard: u64,
    read: std::cell::Cell<u64>,
}

impl Digests for Replica {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn target(&self) -> (Generation, bool) {
        (self.target, self.moving)
    }

    fn map(&self, first: u64, count: u64, per_range: u64) -> Result<Vec<[u8; 32]>, String> {
        let tags = &self.tags[first as usize..(first + count) as usize];
        let digest = |tags: &[u32]| {
            let mut sum = Sha256::new();
            tags.iter().for_each(|tag| sum.update(tag.to_le_bytes()));
            sum.finalize().into()
        };
        Ok(tags.chunks(per_range as usize).map(digest).collect())
    }

    fn plain(&self, key: &[u8; 32], offset: u64, len: u64, step: u64) -> Result<Vec<Option<Digest>>, String> {
        if let Some(why) = &self.fails {
            return Err(why.clone());
        }
        self.read.set(self.read.get() + len);
        assert!(offset + len <= self.shape.size && len <= WINDOW_MAX && step <= self.shape.extent);
        let range = |first: u64| {
            let end = (first + step).min(offset + len);
            let mut sum = Sha256::new();
            sum.update(key);
            sum.update(end.to_le_bytes());
            for (place, byte) in self.bytes.range(first..end) {
                sum.update(place.to_le_bytes());
                sum.update([*byte]);
            }
            let sum: [u8; 32] = sum.finalize().into();
            (!self.closed.contains(&(first / EXTENT))).then(|| std::array::from_fn(|index| sum[index]))
        };
        Ok((0..len.div_ceil(step)).map(|index| range(offset + index * step)).collect())
    }
}

/// A client that writes one byte to the replicas in turn, a new value each round.
struct Client {
    place: u64,
    writes_left: u64,
    /// Questions between two writes.
    every: u64,
    done: u64,
}

pub struct World {
    pub replicas: Vec<Replica>,
    pub now: u64,
    pub questions: u64,
    pub bytes_per_s: Option<u64>,
    pub from: Cursor,
    /// Takes the flip of a byte back at this time.
    pub mend_at: Option<(&'static str, u64, u64)>,
    client: Option<Client>,
}

impl World {
    pub fn new(count: usize, size: u64) -> World {
        let shape = Shape { size, extent: EXTENT };
        let replica = |node: &str| Replica {
            name: name(node),
            shape,
            target: Generation(1),
            moving: false,
            tags: vec![1; shape.extents() as usize],
            closed: Vec::new(),
            bytes: Default::default(),
            silent_after: None,
            says: None,
            fails: None,
            heard: 0,
            read: Default::default(),
        };
        World {
            replicas: ["a", "b", "c", "d", "e"][..count].iter().map(|node| replica(node)).collect(),
            now: 1_000,
            questions: 0,
            bytes_per_s: None,
            from: Cursor::default(),
            mend_at: None,
            client: None,
        }
    }

    pub fn replica(&mut self, node: &str) -> &mut Replica {
        self.replicas.iter_mut().find(|it| it.name == name(node)).unwrap()
    }

    pub fn read_by(&mut self, node: &str) -> u64 {
        self.replica(node).read.get()
    }

    pub fn flip(&mut self, node: &str, place: u64) {
        self.replica(node).bytes.insert(place, 1);
    }

    /// A client writes so many times to `place`, one replica after the other, a write every so many answers.
    pub fn writes(&mut self, place: u64, writes: u64, every: u64) {
        self.client = Some(Client { place, writes_left: writes, every, done: 0 });
    }

    fn write(&mut self) {
        let Some(client) = &mut self.client else { return };
        if client.writes_left == 0 || !self.questions.is_multiple_of(client.every) {
            // What was begun is ended.
            if client.writes_left > 0 || client.done.is_multiple_of(self.replicas.len() as u64) {
                return;
            }
        }
        let (round, turn) = (client.done / self.replicas.len() as u64, client.done % self.replicas.len() as u64);
        client.done += 1;
        client.writes_left = client.writes_left.saturating_sub(1);
        // The last one first, since the first one is asked first.
        let index = self.replicas.len() - 1 - turn as usize;
        self.replicas[index].bytes.insert(client.place, (round % 250) as u8 + 2);
    }

    /// Runs a comparison to its end.
    pub fn run(&mut self, data: bool) -> Report {
        let settings = Settings {
            check: [7; 16],
            key: CheckKey([9; 32]),
            replicas: self.replicas.iter().map(|it| it.name.clone()).collect(),
            data,
            bytes_per_s: self.bytes_per_s,
            from: self.from,
        };
        let mut comparer = Comparer::start(settings);
        let mut says = std::collections::VecDeque::from(comparer.tick(self.now));
        for _ in 0..100_000 {
            let Some(say) = says.pop_front() else {
                let Some(wake) = comparer.wakes() else { return comparer.report().clone() };
                self.now = self.now.max(wake) + 1;
                says.extend(comparer.tick(self.now));
                continue;
            };
            self.questions += 1;
            self.write();
            self.mend();
            if let Some(payload) = self.answer(&say) {
                says.extend(comparer.heard(self.now, &say.to, &payload));
            }
        }
        panic!("the comparison does not end: {:?}", comparer.report());
    }

    fn mend(&mut self) {
        if let Some((node, place, at)) = self.mend_at
            && self.now >= at
        {
            self.replica(node).bytes.remove(&place);
        }
    }

    fn answer(&mut self, say: &Say) -> Option<Vec<u8>> {
        assert!(is_question(&say.payload));
        let replica = self.replicas.iter_mut().find(|it| it.name == say.to).unwrap();
        replica.heard += 1;
        if replica.silent_after.is_some_and(|most| replica.heard > most) {
            return None;
        }
        match &replica.says {
            Some((number, payload)) if replica.heard >= *number => Some(payload.clone()),
            _ => Some(answer(&say.payload, Role::Full, replica).unwrap()),
        }
    }
}
