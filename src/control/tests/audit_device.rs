//! The audit log on a device that is full, or that fails.

use std::io;
use std::sync::{Arc, Mutex};

use super::log::{AuditLog, Space};
use super::record::{Head, Kind};
use super::sink::Sink;
use super::tests::append;
use super::verify::Report;
use super::{AuditError, LINE_MAX, RESERVE};

/// A device of fixed size that fails on demand.
#[derive(Default)]
struct Device {
    bytes: Vec<u8>,
    capacity: u64,
    reserved: u64,
    sync_fails: bool,
    cut_fails: bool,
}

#[derive(Clone, Default)]
struct Rig(Arc<Mutex<Device>>);

impl Rig {
    fn log(&self) -> AuditLog {
        AuditLog::with_sink("rig".into(), Box::new(self.clone()), &Report::default())
    }

    fn of(capacity: u64) -> Rig {
        let rig = Rig::default();
        rig.0.lock().unwrap().capacity = capacity;
        rig
    }
}

impl Sink for Rig {
    fn set_aside(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let mut device = self.0.lock().unwrap();
        if offset + len > device.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        device.reserved = device.reserved.max(offset + len);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut device = self.0.lock().unwrap();
        let end = offset + bytes.len() as u64;
        // Half the line gets there before the device is full.
        let room = if end > device.capacity.max(device.reserved) { bytes.len() / 2 } else { bytes.len() };
        device.bytes.truncate(offset as usize);
        device.bytes.extend_from_slice(&bytes[..room]);
        if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.0.lock().unwrap().sync_fails { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        let mut device = self.0.lock().unwrap();
        if device.cut_fails {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        device.bytes.truncate(len as usize);
        Ok(())
    }

    fn note_head(&mut self, _head: &Head) -> io::Result<()> {
        Ok(())
    }

    fn has_reserve(&self) -> bool {
        true
    }
}

#[test]
fn a_full_device_refuses_acts_but_records_safety_verbs_out_of_the_reserve() {
    let rig = Rig::of(RESERVE + LINE_MAX + 2000);
    let log = rig.log();
    let mut acts = 0;
    while append(&log, Kind::Intent, None, Space::Ordinary).is_ok() {
        acts += 1;
    }
    assert!(acts > 0 && acts < 10, "{acts}");
    let full = append(&log, Kind::Intent, None, Space::Ordinary);
    assert!(matches!(full, Err(AuditError::NoSpace { .. })), "{full:?}");
    let mut safe = 0;
    while append(&log, Kind::Intent, None, Space::Reserve).is_ok() {
        safe += 1;
    }
    assert!(safe >= 100, "{safe}");
    assert!(log.why_refusing().is_none(), "space may come back");
    // What did not fit left no half line.
    let text = String::from_utf8(rig.0.lock().unwrap().bytes.clone()).unwrap();
    assert_eq!((text.lines().count() as u64, text.ends_with("}\n")), (log.head().sequence, true));
}

#[test]
fn after_a_failed_sync_nothing_is_recorded_any_more() {
    let rig = Rig::of(1 << 30);
    let log = rig.log();
    rig.0.lock().unwrap().sync_fails = true;
    assert!(matches!(append(&log, Kind::Intent, None, Space::Ordinary), Err(AuditError::Write { .. })));
    rig.0.lock().unwrap().sync_fails = false;
    let after = append(&log, Kind::Intent, None, Space::Reserve);
    assert!(matches!(after, Err(AuditError::Refusing { .. })), "{after:?}");
}

#[test]
fn half_a_line_that_cannot_be_undone_closes_the_log() {
    let rig = Rig::of(10);
    rig.0.lock().unwrap().cut_fails = true;
    let log = rig.log();
    assert!(matches!(append(&log, Kind::Intent, None, Space::Reserve), Err(AuditError::NoSpace { .. })));
    assert!(log.why_refusing().is_some());
}
