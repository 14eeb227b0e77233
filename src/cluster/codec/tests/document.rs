//! The example and the numbers of `FORMAT.md` against the code.

use crate::cluster::codec::{CHECK_MAX, EXPELLED_MAX, HANDOVER_MAX, NODE_WRAPS_MAX, TEXT_MAX};
use crate::cluster::record::{ANCESTORS_MAX, CLUSTER_MAX, Keyring, MEMBERS_MAX, RECORD_MAX};
use crate::cluster::tests::sample;
use crate::format::generations::REASON_MAX;
use crate::format::lives::ACTOR_MAX;
use crate::limits::{GENERATIONS_MAX, WRAPS_MAX};
use crate::units::hex;

const TEXT: &str = include_str!("../../FORMAT.md");

/// What stands between fences, or backticks, behind `lead`.
fn behind(lead: &str, fence: &str) -> &'static str {
    let at = TEXT.find(lead).expect("the document says it") + lead.len();
    TEXT[at..].split(fence).nth(1).expect("something is fenced")
}

#[test]
fn the_example_is_what_is_written() {
    let record = sample::founding();
    let bytes = record.encode();
    let lines: Vec<String> = bytes.chunks(32).map(hex).collect();
    assert_eq!(
        behind("of the members", "```").trim_start_matches("text").trim(),
        lines.join("\n"),
        "\n{}",
        lines.join("\n")
    );
    assert_eq!(behind("```\n\nIts hash is", "`"), hex(&record.hash()));
    assert_eq!(Keyring::decode(&bytes), Ok(record));
}

#[test]
fn bounds() {
    for (row, bound) in [
        ("| cluster | text |", CLUSTER_MAX),
        ("| ancestors | list of stamp, SHA-256 (32) |", ANCESTORS_MAX),
        ("| members | list of name, role (1), signing key (32), sealing key (32) |", MEMBERS_MAX),
        ("| expelled | list of names |", EXPELLED_MAX),
        ("| mandate | list of promises |", MEMBERS_MAX),
        ("| generations | list of generations |", GENERATIONS_MAX),
    ] {
        let found = TEXT.lines().find_map(|line| line.strip_prefix(row)).unwrap_or_else(|| panic!("{row}"));
        assert!(found.trim_start().starts_with(&bound.to_string()), "{row}: {bound}, not {found}");
    }
    for said in [
        format!("The whole is at most {RECORD_MAX} bytes"),
        format!("at most {NODE_WRAPS_MAX}, {WRAPS_MAX} of one member"),
        format!("| reason | text, at most {REASON_MAX} |"),
        format!("texts, at most {ACTOR_MAX} and {REASON_MAX}"),
        format!("sealed DEK (bytes16, at most {HANDOVER_MAX})"),
        format!("bytes32, at most {CHECK_MAX}"),
        format!("8 out (text, at most {TEXT_MAX})"),
    ] {
        assert!(TEXT.contains(&said), "{said}");
    }
}
