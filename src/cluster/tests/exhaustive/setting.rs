//! The bounds of one exploration: how often what may happen.

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub crashes: u8,
    pub cuts: u8,
    pub elections: u8,
    pub rotations: u8,
    pub rollbacks: u8,
    pub snapshots: u8,
    pub resyncs: u8,
    pub pauses: u8,
    /// It begins with the rotation active everywhere, and nothing drained.
    pub active: bool,
    /// It begins with a second rotation active, after a first one was rolled back when it was about to be finalized.
    pub second: bool,
    /// The third node is a witness.
    pub witness: bool,
    /// Nothing is re-encrypted.
    pub still: bool,
    /// Only the first node is cut off or crashes, and only the second is promoted.
    pub cast: bool,
    /// Keys are retired, scheduled and destroyed.
    pub ends: bool,
    /// States explored at most: the bound of memory and time.
    pub states: usize,
}

impl Setting {
    /// One rotation, and nothing goes wrong.
    pub const BASE: Setting = Setting {
        name: "base",
        crashes: 0,
        cuts: 0,
        elections: 0,
        rotations: 1,
        rollbacks: 0,
        snapshots: 0,
        resyncs: 0,
        pauses: 0,
        active: false,
        second: false,
        witness: false,
        still: false,
        cast: false,
        ends: false,
        states: 2_000_000,
    };
}
