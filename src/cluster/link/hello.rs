//! The hello: the first frame of either end, and how it is judged. Bytes only.
//!
//! It says which versions of the protocol its node speaks, who it is, in which cluster, what it can read and take, and
//! which run of the process this is. Fields stand in a fixed order, numbers big endian; what a later version may append is
//! passed over.
//!
//! Invariants: every length is bounded, every name parsed; a hello of another cluster, of no common version, or of a node that
//! its certificate does not name is refused with the reason, which the other end shows to its operator.

use crate::cluster::identity::NodeName;

/// The oldest and the newest version of the protocol this program speaks.
pub const VERSIONS: (u16, u16) = (1, 1);
/// Longest name of a cluster, bytes.
pub const CLUSTER_MAX: usize = 63;
/// Most suites a hello may list.
pub const SUITES_MAX: usize = 64;
/// Longest version of the software, bytes.
pub const SOFTWARE_MAX: usize = 64;
/// Longest reason of a refusal, bytes.
pub const REASON_MAX: usize = 256;

const MAGIC: &[u8; 8] = b"keymoult";

/// What a node can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Version of the program; cut to [`SOFTWARE_MAX`] bytes.
    pub software: String,
    /// Ids of the cipher suites it can read; the first [`SUITES_MAX`] are told.
    pub suites: Vec<u16>,
    /// Volumes it can serve.
    pub volumes: u32,
}

/// What a node says of itself when a link begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Oldest and newest version of the protocol it speaks.
    pub versions: (u16, u16),
    /// Its name.
    pub node: NodeName,
    /// The cluster it belongs to.
    pub cluster: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Longest frame it takes, bytes.
    pub frame_max: u32,
    /// This run of its process: 16 random bytes.
    pub session: [u8; 16],
}

/// Why a hello is not answered by one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// It cannot be read.
    #[error("the hello cannot be read: {0}")]
    Malformed(&'static str),
    /// No version of the protocol in common.
    #[error("no common version of the protocol: theirs are {} to {}, ours {} to {}; upgrade the older", theirs.0, theirs.1, VERSIONS.0, VERSIONS.1)]
    Version {
        /// Those of the other end.
        theirs: (u16, u16),
    },
    /// Another cluster.
    #[error("it belongs to the cluster {theirs:?}, this node to {ours:?}")]
    Cluster {
        /// That of the other end.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// Its certificate does not name it, or it is not whom we meant.
    #[error("it calls itself {theirs}, which is not a name it may have on this link")]
    Name {
        /// What it calls itself.
        theirs: NodeName,
    },
}

/// Whether `text` can be the name of a cluster: 1 to 63 bytes of letters, digits, `-`, `_` and `.`.
pub fn is_cluster(text: &str) -> bool {
    (1..=CLUSTER_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl Hello {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.versions.0.to_be_bytes());
        bytes.extend(self.versions.1.to_be_bytes());
        bytes.extend(self.session);
        bytes.extend(self.frame_max.to_be_bytes());
        bytes.extend(self.capabilities.volumes.to_be_bytes());
        put_text(&mut bytes, self.node.as_str());
        put_text(&mut bytes, &self.cluster);
        put_text(&mut bytes, cut(&self.capabilities.software, SOFTWARE_MAX));
        let suites = &self.capabilities.suites[..self.capabilities.suites.len().min(SUITES_MAX)];
        bytes.push(suites.len() as u8);
        bytes.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
        bytes
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`HelloError::Malformed`]; [`HelloError::Version`] comes first, since what follows may stand elsewhere in another version.
    pub fn decode(bytes: &[u8]) -> Result<Hello, HelloError> {
        let mut rest = Reader(bytes);
        if rest.take::<8>()? != *MAGIC {
            return Err(HelloError::Malformed("it is none of keymoult's"));
        }
        let versions = (u16::from_be_bytes(rest.take()?), u16::from_be_bytes(rest.take()?));
        if versions.0 > versions.1 || version(versions).is_none() {
            return Err(HelloError::Version { theirs: versions });
        }
        let session = rest.take()?;
        let frame_max = u32::from_be_bytes(rest.take()?);
        let volumes = u32::from_be_bytes(rest.take()?);
        let node = rest.text()?.parse().map_err(|_| HelloError::Malformed("its node has no such name"))?;
        let cluster = rest.text()?.to_owned();
        if !is_cluster(&cluster) {
            return Err(HelloError::Malformed("its cluster has no such name"));
        }
        let software = rest.text()?.to_owned();
        if software.len() > SOFTWARE_MAX || software.chars().any(char::is_control) {
            return Err(HelloError::Malformed("its software has no such version"));
        }
        let [count] = rest.take()?;
        if usize::from(count) > SUITES_MAX {
            return Err(HelloError::Malformed("it lists too many suites"));
        }
        let suites = (0..count).map(|_| rest.take().map(u16::from_be_bytes)).collect::<Result<Vec<u16>, _>>()?;
        let capabilities = Capabilities { software, suites, volumes };
        Ok(Hello { versions, node, cluster, capabilities, frame_max, session })
    }

    /// The version both ends speak.
    pub fn version(&self) -> Option<u16> {
        version(self.versions)
    }
}

/// The newest version that we speak and they do.
fn version(theirs: (u16, u16)) -> Option<u16> {
    let (first, last) = (theirs.0.max(VERSIONS.0), theirs.1.min(VERSIONS.1));
    (first <= last).then_some(last)
}

/// The reason of a refusal as it is sent.
pub fn reason(text: &str) -> Vec<u8> {
    cut(text, REASON_MAX).as_bytes().to_vec()
}

/// The reason of a refusal as it is shown: whatever bytes it is made of, one line.
pub fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(REASON_MAX)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The beginning of `text`, at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    // Names and versions are shorter than that.
    let text = cut(text, 255);
    bytes.push(text.len() as u8);
    bytes.extend(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HelloError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(HelloError::Malformed("it is cut short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn text(&mut self) -> Result<&'a str, HelloError> {
        let [length] = self.take()?;
        let (text, rest) =
            self.0.split_at_checked(usize::from(length)).ok_or(HelloError::Malformed("it is cut short"))?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| HelloError::Malformed("a name in it is no text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            versions: VERSIONS,
            node: "a".parse().unwrap(),
            cluster: "lab".into(),
            capabilities: Capabilities { software: "0.1.0".into(), suites: vec![1, 2, 300], volumes: 64 },
            frame_max: 1 << 20,
            session: [9; 16],
        }
    }

    #[test]
    fn a_hello_comes_back_and_what_is_appended_is_passed_over() {
        let bytes = hello().encode();
        assert_eq!(Hello::decode(&bytes), Ok(hello()));
        assert_eq!(Hello::decode(&[&bytes[..], b"later"].concat()), Ok(hello()));
        for len in 0..bytes.len() {
            assert!(matches!(Hello::decode(&bytes[..len]), Err(HelloError::Malformed(_))), "{len} bytes");
        }
    }

    #[test]
    fn what_is_too_long_to_be_told_is_cut() {
        let mut long = hello();
        long.capabilities = Capabilities { software: "ü".repeat(64), suites: (0..100).collect(), volumes: 1 };
        let back = Hello::decode(&long.encode()).unwrap();
        assert_eq!(back.capabilities.software, "ü".repeat(32));
        assert_eq!(back.capabilities.suites.len(), SUITES_MAX);
    }

    #[test]
    fn the_newest_common_version_counts() {
        let of = |first, last| Hello::decode(&Hello { versions: (first, last), ..hello() }.encode());
        assert_eq!(of(0, 1).unwrap().version(), Some(1));
        assert_eq!(of(1, 9).unwrap().version(), Some(1));
        for (first, last) in [(2, 3), (0, 0), (3, 1)] {
            assert_eq!(of(first, last), Err(HelloError::Version { theirs: (first, last) }));
        }
        let mut foreign = Hello { versions: (2, 2), ..hello() }.encode();
        foreign.truncate(12);
        assert!(matches!(Hello::decode(&foreign), Err(HelloError::Version { .. })), "what follows may be anything");
    }

    #[test]
    fn a_refusal_is_shown_as_one_line() {
        assert_eq!(shown(&reason("no\nsuch\x1bthing")), "no such thing");
        assert_eq!(shown(&[0xff; 1000]).chars().count(), REASON_MAX);
        assert_eq!(reason(&"é".repeat(200)).len(), REASON_MAX);
    }
}
