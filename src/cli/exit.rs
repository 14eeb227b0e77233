//! Exit codes: the whole list, and the text of `keymoult help exit-codes`.
//!
//! Invariants: a code never changes its meaning; the codes of API errors agree with
//! [`crate::control::api::ErrorKind::code`] (a test holds them together).

use crate::control::api::ErrorKind;

macro_rules! exits {
    ($($name:ident = $code:literal, $word:literal, $text:literal;)*) => {
        /// How a command ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Exit { $(#[doc = $text] $name,)* }

        impl Exit {
            /// Every code.
            pub const ALL: &'static [Exit] = &[$(Exit::$name,)*];

            /// The number the process ends with.
            pub const fn code(self) -> u8 {
                match self { $(Exit::$name => $code,)* }
            }

            /// The word for it in JSON.
            pub const fn word(self) -> &'static str {
                match self { $(Exit::$name => $word,)* }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Exit::$name => $text,)* }
            }
        }
    };
}

exits! {
    Ok = 0, "ok", "done";
    Internal = 1, "internal", "a fault of keymoult itself; please report it";
    Usage = 2, "usage", "the command line cannot be read";
    BadInput = 3, "bad-input", "bad input: a value, a configuration or a file that will not do, or no such thing";
    WrongKey = 4, "wrong-key", "no given key opens the volume, or its keeper does not give it";
    Damaged = 5, "damaged", "on-disk structures or a log are damaged or fail authentication";
    InUse = 6, "in-use", "the volume, socket, port or log is in use by someone else";
    Io = 7, "io", "a device failed or is full";
    Refused = 8, "refused", "refused by the state, by policy, or because it cannot be recorded";
    Unreachable = 9, "unreachable", "the daemon, or the keeper of a KEK, does not answer or is not ready";
    NotReached = 10, "not-reached", "what was waited for did not come to pass";
    Unsupported = 11, "unsupported", "this build or this machine cannot do it";
}

impl Exit {
    /// The code of an API error.
    pub const fn of(kind: ErrorKind) -> Exit {
        match kind {
            ErrorKind::Internal => Exit::Internal,
            ErrorKind::BadInput | ErrorKind::NotFound => Exit::BadInput,
            ErrorKind::WrongKey => Exit::WrongKey,
            ErrorKind::Damaged => Exit::Damaged,
            ErrorKind::InUse => Exit::InUse,
            ErrorKind::Io | ErrorKind::NoSpace => Exit::Io,
            ErrorKind::State | ErrorKind::Denied | ErrorKind::AuditRefused => Exit::Refused,
            ErrorKind::Unavailable => Exit::Unreachable,
            ErrorKind::Unsupported => Exit::Unsupported,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_agree_with_the_api_and_are_distinct() {
        for kind in ErrorKind::ALL {
            assert_eq!(Exit::of(kind).code(), kind.code(), "{kind:?}");
        }
        for (index, exit) in Exit::ALL.iter().enumerate() {
            assert_eq!(usize::from(exit.code()), index);
        }
    }
}
