//! Backings on tmpfs and on a disk file system: modes, lock, holes, bounce, refusals.
