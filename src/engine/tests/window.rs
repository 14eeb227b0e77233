//! The window onto files in memory: it shows what the file holds, makes no hole thick, and outlives the file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;
use crate::engine::{Backing, Disk, EngineOptions, IoKind, Op, OpenOptions, open};

const LEN: u64 = 4 << 20;
const SEEDS: u64 = 64;

struct Memory {
    _dir: tempfile::TempDir,
    path: PathBuf,
    disk: Backing,
}

fn memory(len: u64) -> Memory {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("disk");
    let disk = Backing::create(&path, len, &OpenOptions::default()).unwrap();
    Memory { _dir: dir, path, disk }
}

fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

fn read(disk: &dyn Disk, offset: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0xee; len];
    disk.read_at(offset, &mut data).unwrap();
    data
}

/// What the window alone shows; `None` if it leaves the read to the kernel.
fn seen(window: &Window, offset: u64, len: usize) -> Option<Vec<u8>> {
    let mut data = vec![0xee; len];
    window.copy(offset, &mut data).then_some(data)
}

fn window_of(memory: &Memory) -> Window {
    Window::open(&fs::File::options().read(true).write(true).open(&memory.path).unwrap(), LEN).unwrap()
}

#[test]
fn what_is_there_is_copied_and_follows_the_file() {
    let memory = memory(LEN);
    let window = window_of(&memory);
    memory.disk.write_at(0, &[1; 16384]).unwrap();
    assert_eq!(seen(&window, 0, 16384), Some(vec![1; 16384]));
    assert_eq!(seen(&window, 5000, 3), Some(vec![1; 3]));
    assert_eq!(seen(&window, 16383, 2), None);
    memory.disk.write_at(4096, &[2; 4096]).unwrap();
    assert_eq!(seen(&window, 4095, 4098).unwrap(), [&[1][..], &[2; 4096], &[1]].concat());
    assert_eq!(seen(&window, u64::MAX - 1, 1), None);
    assert_eq!(seen(&window, LEAST - 1, 2), None);
    assert_eq!(seen(&window, 77, 0), Some(Vec::new()));
}

/// At every edge of the words in which it is remembered, whatever is asked for first.
#[test]
fn what_is_shown_is_what_is_allocated() {
    let there = [0, 1, 3, 62, 63, 64, 66, 126, 127, 128, 129, 191, 192, 256];
    for first in [0, 2, 64, 100, 127, 190, 256] {
        let memory = memory(LEN);
        let window = window_of(&memory);
        there.iter().for_each(|page| memory.disk.write_at(page * 4096, &[*page as u8 + 1; 4096]).unwrap());
        seen(&window, first * 4096, 4096);
        for page in 0..260 {
            let expected = there.contains(&page).then(|| vec![page as u8 + 1; 4096]);
            assert_eq!(seen(&window, page * 4096, 4096), expected, "page {page} after {first}");
        }
        for (pages, len) in [(62..65, 3), (126..130, 4), (191..193, 2)] {
            assert_eq!(
                seen(&window, pages.start * 4096 + 1, len * 4096 - 2).map(|data| data.len()),
                Some(len * 4096 - 2)
            );
        }
        assert_eq!(seen(&window, 62 * 4096, 4 * 4096), None, "page 65 is a hole");
        assert_eq!(allocated(&memory.path), there.len() as u64 * 4096);
    }
}

#[test]
fn a_file_that_is_not_to_be_written_to_has_none() {
    let Memory { _dir, path, disk } = memory(LEN);
    drop(disk);
    let disk = Backing::open(&path, &OpenOptions { read_only: true, ..OpenOptions::default() }).unwrap();
    assert!(disk.window.is_none());
    assert!(read(&disk, 0, LEN as usize).iter().all(|byte| *byte == 0));
    assert_eq!(allocated(&path), 0);
}

#[test]
fn a_read_of_holes_allocates_nothing() {
    let memory = memory(LEN);
    memory.disk.write_at(1 << 20, &[3; 8192]).unwrap();
    for _ in 0..3 {
        assert!(read(&memory.disk, 0, 1 << 20).iter().all(|byte| *byte == 0));
        assert_eq!(read(&memory.disk, 1 << 20, 12288), [&[3; 8192][..], &[0; 4096]].concat());
    }
    assert_eq!(allocated(&memory.path), 8192);
}

/// Both ways a hole is made: by the trait, and by a ring's own command.
#[test]
fn a_hole_that_is_made_stays_one_when_it_is_read() {
    for kind in [None, Some(IoKind::Ring), Some(IoKind::Posix)] {
        let Memory { _dir, path, disk } = memory(LEN);
        let disk: Arc<dyn Disk> = Arc::new(disk);
        disk.write_at(0, &vec![3; LEN as usize]).unwrap();
        for _ in 0..2 {
            read(&*disk, 0, LEN as usize);
        }
        let (offset, len) = (4096, LEN - 8192);
        match kind {
            None => disk.punch(offset, len).unwrap(),
            Some(kind) => {
                let Ok(mut engine) = open(Some(kind), &EngineOptions::default()) else { continue };
                engine.submit(1, Op::Punch { disk: Arc::clone(&disk), offset, len });
                let mut done = Vec::new();
                while done.is_empty() {
                    engine.wait(None, &mut done).unwrap();
                }
                done[0].result.as_ref().unwrap();
            }
        }
        assert_eq!(allocated(&path), 8192, "{kind:?}");
        assert!(read(&*disk, offset, len as usize).iter().all(|byte| *byte == 0));
        assert_eq!(read(&*disk, 0, 4097)[4095..], [3, 0]);
        assert_eq!(allocated(&path), 8192, "{kind:?}");
    }
}

#[test]
fn it_shows_what_a_file_beside_it_shows_whatever_is_done() {
    for seed in 0..SEEDS {
        let memory = memory(LEN);
        let mut oracle = vec![0_u8; LEN as usize];
        let mut state = seed + 1;
        let mut next = |end: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % end
        };
        for step in 0..200 {
            let offset = next(LEN);
            let len = (next(3 * 65536) + 1).min(LEN - offset);
            let range = offset as usize..(offset + len) as usize;
            match next(8) {
                0 => {
                    memory.disk.punch(offset, len).unwrap();
                    oracle[range].fill(0);
                }
                1 => {
                    memory.disk.zero_range(offset, len).unwrap();
                    oracle[range].fill(0);
                }
                2 | 3 => {
                    let data = vec![next(256) as u8; len as usize];
                    memory.disk.write_at(offset, &data).unwrap();
                    oracle[range].copy_from_slice(&data);
                }
                _ => assert!(read(&memory.disk, offset, len as usize) == oracle[range], "seed {seed}, step {step}"),
            }
        }
    }
}

#[test]
fn a_file_that_grows_stays_inside_and_one_that_shrinks_is_read() {
    let memory = memory(LEN);
    memory.disk.write_at(0, &vec![4; LEN as usize]).unwrap();
    read(&memory.disk, 0, LEN as usize);
    memory.disk.set_len(2 * LEN).unwrap();
    memory.disk.write_at(LEN, &vec![5; LEN as usize]).unwrap();
    read(&memory.disk, LEN, LEN as usize);
    let window = memory.disk.window.as_ref().unwrap();
    assert_eq!(seen(window, LEN - 1, 2), Some(vec![4, 5]));
    memory.disk.set_len(LEN).unwrap();
    assert_eq!(seen(window, LEN - 1, 2), None);
    assert_eq!(seen(window, LEN - 1, 1), Some(vec![4]));
    assert!(!window.mapping.is_lost());
}

/// Somebody cuts the file short behind our back while others read it: an error, as without a window, and no SIGBUS.
#[test]
fn a_file_cut_short_by_others_is_an_error_and_not_the_end() {
    let memory = memory(LEN);
    memory.disk.write_at(0, &vec![6; LEN as usize]).unwrap();
    read(&memory.disk, 0, LEN as usize);
    let stop = AtomicBool::new(false);
    let other = window_of(&memory); // of the same file, and not touched meanwhile
    assert!(seen(&other, 0, LEN as usize).is_some());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut data = vec![0; 1 << 20];
                while !stop.load(Ordering::Relaxed) {
                    match memory.disk.read_at(LEN - (1 << 20), &mut data) {
                        Ok(()) => assert!(data.iter().all(|byte| *byte == 6), "zeros instead of an error"),
                        Err(error) => return assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
                    }
                }
            });
        }
        fs::File::options().write(true).open(&memory.path).unwrap().set_len(8192).unwrap();
        let end = memory.disk.read_at(LEN - 4096, &mut [0; 4096]).unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof);
        stop.store(true, Ordering::Relaxed);
    });
    assert!(memory.disk.window.as_ref().unwrap().mapping.is_lost());
    assert_eq!(read(&memory.disk, 0, 8192), [6; 8192]);
    assert_eq!(seen(&other, 0, 4096), Some(vec![6; 4096]));
    assert_eq!(seen(&other, 8192, 4096), None);
}

/// A SIGBUS of somebody else's ends the process as it did before.
#[test]
fn what_is_no_window_still_ends_the_process() {
    if std::env::var_os("KEYMOULT_TEST_BUS").is_some() {
        let memory = memory(LEN);
        let foreign = fs::File::open(&memory.path).unwrap();
        let byte = crate::engine::mapping::touch_behind_the_end(&foreign, LEN as usize);
        unreachable!("read {byte} where nothing is");
    }
    use std::os::unix::process::ExitStatusExt;
    let name = thread::current().name().unwrap().to_owned();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args([&name, "--exact", "--test-threads=1"]).env("KEYMOULT_TEST_BUS", "1");
    let ended = child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status().unwrap();
    assert_eq!(ended.signal(), Some(libc::SIGBUS));
}

#[test]
fn windows_beyond_the_places_are_none_and_a_place_is_given_back() {
    let memory = memory(LEN);
    let file = fs::File::open(&memory.path).unwrap();
    let mut windows: Vec<Window> = (0..600).map_while(|_| Window::open(&file, LEN)).collect();
    assert!((1..600).contains(&windows.len()));
    assert!(Window::open(&file, LEN).is_none());
    windows.pop();
    assert!(Window::open(&file, LEN).is_some());
}
