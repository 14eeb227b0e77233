//! Reaching etcd: one endpoint at a time, the next one when it fails, until a deadline.
//!
//! Invariants: a call ends by its deadline, with the fault that says most; certificates and key are read anew for every
//! connection, so that renewed ones need no restart. One connection at a time, not a balanced set: an endpoint that is down then never
//! takes calls away from those that are up.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};

use super::EtcdOptions;
use super::fault::Fault;
use crate::cluster::coordinator::CoordinatorError;

/// Longest certificate or key file, bytes.
const PEM_MAX: u64 = 256 << 10;
/// How long one endpoint may take before the next one is asked; etcd chooses a new leader of its own in about a second.
pub const ATTEMPT: Duration = Duration::from_millis(1500);
/// The first pause after all endpoints failed; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(25);
/// The longest one.
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// A connection on which nothing comes back for this long is given up.
const PING: Duration = Duration::from_secs(3);

/// Why a piece of work has not come to its end on an endpoint.
pub enum Trouble {
    /// It has: this is the answer.
    Verdict(CoordinatorError),
    /// The call failed.
    Fault(Fault),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Fault(Fault::from(&error))
    }
}

impl From<CoordinatorError> for Trouble {
    fn from(error: CoordinatorError) -> Trouble {
        Trouble::Verdict(error)
    }
}

/// The endpoints.
pub struct Reach {
    endpoints: Vec<String>,
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
    place: Mutex<Place>,
}

#[derive(Default)]
struct Place {
    /// Which endpoint is asked.
    index: usize,
    client: Option<Client>,
}

impl Reach {
    /// The endpoints, none of them asked yet; what of the files is wrong already is said.
    pub fn new(options: &EtcdOptions) -> Result<Reach, CoordinatorError> {
        let reach = Reach {
            endpoints: options.endpoints.clone(),
            certificate: options.certificate.clone(),
            key: options.key.clone(),
            authority: options.authority.clone(),
            place: Mutex::new(Place::default()),
        };
        if reach.endpoints.is_empty() {
            return Err(CoordinatorError::Other("no endpoint of it is named".into()));
        }
        reach.tls()?;
        Ok(reach)
    }

    /// How many endpoints there are.
    pub fn count(&self) -> usize {
        self.endpoints.len()
    }

    /// Which endpoint is asked now.
    pub fn index(&self) -> usize {
        self.place().index
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client of the endpoint that is asked now, and that endpoint's number.
    pub async fn client(&self) -> Result<(usize, Client), Trouble> {
        let (index, known) = {
            let place = self.place();
            (place.index, place.client.clone())
        };
        if let Some(client) = known {
            return Ok((index, client));
        }
        let options = ConnectOptions::new()
            .with_tls(self.tls()?)
            .with_connect_timeout(ATTEMPT)
            .with_keep_alive(PING, PING)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        let client = Client::connect([&self.endpoints[index]], Some(options)).await?;
        let mut place = self.place();
        if place.index == index && place.client.is_none() {
            place.client = Some(client.clone());
        }
        Ok((index, client))
    }

    /// Goes on to the next endpoint after `failed`, unless somebody has already.
    pub fn move_on(&self, failed: usize) {
        let mut place = self.place();
        if place.index == failed {
            *place = Place { index: (failed + 1) % self.endpoints.len(), client: None };
        }
    }

    /// The name of an endpoint, for messages.
    pub fn name(&self, index: usize) -> &str {
        &self.endpoints[index]
    }

    fn tls(&self) -> Result<TlsOptions, CoordinatorError> {
        let certificate = pem("certificate", &self.certificate, Others::MayRead)?;
        let key = pem("key", &self.key, Others::MayNot)?;
        let authority = pem("authority", &self.authority, Others::MayRead)?;
        Ok(TlsOptions::new()
            .ca_certificate(Certificate::from_pem(authority))
            .identity(Identity::from_pem(certificate, key)))
    }
}

/// The pause before the endpoints are asked for the `round`th time.
pub fn pause(round: u32) -> Duration {
    PAUSE_MIN.saturating_mul(1 << round.min(10)).min(PAUSE_MAX)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    MayRead,
    MayNot,
}

fn pem(what: &str, path: &Path, others: Others) -> Result<Vec<u8>, CoordinatorError> {
    let failed =
        |why: String| CoordinatorError::Certificate(format!("the {what} {} cannot be used: {why}", path.display()));
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let found = file.metadata().map_err(|error| failed(error.to_string()))?;
    let mode = found.mode() & 0o7777;
    if !found.is_file() {
        return Err(failed("it is no plain file".into()));
    }
    if others == Others::MayNot && mode & 0o077 != 0 {
        return Err(failed(format!("its mode {mode:04o} lets others than its owner at it")));
    }
    let mut bytes = Vec::new();
    file.take(PEM_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > PEM_MAX {
        return Err(failed(format!("it is longer than {PEM_MAX} bytes")));
    }
    let begins = b"-----BEGIN ";
    if !bytes.windows(begins.len()).any(|part| part == begins) {
        return Err(failed("it is not PEM".into()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!(pause(0), PAUSE_MIN);
        assert!(pause(1) > pause(0));
        assert_eq!(pause(99), PAUSE_MAX);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(pem("key", &path, Others::MayNot).is_err_and(|error| error.to_string().contains("0640")));
        assert!(pem("certificate", &path, Others::MayRead).is_ok());
        std::fs::write(&path, "something else").unwrap();
        assert!(pem("certificate", &path, Others::MayRead).is_err());
    }
}
