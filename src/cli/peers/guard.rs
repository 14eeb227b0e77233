//! A coordinator beside a seat: who leads by its word, and each record published there before members see it.
//!
//! One thread for each volume, `km-seat-guard`, since a coordinator may keep one waiting. Invariants: the state machine is told to lead only
//! in an epoch that the coordinator has given this node, and to stop when it says another one does; while it cannot be
//! asked nothing is published, so no change goes forward, and clients notice nothing; a record that makes safe goes to members all
//! the same, who hold it to the epoch they have promised, and is published later; what is the matter with the coordinator is known
//! before something has to be published; a leave to rotate is given back only when the change it was taken for has ended.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::seat::{Input, Shown};
use crate::cli::words;
use crate::cluster::coordinator::{
    Campaign, Coordinator, CoordinatorError, DuringFreeze, Freeze, Publication, Standing, Taken,
};
use crate::cluster::name::NodeName;
use crate::cluster::node::{By, Command, Event, Ticket, View};
use crate::cluster::record::{Signed, Step};
use crate::cluster::stamp::Stamp;
use crate::units::VolumeId;

/// How often it is looked who leads.
const LOOK: Duration = Duration::from_secs(1);
/// How often the coordinator is asked how it stands, and this node tries to lead where nobody does.
const ASK: Duration = Duration::from_secs(3);
/// How long a node that is not the configured lead lets that one begin.
const COURTESY: Duration = Duration::from_secs(6);
/// How long the end of a daemon waits until its lead is given up.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often the state machine is told to lead, until it does.
const INSIST: Duration = Duration::from_secs(10);

/// A record to be published.
pub struct Order {
    /// Names it.
    pub ticket: Ticket,
    /// The record before it.
    pub previous: Stamp,
    /// The record.
    pub signed: Box<Signed>,
    /// Whether it makes safe, so that a freeze does not stop it.
    pub is_safe: bool,
}

/// The coordinator, as commands on a volume need it.
pub struct Leave {
    /// The coordinator.
    pub coordinator: Arc<dyn Coordinator>,
    /// The volume.
    pub volume: VolumeId,
    /// How many volumes may rotate at a time.
    pub concurrent: usize,
    /// The change that a leave was taken for; unknown after a start.
    taken_for: Mutex<Option<u64>>,
    /// The freeze that stood when it was last asked for.
    frozen: Mutex<Option<Freeze>>,
}

impl Leave {
    /// For a volume.
    pub fn new(coordinator: Arc<dyn Coordinator>, volume: VolumeId, concurrent: usize) -> Leave {
        Leave { coordinator, volume, concurrent, taken_for: Mutex::new(Some(0)), frozen: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Option<u64>> {
        self.taken_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes leave for the change of this number.
    ///
    /// # Errors
    /// The fleet is frozen, too many volumes rotate, or the coordinator cannot be asked.
    pub fn take(&self, change: u64) -> Result<(), String> {
        if let Some(freeze) = self.coordinator.frozen().map_err(|error| error.to_string())? {
            return Err(CoordinatorError::Frozen(freeze).to_string());
        }
        // Said before it is taken: the thread that gives leaves back must not take it for the last change's.
        *self.taken() = Some(change);
        let taken = self.coordinator.take_token(self.volume, words::now(), self.concurrent);
        let why = match taken {
            Ok(Taken::Yes) => return Ok(()),
            Ok(Taken::Full(tokens)) => {
                let who: Vec<String> =
                    tokens.iter().map(|token| format!("{} by {}", token.volume, token.node)).collect();
                format!("{} volumes may rotate at a time, and these do: {}", self.concurrent, who.join(", "))
            }
            Err(error) => error.to_string(),
        };
        self.give_back();
        Err(why)
    }

    /// The freeze that stood when it was last asked for.
    pub fn frozen(&self) -> Option<Freeze> {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives it back: the change did not begin.
    pub fn give_back(&self) {
        *self.taken() = Some(0);
    }

    /// Gives it back if its change has ended.
    fn settle(&self, view: &View) {
        let change = &view.durable.committed.record.change;
        let has_ended = matches!(change.step, Step::Idle | Step::Finalized);
        let due = self.taken().is_some_and(|taken| change.id >= taken);
        if view.leads && has_ended && due && self.coordinator.return_token(self.volume).is_ok() {
            *self.taken() = None;
        }
    }
}

/// The thread, seen from the seat. It ends with this.
pub struct Guard {
    orders: Option<Sender<Order>>,
    ended: Receiver<()>,
}

impl Guard {
    /// Has a record published; what comes of it goes to the seat.
    pub fn publish(&self, order: Order) {
        let _ = self.orders.as_ref().map(|orders| orders.send(order));
    }
}

impl Drop for Guard {
    /// Gives the lead up, if that is quickly done.
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

/// When the thread does next what it does again and again.
struct Due {
    /// Asks how the coordinator stands.
    question: Instant,
    /// Tries to lead.
    campaign: Instant,
    /// Tells the state machine.
    word: Instant,
    /// Whether the coordinator could not be asked the last time.
    is_away: bool,
}

/// Whether it is time; then the next time is so much later.
fn passed(due: &mut Instant, every: Duration) -> bool {
    let now = Instant::now();
    let is_time = now >= *due;
    if is_time {
        *due = now + every;
    }
    is_time
}

/// What the thread works with.
pub struct Watch {
    /// The coordinator.
    pub leave: Arc<Leave>,
    /// This node.
    pub me: NodeName,
    /// Whether it may lead: a witness cannot.
    pub may_lead: bool,
    /// Whether it is the one that leads by configuration.
    pub goes_first: bool,
    /// The seat.
    pub seat: SyncSender<Input>,
    /// What the seat shows.
    pub shown: Arc<Mutex<Shown>>,
}

impl Watch {
    /// Starts the thread.
    ///
    /// # Errors
    /// A thread cannot be had.
    pub fn start(self) -> std::io::Result<Guard> {
        let (orders, ordered) = channel();
        let (over, ended) = sync_channel(1);
        let run = move || {
            self.run(&ordered);
            let _ = over.send(());
        };
        std::thread::Builder::new().name("km-seat-guard".into()).spawn(run)?;
        Ok(Guard { orders: Some(orders), ended })
    }

    fn run(&self, ordered: &Receiver<Order>) {
        let now = Instant::now();
        let campaign = if self.goes_first { now } else { now + COURTESY };
        let mut due = Due { question: now, campaign, word: now, is_away: false };
        let mut looked = now;
        loop {
            match ordered.recv_timeout(LOOK) {
                Ok(order) => {
                    let published = self.go_forward(&order, due.is_away).map_err(|error| error.to_string());
                    if self.seat.send(Input::Event(Box::new(Event::Guarded(order.ticket, published)))).is_err() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.resign(),
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look(&mut due);
            }
        }
    }

    /// Another node need not wait for the lease.
    fn resign(&self) {
        if let Err(error) = self.leave.coordinator.resign(self.leave.volume) {
            tracing::info!(volume = %self.leave.volume, %error, "the lead stays until its lease ends");
        }
    }

    /// Publishes a record; one that makes safe does not wait for a coordinator that is away.
    fn go_forward(&self, order: &Order, is_away: bool) -> Result<(), CoordinatorError> {
        if order.is_safe && is_away {
            return Ok(());
        }
        match self.publish(order) {
            Err(error) if order.is_safe && !is_verdict(&error) => Ok(()),
            published => published,
        }
    }

    fn publish(&self, order: &Order) -> Result<(), CoordinatorError> {
        let (coordinator, volume) = (&self.leave.coordinator, self.leave.volume);
        // The first record of all was founded without the coordinator; a gap is what an outage leaves. What a lead before this one
        // has published and nobody else holds is not what a majority went on from.
        let previous = coordinator.fetch(volume)?.map(|there| there.stamp);
        let stamp = order.signed.record.stamp;
        let of_a_lead_since = |found: &Stamp| found.epoch >= stamp.epoch && *found > order.previous && *found != stamp;
        if let Some(found) = previous.filter(of_a_lead_since) {
            return Err(CoordinatorError::Moved { expected: Some(order.previous), found: Some(found) });
        }
        let bytes = order.signed.encode();
        let during_freeze = if order.is_safe { DuringFreeze::Allowed } else { DuringFreeze::Refused };
        coordinator.publish(&Publication { volume, previous, stamp, record: &bytes, during_freeze })
    }

    /// Brings what the coordinator says of the lead and what the state machine does together.
    fn look(&self, due: &mut Due) {
        let Some(view) = self.shown.lock().unwrap_or_else(PoisonError::into_inner).view.clone() else { return };
        self.leave.settle(&view);
        let durable = &view.durable;
        match self.leave.coordinator.standing(self.leave.volume) {
            // Whoever takes no part any more stands in nobody's way.
            Standing::Leads { .. } if durable.out.is_some() => self.resign(),
            // Members follow a higher epoch already: the coordinator raises its own.
            Standing::Leads { epoch } if durable.promised.max(durable.accepted_stamp().epoch) > epoch => {
                self.campaign(&view, due);
            }
            Standing::Leads { epoch } => {
                if !(view.leads && durable.accepted_stamp().epoch == epoch) {
                    self.say(due, Command::Promote(epoch), "the coordinator has given this node the lead");
                }
            }
            Standing::Doubtful { .. } => {}
            Standing::Follows { lead } => {
                let another = lead.as_ref().filter(|lead| lead.node != self.me);
                if let Some(lead) = another.filter(|_| view.leads) {
                    self.say(due, Command::StepDown, &format!("the coordinator says that {} leads", lead.node));
                }
                if self.may_lead && durable.out.is_none() {
                    self.campaign(&view, due);
                }
            }
        }
        self.attend(&view, due);
    }

    /// Tries to lead. What is the matter with the coordinator is told by [`Watch::attend`].
    fn campaign(&self, view: &View, due: &mut Due) {
        if !passed(&mut due.campaign, ASK) {
            return;
        }
        let durable = &view.durable;
        let at_least = durable.promised.max(durable.accepted_stamp().epoch);
        let (volume, me) = (self.leave.volume, &self.me);
        match self.leave.coordinator.campaign(volume, at_least) {
            Ok(Campaign::Won { epoch }) => {
                tracing::info!(%volume, node = %me, epoch, "leads by the coordinator's word")
            }
            Ok(Campaign::Held(_)) => {}
            Err(error) => tracing::debug!(%volume, %error, "no word of the coordinator on who leads"),
        }
    }

    /// Asks how it stands.
    fn attend(&self, view: &View, due: &mut Due) {
        if !passed(&mut due.question, ASK) {
            return;
        }
        let stands = self.ask(view);
        due.is_away = stands.as_ref().is_err_and(|error| !is_verdict(error));
        let _ = self.seat.send(Input::Coordinator(stands.err().map(|error| error.to_string())));
    }

    fn ask(&self, view: &View) -> Result<(), CoordinatorError> {
        let Leave { coordinator, volume, frozen, .. } = &*self.leave;
        let there = coordinator.fetch(*volume)?.map(|there| there.stamp);
        let freeze = coordinator.frozen()?;
        *frozen.lock().unwrap_or_else(PoisonError::into_inner) = freeze;
        let committed = &view.durable.committed;
        let stamp = committed.record.stamp;
        let leads = view.leads && coordinator.standing(*volume) == (Standing::Leads { epoch: stamp.epoch });
        if leads && there.is_some_and(|there| there < stamp) {
            // Committed while the coordinator was away.
            let (record, during_freeze) = (&committed.encode()[..], DuringFreeze::Allowed);
            coordinator.publish(&Publication { volume: *volume, previous: there, stamp, record, during_freeze })?;
        }
        Ok(())
    }

    fn say(&self, due: &mut Due, command: Command, reason: &str) {
        if !passed(&mut due.word, INSIST) {
            return;
        }
        let (answer, _) = sync_channel(1);
        let by = By { actor: "coordinator".into(), reason: reason.into() };
        let _ = self.seat.send(Input::Ask(command, by, answer));
    }
}

/// Whether the coordinator says that this node must not, rather than nothing that counts.
fn is_verdict(error: &CoordinatorError) -> bool {
    use CoordinatorError::{Moved, NotAfter, NotLead};
    matches!(error, NotLead { .. } | Moved { .. } | NotAfter { .. })
}

#[cfg(test)]
#[path = "tests/guard.rs"]
mod tests;
