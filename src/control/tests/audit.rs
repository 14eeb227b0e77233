//! The audit log against an editor, a cutter and a crash.

use std::fs;
use std::path::{Path, PathBuf};

use super::log::{AuditLog, Draft, Space};
use super::record::{Head, Kind, encode};
use super::verify::{Why, read, verify};
use super::{AuditError, LOG_NAME};
use crate::control::authorize::{Actor, Decision, Object, Verb};

const ALLOWED: Decision = Decision { allowed: true, rule: "test" };

pub(super) fn append(log: &AuditLog, kind: Kind, intent: Option<u64>, space: Space) -> Result<u64, AuditError> {
    let actor = Actor { uid: 7, pid: Some(1), process_start: Some(2) };
    let object = Object::Volume("disk".into());
    log.append(
        Draft {
            kind,
            actor: &actor,
            verb: Verb::RotatePause,
            object: &object,
            parameters: Some("sha256:00".into()),
            reason: Some("because"),
            decision: ALLOWED,
            intent,
            outcome: intent.map(|_| "done"),
            kek: None,
            keeper_request: None,
        },
        space,
    )
}

/// A closed log of `pairs` intents with their outcomes.
fn written(pairs: u64) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path()).unwrap();
    for _ in 0..pairs {
        let intent = append(&log, Kind::Intent, None, Space::Ordinary).unwrap();
        append(&log, Kind::Outcome, Some(intent), Space::Reserve).unwrap();
    }
    assert_eq!(log.head().sequence, 2 * pairs);
    drop(log);
    let path = dir.path().join(LOG_NAME);
    (dir, path)
}

/// Rewrites the lines of the log at `path`.
fn with_lines(path: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> = fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(path, lines.iter().map(|line| line.clone() + "\n").collect::<String>()).unwrap();
}

fn damage(path: &Path) -> (u64, Why) {
    match verify(path, None) {
        Err(AuditError::Damaged { damage, .. }) => (damage.line, damage.why),
        other => panic!("not found: {other:?}"),
    }
}

#[test]
fn a_whole_log_verifies_and_goes_on_after_a_restart() {
    let (dir, path) = written(3);
    let report = verify(&path, None).unwrap();
    assert_eq!((report.head.sequence, report.torn_bytes, report.anchored), (6, 0, true));
    let log = AuditLog::open(dir.path()).unwrap();
    assert_eq!(append(&log, Kind::Note, None, Space::Ordinary).unwrap(), 7);
    assert_eq!(verify(&path, None).unwrap().head, log.head());
}

#[test]
fn files_are_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    drop(AuditLog::open(&state).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join("audit.jsonl")), 0o600);
    assert_eq!(mode(&state.join("audit.head")), 0o600);
    assert!(matches!(AuditLog::open(&dir.path().join("a/b")), Err(AuditError::Open { .. })));
}

#[test]
fn a_second_daemon_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let _first = AuditLog::open(dir.path()).unwrap();
    assert!(matches!(AuditLog::open(dir.path()), Err(AuditError::InUse { .. })));
}

#[test]
fn an_edit_of_any_line_is_found_there() {
    for line in 0..6 {
        let (_dir, path) = written(3);
        with_lines(&path, |lines| lines[line] = lines[line].replace("\"uid\":7", "\"uid\":8"));
        assert_eq!(damage(&path), (line as u64 + 1, Why::Edited));
    }
}

#[test]
fn an_edit_of_any_byte_is_found() {
    let (_dir, path) = written(1);
    let good = fs::read(&path).unwrap();
    for index in 0..good.len() {
        let mut bad = good.clone();
        bad[index] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(verify(&path, None).is_err(), "byte {index}");
    }
}

#[test]
fn an_edit_with_its_hash_made_good_is_found_at_the_next_line_or_by_the_head() {
    for line in 0..6 {
        let (_dir, path) = written(3);
        with_lines(&path, |lines| {
            let mut record: super::Record = serde_json::from_str(&lines[line]).unwrap();
            record.actor.uid = 8;
            lines[line] = String::from_utf8(encode(&mut record).unwrap()).unwrap().trim_end().into();
        });
        let expected = if line == 5 { (6, Why::Rewritten) } else { (line as u64 + 2, Why::Unchained) };
        assert_eq!(damage(&path), expected);
    }
}

#[test]
fn a_deleted_line_is_found_there() {
    for line in 0..5 {
        let (_dir, path) = written(3);
        with_lines(&path, |lines| drop(lines.remove(line)));
        let number = line as u64 + 1;
        assert_eq!(damage(&path), (number, Why::Sequence { expected: number, found: number + 1 }));
    }
}

#[test]
fn reordered_lines_are_found_at_the_first() {
    let (_dir, path) = written(3);
    with_lines(&path, |lines| lines.swap(1, 4));
    assert_eq!(damage(&path), (2, Why::Sequence { expected: 2, found: 5 }));
}

#[test]
fn a_cut_at_the_end_is_found_by_the_head_file_and_by_an_anchor() {
    let (dir, path) = written(3);
    let head = verify(&path, None).unwrap().head;
    with_lines(&path, |lines| lines.truncate(4));
    assert_eq!(damage(&path), (5, Why::Truncated { head: 6 }));
    assert!(matches!(AuditLog::open(dir.path()), Err(AuditError::Damaged { .. })), "the daemon must not build on it");
    // Whoever cuts the head file too is found out only by a head kept elsewhere.
    fs::remove_file(path.with_extension("head")).unwrap();
    assert!(!verify(&path, None).unwrap().anchored);
    assert!(matches!(verify(&path, Some(&head)), Err(AuditError::Damaged { .. })));
    fs::write(&path, "").unwrap();
    assert!(matches!(verify(&path, Some(&head)), Err(AuditError::Damaged { .. })));
}

#[test]
fn a_torn_last_line_is_removed_and_recorded() {
    let (dir, path) = written(2);
    // The crash came before the line was whole, so the head file knows nothing of it.
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole[..], b"{\"sequence\":5,\"ti"].concat()).unwrap();
    assert_eq!(verify(&path, None).unwrap().torn_bytes, 17);
    drop(AuditLog::open(dir.path()).unwrap());
    let mut last = None;
    let report = read(&path, None, |record| last = Some(record.clone())).unwrap();
    let last = last.unwrap();
    assert_eq!((report.torn_bytes, last.sequence, last.kind), (0, 5, Kind::Recovered));
    assert!(last.outcome.unwrap().contains("torn bytes removed: 17"));
}

#[test]
fn a_line_torn_after_it_was_durable_is_damage() {
    let (_dir, path) = written(1);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    assert_eq!(damage(&path), (2, Why::Truncated { head: 2 }));
}

#[test]
fn an_act_the_crash_cut_short_is_named_once() {
    let (dir, path) = written(1);
    let log = AuditLog::open(dir.path()).unwrap();
    append(&log, Kind::Intent, None, Space::Ordinary).unwrap();
    drop(log);
    assert_eq!(verify(&path, None).unwrap().unfinished, [3]);
    drop(AuditLog::open(dir.path()).unwrap());
    drop(AuditLog::open(dir.path()).unwrap());
    let report = verify(&path, None).unwrap();
    assert_eq!((report.head.sequence, report.unfinished.len()), (4, 0));
}

#[test]
fn a_refusing_log_says_why() {
    let log = AuditLog::refusing(Path::new("/nowhere"), "line 3 was edited");
    match append(&log, Kind::Intent, None, Space::Reserve) {
        Err(AuditError::Refusing { why }) => assert_eq!(why, "line 3 was edited"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_head_reads_what_it_writes() {
    let head = Head { sequence: 5, hash: "ab".repeat(32) };
    assert_eq!(head.to_string().parse::<Head>().unwrap(), head);
    for bad in ["", "5", "5:ab", "x:00", &format!("1:{}", "AB".repeat(32))] {
        assert!(bad.parse::<Head>().is_err(), "{bad}");
    }
}
