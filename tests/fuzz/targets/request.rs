//! Request headers under any terms: 32 bytes, of which a compact header is the first 28, then form, size and flags of the
//! export, then a payload. Promises: a request that is admitted lies inside the export, is not empty, does not write to a
//! read-only export and carries no more payload than a buffer holds; one that is refused says exactly how many bytes
//! follow it; only an extended block status is asked for a payload, and a short one.

use keymoult::limits::NBD_PAYLOAD_MAX;
use keymoult::nbd::form::Form;
use keymoult::nbd::meta::{Context, Contexts};
use keymoult::nbd::request::{Command, Header, PAYLOAD_SKIP_MAX, Terms, Verdict, judge, judge_query};
use keymoult::nbd::wire::{
    EXTENDED_REQUEST_LEN, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_WRITE, NBD_EXTENDED_REQUEST_MAGIC,
    NBD_REQUEST_MAGIC,
};

use crate::support::input::Input;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut head = [0; EXTENDED_REQUEST_LEN];
    let given = input.bytes(EXTENDED_REQUEST_LEN);
    head[..given.len()].copy_from_slice(given);
    let (flags, size) = (input.u8(), input.u64());
    let terms = Terms {
        size,
        read_only: flags & 1 != 0,
        form: [Form::Simple, Form::Structured, Form::Extended][usize::from(flags >> 1 & 3) % 3],
        contexts: contexts(flags >> 4),
        fast_zero: flags & 8 != 0,
    };
    assert_eq!(parse(&head, terms.form).is_some(), head.starts_with(&magic(terms.form)));
    head[..4].copy_from_slice(&magic(terms.form));
    let header = parse(&head, terms.form).unwrap();
    let says_so = terms.form == Form::Extended && header.flags & NBD_CMD_FLAG_PAYLOAD_LEN != 0;
    let has_payload = says_so || header.command == NBD_CMD_WRITE;
    assert_eq!(header.payload, if has_payload { header.length } else { 0 });
    match judge(&header, &terms) {
        Verdict::Query(len) => {
            assert!(terms.form == Form::Extended && header.command == NBD_CMD_BLOCK_STATUS && len <= 16);
            assert_eq!(len as u64, header.payload);
            let asked = judge_query(&header, input.bytes(len), &terms);
            assert!(!matches!(asked, Verdict::Query(_) | Verdict::Hangup | Verdict::Nothing));
            judged(asked, &Header { payload: 0, ..header }, &terms);
        }
        verdict => judged(verdict, &header, &terms),
    }
}

fn contexts(bits: u8) -> Contexts {
    let mut contexts = Contexts::default();
    let chosen = Context::ALL.into_iter().enumerate().filter(|(index, _)| bits >> index & 1 != 0);
    chosen.for_each(|(_, context)| contexts.insert(context));
    contexts
}

fn magic(form: Form) -> [u8; 4] {
    let magic = if form == Form::Extended { NBD_EXTENDED_REQUEST_MAGIC } else { NBD_REQUEST_MAGIC };
    magic.to_be_bytes()
}

fn parse(head: &[u8; EXTENDED_REQUEST_LEN], form: Form) -> Option<Header> {
    if form == Form::Extended { Header::parse_extended(head) } else { Header::parse(head.first_chunk().unwrap()) }
}

fn judged(verdict: Verdict, header: &Header, terms: &Terms) {
    match verdict {
        Verdict::Run(command) => admitted(command, terms),
        Verdict::Nothing | Verdict::Query(_) => assert_eq!(header.length, 0),
        Verdict::Refuse(refusal) => {
            assert_eq!(refusal.skip, header.payload);
            assert!(refusal.skip <= PAYLOAD_SKIP_MAX && !refusal.why.is_empty());
        }
        Verdict::Hangup => assert!(header.payload > u64::from(NBD_PAYLOAD_MAX)),
    }
}

fn admitted(command: Command, terms: &Terms) {
    let (offset, len, writes) = match command {
        Command::Read { offset, len, dont_fragment } => {
            assert!(len <= NBD_PAYLOAD_MAX && (terms.form.has_chunks() || !dont_fragment));
            (offset, u64::from(len), false)
        }
        Command::Write { offset, len, .. } => {
            assert!(len <= NBD_PAYLOAD_MAX);
            (offset, u64::from(len), true)
        }
        Command::Trim { offset, len, .. } | Command::Zeroes { offset, len, .. } => (offset, len, true),
        Command::Cache { offset, len } => (offset, len, false),
        Command::Status { offset, len, contexts, .. } => {
            assert!(terms.form.has_chunks() && !contexts.is_empty());
            assert!(contexts.iter().all(|context| terms.contexts.contains(context)));
            (offset, len, false)
        }
        Command::Flush | Command::Disconnect => return,
    };
    assert!(len > 0 && offset.checked_add(len).is_some_and(|end| end <= terms.size));
    assert!(!(writes && terms.read_only));
}
