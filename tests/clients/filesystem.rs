//! A real file system: made by mkfs.ext4, copied in, rotated, read back while that runs, checked afterwards.

use crate::support::{Daemon, MIB, Store, map, pattern, same, succeed, tool, total};
use crate::{Variant, with_daemon};

const IMAGE: u64 = 48 * MIB;

/// Files of many sizes in a few folders, so that the file system has something to keep in order.
fn plant(store: &Store) {
    for index in 0..60 {
        let folder = store.path("tree").join(format!("folder{}", index % 7));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("file{index}")), pattern(index, (index as usize * 7919) % 400_000)).unwrap();
    }
}

fn copy_out(store: &Store, daemon: &Daemon<'_>, name: &str) -> Vec<u8> {
    let path = store.path(name);
    succeed(tool("nbdcopy").arg(daemon.uri()).arg(&path));
    std::fs::read(&path).unwrap()
}

pub fn ext4_through_a_rotation(variant: Variant) {
    with_daemon(variant, IMAGE / MIB, |store, daemon| {
        plant(store);
        let image = store.path("image");
        std::fs::File::create(&image).unwrap().set_len(IMAGE).unwrap();
        succeed(tool("mkfs.ext4").args(["-q", "-F", "-d"]).arg(store.path("tree")).arg(&image));
        succeed(tool("e2fsck").arg("-fn").arg(&image));
        let wanted = std::fs::read(&image).unwrap();
        succeed(tool("nbdcopy").arg("--flush").arg(&image).arg(daemon.uri()));

        daemon.rotate("start", &["--rate", "64MiB", "--fixed"]);
        same(&copy_out(store, daemon, "during"), &wanted, "read during the rotation");
        daemon.rotate("wait", &[]);
        let entries = map(&daemon.uri(), "x-keymoult:generation");
        assert_eq!(total(&entries, 2), IMAGE, "{entries:?}");
        same(&copy_out(store, daemon, "after"), &wanted, "read after the rotation");
        succeed(tool("e2fsck").arg("-fn").arg(store.path("after")));
    });
}
