//! Real NBD clients against the real daemon: libnbd's tools, libnbd from Python and C, QEMU's tools, nbdkit, fio, ext4.
//!
//! Every test runs three times: with each crypto engine, and once with `--io posix`. The tools come from
//! `tools/setup`; one that is missing fails the test and says so.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod copy;
mod extended;
mod filesystem;
mod fio;
mod idle;
mod info;
mod interop;
mod kill;
mod qemu;
mod resize;
mod shell;
mod sparse;
mod tls;

use support::{Daemon, MIB, ServeOptions, Store, VolumeOptions};

/// One way to run the daemon, over which the whole suite goes.
#[derive(Clone, Copy)]
pub struct Variant {
    crypto_engine: &'static str,
    io: Option<&'static str>,
}

impl Variant {
    fn serve(self) -> ServeOptions {
        ServeOptions { crypto_engine: Some(self.crypto_engine), io: self.io, more: Vec::new() }
    }
}

/// Creates a volume of `mib` MiB, serves it and hands store and daemon to `test`; the daemon must then leave in peace.
#[track_caller]
fn with_daemon(variant: Variant, mib: u64, test: impl FnOnce(&Store, &Daemon<'_>)) {
    let store = Store::new();
    let volume = store.create("vol", &VolumeOptions { size: mib * MIB, ..VolumeOptions::default() });
    let mut daemon = Daemon::start(&store, &[volume], &variant.serve());
    test(&store, &daemon);
    daemon.terminate();
}

macro_rules! over_variants {
    ($($test:path as $name:ident,)*) => {
        over_variants!(@ aws_lc, Variant { crypto_engine: "aws-lc", io: None }, $($test as $name,)*);
        over_variants!(@ portable, Variant { crypto_engine: "portable", io: None }, $($test as $name,)*);
        over_variants!(@ posix, Variant { crypto_engine: "auto", io: Some("posix") }, $($test as $name,)*);
    };
    (@ $module:ident, $variant:expr, $($test:path as $name:ident,)*) => {
        mod $module {
            use super::*;
            $(#[test] fn $name() { $test($variant); })*
        }
    };
}

over_variants! {
    info::export_is_described as nbdinfo_export,
    info::export_is_listed as nbdinfo_list,
    info::allocation_map as nbdinfo_map_allocation,
    info::generation_map as nbdinfo_map_generation,
    check::while_served as check_online,
    copy::both_ways as nbdcopy_both_ways,
    copy::stays_sparse as nbdcopy_sparse,
    shell::unaligned as nbdsh_unaligned,
    shell::fua_and_flush as nbdsh_fua,
    shell::trim_and_zero as nbdsh_trim_zero,
    shell::block_status as nbdsh_block_status,
    shell::multi_conn as nbdsh_multi_conn,
    shell::errors as nbdsh_errors,
    shell::negotiate as nbdsh_negotiate,
    qemu::info_and_convert as qemu_img_convert,
    qemu::io as qemu_io,
    extended::transcript_of_the_daemon as extended_transcript,
    extended::qemu_uses_them as extended_qemu,
    interop::c_pipelines as libnbd_c_pipelines,
    interop::dump as nbddump,
    interop::nbdkit_proxy as nbdkit_proxy,
    interop::fuse_mount as nbdfuse_mount,
    fio::verify_random as fio_verify_random,
    fio::verify_sequential as fio_verify_sequential,
    fio::verify_during_rotation as fio_verify_rotation,
    sparse::verified_rotation as sparse_rotation,
    kill::kill_9_loses_nothing_acknowledged as kill_9,
    resize::clients_see_it as resize_seen,
    resize::kill_9_while_it_grows as resize_kill_9,
    resize::alone_and_refused as resize_alone,
    filesystem::ext4_through_a_rotation as ext4_rotation,
    tls::copy_both_ways as tls_copy,
    tls::qemu_in_every_version as tls_qemu,
    tls::clients_are_judged as tls_clients,
    tls::mixed_listener as tls_mixed,
    tls::reload_while_in_use as tls_reload,
    idle::wakes_nobody as idle_daemon,
}
