//! Real clients: libnbd's tools and Python binding, QEMU's, fio.

use std::path::Path;
use std::process::Command;

use super::client::pattern;
use super::memory::{Rig, Setup};

/// Runs a program and returns what it printed; panics with its messages when it fails.
fn run(program: &str, args: &[&str]) -> String {
    // Some of them (fio) leave files where they run.
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(program)
        .args(args)
        .current_dir(dir.path())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {messages}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn file(rig: &Rig, name: &str) -> String {
    rig.dir.path().join(name).display().to_string()
}

#[test]
fn nbdinfo_shows_the_export_and_both_maps() {
    let rig = Setup { len: 1 << 20, ..Setup::default() }.start();
    let info = run("nbdinfo", &[&rig.uri()]);
    for expected in [
        "using structured packets",
        "export=\"v\"",
        "description: test volume",
        "base:allocation",
        "x-keymoult:generation",
        "can_multi_conn: true",
        "can_fast_zero: true",
        "block_size_minimum: 1",
        "block_size_preferred: 4096",
        "block_size_maximum: 33554432",
    ] {
        assert!(info.contains(expected), "{expected:?} is missing in:\n{info}");
    }
    assert!(run("nbdinfo", &["--list", &rig.uri()]).contains("export=\"v\""));
    assert!(run("nbdinfo", &["--map", &rig.uri()]).contains("hole,zero"));
    let map = run("nbdinfo", &["--map=x-keymoult:generation", &rig.uri()]);
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "1048576", "7"]);
}

#[test]
fn nbdcopy_brings_an_image_there_and_back() {
    let rig = Setup::default().start();
    let (there, back) = (file(&rig, "there"), file(&rig, "back"));
    let mut image = pattern(64 << 20, 5);
    image[10 << 20..20 << 20].fill(0);
    std::fs::write(&there, &image).unwrap();
    run("nbdcopy", &[&there, &rig.uri()]);
    run("nbdcopy", &[&rig.uri(), &back]);
    assert!(std::fs::read(&back).unwrap() == image);
    run("nbdcopy", &["--synchronous", &rig.uri(), &back]);
    assert!(std::fs::read(Path::new(&back)).unwrap() == image);
}

#[test]
fn nbdsh_uses_every_command() {
    let rig = Setup { len: 1 << 20, ..Setup::default() }.start();
    let script = r#"
import sys, nbd, errno
for structured in (True, False):
    h = nbd.NBD()
    h.set_request_structured_replies(structured)
    if structured:
        h.add_meta_context("base:allocation")
    h.connect_uri(sys.argv[1])
    h.set_strict_mode(0)
    h.pwrite(b"x" * 5000, 3000, nbd.CMD_FLAG_FUA)
    assert h.pread(5002, 2999) == b"\0" + b"x" * 5000 + b"\0"
    h.zero(1000, 4000, nbd.CMD_FLAG_NO_HOLE)
    assert h.pread(1000, 4000) == b"\0" * 1000
    h.trim(4096, 4096)
    h.cache(4096, 0)
    h.flush()
    for call, expected in [
        (lambda: h.pread(2, (1 << 20) - 1), errno.EINVAL),
        (lambda: h.pwrite(b"xx", (1 << 20) - 1), errno.ENOSPC),
        (lambda: h.pwrite(b"xx", 0, 0x10), errno.EINVAL),
        (lambda: h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE), errno.ENOTSUP),
    ]:
        try:
            call()
            assert False, "no error"
        except nbd.Error as error:
            assert error.errnum == expected, error
    if structured:
        extents = []
        h.block_status(1 << 20, 0, lambda name, offset, e, err: extents.append((name, e)))
        assert extents[0][0] == "base:allocation", extents
        assert sum(extents[0][1][::2]) == 1 << 20, extents
        assert len(h.pread_structured(65536, 0, lambda *args: 0, nbd.CMD_FLAG_DF)) == 65536
    h.shutdown()
"#;
    let path = file(&rig, "script.py");
    std::fs::write(&path, script).unwrap();
    run("/usr/bin/python3", &[&path, &rig.uri()]);
}

#[test]
fn qemu_reads_writes_and_compares() {
    let rig = Setup::default().start();
    let uri = rig.uri();
    let io = ["write -P 7 1000 70000", "read -P 7 1000 70000", "write -z 4096 8192", "read -P 0 4096 8192", "flush"];
    let mut args = vec!["-f", "raw"];
    io.iter().for_each(|command| args.extend(["-c", command]));
    args.push(&uri);
    let printed = run("qemu-io", &args);
    assert!(!printed.contains("failed"), "{printed}");
    let image = file(&rig, "image");
    std::fs::write(&image, pattern(64 << 20, 9)).unwrap();
    run("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &image, &uri]);
    let same = run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &image, &uri]);
    assert!(same.contains("identical"), "{same}");
    assert!(run("qemu-img", &["info", &uri]).contains("64 MiB"));
}

#[test]
fn fio_verifies_what_it_wrote() {
    let rig = Setup::default().start();
    let uri = format!("--uri={}", rig.uri());
    for (block, depth) in [("4k", "32"), ("128k", "16"), ("1k-300k", "8")] {
        let (bsrange, iodepth) = (format!("--bsrange={block}"), format!("--iodepth={depth}"));
        let bs = if block.contains('-') { bsrange } else { format!("--bs={block}") };
        run(
            "fio",
            &[
                "--name=verify",
                "--ioengine=nbd",
                &uri,
                "--rw=randwrite",
                &bs,
                &iodepth,
                "--size=64m",
                "--verify=crc32c",
                "--verify_fatal=1",
                "--randrepeat=0",
            ],
        );
    }
}
