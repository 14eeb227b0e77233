//! Disk operations, on both engines and every kind of disk.

use std::sync::Arc;

use super::support::*;
use crate::engine::*;

const LEN: u64 = 8 << 20;

fn everywhere(test: impl Fn(&str, &mut dyn Engine, &Arc<dyn Disk>, &Pool)) {
    for (engine_name, mut engine) in engines() {
        for kept in disks(LEN) {
            let pool = Pool::new(32 << 20);
            test(&format!("{engine_name} on {}", kept.name), &mut *engine, &kept.disk, &pool);
            assert_eq!(engine.pending(), 0);
            assert_eq!(pool.usage().taken, 0, "{engine_name} on {}: buffers came back", kept.name);
        }
    }
}

#[test]
fn what_was_written_is_read_at_every_size() {
    everywhere(|case, engine, disk, pool| {
        for (index, len) in [4096, 8192, 32 << 10, 36 << 10, 128 << 10, 1 << 20].into_iter().enumerate() {
            let bytes = pattern(index as u64, len);
            let offset = (index as u64) << 20;
            for dsync in [false, true] {
                let done = run(engine, write(disk, pool, offset, &bytes, dsync));
                assert_eq!(done.result.unwrap(), len, "{case}");
            }
            let done = run(engine, read(disk, pool, offset, len));
            assert!(super::support::bytes(&done) == bytes, "{case}: {len} bytes");
        }
    });
}

#[test]
fn many_at_once_all_come_back() {
    everywhere(|case, engine, disk, pool| {
        let offsets = || (0..700u64).map(|index| index * 8192);
        let writes = offsets().map(|at| write(disk, pool, at, &pattern(at, 4096), false)).collect();
        assert!(run_all(engine, writes).iter().all(|done| *done.result.as_ref().unwrap() == 4096));
        let reads = offsets().map(|at| read(disk, pool, at, 4096)).collect();
        for (done, at) in run_all(engine, reads).iter().zip(offsets()) {
            assert!(bytes(done) == pattern(at, 4096), "{case}: at {at}");
        }
    });
}

#[test]
fn shared_data_and_inner_ranges() {
    everywhere(|case, engine, disk, pool| {
        let shared = Arc::new(filled(pool, &pattern(9, 16384)));
        let ops = [(0, 4096..8192), (4096, 8192..16384)].map(|(offset, range)| Op::Write {
            disk: Arc::clone(disk),
            offset,
            data: Data::Shared(Arc::clone(&shared)),
            range,
            dsync: false,
        });
        assert!(run_all(engine, ops.into()).iter().all(|done| done.result.is_ok()));
        let buf = pool.take(32768).unwrap();
        let done = run(engine, Op::Read { disk: Arc::clone(disk), offset: 0, buf, range: 4096..16384 });
        assert!(bytes(&done) == &shared[4096..16384], "{case}");
    });
}

#[test]
fn unaligned_memory_is_carried() {
    everywhere(|case, engine, disk, pool| {
        let mut buf = pool.take(65536).unwrap();
        buf[28..28 + 40960].copy_from_slice(&pattern(3, 40960));
        let data = Data::Own(buf);
        let op = Op::Write { disk: Arc::clone(disk), offset: 4096, data, range: 28..28 + 40960, dsync: true };
        assert_eq!(run(engine, op).result.unwrap(), 40960, "{case}");
        let buf = pool.take(65536).unwrap();
        let done = run(engine, Op::Read { disk: Arc::clone(disk), offset: 4096, buf, range: 100..100 + 40960 });
        assert!(bytes(&done) == pattern(3, 40960), "{case}");
    });
}

#[test]
fn reading_past_the_end_is_an_error_that_returns_the_buffer() {
    everywhere(|case, engine, disk, pool| {
        for (offset, len) in [(LEN, 4096), (LEN - 4096, 8192), (LEN - 4096, 128 << 10)] {
            let done = run(engine, read(disk, pool, offset, len));
            assert_eq!(kind(&done), std::io::ErrorKind::UnexpectedEof, "{case}: {offset}+{len}");
            assert!(matches!(done.op, Op::Read { .. }));
        }
    });
}

#[test]
fn ranges_outside_their_buffer_are_refused() {
    everywhere(|case, engine, disk, pool| {
        let buf = pool.take(4096).unwrap();
        let done = run(engine, Op::Read { disk: Arc::clone(disk), offset: 0, buf, range: 0..4097 });
        assert_eq!(kind(&done), std::io::ErrorKind::InvalidInput, "{case}");
    });
}

#[test]
fn punched_and_zeroed_ranges_read_as_zeros() {
    everywhere(|case, engine, disk, pool| {
        run(engine, write(disk, pool, 0, &pattern(1, 1 << 20), false)).result.unwrap();
        let ops = vec![
            Op::Punch { disk: Arc::clone(disk), offset: 65536, len: 65536 },
            Op::ZeroRange { disk: Arc::clone(disk), offset: 262_144, len: 524_288 },
            Op::ZeroRange { disk: Arc::clone(disk), offset: 4096, len: 4096 },
            Op::ZeroRange { disk: Arc::clone(disk), offset: 0, len: 0 },
            Op::Punch { disk: Arc::clone(disk), offset: 0, len: 0 },
        ];
        for done in run_all(engine, ops) {
            assert_eq!(done.result.unwrap(), 0, "{case}: {:?}", done.op);
        }
        let mut expected = pattern(1, 1 << 20);
        expected[65536..131_072].fill(0);
        expected[262_144..786_432].fill(0);
        expected[4096..8192].fill(0);
        let done = run(engine, read(disk, pool, 0, 1 << 20));
        assert!(bytes(&done) == expected, "{case}");
        assert_eq!(disk.next_hole(65536, LEN).unwrap(), 65536, "{case}: punched is a hole");
        assert_eq!(disk.next_data(65536, LEN).unwrap(), Some(131_072), "{case}");
    });
}

#[test]
fn flushes_complete() {
    everywhere(|case, engine, disk, pool| {
        let ops = vec![write(disk, pool, 0, &[7; 4096], true), Op::Flush { disk: Arc::clone(disk) }];
        assert!(run_all(engine, ops).iter().all(|done| done.result.is_ok()), "{case}");
        assert_eq!(run(engine, Op::Flush { disk: Arc::clone(disk) }).result.unwrap(), 0, "{case}");
    });
}

#[test]
fn a_write_to_a_read_only_backing_fails_and_returns_the_buffer() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("disk"), vec![5; 65536]).unwrap();
    for (name, mut engine) in engines() {
        let options = OpenOptions { read_only: true, ..OpenOptions::default() };
        let disk: Arc<dyn Disk> = Arc::new(Backing::open(dir.path().join("disk"), &options).unwrap());
        let pool = Pool::new(2 << 20);
        let done = run(&mut *engine, write(&disk, &pool, 0, &[1; 4096], false));
        assert_eq!(done.result.unwrap_err().raw_os_error(), Some(libc::EBADF), "{name}");
        let done = run(&mut *engine, read(&disk, &pool, 4096, 4096));
        assert_eq!(bytes(&done), [5; 4096], "{name}");
    }
}

#[test]
fn operations_are_counted() {
    everywhere(|case, engine, disk, pool| {
        let before = engine.stats();
        let ops = vec![
            write(disk, pool, 0, &[1; 4096], false),
            write(disk, pool, 4096, &[1; 4096], true),
            read(disk, pool, 0, 4096),
            Op::Flush { disk: Arc::clone(disk) },
            Op::Punch { disk: Arc::clone(disk), offset: 0, len: 4096 },
        ];
        run_all(engine, ops);
        let after = engine.stats();
        let counts = [after.writes - before.writes, after.reads - before.reads, after.flushes - before.flushes];
        assert_eq!(counts, [2, 1, 2], "{case}");
        assert_eq!(after.discards - before.discards, 1, "{case}");
    });
}
