//! What peers keep and say: the first byte chooses message, record, promise, progress or file. Promises: whatever is accepted is
//! written again as the very bytes it was read from, and two records that are accepted can be compared.

use keymoult::cluster::durable::Durable;
use keymoult::cluster::message::Message;
use keymoult::cluster::progress::Progress;
use keymoult::cluster::record::{Keyring, Promise};
use keymoult::cluster::rules;

pub fn run(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let again = match kind % 5 {
        0 => Message::decode(bytes).map(|message| message.encode()),
        1 => Keyring::decode(bytes).map(|record| {
            let _ = rules::sound(&record);
            let _ = rules::may_follow(&record, &record);
            rules::quorum(&record, &record);
            record.encode()
        }),
        2 => Promise::decode(bytes).map(|promise| promise.encode()),
        3 => Progress::decode(bytes).map(|progress| progress.encode()),
        _ => {
            // The CRC is put right, so that what is behind it is reached.
            let body = &bytes[..bytes.len().saturating_sub(4)];
            let whole = [body, &crc32fast::hash(body).to_le_bytes()].concat();
            if let Ok(durable) = Durable::decode(&whole) {
                assert_eq!(durable.encode(), whole);
            }
            return;
        }
    };
    if let Ok(again) = again {
        assert_eq!(again, bytes);
    }
}
