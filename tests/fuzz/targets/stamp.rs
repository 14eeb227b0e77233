//! Epoch stamps, raw and as authentic bodies. Promise: an epoch that is read is written and read again as the same.

use keymoult::format::envelope::STAMP;
use keymoult::format::stamp;

use crate::support::sealed::seal;

pub fn run(bytes: &[u8]) {
    let _ = stamp::open(seal(), bytes);
    let Ok(epoch) = stamp::open(seal(), &seal().seal(STAMP, 0, 7, bytes)) else { return };
    let again = epoch.min(1 << 62);
    assert_eq!(stamp::open(seal(), &stamp::seal(seal(), again)), Ok(again));
}
