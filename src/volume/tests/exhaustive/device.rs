//! The model's device: a few abstract places, each with what is durable and everything written since.
//!
//! Fault model: a flush makes durable what was written before it started. At a power loss every place shows, on its own, what
//! was durable or *any* version written since (so loss, reordering and partial batches are all there); ring records,
//! tag pages and superblocks may also be torn. A data cell is replaced whole; a granule of several cells is a device that
//! tears granules. A killed process leaves the cache as it is.

use super::content::{Content, Id, Library};

/// Versions of one place that may wait in the cache.
const CACHED_MAX: usize = 6;

/// One place: what is durable, what was written since, and how much of that the flush under way covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    durable: Id,
    cached: [Id; CACHED_MAX],
    len: u8,
    covered: u8,
}

impl Place {
    fn holding(id: Id) -> Place {
        Place { durable: id, cached: [0; CACHED_MAX], len: 0, covered: 0 }
    }

    fn cached(&self) -> &[Id] {
        &self.cached[..self.len as usize]
    }

    fn visible(&self) -> Id {
        self.cached().last().copied().unwrap_or(self.durable)
    }

    fn write(&mut self, id: Id) {
        assert!((self.len as usize) < CACHED_MAX, "more versions of a place in the cache than the model has room for");
        self.cached[self.len as usize] = id;
        self.len += 1;
    }

    /// The first `count` cached versions are superseded or durable.
    fn settle(&mut self, count: u8) {
        if count == 0 {
            return;
        }
        self.durable = self.cached[count as usize - 1];
        self.cached.copy_within(count as usize.., 0);
        self.len -= count;
        self.cached[self.len as usize..].fill(0);
        self.covered = self.covered.saturating_sub(count);
    }
}

/// Where everything stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub cells: usize,
    pub pages: usize,
    pub slots: usize,
    /// Ring, pages and superblock are on a backing of their own, flushed on its own.
    pub detached: bool,
}

impl Layout {
    pub fn superblock(&self, copy: usize) -> usize {
        self.cells + copy
    }

    pub fn page(&self, page: usize, copy: usize) -> usize {
        self.cells + 2 + copy * self.pages + page
    }

    pub fn slot(&self, slot: usize) -> usize {
        self.cells + 2 + 2 * self.pages + slot
    }

    pub fn places(&self) -> usize {
        self.slot(self.slots)
    }

    /// What a place is called in a trace.
    pub fn name(&self, place: usize) -> String {
        let after = |start: usize| place - start;
        match place {
            cell if cell < self.cells => format!("cell {cell}"),
            copy if copy < self.page(0, 0) => ["superblock A", "superblock B"][after(self.cells)].into(),
            page if page < self.slot(0) => {
                let index = after(self.page(0, 0));
                format!("tag page {}{}", index % self.pages, ["A", "B"][index / self.pages])
            }
            _ => format!("ring slot {}", after(self.slot(0))),
        }
    }
}

/// Which of the backings a flush is for. With an attached header both are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    Data,
    Header,
}

/// The places of one volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    places: Vec<Place>,
}

impl Device {
    /// A device on which everything is durable.
    pub fn holding(ids: impl Iterator<Item = Id>) -> Device {
        Device { places: ids.map(Place::holding).collect() }
    }

    pub fn visible(&self, place: usize) -> Id {
        self.places[place].visible()
    }

    pub fn write(&mut self, place: usize, id: Id) {
        self.places[place].write(id);
    }

    /// A write that is durable when it is answered, and nothing else is.
    pub fn write_through(&mut self, place: usize, id: Id) {
        self.write(place, id);
        self.settle(place);
    }

    /// What the place shows is durable.
    pub fn settle(&mut self, place: usize) {
        let len = self.places[place].len;
        self.places[place].settle(len);
    }

    fn on<'a>(&'a mut self, layout: &Layout, backing: Backing) -> &'a mut [Place] {
        match (layout.detached, backing) {
            (false, _) => &mut self.places,
            (true, Backing::Data) => &mut self.places[..layout.cells],
            (true, Backing::Header) => &mut self.places[layout.cells..],
        }
    }

    /// A flush of the data starts; what is still in flight (`flying` says which cells) it need not cover.
    pub fn start_flush(&mut self, layout: &Layout, flying: impl Fn(usize) -> bool) {
        for (index, place) in self.on(layout, Backing::Data).iter_mut().enumerate() {
            place.covered = place.len - u8::from(flying(index));
        }
    }

    /// The flush that started is done.
    pub fn finish_flush(&mut self, layout: &Layout) {
        for place in self.on(layout, Backing::Data) {
            place.settle(place.covered);
        }
    }

    /// A flush in one step, beside whatever the shared one does.
    pub fn flush(&mut self, layout: &Layout, backing: Backing, flying: impl Fn(usize) -> bool) {
        let first = if backing == Backing::Header && layout.detached { layout.cells } else { 0 };
        for (index, place) in self.on(layout, backing).iter_mut().enumerate() {
            place.settle(place.len - u8::from(flying(first + index)));
        }
    }

    /// Every number on it, durable or in the cache.
    pub fn all(&self) -> impl Iterator<Item = Id> + '_ {
        self.places.iter().flat_map(|place| std::iter::once(place.durable).chain(place.cached().iter().copied()))
    }

    /// The same device with other contents.
    pub fn with(&self, mut content: impl FnMut(Id) -> Id) -> Device {
        let mut device = self.clone();
        for place in &mut device.places {
            place.durable = content(place.durable);
            place.cached[..place.len as usize].iter_mut().for_each(|id| *id = content(*id));
        }
        device
    }

    /// No flush is under way any more.
    pub fn uncover(&mut self) {
        self.places.iter_mut().for_each(|place| place.covered = 0);
    }

    /// The places written since the device looked like `earlier`; `None` if anything was flushed meanwhile.
    pub fn written_since(&self, earlier: &Device) -> Option<Vec<usize>> {
        let mut written = Vec::new();
        for (index, (place, before)) in self.places.iter().zip(&earlier.places).enumerate() {
            if place.durable != before.durable || !place.cached().starts_with(before.cached()) {
                return None;
            }
            if place.len > before.len {
                written.push(index);
            }
        }
        Some(written)
    }

    /// Calls `f` with every image a power loss may leave. With `fresh`, only those that show the newest version of one of
    /// these places, or a torn one: the others were there before it was written.
    pub fn images(&self, library: &Library, fresh: Option<&[usize]>, mut f: impl FnMut(Device)) {
        let choices: Vec<Vec<Id>> = self.places.iter().map(|place| choices(place, library)).collect();
        let is_fresh = |index: usize, id: Id| id == self.places[index].visible() || id == Library::TORN;
        let mut at = vec![0; choices.len()];
        loop {
            let shown = |index: usize| choices[index][at[index]];
            if fresh.is_none_or(|fresh| fresh.iter().any(|index| is_fresh(*index, shown(*index)))) {
                f(Device::holding((0..choices.len()).map(shown)));
            }
            let Some(next) = (0..at.len()).find(|index| at[*index] + 1 < choices[*index].len()) else { return };
            at[..next].fill(0);
            at[next] += 1;
        }
    }

    /// One line per place that is not blank.
    pub fn describe(&self, layout: &Layout, library: &Library) -> String {
        let line = |(index, place): (usize, &Place)| {
            let durable = library.get(place.durable);
            if place.len == 0 && *durable == Content::Blank {
                return None;
            }
            let cached: Vec<String> = place.cached().iter().map(|id| library.get(*id).to_string()).collect();
            let cached =
                if cached.is_empty() { String::new() } else { format!("; in the cache: {}", cached.join(", then ")) };
            Some(format!("      {:<14} {durable}{cached}\n", layout.name(index)))
        };
        self.places.iter().enumerate().filter_map(line).collect()
    }
}

fn choices(place: &Place, library: &Library) -> Vec<Id> {
    let mut choices = vec![place.durable];
    for id in place.cached() {
        if !choices.contains(id) {
            choices.push(*id);
        }
    }
    if place.cached().iter().any(|id| library.get(*id).tears()) {
        choices.push(Library::TORN);
    }
    choices
}
