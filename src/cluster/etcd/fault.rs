//! What a failed call means: which of the classes of [`CoordinatorError`], told by gRPC's code, etcd's own words and, for TLS, by
//! what rustls says.

use std::error::Error as _;

use etcd_client::Error;

use crate::cluster::coordinator::CoordinatorError;

/// What a failed call means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The endpoint cannot be reached.
    Unreachable(String),
    /// It answers, and etcd cannot decide.
    NoQuorum(String),
    /// It knows this node and does not let it.
    Denied(String),
    /// One does not accept the other's certificate.
    Certificate(String),
    /// The lease this node had is gone.
    LeaseLost,
    /// Something else.
    Other(String),
}

// gRPC's codes (google/rpc/code.proto).
const UNKNOWN: i32 = 2;
const DEADLINE: i32 = 4;
const PERMISSION: i32 = 7;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;
const CANCELLED: i32 = 1;

/// What etcd says when it has nobody to decide (`etcdserver/api/v3rpc/rpctypes/error.go`).
const UNDECIDED: &[&str] = &["no leader", "leader changed", "request timed out", "too many requests", "not capable"];
/// What it says to somebody whose name gets him nothing.
const UNKNOWN_USER: &[&str] = &["user name is empty", "user name not found", "authentication failed", "invalid auth"];

impl From<&Error> for Fault {
    fn from(error: &Error) -> Fault {
        match error {
            Error::GRpcStatus(status) => {
                let mut words = status.message().to_owned();
                let mut certificate = None;
                let mut source = status.source();
                while let Some(inner) = source {
                    let text = inner.to_string();
                    certificate = certificate.or_else(|| is_trust(inner).then(|| text.clone()));
                    if !words.contains(&text) {
                        words = format!("{words}: {text}");
                    }
                    source = inner.source();
                }
                match certificate {
                    Some(words) => Fault::Certificate(words),
                    None => of_status(status.code() as i32, words),
                }
            }
            Error::LeaseKeepAliveError(_) => Fault::LeaseLost,
            Error::IoError(_) | Error::TransportError(_) | Error::EndpointError(_) | Error::WatchError(_) => {
                Fault::Unreachable(error.to_string())
            }
            _ => Fault::Other(error.to_string()),
        }
    }
}

/// What rustls says when the other side has refused; HTTP/2 passes on its words alone.
const ALERT: &str = "received fatal alert";

/// Whether an error is about who is trusted. The other side's refusal comes as an alert, after the handshake in TLS 1.3; sometimes the
/// connection breaks before it is read, and only the next attempt tells.
fn is_trust(error: &(dyn std::error::Error + 'static)) -> bool {
    if error.to_string().starts_with(ALERT) {
        return true;
    }
    let tls = error.downcast_ref::<rustls::Error>().or_else(|| {
        let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
        inner.downcast_ref::<rustls::Error>()
    });
    matches!(
        tls,
        Some(
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::InvalidCertRevocationList(_)
        )
    )
}

fn of_status(code: i32, words: String) -> Fault {
    let says = |any: &[&str]| any.iter().any(|part| words.contains(part));
    match code {
        _ if words.contains("requested lease not found") => Fault::LeaseLost,
        PERMISSION | UNAUTHENTICATED => Fault::Denied(words),
        _ if says(UNKNOWN_USER) => Fault::Denied(words),
        _ if words.contains("etcdserver") && says(UNDECIDED) => Fault::NoQuorum(words),
        UNAVAILABLE | DEADLINE | CANCELLED | UNKNOWN => Fault::Unreachable(words),
        _ => Fault::Other(words),
    }
}

impl Fault {
    /// Says at which endpoint it was.
    pub fn at(self, endpoint: &str) -> Fault {
        let named = |words: String| format!("{endpoint}: {words}");
        match self {
            Fault::Unreachable(words) => Fault::Unreachable(named(words)),
            Fault::NoQuorum(words) => Fault::NoQuorum(named(words)),
            Fault::Denied(words) => Fault::Denied(named(words)),
            Fault::Certificate(words) => Fault::Certificate(named(words)),
            Fault::LeaseLost => Fault::LeaseLost,
            Fault::Other(words) => Fault::Other(named(words)),
        }
    }

    /// Whether another endpoint, or the same one a little later, may do better.
    pub fn is_passing(&self) -> bool {
        !matches!(self, Fault::Denied(_) | Fault::Other(_))
    }

    /// The one that says more of two endpoints' faults: one that answers knows more than one that does not; else the first.
    pub fn more_telling(self, than: Option<Fault>) -> Fault {
        let rank = |fault: &Fault| match fault {
            Fault::Unreachable(_) | Fault::LeaseLost => 0,
            Fault::Certificate(_) => 1,
            Fault::NoQuorum(_) => 2,
            Fault::Denied(_) | Fault::Other(_) => 3,
        };
        match than {
            Some(other) if rank(&other) >= rank(&self) => other,
            _ => self,
        }
    }
}

impl From<Fault> for CoordinatorError {
    fn from(fault: Fault) -> CoordinatorError {
        match fault {
            Fault::Unreachable(words) => CoordinatorError::Unreachable(words),
            Fault::NoQuorum(words) => CoordinatorError::NoQuorum(words),
            Fault::Denied(words) => CoordinatorError::Denied(words),
            Fault::Certificate(words) => CoordinatorError::Certificate(words),
            Fault::LeaseLost => CoordinatorError::NotLead { lead: None },
            Fault::Other(words) => CoordinatorError::Other(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_words_have_their_class() {
        let of = |code, words: &str| of_status(code, words.to_owned());
        assert!(matches!(of(UNAVAILABLE, "etcdserver: no leader"), Fault::NoQuorum(_)));
        assert!(matches!(
            of(UNAVAILABLE, "etcdserver: request timed out, possibly due to previous leader failure"),
            Fault::NoQuorum(_)
        ));
        assert!(matches!(of(UNAVAILABLE, "tcp connect error"), Fault::Unreachable(_)));
        assert!(matches!(of(PERMISSION, "etcdserver: permission denied"), Fault::Denied(_)));
        assert!(matches!(of(3, "etcdserver: user name is empty"), Fault::Denied(_)));
        assert!(matches!(of(5, "etcdserver: requested lease not found"), Fault::LeaseLost));
        assert!(matches!(of(8, "etcdserver: mvcc: database space exceeded"), Fault::Other(_)));
    }

    #[test]
    fn an_endpoint_that_answers_tells_more() {
        let (away, undecided) = (Fault::Unreachable("refused".into()), Fault::NoQuorum("no leader".into()));
        assert_eq!(away.clone().more_telling(Some(undecided.clone())), undecided);
        assert_eq!(undecided.clone().more_telling(Some(away.clone())), undecided);
        assert_eq!(Fault::Unreachable("no answer in time".into()).more_telling(Some(away.clone())), away);
    }
}
