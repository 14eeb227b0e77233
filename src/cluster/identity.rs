//! Who a node is: its name, its keys, and the line by which others know them.
//!
//! The keys stand in one file, `node.id`, as one line: `keymoult-node-keys-v1:` and 128 hexadecimal digits, an Ed25519 seed
//! and an X25519 secret. What others have to know of them is a line for configuration files:
//! `keymoult-node:NAME:SIGN:SEAL:CRC`, both public keys and the CRC-32 of what stands before it, in hexadecimal.
//!
//! Invariants: neither key is that of the node's TLS certificate; the file is used only if it is regular, closed to everybody
//! but its owner, owned by root or the running user, and not reached through a link of somebody else; it is never
//! overwritten, and durable when it is reported; the line is accepted only as it would be written.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use super::name::{BadName, NAME_MAX, NodeName};
pub use super::record::Role;
use crate::crypto::hpke::{self, SealKey};
use crate::crypto::sign::{PublicSigningKey, SEED_LEN, SigningKey};
use crate::crypto::{CryptoError, Secret, line};
use crate::units::{hex, unhex};

/// What a file of node keys begins with.
const FILE_PREFIX: &[u8] = b"keymoult-node-keys-v1:";
/// Secret bytes of a node: both keys.
const KEYS_LEN: usize = SEED_LEN + hpke::KEY_LEN;
const LINE_LEN: usize = FILE_PREFIX.len() + 2 * KEYS_LEN;
/// What the line of a node's public keys begins with.
const PUBLIC_PREFIX: &str = "keymoult-node:";

impl Role {
    /// The word for it in configuration files.
    pub const fn word(self) -> &'static str {
        match self {
            Role::Full => "full",
            Role::Witness => "witness",
        }
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Role, IdentityError> {
        match text {
            "full" => Ok(Role::Full),
            "witness" => Ok(Role::Witness),
            _ => Err(IdentityError::Role(text.chars().take(NAME_MAX + 1).collect())),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What others know of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePublic {
    /// Its name.
    pub name: NodeName,
    /// The Ed25519 key that its signatures are verified with.
    pub sign: [u8; 32],
    /// The X25519 key that secrets are sealed to.
    pub seal: [u8; 32],
}

impl NodePublic {
    /// What verifies its signatures.
    pub const fn verifier(&self) -> PublicSigningKey {
        PublicSigningKey(self.sign)
    }
}

impl fmt::Display for NodePublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("{PUBLIC_PREFIX}{}:{}:{}", self.name, hex(&self.sign), hex(&self.seal));
        write!(f, "{line}:{:08x}", crc32fast::hash(line.as_bytes()))
    }
}

impl FromStr for NodePublic {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<NodePublic, IdentityError> {
        let wrong = |why| IdentityError::Public { why };
        let inside = text.strip_prefix(PUBLIC_PREFIX).ok_or(wrong("it does not begin with keymoult-node:"))?;
        let parts: Vec<&str> = inside.split(':').collect();
        let [name, sign, seal, crc] = parts[..] else {
            return Err(wrong("it is not keymoult-node:NAME:SIGN:SEAL:CRC"));
        };
        let key =
            |digits: &str| small(digits.as_bytes()).and_then(unhex).ok_or(wrong("a key is not 64 hexadecimal digits"));
        let public = NodePublic { name: name.parse()?, sign: key(sign)?, seal: key(seal)? };
        if small(crc.as_bytes()).and_then(unhex::<4>).is_none() || public.to_string() != text {
            return Err(wrong("its checksum does not fit: a letter is lost or changed"));
        }
        Ok(public)
    }
}

/// The secret keys of a node, and its name.
pub struct NodeKeys {
    name: NodeName,
    sign: SigningKey,
    seal: SealKey,
}

impl NodeKeys {
    /// Fresh ones.
    ///
    /// # Errors
    /// The system's random source fails.
    pub fn new(name: NodeName) -> Result<NodeKeys, IdentityError> {
        Ok(NodeKeys { name, sign: SigningKey::new()?, seal: SealKey::new()? })
    }

    /// Reads them from their file; the name is not in it.
    ///
    /// # Errors
    /// The file is missing, somebody else can get at it, or it holds something else.
    pub fn read(name: NodeName, path: &Path) -> Result<NodeKeys, IdentityError> {
        let mut file = open(path)?;
        // A byte more than fits tells a longer file.
        let text = Secret::read_from(LINE_LEN + 2, &mut file)
            .map_err(|source| IdentityError::Unreadable { path: path.to_owned(), source })?;
        let malformed = |why| IdentityError::Malformed { path: path.to_owned(), why };
        let only = text.expose().strip_suffix(b"\n").unwrap_or(text.expose());
        let digits =
            only.strip_prefix(FILE_PREFIX).ok_or(malformed("it does not begin with keymoult-node-keys-v1:"))?;
        if digits.len() != 2 * KEYS_LEN {
            return Err(malformed("its keys are not 128 hexadecimal digits"));
        }
        let (sign, seal) = digits.split_at(2 * SEED_LEN);
        let secret = |digits: &[u8]| {
            let read = small(digits).and_then(line::read);
            read.ok_or(malformed("its keys hold something else than hexadecimal digits"))
        };
        Ok(NodeKeys { name, sign: SigningKey::from_seed(secret(sign)?)?, seal: SealKey::from_secret(secret(seal)?)? })
    }

    /// Writes them to a file of their own, 0600, durable on return.
    ///
    /// # Errors
    /// There is such a file already, or it cannot be written; then nothing is left behind.
    pub fn write(&self, path: &Path) -> Result<(), IdentityError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => IdentityError::Exists { path: path.to_owned() },
            _ => IdentityError::Unwritable { path: path.to_owned(), source },
        };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let written = file
            .write_all(line::write(FILE_PREFIX, &[self.sign.seed(), self.seal.secret()]).expose())
            .and_then(|()| file.sync_all())
            .and_then(|()| {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
            });
        if written.is_err() {
            // It is ours and of no use.
            let _ = fs::remove_file(path);
        }
        written.map_err(failed)
    }

    /// The node's name.
    pub const fn name(&self) -> &NodeName {
        &self.name
    }

    /// What it signs with.
    pub const fn sign(&self) -> &SigningKey {
        &self.sign
    }

    /// What opens what is sealed to it.
    pub const fn seal(&self) -> &SealKey {
        &self.seal
    }

    /// What others may know.
    pub fn public(&self) -> NodePublic {
        NodePublic { name: self.name.clone(), sign: self.sign.public().0, seal: self.seal.public() }
    }
}

/// Opens a file that holds node keys, if nobody else can have a hand in it.
fn open(path: &Path) -> Result<File, IdentityError> {
    let unreadable = |source: io::Error| IdentityError::Unreadable { path: path.to_owned(), source };
    let running = nix::unistd::geteuid().as_raw();
    let trusted = |owner: u32| owner == running || owner == 0;
    let link = fs::symlink_metadata(path).map_err(unreadable)?;
    if !trusted(link.uid()) {
        return Err(IdentityError::Owner { path: path.to_owned(), owner: link.uid(), running });
    }
    // Without O_NONBLOCK, a pipe at this path would hang the daemon.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(IdentityError::Malformed { path: path.to_owned(), why: "it is not a regular file" });
    }
    if !trusted(found.uid()) {
        return Err(IdentityError::Owner { path: path.to_owned(), owner: found.uid(), running });
    }
    let mode = found.mode() & 0o7777;
    match mode & 0o077 {
        0 => Ok(file),
        _ => Err(IdentityError::Exposed { path: path.to_owned(), mode }),
    }
}

/// Digits as they would be written: small ones.
fn small(digits: &[u8]) -> Option<&[u8]> {
    Some(digits).filter(|digits| !digits.iter().any(u8::is_ascii_uppercase))
}

/// What is wrong with names, lines and keys of nodes.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "`path` is the file, `why` what is wrong with it")]
pub enum IdentityError {
    /// No name of a node.
    #[error(transparent)]
    Name(#[from] BadName),
    /// No role of a member.
    #[error("{0:?} is no role of a member: full or witness")]
    Role(String),
    /// No line of public keys.
    #[error("the line of public keys will not do: {why}")]
    Public { why: &'static str },
    /// The file of node keys cannot be read.
    #[error("cannot read the node keys {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// It cannot be written.
    #[error("cannot write the node keys {}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    /// There is one already.
    #[error("the node keys {} exist already, and are never overwritten", path.display())]
    Exists { path: PathBuf },
    /// Others than its owner can read it.
    #[error("the node keys {}: mode {mode:04o} lets others than the owner at them (chmod 600)", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    /// It, or the link to it, is somebody else's.
    #[error("the node keys {}: owned by uid {owner}, neither root nor the running user {running}", path.display())]
    Owner { path: PathBuf, owner: u32, running: u32 },
    /// It holds something else.
    #[error("the node keys {}: {why}", path.display())]
    Malformed { path: PathBuf, why: &'static str },
    /// The keys themselves.
    #[error("node keys cannot be had")]
    Crypto(#[from] CryptoError),
}

#[cfg(test)]
#[path = "tests/identity.rs"]
mod tests;
