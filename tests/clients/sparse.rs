//! Verified rotations of extents that are read in several parts: with holes in them, or larger than one read.
//!
//! The digest that verification compares once depended on the order in which the ring completed those reads, so a
//! rotation of a sparse volume now and then took its own good work for damage and poisoned the volume.

use crate::Variant;
use crate::support::{Daemon, MIB, Store, VolumeOptions, map, pattern, same, total};

const SIZE: u64 = 32 * MIB;

pub fn verified_rotation(variant: Variant) {
    for extent_size in [64 << 10, 4 << 20] {
        let store = Store::new();
        let volume = store.create("vol", &VolumeOptions { size: SIZE, extent_size, ..VolumeOptions::default() });
        let mut daemon = Daemon::start(&store, &[volume], &variant.serve());
        let mut client = daemon.connect();
        let mut wanted = vec![0; SIZE as usize];
        // Data and holes by turns, 8 KiB each; the last half without holes.
        for at in (0..SIZE as usize).step_by(16 << 10) {
            let len = if at < SIZE as usize / 2 { 8 << 10 } else { 16 << 10 };
            wanted[at..at + len].copy_from_slice(&pattern(at as u64, len));
            client.write(at as u64, &wanted[at..at + len]).unwrap();
        }
        client.flush().unwrap();
        for generation in 2..5 {
            daemon.rotate("start", &["--rate", "unlimited", "--fixed", "--verify", "full"]);
            daemon.rotate("wait", &["--timeout", "120", "--interval", "0.1"]);
            let entries = map(&daemon.uri(), "x-keymoult:generation");
            assert_eq!(total(&entries, generation), SIZE, "{entries:?}");
            assert_eq!(total(&map(&daemon.uri(), "base:allocation"), 3), SIZE / 4, "holes stay holes");
        }
        same(&client.read(0, SIZE as usize).unwrap(), &wanted, "after three rotations");
        daemon.terminate();
    }
}
