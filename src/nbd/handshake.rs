//! The handshake as a state machine: fixed newstyle up to the moment transmission starts.
//!
//! Bytes in, bytes out; no I/O, no clock. Invariants: at most one option is answered per call of
//! [`Handshake::feed`], so that whoever drives it sends the answer before more input is looked at and a client
//! that never reads cannot make answers pile up; exactly the option's bytes are consumed whatever becomes of it,
//! so the stream stays in step and bytes after the last option belong to transmission, or, after STARTTLS, to TLS.

use std::sync::Arc;

use super::audience::{Channel, TlsMode};
use super::export::{Export, Exports};
use super::form::Form;
use super::meta::Contexts;
use super::options::{self, Answer, Negotiation, Reject};
use super::tls::Names;
use super::wire::*;

/// Bounds on what a handshake may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Option data kept and understood, bytes; longer data are dropped as they arrive.
    pub option_data: u32,
    /// Option data dropped that way, bytes; a longer claim ends the connection.
    pub option_skip: u32,
    /// Options per connection; one more ends it.
    pub options: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { option_data: 64 << 10, option_skip: 32 << 20, options: 64 }
    }
}

/// What a finished handshake agreed on.
#[derive(Debug)]
pub struct Negotiated<V> {
    /// The export to serve.
    pub export: Arc<Export<V>>,
    /// The form of requests and replies.
    pub form: Form,
    /// Contexts that block status reports.
    pub contexts: Contexts,
}

/// Why a handshake ends without transmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The client asked for it (ABORT).
    Aborted,
    /// The client broke the protocol, or a limit on it.
    Violation(&'static str),
    /// EXPORT_NAME, which cannot report errors, named no export.
    UnknownExport,
    /// EXPORT_NAME where TLS has to come first.
    NeedsTls,
    /// The server is shutting down, and the option cannot say so.
    ShuttingDown,
}

/// The outcome of feeding bytes. Whatever was appended to the output is to be sent in every case.
#[derive(Debug)]
pub enum Step<V> {
    /// All input is consumed; more is needed.
    More,
    /// An option was answered: send the answer, then feed the rest of the input.
    Reply,
    /// Transmission starts behind the consumed bytes.
    Transmit(Negotiated<V>),
    /// TLS starts behind the consumed bytes, once the answer is sent; then [`Handshake::secure`] and on with options.
    StartTls,
    /// Close once the output is sent.
    Close(Closing),
}

#[derive(Clone, Copy, Debug)]
enum State {
    ClientFlags,
    OptionHeader,
    OptionData { option: u32, len: usize },
    Skip { option: u32, left: usize },
    Over,
}

/// One connection's handshake.
#[derive(Debug)]
pub struct Handshake<V> {
    limits: Limits,
    state: State,
    /// Bytes of the message being received, at most `limits.option_data`.
    partial: Vec<u8>,
    options: u32,
    fixed: bool,
    negotiation: Negotiation<V>,
}

impl<V> Handshake<V> {
    /// A handshake whose greeting is still to be sent, on a listener that treats TLS so.
    pub fn new(limits: Limits, tls: TlsMode) -> Handshake<V> {
        Handshake {
            limits,
            state: State::ClientFlags,
            partial: Vec::new(),
            options: 0,
            fixed: false,
            negotiation: Negotiation::over(Channel::Plain(tls)),
        }
    }

    /// From here on options come over TLS, from a client of these names.
    pub fn secure(&mut self, names: Names) {
        self.negotiation.channel = Channel::Tls(names);
    }

    /// What the server says first.
    pub fn greeting(out: &mut Vec<u8>) {
        out.extend_from_slice(&NBDMAGIC.to_be_bytes());
        out.extend_from_slice(&IHAVEOPT.to_be_bytes());
        out.extend_from_slice(&(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES).to_be_bytes());
    }

    /// Consumes input up to the end of one option; returns how many bytes and what to do.
    pub fn feed(&mut self, input: &[u8], exports: &Exports<V>, stopping: bool, out: &mut Vec<u8>) -> (usize, Step<V>) {
        let mut used = 0;
        loop {
            let input = &input[used..];
            let step = match self.state {
                State::Over => {
                    return (used, Step::Close(Closing::Violation("input after the end")));
                }
                State::Skip { option, left } => {
                    let now = left.min(input.len());
                    used += now;
                    self.state = State::Skip { option, left: left - now };
                    (now == left).then(|| self.skipped(option, stopping, out))
                }
                _ => {
                    let wanted = self.wanted() - self.partial.len();
                    let now = wanted.min(input.len());
                    self.partial.extend_from_slice(&input[..now]);
                    used += now;
                    (now == wanted).then(|| self.message(exports, stopping, out))
                }
            };
            match step {
                None => return (used, Step::More),
                Some(Step::More) => {}
                Some(step) => return (used, step),
            }
        }
    }

    /// Length of the message being received.
    fn wanted(&self) -> usize {
        match self.state {
            State::ClientFlags => CLIENT_FLAGS_LEN,
            State::OptionHeader => OPTION_HEADER_LEN,
            State::OptionData { len, .. } => len,
            State::Skip { .. } | State::Over => 0,
        }
    }

    /// Acts on the complete message in `partial`; [`Step::More`] means go on with the next.
    fn message(&mut self, exports: &Exports<V>, stopping: bool, out: &mut Vec<u8>) -> Step<V> {
        let partial = std::mem::take(&mut self.partial);
        let step = match self.state {
            State::ClientFlags => self.client_flags(&partial),
            State::OptionHeader => self.option_header(&partial),
            State::OptionData { option, .. } => self.option(option, &partial, exports, stopping, out),
            State::Skip { .. } | State::Over => Step::More,
        };
        self.partial = partial;
        self.partial.clear();
        step
    }

    fn client_flags(&mut self, bytes: &[u8]) -> Step<V> {
        let known = NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES;
        match Reader::new(bytes).u32() {
            Some(flags) if flags & !known == 0 => {
                self.fixed = flags & NBD_FLAG_C_FIXED_NEWSTYLE != 0;
                self.negotiation.no_zeroes = flags & NBD_FLAG_C_NO_ZEROES != 0;
                self.state = State::OptionHeader;
                Step::More
            }
            _ => self.close(Closing::Violation("unknown client flags")),
        }
    }

    fn option_header(&mut self, bytes: &[u8]) -> Step<V> {
        let mut reader = Reader::new(bytes);
        let (magic, option, len) = (reader.u64(), reader.u32(), reader.u32());
        let (Some(IHAVEOPT), Some(option), Some(len)) = (magic, option, len) else {
            return self.close(Closing::Violation("wrong option magic"));
        };
        self.options += 1;
        if self.options > self.limits.options {
            return self.close(Closing::Violation("too many options"));
        }
        if !self.fixed && option != NBD_OPT_EXPORT_NAME {
            return self.close(Closing::Violation("option without fixed newstyle"));
        }
        if len > self.limits.option_skip {
            return self.close(Closing::Violation("option data too long"));
        }
        self.state = if len > self.limits.option_data {
            State::Skip { option, left: len as usize }
        } else {
            State::OptionData { option, len: len as usize }
        };
        Step::More
    }

    fn option(&mut self, option: u32, data: &[u8], exports: &Exports<V>, stopping: bool, out: &mut Vec<u8>) -> Step<V> {
        if stopping && option != NBD_OPT_ABORT {
            return self.refuse_stopping(option, out);
        }
        self.state = State::OptionHeader;
        match options::answer(option, data, exports, &mut self.negotiation, out) {
            Answer::Continue => Step::Reply,
            Answer::StartTls => Step::StartTls,
            Answer::Close(closing) => self.close(closing),
            Answer::Transmit(negotiated) => {
                self.state = State::Over;
                Step::Transmit(negotiated)
            }
        }
    }

    /// Answers an option whose data were too long to keep and are now dropped.
    fn skipped(&mut self, option: u32, stopping: bool, out: &mut Vec<u8>) -> Step<V> {
        if stopping && option != NBD_OPT_ABORT {
            return self.refuse_stopping(option, out);
        }
        self.state = State::OptionHeader;
        match option {
            NBD_OPT_EXPORT_NAME => self.close(Closing::UnknownExport),
            NBD_OPT_ABORT => {
                options::ack(out, option);
                self.close(Closing::Aborted)
            }
            _ => {
                self.negotiation.forget(option);
                options::reject(out, option, options::oversize(option, &self.negotiation));
                Step::Reply
            }
        }
    }

    fn refuse_stopping(&mut self, option: u32, out: &mut Vec<u8>) -> Step<V> {
        self.state = State::OptionHeader;
        if option == NBD_OPT_EXPORT_NAME {
            return self.close(Closing::ShuttingDown);
        }
        options::reject(out, option, Reject { kind: NBD_REP_ERR_SHUTDOWN, text: "the server is shutting down" });
        Step::Reply
    }

    fn close(&mut self, closing: Closing) -> Step<V> {
        self.state = State::Over;
        Step::Close(closing)
    }
}
