//! What a server says that claims to be Transit: HTTP, and the JSON in it. Promises: an answer never has more body than
//! arrived, and what is complete stays so when it is known that nothing follows; a key comes only from base64 and has a length
//! that a wrap can have; a keeper's words are short and printable.

use keymoult::keys::vault::{TransitQuestion, decrypted, encrypted, facts, parse, refusal};
use keymoult::limits::WRAP_BLOB_MAX;

pub fn run(bytes: &[u8]) {
    let mut going = bytes.to_vec();
    let mut ended = bytes.to_vec();
    let (while_open, at_end) = (parse(&mut going, false), parse(&mut ended, true));
    if let Ok(Some(found)) = while_open {
        assert_eq!(at_end, Ok(Some(found)));
        assert_eq!(going[..found.body], ended[..found.body]);
    }
    if let Ok(Some(found)) = at_end {
        assert!(found.body <= bytes.len() && (200..600).contains(&found.status));
        json(&ended[..found.body]);
    }
    json(bytes);
}

fn json(bytes: &[u8]) {
    if let Ok(made) = encrypted(bytes) {
        assert!(made.version > 0 && !made.bytes.is_empty() && made.bytes.len() < WRAP_BLOB_MAX);
    }
    if let Ok((key, request)) = decrypted(bytes) {
        assert!(key.len() <= 3 * WRAP_BLOB_MAX && request.is_none_or(|id| id.len() <= 64));
    }
    let _ = facts(bytes);
    for status in [400, 403, 404, 429, 500, 503] {
        let told = refusal(TransitQuestion::Decrypt, status, bytes);
        assert!(told.words.len() <= 200 && told.words.bytes().all(|c| c == b' ' || c.is_ascii_graphic()));
    }
}
