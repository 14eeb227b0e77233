//! Reaching the daemon: which socket, and a client for it.

use std::path::PathBuf;

use super::args::Global;
use super::exit::Exit;
use super::failure::Failure;
use super::names::parse_control;
use crate::control::{Client, DEFAULT_SOCKET};

/// Environment variable that names the control socket where `--control` does not.
const VARIABLE: &str = "KEYMOULT_CONTROL";

/// Path of the control socket: `--control`, else the environment, else the default.
pub fn control_path(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(path) = &global.control {
        return Ok(path.clone());
    }
    match std::env::var(VARIABLE) {
        Ok(value) => {
            parse_control(&value).map_err(|what| Failure::new(Exit::Usage, what).at(format!("{VARIABLE}={value}")))
        }
        Err(_) => Ok(DEFAULT_SOCKET.into()),
    }
}

/// A client of the daemon.
pub fn client(global: &Global) -> Result<Client, Failure> {
    Client::new(&control_path(global)?).map_err(|error| Failure::from_error(Exit::Internal, &error))
}
