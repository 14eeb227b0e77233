//! Every finding by name: what it means for the volume, and what to do about it.
//!
//! Invariant: whatever a check can find stands here (the tests refuse a finding without an entry); a name never changes
//! its meaning. Names of damage are made of a structure and a kind: `superblock-crc`, `tag-page-mac`, `ring-zero`.

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// What it means.
    pub means: &'static str,
    /// What to do, unless the finding itself knows better.
    pub hint: Option<&'static str>,
}

const RESTORE: &str = "restore the header from a backup of this rotation epoch";
const TRUST: &str = "restore the header from a backup you trust, and find out who could write to the backing";
const DEVICE: &str = "copy the backing to a sound device (ddrescue or the like) and check the copy";
const REPORT: &str = "keep a copy of the backing and report it: no crash leaves this behind";

/// Structures whose damage is named by kind.
const STRUCTURES: &[&str] = &["superblock", "table", "stamp", "canary", "tag-page", "ring"];

/// Kinds of damage.
const KINDS: &[(&str, &str, Option<&str>)] = &[
    ("zero", "nothing but zeros stands there: it was never written, or wiped", Some(RESTORE)),
    ("missing", "something else stands there: it was overwritten by a stranger", Some(RESTORE)),
    (
        "newer",
        "a newer keymoult wrote it, or its version rotted; this build cannot judge it",
        Some("use the newer build"),
    ),
    ("crc", "an accident: a write was cut off there, or the device lost bits", Some(RESTORE)),
    ("mac", "no accident: it was changed by somebody, or moved here from another place or volume", Some(TRUST)),
    ("field", "it is whole, but says something impossible", Some(REPORT)),
    ("unreadable", "the device does not give it back; what stands there is unknown", Some(DEVICE)),
];

/// All other names.
const OTHERS: &[(&str, &str, Option<&str>)] = &[
    ("no-key", "nothing was authenticated; anybody could have made it look right", None),
    ("more", "the rest is like the ones listed", Some("mend what is listed and check again")),
    (
        "superblock-foreign",
        "one of the copies is another volume's: the newest by sequence counts, whoever wrote it",
        Some(TRUST),
    ),
    (
        "superblock-place",
        "somebody moved a copy: the next write may hit the copy that counts",
        Some("volume check --repair puts it in its place"),
    ),
    (
        "table-place",
        "somebody moved a copy: the next write may hit the copy that counts",
        Some("volume check --repair puts it in its place"),
    ),
    (
        "superblock-twin",
        "the copy that does not count is from another time; a crash could fall back to it",
        Some("volume check --repair rewrites it"),
    ),
    (
        "table-twin",
        "the copy that does not count is from another time; a crash could fall back to it",
        Some("volume check --repair rewrites it"),
    ),
    (
        "superblock-differs",
        "the device does not hold what the daemon wrote last: after a restart an older state would count",
        Some(DEVICE),
    ),
    (
        "table-differs",
        "the device does not hold what the daemon wrote last: after a restart an older state would count",
        Some(DEVICE),
    ),
    (
        "tag-page-differs",
        "the device does not hold the tags the daemon knows: after a restart the volume would not open",
        Some(DEVICE),
    ),
    (
        "ring-differs",
        "the device does not hold the records the daemon wrote: after a crash extents could be read under the wrong key",
        Some(DEVICE),
    ),
    (
        "growth-unfinished",
        "a crash fell between the commit of a growth and its end; until it is finished the size of before is served",
        Some("opening the volume for writing finishes it, and so does volume check --repair"),
    ),
    (
        "growth-twin",
        "a crash fell between the two copies; nothing is lost",
        Some("opening the volume for writing rewrites it, and so does volume check --repair"),
    ),
    (
        "header-kind",
        "the files given are not those of this volume",
        Some("give data and header as the volume was created"),
    ),
    (
        "backing-truncated",
        "the end of the backing is gone, and what stood there",
        Some("make it as long as it was (truncate -s does, without touching what is there) and check again"),
    ),
    ("backing-unreadable", "the device does not even say how long it is", Some(DEVICE)),
    (
        "granule-unvouched",
        "a torn write could leave a granule half old, half new, and re-encryption could not tell",
        None,
    ),
    ("key-missing", "what that key encrypts cannot be read", None),
    (
        "key-not-loaded",
        "what that key encrypts answers EIO until it is loaded",
        Some("restart the daemon with the KEK its wraps name"),
    ),
    ("key-unusable", "what that key encrypts cannot be read", Some(RESTORE)),
    ("key-differs", "the key in memory is not the one its wraps hold: a restart would read garbage", Some(REPORT)),
    ("wrap-untried", "nothing is known of this wrap", Some("give its KEK too, to have it tried")),
    ("wrap-unavailable", "the keeper of the KEK did not answer for this wrap", Some("try again when it answers")),
    ("wrap-tampered", "this wrap opens nothing any more; others of the same generation may", Some(TRUST)),
    (
        "wrap-differs",
        "two wraps of one generation hold different keys: which one is right, its canary tells",
        Some(TRUST),
    ),
    ("suite-unknown", "this build cannot decrypt that generation", Some("use the build that wrote it, or a later one")),
    ("canary-wrong", "the key is not the one that encrypted: its extents would be read as garbage", Some(RESTORE)),
    (
        "stamp-none",
        "a header from before the last rotation would not be noticed",
        Some("keep header and data together"),
    ),
    (
        "epoch-behind",
        "a crash fell between header and stamp; nothing is lost",
        Some("opening the volume for writing completes it"),
    ),
    (
        "epoch-stale",
        "header and data are not of the same time: extents would be read under the wrong key",
        Some("put header and data of the same time together"),
    ),
    ("table-target", "the table does not say which generation new data go to", Some(RESTORE)),
    ("table-canary", "two generations claim one canary: one of them cannot be proven", Some(RESTORE)),
    ("table-rotation", "the record of the rotation contradicts the keys or the tags", Some(RESTORE)),
    (
        "checkpoint-cut-off",
        "a crash came between pages and superblock; the older pages count, the ring has the rest",
        Some("nothing: the next checkpoint writes them again"),
    ),
    ("tag-page-lost", "under which key its extents are is not known", Some(RESTORE)),
    ("tag-digest", "an older page would bring back older keys: the volume does not open", Some(RESTORE)),
    ("tag-unknown", "those extents cannot be read", Some(RESTORE)),
    ("tag-state", "no extent may be under such a key: it might be taken for unused and destroyed", Some(RESTORE)),
    (
        "tag-revoked",
        "those extents answer EIO: their key was withdrawn",
        Some("key reinstate gives the key back; nothing is lost"),
    ),
    ("data-revoked", "nothing is known of those extents", Some("key reinstate gives the key back, then check again")),
    ("tag-census", "the daemon has miscounted: its figures cannot be believed", Some(REPORT)),
    ("ring-gap", "a record that was durable is gone: the volume does not open", Some(RESTORE)),
    ("ring-contradiction", "a record and the tags cannot both be true: the volume does not open", Some(RESTORE)),
    ("ring-generation", "a record leads to a key the volume does not have", Some(RESTORE)),
    (
        "ring-barred",
        "its extents answer EIO until the key is available; the rest is served",
        Some("make the generation's key available again"),
    ),
    ("ring-live", "a rotation was cut off; nothing is lost", Some("nothing: the next open rolls them forward")),
    (
        "ring-torn",
        "a crash cut off the last record; what it announced was not begun",
        Some("nothing: the next record overwrites it"),
    ),
    (
        "data-not-read",
        "nothing is known of the data",
        Some("mend what is listed, give the keys, check again with --full"),
    ),
    ("data-partly", "not every extent was read", Some("mend what is listed and check again")),
    ("data-key", "the extent cannot be read for want of its key", Some("make the generation's key available again")),
    ("data-unreadable", "the device has lost it", Some("replace the device; restore the extent from a backup")),
    ("engines-disagree", "a cipher or this machine is broken", Some("serve nothing from this machine")),
    (
        "poisoned",
        "a flush or a metadata write failed: what was acknowledged since the last good flush may be lost",
        None,
    ),
    (
        "poison-cleared",
        "every structure is authentic and every extent was read",
        Some("nothing: the volume may be written again"),
    ),
];

/// The entry of `name`.
pub(super) fn entry(name: &str) -> Option<Entry> {
    let other = OTHERS.iter().find(|(known, ..)| *known == name);
    if let Some((_, means, hint)) = other {
        return Some(Entry { means, hint: *hint });
    }
    let (structure, kind) = name.rsplit_once('-')?;
    let (_, means, hint) = KINDS.iter().find(|(known, ..)| *known == kind)?;
    STRUCTURES.contains(&structure).then_some(Entry { means, hint: *hint })
}

/// Every name there is.
#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    let damage =
        STRUCTURES.iter().flat_map(|structure| KINDS.iter().map(move |(kind, ..)| format!("{structure}-{kind}")));
    damage.chain(OTHERS.iter().map(|(name, ..)| (*name).to_owned())).collect()
}
