//! STARTTLS in the handshake: who may see what, in plaintext and over TLS, and what is forgotten in between.

use super::super::audience::{Audience, TlsMode};
use super::super::export::Exports;
use super::super::form::Form;
use super::super::handshake::Closing;
use super::super::wire::*;
use super::hex;
use super::script::*;

/// An export for everybody, one over TLS, one for bob.
fn mixed() -> Exports<()> {
    let exports = exports(&["open", "tls", "bobs"]);
    exports.get("tls").unwrap().set_audience(Audience::Tls);
    exports.get("bobs").unwrap().set_audience(Audience::Named(vec!["bob".into()]));
    exports
}

fn listed(run: &Run) -> Vec<String> {
    let servers = run.replies().into_iter().filter(|reply| reply.1 == NBD_REP_SERVER);
    servers.map(|(_, _, data)| Reader::new(&data).string().unwrap().to_owned()).collect()
}

#[test]
fn golden_starttls() {
    let script = Script::new(FIXED).option(NBD_OPT_STARTTLS, &[]);
    let run = run_over(TlsMode::Allowed, &[], &script, &exports(&["v"]));
    assert_eq!(hex(&run.out), "0003e889045565a9000000050000000100000000");
}

#[test]
fn starttls_with_data_or_a_second_time_is_invalid_and_the_stream_stays_in_step() {
    let long = vec![0; 70 << 10];
    let script = Script::new(FIXED)
        .option(NBD_OPT_STARTTLS, &[1])
        .option(NBD_OPT_STARTTLS, &long)
        .option(NBD_OPT_STARTTLS, &[])
        .option(NBD_OPT_STARTTLS, &[])
        .option(NBD_OPT_STARTTLS, &long)
        .option(NBD_OPT_ABORT, &[]);
    for tls in [TlsMode::Allowed, TlsMode::Required] {
        let run = run_over(tls, &[], &script, &exports(&["v"]));
        let invalid = NBD_REP_ERR_INVALID;
        assert_eq!(run.kinds(), [invalid, invalid, NBD_REP_ACK, invalid, invalid, NBD_REP_ACK], "{tls}");
    }
    let run = run(&script, &exports(&["v"]));
    assert_eq!(run.kinds()[..5], [NBD_REP_ERR_UNSUP; 5], "a listener without TLS knows no such option");
}

#[test]
fn starttls_needs_fixed_newstyle() {
    let script = Script::new(NO_ZEROES).option(NBD_OPT_STARTTLS, &[]);
    let run = run_over(TlsMode::Required, &[], &script, &exports(&["v"]));
    assert!(matches!(run.end, End::Close(Closing::Violation(_))) && run.out.is_empty());
}

#[test]
fn where_tls_is_required_nothing_else_is_answered_before_it() {
    let long = vec![0; 70 << 10];
    let options = [
        NBD_OPT_LIST,
        NBD_OPT_INFO,
        NBD_OPT_GO,
        NBD_OPT_STRUCTURED_REPLY,
        NBD_OPT_LIST_META_CONTEXT,
        NBD_OPT_SET_META_CONTEXT,
        NBD_OPT_EXTENDED_HEADERS,
        4,
        99,
    ];
    let mut script = Script::new(FIXED);
    for option in options {
        script = script.option(option, &info_data("open", &[])).option(option, &long);
    }
    let kinds = run_over(TlsMode::Required, &[], &script, &mixed()).kinds();
    assert_eq!(kinds, vec![NBD_REP_ERR_TLS_REQD; 2 * options.len()]);
    let abort = Script::new(FIXED).option(NBD_OPT_ABORT, &[]);
    assert_eq!(run_over(TlsMode::Required, &[], &abort, &mixed()).kinds(), [NBD_REP_ACK]);
    let name = Script::new(FIXED).option(NBD_OPT_EXPORT_NAME, b"open");
    let run = run_over(TlsMode::Required, &[], &name, &mixed());
    assert!(matches!(run.end, End::Close(Closing::NeedsTls)) && run.out.is_empty());
}

#[test]
fn plaintext_on_a_mixed_listener_has_the_open_exports_alone() {
    let mut script = Script::new(FIXED).option(NBD_OPT_LIST, &[]).option(NBD_OPT_STRUCTURED_REPLY, &[]);
    for name in ["tls", "bobs", "none"] {
        script = script
            .option(NBD_OPT_INFO, &info_data(name, &[]))
            .option(NBD_OPT_GO, &info_data(name, &[]))
            .option(NBD_OPT_LIST_META_CONTEXT, &query_data(name, &[]))
            .option(NBD_OPT_SET_META_CONTEXT, &query_data(name, &["base:allocation"]));
    }
    let run = run_over(TlsMode::Allowed, &[], &script, &mixed());
    assert_eq!(listed(&run), ["open"]);
    let (reqd, unknown) = (NBD_REP_ERR_TLS_REQD, NBD_REP_ERR_UNKNOWN);
    assert_eq!(run.kinds()[3..], [[reqd; 4], [reqd; 4], [unknown; 4]].concat());
    // On a listener without TLS, asking for it would help nobody.
    let run = run_over(TlsMode::Off, &[], &script, &mixed());
    assert_eq!(listed(&run), ["open"]);
    assert_eq!(run.kinds()[3..], [unknown; 12]);
    for (tls, closing) in [(TlsMode::Allowed, Closing::NeedsTls), (TlsMode::Off, Closing::UnknownExport)] {
        let run = run_over(tls, &[], &Script::new(FIXED).option(NBD_OPT_EXPORT_NAME, b"tls"), &mixed());
        assert!(matches!(run.end, End::Close(found) if found == closing), "{tls}");
    }
    let open = Script::new(FIXED).option(NBD_OPT_GO, &info_data("open", &[]));
    assert_eq!(run_over(TlsMode::Allowed, &[], &open, &mixed()).transmit().0.export.name(), "open");
}

#[test]
fn over_tls_everybody_sees_what_is_theirs() {
    let script = Script::new(FIXED)
        .option(NBD_OPT_STARTTLS, &[])
        .option(NBD_OPT_LIST, &[])
        .option(NBD_OPT_GO, &info_data("bobs", &[]));
    for tls in [TlsMode::Allowed, TlsMode::Required] {
        let stranger = run_over(tls, &["alice", "bobby"], &script, &mixed());
        assert_eq!(listed(&stranger), ["open", "tls"]);
        let last = stranger.replies().pop().unwrap();
        let nobody = Script::new(FIXED).option(NBD_OPT_STARTTLS, &[]).option(NBD_OPT_GO, &info_data("none", &[]));
        let nothing = run_over(tls, &["alice"], &nobody, &mixed()).replies().pop().unwrap();
        assert_eq!(last, nothing, "as if there were no such export");
        let bob = run_over(tls, &["alice", "Bob"], &script, &mixed());
        assert_eq!(listed(&bob), ["bobs", "open", "tls"]);
        assert_eq!(bob.transmit().0.export.name(), "bobs");
    }
}

#[test]
fn what_was_agreed_on_in_plaintext_is_forgotten() {
    let before = Script::new(FIXED | NO_ZEROES)
        .option(NBD_OPT_STRUCTURED_REPLY, &[])
        .option(NBD_OPT_SET_META_CONTEXT, &query_data("open", &["base:allocation"]))
        .option(NBD_OPT_EXTENDED_HEADERS, &[]);
    let go =
        |script: Script| run_over(TlsMode::Allowed, &[], &script.option(NBD_OPT_GO, &info_data("open", &[])), &mixed());
    let (kept, _) = go(before.clone()).transmit();
    assert_eq!((kept.form, kept.contexts.is_empty()), (Form::Extended, false));
    let (fresh, _) = go(before.clone().option(NBD_OPT_STARTTLS, &[])).transmit();
    assert_eq!((fresh.form, fresh.contexts.is_empty()), (Form::Simple, true));
    // A refused STARTTLS forgets nothing.
    let (kept, _) = go(before.option(NBD_OPT_STARTTLS, &[1])).transmit();
    assert_eq!(kept.form, Form::Extended);
}

#[test]
fn a_change_of_audience_holds_for_the_next_option() {
    let exports = exports(&["v"]);
    let script = Script::new(FIXED).option(NBD_OPT_STARTTLS, &[]).option(NBD_OPT_GO, &info_data("v", &[]));
    let kinds = |names: &[&str]| run_over(TlsMode::Required, names, &script, &exports).kinds().pop().unwrap();
    assert_eq!(kinds(&[]), NBD_REP_ACK);
    exports.get("v").unwrap().set_audience(Audience::Named(vec!["bob".into()]));
    assert_eq!((kinds(&["alice"]), kinds(&["bob"])), (NBD_REP_ERR_UNKNOWN, NBD_REP_ACK));
    exports.get("v").unwrap().set_audience(Audience::Everybody);
    assert_eq!(kinds(&["alice"]), NBD_REP_ACK);
}

#[test]
fn a_stopping_server_begins_no_tls() {
    let script = Script::new(FIXED).option(NBD_OPT_STARTTLS, &[]);
    let run = run_tls(&script.0, usize::MAX, &exports(&["v"]), true, (TlsMode::Required, &[]));
    assert_eq!(run.kinds(), [NBD_REP_ERR_SHUTDOWN]);
}
