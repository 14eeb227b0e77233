//! Takes a fuzzer's bytes apart: numbers and runs of bytes, one after another.
//!
//! Invariant: it never fails. Behind the end everything is zero or empty, so that every input means something and a
//! shorter one means nearly the same.

/// What is left of an input.
#[derive(Clone)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { rest: bytes }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes, or as many as there are.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        head
    }

    /// Everything that is left.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    fn number(&mut self, len: usize) -> u64 {
        self.bytes(len).iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// One byte.
    pub fn u8(&mut self) -> u8 {
        self.number(1) as u8
    }

    /// A little-endian number.
    pub fn u16(&mut self) -> u16 {
        self.number(2) as u16
    }

    /// A little-endian number.
    pub fn u32(&mut self) -> u32 {
        self.number(4) as u32
    }

    /// A little-endian number.
    pub fn u64(&mut self) -> u64 {
        self.number(8)
    }

    /// One of `0..count`.
    pub fn index(&mut self, count: usize) -> usize {
        usize::from(self.u8()) % count
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// One bit.
    pub fn flag(&mut self) -> bool {
        self.u8() & 1 != 0
    }
}
