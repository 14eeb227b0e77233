//! A block device whose power can be cut: a loop device over a FUSE file over a [`Platter`].
//!
//! The daemon sees an ordinary disk with a volatile write cache: direct I/O, a logical block size of 512 bytes, and
//! flushes that arrive where they must. Nothing in the daemon knows of it. Needs root, `/dev/fuse` and loop devices.
//! Invariant: whatever happens to a test, loop device and mount are let go of when this is dropped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fuse::Mount;
use crate::platter::Platter;
use crate::support::{run, succeed, tool};

/// The disk, plugged in or not.
pub struct Disk {
    platter: Arc<Platter>,
    /// The file that is mounted over.
    place: PathBuf,
    /// A stable name for the loop device.
    link: PathBuf,
    plugged: Option<(PathBuf, Mount)>,
}

impl Disk {
    /// An empty disk of `size` bytes, plugged in, which is found as `link`.
    pub fn new(size: u64, place: &Path, link: &Path) -> Disk {
        std::fs::write(place, "").unwrap();
        let platter = Arc::new(Platter::new(size as usize));
        let mut disk = Disk { platter, place: place.into(), link: link.into(), plugged: None };
        disk.plug_in();
        disk
    }

    /// The medium.
    pub fn platter(&self) -> &Arc<Platter> {
        &self.platter
    }

    /// Mounts the platter and puts a loop device on it.
    fn plug_in(&mut self) {
        let mount = Mount::new(&self.platter, &self.place);
        let device = PathBuf::from(succeed(tool("losetup").args(["--find", "--show"]).arg(&self.place)).trim());
        let _ = std::fs::remove_file(&self.link);
        std::os::unix::fs::symlink(&device, &self.link).unwrap();
        self.plugged = Some((device, mount));
    }

    /// Lets go of loop device and mount; a device that somebody still has open goes away with its last user.
    fn unplug(&mut self) {
        if let Some((device, _mount)) = self.plugged.take() {
            let output = run(tool("losetup").arg("--detach").arg(&device));
            if !output.status.success() {
                eprintln!("{}: {}", device.display(), String::from_utf8_lossy(&output.stderr));
            }
        }
    }

    /// After the power was cut, and nobody uses the disk any more: decides what survived and plugs it in again.
    pub fn power_cycle(&mut self, random: &mut u64) -> String {
        self.unplug();
        let survival = self.platter.restore(random);
        self.plug_in();
        survival
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unplug();
    }
}
