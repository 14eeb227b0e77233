//! Numbers of FORMAT.md that belong to other layers: the kinds of keepers.

use keymoult::keys::ProviderKind;

#[test]
fn keepers_are_numbered_as_documented() {
    let text = include_str!("../../src/format/FORMAT.md");
    let rows: Vec<(u8, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| provider | "))
        .filter_map(|row| row.strip_suffix(" |")?.split_once(" | "))
        .filter_map(|(number, name)| Some((number.parse().ok()?, name)))
        .collect();
    assert_eq!(rows.len(), 8);
    for (number, name) in rows {
        assert_eq!(ProviderKind::from_id(number).unwrap().to_string(), name);
    }
    assert_eq!(ProviderKind::from_id(9), None);
}
