//! Who may see an export: everybody, everybody over TLS, or certain clients over TLS.
//!
//! Invariants: whoever may not see an export is answered as if it did not exist; an allow list implies TLS; on a listener
//! without TLS nothing ever asks for TLS, so what needs it does not exist there.

use std::fmt;

use super::tls::Names;

/// How a listener treats TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// There is none.
    #[default]
    Off,
    /// The client decides, except for exports that are served over TLS alone.
    Allowed,
    /// Nothing is negotiated without it.
    Required,
}

impl TlsMode {
    /// Whether clients can have it.
    pub fn is_offered(self) -> bool {
        self != TlsMode::Off
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsMode::Off => "off",
            TlsMode::Allowed => "allowed",
            TlsMode::Required => "required",
        })
    }
}

/// What a connection is, as far as exports depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Plaintext, on a listener that treats TLS so.
    Plain(TlsMode),
    /// TLS, with the names of the client's certificate; none if it had to show none.
    Tls(Names),
}

impl Default for Channel {
    fn default() -> Channel {
        Channel::Plain(TlsMode::Off)
    }
}

/// Who may see an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// Everybody.
    #[default]
    Everybody,
    /// Everybody over TLS.
    Tls,
    /// Over TLS, those whose certificate bears one of these names.
    Named(Vec<String>),
}

/// How an export looks from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It can be had.
    Open,
    /// It can be had once TLS is in use.
    NeedsTls,
    /// It does not exist.
    Hidden,
}

impl Audience {
    /// How an export for this audience looks from `channel`.
    pub fn sight(&self, channel: &Channel) -> Sight {
        match (self, channel) {
            (Audience::Everybody, _) | (Audience::Tls, Channel::Tls(_)) => Sight::Open,
            (_, Channel::Plain(TlsMode::Off)) => Sight::Hidden,
            (_, Channel::Plain(_)) => Sight::NeedsTls,
            (Audience::Named(list), Channel::Tls(names)) if list.iter().any(|name| names.include(name)) => Sight::Open,
            (Audience::Named(_), Channel::Tls(_)) => Sight::Hidden,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_audience_from_every_channel() {
        let anonymous = Channel::Tls(Names::default());
        let alice = Channel::Tls(Names::from_dns(&["alice.example"]));
        let plain = [TlsMode::Off, TlsMode::Allowed, TlsMode::Required].map(Channel::Plain);
        let row = |audience: &Audience| {
            let [off, allowed, required] = plain.each_ref().map(|channel| audience.sight(channel));
            [off, allowed, required, audience.sight(&anonymous), audience.sight(&alice)]
        };
        use Sight::{Hidden, NeedsTls, Open};
        assert_eq!(row(&Audience::Everybody), [Open; 5]);
        assert_eq!(row(&Audience::Tls), [Hidden, NeedsTls, NeedsTls, Open, Open]);
        let named = |name: &str| Audience::Named(vec!["bob.example".into(), name.into()]);
        assert_eq!(row(&named("ALICE.example")), [Hidden, NeedsTls, NeedsTls, Hidden, Open]);
        assert_eq!(row(&named("alice.example.org")), [Hidden, NeedsTls, NeedsTls, Hidden, Hidden]);
        assert_eq!(row(&Audience::Named(Vec::new())), [Hidden, NeedsTls, NeedsTls, Hidden, Hidden]);
    }
}
