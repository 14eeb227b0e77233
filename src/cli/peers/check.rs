//! Comparing replicas: the comparer's questions carried to the peers and their answers back, and this node's own answers.
//!
//! Threads: `km-seat-check` answers questions of peers, one at a time; `km-peer-check` drives a comparison that an operator has asked
//! for. Invariants: a question is answered from the volume as a client would read it, beside clients and rotations; at most one
//! comparison of a volume is driven here at a time; answers that nobody waits for are dropped.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::post::Post;
use crate::cli::operations::Served;
use crate::cli::words;
use crate::cluster::compare::{
    CheckKey, Comparer, Cursor, Digest, Digests, Finding, FindingKind, Outcome, Report, Say, Settings, Shape, answer,
    is_question,
};
use crate::cluster::message::{Body, Message};
use crate::cluster::name::NodeName;
use crate::cluster::record::Role;
use crate::control::api::{
    ApiError, CheckState, Difference, DifferenceKind, ErrorKind, LeftOut, PeerCheckRequest, PeerCheckStatus,
};
use crate::control::authorize::{Object, Verb};
use crate::control::door::Door;
use crate::format::generations::Phase;
use crate::rotation::controller::describe;
use crate::units::{Extent, Generation};
use crate::volume::Volume;
use crate::volume::replica::PlainDigest;

/// Questions of peers that may wait; more are lost, and asked again.
const QUESTIONS_MAX: usize = 16;
/// Answers that may wait for the comparer.
const ANSWERS_MAX: usize = 256;

/// What a volume says of itself when it is compared.
struct VolumeDigests<'a>(&'a Volume);

impl Digests for VolumeDigests<'_> {
    fn shape(&self) -> Shape {
        Shape { size: self.0.size(), extent: self.0.extent_size() }
    }

    fn target(&self) -> (Generation, bool) {
        let rotation = self.0.rotation();
        (rotation.target, matches!(rotation.phase, Phase::Running | Phase::Paused | Phase::Failed))
    }

    fn map(&self, first: u64, count: u64, per_range: u64) -> Result<Vec<[u8; 32]>, String> {
        let narrow = |value: u64| u32::try_from(value).map_err(|_| "there are no so many extents".to_owned());
        let digests = self.0.map_digests(Extent(narrow(first)?), narrow(count)?, narrow(per_range)?);
        digests.map_err(|error| describe(&error))
    }

    fn plain(&self, key: &[u8; 32], offset: u64, len: u64, step: u64) -> Result<Vec<Option<Digest>>, String> {
        let digests = self.0.plain_digests(key, offset, len, step).map_err(|error| describe(&error))?;
        let digest = |digest: PlainDigest| match digest {
            PlainDigest::Of(digest) => Some(digest),
            PlainDigest::Closed(_) | PlainDigest::Barred | PlainDigest::Unread(_) => None,
        };
        Ok(digests.into_iter().map(digest).collect())
    }
}

/// Answers questions of peers on a thread of its own.
pub struct Answerer(SyncSender<(NodeName, Role, Vec<u8>)>);

impl Answerer {
    /// Starts it.
    ///
    /// # Errors
    /// A thread cannot be had.
    pub fn start(served: &Arc<Served>, post: &Arc<Post>) -> std::io::Result<Answerer> {
        let (questions, asked) = sync_channel(QUESTIONS_MAX);
        let (served, post) = (Arc::clone(served), Arc::clone(post));
        let run = move || answer_all(&served, &post, &asked);
        std::thread::Builder::new().name("km-seat-check".into()).spawn(run)?;
        Ok(Answerer(questions))
    }

    /// Has a question answered, unless too many wait.
    pub fn ask(&self, from: NodeName, role: Role, question: Vec<u8>) {
        let _ = self.0.try_send((from, role, question));
    }
}

fn answer_all(served: &Served, post: &Post, asked: &Receiver<(NodeName, Role, Vec<u8>)>) {
    let volume = served.controller.volume();
    for (from, role, question) in asked {
        match answer(&question, role, &VolumeDigests(volume)) {
            Ok(payload) => drop(post.send(&from, &Message { volume: volume.id(), body: Body::Check(payload) })),
            Err(damage) => tracing::warn!(%from, %damage, "a question of a comparison cannot be read"),
        }
    }
}

/// The comparison of a volume that runs here, or the last one.
#[derive(Default)]
pub struct Comparison(Mutex<State>);

#[derive(Default)]
struct State {
    status: PeerCheckStatus,
    answers: Option<SyncSender<(NodeName, Vec<u8>)>>,
    stop: Option<Sender<()>>,
}

/// What a comparison is driven with.
pub struct Drive {
    /// This node.
    pub me: NodeName,
    /// The volume.
    pub served: Arc<Served>,
    /// The way to others.
    pub post: Arc<Post>,
    /// Where its result is recorded.
    pub door: Arc<Door>,
    /// Who holds replicas.
    pub replicas: Vec<NodeName>,
}

impl Comparison {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer of a peer. Whether it was one at all.
    pub fn heard(&self, from: &NodeName, payload: &[u8]) -> bool {
        if is_question(payload) {
            return false;
        }
        if let Some(answers) = &self.lock().answers {
            let _ = answers.try_send((from.clone(), payload.to_vec()));
        }
        true
    }

    /// How far it is.
    pub fn status(&self) -> PeerCheckStatus {
        self.lock().status.clone()
    }

    /// Ends it, if one runs.
    pub fn stop(&self) {
        self.lock().stop = None;
    }

    /// Begins one.
    pub fn start(self: &Arc<Self>, drive: Drive, request: &PeerCheckRequest) -> Result<PeerCheckStatus, ApiError> {
        let mut check = [0; 16];
        let mut key = [0; 32];
        getrandom::fill(&mut check)
            .and_then(|()| getrandom::fill(&mut key))
            .map_err(|error| ApiError::new(ErrorKind::Internal, format!("no random bytes can be had: {error}")))?;
        let mut state = self.lock();
        if state.answers.is_some() {
            let what = "the replicas are being compared already";
            return Err(ApiError::new(ErrorKind::State, what).hint("`keymoult peer check` shows how far"));
        }
        let settings = Settings {
            check,
            key: CheckKey(key),
            replicas: drive.replicas.clone(),
            data: request.data,
            bytes_per_s: request.bytes_per_s,
            from: Cursor::default(),
        };
        let (answers, heard) = sync_channel(ANSWERS_MAX);
        let (stop, stopped) = channel();
        state.status = PeerCheckStatus {
            volume: drive.served.name.clone(),
            state: CheckState::Running,
            data: request.data,
            started: words::time(words::now()),
            bytes_total: drive.served.controller.volume().size(),
            replicas: drive.replicas.iter().map(ToString::to_string).collect(),
            ..PeerCheckStatus::default()
        };
        (state.answers, state.stop) = (Some(answers), Some(stop));
        let status = state.status.clone();
        drop(state);
        let this = Arc::clone(self);
        let run = move || this.run(&drive, Comparer::start(settings), &heard, &stopped);
        let spawned = std::thread::Builder::new().name("km-peer-check".into()).spawn(run);
        spawned.map(|_| status).map_err(|error| {
            (self.lock().answers, self.lock().stop) = (None, None);
            ApiError::new(ErrorKind::Internal, format!("no thread can be had: {error}"))
        })
    }

    fn run(
        &self,
        drive: &Drive,
        mut comparer: Comparer,
        heard: &Receiver<(NodeName, Vec<u8>)>,
        stopped: &Receiver<()>,
    ) {
        let begun = Instant::now();
        let now = || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut says = comparer.tick(now());
        loop {
            while let Some(say) = says.pop() {
                says.extend(drive.carry(&mut comparer, say, now()));
            }
            self.show(comparer.report());
            let Some(wakes) = comparer.wakes() else { break };
            if stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
                return;
            }
            // Short, so that the end of the daemon is noticed.
            let patience = Duration::from_millis(wakes.saturating_sub(now()).min(200));
            says = match heard.recv_timeout(patience) {
                Ok((from, payload)) => comparer.heard(now(), &from, &payload),
                Err(RecvTimeoutError::Timeout) => comparer.tick(now()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
        let report = comparer.report();
        let object = Object::Volume(drive.served.name.clone());
        drive.door.note(Verb::PeerCheck, &object, &said(report));
        let mut state = self.lock();
        (state.answers, state.stop) = (None, None);
    }

    fn show(&self, report: &Report) {
        let mut state = self.lock();
        let status = &mut state.status;
        status.state = match &report.outcome {
            Outcome::Running => CheckState::Running,
            Outcome::Done => CheckState::Done,
            Outcome::Failed(_) => CheckState::Failed,
        };
        status.why = match &report.outcome {
            Outcome::Failed(why) => Some(why.clone()),
            Outcome::Running | Outcome::Done => None,
        };
        (status.bytes_done, status.bytes_total) = report.done;
        status.bytes_differing = report.differing;
        status.bytes_busy = report.busy;
        status.bytes_unreadable = report.unreadable;
        status.bytes_draining = report.draining;
        status.unlisted = report.unlisted;
        status.differences = report.findings.iter().map(difference).collect();
        let left_out = report.left_out.iter();
        status.left_out = left_out.map(|it| LeftOut { node: it.node.to_string(), why: it.why.clone() }).collect();
    }
}

impl Drive {
    /// Carries a question to whom it is for; this node answers itself at once.
    fn carry(&self, comparer: &mut Comparer, say: Say, now: u64) -> Vec<Say> {
        let volume = self.served.controller.volume();
        if say.to != self.me {
            self.post.send(&say.to, &Message { volume: volume.id(), body: Body::Check(say.payload) });
            return Vec::new();
        }
        match answer(&say.payload, Role::Full, &VolumeDigests(volume)) {
            Ok(payload) => comparer.heard(now, &self.me, &payload),
            Err(_) => Vec::new(),
        }
    }
}

fn difference(finding: &Finding) -> Difference {
    Difference {
        kind: match finding.kind {
            FindingKind::Differs => DifferenceKind::Differs,
            FindingKind::Busy => DifferenceKind::Busy,
            FindingKind::Unreadable => DifferenceKind::Unreadable,
            FindingKind::Draining => DifferenceKind::Draining,
        },
        first: finding.first,
        end: finding.end,
        nodes: finding.nodes.iter().map(ToString::to_string).collect(),
    }
}

/// The result in words, for the record.
fn said(report: &Report) -> String {
    match &report.outcome {
        Outcome::Failed(why) => format!("the replicas could not be compared: {why}"),
        _ if report.differing > 0 => format!("the replicas differ in {} bytes", report.differing),
        _ => format!(
            "no difference found; {} bytes were busy, {} could not be read, {} replicas were left out",
            report.busy,
            report.unreadable,
            report.left_out.len()
        ),
    }
}
