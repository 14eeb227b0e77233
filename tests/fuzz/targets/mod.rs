//! The targets: one file each, and the table of all.
//!
//! A target is a function of any bytes. It promises that the product neither panics nor hangs on them, that it allocates
//! no more at a time than [`Target::bound`], and whatever else its file's head says; a broken promise is a panic.

use crate::harness::Target;

mod api;
mod arguments;
mod audit;
mod canary;
mod config;
mod envelope;
mod generations;
mod handover;
mod handshake;
mod kek_uri;
mod key_file;
mod kmip;
mod link;
mod meta;
mod peers;
mod record;
mod replay_ring;
mod request;
mod session;
mod stamp;
mod superblock;
mod tags;
mod transit;
mod volume;
mod wrap;
mod wrapped;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

macro_rules! targets {
    ($($name:ident: $fixed:expr, $per_byte:expr;)*) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            run: $name::run,
            bound: |len| $fixed + $per_byte * len,
        },)*];
    };
}

// Name: what it may allocate at a time, bytes, and how many more for each byte of the input.
targets! {
    envelope: 64 * KIB, 8;
    superblock: 64 * KIB, 8;
    generations: MIB, 64;
    tags: 64 * KIB, 8;
    record: 256 * KIB, 32;
    canary: 64 * KIB, 8;
    stamp: 64 * KIB, 8;
    wrapped: 64 * KIB, 8;
    handover: 256 * KIB, 16;
    replay_ring: MIB, 512;
    volume: 24 * MIB, 64;
    handshake: MIB, 512;
    meta: 64 * KIB, 8;
    request: 64 * KIB, 8;
    session: 64 * MIB, 16 * KIB;
    kek_uri: 64 * KIB, 32;
    key_file: 64 * KIB, 16;
    wrap: 64 * KIB, 32;
    transit: 128 * KIB, 64;
    kmip: 64 * KIB, 8;
    link: 64 * KIB, 64;
    arguments: 4 * MIB, 1024;
    config: MIB, 1024;
    api: MIB, 256;
    audit: MIB, 64;
    peers: MIB, 256;
}
