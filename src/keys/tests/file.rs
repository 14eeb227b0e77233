//! Key files: what is refused and how it is said, how they are made, and what their KEK opens.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::crypto::{Secret, Suite};
use crate::keys::tests::{PURPOSE, data_key, keeper_holds_to_the_rules, story};
use crate::keys::{FileKek, Kek, KekUri, KeyError, KeyErrorClass, NewKek, open};

const LINE: &str = "keymoult-kek-v1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

fn write(path: &Path, contents: impl AsRef<[u8]>, mode: u32) {
    fs::write(path, contents).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_good_file_opens_with_or_without_newline() {
    let dir = dir();
    let path = dir.path().join("kek");
    for (contents, mode) in [(LINE, 0o600), (LINE.trim(), 0o400), (LINE, 0o700)] {
        write(&path, contents, mode);
        let kek = Kek::unwitnessed(FileKek::open(&path).unwrap());
        assert_eq!(kek.describe().label, format!("file:{}", path.display()));
        assert_eq!(kek.describe().kek_id.as_deref(), Some("file-973016b8e53ac81d"));
    }
    let upper = LINE.replace("0a0b0c0d0e0f", "0A0B0C0D0E0F");
    let _ = fs::remove_file(&path);
    write(&path, upper, 0o600);
    assert_eq!(
        Kek::unwitnessed(FileKek::open(&path).unwrap()).describe().kek_id.as_deref(),
        Some("file-973016b8e53ac81d")
    );
}

/// Each refusal with the one sentence that says what is wrong with the file.
#[test]
fn refusals_are_told_plainly() {
    let dir = dir();
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    write(&at("group"), LINE, 0o640);
    write(&at("it's open"), LINE, 0o644);
    write(&at("empty"), "", 0o600);
    write(&at("raw"), [0xee; 32], 0o600);
    write(&at("short"), &LINE[..40], 0o600);
    write(&at("long"), LINE.trim().to_owned() + "00\n", 0o600);
    write(&at("twice"), LINE.repeat(2), 0o600);
    write(&at("letters"), LINE.replace("1f\n", "1g\n"), 0o600);
    fs::create_dir(at("folder")).unwrap();
    fs::set_permissions(at("folder"), Permissions::from_mode(0o700)).unwrap();
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    let golden = "\
> missing
key file DIR/missing: there is no such file
  hint: check the path; for a new volume, --new-kek makes the key file DIR/missing
> dangling
key file DIR/dangling: there is no such file
  hint: check the path; for a new volume, --new-kek makes the key file DIR/dangling
> loop
key file DIR/loop: cannot be read
  because: Too many levels of symbolic links (os error 40)
  hint: run as the owner of the file, or as root
> group
key file DIR/group: its mode 0640 lets others than its owner at it
  hint: chmod 600 DIR/group
> it's open
key file DIR/it's open: its mode 0644 lets others than its owner at it
  hint: chmod 600 'DIR/it'\\''s open'
> folder
key file DIR/folder: not a regular file
  hint: name the file itself
> pipe
key file DIR/pipe: not a regular file
  hint: name the file itself
> empty
key file DIR/empty: it is empty
  hint: a key file is one line, keymoult-kek-v1: and 64 hexadecimal digits; restore it from its backup
> raw
key file DIR/raw: it does not begin with keymoult-kek-v1:
  hint: a key file is one line, keymoult-kek-v1: and 64 hexadecimal digits; restore it from its backup
> short
key file DIR/short: the key is not 64 hexadecimal digits long
  hint: a key file is one line, keymoult-kek-v1: and 64 hexadecimal digits; restore it from its backup
> long
key file DIR/long: the key is not 64 hexadecimal digits long
  hint: a key file is one line, keymoult-kek-v1: and 64 hexadecimal digits; restore it from its backup
> twice
key file DIR/twice: the key is not 64 hexadecimal digits long
  hint: a key file is one line, keymoult-kek-v1: and 64 hexadecimal digits; restore it from its backup
> letters
key file DIR/letters: the key contains something else than hexadecimal digits
  hint: a key file is one line, keymoult-kek-v1: and 64 hexadecimal digits; restore it from its backup
";
    let mut told = String::new();
    for name in golden.lines().filter_map(|line| line.strip_prefix("> ")) {
        let error = FileKek::open(&at(name)).err().unwrap();
        assert_eq!(error.class(), KeyErrorClass::Local);
        told += &format!("> {name}\n{}", story(&error, dir.path()));
    }
    assert_eq!(told, golden);
}

/// Needs root, to give a file away; elsewhere there is nothing to test.
#[test]
fn a_file_of_another_user_is_refused() {
    let dir = dir();
    let path = dir.path().join("kek");
    write(&path, LINE, 0o600);
    if std::os::unix::fs::chown(&path, Some(12345), None).is_err() {
        assert!(!nix::unistd::geteuid().is_root());
        return;
    }
    let running = nix::unistd::geteuid();
    assert_eq!(
        story(&FileKek::open(&path).err().unwrap(), dir.path()),
        format!(
            "key file DIR/kek: belongs to uid 12345, neither to root nor to uid {running}\n  \
             hint: if the file is yours, as root: chown {running} DIR/kek\n"
        )
    );
}

#[test]
fn a_made_file_is_private_durable_and_never_overwritten() {
    let dir = dir();
    let path = dir.path().join("kek");
    let made = Kek::unwitnessed(FileKek::create(&path).unwrap());
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let contents = fs::read_to_string(&path).unwrap();
    assert!(contents.starts_with("keymoult-kek-v1:") && contents.ends_with('\n'));
    assert_eq!(contents.len(), LINE.len());

    let key = data_key();
    let wrapped = made.wrap(&PURPOSE, &key).unwrap();
    let read = Kek::unwitnessed(FileKek::open(&path).unwrap());
    assert!(read.unwrap(&PURPOSE, &wrapped).unwrap().ct_eq(&key));

    assert_eq!(
        story(&FileKek::create(&path).err().unwrap(), dir.path()),
        "key file DIR/kek: exists already and is never overwritten\n  \
         hint: use it as it is, or name another path for the new key\n"
    );
    symlink(dir.path().join("elsewhere"), dir.path().join("link")).unwrap();
    let link = FileKek::create(&dir.path().join("link")).err().unwrap();
    assert!(matches!(link, KeyError::Exists { .. }));
    assert!(!dir.path().join("elsewhere").exists());
    assert_eq!(fs::read_to_string(&path).unwrap(), contents);
}

#[test]
fn a_file_that_cannot_be_made_leaves_nothing() {
    let dir = dir();
    let error = FileKek::create(&dir.path().join("no/such/kek")).err().unwrap();
    assert_eq!(
        story(&error, dir.path()),
        "key file DIR/no/such/kek: cannot be made (open)\n  \
         because: No such file or directory (os error 2)\n  \
         hint: the directory must exist and be writable\n"
    );
    // A full disk: opening works, writing does not.
    let full = Path::new("/dev/full");
    assert!(matches!(FileKek::create(full), Err(KeyError::Exists { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn open_makes_a_file_only_when_asked_and_only_once() {
    let dir = dir();
    let uri = KekUri::File(dir.path().join("kek"));
    assert!(matches!(open(&uri, NewKek::Never), Err(KeyError::Missing { .. })));
    let first = open(&uri, NewKek::IfMissing).ok().unwrap();
    let second = open(&uri, NewKek::IfMissing).ok().unwrap();
    let third = open(&uri, NewKek::Never).ok().unwrap();
    assert_eq!([first.created, second.created, third.created], [true, false, false]);
    let id = |opened: &crate::keys::OpenedKek| opened.keeper.describe().kek_id.clone();
    assert!(id(&first).is_some() && id(&first) == id(&second) && id(&first) == id(&third));
}

#[test]
fn the_keeper_holds_to_the_rules() {
    let dir = dir();
    keeper_holds_to_the_rules(&Kek::unwitnessed(FileKek::create(&dir.path().join("kek")).unwrap()), 0);
}

#[test]
fn another_key_file_is_told_from_tampering() {
    let dir = dir();
    let [a, b] = ["a", "b"].map(|name| Kek::unwitnessed(FileKek::create(&dir.path().join(name)).unwrap()));
    let wrapped = a.wrap(&PURPOSE, &data_key()).unwrap();
    assert!(!b.could_open(&wrapped));
    let error = b.unwrap(&PURPOSE, &wrapped).err().unwrap();
    assert_eq!(error.class(), KeyErrorClass::WrongKey);
    let told = story(&error, dir.path());
    let (have, want) = (b.describe().kek_id.clone().unwrap(), &wrapped.kek_id);
    assert_eq!(
        told,
        format!(
            "file:DIR/b is not the KEK that wraps this key: it is {have}, wanted is {want}\n  \
             hint: give the KEK with id {want}\n"
        )
    );

    let mut changed = wrapped.clone();
    changed.blob[0] ^= 1;
    assert_eq!(
        story(&a.unwrap(&PURPOSE, &changed).err().unwrap(), dir.path()),
        "the key of generation 3 does not open with file:DIR/a, which is the right KEK: it was \
         changed, or moved here from another volume, generation or suite\n  \
         hint: restore the header from a backup, or open with another KEK of the volume; find out \
         who changed it\n"
    );
}

/// What is read once is held: whoever takes the file away afterwards takes away the next start, not this one.
#[test]
fn a_held_kek_needs_its_file_no_more() {
    let dir = dir();
    let kek = Kek::unwitnessed(FileKek::create(&dir.path().join("kek")).unwrap());
    let key = data_key();
    let wrapped = kek.wrap(&PURPOSE, &key).unwrap();
    fs::remove_file(dir.path().join("kek")).unwrap();
    kek.probe().unwrap();
    assert!(kek.unwrap(&PURPOSE, &wrapped).unwrap().ct_eq(&key));
    assert!(matches!(FileKek::open(&dir.path().join("kek")), Err(KeyError::Missing { .. })));
}

/// A key whose halves are equal is refused both ways, even if someone managed to wrap it.
#[test]
fn equal_halves_pass_neither_way() {
    let dir = dir();
    let kek = Kek::unwitnessed(FileKek::create(&dir.path().join("kek")).unwrap());
    let bad = Secret::zeroed(64);
    let error = kek.wrap(&PURPOSE, &bad).err().unwrap();
    assert_eq!(story(&error, dir.path()), "a key cannot be used\n  because: Key_1 equals Key_2: not an XTS key\n");
    let metadata = crate::keys::WrapPurpose { suite: 0, ..PURPOSE };
    let wrapped = kek.wrap(&metadata, &bad).unwrap();
    assert!(kek.unwrap(&metadata, &wrapped).unwrap().ct_eq(&bad));
    assert_ne!(Suite::from_id(PURPOSE.suite), Suite::from_id(metadata.suite));
}
