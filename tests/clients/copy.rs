//! nbdcopy in and out.

use crate::support::{MIB, map, pattern, same, succeed, tool, total};
use crate::{Variant, with_daemon};

pub fn both_ways(variant: Variant) {
    with_daemon(variant, 32, |store, daemon| {
        let (source, back) = (store.path("source"), store.path("back"));
        let data = pattern(7, 32 << 20);
        std::fs::write(&source, &data).unwrap();
        succeed(tool("nbdcopy").arg("--flush").arg(&source).arg(daemon.uri()));
        succeed(tool("nbdcopy").arg(daemon.uri()).arg(&back));
        same(&std::fs::read(&back).unwrap(), &data, "copied in and out");
        let raw = std::fs::read(store.path("vol.km")).unwrap();
        let needle = &data[MIB as usize..MIB as usize + 32];
        assert!(!raw.windows(32).step_by(16).any(|window| window == needle), "plaintext in the backing");
    });
}

pub fn stays_sparse(variant: Variant) {
    with_daemon(variant, 32, |store, daemon| {
        let source = store.path("source");
        let mut data = vec![0; 32 << 20];
        data[4 << 20..6 << 20].copy_from_slice(&pattern(8, 2 << 20));
        std::fs::write(&source, &data).unwrap();
        succeed(tool("nbdcopy").args(["--flush", "--destination-is-zero"]).arg(&source).arg(daemon.uri()));
        let entries = map(&daemon.uri(), "base:allocation");
        assert_eq!(total(&entries, 0), 2 * MIB, "{entries:?}");
        same(&daemon.connect().read(0, 32 << 20).unwrap(), &data, "read back");
    });
}
