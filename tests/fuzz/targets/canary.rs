//! Canary blocks, raw and as authentic bodies. Promises: what is accepted has a canary's length and reads back as the same
//! from its slot, and from no other.

use keymoult::format::canary::{Canary, LEN};
use keymoult::format::envelope::CANARY;

use crate::support::input::Input;
use crate::support::sealed::seal;

pub fn run(bytes: &[u8]) {
    let _ = Canary::open(seal(), 0, bytes);
    let mut input = Input::new(bytes);
    let slot = u32::from(input.u8());
    let sealed = seal().seal(CANARY, u64::from(slot), 7, input.rest());
    let Ok(canary) = Canary::open(seal(), slot, &sealed) else { return };
    assert_eq!(canary.ciphertext.len(), LEN);
    let again = canary.seal(seal(), slot);
    let back = Canary::open(seal(), slot, &again).map(|canary| (canary.generation, canary.ciphertext));
    assert_eq!(back, Ok((canary.generation, canary.ciphertext)));
    assert!(Canary::open(seal(), slot + 1, &again).is_err());
}
