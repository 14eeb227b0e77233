//! Every bound of the product in one place, one derived from another and asserted at compile time.

use crate::units::BLOCK;

/// Smallest extent, bytes.
pub const EXTENT_MIN: u64 = 64 << 10;
/// Largest extent, bytes.
pub const EXTENT_MAX: u64 = 64 << 20;
/// Default extent, bytes.
pub const EXTENT_DEFAULT: u64 = 1 << 20;
/// Smallest volume, bytes.
pub const VOLUME_MIN: u64 = EXTENT_MIN;
/// Largest number of extents a volume may have: 256 TiB at the default extent size.
pub const EXTENTS_MAX: u64 = 1 << 28;

/// Generation entries a generation table can hold, tombstones included.
pub const GENERATIONS_MAX: usize = 256;
/// Wraps of one generation.
pub const WRAPS_MAX: usize = 8;
/// Length of a KEK id, bytes.
pub const KEK_ID_MAX: usize = 255;
/// Length of one wrapped key, bytes.
pub const WRAP_BLOB_MAX: usize = 1024;

/// Largest payload of one NBD request, bytes, as advertised.
pub const NBD_PAYLOAD_MAX: u32 = 32 << 20;
/// Largest piece of a client request handled by one device operation, bytes.
pub const PIECE_MAX: usize = 256 << 10;
/// Requests up to this size go inline where the page cache can answer at once, bytes.
pub const INLINE_MAX: usize = 32 << 10;
/// Bytes of extents one rotation record may cover.
pub const BATCH_MAX: u64 = 64 << 20;
/// Intents (extents) one rotation record may carry.
pub const BATCH_EXTENTS_MAX: usize = 1024;
/// Smallest number of ring slots: three in flight, plus those not yet checkpointed.
pub const RING_SLOTS_MIN: u32 = 8;

const _: () = assert!(EXTENT_MIN.is_power_of_two() && EXTENT_MAX.is_power_of_two());
const _: () = assert!(EXTENT_MIN.is_multiple_of(BLOCK));
const _: () = assert!(BATCH_MAX >= EXTENT_MAX, "a batch holds at least one extent");
const _: () = assert!(BATCH_MAX / EXTENT_MIN <= BATCH_EXTENTS_MAX as u64);
const _: () = assert!((PIECE_MAX as u64).is_power_of_two() && INLINE_MAX <= PIECE_MAX);
