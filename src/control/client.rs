//! The client of the control API: HTTP/1.1 over the unix socket, one connection a request, blocking.
//!
//! Invariants: it asks nothing of the daemon but the API; answers are bounded in size and time; an error of the daemon
//! comes back as the daemon worded it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::api::{
    ActionResult, ApiError, AuditPage, AuditQuery, BackupRequest, BackupResult, CheckRequest, CheckStatus,
    DaemonStatus, EscrowRequest, HolderList, HolderNamed, HolderRequest, HolderResult, InviteRequest, InviteResult,
    KeyActed, KeyList, PaceRequest, PauseRequest, PeerActed, PeerCheckRequest, PeerCheckStatus, PeerFrozen, PeerList,
    PeerStatus, ProofRequest, ProofVerdict, ReasonRequest, ResizeRequest, Resized, RewrapRequest, Rewrapped,
    RotateStart, Rotation, RotationPlan, TokenRequest, VerifyRequest, VolumeStatus, WrapAddRequest, WrapRemoveRequest,
};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a resize may take: a device that cannot free space is written with zeros.
const RESIZE_PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// How long a change of wraps may take: a keeper is asked twice for every generation, and may be slow.
const REWRAP_PATIENCE: Duration = Duration::from_secs(3600);
/// Longest answer taken, bytes.
const ANSWER_MAX: usize = 64 << 20;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error("cannot reach the daemon at {}", path.display())]
    Unreachable {
        /// Path of the socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon did not answer in time.
    #[error("the daemon at {} did not answer within {} s", path.display(), patience.as_secs())]
    Late {
        /// Path of the socket.
        path: PathBuf,
        /// How long it was waited for.
        patience: Duration,
    },
    /// What answers there does not speak the API.
    #[error("the answer of {} makes no sense: {what}", path.display())]
    Nonsense {
        /// Path of the socket.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The daemon refused or failed.
    #[error(transparent)]
    Daemon(#[from] ApiError),
}

/// A client of one daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// A client of the daemon whose control socket is at `path`. Connects only when asked something.
    pub fn new(path: &Path) -> io::Result<Client> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        Ok(Client { path: path.into(), runtime })
    }

    /// Path of the control socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The daemon and its volumes.
    pub fn status(&self) -> Result<DaemonStatus, ClientError> {
        self.get("/v1/status")
    }

    /// One volume.
    pub fn volume(&self, volume: &str) -> Result<VolumeStatus, ClientError> {
        self.get(&volume_path(volume, ""))
    }

    /// The key generations of a volume.
    pub fn keys(&self, volume: &str) -> Result<KeyList, ClientError> {
        self.get(&volume_path(volume, "/keys"))
    }

    /// A step in the life of a key: `retire`, `destroy`, … with its body.
    pub fn key_step(&self, volume: &str, step: &str, request: &impl Serialize) -> Result<KeyActed, ClientError> {
        self.post(&volume_path(volume, &format!("/keys/{step}")), request)
    }

    /// Checks a statement of retirement.
    pub fn verify_proof(&self, volume: &str, request: &ProofRequest) -> Result<ProofVerdict, ClientError> {
        self.post(&volume_path(volume, "/keys/verify-proof"), request)
    }

    /// The rotation of a volume.
    pub fn rotation(&self, volume: &str) -> Result<Rotation, ClientError> {
        self.get(&volume_path(volume, "/rotation"))
    }

    /// What a rotation would do.
    pub fn plan(&self, volume: &str, request: &RotateStart) -> Result<RotationPlan, ClientError> {
        self.post(&volume_path(volume, "/rotation/plan"), request)
    }

    /// Starts a rotation.
    pub fn start(&self, volume: &str, request: &RotateStart) -> Result<ActionResult, ClientError> {
        self.post(&volume_path(volume, "/rotation/start"), request)
    }

    /// Holds a rotation.
    pub fn pause(&self, volume: &str, request: &PauseRequest) -> Result<ActionResult, ClientError> {
        self.post(&volume_path(volume, "/rotation/pause"), request)
    }

    /// Lets a rotation go on.
    pub fn resume(&self, volume: &str, request: &PauseRequest) -> Result<ActionResult, ClientError> {
        self.post(&volume_path(volume, "/rotation/resume"), request)
    }

    /// Changes the pace of a rotation.
    pub fn pace(&self, volume: &str, request: &PaceRequest) -> Result<ActionResult, ClientError> {
        self.post(&volume_path(volume, "/rotation/pace"), request)
    }

    /// Goes back to the old generation.
    pub fn rollback(&self, volume: &str, request: &ReasonRequest) -> Result<ActionResult, ClientError> {
        self.post(&volume_path(volume, "/rotation/rollback"), request)
    }

    /// Reads moved extents back.
    pub fn verify(&self, volume: &str, request: &VerifyRequest) -> Result<ActionResult, ClientError> {
        self.post(&volume_path(volume, "/rotation/verify"), request)
    }

    /// Ends the way back.
    pub fn finalize(&self, volume: &str, request: &ReasonRequest) -> Result<ActionResult, ClientError> {
        self.post(&volume_path(volume, "/rotation/finalize"), request)
    }

    /// Makes a volume larger.
    pub fn resize(&self, volume: &str, request: &ResizeRequest) -> Result<Resized, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.nonsense(error))?;
        self.call(Method::POST, &volume_path(volume, "/resize"), body.into(), RESIZE_PATIENCE)
    }

    /// Has another KEK take over.
    pub fn rewrap(&self, volume: &str, request: &RewrapRequest) -> Result<Rewrapped, ClientError> {
        self.change_wraps(&volume_path(volume, "/keys/rewrap"), request)
    }

    /// Has another KEK open a volume, too.
    pub fn wrap_add(&self, volume: &str, request: &WrapAddRequest) -> Result<Rewrapped, ClientError> {
        self.change_wraps(&volume_path(volume, "/keys/wrap-add"), request)
    }

    /// Takes a KEK's wraps away.
    pub fn wrap_remove(&self, volume: &str, request: &WrapRemoveRequest) -> Result<Rewrapped, ClientError> {
        self.change_wraps(&volume_path(volume, "/keys/wrap-remove"), request)
    }

    fn change_wraps(&self, path: &str, request: &impl Serialize) -> Result<Rewrapped, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.nonsense(error))?;
        self.call(Method::POST, path, body.into(), REWRAP_PATIENCE)
    }

    /// Begins a check of a served volume.
    pub fn check(&self, volume: &str, request: &CheckRequest) -> Result<CheckStatus, ClientError> {
        self.post(&volume_path(volume, "/check"), request)
    }

    /// The check that runs, or the last one.
    pub fn check_status(&self, volume: &str) -> Result<CheckStatus, ClientError> {
        self.get(&volume_path(volume, "/check"))
    }

    /// What holds keys of the volume outside it.
    pub fn holders(&self, volume: &str) -> Result<HolderList, ClientError> {
        self.get(&volume_path(volume, "/holders"))
    }

    /// Enters a snapshot that the operator declares.
    pub fn add_holder(&self, volume: &str, request: &HolderRequest) -> Result<HolderResult, ClientError> {
        self.post(&volume_path(volume, "/holders"), request)
    }

    /// Notes that a holder is gone.
    pub fn release_holder(&self, volume: &str, request: &HolderNamed) -> Result<HolderResult, ClientError> {
        self.post(&volume_path(volume, "/holders/release"), request)
    }

    /// Notes that a drill has proven a holder.
    pub fn drilled_holder(&self, volume: &str, request: &HolderNamed) -> Result<HolderResult, ClientError> {
        self.post(&volume_path(volume, "/holders/drilled"), request)
    }

    /// Has the header backed up.
    pub fn back_up(&self, volume: &str, request: &BackupRequest) -> Result<BackupResult, ClientError> {
        self.post(&volume_path(volume, "/header-backup"), request)
    }

    /// Has the keys sealed to recipients.
    pub fn export_escrow(&self, volume: &str, request: &EscrowRequest) -> Result<BackupResult, ClientError> {
        self.post(&volume_path(volume, "/escrow"), request)
    }

    /// This node, its links and its replicated volumes.
    pub fn peers(&self) -> Result<PeerList, ClientError> {
        self.get("/v1/peers")
    }

    /// The replicas of a volume.
    pub fn peer_status(&self, volume: &str) -> Result<PeerStatus, ClientError> {
        self.get(&volume_path(volume, "/peers"))
    }

    /// An act on a volume's peers: `promote`, `expel`, … with its body.
    pub fn peer_act(&self, volume: &str, act: &str, request: &impl Serialize) -> Result<PeerActed, ClientError> {
        self.post(&volume_path(volume, &format!("/peers/{act}")), request)
    }

    /// Seals a volume's keys to nodes that shall make replicas.
    pub fn invite(&self, volume: &str, request: &InviteRequest) -> Result<InviteResult, ClientError> {
        self.post(&volume_path(volume, "/peers/invite"), request)
    }

    /// Begins to compare the replicas of a volume.
    pub fn peer_check(&self, volume: &str, request: &PeerCheckRequest) -> Result<PeerCheckStatus, ClientError> {
        self.post(&volume_path(volume, "/peers/check"), request)
    }

    /// The comparison that runs, or the last one.
    pub fn peer_check_status(&self, volume: &str) -> Result<PeerCheckStatus, ClientError> {
        self.get(&volume_path(volume, "/peers/check"))
    }

    /// `freeze` or `unfreeze`, with its body.
    pub fn peer_freeze(&self, act: &str, request: &impl Serialize) -> Result<PeerFrozen, ClientError> {
        self.post(&format!("/v1/peers/{act}"), request)
    }

    /// Takes back a leave to rotate.
    pub fn release_token(&self, request: &TokenRequest) -> Result<PeerActed, ClientError> {
        self.post("/v1/peers/release-token", request)
    }

    /// Records of the audit log.
    pub fn audit(&self, query: AuditQuery) -> Result<AuditPage, ClientError> {
        let mut path = String::from("/v1/audit?");
        if let Some(after) = query.after {
            path.push_str(&format!("after={after}&"));
        }
        if let Some(limit) = query.limit {
            path.push_str(&format!("limit={limit}"));
        }
        self.get(&path)
    }

    fn get<R: DeserializeOwned>(&self, path: &str) -> Result<R, ClientError> {
        self.call(Method::GET, path, Bytes::new(), PATIENCE)
    }

    fn post<R: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<R, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.nonsense(error))?;
        self.call(Method::POST, path, body.into(), PATIENCE)
    }

    fn call<R: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<R, ClientError> {
        let exchange = async { tokio::time::timeout(patience, self.exchange(method, path, body)).await };
        let late = |_| ClientError::Late { path: self.path.clone(), patience };
        let (ok, answer) = self.runtime.block_on(exchange).map_err(late)??;
        match ok {
            true => serde_json::from_slice(&answer).map_err(|error| self.nonsense(error)),
            false => Err(match serde_json::from_slice::<ApiError>(&answer) {
                Ok(error) => ClientError::Daemon(error),
                Err(error) => self.nonsense(error),
            }),
        }
    }

    /// One request and its answer: whether it succeeded, and the body.
    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<(bool, Bytes), ClientError> {
        let unreachable = |source| ClientError::Unreachable { path: self.path.clone(), source };
        let stream = UnixStream::connect(&self.path).await.map_err(unreachable)?;
        let broken = |error: hyper::Error| unreachable(io::Error::new(io::ErrorKind::ConnectionAborted, error));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.nonsense(error))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let ok = response.status().is_success();
        let body =
            Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(|error| self.nonsense(error))?;
        driver.abort();
        Ok((ok, body.to_bytes()))
    }

    fn nonsense(&self, what: impl std::fmt::Display) -> ClientError {
        ClientError::Nonsense { path: self.path.clone(), what: what.to_string() }
    }
}

/// The path of a volume, its name percent-encoded (RFC 3986), and what follows.
fn volume_path(volume: &str, rest: &str) -> String {
    let mut path = String::from("/v1/volumes/");
    for byte in volume.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path + rest
}

#[cfg(test)]
mod tests {
    use super::volume_path;

    #[test]
    fn names_are_percent_encoded() {
        assert_eq!(volume_path("disk0", "/keys"), "/v1/volumes/disk0/keys");
        assert_eq!(volume_path("a b/é?", ""), "/v1/volumes/a%20b%2F%C3%A9%3F");
    }
}
