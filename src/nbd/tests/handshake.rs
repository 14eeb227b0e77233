//! Handshakes as a whole: limits, violations, truncation, shutdown.

use super::super::handshake::{Closing, Handshake};
use super::super::wire::*;
use super::hex;
use super::script::*;

#[test]
fn greeting_is_fixed_newstyle() {
    let mut out = Vec::new();
    Handshake::<()>::greeting(&mut out);
    assert_eq!(hex(&out), "4e42444d4147494349484156454f50540003");
}

#[test]
fn oversize_data_are_dropped_in_step() {
    let long = vec![0x49; (64 << 10) + 1];
    let script = Script::new(FIXED).option(NBD_OPT_LIST, &long).option(77, &long).option(NBD_OPT_LIST, &[]);
    let run = run(&script, &exports(&["v"]));
    assert_eq!(run.kinds(), [NBD_REP_ERR_TOO_BIG, NBD_REP_ERR_UNSUP, NBD_REP_SERVER, NBD_REP_ACK]);

    let script = Script::new(FIXED).option(NBD_OPT_EXPORT_NAME, &long);
    assert!(matches!(run_with(&script.0, 4096, &exports(&["v"]), false).end, End::Close(Closing::UnknownExport)));
    let script = Script::new(FIXED).option(NBD_OPT_ABORT, &long);
    assert!(matches!(run_with(&script.0, 4096, &exports(&["v"]), false).end, End::Close(Closing::Aborted)));
}

#[test]
fn limits_end_the_connection() {
    let mut many = Script::new(FIXED);
    for _ in 0..65 {
        many = many.option(NBD_OPT_LIST, &[]);
    }
    let ended = run(&many, &exports(&[]));
    assert_eq!(ended.kinds().len(), 64);
    assert!(matches!(ended.end, End::Close(Closing::Violation("too many options"))));

    let script = Script::new(FIXED).header(NBD_OPT_LIST, (32 << 20) + 1);
    assert!(matches!(run(&script, &exports(&[])).end, End::Close(Closing::Violation("option data too long"))));
}

#[test]
fn what_no_client_may_send_ends_the_connection() {
    let cases = [
        Script::new(FIXED | 4),
        Script::new(1 << 31),
        Script::new(NO_ZEROES).option(NBD_OPT_LIST, &[]),
        Script::new(FIXED).raw(b"IHAVEOPX\0\0\0\x01\0\0\0\0"),
        Script::new(FIXED).raw(&[0; 16]),
    ];
    for (index, script) in cases.iter().enumerate() {
        let run = run(script, &exports(&["v"]));
        assert!(matches!(run.end, End::Close(Closing::Violation(_))), "case {index}");
        assert!(run.out.is_empty(), "case {index}");
    }
}

#[test]
fn nothing_happens_before_the_last_byte() {
    let script = Script::new(FIXED).option(NBD_OPT_GO, &info_data("v", &[]));
    for len in 0..script.0.len() {
        let run = run_with(&script.0[..len], usize::MAX, &exports(&["v"]), false);
        assert!(run.out.is_empty() && matches!(run.end, End::Open), "cut at {len}");
    }
}

#[test]
fn a_stopping_server_says_so_to_every_option() {
    let script = Script::new(FIXED)
        .option(NBD_OPT_LIST, &[])
        .option(NBD_OPT_GO, &info_data("v", &[]))
        .option(99, &vec![0; 70 << 10])
        .option(NBD_OPT_ABORT, &[]);
    let stopped = run_with(&script.0, usize::MAX, &exports(&["v"]), true);
    let shutdown = NBD_REP_ERR_SHUTDOWN;
    assert_eq!(stopped.kinds(), [shutdown, shutdown, shutdown, NBD_REP_ACK]);
    let script = Script::new(FIXED).option(NBD_OPT_EXPORT_NAME, b"v");
    let stopped = run_with(&script.0, usize::MAX, &exports(&["v"]), true);
    assert!(matches!(stopped.end, End::Close(Closing::ShuttingDown)));
}
