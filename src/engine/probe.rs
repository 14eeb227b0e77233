//! Probing: what the kernel's io_uring can do, and a refusal that names what is missing.
//!
//! Asking ([`Findings`]) and judging ([`judge`]) are apart, so that every refusal can be tested without such a kernel.

use std::fs;
use std::io;

use io_uring::{IoUring, Parameters, Probe, opcode};

use super::EngineError;

/// Operations the ring engine cannot do without, by their names in the kernel's header.
const REQUIRED: [(u8, &str); 9] = [
    (opcode::Read::CODE, "IORING_OP_READ"),
    (opcode::Write::CODE, "IORING_OP_WRITE"),
    (opcode::ReadFixed::CODE, "IORING_OP_READ_FIXED"),
    (opcode::WriteFixed::CODE, "IORING_OP_WRITE_FIXED"),
    (opcode::Fsync::CODE, "IORING_OP_FSYNC"),
    (opcode::Fallocate::CODE, "IORING_OP_FALLOCATE"),
    (opcode::RecvMsg::CODE, "IORING_OP_RECVMSG"),
    (opcode::SendMsg::CODE, "IORING_OP_SENDMSG"),
    (opcode::AsyncCancel::CODE, "IORING_OP_ASYNC_CANCEL"),
];

/// What the ring can use here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// SINGLE_ISSUER and DEFER_TASKRUN: completions are worked off only when the owner waits (Linux 6.1).
    pub defer_taskrun: bool,
    /// COOP_TASKRUN: completions do not interrupt the owner (Linux 5.19).
    pub coop_taskrun: bool,
    /// What is useful but absent, each with the reason.
    pub lost: Vec<String>,
}

/// What was asked of the kernel.
pub(super) struct Findings {
    /// How setting a ring up ended: its flags and features, or the error.
    pub(super) setup: io::Result<Abilities>,
    /// sysctl kernel.io_uring_disabled (Linux 6.6), if there is one.
    pub(super) disabled: Option<u32>,
    /// Codes of the operations the kernel has.
    pub(super) ops: Vec<u8>,
}

/// Flags a ring was set up with and features the kernel states.
#[derive(Clone, Copy)]
pub(super) struct Abilities {
    pub(super) defer_taskrun: bool,
    pub(super) coop_taskrun: bool,
    /// Completions are kept when the queue is full.
    pub(super) nodrop: bool,
    /// Waiting takes a timeout.
    pub(super) ext_arg: bool,
    /// What a submission points to may change once submitted.
    pub(super) submit_stable: bool,
    /// Sockets are polled by the kernel, not by a worker thread.
    pub(super) fast_poll: bool,
}

/// Asks the kernel; the error names the missing operation, feature or the sysctl.
pub fn probe() -> Result<ProbeReport, EngineError> {
    open_ring(8).map(|(_, report)| report)
}

/// A disabled ring (see `IORING_SETUP_R_DISABLED`) that passed the probe, with as many flags as the kernel takes.
pub(super) fn open_ring(entries: u32) -> Result<(IoUring, ProbeReport), EngineError> {
    let opened = build(entries);
    let (ring, setup) = match opened {
        Ok((ring, abilities)) => (Some(ring), Ok(abilities)),
        Err(error) => (None, Err(error)),
    };
    let ops = ring.as_ref().map_or_else(Vec::new, supported);
    let report = judge(Findings { setup, disabled: sysctl(), ops })?;
    match ring {
        Some(ring) => Ok((ring, report)),
        None => Err(EngineError::RingMissing { why: "no ring", source: io::ErrorKind::Unsupported.into() }),
    }
}

/// Tries the best flags first; each kernel that lacks a flag answers EINVAL.
fn build(entries: u32) -> io::Result<(IoUring, Abilities)> {
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for (defer, coop) in [(true, false), (false, true), (false, false)] {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_cqsize(entries.saturating_mul(4)).setup_r_disabled();
        if defer {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        if coop {
            builder.setup_coop_taskrun();
        }
        if defer || coop {
            builder.setup_taskrun_flag().setup_submit_all();
        }
        match builder.build(entries) {
            Ok(ring) => {
                let abilities = abilities(ring.params(), defer, coop);
                return Ok((ring, abilities));
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

fn abilities(params: &Parameters, defer_taskrun: bool, coop_taskrun: bool) -> Abilities {
    Abilities {
        defer_taskrun,
        coop_taskrun,
        nodrop: params.is_feature_nodrop(),
        ext_arg: params.is_feature_ext_arg(),
        submit_stable: params.is_feature_submit_stable(),
        fast_poll: params.is_feature_fast_poll(),
    }
}

fn supported(ring: &IoUring) -> Vec<u8> {
    let mut probe = Probe::new();
    match ring.submitter().register_probe(&mut probe) {
        Ok(()) => REQUIRED.iter().map(|&(code, _)| code).filter(|&code| probe.is_supported(code)).collect(),
        Err(_) => Vec::new(),
    }
}

fn sysctl() -> Option<u32> {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

/// Decides from the findings alone.
pub(super) fn judge(findings: Findings) -> Result<ProbeReport, EngineError> {
    let abilities = findings.setup.map_err(|source| refusal(source, findings.disabled))?;
    let features = [
        (abilities.nodrop, "IORING_FEAT_NODROP"),
        (abilities.ext_arg, "IORING_FEAT_EXT_ARG"),
        (abilities.submit_stable, "IORING_FEAT_SUBMIT_STABLE"),
        (abilities.fast_poll, "IORING_FEAT_FAST_POLL"),
    ];
    if let Some(&(_, missing)) = features.iter().find(|(there, _)| !there) {
        return Err(EngineError::RingLacks { missing });
    }
    if let Some(&(_, missing)) = REQUIRED.iter().find(|(code, _)| !findings.ops.contains(code)) {
        return Err(EngineError::RingLacks { missing });
    }
    let mut lost = Vec::new();
    if !abilities.defer_taskrun {
        lost.push("deferred task work: the kernel is older than 6.1".to_owned());
    }
    let Abilities { defer_taskrun, coop_taskrun, .. } = abilities;
    Ok(ProbeReport { defer_taskrun, coop_taskrun, lost })
}

fn refusal(source: io::Error, disabled: Option<u32>) -> EngineError {
    match (source.raw_os_error(), disabled) {
        (Some(libc::EPERM), Some(value)) if value != 0 => EngineError::RingForbidden { value },
        (Some(libc::EPERM | libc::EACCES), _) => {
            EngineError::RingMissing { why: "a security policy forbids io_uring_setup", source }
        }
        (Some(libc::ENOSYS), _) => {
            EngineError::RingMissing { why: "the kernel has no io_uring, or a filter hides it", source }
        }
        (Some(libc::ENOMEM), _) => {
            EngineError::RingMissing { why: "not enough lockable memory (ulimit -l) for a ring", source }
        }
        _ => EngineError::RingMissing { why: "io_uring_setup failed", source },
    }
}

#[cfg(test)]
#[path = "tests/probe.rs"]
mod tests;
