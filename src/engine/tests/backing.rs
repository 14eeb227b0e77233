//! Backings on tmpfs and on a disk file system: modes, lock, holes, bounce, refusals.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use super::*;

const LEN: u64 = 4 << 20;

fn options(cache: CacheMode) -> OpenOptions {
    OpenOptions { read_only: false, cache }
}

fn read_only() -> OpenOptions {
    OpenOptions { read_only: true, cache: CacheMode::Auto }
}

fn shm() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

#[test]
fn tmpfs_is_memory_in_every_mode() {
    for cache in [CacheMode::Auto, CacheMode::Direct, CacheMode::Page] {
        let dir = shm();
        let caps = Backing::create(dir.path().join("disk"), LEN, &options(cache)).unwrap().caps();
        assert_eq!(caps.describe, "file on tmpfs, memory");
        assert_eq!((caps.align, caps.granule), (1, 4096));
        assert_eq!(caps.inline, crate::engine::InlinePolicy::Always);
    }
}

#[test]
fn modes_are_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let page = Backing::create(dir.path().join("page"), LEN, &options(CacheMode::Page)).unwrap();
    assert_eq!(page.caps().align, 1);
    assert_ne!(page.caps().inline, crate::engine::InlinePolicy::Always);
    let auto = Backing::create(dir.path().join("auto"), LEN, &options(CacheMode::Auto)).unwrap();
    match Backing::create(dir.path().join("direct"), LEN, &options(CacheMode::Direct)) {
        Ok(direct) => {
            assert!([512, 4096].contains(&direct.caps().align));
            assert_eq!(direct.caps(), auto.caps());
            assert!(direct.caps().describe.contains("direct I/O"));
        }
        Err(error) => {
            assert!(matches!(error, EngineError::NoDirect { .. }), "{error}");
            assert_eq!(auto.caps(), page.caps());
        }
    }
}

#[test]
fn what_is_in_use_cannot_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let held = Backing::create(&path, LEN, &options(CacheMode::Auto)).unwrap();
    for options in [options(CacheMode::Auto), read_only()] {
        let error = Backing::open(&path, &options).unwrap_err();
        assert_eq!(error.to_string(), format!("{} is in use", path.display()));
    }
    drop(held);
    let readers = [read_only(), read_only()].map(|options| Backing::open(&path, &options).unwrap());
    assert!(matches!(Backing::open(&path, &options(CacheMode::Auto)), Err(EngineError::InUse { .. })));
    drop(readers);
    Backing::open(&path, &options(CacheMode::Auto)).unwrap();
}

#[test]
fn another_process_sees_the_lock_and_is_named_when_it_holds_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    std::fs::write(&path, [0; 8192]).unwrap();
    // flock(1) is of another lock family, so a process lock it is: fcntl's, which carries a pid.
    let script = "import fcntl,sys\nf=open(sys.argv[1],'r+b')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\nsys.stdin.read()";
    let mut holder = Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0; 4]).unwrap();
    let error = Backing::open(&path, &options(CacheMode::Auto)).unwrap_err();
    assert_eq!(error.to_string(), format!("{} is in use by process {}", path.display(), holder.id()));
    drop(holder.stdin.take());
    holder.wait().unwrap();
    let _held = Backing::open(&path, &options(CacheMode::Auto)).unwrap();
    let script = "import fcntl,sys\nf=open(sys.argv[1],'r+b')\nfcntl.lockf(f,fcntl.LOCK_EX|fcntl.LOCK_NB)";
    let mut second = Command::new("python3");
    second.args(["-c", script]).arg(&path).stderr(std::process::Stdio::null());
    assert!(!second.status().unwrap().success());
}

#[test]
fn unaligned_memory_bounces_and_unaligned_offsets_are_refused() {
    for cache in [CacheMode::Auto, CacheMode::Page] {
        let dir = tempfile::tempdir().unwrap();
        let backing = Backing::create(dir.path().join("disk"), LEN, &options(cache)).unwrap();
        let memory: Vec<u8> = (0..3 << 20).map(|index: u32| (index % 251) as u8).collect();
        let len = (2 << 20) + 4096;
        backing.write_at(4096, &memory[1..1 + len]).unwrap();
        backing.write_through_at(0, &memory[3..3 + 4096]).unwrap();
        let mut back = vec![0; len + 8];
        backing.read_at(4096, &mut back[5..5 + len]).unwrap();
        assert!(back[5..5 + len] == memory[1..1 + len]);
        backing.read_at(0, &mut back[1..4097]).unwrap();
        assert!(back[1..4097] == memory[3..3 + 4096]);
        let odd = backing.read_at(1, &mut back[..10]);
        assert_eq!(odd.is_ok(), backing.caps().align == 1);
    }
}

#[test]
fn holes_are_found_and_made() {
    for dir in [shm(), tempfile::tempdir().unwrap()] {
        let backing = Backing::create(dir.path().join("disk"), LEN, &OpenOptions::default()).unwrap();
        assert_eq!(backing.next_data(0, LEN).unwrap(), None);
        assert_eq!(backing.next_hole(0, LEN).unwrap(), 0);
        backing.write_at(1 << 20, &[1; 1 << 20]).unwrap();
        assert_eq!(backing.next_data(0, LEN).unwrap(), Some(1 << 20));
        assert_eq!(backing.next_data(0, 1 << 20).unwrap(), None);
        assert_eq!(backing.next_hole(1 << 20, LEN).unwrap(), 2 << 20);
        assert_eq!(backing.next_hole(1 << 20, 3 << 19).unwrap(), 3 << 19);
        backing.punch(1 << 20, 1 << 19).unwrap();
        assert_eq!(backing.next_data(0, LEN).unwrap(), Some(3 << 19));
        backing.zero_range(3 << 19, 1 << 19).unwrap();
        let mut back = vec![9; 1 << 20];
        backing.read_at(1 << 20, &mut back).unwrap();
        assert!(back.iter().all(|&byte| byte == 0));
        backing.flush().unwrap();
        backing.drop_cache().unwrap();
        assert_eq!(Disk::len(&backing).unwrap(), LEN);
    }
}

/// Where the system has a command for it and where a hole is made and allocated (tmpfs).
#[test]
fn a_zeroed_range_is_allocated_and_reads_as_zeros() {
    for dir in [shm(), tempfile::tempdir().unwrap()] {
        let path = dir.path().join("disk");
        let backing = Backing::create(&path, LEN, &OpenOptions::default()).unwrap();
        let allocated = || std::fs::metadata(&path).unwrap().blocks() * 512;
        backing.write_at(0, &[7; 64 << 10]).unwrap();
        backing.flush().unwrap();
        let before = allocated();
        backing.zero_range(0, 1 << 20).unwrap();
        assert!(allocated() >= before + (1 << 20) - (64 << 10), "{} of {before}", allocated());
        let mut back = vec![9; 1 << 20];
        backing.read_at(0, &mut back).unwrap();
        assert!(back.iter().all(|&byte| byte == 0));
        assert_eq!(Disk::len(&backing).unwrap(), LEN);
    }
}

#[test]
fn zeros_can_be_written_where_there_is_no_command_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let backing = Backing::create(dir.path().join("disk"), LEN, &OpenOptions::default()).unwrap();
    backing.write_at(0, &[7; 1 << 20]).unwrap();
    backing.write_zeros(4096, 600 << 10).unwrap();
    let mut back = vec![0; 1 << 20];
    backing.read_at(0, &mut back).unwrap();
    let end = 4096 + (600 << 10);
    assert!(back[4096..end].iter().all(|&byte| byte == 0));
    assert!(back[..4096].iter().chain(&back[end..]).all(|&byte| byte == 7));
}

#[test]
fn creating_never_overwrites_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    std::fs::write(&path, b"precious").unwrap();
    let error = Backing::create(&path, LEN, &OpenOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot create {}", path.display()));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    let huge = dir.path().join("huge");
    assert!(Backing::create(&huge, u64::MAX, &OpenOptions::default()).is_err());
    assert!(!huge.exists());
    let made = dir.path().join("made");
    drop(Backing::create(&made, LEN, &OpenOptions::default()).unwrap());
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&made).unwrap().permissions()) & 0o777,
        0o600
    );
}

#[test]
fn what_is_no_storage_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Backing::open(dir.path().join("none"), &OpenOptions::default()).unwrap_err();
    assert!(matches!(missing, EngineError::Open { .. }), "{missing}");
    for path in [dir.path(), Path::new("/dev/null")] {
        let error = Backing::open(path, &OpenOptions::default()).unwrap_err();
        assert_eq!(error.to_string(), format!("{} is neither a regular file nor a block device", path.display()));
    }
}

#[test]
fn a_read_only_backing_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    drop(Backing::create(&path, LEN, &OpenOptions::default()).unwrap());
    let backing = Backing::open(&path, &read_only()).unwrap();
    assert!(backing.write_at(0, &[1; 4096]).is_err());
    assert!(backing.punch(0, 4096).is_err());
    backing.read_at(0, &mut [0; 4096]).unwrap();
}

#[test]
fn rotation_of_the_medium_is_what_sysfs_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let caps = Backing::create(&path, LEN, &OpenOptions::default()).unwrap().caps();
    let device = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(&path).unwrap());
    let place = format!("/sys/dev/block/{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let queues = [format!("{place}/queue/rotational"), format!("{place}/../queue/rotational")];
    let said = queues.iter().find_map(|queue| std::fs::read_to_string(queue).ok());
    assert_eq!(caps.rotational, said.is_some_and(|said| said.trim() == "1"));
    let memory = shm();
    assert!(!Backing::create(memory.path().join("disk"), LEN, &OpenOptions::default()).unwrap().caps().rotational);
}

#[test]
fn punching_is_found_out_without_touching_data() {
    let dir = tempfile::tempdir().unwrap();
    let backing = Backing::create(dir.path().join("disk"), LEN, &OpenOptions::default()).unwrap();
    backing.write_at(LEN - 4096, &[7; 4096]).unwrap();
    drop(backing);
    let backing = Backing::open(dir.path().join("disk"), &OpenOptions::default()).unwrap();
    assert_eq!(backing.caps().punches, backing.punch(0, 4096).is_ok(), "what is said is what happens");
    let mut tail = [0; 4096];
    backing.read_at(LEN - 4096, &mut tail).unwrap();
    assert_eq!((tail, backing.len().unwrap()), ([7; 4096], LEN));
}

#[test]
fn the_granule_has_a_source() {
    let dir = tempfile::tempdir().unwrap();
    let caps = Backing::create(dir.path().join("disk"), LEN, &OpenOptions::default()).unwrap().caps();
    match caps.granule {
        0 => assert!(caps.granule_source.starts_with("nothing"), "{caps:?}"),
        size => assert!(size.is_power_of_two() && size >= 512 && caps.granule_source.contains("sysfs"), "{caps:?}"),
    }
}

/// A loop device, detached when dropped.
struct Loop(String);

impl Loop {
    /// `None` where the machine has no loop devices.
    fn attach(file: &Path) -> Option<Loop> {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !name.is_empty()).then_some(Loop(name))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_block_device_is_a_backing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    File::create(&path).unwrap().set_len(LEN).unwrap();
    let Some(device) = Loop::attach(&path) else {
        eprintln!("no loop devices here: not tested");
        return;
    };
    let backing = Backing::open(&device.0, &options(CacheMode::Auto)).unwrap();
    assert!(backing.is_block_device());
    assert_eq!(Disk::len(&backing).unwrap(), LEN);
    assert!(backing.caps().granule >= 512);
    assert!(backing.caps().describe.starts_with("block device"), "{:?}", backing.caps());
    assert!(matches!(Backing::open(&device.0, &options(CacheMode::Auto)), Err(EngineError::InUse { .. })));
    backing.write_at(4096, &[9; 8192]).unwrap();
    backing.zero_range(4096, 4096).unwrap();
    backing.flush().unwrap();
    let mut back = [1; 8192];
    backing.read_at(4096, &mut back).unwrap();
    assert!(back[..4096].iter().all(|&byte| byte == 0) && back[4096..].iter().all(|&byte| byte == 9));
    assert_eq!(backing.next_data(0, LEN).unwrap(), Some(0));
    assert_eq!(backing.next_hole(0, LEN).unwrap(), LEN);
    assert!(backing.set_len(LEN).is_err());
}
