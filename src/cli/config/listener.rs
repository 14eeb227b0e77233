//! Listeners in the configuration file: an address, or a table with who may come in by it.
//!
//! Invariants: names of users and groups become numbers here, once; a rule that cannot match the kind of socket is refused.

use std::fmt;

use nix::unistd::{Group, User};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};

use crate::cli::args::TlsChoice;
use crate::nbd::{Access, Entrance, FileRights, Listen, TlsMode};

/// A listener of which only the address is said.
pub fn at(address: Listen, tls: TlsMode) -> Entrance {
    Entrance { tls, ..Entrance::from(address) }
}

/// A listener as the file says it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileListener {
    address: String,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    users: Vec<NameOrNumber>,
    #[serde(default)]
    groups: Vec<NameOrNumber>,
    socket_mode: Option<String>,
    socket_group: Option<NameOrNumber>,
    tls: Option<TlsChoice>,
}

impl FileListener {
    /// What to open; `tls` is how TLS is treated where nothing is said.
    pub fn plan(&self, tls: TlsMode) -> Result<Entrance, String> {
        let address: Listen = self.address.parse()?;
        let named = |what: String| format!("nbd `{address}`: {what}");
        let mut access = Access::default();
        for rule in &self.allow {
            match rule.strip_prefix("cid:") {
                Some(cid) => {
                    access.machines.push(cid.parse().map_err(|_| named(format!("`{rule}` is no cid:NUMBER")))?)
                }
                None => access.networks.push(rule.parse().map_err(named)?),
            }
        }
        access.users = self.users.iter().map(user).collect::<Result<_, _>>().map_err(named)?;
        access.groups = self.groups.iter().map(group).collect::<Result<_, _>>().map_err(named)?;
        let mut rights = FileRights::default();
        if let Some(text) = &self.socket_mode {
            rights.mode = mode(text).map_err(named)?;
        }
        rights.group = self.socket_group.as_ref().map(group).transpose().map_err(named)?;
        let tls = self.tls.map_or(tls, TlsMode::from);
        let entrance = Entrance { address: address.clone(), access, rights, tls };
        entrance.check().map_err(named)?;
        Ok(entrance)
    }
}

/// An entry of `nbd`: `"unix:PATH"` or `{ address = "unix:PATH", … }`.
#[derive(Debug)]
pub struct FileEntry(pub FileListener);

impl<'de> Deserialize<'de> for FileEntry {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<FileEntry, D::Error> {
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = FileEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a table with `address`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<FileEntry, E> {
                Ok(FileEntry(FileListener { address: text.into(), ..FileListener::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FileEntry, A::Error> {
                FileListener::deserialize(MapAccessDeserializer::new(map)).map(FileEntry)
            }
        }
        deserializer.deserialize_any(Entry)
    }
}

/// A user or group.
#[derive(Debug)]
enum NameOrNumber {
    Name(String),
    Number(u32),
}

impl<'de> Deserialize<'de> for NameOrNumber {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<NameOrNumber, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = NameOrNumber;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<NameOrNumber, E> {
                Ok(NameOrNumber::Name(text.into()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<NameOrNumber, E> {
                let wrong = || E::custom("a user or group number is from 0 to 4294967294");
                let number = u32::try_from(number).ok().filter(|number| *number != u32::MAX);
                number.map(NameOrNumber::Number).ok_or_else(wrong)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

fn user(who: &NameOrNumber) -> Result<u32, String> {
    match who {
        NameOrNumber::Number(number) => Ok(*number),
        NameOrNumber::Name(name) => match User::from_name(name) {
            Ok(found) => found.map(|user| user.uid.as_raw()).ok_or_else(|| format!("there is no user `{name}`")),
            Err(error) => Err(format!("the user `{name}` cannot be looked up: {error}")),
        },
    }
}

fn group(who: &NameOrNumber) -> Result<u32, String> {
    match who {
        NameOrNumber::Number(number) => Ok(*number),
        NameOrNumber::Name(name) => match Group::from_name(name) {
            Ok(found) => found.map(|group| group.gid.as_raw()).ok_or_else(|| format!("there is no group `{name}`")),
            Err(error) => Err(format!("the group `{name}` cannot be looked up: {error}")),
        },
    }
}

/// A mode as people write it. Text, since the number 660 is not the mode 0660.
fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && text.len() <= 4);
    mode.ok_or_else(|| format!("socket-mode `{text}` is no mode such as \"0660\""))
}
