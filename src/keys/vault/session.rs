//! Talking to Transit as somebody: logging in, keeping the token, logging in again.
//!
//! Invariants: a token is in locked memory and nowhere else; one login at a time; a token that a *former* call brought and
//! that is refused now is dropped and the caller told so, once: it may have run out. A token of this very call that is
//! refused means what it says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::answer::{self, Asked, Refusal};
use super::http::{self, Request, Response};
use super::uri::{Credentials, VaultUri};
use crate::crypto::Secret;
use crate::keys::error::{KeyError, KeyErrorClass};
use crate::keys::key_file::{Privacy, read_secret};
use crate::keys::net::{self, Connection, Deadline, NetError};

/// Longest token, role id or secret id, bytes.
const CREDENTIAL_MAX: usize = 4096;
const TOKEN: &str = "token file";

struct Kept {
    token: Arc<Secret>,
    /// When to log in again, well before the keeper forgets it.
    until: Option<Instant>,
}

/// A place to ask, and who asks.
pub(super) struct Session {
    pub uri: VaultUri,
    label: String,
    host: String,
    tls: Option<Arc<ClientConfig>>,
    kept: Mutex<Option<Kept>>,
}

impl Session {
    /// Reads the TLS files; asks nobody yet.
    pub(super) fn new(uri: VaultUri) -> Result<Session, KeyError> {
        let tls = uri.tls.as_ref().map(net::client).transpose()?;
        let (label, host) = (uri.label(), uri.address.to_string());
        Ok(Session { uri, label, host, tls, kept: Mutex::new(None) })
    }

    /// Asks for `path` and returns the body of the answer, which is a success.
    pub(super) fn ask(&self, asked: Asked, path: &str, body: &[&[u8]]) -> Result<Secret, KeyError> {
        let (token, is_fresh) = self.token()?;
        let response = self.exchange(path, Some(&token), body)?;
        match response.status {
            200 => Ok(response.body),
            403 if !is_fresh => {
                self.forget(&token);
                Err(KeyError::LoginExpired { kek: self.label.clone() })
            }
            status => Err(self.refused(&answer::refusal(asked, status, response.body.expose()))),
        }
    }

    /// The same for questions that nobody keeps a record of: a refused token is replaced at once.
    pub(super) fn ask_twice(&self, asked: Asked, path: &str, body: &[&[u8]]) -> Result<Secret, KeyError> {
        match self.ask(asked, path, body) {
            Err(KeyError::LoginExpired { .. }) => self.ask(asked, path, body),
            other => other,
        }
    }

    /// The answer `read` finds in the body is one, or makes no sense.
    pub(super) fn understood<T>(&self, read: Result<T, &'static str>) -> Result<T, KeyError> {
        read.map_err(|why| NetError::Nonsense(why).for_kek(&self.label))
    }

    /// The KEK as messages name it.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// A refusal of ours, in the keeper's stead.
    pub(super) fn refuse(&self, class: KeyErrorClass, reason: impl Into<String>) -> KeyError {
        KeyError::Remote { kek: self.label.clone(), class, reason: reason.into(), source: None }
    }

    fn refused(&self, refusal: &Refusal) -> KeyError {
        let (kek, class, reason) = (self.label.clone(), refusal.class, refusal.to_string());
        KeyError::Remote { kek, class, reason, source: None }
    }

    fn exchange(&self, path: &str, token: Option<&Secret>, body: &[&[u8]]) -> Result<Response, KeyError> {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let (host, namespace) = (self.host.as_str(), self.uri.namespace.as_deref());
        let request = Request { method, path, host, token, namespace, body };
        let deadline = Deadline::after(self.uri.timeout);
        Connection::open(&self.uri.address, self.tls.as_ref(), deadline)
            .and_then(|mut connection| http::exchange(&mut connection, &request))
            .map_err(|error| error.for_kek(&self.label))
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, token: &Arc<Secret>) {
        let mut kept = self.kept();
        if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.token, token)) {
            *kept = None;
        }
    }

    /// The token to ask with, and whether this call brought it.
    fn token(&self) -> Result<(Arc<Secret>, bool), KeyError> {
        if let Credentials::TokenFile(path) = &self.uri.credentials {
            let token = answer::token(read_line(TOKEN, path)?.expose());
            let malformed = KeyError::Malformed { what: TOKEN, path: path.clone(), reason: "it holds no token" };
            return Ok((Arc::new(token.ok_or(malformed)?), true));
        }
        let mut kept = self.kept();
        match &*kept {
            Some(kept) if kept.until.is_none_or(|until| Instant::now() < until) => Ok((Arc::clone(&kept.token), false)),
            _ => {
                let asked = Instant::now();
                let login = self.log_in()?;
                let until = login.lease.map(|lease| asked + lease.mul_f64(2.0 / 3.0).min(FOR_EVER));
                let token = Arc::new(login.token);
                *kept = Some(Kept { token: Arc::clone(&token), until });
                Ok((token, true))
            }
        }
    }

    fn log_in(&self) -> Result<answer::Login, KeyError> {
        let (method, pieces) = match &self.uri.credentials {
            Credentials::AppRole { role, secret } => {
                let [role, secret] = [identifier("role id file", role)?, identifier("secret id file", secret)?];
                let pieces: [&[u8]; 5] =
                    [b"{\"role_id\":\"", role.expose(), b"\",\"secret_id\":\"", secret.expose(), b"\"}"];
                ("approle", http::joined(&pieces))
            }
            Credentials::Certificate { role: Some(name) } => {
                ("cert", http::joined(&[b"{\"name\":\"", name.as_bytes(), b"\"}"]))
            }
            Credentials::Certificate { role: None } | Credentials::TokenFile(_) => ("cert", http::joined(&[b"{}"])),
        };
        let path = format!("auth/{}/login", self.uri.auth.as_deref().unwrap_or(method));
        let response = self.exchange(&path, None, &[pieces.expose()])?;
        match response.status {
            200 => self.understood(answer::login(response.body.expose())),
            status => Err(self.refused(&answer::refusal(Asked::Login, status, response.body.expose()))),
        }
    }
}

/// A lease longer than this is not counted down.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// The first line of a file that holds a secret.
fn read_line(what: &'static str, path: &std::path::Path) -> Result<Secret, KeyError> {
    let text = read_secret(what, path, CREDENTIAL_MAX + 2, Privacy::OfFile)?;
    let line = text.expose().split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(Secret::filled(line.len(), |bytes| bytes.copy_from_slice(line)))
}

/// A role id or secret id, which can stand in JSON as it is.
fn identifier(what: &'static str, path: &std::path::Path) -> Result<Secret, KeyError> {
    let line = read_line(what, path)?;
    let sensible = |c: &u8| c.is_ascii_graphic() && !matches!(c, b'"' | b'\\');
    match !line.is_empty() && line.len() <= CREDENTIAL_MAX && line.expose().iter().all(sensible) {
        true => Ok(line),
        false => Err(KeyError::Malformed { what, path: path.to_owned(), reason: "it holds no id" }),
    }
}
