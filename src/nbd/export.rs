//! What the server offers: exports, and the directory that handshakes look them up in.
//!
//! The protocol core sees names, sizes and flags; the volume behind an export is an opaque `V` that only the
//! backend understands, so that this layer never meets keys or formats. The directory is read once or twice
//! per handshake and never in transmission: a session keeps its own `Arc` of the export it chose.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::audience::{Audience, Channel, Sight};
use super::form::Form;
use super::meta::Contexts;
use super::wire::*;
use crate::limits::NBD_PAYLOAD_MAX;

/// Longest export name offered, bytes: well under the specification's 4096 so that lists stay small.
pub const NAME_MAX: usize = 255;

/// One export: what a handshake tells about it, and the volume it serves.
#[derive(Debug)]
pub struct Export<V> {
    name: String,
    description: String,
    size: AtomicU64,
    read_only: bool,
    rotational: bool,
    fast_zero: bool,
    block_preferred: u32,
    audience: RwLock<Audience>,
    volume: Arc<V>,
}

/// Why a handshake does not get an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// There is none of that name, as far as this client is concerned.
    Unknown,
    /// It is served over TLS alone.
    NeedsTls,
}

/// Why an export was not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExportError {
    /// The name is empty, too long or holds control characters.
    #[error("export name {0:?} is not 1 to {NAME_MAX} bytes of printable text")]
    Name(String),
    /// The description is longer than the protocol can carry.
    #[error("description of export {0:?} is longer than {STRING_MAX} bytes")]
    Description(String),
    /// The preferred block size is none the protocol allows.
    #[error("preferred block size {size} of export {name:?} is not a power of two from 512 to 32 MiB")]
    BlockSize {
        /// The export's name.
        name: String,
        /// The refused size, bytes.
        size: u32,
    },
    /// Another export has this name.
    #[error("an export named {0:?} exists already")]
    Exists(String),
}

impl<V> Export<V> {
    /// Describes an export of `size` bytes whose efficient unit is `block_preferred` bytes.
    pub fn new(name: &str, size: u64, block_preferred: u32, volume: Arc<V>) -> Result<Export<V>, ExportError> {
        if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
            return Err(ExportError::Name(name.chars().take(NAME_MAX).collect()));
        }
        if !block_preferred.is_power_of_two() || !(512..=NBD_PAYLOAD_MAX).contains(&block_preferred) {
            return Err(ExportError::BlockSize { name: name.into(), size: block_preferred });
        }
        Ok(Export {
            name: name.into(),
            description: String::new(),
            size: AtomicU64::new(size),
            read_only: false,
            rotational: false,
            fast_zero: true,
            block_preferred,
            audience: RwLock::default(),
            volume,
        })
    }

    /// Adds a text for people, shown by LIST and INFO.
    pub fn with_description(mut self, text: &str) -> Result<Export<V>, ExportError> {
        if text.len() > STRING_MAX - 4 - NAME_MAX {
            return Err(ExportError::Description(self.name));
        }
        self.description = text.into();
        Ok(self)
    }

    /// Refuses writes, trims and write-zeroes with EPERM.
    #[must_use]
    pub fn with_read_only(mut self, read_only: bool) -> Export<V> {
        self.read_only = read_only;
        self
    }

    /// Tells clients that seeks are dear.
    #[must_use]
    pub fn with_rotational(mut self, rotational: bool) -> Export<V> {
        self.rotational = rotational;
        self
    }

    /// Says whether zeros can be made by punching holes; if not, fast writes of zeros are refused with ENOTSUP.
    #[must_use]
    pub fn with_fast_zero(mut self, fast_zero: bool) -> Export<V> {
        self.fast_zero = fast_zero;
        self
    }

    /// Says who may see it.
    #[must_use]
    pub fn with_audience(self, audience: Audience) -> Export<V> {
        self.set_audience(audience);
        self
    }

    /// Says who may see it from now on; sessions that use it go on.
    pub fn set_audience(&self, audience: Audience) {
        *self.audience.write().unwrap_or_else(PoisonError::into_inner) = audience;
    }

    /// How it looks from `channel`.
    pub fn sight(&self, channel: &Channel) -> Sight {
        self.audience.read().unwrap_or_else(PoisonError::into_inner).sight(channel)
    }

    /// The canonical name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text for people, possibly empty.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Size in bytes as of now.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Announces a new size in bytes to later handshakes and admits requests up to it at once.
    pub fn set_size(&self, size: u64) {
        // Whoever sees the size finds the volume ready for it.
        self.size.store(size, Ordering::Release);
    }

    /// Whether writes are refused.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Whether zeros can be made by punching holes.
    pub fn fast_zero(&self) -> bool {
        self.fast_zero
    }

    /// The volume served.
    pub fn volume(&self) -> &Arc<V> {
        &self.volume
    }

    /// Minimum block, preferred block and maximum payload, bytes, as in `NBD_INFO_BLOCK_SIZE`.
    pub fn block_sizes(&self) -> [u32; 3] {
        [1, self.block_preferred, NBD_PAYLOAD_MAX]
    }

    /// Transmission flags for a client that negotiated this form of messages and selected these contexts.
    pub fn flags(&self, form: Form, contexts: Contexts) -> u16 {
        let mut flags = NBD_FLAG_HAS_FLAGS
            | NBD_FLAG_SEND_FLUSH
            | NBD_FLAG_SEND_FUA
            | NBD_FLAG_CAN_MULTI_CONN
            | NBD_FLAG_SEND_CACHE;
        if self.read_only {
            flags |= NBD_FLAG_READ_ONLY;
        } else {
            flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
        }
        if self.rotational {
            flags |= NBD_FLAG_ROTATIONAL;
        }
        if form.has_chunks() {
            flags |= NBD_FLAG_SEND_DF;
        }
        if form == Form::Extended && !contexts.is_empty() {
            flags |= NBD_FLAG_BLOCK_STATUS_PAYLOAD;
        }
        flags
    }
}

/// The shared directory of exports.
#[derive(Debug)]
pub struct Exports<V> {
    entries: RwLock<BTreeMap<String, Arc<Export<V>>>>,
}

impl<V> Default for Exports<V> {
    fn default() -> Exports<V> {
        Exports { entries: RwLock::new(BTreeMap::new()) }
    }
}

impl<V> Exports<V> {
    /// An empty directory.
    pub fn new() -> Exports<V> {
        Exports::default()
    }

    /// Offers `export` to handshakes from now on.
    pub fn add(&self, export: Export<V>) -> Result<Arc<Export<V>>, ExportError> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.contains_key(&export.name) {
            return Err(ExportError::Exists(export.name));
        }
        let export = Arc::new(export);
        entries.insert(export.name.clone(), Arc::clone(&export));
        Ok(export)
    }

    /// Withdraws an export from later handshakes; sessions that use it go on.
    pub fn remove(&self, name: &str) -> Option<Arc<Export<V>>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    /// The export of that name, whoever may see it.
    pub fn get(&self, name: &str) -> Option<Arc<Export<V>>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The export of that name as `channel` sees it; the empty name means the sole one that is not hidden from it.
    pub fn find(&self, name: &str, channel: &Channel) -> Result<Arc<Export<V>>, Absent> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let found = if name.is_empty() {
            let mut seen = entries.values().filter(|export| export.sight(channel) != Sight::Hidden);
            let (first, second) = (seen.next(), seen.next());
            first.filter(|_| second.is_none())
        } else {
            entries.get(name)
        };
        let export = found.ok_or(Absent::Unknown)?;
        match export.sight(channel) {
            Sight::Open => Ok(Arc::clone(export)),
            Sight::NeedsTls => Err(Absent::NeedsTls),
            Sight::Hidden => Err(Absent::Unknown),
        }
    }

    /// The exports that `channel` can have as it is, in order of name.
    pub fn list(&self, channel: &Channel) -> Vec<Arc<Export<V>>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().filter(|export| export.sight(channel) == Sight::Open).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nbd::audience::TlsMode;
    use crate::nbd::meta::Context;
    use crate::nbd::tls::Names;

    fn export(name: &str) -> Export<()> {
        Export::new(name, 1 << 20, 4096, Arc::new(())).unwrap()
    }

    #[test]
    fn the_empty_name_means_the_sole_export() {
        let exports = Exports::new();
        let plain = Channel::default();
        let find = |name: &str| exports.find(name, &plain).map(|export| export.name().to_owned());
        assert_eq!(find(""), Err(Absent::Unknown));
        exports.add(export("a")).unwrap();
        assert_eq!(find("").unwrap(), "a");
        exports.add(export("b")).unwrap();
        assert_eq!(find(""), Err(Absent::Unknown), "two exports: none is the default");
        assert_eq!(find("b").unwrap(), "b");
        assert_eq!(exports.add(export("b")).unwrap_err(), ExportError::Exists("b".into()));
        exports.remove("a");
        assert_eq!(find("").unwrap(), "b");
    }

    #[test]
    fn the_empty_name_does_not_tell_of_hidden_exports() {
        let exports = Exports::new();
        exports.add(export("a")).unwrap();
        exports.add(export("b").with_audience(Audience::Named(vec!["bob".into()]))).unwrap();
        let find = |channel: &Channel| exports.find("", channel).map(|export| export.name().to_owned());
        let alice = Channel::Tls(Names::from_dns(&["alice"]));
        assert_eq!(find(&alice).unwrap(), "a", "as if b did not exist");
        assert_eq!(find(&Channel::Tls(Names::from_dns(&["bob"]))), Err(Absent::Unknown), "a or b?");
        assert_eq!(find(&Channel::Plain(TlsMode::Allowed)), Err(Absent::Unknown));
        exports.remove("a");
        assert_eq!(find(&Channel::Plain(TlsMode::Allowed)), Err(Absent::NeedsTls));
        assert_eq!(find(&Channel::Plain(TlsMode::Off)), Err(Absent::Unknown));
        exports.get("b").unwrap().set_audience(Audience::Tls);
        assert_eq!(find(&alice).unwrap(), "b");
    }

    #[test]
    fn names_and_block_sizes_are_checked() {
        assert!(matches!(Export::new("", 1, 4096, Arc::new(())), Err(ExportError::Name(_))));
        assert!(matches!(Export::new("a\n", 1, 4096, Arc::new(())), Err(ExportError::Name(_))));
        assert!(matches!(Export::new(&"n".repeat(256), 1, 4096, Arc::new(())), Err(ExportError::Name(_))));
        assert!(matches!(Export::new("a", 1, 4095, Arc::new(())), Err(ExportError::BlockSize { .. })));
        assert!(export("a").with_description(&"d".repeat(4096)).is_err());
    }

    #[test]
    fn read_only_exports_do_not_offer_what_writes() {
        let flags = export("a").with_read_only(true).flags(Form::Structured, Contexts::default());
        assert_ne!(flags & NBD_FLAG_READ_ONLY, 0);
        assert_eq!(flags & (NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO), 0);
    }

    #[test]
    fn flags_follow_what_was_negotiated() {
        let (export, none) = (export("a"), Contexts::default());
        let mut some = none;
        some.insert(Context::Allocation);
        let flags = |form, contexts| export.flags(form, contexts) & (NBD_FLAG_SEND_DF | NBD_FLAG_BLOCK_STATUS_PAYLOAD);
        assert_eq!(flags(Form::Simple, none), 0, "DF needs chunks");
        assert_eq!(flags(Form::Structured, some), NBD_FLAG_SEND_DF);
        assert_eq!(flags(Form::Extended, none), NBD_FLAG_SEND_DF, "no payload without contexts");
        assert_eq!(flags(Form::Extended, some), NBD_FLAG_SEND_DF | NBD_FLAG_BLOCK_STATUS_PAYLOAD);
    }
}
