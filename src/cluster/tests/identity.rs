//! Names, lines and files of node keys: what is accepted is what would be written, and nobody else has a hand in it.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

#[test]
fn a_name_is_a_dns_label() {
    for good in ["a", "node-1", "1a", &"x".repeat(63)] {
        assert_eq!(name(good).as_str(), good);
    }
    for bad in ["", "A", "a.b", "-a", "a-", "a_b", "a b", "é", &"x".repeat(64)] {
        assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
    }
}

#[test]
fn every_changed_letter_of_a_public_line_shows() {
    let public = NodeKeys::new(name("node-1")).unwrap().public();
    let line = public.to_string();
    assert_eq!(line.parse::<NodePublic>().unwrap(), public);
    for at in 0..line.len() {
        let mut changed = line.clone().into_bytes();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        assert!(std::str::from_utf8(&changed).unwrap().parse::<NodePublic>().is_err(), "letter {at}");
        assert!(line[..at].parse::<NodePublic>().is_err(), "{at} letters");
    }
    for bad in [line.to_uppercase(), format!(" {line}"), format!("{line}\n"), format!("{line}:")] {
        assert!(bad.parse::<NodePublic>().is_err(), "{bad:?}");
    }
}

#[test]
fn keys_come_back_from_their_file_and_are_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.id");
    let keys = NodeKeys::new(name("a")).unwrap();
    keys.write(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let back = NodeKeys::read(name("a"), &path).unwrap();
    assert_eq!(back.public(), keys.public());
    let signature = back.sign().sign("label", b"message").unwrap();
    assert!(keys.public().verifier().verify("label", b"message", &signature).is_ok());
    let other = NodeKeys::new(name("a")).unwrap();
    assert!(matches!(other.write(&path), Err(IdentityError::Exists { .. })));
    assert_eq!(NodeKeys::read(name("a"), &path).unwrap().public(), keys.public());
}

fn refusal(read: Result<NodeKeys, IdentityError>) -> IdentityError {
    match read {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}

#[test]
fn a_file_that_others_can_read_or_that_holds_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.id");
    let read = || NodeKeys::read(name("a"), &path);
    assert!(matches!(refusal(read()), IdentityError::Unreadable { .. }));
    NodeKeys::new(name("a")).unwrap().write(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        assert!(matches!(refusal(read()), IdentityError::Exposed { .. }), "{mode:o}");
    }
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let short = &text[..text.len() - 2];
    for bad in
        ["", short, &format!("{text}x"), &text.replacen("v1", "v2", 1), &text.to_uppercase(), &short.replace(':', ":g")]
    {
        fs::write(&path, bad).unwrap();
        let said = refusal(read()).to_string();
        assert!(said.contains("node.id") && !said.contains(&text[30..60]), "{said}");
    }
    fs::write(&path, text.trim_end()).unwrap();
    assert!(read().is_ok(), "a missing line break is none of the keys");
}

#[test]
fn a_link_of_somebody_else_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("node.id"), folder.path().join("link"));
    NodeKeys::new(name("a")).unwrap().write(&path).unwrap();
    symlink(&path, &link).unwrap();
    assert!(NodeKeys::read(name("a"), &link).is_ok(), "an own link is no harm");
    assert!(matches!(
        refusal(NodeKeys::read(name("a"), folder.path())),
        IdentityError::Malformed { .. } | IdentityError::Exposed { .. }
    ));
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
        assert!(matches!(refusal(NodeKeys::read(name("a"), &link)), IdentityError::Owner { owner: 12345, .. }));
        std::os::unix::fs::lchown(&path, Some(12345), None).unwrap();
        assert!(matches!(refusal(NodeKeys::read(name("a"), &path)), IdentityError::Owner { owner: 12345, .. }));
    }
}
