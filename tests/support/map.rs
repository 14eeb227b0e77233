//! Block status as `nbdinfo --map` tells it.

use super::process::{succeed, tool};

/// One line of the map.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct MapEntry {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Flags of `base:allocation`, or the generation of `x-keymoult:generation`.
    #[serde(rename = "type")]
    pub kind: u32,
}

/// The map of an export in one context; panics unless its entries tile the export without gap or overlap.
#[track_caller]
pub fn map(uri: &str, context: &str) -> Vec<MapEntry> {
    let text = succeed(tool("nbdinfo").args([&format!("--map={context}"), "--json", uri]));
    let entries: Vec<MapEntry> = serde_json::from_str(&text).unwrap();
    let mut end = 0;
    for entry in &entries {
        assert_eq!(entry.offset, end, "{context}: gap or overlap in {entries:?}");
        end += entry.length;
    }
    entries
}

/// Bytes of a map that carry `kind`.
pub fn total(entries: &[MapEntry], kind: u32) -> u64 {
    entries.iter().filter(|entry| entry.kind == kind).map(|entry| entry.length).sum()
}
