//! The inputs every corpus starts from: made from the golden images, from the product's own encoders, and by hand.
//!
//! Invariant: they are a function of the tree alone, so that a test can hold the files in `seeds/` against them.

mod control;
mod keepers;
mod links;
mod nbd;
mod peers;
mod structures;
mod volumes;

use crate::corpus::encode;

/// The file of a target.
pub fn text(target: &str) -> String {
    let mut text = format!("# Seeds of target {target}, made by tests/fuzz/make.rs.\n");
    for input in inputs(target) {
        text += &(encode(&input) + "\n");
    }
    text
}

fn inputs(target: &str) -> Vec<Vec<u8>> {
    let made = match target {
        "envelope" => structures::envelopes(),
        "superblock" => structures::superblocks(),
        "generations" => structures::tables(),
        "tags" => structures::tag_pages(),
        "record" => structures::records(),
        "canary" => structures::canaries(),
        "stamp" => structures::stamps(),
        "wrapped" => structures::wraps(),
        "handover" => structures::handovers(),
        "replay_ring" => structures::rings(),
        "volume" => volumes::changes(),
        "handshake" => nbd::handshakes(),
        "meta" => nbd::queries(),
        "request" => nbd::requests(),
        "session" => nbd::sessions(),
        "kek_uri" => control::uris(),
        "key_file" => control::key_files(),
        "wrap" => control::blobs(),
        "transit" => keepers::transit(),
        "kmip" => keepers::kmip(),
        "link" => links::links(),
        "arguments" => control::arguments(),
        "config" => control::configurations(),
        "api" => control::bodies(),
        "audit" => control::logs(),
        "peers" => peers::everything(),
        _ => Vec::new(),
    };
    let mut inputs: Vec<Vec<u8>> = Vec::new();
    for input in made {
        if !inputs.contains(&input) {
            inputs.push(input);
        }
    }
    inputs
}

/// Lines of text as inputs.
fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
