//! Finding and loading the library that speaks for a token.
//!
//! Invariants: a module is loaded when a KEK is opened that names it, and not before: the daemon never forks after that, as
//! PKCS#11 modules do not survive a fork; each is loaded and initialised once in a process and stays until it ends; none is
//! loaded that others than root and the running user could change, because it runs with our memory around it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};

use super::error::TokenProblem;
use super::uri::ModuleName;
use crate::keys::error::KeyError;

/// Where distributions put PKCS#11 modules.
const PLACES: &[&str] = &[
    "/usr/lib/pkcs11",
    "/usr/lib64/pkcs11",
    "/usr/lib/x86_64-linux-gnu/pkcs11",
    "/usr/lib/aarch64-linux-gnu/pkcs11",
    "/usr/lib/softhsm",
    "/usr/local/lib/pkcs11",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
];

static LOADED: Mutex<Vec<(PathBuf, Pkcs11)>> = Mutex::new(Vec::new());

/// The module of that name for the KEK `kek`, loaded and initialised, and its path.
pub(super) fn load(name: &ModuleName, kek: &str) -> Result<(PathBuf, Pkcs11), KeyError> {
    let path = find(name).map_err(|problem| problem.about(kek, None))?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, module)) = loaded.iter().find(|(known, _)| *known == path) {
        return Ok((path, module.clone()));
    }
    check_closed(&path).map_err(|problem| problem.about(kek, None))?;
    let unfit = |error| TokenProblem::ModuleUnfit { path: path.clone() }.about(kek, Some(error));
    let module = Pkcs11::new(&path).map_err(unfit)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, Function::Initialize)) => {}
        Err(error) => return Err(unfit(error)),
    }
    loaded.push((path.clone(), module.clone()));
    Ok((path, module))
}

/// The real path of a module.
fn find(name: &ModuleName) -> Result<PathBuf, TokenProblem> {
    let missing = |name: String| TokenProblem::NoModule { name };
    match name {
        ModuleName::Path(path) => fs::canonicalize(path).map_err(|_| missing(path.display().to_string())),
        ModuleName::Name(name) => PLACES
            .iter()
            .flat_map(|place| [format!("{place}/{name}.so"), format!("{place}/lib{name}.so")])
            .find_map(|path| fs::canonicalize(path).ok())
            .ok_or_else(|| missing(name.clone())),
    }
}

fn check_closed(path: &Path) -> Result<(), TokenProblem> {
    let metadata = fs::metadata(path).map_err(|_| TokenProblem::NoModule { name: path.display().to_string() })?;
    let owner = metadata.uid();
    let trusted = owner == 0 || owner == nix::unistd::geteuid().as_raw();
    if !trusted || metadata.mode() & 0o022 != 0 {
        return Err(TokenProblem::ModuleExposed { path: path.to_owned() });
    }
    Ok(())
}
