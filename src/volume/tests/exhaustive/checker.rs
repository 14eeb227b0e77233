//! The check of a crash: what the device may show is recovered, with every further crash inside recovery, and read.
//!
//! Invariants: an image is recovered once and remembered; every image that a crash inside its recovery may leave, or a killed
//! process, must come out the same, by induction however often recovery is cut off. Under any rules, recovery of the same
//! image gives the same result, so remembering changes no verdict.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_128;

use super::content::GARBLED;
use super::device::{Backing, Device};
use super::recovery::recover;
use super::relabel::relabelled;
use super::state::{Client, World};
use crate::volume::rules;

/// What a volume comes to after recovery: per cell its version, then per extent its tag.
pub type Outcome = Rc<[u8]>;

/// A number for a value that tells it from all others: 128 bits of its hash.
pub fn number_of(value: &impl Hash) -> u128 {
    let mut bytes = Bytes(Vec::with_capacity(512));
    value.hash(&mut bytes);
    xxh3_128(&bytes.0)
}

struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        xxh3_128(&self.0) as u64
    }
}

/// For keys that are hashes already.
#[derive(Default)]
pub struct Already(u64);

impl Hasher for Already {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_128(bytes) as u64;
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map or set by [`number_of`].
pub type ByNumber = BuildHasherDefault<Already>;

const LOST: &str = "a power loss leaves";
const KILLED: &str = "a killed process leaves";

/// How an image came about, for the trace.
struct Link {
    device: Device,
    /// Inside recovery: the step after which it crashed.
    after: Option<&'static str>,
    how: &'static str,
    before: Option<Rc<Link>>,
}

/// Images to be recovered, and what each must come to.
type Left = VecDeque<(Rc<Link>, Option<Outcome>)>;

/// Checks crashes and remembers what it has checked.
#[derive(Default)]
pub struct Checker {
    outcomes: HashMap<u128, Outcome, ByNumber>,
    /// Crash images held against what clients were promised.
    pub checked: u64,
    /// Different images recovered.
    pub recovered: u64,
    /// Crashes inside recovery, each held against the recovery that was not cut off.
    pub again: u64,
}

impl Checker {
    /// Checks every crash that may leave `device` as it is, power loss and kill. With `fresh`, as [`Device::images`] has it.
    pub fn crash(
        &mut self,
        world: &mut World,
        device: &Device,
        client: &Client,
        fresh: Option<&[usize]>,
    ) -> Result<(), String> {
        let mut images = Vec::new();
        device.images(&world.library, fresh, |image| images.push((image, LOST)));
        images.push((killed(world, device), KILLED));
        for (image, how) in images {
            self.checked += 1;
            let outcome = self.whole_outcome(world, &image, how)?;
            if let Some(wrong) = promise_broken(world, client, &outcome) {
                return Err(render(world, &Link { device: image, after: None, how, before: None }, &wrong));
            }
        }
        Ok(())
    }

    /// What `image` comes to, however often recovery is cut off.
    fn whole_outcome(&mut self, world: &mut World, image: &Device, how: &'static str) -> Result<Outcome, String> {
        let number = number_of(image);
        if let Some(outcome) = self.outcomes.get(&number) {
            return Ok(Rc::clone(outcome));
        }
        let first = Link { device: image.clone(), after: None, how, before: None };
        let mut left: Left = VecDeque::from([(Rc::new(first), None)]);
        while let Some((link, expected)) = left.pop_front() {
            let outcome = self.one_outcome(world, &link, &mut left)?;
            if let Some(expected) = expected
                && expected != outcome
            {
                let wrong = format!("NOT THE SAME: recovery cut off gives {outcome:?}, not cut off {expected:?}");
                return Err(render(world, &link, &wrong));
            }
        }
        Ok(Rc::clone(&self.outcomes[&number]))
    }

    /// What an image comes to if nothing more happens; what may happen is added to `left`.
    fn one_outcome(&mut self, world: &mut World, link: &Rc<Link>, left: &mut Left) -> Result<Outcome, String> {
        let number = number_of(&link.device);
        if let Some(outcome) = self.outcomes.get(&number) {
            return Ok(Rc::clone(outcome));
        }
        let least = relabelled(&link.device, &mut world.library);
        let least_number = number_of(&least);
        let outcome = match self.outcomes.get(&least_number) {
            Some(outcome) => Rc::clone(outcome),
            None => {
                let least =
                    Rc::new(Link { device: least, after: link.after, how: link.how, before: link.before.clone() });
                let (outcome, crashes) = self.recover(world, &least)?;
                self.recovered += 1;
                self.outcomes.insert(least_number, Rc::clone(&outcome));
                left.extend(crashes.into_iter().map(|crash| (crash, Some(Rc::clone(&outcome)))));
                outcome
            }
        };
        self.outcomes.insert(number, Rc::clone(&outcome));
        Ok(outcome)
    }

    /// Recovers one image, reads all of it, and gives every image a crash inside may leave.
    fn recover(&mut self, world: &mut World, link: &Rc<Link>) -> Result<(Outcome, Vec<Rc<Link>>), String> {
        let mut steps: Vec<(&'static str, Device)> = Vec::new();
        let recovered = recover(world, link.device.clone(), &mut |step, device| steps.push((step, device.clone())));
        let fail = |wrong: &str| render(world, link, wrong);
        let books = recovered.map_err(|wrong| fail(&wrong))?;
        let mut outcome = Vec::with_capacity(world.layout.cells + world.setting.extents);
        for index in 0..world.layout.cells {
            let cell = world.cell(&books.device, index);
            let tag = books.tags.current[world.setting.extent_of(index / world.setting.cells)];
            if cell.version == GARBLED {
                return Err(fail(&format!("WRONG KEY: recovery decrypted cell {index} under the wrong key")));
            }
            if cell.generation.is_some_and(|under| under != tag) {
                return Err(fail(&format!(
                    "WRONG KEY: after recovery cell {index} holds {cell}, its tag says key {tag}"
                )));
            }
            outcome.push(cell.version);
        }
        outcome.extend(books.tags.current.iter().map(|tag| tag.0 as u8));
        let mut crashes = Vec::new();
        let mut push = |device: Device, after: &'static str, how: &'static str| {
            crashes.push(Rc::new(Link { device, after: Some(after), how, before: Some(Rc::clone(link)) }));
        };
        for (step, device) in &steps {
            device.images(&world.library, None, |image| push(image, step, LOST));
            push(killed(world, device), step, KILLED);
        }
        self.again += crashes.len() as u64;
        Ok((outcome.into(), crashes))
    }
}

/// What a killed process leaves: the cache as it is, which recovery flushes first, if it does.
fn killed(world: &World, device: &Device) -> Device {
    let mut left = device.clone();
    if rules::flushes_before_recovery(false) {
        left.flush(&world.layout, Backing::Header, |_| false);
        left.flush(&world.layout, Backing::Data, |_| false);
    }
    left.uncover();
    left
}

/// A cell that shows what its client was promised it would not, or never wrote.
fn promise_broken(world: &World, client: &Client, outcome: &Outcome) -> Option<String> {
    let promised = |index: &usize| {
        let granule = index / world.setting.cells;
        (client.floor[granule]..=client.newest[granule]).contains(&outcome[*index])
    };
    let index = (0..world.layout.cells).find(|index| !promised(index))?;
    let granule = index / world.setting.cells;
    let (floor, newest, found) = (client.floor[granule], client.newest[granule], outcome[index]);
    Some(format!("LOST: cell {index} shows version {found}; its client may find {floor} to {newest}"))
}

fn render(world: &World, link: &Link, wrong: &str) -> String {
    let links: Vec<&Link> = std::iter::successors(Some(link), |link| link.before.as_deref()).collect();
    let mut out = String::new();
    for link in links.iter().rev() {
        if let Some(step) = link.after {
            out.push_str(&format!("    recovery begins; {step}; then\n"));
        }
        out.push_str(&format!("    {}\n{}", link.how, link.device.describe(&world.layout, &world.library)));
    }
    out.push_str(&format!("    {wrong}"));
    out
}
