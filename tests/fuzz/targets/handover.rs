//! Keys that another replica hands over, one or a whole volume's. Promise: what is accepted is written again as the very bytes
//! it was read from, and no longer than its bound.

use keymoult::format::handover::{FOUNDING_MAX, Founding, HANDOVER_MAX, Handover};

pub fn run(bytes: &[u8]) {
    if let Ok(handover) = Handover::decode(bytes) {
        assert!(handover.encode().expose() == bytes && bytes.len() <= HANDOVER_MAX);
    }
    if let Ok(founding) = Founding::decode(bytes) {
        assert!(founding.encode().expose() == bytes && bytes.len() <= FOUNDING_MAX);
    }
}
