//! The one authorizer: may this actor do this verb to this object?
//!
//! Invariants: [`Verb`] is closed and lists everything the control plane can do; whatever no rule allows is denied; every
//! decision names its rule, and the audit log repeats it. The only policy so far is the *solo operator*: root and the
//! daemon's own user. Roles and approvals plug in as further [`Policy`] values.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::{Generation, VolumeId};

/// Who asks: the peer of the unix socket as the kernel names it (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// User id.
    pub uid: u32,
    /// Process id, if the kernel said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// When that process started, in clock ticks since boot (proc(5), `stat` field 22): with the pid it names one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_start: Option<u64>,
}

impl Actor {
    /// The actor behind a peer credential; looks up when its process started.
    pub fn peer(uid: u32, pid: Option<i32>) -> Actor {
        Actor { uid, pid, process_start: pid.and_then(process_start) }
    }

    /// This very process, for what the daemon does of its own accord.
    pub fn daemon() -> Actor {
        let pid = i32::try_from(std::process::id()).ok();
        Actor::peer(nix::unistd::geteuid().as_raw(), pid)
    }
}

/// Reads when process `pid` started, in clock ticks since boot. None if it is gone or hidden.
fn process_start(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_process_start(&stat)
}

/// Field 22 of a `stat` line. The command (field 2) may hold blanks and parentheses, so counting starts after the last `)`.
fn parse_process_start(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// What a verb does to the world, which decides how it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerbClass {
    /// Looks and changes nothing; recorded only when denied.
    View,
    /// Changes something; recorded before it happens, refused if that fails.
    Act,
    /// Makes things safer; recorded like [`VerbClass::Act`], but may use the space set aside in the log.
    Safety,
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $class:ident;)*) => {
        /// Everything the control plane can do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Verb { $($(#[$doc])* $name,)* }

        impl Verb {
            /// Every verb.
            pub const ALL: &'static [Verb] = &[$(Verb::$name,)*];

            /// The word for it in the audit log.
            pub const fn name(self) -> &'static str {
                match self { $(Verb::$name => $word,)* }
            }

            /// What it does to the world.
            pub const fn class(self) -> VerbClass {
                match self { $(Verb::$name => VerbClass::$class,)* }
            }
        }
    };
}

verbs! {
    /// Show the daemon.
    Status = "status", View;
    /// List or show volumes.
    VolumeShow = "volume-show", View;
    /// List key generations.
    KeyList = "key-list", View;
    /// Show a rotation.
    RotationShow = "rotation-show", View;
    /// Forecast a rotation.
    RotatePlan = "rotate-plan", View;
    /// Show the check of a volume.
    CheckShow = "check-show", View;
    /// List peers, or show the replicas of a volume.
    PeerShow = "peer-show", View;
    /// Show the comparison of replicas.
    PeerCheckShow = "peer-check-show", View;
    /// Read the audit log.
    AuditShow = "audit-show", View;
    /// Start a rotation.
    RotateStart = "rotate-start", Act;
    /// Hold a rotation.
    RotatePause = "rotate-pause", Safety;
    /// Let a rotation go on.
    RotateResume = "rotate-resume", Act;
    /// Change the pace of a rotation.
    RotatePace = "rotate-pace", Act;
    /// Go back to the old generation.
    RotateRollback = "rotate-rollback", Safety;
    /// Read moved extents back.
    RotateVerify = "rotate-verify", Act;
    /// End the way back.
    RotateFinalize = "rotate-finalize", Act;
    /// Take a key out of memory that nothing needs.
    KeyRetire = "key-retire", Act;
    /// Bring a retired key back.
    KeyRestore = "key-restore", Act;
    /// Give the destruction of a key a date.
    KeySchedule = "key-schedule", Act;
    /// Withdraw that date.
    KeyCancel = "key-cancel", Safety;
    /// Erase a key.
    KeyDestroy = "key-destroy", Act;
    /// Mark a key as known to others.
    KeyCompromise = "key-compromise", Safety;
    /// Withdraw a key, whatever it encrypts.
    KeyRevoke = "key-revoke", Safety;
    /// Give a withdrawn key back.
    KeyReinstate = "key-reinstate", Act;
    /// Check a statement of retirement.
    KeyVerifyProof = "key-verify-proof", View;
    /// Grow a volume.
    VolumeResize = "volume-resize", Act;
    /// Check a volume while it is served.
    VolumeCheck = "volume-check", Act;
    /// Have another KEK take over.
    KeyRewrap = "key-rewrap", Act;
    /// Have another KEK open a volume, too.
    KeyWrapAdd = "key-wrap-add", Act;
    /// Take a KEK's wraps away.
    KeyWrapRemove = "key-wrap-remove", Act;
    /// List what holds keys outside the volume.
    HolderShow = "holder-list", View;
    /// Declare a snapshot that holds keys or ciphertext.
    HolderAdd = "holder-add", Act;
    /// Declare a holder gone.
    HolderRelease = "holder-release", Act;
    /// Note that a restore drill has proven a holder.
    DrillRestore = "drill-restore", Act;
    /// Back the header up.
    HeaderBackup = "header-backup", Act;
    /// Seal the keys to recipients elsewhere.
    EscrowExport = "escrow-export", Act;
    /// Make this node the lead.
    PeerPromote = "peer-promote", Act;
    /// Go on without a member.
    PeerExpel = "peer-expel", Act;
    /// Take a member in.
    PeerAdmit = "peer-admit", Act;
    /// Give up a generation that is not active yet.
    PeerAbandon = "peer-abandon", Safety;
    /// Seal the keys to nodes that shall make replicas.
    PeerInvite = "peer-invite", Act;
    /// Compare replicas.
    PeerCheck = "peer-check", Act;
    /// Keep everybody from beginning a change.
    PeerFreeze = "peer-freeze", Safety;
    /// End that.
    PeerUnfreeze = "peer-unfreeze", Act;
    /// Take back a leave to rotate.
    PeerReleaseToken = "peer-release-token", Act;
    /// Take a coordinator's history as it is now.
    PeerAcceptHistory = "peer-accept-history", Act;
    /// Prove a key from nothing; recorded by the tool, no route leads here.
    VolumeProve = "volume-prove", Act;
    /// Make a volume; recorded by the tool, no route leads here.
    VolumeCreate = "volume-create", Act;
    /// Restore a header; recorded by the tool, no route leads here.
    HeaderRestore = "header-restore", Act;
    /// Take keys back from escrow; recorded by the tool, no route leads here.
    EscrowImport = "escrow-import", Act;
    /// Start the daemon; recorded by the daemon itself, no route leads here.
    DaemonStart = "daemon-start", Act;
    /// Stop the daemon; recorded by the daemon itself, no route leads here.
    DaemonStop = "daemon-stop", Safety;
    /// Read configuration and certificates again; recorded by the daemon itself, no route leads here.
    DaemonReload = "daemon-reload", Act;
    /// Open a volume, which loads its keys; recorded by the daemon itself, no route leads here.
    VolumeOpen = "volume-open", Act;
    /// Accept a record of a volume's peers; recorded by the daemon itself, no route leads here.
    PeerRecord = "peer-record", Act;
    /// Wrap a key by a KEK; recorded on behalf of whoever acts, no route leads here.
    KeyWrap = "key-wrap", Act;
    /// Open a wrapped key by a KEK; recorded on behalf of whoever acts, no route leads here.
    KeyUnwrap = "key-unwrap", Act;
}

impl Verb {
    /// Whether a request for it names files or keepers that the daemon then uses with its own rights: root's alone.
    pub const fn takes_paths(self) -> bool {
        matches!(self, Verb::KeyRewrap | Verb::KeyWrapAdd | Verb::HeaderBackup | Verb::EscrowExport | Verb::PeerInvite)
    }

    /// Verbs no route leads to: the daemon records them of its own accord.
    pub const INTERNAL: &'static [Verb] = &[
        Verb::DaemonStart,
        Verb::DaemonStop,
        Verb::DaemonReload,
        Verb::VolumeOpen,
        Verb::PeerRecord,
        Verb::KeyWrap,
        Verb::KeyUnwrap,
        Verb::VolumeProve,
        Verb::VolumeCreate,
        Verb::HeaderRestore,
        Verb::EscrowImport,
    ];
}

/// What a verb is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// The daemon itself.
    Daemon,
    /// The audit log.
    Audit,
    /// A volume, by export name.
    Volume(String),
    /// A key of a volume; generation 0 is the metadata key.
    Key(VolumeId, Generation),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Daemon => f.write_str("daemon"),
            Object::Audit => f.write_str("audit"),
            Object::Volume(name) => write!(f, "volume/{name}"),
            Object::Key(volume, generation) => write!(f, "key/{volume}/{generation}"),
        }
    }
}

/// An answer of the authorizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the actor may.
    pub allowed: bool,
    /// The rule that says so.
    pub rule: &'static str,
}

/// Who may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// One operator: root or the user the daemon runs as. Every verb is theirs, nobody else has any.
    SoloOperator {
        /// The user the daemon runs as.
        daemon_uid: u32,
    },
}

/// The one place where it is decided who may do what.
#[derive(Clone, Copy, Debug)]
pub struct Authorizer {
    policy: Policy,
}

impl Authorizer {
    /// The solo operator: root and `daemon_uid`.
    pub const fn solo(daemon_uid: u32) -> Authorizer {
        Authorizer { policy: Policy::SoloOperator { daemon_uid } }
    }

    /// The policy in words, for `status`.
    pub const fn describe(&self) -> &'static str {
        match self.policy {
            Policy::SoloOperator { .. } => "solo operator (root and the daemon's own user)",
        }
    }

    /// Decides. To a solo operator verbs that take paths are different, since they lend the daemon's rights; objects will
    /// matter to roles.
    pub fn authorize(&self, actor: &Actor, verb: Verb, _object: &Object) -> Decision {
        match self.policy {
            Policy::SoloOperator { .. } if actor.uid == 0 => Decision { allowed: true, rule: "solo-operator/root" },
            Policy::SoloOperator { daemon_uid } if actor.uid == daemon_uid => match verb.takes_paths() {
                true => Decision { allowed: false, rule: "solo-operator/paths-are-roots" },
                false => Decision { allowed: true, rule: "solo-operator/daemon-user" },
            },
            Policy::SoloOperator { .. } => Decision { allowed: false, rule: "solo-operator/deny-by-default" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAEMON: u32 = 998;

    #[test]
    fn every_verb_for_every_actor() {
        let table = [
            (0, true, "solo-operator/root"),
            (DAEMON, true, "solo-operator/daemon-user"),
            (1000, false, "solo-operator/deny-by-default"),
            (65534, false, "solo-operator/deny-by-default"),
            (u32::MAX, false, "solo-operator/deny-by-default"),
        ];
        let objects = [Object::Daemon, Object::Audit, Object::Volume("disk".into())];
        for verb in Verb::ALL {
            for object in &objects {
                for (uid, allowed, rule) in table {
                    let decision =
                        Authorizer::solo(DAEMON).authorize(&Actor { uid, ..Actor::default() }, *verb, object);
                    let expected = match verb.takes_paths() && uid == DAEMON {
                        true => Decision { allowed: false, rule: "solo-operator/paths-are-roots" },
                        false => Decision { allowed, rule },
                    };
                    assert_eq!(decision, expected, "{verb:?} by {uid} on {object}");
                }
            }
        }
    }

    #[test]
    fn names_of_verbs_are_distinct_and_only_the_safe_ones_may_use_the_reserve() {
        let names: std::collections::BTreeSet<_> = Verb::ALL.iter().map(|verb| verb.name()).collect();
        assert_eq!(names.len(), Verb::ALL.len());
        let safe: Vec<_> = Verb::ALL.iter().filter(|verb| verb.class() == VerbClass::Safety).collect();
        assert_eq!(
            safe,
            [
                &Verb::RotatePause,
                &Verb::RotateRollback,
                &Verb::KeyCancel,
                &Verb::KeyCompromise,
                &Verb::KeyRevoke,
                &Verb::PeerAbandon,
                &Verb::PeerFreeze,
                &Verb::DaemonStop
            ]
        );
    }

    #[test]
    fn process_start_survives_a_hostile_command_name() {
        let stat = "42 (a) R 1 2 3) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 9 9";
        assert_eq!(parse_process_start(stat), Some(123_456));
        assert_eq!(parse_process_start("nonsense"), None);
        assert!(Actor::daemon().process_start.is_some());
    }
}
