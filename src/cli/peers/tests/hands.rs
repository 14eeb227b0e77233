//! A keeper that hangs while the volume is to have a key back: what the next record says is done all the same.

use std::sync::mpsc::sync_channel;

use super::super::sample;
use super::*;
use crate::cluster::record::{Change, Step as ChangeStep};
use crate::cluster::stamp::Stamp;
use crate::nbd::{Export, Exports};
use crate::rotation::Controller;
use crate::rotation::gated::{FIRST, Gate, SECOND, THIRD, controller, three};
use crate::volume::check::Checker;

fn served(controller: Controller) -> Arc<Served> {
    let volume = Arc::clone(controller.volume());
    let export = Export::new("disk", volume.size(), 4096, Arc::clone(&volume)).unwrap();
    let checker = Checker::new(volume, Arc::clone(controller.keks()));
    let export = Exports::new().add(export).unwrap();
    let name = "disk".to_owned();
    Arc::new(Served { path: name.clone(), name, header: None, export, controller, checker, alarms: Default::default() })
}

fn tools(folder: &std::path::Path, served: &Arc<Served>) -> Arc<Tools> {
    let state_dir = folder.to_path_buf();
    Arc::new(Tools {
        me: "a".parse().unwrap(),
        notary: NodeNotary::new(sample::keys("a")),
        served: Arc::clone(served),
        state_dir: state_dir.clone(),
        cold: Cold { path: folder.join("volume"), header: None, keks: Vec::new(), state_dir },
        handover: Mutex::default(),
        checks: Mutex::default(),
        asks: Asks::default(),
    })
}

/// A record of the volume's three generations in these states.
fn record(served: &Served, revision: u64, step: ChangeStep, states: [KeyState; 3]) -> Keyring {
    let (a, b) = (sample::keys("a"), sample::keys("b"));
    let mut record = sample::genesis(&[&a, &b]);
    let table = served.controller.volume().table();
    let key = record.keys[0].clone();
    record.keys = [FIRST, SECOND, THIRD]
        .into_iter()
        .zip(states)
        .map(|(generation, state)| Key {
            generation,
            key_id: table.entry(generation).unwrap().key_id,
            state,
            ..key.clone()
        })
        .collect();
    let active = record.keys.iter().find(|key| key.state == KeyState::Active).unwrap().generation;
    let pace = table.rotation.pace;
    record.change = Change { step, pace, id: revision, ..Change::none(active, 1, "test", "test") };
    record.stamp = Stamp::new(1, revision);
    record
}

/// What came of the order to bring the volume to a record, once it is said.
fn came(seat: &Receiver<Input>, wanted: &Keyring) -> Result<(), String> {
    loop {
        let Input::Event(event) = seat.recv().unwrap() else { continue };
        match *event {
            Event::Done(Local::Converge { record, .. }, outcome) if record.stamp == wanted.stamp => {
                return outcome.map(drop);
            }
            _ => {}
        }
    }
}

#[test]
fn a_rollback_and_a_revocation_on_record_pass_a_key_that_waits_for_its_keeper() {
    use KeyState::{Active, Draining, Empty, Revoked};
    let folder = tempfile::tempdir().unwrap();
    let (gate, asked) = Gate::new();
    let controller = controller(&folder.path().join("volume"), &gate);
    three(&controller);
    let served = served(controller);
    let volume = served.controller.volume();
    let tools = tools(folder.path(), &served);
    let (inputs, seat) = sync_channel(64);
    let workers = Workers::start(&tools, &inputs).unwrap();
    let order = |record: &Keyring| {
        let local = Local::Converge { record: Box::new(record.clone()), may_drain: true };
        workers.order(local, By::daemon("test", 1));
    };
    gate.shut(true);
    let restored = record(&served, 2, ChangeStep::Active, [Empty, Draining, Active]);
    order(&restored);
    asked.recv().unwrap();
    let why = came(&seat, &restored).unwrap_err();
    assert_eq!(why, "the key of generation 1 is being asked of its keeper");

    let back = record(&served, 3, ChangeStep::RolledBack, [Revoked, Active, Draining]);
    order(&back);
    assert_eq!(came(&seat, &back), Ok(()));
    assert_eq!(volume.rotation().target, SECOND);
    gate.shut(false);
    // It is brought there once more, now that the keeper has answered, and has no use for the answer.
    assert_eq!(came(&seat, &back), Ok(()));
    assert!(volume.is_closed(FIRST));

    let reinstated = record(&served, 4, ChangeStep::RolledBack, [Empty, Active, Draining]);
    order(&reinstated);
    assert_eq!(came(&seat, &reinstated), Ok(()));
    assert!(!volume.is_closed(FIRST));
    served.controller.stop();
}
