//! Probing: what the kernel's io_uring can do, and a refusal that names what is missing.

use super::EngineError;

/// What the ring can use here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// SINGLE_ISSUER and DEFER_TASKRUN: completions are worked off only when the owner waits.
    pub defer_taskrun: bool,
    /// Features that are useful but absent.
    pub lost: Vec<String>,
}

/// Asks the kernel; the error names the missing operation, feature or the sysctl.
pub fn probe() -> Result<ProbeReport, EngineError> {
    Err(EngineError::RingLacks {
        missing: "an implementation (first commit of the types)",
    })
}
