//! Options of the handshake: each is parsed from a slice whose length was checked, and answered.
//!
//! Invariants: bytes left over are an error, never ignored (ABORT excepted, as the specification asks); an error
//! leaves the negotiation as it was, except that a failed SET_META_CONTEXT selects nothing; STARTTLS leaves nothing of it but
//! the client's flags; error texts are fixed and quote nothing the client sent.

use std::sync::Arc;

use super::audience::{Channel, TlsMode};
use super::export::{Absent, Export, Exports};
use super::form::Form;
use super::handshake::{Closing, Negotiated};
use super::meta::{self, Context, Contexts, Purpose};
use super::wire::*;

/// State that options change.
#[derive(Debug)]
pub struct Negotiation<V> {
    /// The client does not want the 124 zero bytes after EXPORT_NAME.
    pub no_zeroes: bool,
    /// What protects the connection.
    pub channel: Channel,
    form: Form,
    /// The last successful SET_META_CONTEXT: valid only if the same export is chosen.
    selected: Option<(Arc<Export<V>>, Contexts)>,
}

impl<V> Default for Negotiation<V> {
    fn default() -> Negotiation<V> {
        Negotiation { no_zeroes: false, channel: Channel::default(), form: Form::Simple, selected: None }
    }
}

impl<V> Negotiation<V> {
    /// Nothing negotiated yet, on `channel`.
    pub fn over(channel: Channel) -> Negotiation<V> {
        Negotiation { channel, ..Negotiation::default() }
    }

    /// Undoes what a failed `option` replaces.
    pub fn forget(&mut self, option: u32) {
        if option == NBD_OPT_SET_META_CONTEXT {
            self.selected = None;
        }
    }

    /// Forgets every option: what was agreed on in plaintext, somebody else may have said.
    fn forget_all(&mut self) {
        let (no_zeroes, channel) = (self.no_zeroes, std::mem::take(&mut self.channel));
        *self = Negotiation { no_zeroes, channel, ..Negotiation::default() };
    }

    /// The contexts selected for `export`.
    fn contexts(&self, export: &Arc<Export<V>>) -> Contexts {
        match &self.selected {
            Some((of, contexts)) if Arc::ptr_eq(of, export) => *contexts,
            _ => Contexts::default(),
        }
    }

    /// Size and transmission flags of `export`, as both EXPORT_NAME and `NBD_INFO_EXPORT` tell them.
    fn put_export(&self, export: &Arc<Export<V>>, out: &mut Vec<u8>) {
        out.extend_from_slice(&export.size().to_be_bytes());
        out.extend_from_slice(&export.flags(self.form, self.contexts(export)).to_be_bytes());
    }

    fn conclude(&self, export: Arc<Export<V>>) -> Negotiated<V> {
        let contexts = self.contexts(&export);
        Negotiated { export, form: self.form, contexts }
    }
}

/// What follows from an option.
#[derive(Debug)]
pub enum Answer<V> {
    /// Wait for the next option.
    Continue,
    /// Enter transmission.
    Transmit(Negotiated<V>),
    /// Begin TLS.
    StartTls,
    /// End the connection.
    Close(Closing),
}

/// An error reply: its type and a text for people.
#[derive(Clone, Copy, Debug)]
pub struct Reject {
    /// One of `NBD_REP_ERR_*`.
    pub kind: u32,
    /// A fixed text.
    pub text: &'static str,
}

const fn invalid(text: &'static str) -> Reject {
    Reject { kind: NBD_REP_ERR_INVALID, text }
}

/// The error for an option whose data exceed what is kept.
pub fn oversize<V>(option: u32, state: &Negotiation<V>) -> Reject {
    match option {
        NBD_OPT_STARTTLS => start_tls(&[0], state).err().unwrap_or(unsupported(option)),
        _ if state.channel == Channel::Plain(TlsMode::Required) => TLS_REQUIRED,
        NBD_OPT_LIST
        | NBD_OPT_INFO
        | NBD_OPT_GO
        | NBD_OPT_STRUCTURED_REPLY
        | NBD_OPT_EXTENDED_HEADERS
        | NBD_OPT_LIST_META_CONTEXT
        | NBD_OPT_SET_META_CONTEXT => Reject { kind: NBD_REP_ERR_TOO_BIG, text: "the option data are too long" },
        _ => unsupported(option),
    }
}

fn unsupported(option: u32) -> Reject {
    let text = match option {
        NBD_OPT_STARTTLS => "this listener does not offer TLS",
        _ => "unknown option",
    };
    Reject { kind: NBD_REP_ERR_UNSUP, text }
}

const TLS_REQUIRED: Reject = Reject { kind: NBD_REP_ERR_TLS_REQD, text: "nothing is negotiated here without TLS" };

/// Answers `option` with `data`, appending to `out`.
pub fn answer<V>(
    option: u32,
    data: &[u8],
    exports: &Exports<V>,
    state: &mut Negotiation<V>,
    out: &mut Vec<u8>,
) -> Answer<V> {
    let needs_tls = state.channel == Channel::Plain(TlsMode::Required);
    let result = match option {
        NBD_OPT_EXPORT_NAME if needs_tls => return Answer::Close(Closing::NeedsTls),
        NBD_OPT_EXPORT_NAME => return export_name(data, exports, state, out),
        NBD_OPT_ABORT => {
            ack(out, option);
            return Answer::Close(Closing::Aborted);
        }
        NBD_OPT_STARTTLS => match start_tls(data, state) {
            Ok(()) => {
                state.forget_all();
                ack(out, option);
                return Answer::StartTls;
            }
            Err(error) => Err(error),
        },
        _ if needs_tls => Err(TLS_REQUIRED),
        NBD_OPT_LIST => list(data, exports, state, out),
        NBD_OPT_INFO | NBD_OPT_GO => match info(option, data, exports, state, out) {
            Ok(export) if option == NBD_OPT_GO => {
                ack(out, option);
                return Answer::Transmit(state.conclude(export));
            }
            other => other.map(drop),
        },
        NBD_OPT_STRUCTURED_REPLY => structured_reply(data, state),
        NBD_OPT_EXTENDED_HEADERS => extended_headers(data, state),
        NBD_OPT_LIST_META_CONTEXT => meta_context(option, data, exports, state, out),
        NBD_OPT_SET_META_CONTEXT => {
            state.forget(option);
            meta_context(option, data, exports, state, out)
        }
        _ => Err(unsupported(option)),
    };
    match result {
        Ok(()) => ack(out, option),
        Err(error) => reject(out, option, error),
    }
    Answer::Continue
}

fn export_name<V>(data: &[u8], exports: &Exports<V>, state: &Negotiation<V>, out: &mut Vec<u8>) -> Answer<V> {
    if state.form == Form::Extended {
        return Answer::Close(Closing::Violation("EXPORT_NAME after EXTENDED_HEADERS"));
    }
    let name = std::str::from_utf8(data).map_err(|_| Absent::Unknown);
    let export = match name.and_then(|name| exports.find(name, &state.channel)) {
        Ok(export) => export,
        Err(Absent::Unknown) => return Answer::Close(Closing::UnknownExport),
        Err(Absent::NeedsTls) => return Answer::Close(Closing::NeedsTls),
    };
    state.put_export(&export, out);
    if !state.no_zeroes {
        out.extend_from_slice(&[0; 124]);
    }
    Answer::Transmit(state.conclude(export))
}

/// Whether STARTTLS may begin TLS.
fn start_tls<V>(data: &[u8], state: &Negotiation<V>) -> Result<(), Reject> {
    match state.channel {
        Channel::Plain(TlsMode::Off) => Err(unsupported(NBD_OPT_STARTTLS)),
        Channel::Tls(_) => Err(invalid("TLS is in use already")),
        Channel::Plain(_) if !data.is_empty() => Err(invalid("STARTTLS takes no data")),
        Channel::Plain(_) => Ok(()),
    }
}

fn list<V>(data: &[u8], exports: &Exports<V>, state: &Negotiation<V>, out: &mut Vec<u8>) -> Result<(), Reject> {
    if !data.is_empty() {
        return Err(invalid("LIST takes no data"));
    }
    for export in exports.list(&state.channel) {
        let (name, text) = (export.name().as_bytes(), export.description().as_bytes());
        header(out, NBD_OPT_LIST, NBD_REP_SERVER, 4 + name.len() + text.len());
        out.extend_from_slice(&(name.len() as u32).to_be_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(text);
    }
    Ok(())
}

fn structured_reply<V>(data: &[u8], state: &mut Negotiation<V>) -> Result<(), Reject> {
    if !data.is_empty() {
        return Err(invalid("STRUCTURED_REPLY takes no data"));
    }
    if state.form == Form::Extended {
        let text = "extended headers were negotiated and cannot be undone";
        return Err(Reject { kind: NBD_REP_ERR_EXT_HEADER_REQD, text });
    }
    state.form = Form::Structured;
    Ok(())
}

fn extended_headers<V>(data: &[u8], state: &mut Negotiation<V>) -> Result<(), Reject> {
    if !data.is_empty() {
        return Err(invalid("EXTENDED_HEADERS takes no data"));
    }
    state.form = Form::Extended;
    Ok(())
}

/// Information types a client asked for; duplicates and unknown ones fall away.
#[derive(Default)]
struct Wanted {
    name: bool,
    description: bool,
    block_size: bool,
}

fn parse_info(data: &[u8]) -> Option<(&str, Wanted)> {
    let mut reader = Reader::new(data);
    let name = reader.string()?;
    let mut wanted = Wanted::default();
    for _ in 0..reader.u16()? {
        match reader.u16()? {
            NBD_INFO_NAME => wanted.name = true,
            NBD_INFO_DESCRIPTION => wanted.description = true,
            NBD_INFO_BLOCK_SIZE => wanted.block_size = true,
            _ => {}
        }
    }
    reader.end()?;
    Some((name, wanted))
}

fn info<V>(
    option: u32,
    data: &[u8],
    exports: &Exports<V>,
    state: &Negotiation<V>,
    out: &mut Vec<u8>,
) -> Result<Arc<Export<V>>, Reject> {
    let (name, wanted) = parse_info(data).ok_or(invalid("malformed request for information"))?;
    let export = exports.find(name, &state.channel)?;

    let mut fixed = Vec::with_capacity(14);
    state.put_export(&export, &mut fixed);
    put_info(out, option, NBD_INFO_EXPORT, &fixed);
    if wanted.name {
        put_info(out, option, NBD_INFO_NAME, export.name().as_bytes());
    }
    if wanted.description && !export.description().is_empty() {
        put_info(out, option, NBD_INFO_DESCRIPTION, export.description().as_bytes());
    }
    if wanted.block_size {
        fixed.clear();
        export.block_sizes().iter().for_each(|size| fixed.extend_from_slice(&size.to_be_bytes()));
        put_info(out, option, NBD_INFO_BLOCK_SIZE, &fixed);
    }
    Ok(export)
}

impl From<Absent> for Reject {
    fn from(absent: Absent) -> Reject {
        match absent {
            Absent::Unknown => Reject { kind: NBD_REP_ERR_UNKNOWN, text: "no export of that name" },
            Absent::NeedsTls => Reject { kind: NBD_REP_ERR_TLS_REQD, text: "this export is served over TLS only" },
        }
    }
}

fn put_info(out: &mut Vec<u8>, option: u32, kind: u16, payload: &[u8]) {
    header(out, option, NBD_REP_INFO, 2 + payload.len());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(payload);
}

fn meta_context<V>(
    option: u32,
    data: &[u8],
    exports: &Exports<V>,
    state: &mut Negotiation<V>,
    out: &mut Vec<u8>,
) -> Result<(), Reject> {
    let set = option == NBD_OPT_SET_META_CONTEXT;
    if !state.form.has_chunks() {
        return Err(invalid("structured replies or extended headers must be negotiated first"));
    }
    let purpose = if set { Purpose::Set } else { Purpose::List };
    let query = meta::parse(data, purpose).ok_or(invalid("malformed metadata query"))?;
    let export = exports.find(query.export, &state.channel)?;
    for context in query.matched.iter() {
        put_context(out, option, context, if set { context.id() } else { 0 });
    }
    if set {
        state.selected = Some((export, query.matched));
    }
    Ok(())
}

fn put_context(out: &mut Vec<u8>, option: u32, context: Context, id: u32) {
    header(out, option, NBD_REP_META_CONTEXT, 4 + context.name().len());
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(context.name().as_bytes());
}

/// Says that `option` succeeded.
pub fn ack(out: &mut Vec<u8>, option: u32) {
    header(out, option, NBD_REP_ACK, 0);
}

/// Says that `option` failed.
pub fn reject(out: &mut Vec<u8>, option: u32, error: Reject) {
    header(out, option, error.kind, error.text.len());
    out.extend_from_slice(error.text.as_bytes());
}

fn header(out: &mut Vec<u8>, option: u32, kind: u32, len: usize) {
    out.extend_from_slice(&NBD_REP_MAGIC.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(len as u32).to_be_bytes());
}
