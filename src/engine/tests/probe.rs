//! Refusals, each from findings such a kernel would give.

use super::*;

fn good() -> Findings {
    let abilities = Abilities {
        defer_taskrun: true,
        coop_taskrun: false,
        nodrop: true,
        ext_arg: true,
        submit_stable: true,
        fast_poll: true,
    };
    Findings { setup: Ok(abilities), disabled: Some(0), ops: REQUIRED.iter().map(|&(code, _)| code).collect() }
}

fn refused(errno: i32, disabled: Option<u32>) -> String {
    judge(Findings { setup: Err(io::Error::from_raw_os_error(errno)), disabled, ops: Vec::new() })
        .unwrap_err()
        .to_string()
}

#[test]
fn a_good_kernel_passes() {
    assert_eq!(judge(good()).unwrap(), ProbeReport { defer_taskrun: true, coop_taskrun: false, lost: Vec::new() });
}

#[test]
fn every_missing_operation_is_named() {
    for (code, name) in REQUIRED {
        let mut findings = good();
        findings.ops.retain(|&op| op != code);
        assert_eq!(judge(findings).unwrap_err().to_string(), format!("io_uring lacks {name}"));
    }
}

#[test]
fn every_missing_feature_is_named() {
    type Remove = fn(&mut Abilities);
    let removals: [(Remove, &str); 4] = [
        (|have| have.nodrop = false, "IORING_FEAT_NODROP"),
        (|have| have.ext_arg = false, "IORING_FEAT_EXT_ARG"),
        (|have| have.submit_stable = false, "IORING_FEAT_SUBMIT_STABLE"),
        (|have| have.fast_poll = false, "IORING_FEAT_FAST_POLL"),
    ];
    for (remove, name) in removals {
        let mut findings = good();
        remove(findings.setup.as_mut().unwrap());
        assert_eq!(judge(findings).unwrap_err().to_string(), format!("io_uring lacks {name}"));
    }
}

#[test]
fn a_refused_setup_says_why() {
    assert_eq!(refused(libc::EPERM, Some(2)), "io_uring is forbidden: sysctl kernel.io_uring_disabled is 2");
    assert_eq!(refused(libc::EPERM, Some(1)), "io_uring is forbidden: sysctl kernel.io_uring_disabled is 1");
    assert_eq!(refused(libc::EPERM, Some(0)), "io_uring is not available: a security policy forbids io_uring_setup");
    assert_eq!(
        refused(libc::ENOSYS, None),
        "io_uring is not available: the kernel has no io_uring, or a filter hides it"
    );
    assert_eq!(
        refused(libc::ENOMEM, None),
        "io_uring is not available: not enough lockable memory (ulimit -l) for a ring"
    );
    assert_eq!(refused(libc::EMFILE, None), "io_uring is not available: io_uring_setup failed");
}

#[test]
fn an_older_kernel_loses_deferred_task_work_and_says_so() {
    let mut findings = good();
    findings.setup.as_mut().unwrap().defer_taskrun = false;
    assert_eq!(judge(findings).unwrap().lost.len(), 1);
}

#[test]
fn this_machine_answers() {
    match probe() {
        Ok(report) => assert!(!(report.defer_taskrun && report.coop_taskrun)),
        Err(error) => assert!(error.to_string().starts_with("io_uring"), "{error}"),
    }
}
