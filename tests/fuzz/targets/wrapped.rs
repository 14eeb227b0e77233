//! Wraps as they stand in the generation table, one after another. Promise: each that is accepted is written again as the
//! very bytes it was read from, within its bounds.

use keymoult::format::codec::{Reader, Writer};
use keymoult::format::wrapped::Wrapped;
use keymoult::limits::{KEK_ID_MAX, WRAP_BLOB_MAX};

pub fn run(bytes: &[u8]) {
    let mut reader = Reader::new("wraps", bytes);
    loop {
        let before = reader.rest();
        let Ok(wrap) = Wrapped::decode(&mut reader) else { return };
        assert!(wrap.kek_id.len() <= KEK_ID_MAX && wrap.blob.len() <= WRAP_BLOB_MAX);
        let mut writer = Writer::new();
        wrap.encode(&mut writer);
        assert_eq!(writer.bytes, before[..before.len() - reader.rest().len()]);
    }
}
