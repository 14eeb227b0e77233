//! `rewrap`, `wrap_add` and `wrap_remove` on a running daemon: a KEK is opened, the volume's wraps change, and the operator
//! is told which line of the configuration has to change with them.

use super::{DaemonOperations, Served, failed};
use crate::cli::wraps::{Clock, rewrapped};
use crate::cli::{alarms, failure_of};
use crate::control::api::{
    AlarmKind, ApiError, ErrorKind, RewrapRequest, Rewrapped, WrapAddRequest, WrapRemoveRequest,
};
use crate::control::authorize::{Object, Verb};
use crate::keys::{self, Kek, KekUri, NewKek, PassphraseSource};
use crate::units::Generation;
use crate::volume::VolumeError;
use crate::volume::wraps::{Addition, Removal, WrapChange};

/// Another KEK takes over.
pub fn rewrap(daemon: &DaemonOperations, volume: &str, request: &RewrapRequest) -> Result<Rewrapped, ApiError> {
    let served = daemon.find(volume)?;
    let kek = open(daemon, &request.to, request.new_kek)?;
    let remove = match (&request.from, request.keep_old) {
        (_, true) => Removal::Nothing,
        (Some(kek), false) => Removal::By(kek.clone()),
        (None, false) => Removal::InUse,
    };
    let add = Some(Addition { kek: &kek, first: true });
    change(daemon, served, Verb::KeyRewrap, WrapChange { add, remove, generation: request.generation.map(Generation) })
}

/// Another KEK opens the volume, too.
pub fn add(daemon: &DaemonOperations, volume: &str, request: &WrapAddRequest) -> Result<Rewrapped, ApiError> {
    let served = daemon.find(volume)?;
    let kek = open(daemon, &request.to, request.new_kek)?;
    let (add, generation) = (Some(Addition { kek: &kek, first: false }), request.generation.map(Generation));
    change(daemon, served, Verb::KeyWrapAdd, WrapChange { add, remove: Removal::Nothing, generation })
}

/// A KEK opens the volume no more.
pub fn remove(daemon: &DaemonOperations, volume: &str, request: &WrapRemoveRequest) -> Result<Rewrapped, ApiError> {
    let served = daemon.find(volume)?;
    let (remove, generation) = (Removal::By(request.from.clone()), request.generation.map(Generation));
    change(daemon, served, Verb::KeyWrapRemove, WrapChange { add: None, remove, generation })
}

/// Opens a KEK that a request names, with this process's rights.
fn open(daemon: &DaemonOperations, text: &str, new: bool) -> Result<Kek, ApiError> {
    let key = |error| failure_of::volume_api(&VolumeError::Key(error)).at("the KEK of the request");
    let uri: KekUri = text.parse().map_err(key)?;
    let bad = |what: &str| ApiError::new(ErrorKind::BadInput, what).at(uri.to_string());
    match &uri {
        KekUri::Passphrase(PassphraseSource::Prompt) => {
            return Err(bad("passphrase: asks on a terminal, and the daemon has none").hint(
                "put the passphrase into a file and use passphrase:file=/path; or stop the daemon and use --kek",
            ));
        }
        KekUri::File(path) | KekUri::Passphrase(PassphraseSource::File(path)) if !path.is_absolute() => {
            return Err(bad("the path is not absolute, and the daemon has another directory than you"));
        }
        _ => {}
    }
    let new = if new { NewKek::IfMissing } else { NewKek::Never };
    let opened = keys::open(&uri, new).map_err(key)?;
    Ok(Kek::new(opened.keeper, Some(daemon.witness.clone())))
}

fn change(
    daemon: &DaemonOperations,
    served: &Served,
    verb: Verb,
    asked: WrapChange<'_>,
) -> Result<Rewrapped, ApiError> {
    let mut clock = Clock::start();
    let changed = served.controller.change_wraps(&asked, &mut |step| clock.step(step)).map_err(failed)?;
    let mut answer = rewrapped(&served.name, &changed, &clock);
    if !answer.changed {
        return Ok(answer);
    }
    if !alarms::has_fallback(served.controller.volume()) {
        served.alarms.clear(AlarmKind::FallbackKek);
    }
    let list: Vec<String> = answer.keks.iter().map(|kek| format!("{kek:?}")).collect();
    let was = match changed.retired.is_empty() {
        true => String::new(),
        false => format!("; {} opens it no more", changed.retired.join(", ")),
    };
    let line = format!("kek = [{}]", list.join(", "));
    let (name, place) = (&served.name, &daemon.place);
    answer.notes.push(format!("the next start needs {line} for volume {name}, to be changed in: {place}{was}"));
    let what = format!("KEK changed; the next start needs {line}{was}");
    daemon.door.note(verb, &Object::Volume(name.clone()), &what);
    Ok(answer)
}
