//! Clients beside the usual ones: libnbd from C, nbddump, a mount by nbdfuse, and nbdkit as a proxy in front of the daemon.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{MIB, Store, pattern, run, same, succeed, tool, wait};
use crate::{Variant, with_daemon};

/// How long a helper may take to come up; only there so that a hang fails.
const LIMIT: Duration = Duration::from_secs(60);

fn compile(store: &Store, source: &str) -> std::path::PathBuf {
    let (text, program) = (store.path("client.c"), store.path("client"));
    std::fs::write(&text, source).unwrap();
    succeed(tool("cc").args(["-O1", "-Wall", "-Werror", "-o"]).arg(&program).arg(&text).arg("-lnbd"));
    program
}

/// Four connections, 64 requests under way on each, every block read back and compared by the program.
pub fn c_pipelines(variant: Variant) {
    with_daemon(variant, 32, |store, daemon| {
        let program = compile(store, include_str!("scripts/pipeline.c"));
        let said = succeed(std::process::Command::new(&program).arg(daemon.uri()));
        assert_eq!(said, "8192 writes, 8192 reads, done\n");
        // The comparison can fail: one byte changed is seen.
        daemon.connect().write(7 * MIB + 5, &[0xff]).unwrap();
        let compared = run(std::process::Command::new(&program).arg(daemon.uri()).arg("compare"));
        assert!(!compared.status.success(), "{compared:?}");
    });
}

pub fn dump(variant: Variant) {
    with_daemon(variant, 8, |_, daemon| {
        daemon.connect().write(4096, b"seen through nbddump").unwrap();
        let said = succeed(tool("nbddump").arg(daemon.uri()));
        assert!(said.contains("seen through nbd") && said.contains("0000001000"), "{said}");
    });
}

/// nbdkit as a client: its nbd plugin, four connections, with its own copy of the protocol on both sides.
pub fn nbdkit_proxy(variant: Variant) {
    with_daemon(variant, 32, |store, daemon| {
        let (source, back) = (store.path("source"), store.path("back"));
        let mut data = pattern(21, 32 << 20);
        data[4 << 20..8 << 20].fill(0);
        std::fs::write(&source, &data).unwrap();
        let proxy = |run: String| {
            let upstream = format!("uri={}", daemon.uri());
            succeed(tool("nbdkit").args(["-U", "-", "nbd", &upstream, "--run", &run]));
        };
        proxy(format!("nbdcopy --flush '{}' \"$uri\"", source.display()));
        let mut read = vec![0; data.len()];
        read.chunks_mut(1 << 20).zip(0..).for_each(|(chunk, index)| {
            chunk.copy_from_slice(&daemon.connect().read(index * MIB, 1 << 20).unwrap());
        });
        same(&read, &data, "written through the proxy");
        proxy(format!("nbdcopy \"$uri\" '{}'", back.display()));
        same(&std::fs::read(&back).unwrap(), &data, "read through the proxy");
    });
}

/// A file made of the export by nbdfuse: written, synced and read as any program would.
pub fn fuse_mount(variant: Variant) {
    with_daemon(variant, 16, |store, daemon| {
        let file = store.path("export");
        std::fs::write(&file, "").unwrap();
        let mut fuse = tool("nbdfuse").arg(&file).arg(daemon.uri()).stdin(Stdio::null()).spawn().unwrap();
        await_mount(&mut fuse, &file, 16 * MIB);
        let data = pattern(31, 3 << 20);
        let mounted = File::options().read(true).write(true).open(&file).unwrap();
        mounted.write_all_at(&data, MIB + 17).unwrap();
        mounted.sync_all().unwrap();
        let seen = daemon.connect().read(MIB + 17, data.len()).unwrap();
        same(&seen, &data, "written through the mount");
        let mut back = vec![0; data.len()];
        mounted.read_exact_at(&mut back, MIB + 17).unwrap();
        same(&back, &data, "read through the mount");
        drop(mounted);
        succeed(tool("umount").arg(&file));
        assert!(wait(&mut fuse, LIMIT).is_some_and(|status| status.success()));
    });
}

/// Waits until the file has the size of the export.
fn await_mount(fuse: &mut Child, file: &Path, size: u64) {
    let start = Instant::now();
    while std::fs::metadata(file).map_or(0, |found| found.len()) != size {
        assert!(fuse.try_wait().unwrap().is_none(), "nbdfuse has ended");
        assert!(start.elapsed() < LIMIT, "nbdfuse did not mount");
        thread::sleep(Duration::from_millis(5));
    }
}
