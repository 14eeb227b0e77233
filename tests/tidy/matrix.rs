//! The failure matrix of peers has a row for every failure the design has to survive, and the tests it names are there.

use super::faults::is_test;
use super::source::File;

/// The failures, as the design lists them.
pub const FAILURES: &[&str] = &[
    "lead crash before a commit",
    "lead crash after a commit",
    "replica crash after acknowledging",
    "replica absent at activate",
    "replica back after activate",
    "replica back after retire",
    "replica back after destroy",
    "two leads, the old one cut off",
    "resync after a zero report",
    "header backup that still needs a key",
    "old backup restored",
    "KEK provider down at open",
    "KEK provider down while serving",
    "sealed, disabled, denied, throttled",
    "wrap swapped between volumes",
    "keyring file torn",
    "keyring file rolled back",
    "etcd leader killed",
    "etcd quorum lost",
    "etcd wiped",
    "etcd restored from an old snapshot",
    "clock jumps",
    "disk full while persisting",
    "audit sink unwritable",
    "bad tag found while draining",
    "canary slower than baseline",
    "rollback with a replica dead",
    "own request approved by its author",
    "plan edited after approval",
    "old binary, new suite",
    "certificate expired or revoked",
];

/// What a row says where there is no test.
const NONE: &str = "–";

/// What is wrong with the matrix in `note`; `files` hold the tests.
pub fn failure_rows(note: &File, files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = Vec::new();
    let lines = note.text.lines().enumerate();
    let matrix = lines.skip_while(|(_, line)| !line.starts_with("| failure |")).skip(2);
    for (index, line) in matrix.take_while(|(_, line)| line.starts_with("| ")) {
        let place = format!("{}:{}", note.path, index + 1);
        let cells: Vec<&str> = line.trim_matches(&['|', ' '][..]).split(" | ").map(str::trim).collect();
        let [failure, _, _, tests] = cells[..] else {
            wrong.push(format!("{place}: not four cells"));
            continue;
        };
        if !FAILURES.contains(&failure) {
            wrong.push(format!("{place}: the design knows no failure {failure}"));
        }
        if seen.contains(&failure) {
            wrong.push(format!("{place}: {failure} stands twice"));
        }
        seen.push(failure);
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if named.is_empty() && tests != NONE {
            wrong.push(format!("{place}: names no test"));
        }
        wrong.extend(named.iter().filter(|name| !is_test(name, files)).map(|name| format!("{place}: no test {name}")));
    }
    let missing = FAILURES.iter().filter(|failure| !seen.contains(failure));
    wrong.extend(missing.map(|failure| format!("{}: no row for {failure}", note.path)));
    wrong
}
