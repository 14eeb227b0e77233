//! TLS in the configuration: the table `[tls]`, its flags, and who may see a volume.
//!
//! Invariants: a listener offers TLS only with a certificate and its key; a volume that names clients is for TLS alone and
//! needs an authority that vouches for them; a volume that no listener could ever show is a mistake and refused.

use std::path::PathBuf;

use serde::Deserialize;

use super::VolumePlan;
use crate::cli::args::{ServeArgs, TlsChoice};
use crate::nbd::tls::Files;
use crate::nbd::{Audience, Entrance, TlsMode};

/// The table `[tls]`: the flags' names without `tls-`, and `mode` for `--tls`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FileTls {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    client_crl: Option<PathBuf>,
    mode: Option<TlsChoice>,
}

impl From<TlsChoice> for TlsMode {
    fn from(choice: TlsChoice) -> TlsMode {
        match choice {
            TlsChoice::Off => TlsMode::Off,
            TlsChoice::Allowed => TlsMode::Allowed,
            TlsChoice::Required => TlsMode::Required,
        }
    }
}

/// The files, if there are any.
pub fn files(args: &ServeArgs, file: &FileTls) -> Result<Option<Files>, String> {
    let either = |flag: &Option<PathBuf>, setting: &Option<PathBuf>| flag.clone().or_else(|| setting.clone());
    let client_ca = either(&args.tls_client_ca, &file.client_ca);
    let client_crl = either(&args.tls_client_crl, &file.client_crl);
    if client_crl.is_some() && client_ca.is_none() {
        return Err("a list of revoked client certificates needs their authority; add --tls-client-ca FILE".into());
    }
    match (either(&args.tls_certificate, &file.certificate), either(&args.tls_key, &file.key)) {
        (Some(certificate), Some(key)) => Ok(Some(Files { certificate, key, client_ca, client_crl })),
        (None, None) if client_ca.is_none() => Ok(None),
        (None, None) => Err("an authority for clients needs TLS; add --tls-certificate FILE and --tls-key FILE".into()),
        (Some(_), None) => Err("a TLS certificate needs its private key; add --tls-key FILE".into()),
        (None, Some(_)) => Err("a TLS key needs its certificate; add --tls-certificate FILE".into()),
    }
}

/// How listeners treat TLS that do not say it themselves.
pub fn mode(args: &ServeArgs, file: &FileTls, has_files: bool) -> TlsMode {
    let otherwise = if has_files { TlsMode::Required } else { TlsMode::Off };
    args.tls.or(file.mode).map_or(otherwise, TlsMode::from)
}

/// Who may see a volume.
pub fn audience(tls_only: bool, clients: Option<&[String]>) -> Audience {
    match clients {
        Some(names) => Audience::Named(names.to_vec()),
        None if tls_only => Audience::Tls,
        None => Audience::Everybody,
    }
}

/// Says what does not fit together.
pub fn check(files: Option<&Files>, nbd: &[Entrance], volumes: &[VolumePlan]) -> Result<(), String> {
    let offers = |plan: &&Entrance| plan.tls.is_offered();
    if let (None, Some(listener)) = (files, nbd.iter().find(offers)) {
        let address = &listener.address;
        return Err(format!("{address} is to offer TLS; add --tls-certificate FILE and --tls-key FILE"));
    }
    for volume in volumes.iter().filter(|volume| volume.audience != Audience::Everybody) {
        let name = &volume.name;
        if !nbd.iter().any(|plan| offers(&plan)) {
            return Err(format!("volume `{name}` is for TLS alone, and no listener offers it"));
        }
        let named = matches!(volume.audience, Audience::Named(_));
        if named && files.is_none_or(|files| files.client_ca.is_none()) {
            return Err(format!(
                "volume `{name}` names clients, and nobody vouches for them; add --tls-client-ca FILE"
            ));
        }
    }
    Ok(())
}
