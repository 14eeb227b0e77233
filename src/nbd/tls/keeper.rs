//! Holds what new TLS connections use, and lets it be exchanged while others go on.
//!
//! Invariants: a connection keeps the configuration it began with; an exchange is one step, so nobody sees half of it; refused
//! handshakes are told to the log once a second at most, with how many went untold.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustls::ServerConfig;

/// Shortest time between two lines about refused handshakes.
const QUIET: Duration = Duration::from_secs(1);

/// The current configuration.
#[derive(Debug)]
pub struct Keeper {
    current: RwLock<Arc<ServerConfig>>,
    complaints: Mutex<Complaints>,
}

#[derive(Debug, Default)]
struct Complaints {
    last: Option<Instant>,
    untold: u64,
}

impl Keeper {
    /// Begins with this configuration.
    pub fn new(config: Arc<ServerConfig>) -> Keeper {
        Keeper { current: RwLock::new(config), complaints: Mutex::default() }
    }

    /// What a connection that begins now is to use.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives later connections another configuration.
    pub fn exchange(&self, config: Arc<ServerConfig>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Whether a refusal may be told now; if so, how many before it were not.
    pub fn may_tell(&self, now: Instant) -> Option<u64> {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.last.is_some_and(|last| now.saturating_duration_since(last) < QUIET) {
            complaints.untold += 1;
            return None;
        }
        complaints.last = Some(now);
        Some(std::mem::take(&mut complaints.untold))
    }
}
