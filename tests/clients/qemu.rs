//! QEMU's client: qemu-img info, convert, compare, map; qemu-io.

use crate::support::{MIB, pattern, run, succeed, tool};
use crate::{Variant, with_daemon};
use serde_json::Value;

pub fn info_and_convert(variant: Variant) {
    with_daemon(variant, 32, |store, daemon| {
        let uri = daemon.uri();
        let info: Value =
            serde_json::from_str(&succeed(tool("qemu-img").args(["info", "--output=json", &uri]))).unwrap();
        assert_eq!(info["virtual-size"], 32 * MIB);
        let (source, back) = (store.path("source.raw"), store.path("back.qcow2"));
        let mut data = pattern(11, 32 << 20);
        data[10 << 20..20 << 20].fill(0);
        std::fs::write(&source, &data).unwrap();
        succeed(tool("qemu-img").args(["convert", "-n", "-f", "raw", "-O", "raw"]).arg(&source).arg(&uri));
        let compare = ["compare", "-f", "raw", "-F", "raw"];
        let said = succeed(tool("qemu-img").args(compare).arg(&source).arg(&uri));
        assert!(said.contains("identical"), "{said}");
        succeed(tool("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2", &uri]).arg(&back));
        succeed(tool("qemu-img").args(["compare", "-f", "raw", "-F", "qcow2"]).arg(&source).arg(&back));
        // The comparison can fail: one byte changed is seen.
        daemon.connect().write(5 * MIB + 3, &[data[(5 << 20) + 3] ^ 1]).unwrap();
        assert!(!run(tool("qemu-img").args(compare).arg(&source).arg(&uri)).status.success());
    });
}

pub fn io(variant: Variant) {
    with_daemon(variant, 32, |_, daemon| {
        let mut command = tool("qemu-io");
        command.args(["-f", "raw", "-t", "none"]);
        for line in [
            "write -P 0xab 4096 1M",
            "read -P 0xab 4096 1M",
            "write -P 0x11 1000 3000",
            "read -P 0x11 1000 3000",
            "write -z 64k 128k",
            "read -P 0 64k 128k",
            "write -z -u 512k 64k",
            "read -P 0 512k 64k",
            "write -f -P 0x22 3M 512",
            "read -P 0x22 3M 512",
            "discard 768k 64k",
            "read -P 0 768k 64k",
            "aio_write -P 0x33 8M 4M",
            "aio_write -P 0x44 12M 4M",
            "aio_flush",
            "read -P 0x33 8M 4M",
            "read -P 0x44 12M 4M",
            "flush",
        ] {
            command.args(["-c", line]);
        }
        let said = succeed(command.arg(daemon.uri()));
        assert!(!said.contains("verification failed") && !said.contains("rror"), "{said}");
        // The pattern check can fail.
        let wrong = run(tool("qemu-io").args(["-f", "raw", "-c", "read -P 0x55 8M 512", &daemon.uri()]));
        assert!(String::from_utf8_lossy(&wrong.stdout).contains("verification failed") || !wrong.status.success());
    });
}
