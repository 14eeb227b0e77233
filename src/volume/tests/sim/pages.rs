//! The bytes of a simulated disk in pages that copies share; a page that is not there is a hole and reads as zeros.

use std::sync::Arc;

pub const PAGE: usize = 4096;

#[derive(Clone)]
pub struct Pages(Vec<Option<Arc<[u8; PAGE]>>>);

impl Pages {
    pub fn new(len: u64) -> Pages {
        Pages(vec![None; (len as usize).div_ceil(PAGE)])
    }

    pub fn len(&self) -> u64 {
        (self.0.len() * PAGE) as u64
    }

    /// Adds holes up to `len` bytes.
    pub fn grow(&mut self, len: u64) {
        self.0.resize((len as usize).div_ceil(PAGE).max(self.0.len()), None);
    }

    /// Calls `f` with page, first byte in the page, first byte of the range, and length.
    fn each(offset: u64, len: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
        let mut done = 0;
        while done < len {
            let at = offset as usize + done;
            let step = (PAGE - at % PAGE).min(len - done);
            f(at / PAGE, at % PAGE, done, step);
            done += step;
        }
    }

    pub fn read(&self, offset: u64, into: &mut [u8]) {
        Pages::each(offset, into.len(), |page, at, from, len| match &self.0[page] {
            Some(page) => into[from..from + len].copy_from_slice(&page[at..at + len]),
            None => into[from..from + len].fill(0),
        });
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        Pages::each(offset, bytes.len(), |page, at, from, len| {
            let page = self.0[page].get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[at..at + len].copy_from_slice(&bytes[from..from + len]);
        });
    }

    /// Zeros the range; whole pages become holes if `punch`.
    pub fn zero(&mut self, offset: u64, len: u64, punch: bool) {
        Pages::each(offset, len as usize, |page, at, _, len| {
            if len == PAGE && punch {
                self.0[page] = None;
            } else if !punch || self.0[page].is_some() {
                let page = self.0[page].get_or_insert_with(|| Arc::new([0; PAGE]));
                Arc::make_mut(page)[at..at + len].fill(0);
            }
        });
    }

    /// The first page in `offset..end` that is there (`data`) or not.
    pub fn find(&self, offset: u64, end: u64, data: bool) -> Option<u64> {
        let pages = offset as usize / PAGE..(end as usize).div_ceil(PAGE).min(self.0.len());
        let found = pages.into_iter().find(|page| self.0[*page].is_some() == data);
        found.map(|page| ((page * PAGE) as u64).max(offset))
    }
}
