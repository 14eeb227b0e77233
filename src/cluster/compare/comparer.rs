//! The asking side: which question is next, who has answered, what it means.

use std::collections::VecDeque;

use super::WINDOW_MAX;
use super::doubt::{Doubt, Held, Verdict, is_equal};
use super::report::{Cursor, Finding, FindingKind, LeftOut, Outcome, Report};
use super::span::{Span, Subject};
use super::wire::{Answer, Ask, CheckId, CheckKey, Question, Reply, Shape};
use crate::cluster::name::NodeName;
use crate::units::Generation;

/// Extents one question about generations speaks of at most.
const MAP_WINDOW: u64 = 1 << 16;
/// Extents a digest of it speaks of at first.
const MAP_STEP: u64 = 256;
/// Milliseconds a replica has for an answer.
const PATIENCE: u64 = 30_000;
/// Milliseconds before a replica that could not answer is asked again.
const RETRY: u64 = 1_000;
/// Times a replica is asked the same.
const ASKS: u32 = 3;
/// Milliseconds before a doubtful stretch is looked at again.
const AGAIN: u64 = 500;
/// Doubtful stretches kept at a time; before there are more, those are looked at.
const DOUBTS_MAX: usize = 64;

/// What is compared, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names the comparison; random.
    pub check: CheckId,
    /// The key of content digests; random.
    pub key: CheckKey,
    /// The replicas, each once; two at least.
    pub replicas: Vec<NodeName>,
    /// Compare what clients would read, too.
    pub data: bool,
    /// Bytes each replica reads per second at most.
    pub bytes_per_s: Option<u64>,
    /// Where an earlier one came to.
    pub from: Cursor,
}

/// A payload to a replica, this node's own among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say {
    /// To whom.
    pub to: NodeName,
    /// A question.
    pub payload: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Replica {
    name: NodeName,
    is_out: bool,
    reply: Option<Reply>,
    asks: u32,
    /// When it is asked again, or given up, milliseconds.
    until: u64,
}

#[derive(Clone, Debug)]
enum Task {
    Shape,
    Look(Span),
    Again(Doubt),
}

#[derive(Clone, Debug)]
struct Open {
    number: u64,
    ask: Ask,
    task: Task,
}

/// The comparison.
#[derive(Clone, Debug)]
pub struct Comparer {
    settings: Settings,
    replicas: Vec<Replica>,
    shape: Option<Shape>,
    /// How far windows have been opened; the report tells how far all is known.
    ahead: Cursor,
    todo: Vec<Span>,
    doubts: VecDeque<Doubt>,
    open: Option<Open>,
    number: u64,
    /// Not before this, milliseconds: the pace.
    next: u64,
    report: Report,
}

impl Comparer {
    /// Begins; the first questions come with the first [`Comparer::tick`].
    pub fn start(settings: Settings) -> Comparer {
        let replica = |name: &NodeName| Replica { name: name.clone(), is_out: false, reply: None, asks: 0, until: 0 };
        let replicas = settings.replicas.iter().map(replica).collect();
        let report = Report::new(settings.from);
        let (ahead, todo, doubts) = (settings.from, Vec::new(), VecDeque::new());
        Comparer { settings, replicas, shape: None, ahead, todo, doubts, open: None, number: 0, next: 0, report }
    }

    /// What has been found so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Time has passed: `now` in milliseconds of a clock that does not go back. To be called at [`Comparer::wakes`], too.
    pub fn tick(&mut self, now: u64) -> Vec<Say> {
        let mut says = Vec::new();
        let mut silent = Vec::new();
        if let Some(open) = &self.open {
            let payload = |settings: &Settings| question(settings, open).encode();
            for replica in self.replicas.iter_mut().filter(|it| it.is_awaited() && it.until <= now) {
                if replica.asks < ASKS {
                    (replica.asks, replica.until) = (replica.asks + 1, now + PATIENCE);
                    says.push(Say { to: replica.name.clone(), payload: payload(&self.settings) });
                } else {
                    silent.push(replica.name.clone());
                }
            }
        }
        for name in silent {
            self.leave_out(&name, "it does not answer");
        }
        says.extend(self.go_on(now));
        says
    }

    /// A replica has answered.
    pub fn heard(&mut self, now: u64, from: &NodeName, payload: &[u8]) -> Vec<Say> {
        let Some(open) = &self.open else { return Vec::new() };
        let answer = match Answer::decode(payload) {
            Ok(answer) => answer,
            Err(damage) => {
                self.leave_out(from, &format!("its answer makes no sense: {damage}"));
                return self.go_on(now);
            }
        };
        if answer.check != self.settings.check || answer.number != open.number {
            return Vec::new();
        }
        let fits = match (&answer.reply, &open.task) {
            (Reply::Failed(_), _) | (Reply::Shape(_), Task::Shape) => true,
            (Reply::Cells { cells, .. }, Task::Look(span)) => span.is_answered_by(cells),
            (Reply::Cells { cells, .. }, Task::Again(doubt)) => doubt.span.is_answered_by(cells),
            _ => false,
        };
        if !fits {
            self.leave_out(from, "its answer makes no sense: it is none to what was asked");
            return self.go_on(now);
        }
        let Some(replica) = self.replicas.iter_mut().find(|it| it.name == *from && it.is_awaited()) else {
            return Vec::new();
        };
        match answer.reply {
            Reply::Failed(why) if replica.asks >= ASKS => self.leave_out(from, &why),
            Reply::Failed(_) => replica.until = now + RETRY,
            reply => replica.reply = Some(reply),
        }
        self.go_on(now)
    }

    /// When [`Comparer::tick`] has something to do at the latest, milliseconds; none once it is over.
    pub fn wakes(&self) -> Option<u64> {
        if self.report.outcome != Outcome::Running {
            return None;
        }
        let awaited = self.replicas.iter().filter(|it| it.is_awaited()).map(|it| it.until).min();
        let due = self.doubts.iter().map(|doubt| doubt.due).min();
        match &self.open {
            Some(_) => awaited,
            None if self.doubts.len() < DOUBTS_MAX && self.has_more() => Some(self.next),
            None => Some(due.unwrap_or(0).max(self.next)),
        }
    }

    fn leave_out(&mut self, name: &NodeName, why: &str) {
        let Some(replica) = self.replicas.iter_mut().find(|it| it.name == *name && !it.is_out) else { return };
        (replica.is_out, replica.reply) = (true, None);
        self.report.left_out.push(LeftOut { node: name.clone(), why: why.to_owned() });
    }

    /// Judges answers and asks on, as far as that goes now.
    fn go_on(&mut self, now: u64) -> Vec<Say> {
        while self.report.outcome == Outcome::Running {
            if self.replicas.iter().filter(|it| !it.is_out).count() < 2 {
                self.report.outcome = Outcome::Failed("fewer than two replicas can be compared".into());
                self.open = None;
                break;
            }
            if let Some(open) = self.open.take() {
                if self.replicas.iter().any(Replica::is_awaited) {
                    self.open = Some(open);
                    break;
                }
                self.judge(open.task, now);
                continue;
            }
            if now < self.next {
                break;
            }
            match self.pick(now) {
                Some(task) => return self.ask(task, now),
                None if self.doubts.is_empty() => self.report.outcome = Outcome::Done,
                None => break,
            }
        }
        Vec::new()
    }

    /// What is next: a doubtful stretch that is due, what is to be looked at more closely, or the next window.
    fn pick(&mut self, now: u64) -> Option<Task> {
        if self.shape.is_none() {
            return Some(Task::Shape);
        }
        if let Some(index) = self.doubts.iter().position(|doubt| doubt.due <= now) {
            return self.doubts.remove(index).map(Task::Again);
        }
        if self.doubts.len() >= DOUBTS_MAX {
            return None;
        }
        self.todo.pop().or_else(|| self.window()).map(Task::Look)
    }

    /// The next range nobody has looked at.
    fn window(&mut self) -> Option<Span> {
        let shape = self.shape?;
        let cursor = &mut self.ahead;
        let (extents, size) = (shape.extents(), shape.size);
        if cursor.extents < extents {
            let first = cursor.extents;
            cursor.extents = (first + MAP_WINDOW).min(extents);
            return Some(Span { subject: Subject::Map, first, end: cursor.extents, step: MAP_STEP });
        }
        (self.settings.data && cursor.bytes < size).then(|| {
            let first = cursor.bytes / WINDOW_MAX * WINDOW_MAX;
            cursor.bytes = (first + WINDOW_MAX).min(size);
            Span { subject: Subject::Plain, first, end: cursor.bytes, step: shape.extent.min(WINDOW_MAX) }
        })
    }

    /// Whether there is something that nobody has looked at.
    fn has_more(&self) -> bool {
        let Some(shape) = self.shape else { return true };
        let windows = self.ahead.extents < shape.extents() || self.settings.data && self.ahead.bytes < shape.size;
        windows || !self.todo.is_empty()
    }

    fn ask(&mut self, task: Task, now: u64) -> Vec<Say> {
        self.number += 1;
        let span = match &task {
            Task::Shape => None,
            Task::Look(span) => Some(*span),
            Task::Again(doubt) => Some(doubt.span),
        };
        let ask = span.map_or(Ask::Shape, |span| {
            let (first, count, step) = (span.first, span.end - span.first, span.step);
            match span.subject {
                Subject::Map => Ask::Map { first, count, step },
                Subject::Plain => Ask::Plain { key: self.settings.key.clone(), first, count, step },
            }
        });
        let bytes = span.filter(|span| span.subject == Subject::Plain).map_or(0, |span| span.end - span.first);
        if let Some(rate) = self.settings.bytes_per_s.filter(|rate| *rate > 0) {
            self.next = now + (u128::from(bytes) * 1000 / u128::from(rate)) as u64;
        }
        let open = Open { number: self.number, ask, task };
        let payload = question(&self.settings, &open).encode();
        self.open = Some(open);
        for replica in self.replicas.iter_mut().filter(|it| !it.is_out) {
            (replica.reply, replica.asks, replica.until) = (None, 1, now + PATIENCE);
        }
        let asked = self.replicas.iter().filter(|it| !it.is_out);
        asked.map(|it| Say { to: it.name.clone(), payload: payload.clone() }).collect()
    }

    fn judge(&mut self, task: Task, now: u64) {
        match task {
            Task::Shape => self.judge_shape(),
            Task::Look(span) => {
                let (held, draining) = self.held(&span);
                if self.shape.is_some_and(|shape| span.step == shape.extent.min(WINDOW_MAX)) {
                    self.note_unreadable(&span, &held);
                }
                self.look(span, held, draining, now);
            }
            Task::Again(mut doubt) => {
                let (held, draining) = self.held(&doubt.span);
                doubt.look(held);
                doubt.due = now + AGAIN;
                match doubt.is_over() {
                    true => self.settle(&doubt, draining),
                    false => self.doubts.push_back(doubt),
                }
            }
        }
        self.count();
    }

    /// The shape that most replicas have, the first one's if none has a majority, is the disk's.
    fn judge_shape(&mut self) {
        let shapes: Vec<(NodeName, Shape)> = self
            .replicas
            .iter_mut()
            .filter_map(|it| match it.reply.take() {
                Some(Reply::Shape(shape)) => Some((it.name.clone(), shape)),
                _ => None,
            })
            .collect();
        let votes = |shape: &Shape| shapes.iter().filter(|(_, other)| other == shape).count();
        let mut best: Option<Shape> = None;
        for (_, shape) in &shapes {
            if best.is_none_or(|best| votes(shape) > votes(&best)) {
                best = Some(*shape);
            }
        }
        let Some(best) = best else { return };
        for (name, shape) in shapes.iter().filter(|(_, shape)| *shape != best) {
            let why = format!(
                "its disk is of {} bytes in extents of {}, not of {} in extents of {}",
                shape.size, shape.extent, best.size, best.extent
            );
            self.leave_out(name, &why);
        }
        self.shape = Some(best);
    }

    /// What each replica holds, range by range, and whether generations may differ because replicas drain.
    fn held(&mut self, span: &Span) -> (Vec<Held>, bool) {
        let mut held: Vec<Held> = vec![Vec::with_capacity(self.replicas.len()); span.count()];
        let mut targets: Vec<Generation> = Vec::new();
        let mut draining = false;
        for replica in &mut self.replicas {
            let reply = replica.reply.take();
            let cells = match reply {
                Some(Reply::Cells { target, moving, cells }) => {
                    draining |= moving;
                    targets.push(target);
                    cells
                }
                _ => vec![None; span.count()],
            };
            held.iter_mut().zip(cells).for_each(|(range, cell)| range.push(cell));
        }
        draining |= targets.windows(2).any(|pair| pair[0] != pair[1]);
        (held, draining)
    }

    fn note_unreadable(&mut self, span: &Span, held: &[Held]) {
        for (range, held) in span.ranges().zip(held) {
            let closed = self.names(|index, it| !it.is_out && held[index].is_none());
            if !closed.is_empty() {
                self.found(&range, FindingKind::Unreadable, closed);
            }
        }
    }

    fn names(&self, which: impl Fn(usize, &Replica) -> bool) -> Vec<NodeName> {
        let chosen = self.replicas.iter().enumerate().filter(|(index, it)| which(*index, it));
        chosen.map(|(_, it)| it.name.clone()).collect()
    }

    /// A look at a span: what differs is looked at more closely, or is doubtful.
    fn look(&mut self, span: Span, held: Vec<Held>, draining: bool, now: u64) {
        if held.iter().all(is_equal) {
            return;
        }
        let drains = span.subject == Subject::Map && draining;
        let finer = if self.report.is_full() { None } else { span.finer() };
        match (drains, finer) {
            (true, _) => {
                for (range, held) in span.ranges().zip(&held) {
                    if !is_equal(held) {
                        self.found(&range, FindingKind::Draining, Vec::new());
                    }
                }
            }
            (false, Some(_)) => {
                let different = span.ranges().zip(&held).filter(|(_, held)| !is_equal(held));
                let mut closer: Vec<Span> = different.filter_map(|(range, _)| range.finer()).collect();
                closer.reverse();
                self.todo.append(&mut closer);
            }
            (false, None) => self.doubts.push_back(Doubt::new(span, held, now + AGAIN)),
        }
    }

    fn settle(&mut self, doubt: &Doubt, draining: bool) {
        for (range, verdict, held) in doubt.verdicts() {
            let kind = match (range.subject, verdict) {
                (_, Verdict::Equal) => continue,
                (Subject::Map, Verdict::Differs | Verdict::Busy) if draining => FindingKind::Draining,
                (_, Verdict::Differs) => FindingKind::Differs,
                (_, Verdict::Busy) => FindingKind::Busy,
            };
            let nodes = if kind == FindingKind::Differs { self.lonely(held) } else { Vec::new() };
            self.found(&range, kind, nodes);
        }
    }

    /// The replicas that do not hold what more than half of the compared ones hold.
    fn lonely(&self, held: &Held) -> Vec<NodeName> {
        let known: Vec<_> = held.iter().flatten().collect();
        let common = known.iter().find(|one| known.iter().filter(|other| other == one).count() * 2 > known.len());
        let Some(common) = common else { return Vec::new() };
        self.names(|index, _| held[index].is_some_and(|digest| digest != **common))
    }

    fn found(&mut self, range: &Span, kind: FindingKind, nodes: Vec<NodeName>) {
        let Some(shape) = self.shape else { return };
        let unit = match range.subject {
            Subject::Map => shape.extent,
            Subject::Plain => 1,
        };
        let (first, end) = (range.first * unit, (range.end * unit).min(shape.size));
        self.report.add(Finding { first, end, kind, nodes });
    }

    /// How far it has come.
    fn count(&mut self) {
        let Some(shape) = self.shape else { return };
        let mut cursor = self.ahead;
        for span in self.todo.iter().chain(self.doubts.iter().map(|doubt| &doubt.span)) {
            match span.subject {
                Subject::Map => cursor.extents = cursor.extents.min(span.first),
                Subject::Plain => cursor.bytes = cursor.bytes.min(span.first),
            }
        }
        self.report.cursor = cursor;
        let done = if self.settings.data { cursor.bytes } else { cursor.extents.saturating_mul(shape.extent) };
        self.report.done = (done.min(shape.size), shape.size);
    }
}

impl Replica {
    fn is_awaited(&self) -> bool {
        !self.is_out && self.reply.is_none()
    }
}

fn question(settings: &Settings, open: &Open) -> Question {
    Question { check: settings.check, number: open.number, ask: open.ask.clone() }
}
