//! A controller's commands for a volume that has replicas: each may be repeated, and activation drives a worker.

use crate::format::generations::{KeyState, Phase};
use crate::format::handover::Handover;
use crate::keys::{Kek, KekUri, NewKek};
use crate::rotation::StateName;
use crate::rotation::gated::{self, drained, options, served};
use crate::units::Generation;
use crate::volume::create::{CreateOptions, create};
use crate::volume::life::By;
use crate::volume::lifecycle::RotationSpec;

const NEW: Generation = Generation(5);

fn spec() -> RotationSpec {
    RotationSpec { by: By { actor: "the lead".into(), reason: "for all".into(), now: 9 }, ..gated::spec() }
}

fn kek(folder: &std::path::Path) -> Vec<Kek> {
    let uri: KekUri = format!("file:{}", folder.join("kek").display()).parse().unwrap();
    vec![Kek::new(crate::keys::open(&uri, NewKek::IfMissing).unwrap().keeper, None)]
}

#[test]
fn two_replicas_rotate_to_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let keks = || kek(folder.path());
    create(&options(&place("lead"), &keks()), &mut |_, _| {}).unwrap();
    let lead = served(&place("lead"), keks());
    let founding = lead.volume().founding(&keks()).unwrap();
    let (path, keks_of_other) = (place("other"), keks());
    let replica = CreateOptions { replica_of: Some(&founding), size: None, ..options(&path, &keks_of_other) };
    let made = create(&replica, &mut |_, _| {}).unwrap();
    assert_eq!((made.id, made.shape.size), (lead.volume().id(), 1 << 20));
    let other = served(&place("other"), keks());

    let (held, handover) = lead.prepare_shared(&spec(), NEW).unwrap();
    let (again, same) = lead.prepare_shared(&spec(), NEW).unwrap();
    assert_eq!((&held, handover.check), (&again, same.check));
    let arrived = Handover::decode(handover.encode().expose()).unwrap();
    let taken = other.take(&arrived, &spec().by).unwrap();
    assert_eq!((taken.key_id, taken.check), (held.key_id, held.check));
    assert_eq!(other.take(&arrived, &spec().by).unwrap(), taken);
    assert!(other.abandon(NEW, &spec().by).unwrap() && !other.abandon(NEW, &spec().by).unwrap());
    assert!(other.activate(NEW, &spec()).is_err(), "it is not there");
    other.take(&arrived, &spec().by).unwrap();
    assert_eq!((lead.status().state, other.status().state), (StateName::Idle, StateName::Idle));

    for controller in [&lead, &other] {
        let paused = RotationSpec { paused: true, ..spec() };
        assert!(controller.activate(NEW, &paused).unwrap());
        assert!(!controller.activate(NEW, &paused).unwrap());
        assert_eq!(controller.status().state, StateName::Paused);
        assert_eq!(
            controller.volume().census().into_keys().collect::<Vec<_>>(),
            [Generation::FIRST],
            "held, it moves nothing"
        );
        assert!(controller.resume().unwrap());
        drained(controller);
        let volume = controller.volume();
        assert_eq!(volume.census().into_keys().collect::<Vec<_>>(), [NEW]);
        assert_eq!(volume.rotation().phase, Phase::Drained, "it is not finalized before all are ready");
        assert_eq!(controller.finalize(&spec().by).unwrap(), [Generation::FIRST]);
        assert_eq!(volume.table().entry(Generation::FIRST).unwrap().state, KeyState::Empty);
        controller.stop();
    }
}
