//! One campaign: a volume, a daemon, verifying clients and an operator; again and again the daemon is killed, or the
//! power is cut, and what is there afterwards is held against the ledger.
//!
//! Invariant: the plan (setting, length of each round, how it ends, what clients and operator ask) follows from the seed;
//! which request meets which moment does not.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use keymoult::control::Client as Control;
use keymoult::control::api::RotationState;

use crate::disk::Disk;
use crate::hammer::{Ended, Hammer, Identity};
use crate::ledger::{End, Ledger};
use crate::operator::{Target, operate};
use crate::platter::Trigger;
use crate::setting::{Ground, Setting, check};
use crate::support::{Daemon, MIB, Store, Volume, next};
use crate::tally::{Commands, Tally, Traffic};

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// SIGKILL.
    Kill,
    /// SIGKILL, and again while the next one starts, so often.
    KillStarting(u32),
    /// The power is cut.
    Cut,
    /// The power is cut, and again while the next one starts, so often.
    CutStarting(u32),
    /// SIGTERM with requests in flight.
    Term,
}

/// Longest wait for the chosen flush or change before the power is cut anyway.
const CUT_PATIENCE: Duration = Duration::from_millis(400);

/// A campaign under way.
pub struct Campaign<'a> {
    setting: Setting,
    store: &'a Store,
    volume: Volume,
    // Before the disk: a daemon that is dropped lets go of it.
    daemon: Daemon<'a>,
    disk: Option<Disk>,
    binary: Option<PathBuf>,
    ledger: Mutex<Ledger>,
    target: Target,
    random: u64,
    log_read: usize,
    tally: &'a mut Tally,
}

/// Runs one campaign until `blows` more daemons were ended by force. `binary` is the daemon's, if it is not the program under test.
pub fn run(setting: Setting, blows: u64, binary: Option<PathBuf>, tally: &mut Tally) -> Result<(), String> {
    let store = setting.store();
    let (volume, disk) = setting.create(&store);
    let mut daemon = Daemon::stopped(&store, std::slice::from_ref(&volume), &setting.serve());
    daemon.set_binary(binary.clone());
    tally.campaigns += 1;
    let mut campaign = Campaign {
        setting,
        store: &store,
        daemon,
        disk,
        binary,
        ledger: Mutex::new(Ledger::fresh(setting.size)),
        target: Target::default(),
        random: setting.seed ^ 0x746f_7274_7572_6500,
        log_read: 0,
        tally,
        volume,
    };
    campaign.rounds(blows)
}

impl Campaign<'_> {
    fn rounds(&mut self, blows: u64) -> Result<(), String> {
        let goal = self.tally.blows() + blows;
        let mut end = End::Kill;
        while self.tally.blows() < goal {
            let ending = self.draw_ending();
            let at = format!("{:?}, ending {ending:?} after {} blows", self.setting, self.tally.blows());
            let round = self.bring_up(end).and_then(|()| self.round(ending));
            self.read_log();
            end = round.map_err(|wrong| format!("{wrong}\n  in {at}\n{}", self.log_tail()))?;
        }
        let last = self.bring_up(end).and_then(|()| self.stop_in_order());
        last.map_err(|wrong| format!("{wrong}\n  at the end of {:?}\n{}", self.setting, self.log_tail()))
    }

    fn draw_ending(&mut self) -> Ending {
        let roll = next(&mut self.random) % 100;
        let again = 1 + (next(&mut self.random) % 3) as u32;
        match (self.setting.ground, roll) {
            (_, 0..10) => Ending::Term,
            (Ground::Disk, 10..20) => Ending::Kill,
            (Ground::Disk, 20..40) => Ending::CutStarting(again),
            (Ground::Disk, _) => Ending::Cut,
            (_, 10..35) => Ending::KillStarting(again),
            _ => Ending::Kill,
        }
    }

    /// Starts the daemon and holds everything against the ledger; from here on what was found is durable.
    fn bring_up(&mut self, end: End) -> Result<(), String> {
        let begun = Instant::now();
        self.daemon.try_restart()?;
        self.tally.restarted(begun.elapsed());
        let control = Control::new(&self.daemon.control_path()).map_err(|error| error.to_string())?;
        let status = control.volume(&self.volume.name).map_err(|error| error.to_string())?;
        if let Some(reason) = status.poisoned {
            return Err(format!("the volume is poisoned: {reason}"));
        }
        if status.rotation.state == RotationState::Failed {
            return Err(format!("the rotation has failed: {:?}", status.rotation.why));
        }
        self.target.judge(status.rotation.to)?;
        let ledger = self.ledger.get_mut().unwrap();
        ledger.all_ended();
        let mut client = self.daemon.connect();
        for offset in (0..ledger.size()).step_by(MIB as usize) {
            let len = MIB.min(ledger.size() - offset) as usize;
            let found = client.read(offset, len).map_err(|error| format!("read at {offset}: {error:?}"))?;
            ledger.settle(offset, &found, end)?;
            self.tally.bytes_verified_after_restarts += found.len() as u64;
        }
        let covers = ledger.begin_flush();
        client.flush().map_err(|error| format!("flush after recovery: {error:?}"))?;
        ledger.flushed(covers);
        Ok(())
    }

    /// Clients and operator at work until the end.
    fn round(&mut self, ending: Ending) -> Result<End, String> {
        let stop = AtomicBool::new(false);
        let seeds: Vec<u64> = (0..=self.setting.clients).map(|_| next(&mut self.random)).collect();
        let length =
            Duration::from_millis(10 + next(&mut self.random) % [60, 250, 500][next(&mut self.random) as usize % 3]);
        let (socket, name) = (self.daemon.control_path(), self.volume.name.clone());
        let clients: Vec<_> = (0..self.setting.clients)
            .map(|number| {
                let identity = Identity { number, seed: seeds[number as usize], flushes: self.setting.flushes };
                Hammer::new(&self.ledger, &stop, self.daemon.connect(), identity)
            })
            .collect();
        let (target, operator_seed) = (&mut self.target, seeds[self.setting.clients as usize]);
        let (daemon, disk, random) = (&mut self.daemon, &self.disk, &mut self.random);
        let (clients, commands) = thread::scope(|scope| {
            let clients: Vec<_> = clients.into_iter().map(|client| scope.spawn(|| client.work())).collect();
            let operator = scope.spawn(|| operate(&socket, &name, &stop, target, operator_seed));
            thread::sleep(length);
            match (ending, disk) {
                (Ending::Term, _) => daemon.terminate(),
                (Ending::Cut | Ending::CutStarting(_), Some(disk)) => {
                    disk.platter().cut(draw_trigger(random, 6, 200), CUT_PATIENCE);
                    daemon.kill_9();
                }
                _ => daemon.kill_9(),
            }
            stop.store(true, Relaxed);
            let clients: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
            (clients, operator.join().unwrap())
        });
        self.count(ending, &clients, commands?)?;
        self.after(ending)
    }

    fn count(&mut self, ending: Ending, clients: &[(Ended, Traffic)], commands: Commands) -> Result<(), String> {
        self.tally.commands += commands;
        let cut = matches!(ending, Ending::Cut | Ending::CutStarting(_));
        if commands.failed > 0 && !cut {
            return Err(format!("{} commands failed for the device's sake", commands.failed));
        }
        for (ended, traffic) in clients {
            self.tally.traffic += *traffic;
            match ended {
                Ended::Gone | Ended::Stopped => {}
                Ended::Refused(_) if cut => {}
                Ended::Refused(error) => return Err(format!("a request was answered with error {error}")),
                Ended::Wrong(wrong) => return Err(wrong.clone()),
            }
        }
        Ok(())
    }

    /// What comes between the end of a daemon and the start of the next one that is let live.
    fn after(&mut self, ending: Ending) -> Result<End, String> {
        match ending {
            Ending::Kill => self.tally.kills += 1,
            Ending::KillStarting(times) => {
                self.tally.kills += 1;
                for _ in 0..times {
                    self.daemon.spawn();
                    thread::sleep(Duration::from_micros(next(&mut self.random) % 60_000));
                    self.daemon.kill_9();
                    self.tally.kills_while_starting += 1;
                }
            }
            Ending::Cut => {
                self.tally.power_cuts += 1;
                self.power_cycle();
            }
            Ending::CutStarting(times) => {
                self.tally.power_cuts += 1;
                self.power_cycle();
                for _ in 0..times {
                    self.cut_while_starting();
                }
            }
            Ending::Term => {
                self.tally.orderly_stops += 1;
                if next(&mut self.random).is_multiple_of(2) {
                    self.check()?;
                }
            }
        }
        let cut = matches!(ending, Ending::Cut | Ending::CutStarting(_));
        Ok(if cut { End::Power } else { End::Kill })
    }

    fn cut_while_starting(&mut self) {
        self.daemon.spawn();
        let (trigger, patience) = (draw_trigger(&mut self.random, 3, 20), 20 + next(&mut self.random) % 60);
        if let Some(disk) = &self.disk {
            disk.platter().cut(trigger, Duration::from_millis(patience));
        }
        self.daemon.kill_9();
        self.tally.power_cuts_while_starting += 1;
        self.power_cycle();
    }

    fn power_cycle(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.power_cycle(&mut self.random);
        }
    }

    fn stop_in_order(&mut self) -> Result<(), String> {
        self.daemon.terminate();
        self.tally.orderly_stops += 1;
        self.check()
    }

    fn check(&mut self) -> Result<(), String> {
        check(self.store, &self.volume, self.binary.as_ref())?;
        self.tally.full_checks += 1;
        Ok(())
    }

    fn read_log(&mut self) {
        let log = self.daemon.log();
        self.tally.read_log(&log[self.log_read.min(log.len())..]);
        self.log_read = log.len();
    }

    fn log_tail(&self) -> String {
        let log = self.daemon.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n");
        format!("--- the daemon's last words\n{tail}")
    }
}

/// The power fails at a flush more often than elsewhere, and most often where metadata and data wait for the same one: that
/// is where much hangs on what survives.
fn draw_trigger(random: &mut u64, flushes: u64, changes: u64) -> Trigger {
    let (kind, flush) = (next(random) % 5, 1 + (next(random) % flushes) as u32);
    match kind {
        0 | 1 => Trigger::Mixed(flush),
        2 | 3 => Trigger::Flush(flush),
        _ => Trigger::Change(1 + (next(random) % changes) as u32),
    }
}
