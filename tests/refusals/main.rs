//! Bad input: each ends with a clear error, the documented exit code, and nothing lost or half made.
//!
//! Every case compares what the program says, letter by letter, with a file in `golden/`; set `UPDATE_GOLDEN=1` to
//! write the files anew, and read the difference before committing it.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use support::{Daemon, MIB, ServeOptions, Store, VolumeOptions, keymoult, run};

/// Where the format puts things (FORMAT.md).
const SUPERBLOCKS: [u64; 2] = [0, 32 << 10];

fn say(store: &Store, output: &Output) -> String {
    let folder = store.path("").display().to_string();
    let text = format!(
        "exit {}\n{}{}",
        output.status.code().map_or("by signal".into(), |code| code.to_string()),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    text.replace(folder.trim_end_matches('/'), "DIR")
}

/// Holds `text`, with what changes from run to run replaced, against its golden file.
#[track_caller]
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refusals/golden").join(format!("{name}.txt"));
    let text: String = text.lines().map(|line| steady(line) + "\n").collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{name}: what the program says has changed");
}

/// UUIDs, KEK ids and process ids are another every time.
fn steady(line: &str) -> String {
    let word = |word: &str| {
        let hex = |text: &str| text.len() >= 16 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if hex(core) {
            word.replace(core, "UUID")
        } else if core.strip_prefix("file-").is_some_and(hex) {
            word.replace(core, "file-ID")
        } else {
            word.to_string()
        }
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn create(_: &Store, args: &[&str]) -> Output {
    run(keymoult().args(["volume", "create"]).args(args))
}

fn serve(store: &Store, volume: &Path, kek: &str) -> Output {
    let mut command = keymoult();
    command.arg("serve").arg(volume).args(["--kek", kek, "--nbd"]);
    command.arg(format!("unix:{}", store.path("nbd2").display()));
    command.args(["--control", &format!("unix:{}", store.path("ctl2").display()), "--state-dir"]);
    run(command.arg(store.path("state2")))
}

fn without_log(text: &str) -> String {
    text.lines().filter(|line| !line.contains(" INFO ")).map(|line| format!("{line}\n")).collect()
}

fn patch(path: &Path, offset: u64, change: impl FnOnce(&mut [u8; 64])) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut bytes = [0; 64];
    file.read_exact_at(&mut bytes, offset).unwrap();
    change(&mut bytes);
    file.write_all_at(&bytes, offset).unwrap();
}

fn volume() -> (Store, support::Volume) {
    let store = Store::new();
    let volume = store.create("v", &VolumeOptions { size: 4 * MIB, ..VolumeOptions::default() });
    (store, volume)
}

#[test]
fn wrong_key() {
    let (store, volume) = volume();
    let other = store.path("other");
    create(
        &store,
        &[
            &store.path("w.km").display().to_string(),
            "--size",
            "1MiB",
            "--new-kek",
            "--kek",
            &format!("file:{}", other.display()),
        ],
    );
    let output = serve(&store, &volume.path, &format!("file:{}", other.display()));
    golden("wrong-key", &without_log(&say(&store, &output)));
}

#[test]
fn key_file_readable_by_others() {
    let (store, volume) = volume();
    std::fs::set_permissions(store.path("kek"), std::fs::Permissions::from_mode(0o644)).unwrap();
    golden("kek-readable", &without_log(&say(&store, &serve(&store, &volume.path, &store.kek()))));
}

#[test]
fn key_file_missing_or_there_already() {
    let store = Store::new();
    let path = store.path("v.km").display().to_string();
    golden("kek-missing", &say(&store, &create(&store, &[&path, "--size", "4MiB", "--kek", &store.kek()])));
    assert!(!store.path("v.km").exists());
    std::fs::write(store.path("kek"), "precious").unwrap();
    std::fs::set_permissions(store.path("kek"), std::fs::Permissions::from_mode(0o600)).unwrap();
    golden("kek-there", &say(&store, &create(&store, &[&path, "--size", "4MiB", "--new-kek", "--kek", &store.kek()])));
    assert_eq!(std::fs::read(store.path("kek")).unwrap(), b"precious");
    assert!(!store.path("v.km").exists());
}

#[test]
fn truncated_backing() {
    let (store, volume) = volume();
    let file = std::fs::File::options().write(true).open(&volume.path).unwrap();
    let whole = file.metadata().unwrap().len();
    file.set_len(whole - MIB).unwrap();
    golden("truncated", &without_log(&say(&store, &serve(&store, &volume.path, &store.kek()))));
    file.set_len(0).unwrap();
    golden("empty", &without_log(&say(&store, &serve(&store, &volume.path, &store.kek()))));
}

#[test]
fn unknown_version() {
    let (store, volume) = volume();
    for place in SUPERBLOCKS {
        patch(&volume.path, place, |bytes| bytes[8] = 9);
    }
    golden("newer-version", &without_log(&say(&store, &serve(&store, &volume.path, &store.kek()))));
}

#[test]
fn both_superblocks_damaged_and_one_alone() {
    let (store, volume) = volume();
    patch(&volume.path, SUPERBLOCKS[0], |bytes| bytes[40] ^= 1);
    let output = run(keymoult().args(["volume", "check"]).arg(&volume.path).args(["--kek", &store.kek()]));
    assert_eq!(output.status.code(), Some(0), "one copy is enough: {}", say(&store, &output));
    patch(&volume.path, SUPERBLOCKS[1], |bytes| bytes[40] ^= 1);
    golden("superblocks-damaged", &without_log(&say(&store, &serve(&store, &volume.path, &store.kek()))));
}

#[test]
fn not_a_volume() {
    let store = Store::new();
    std::fs::write(store.path("v.km"), vec![7u8; 1 << 20]).unwrap();
    let made = create(
        &store,
        &[&store.path("w.km").display().to_string(), "--size", "1MiB", "--new-kek", "--kek", &store.kek()],
    );
    assert!(made.status.success());
    golden("not-a-volume", &without_log(&say(&store, &serve(&store, &store.path("v.km"), &store.kek()))));
    golden("info-not-a-volume", &say(&store, &run(keymoult().args(["volume", "info"]).arg(store.path("v.km")))));
}

#[test]
fn create_never_overwrites() {
    let (store, volume) = volume();
    let path = volume.path.display().to_string();
    let before = std::fs::read(&volume.path).unwrap();
    golden("create-over-volume", &say(&store, &create(&store, &[&path, "--size", "4MiB", "--kek", &store.kek()])));
    assert!(std::fs::read(&volume.path).unwrap() == before);
    std::fs::write(store.path("letter"), vec![b'x'; 8192]).unwrap();
    let path = store.path("letter").display().to_string();
    golden("create-over-file", &say(&store, &create(&store, &[&path, "--size", "4MiB", "--kek", &store.kek()])));
    assert!(std::fs::read(&path).unwrap() == vec![b'x'; 8192]);
}

#[test]
fn backing_in_use() {
    let (store, volume) = volume();
    let daemon = Daemon::start(&store, std::slice::from_ref(&volume), &ServeOptions::default());
    let said = without_log(&say(&store, &serve(&store, &volume.path, &store.kek())));
    golden("in-use", &said.replace(&daemon.pid().to_string(), "PID"));
}

#[test]
fn port_in_use() {
    let (store, volume) = volume();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut command = keymoult();
    command.arg("serve").arg(&volume.path).args(["--kek", &store.kek(), "--nbd", &format!("tcp:127.0.0.1:{port}")]);
    command.args(["--control", &format!("unix:{}", store.path("ctl2").display()), "--state-dir"]);
    let output = run(command.arg(store.path("state2")));
    golden("port-in-use", &without_log(&say(&store, &output)).replace(&port.to_string(), "PORT"));
}

#[test]
fn sizes_and_places_that_will_not_do() {
    let (store, _) = volume();
    let path = store.path("new.km").display().to_string();
    let kek = store.kek();
    golden("size-odd", &say(&store, &create(&store, &[&path, "--size", "5000", "--kek", &kek])));
    golden("size-missing", &say(&store, &create(&store, &[&path, "--kek", &kek])));
    golden(
        "extent-odd",
        &say(&store, &create(&store, &[&path, "--size", "4MiB", "--extent-size", "3MiB", "--kek", &kek])),
    );
    golden(
        "plaintext-unsaid",
        &say(&store, &create(&store, &[&path, "--size", "4MiB", "--cipher", "none", "--kek", &kek])),
    );
    let nowhere = store.path("no/such/v.km").display().to_string();
    golden("directory-missing", &say(&store, &create(&store, &[&nowhere, "--size", "4MiB", "--kek", &kek])));
    assert!(!store.path("new.km").exists());
}

#[test]
fn full_disk_during_create() {
    let store = Store::new();
    let Some(disk) = SmallDisk::mount(&store.path("small")) else { return };
    let path = disk.0.join("v.km").display().to_string();
    let output = create(&store, &[&path, "--size", "64MiB", "--new-kek", "--kek", &store.kek()]);
    golden("disk-full", &say(&store, &output));
    assert!(!Path::new(&path).exists() && !store.path("kek").exists(), "nothing is left behind");
}

/// A tmpfs of 16 KiB, smaller than any volume's metadata. Needs root, like CI.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Option<SmallDisk> {
        std::fs::create_dir_all(path).unwrap();
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"]).arg(path).status();
        mounted.is_ok_and(|status| status.success()).then(|| SmallDisk(path.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}
