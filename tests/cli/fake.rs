//! A daemon of cardboard: the verbs of [`Operations`] over a table in memory, and a server in front of it.
//!
//! Every look at a running rotation moves it one step, so that what waits for it sees the same steps each time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use keymoult::control::api::*;
use keymoult::control::audit::AuditLog;
use keymoult::control::peers::{PeerOperations, no_peers};
use keymoult::control::{Authorizer, Client, Door, Operations, Server};

use crate::samples::{holder, plan, report, rewrapped, wrap};

/// Extents of the cardboard volume.
pub const EXTENTS: u64 = 4;

/// The daemon.
pub struct Fake {
    pub rotation: Mutex<Rotation>,
    pub not_ready: bool,
    /// What the next verb meets instead of doing anything.
    pub fault: Mutex<Option<ApiError>>,
    /// Whether the check asked for and not yet looked at is a full one.
    pub check: Mutex<Option<bool>>,
    /// The replicas of its volume; none: no peers are configured.
    pub peers: Option<PeerStatus>,
}

impl Default for Fake {
    fn default() -> Fake {
        Fake {
            rotation: Mutex::new(Rotation::default()),
            not_ready: false,
            fault: Mutex::new(None),
            check: Mutex::new(None),
            peers: None,
        }
    }
}

impl Fake {
    pub fn known(&self, volume: &str) -> Result<(), ApiError> {
        let fault = self.fault.lock().unwrap().take();
        match fault {
            Some(fault) => Err(fault),
            None if volume == "panic" => panic!("on purpose"),
            None if volume == "disk0" => Ok(()),
            None => Err(ApiError::no_such_volume(volume)),
        }
    }

    fn act(
        &self,
        volume: &str,
        allowed: &[RotationState],
        then: impl FnOnce(&mut Rotation),
    ) -> Result<ActionResult, ApiError> {
        self.known(volume)?;
        let mut rotation = self.rotation.lock().unwrap();
        if !allowed.contains(&rotation.state) {
            return Err(ApiError::new(ErrorKind::State, format!("the rotation is {}", rotation.state.name()))
                .at(format!("volume {volume}"))
                .hint("`keymoult rotate status` shows where it stands"));
        }
        let before = rotation.clone();
        then(&mut rotation);
        let notes = if rotation.state == RotationState::RollingBack {
            vec!["reverses what was moved".into()]
        } else {
            Vec::new()
        };
        let (changed, rotation) = (*rotation != before, rotation.clone());
        Ok(ActionResult { volume: volume.into(), changed, complete: true, notes, rotation })
    }

    /// A step of generation 1, which alone has a life here.
    fn key(&self, volume: &str, generation: u32, state: KeyState) -> Result<KeyActed, ApiError> {
        self.known(volume)?;
        if generation != 1 {
            let what = format!("generation {generation} is active: start a rotation away from it first");
            return Err(ApiError::new(ErrorKind::State, what));
        }
        Ok(KeyActed {
            volume: volume.into(),
            generation,
            state,
            changed: true,
            complete: state != KeyState::Revoked,
            notes: vec!["what an operator should know".into()],
            evidence: Some("ab".repeat(32)),
            proof: (state == KeyState::Disabled).then(|| "/var/lib/keymoult/proofs/v/1.json".into()),
            left_memory_ms: (state == KeyState::Revoked).then_some(3),
        })
    }

    fn checking(&self, volume: &str, state: CheckState, full: bool) -> CheckStatus {
        CheckStatus {
            volume: volume.into(),
            state,
            full,
            started: Some("2026-01-02T03:04:05Z".into()),
            bytes_done: 4096,
            bytes_total: 8192,
            report: (state == CheckState::Done).then(report),
            why: (state == CheckState::Failed).then(|| "the check was cut short".into()),
        }
    }

    /// The rotation, one step further.
    fn step(&self) -> Rotation {
        let mut rotation = self.rotation.lock().unwrap();
        let seen = rotation.clone();
        let rotation = &mut *rotation;
        match rotation.state {
            RotationState::Running if rotation.extents_done < EXTENTS => {
                rotation.extents_done += 1;
                rotation.bytes_rewritten += 1 << 20;
                rotation.batches += 1;
                rotation.flushes += 1;
            }
            RotationState::Running => rotation.state = RotationState::Verifying,
            RotationState::Verifying if rotation.extents_verified < EXTENTS => rotation.extents_verified += 2,
            RotationState::Verifying if rotation.hold_finalize => rotation.state = RotationState::Verified,
            RotationState::Verifying => {
                rotation.state = RotationState::Finalized;
                rotation.rollback_to = None;
            }
            RotationState::RollingBack => {
                rotation.state = RotationState::RolledBack;
                rotation.why = Some("asked for by user 0".into());
            }
            _ => {}
        }
        seen
    }
}

impl Operations for Fake {
    fn status(&self) -> Result<DaemonStatus, ApiError> {
        Ok(DaemonStatus {
            version: "0.0.1".into(),
            pid: 4242,
            started: "2026-01-02T03:04:05Z".into(),
            io: IoReport {
                name: "ring".into(),
                features: vec!["fixed files".into()],
                lost: vec!["registered buffers".into()],
            },
            crypto_engine: "aws-lc".into(),
            unlocked_secret_bytes: 4096,
            lost: vec!["huge pages".into()],
            control: ControlStatus::default(),
            volumes: vec![VolumeStatus {
                name: "disk0".into(),
                id: "00000000-0000-4000-8000-000000000000".into(),
                path: "/srv/disk0.img".into(),
                header: Some("/srv/disk0.header".into()),
                size_bytes: EXTENTS << 20,
                max_size_bytes: EXTENTS << 21,
                extent_bytes: 1 << 20,
                data_unit_bytes: 4096,
                granule_bytes: 512,
                granule_source: "logical block of vda".into(),
                cache: "direct".into(),
                poisoned: Some("a flush failed".into()),
                alarms: vec![Alarm {
                    kind: AlarmKind::FallbackKek,
                    since: "2026-01-02T03:04:05Z".into(),
                    count: 1,
                    what: "the keys of generations 0 were opened by a fallback".into(),
                }],
                growing: Some(Growing { bytes_done: 1 << 20, bytes_total: 4 << 20 }),
                active_generation: 2,
                census: BTreeMap::from([(1, 3), (2, 1)]),
                rotation: self.rotation.lock().unwrap().clone(),
                peers: self.peers.clone(),
                ..VolumeStatus::default()
            }],
        })
    }

    fn keys(&self, volume: &str) -> Result<Vec<KeyInfo>, ApiError> {
        self.known(volume)?;
        let wrap = wrap("ab12");
        let key = |generation, state| KeyInfo {
            generation,
            key_id: "00112233445566778899aabbccddeeff".into(),
            suite: "aes-256-xts".into(),
            suite_standing: (generation == 1).then(|| "deprecated by policy.suites.aes-256-xts".into()),
            data_unit_bytes: 4096,
            state,
            compromised: generation == 1,
            created: "2026-01-02T03:04:05Z".into(),
            activated: Some("2026-01-02T03:04:06Z".into()),
            bytes_encrypted: 5 << 20,
            extents: 2,
            age_s: 86_400,
            cryptoperiod_left_s: (generation > 0).then_some(if generation == 1 { -3600 } else { 7200 }),
            bytes_left: (generation > 0).then_some(if generation == 1 { -(1 << 20) } else { 1 << 30 }),
            changed: (generation == 1).then(|| "2026-01-03T00:00:00Z".into()),
            actor: (generation == 1).then(|| "user 0, process 7".into()),
            reason: (generation == 1).then(|| "leaked".into()),
            scheduled: (generation == 1).then(|| "2026-01-10T00:00:00Z".into()),
            evidence: (generation == 1).then(|| "ab".repeat(32)),
            wraps: vec![wrap.clone()],
        };
        Ok(vec![key(0, KeyState::Active), key(1, KeyState::Draining), key(2, KeyState::Active)])
    }

    fn retire_key(&self, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError> {
        self.key(volume, request.generation, KeyState::Disabled)
    }

    fn restore_key(&self, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError> {
        self.key(volume, request.generation, KeyState::Empty)
    }

    fn schedule_key(&self, volume: &str, request: &ScheduleRequest) -> Result<KeyActed, ApiError> {
        self.key(volume, request.generation, KeyState::Scheduled)
    }

    fn cancel_key(&self, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError> {
        self.key(volume, request.generation, KeyState::Disabled)
    }

    fn destroy_key(&self, volume: &str, request: &DestroyRequest) -> Result<KeyActed, ApiError> {
        self.key(volume, request.generation, KeyState::Destroyed)
    }

    fn compromise_key(&self, volume: &str, request: &BreakGlassRequest) -> Result<KeyActed, ApiError> {
        self.key(volume, request.generation, KeyState::Draining)
    }

    fn revoke_key(&self, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError> {
        self.key(volume, request.generation, KeyState::Revoked)
    }

    fn reinstate_key(&self, volume: &str, request: &BreakGlassRequest) -> Result<KeyActed, ApiError> {
        self.key(volume, request.generation, KeyState::Draining)
    }

    fn verify_proof(&self, volume: &str, request: &ProofRequest) -> Result<ProofVerdict, ApiError> {
        self.known(volume)?;
        let authentic = request.proof == "signed";
        Ok(ProofVerdict {
            volume: volume.into(),
            generation: 1,
            digest: "ab".repeat(32),
            authentic,
            on_record: authentic,
            time: Some("2026-01-03T00:00:00Z".into()),
            actor: "user 0, process 7".into(),
            holders: vec!["header-backup /srv/old".into()],
        })
    }

    fn rotation(&self, volume: &str) -> Result<Rotation, ApiError> {
        self.known(volume)?;
        Ok(self.step())
    }

    fn plan(&self, volume: &str, request: &RotateStart) -> Result<RotationPlan, ApiError> {
        self.known(volume)?;
        Ok(plan(volume, request))
    }

    fn start(&self, volume: &str, request: &RotateStart) -> Result<ActionResult, ApiError> {
        let settled = [RotationState::Idle, RotationState::Finalized, RotationState::RolledBack];
        self.act(volume, &settled, |rotation| {
            *rotation = Rotation {
                epoch: rotation.epoch + 1,
                state: RotationState::Running,
                from: Some(1),
                to: Some(2),
                rollback_to: Some(1),
                order: request.order.clone(),
                pace: request.pace,
                verify: request.verify,
                hold_finalize: request.hold_finalize,
                started: Some("2026-01-02T03:04:07Z".into()),
                extents_total: EXTENTS,
                rate_bytes_per_s: 1 << 30,
                eta_s: Some(90),
                write_amplification: 1.0039,
                metadata_bytes: 8192,
                last_error: Some("a read was retried".into()),
                ..Rotation::default()
            };
        })
    }

    fn pause(&self, volume: &str, _: &PauseRequest) -> Result<ActionResult, ApiError> {
        self.act(volume, &[RotationState::Running, RotationState::Paused], |rotation| {
            rotation.state = RotationState::Paused
        })
    }

    fn resume(&self, volume: &str, _: &PauseRequest) -> Result<ActionResult, ApiError> {
        self.act(volume, &[RotationState::Running, RotationState::Paused], |rotation| {
            rotation.state = RotationState::Running
        })
    }

    fn pace(&self, volume: &str, request: &PaceRequest) -> Result<ActionResult, ApiError> {
        self.act(volume, &[RotationState::Running, RotationState::Paused], |rotation| rotation.pace = request.pace)
    }

    fn rollback(&self, volume: &str, _: &ReasonRequest) -> Result<ActionResult, ApiError> {
        let allowed =
            [RotationState::Running, RotationState::Paused, RotationState::Verifying, RotationState::Verified];
        self.act(volume, &allowed, |rotation| rotation.state = RotationState::RollingBack)
    }

    fn verify(&self, volume: &str, request: &VerifyRequest) -> Result<ActionResult, ApiError> {
        self.act(volume, &[RotationState::Verified], |rotation| {
            rotation.state = RotationState::Verifying;
            rotation.verify = request.verify;
            rotation.extents_verified = 0;
        })
    }

    fn finalize(&self, volume: &str, _: &ReasonRequest) -> Result<ActionResult, ApiError> {
        self.act(volume, &[RotationState::Verified], |rotation| {
            rotation.state = RotationState::Finalized;
            rotation.rollback_to = None;
        })
    }

    fn resize(&self, volume: &str, request: &ResizeRequest) -> Result<Resized, ApiError> {
        self.known(volume)?;
        if request.size_bytes > EXTENTS << 21 {
            return Err(ApiError::new(ErrorKind::State, "the volume cannot grow: its metadata have room for less"));
        }
        Ok(Resized {
            volume: volume.into(),
            changed: request.size_bytes != EXTENTS << 20,
            size_before_bytes: EXTENTS << 20,
            size_bytes: request.size_bytes,
            max_size_bytes: EXTENTS << 21,
        })
    }

    fn check(&self, volume: &str, request: &CheckRequest) -> Result<CheckStatus, ApiError> {
        self.known(volume)?;
        *self.check.lock().unwrap() = Some(request.full);
        Ok(self.checking(volume, CheckState::Running, request.full))
    }

    /// Running at the first look, done at the next; a full check fails.
    fn check_status(&self, volume: &str) -> Result<CheckStatus, ApiError> {
        self.known(volume)?;
        let asked = self.check.lock().unwrap().take();
        let state = match asked {
            None => CheckState::Done,
            Some(true) => CheckState::Failed,
            Some(false) => CheckState::Running,
        };
        Ok(self.checking(volume, state, asked == Some(true)))
    }

    fn rewrap(&self, volume: &str, request: &RewrapRequest) -> Result<Rewrapped, ApiError> {
        self.known(volume)?;
        let removed = if request.keep_old { Vec::new() } else { vec![wrap("ab12")] };
        Ok(rewrapped(volume, Some(wrap("cd34")), removed, &request.to))
    }

    fn wrap_add(&self, volume: &str, request: &WrapAddRequest) -> Result<Rewrapped, ApiError> {
        self.known(volume)?;
        Ok(rewrapped(volume, Some(wrap("cd34")), Vec::new(), &request.to))
    }

    fn wrap_remove(&self, volume: &str, request: &WrapRemoveRequest) -> Result<Rewrapped, ApiError> {
        self.known(volume)?;
        match request.from.as_str() {
            "ab12" => Ok(rewrapped(volume, None, vec![wrap("ab12")], "file:/etc/keymoult/new")),
            _ => Err(ApiError::new(ErrorKind::State, "no wrap is by that KEK")),
        }
    }

    fn holders(&self, volume: &str) -> Result<HolderList, ApiError> {
        self.known(volume)?;
        let holders = vec![
            holder(HolderKind::Escrow),
            HolderInfo { overdue: true, released: None, ..holder(HolderKind::HeaderBackup) },
        ];
        Ok(HolderList { volume: volume.into(), drill_max_age_s: Some(86_400), holders })
    }

    fn add_holder(&self, volume: &str, request: &HolderRequest) -> Result<HolderResult, ApiError> {
        self.known(volume)?;
        let holder =
            HolderInfo { label: request.label.clone(), drilled: None, released: None, ..holder(HolderKind::Snapshot) };
        Ok(HolderResult { volume: volume.into(), changed: true, holder })
    }

    fn release_holder(&self, volume: &str, _: &HolderNamed) -> Result<HolderResult, ApiError> {
        self.known(volume)?;
        Ok(HolderResult { volume: volume.into(), changed: true, holder: holder(HolderKind::Snapshot) })
    }

    fn drilled_holder(&self, volume: &str, _: &HolderNamed) -> Result<HolderResult, ApiError> {
        self.known(volume)?;
        Ok(HolderResult { volume: volume.into(), changed: true, holder: holder(HolderKind::Escrow) })
    }

    fn back_up(&self, volume: &str, request: &BackupRequest) -> Result<BackupResult, ApiError> {
        self.known(volume)?;
        let holder = HolderInfo { drilled: None, released: None, ..holder(HolderKind::HeaderBackup) };
        let (volume, path) = (volume.into(), request.path.clone());
        Ok(BackupResult { volume, path, size_bytes: 4096, epoch: 3, settled: true, holder })
    }

    fn export_escrow(&self, volume: &str, request: &EscrowRequest) -> Result<BackupResult, ApiError> {
        let path = request.path.clone();
        self.back_up(volume, &BackupRequest { path, ..BackupRequest::default() })
    }

    fn peers(&self) -> Result<&dyn PeerOperations, ApiError> {
        self.peers.as_ref().map(|_| self as &dyn PeerOperations).ok_or_else(no_peers)
    }

    fn ready(&self) -> Result<(), ApiError> {
        match self.not_ready {
            true => Err(ApiError::new(ErrorKind::Unavailable, "volumes are being opened")),
            false => Ok(()),
        }
    }
}

/// A server over a fake, in a directory of its own.
pub struct Daemon {
    pub dir: tempfile::TempDir,
    pub socket: PathBuf,
    pub fake: Arc<Fake>,
    server: Option<Server>,
}

impl Daemon {
    /// Serves `fake`; `operator` is the user the daemon pretends to run as.
    pub fn of(fake: Fake, operator: u32) -> Daemon {
        let dir = tempfile::tempdir().unwrap();
        let (socket, fake) = (dir.path().join("control.sock"), Arc::new(fake));
        let door = Door::new(Authorizer::solo(operator), AuditLog::open(dir.path()).unwrap());
        let server = Server::start(&socket, Arc::new(door), fake.clone()).unwrap();
        Daemon { dir, socket, fake, server: Some(server) }
    }

    /// Serves a fresh fake to the user who runs the tests.
    pub fn new() -> Daemon {
        Daemon::of(Fake::default(), nix::unistd::geteuid().as_raw())
    }

    pub fn client(&self) -> Client {
        Client::new(&self.socket).unwrap()
    }

    pub fn stop(&mut self) {
        self.server.take().unwrap().stop();
    }
}
