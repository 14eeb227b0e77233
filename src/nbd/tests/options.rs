//! Transcripts of options.

use super::super::form::Form;
use super::super::handshake::Closing;
use super::super::meta::Context;
use super::super::wire::*;
use super::hex;
use super::script::*;

#[test]
fn golden_go_with_every_information() {
    let script = Script::new(FIXED | NO_ZEROES)
        .option(NBD_OPT_STRUCTURED_REPLY, &[])
        .option(NBD_OPT_GO, &info_data("v", &[NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE, 9, 1]));
    let run = run(&script, &exports(&["v"]));
    let golden = [
        "0003e889045565a90000000800000001", /* ack of STRUCTURED_REPLY */
        "00000000",
        "0003e889045565a90000000700000003",
        "0000000c",
        "0000",
        "0000000012345678",
        "0ded",
        "0003e889045565a90000000700000003",
        "00000003",
        "0001",
        "76",
        "0003e889045565a90000000700000003",
        "00000006",
        "0002",
        "74657874",
        "0003e889045565a90000000700000003",
        "0000000e",
        "0003",
        "00000001",
        "00001000",
        "02000000",
        "0003e889045565a90000000700000001",
        "00000000",
    ];
    assert_eq!(hex(&run.out), golden.concat());
    let (negotiated, left) = run.transmit();
    assert!(negotiated.form == Form::Structured && negotiated.contexts.is_empty());
    assert_eq!((negotiated.export.name(), left), ("v", 0));
}

#[test]
fn golden_export_name_with_and_without_zeroes() {
    let start = "00000000123456780d6d";
    for (flags, zeroes) in [(FIXED, 124), (FIXED | NO_ZEROES, 0), (0, 124)] {
        let script = Script::new(flags).option(NBD_OPT_EXPORT_NAME, b"v").raw(b"request");
        let run = run(&script, &exports(&["v"]));
        assert_eq!(hex(&run.out), format!("{start}{}", "00".repeat(zeroes)));
        let (negotiated, left) = run.transmit();
        assert_eq!(negotiated.form, Form::Simple);
        assert_eq!(left, 7, "what follows belongs to transmission");
    }
}

#[test]
fn export_name_of_nothing_closes() {
    let script = Script::new(FIXED).option(NBD_OPT_EXPORT_NAME, b"w");
    let run = run(&script, &exports(&["v"]));
    assert!(run.out.is_empty());
    assert!(matches!(run.end, End::Close(Closing::UnknownExport)));
}

#[test]
fn list_names_all_and_info_stays_in_haggling() {
    let script = Script::new(FIXED)
        .option(NBD_OPT_LIST, &[])
        .option(NBD_OPT_INFO, &info_data("b", &[]))
        .option(NBD_OPT_INFO, &info_data("", &[]))
        .option(NBD_OPT_GO, &info_data("zz", &[]));
    let run = run(&script, &exports(&["b", "a"]));
    let replies = run.replies();
    assert_eq!(replies[0].2, b"\0\0\0\x01atext");
    assert_eq!(replies[1].2, b"\0\0\0\x01btext");
    let kinds = [
        NBD_REP_SERVER,
        NBD_REP_SERVER,
        NBD_REP_ACK,
        NBD_REP_INFO,
        NBD_REP_ACK,
        NBD_REP_ERR_UNKNOWN,
        NBD_REP_ERR_UNKNOWN,
    ];
    assert_eq!(run.kinds(), kinds);
    assert!(matches!(run.end, End::Open));
}

#[test]
fn the_sole_export_answers_to_the_empty_name() {
    let script = Script::new(FIXED).option(NBD_OPT_GO, &info_data("", &[NBD_INFO_NAME]));
    let run = run(&script, &exports(&["v"]));
    assert_eq!(run.replies()[1].2, b"\0\x01v", "the canonical name is told");
    assert_eq!(run.transmit().0.export.name(), "v");
}

#[test]
fn abort_is_acknowledged_whatever_it_carries() {
    for data in [&b""[..], b"surplus"] {
        let run = run(&Script::new(FIXED).option(NBD_OPT_ABORT, data), &exports(&["v"]));
        assert_eq!(run.kinds(), [NBD_REP_ACK]);
        assert!(matches!(run.end, End::Close(Closing::Aborted)));
    }
}

#[test]
fn unknown_options_leave_the_stream_in_step() {
    let script = Script::new(FIXED)
        .option(4, b"PEEK_EXPORT was withdrawn")
        .option(0xdead_beef, &[0x49; 70])
        .option(NBD_OPT_STARTTLS, &[])
        .option(12, &[])
        .option(NBD_OPT_LIST, b"x")
        .option(NBD_OPT_STRUCTURED_REPLY, b"x")
        .option(NBD_OPT_EXTENDED_HEADERS, b"x")
        .option(NBD_OPT_LIST, &[]);
    let run = run(&script, &exports(&["v"]));
    let unsup = NBD_REP_ERR_UNSUP;
    let invalid = NBD_REP_ERR_INVALID;
    assert_eq!(run.kinds(), [unsup, unsup, unsup, unsup, invalid, invalid, invalid, NBD_REP_SERVER, NBD_REP_ACK]);
}

#[test]
fn malformed_info_is_invalid_at_every_length() {
    let good = info_data("vol", &[NBD_INFO_NAME, NBD_INFO_BLOCK_SIZE]);
    for len in 0..good.len() {
        let script = Script::new(FIXED).option(NBD_OPT_INFO, &good[..len]).option(NBD_OPT_LIST, &[]);
        let run = run(&script, &exports(&["vol"]));
        assert_eq!(run.kinds(), [NBD_REP_ERR_INVALID, NBD_REP_SERVER, NBD_REP_ACK], "cut at {len}");
    }
    let mut longer = good;
    longer.push(0);
    let run = run(&Script::new(FIXED).option(NBD_OPT_GO, &longer), &exports(&["vol"]));
    assert_eq!(run.kinds(), [NBD_REP_ERR_INVALID]);
}

#[test]
fn contexts_are_selected_for_the_export_chosen() {
    let names = ["base:allocation", "x-keymoult:generation", "qemu:dirty-bitmap:b"];
    let script = Script::new(FIXED)
        .option(NBD_OPT_STRUCTURED_REPLY, &[])
        .option(NBD_OPT_LIST_META_CONTEXT, &query_data("v", &["base:"]))
        .option(NBD_OPT_SET_META_CONTEXT, &query_data("v", &names));
    let replies = run(&script, &exports(&["v", "w"])).replies();
    assert_eq!(replies[1].2, b"\0\0\0\0base:allocation", "a list carries no ids");
    assert_eq!(replies[3].2, b"\0\0\0\x01base:allocation");
    assert_eq!(replies[4].2, b"\0\0\0\x02x-keymoult:generation");
    assert_eq!(replies[5].1, NBD_REP_ACK);

    let go = |name: &str| run(&script.clone().option(NBD_OPT_GO, &info_data(name, &[])), &exports(&["v", "w"]));
    let contexts: Vec<Context> = go("v").transmit().0.contexts.iter().collect();
    assert_eq!(contexts, Context::ALL);
    assert!(go("w").transmit().0.contexts.is_empty(), "they were selected for another export");
}

#[test]
fn a_failed_selection_selects_nothing() {
    let good = query_data("v", &["base:allocation"]);
    for (bad, kind) in [(query_data("u", &[]), NBD_REP_ERR_UNKNOWN), (good[..9].to_vec(), NBD_REP_ERR_INVALID)] {
        let script = Script::new(FIXED)
            .option(NBD_OPT_STRUCTURED_REPLY, &[])
            .option(NBD_OPT_SET_META_CONTEXT, &good)
            .option(NBD_OPT_SET_META_CONTEXT, &bad)
            .option(NBD_OPT_EXPORT_NAME, b"v");
        let run = run_with(&script.0, usize::MAX, &exports(&["v"]), false);
        assert_eq!(u32::from_be_bytes(run.out[20 + 20 + 19 + 20 + 12..][..4].try_into().unwrap()), kind);
        assert!(run.transmit().0.contexts.is_empty());
    }
}

#[test]
fn contexts_need_structured_replies() {
    for option in [NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT] {
        let script = Script::new(FIXED).option(option, &query_data("v", &[]));
        assert_eq!(run(&script, &exports(&["v"])).kinds(), [NBD_REP_ERR_INVALID]);
    }
}

#[test]
fn extended_headers_replace_structured_replies_and_stay() {
    let script = Script::new(FIXED)
        .option(NBD_OPT_STRUCTURED_REPLY, &[])
        .option(NBD_OPT_EXTENDED_HEADERS, &[])
        .option(NBD_OPT_EXTENDED_HEADERS, &[])
        .option(NBD_OPT_STRUCTURED_REPLY, &[])
        .option(NBD_OPT_GO, &info_data("v", &[]));
    let run = run(&script, &exports(&["v"]));
    let (ack, required) = (NBD_REP_ACK, NBD_REP_ERR_EXT_HEADER_REQD);
    assert_eq!(run.kinds(), [ack, ack, ack, required, NBD_REP_INFO, ack]);
    assert_eq!(required, 0x8000_000a);
    assert_eq!(run.transmit().0.form, Form::Extended);
}

#[test]
fn extended_headers_alone_allow_contexts_and_their_payload() {
    let start = Script::new(FIXED).option(NBD_OPT_EXTENDED_HEADERS, &[]);
    let flags = |script: &Script| {
        let run = run(&script.clone().option(NBD_OPT_INFO, &info_data("v", &[])), &exports(&["v", "w"]));
        let info = run.replies().into_iter().rfind(|reply| reply.1 == NBD_REP_INFO).unwrap().2;
        u16::from_be_bytes(info[10..].try_into().unwrap())
    };
    let selected = start.clone().option(NBD_OPT_SET_META_CONTEXT, &query_data("v", &["base:allocation"]));
    let elsewhere = start.clone().option(NBD_OPT_SET_META_CONTEXT, &query_data("w", &["base:allocation"]));
    let payload = NBD_FLAG_BLOCK_STATUS_PAYLOAD;
    assert_eq!(flags(&start) & (payload | NBD_FLAG_SEND_DF), NBD_FLAG_SEND_DF);
    assert_eq!(flags(&selected) & (payload | NBD_FLAG_SEND_DF), payload | NBD_FLAG_SEND_DF);
    assert_eq!(flags(&elsewhere) & payload, 0, "they were selected for another export");
}

#[test]
fn export_name_after_extended_headers_closes() {
    let script = Script::new(FIXED).option(NBD_OPT_EXTENDED_HEADERS, &[]).option(NBD_OPT_EXPORT_NAME, b"v");
    let run = run(&script, &exports(&["v"]));
    assert_eq!(run.kinds(), [NBD_REP_ACK]);
    assert!(matches!(run.end, End::Close(Closing::Violation(_))));
}

#[test]
fn wildcards_and_no_query_list_and_select_nothing() {
    let script = |option, queries: &[&str]| {
        let script = Script::new(FIXED).option(NBD_OPT_EXTENDED_HEADERS, &[]);
        let replies = run(&script.option(option, &query_data("v", queries)), &exports(&["v"])).replies();
        replies[1..].iter().map(|reply| String::from_utf8_lossy(&reply.2).into_owned()).collect::<Vec<_>>()
    };
    let (base, ours) = ("\0\0\0\0base:allocation", "\0\0\0\0x-keymoult:generation");
    let list = |queries: &[&str]| script(NBD_OPT_LIST_META_CONTEXT, queries);
    assert_eq!(list(&[]), [base, ours, ""]);
    assert_eq!(list(&["x-keymoult:", "base:", "base:allocation"]), [base, ours, ""]);
    assert_eq!(list(&["qemu:", "x-keymoult:"]), [ours, ""]);
    assert_eq!(list(&["qemu:"]), [""]);
    let set = |queries: &[&str]| script(NBD_OPT_SET_META_CONTEXT, queries);
    assert_eq!(set(&[]), [""]);
    assert_eq!(set(&["base:", "x-keymoult:"]), [""]);
    assert_eq!(set(&["x-keymoult:generation", "base:"]), ["\0\0\0\x02x-keymoult:generation", ""]);
}

#[test]
fn texts_never_quote_the_client() {
    let script = Script::new(FIXED).option(NBD_OPT_GO, &info_data("PLANTED", &[]));
    let run = run(&script, &exports(&["v"]));
    assert!(!String::from_utf8_lossy(&run.out).contains("PLANTED"));
}
