//! A controller's commands for a volume that has replicas: each may be repeated, and activation drives a worker.

use std::sync::Arc;

use crate::crypto::{EngineKind, Suite};
use crate::engine::{CacheMode, EngineOptions, IoKind};
use crate::format::generations::{KeyState, Order, Pace, Phase, VerifyMode};
use crate::format::handover::Handover;
use crate::keys::{Kek, KekUri, Keks, NewKek};
use crate::latency::Histogram;
use crate::rotation::{Controller, StateName};
use crate::units::Generation;
use crate::volume::create::{CreateOptions, ModeChoice, create};
use crate::volume::life::By;
use crate::volume::lifecycle::RotationSpec;
use crate::volume::open::{OpenVolume, open};

const NEW: Generation = Generation(5);

fn spec() -> RotationSpec {
    RotationSpec {
        suite: Suite::Aes256Xts,
        order: Order::Sequential,
        pace: Pace { rate: 0, adaptive: false, factor_percent: 150 },
        verify: VerifyMode::Full,
        hold_finalize: true,
        paused: false,
        by: By { actor: "the lead".into(), reason: "for all".into(), now: 9 },
    }
}

fn kek(folder: &std::path::Path) -> Vec<Kek> {
    let uri: KekUri = format!("file:{}", folder.join("kek").display()).parse().unwrap();
    vec![Kek::new(crate::keys::open(&uri, NewKek::IfMissing).unwrap().keeper, None)]
}

fn options<'a>(path: &'a std::path::Path, keks: &'a [Kek]) -> CreateOptions<'a> {
    CreateOptions {
        path,
        header: None,
        size: Some(1 << 20),
        max_size: None,
        extent_size: 64 << 10,
        data_unit: 4096,
        suite: Suite::Aes256Xts,
        replica_of: None,
        mode: ModeChoice::Auto,
        assume_zeroed: false,
        keks,
        cache: CacheMode::Page,
        now: 5,
    }
}

fn controller(path: &std::path::Path, keks: Vec<Kek>) -> Controller {
    let how = OpenVolume {
        path,
        header: None,
        keks: &keks,
        read_only: false,
        cache: CacheMode::Page,
        engine: EngineKind::AwsLc,
    };
    let volume = Arc::new(open(&how).unwrap());
    let engine = || crate::engine::open(Some(IoKind::Posix), &EngineOptions::default());
    Controller::new(volume, Arc::new(Keks::new(keks)), Arc::new(engine), Arc::new(Histogram::default))
}

/// Until the worker has said what came of it.
fn ended(controller: &Controller) {
    while controller.status().state != StateName::Verified {
        assert_eq!(controller.volume().poisoned(), None);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn two_replicas_rotate_to_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let keks = || kek(folder.path());
    create(&options(&place("lead"), &keks()), &mut |_, _| {}).unwrap();
    let lead = controller(&place("lead"), keks());
    let founding = lead.volume().founding(&keks()).unwrap();
    let (path, keks_of_other) = (place("other"), keks());
    let replica = CreateOptions { replica_of: Some(&founding), size: None, ..options(&path, &keks_of_other) };
    let made = create(&replica, &mut |_, _| {}).unwrap();
    assert_eq!((made.id, made.shape.size), (lead.volume().id(), 1 << 20));
    let other = controller(&place("other"), keks());

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
        ended(controller);
        let volume = controller.volume();
        assert_eq!(volume.census().into_keys().collect::<Vec<_>>(), [NEW]);
        assert_eq!(volume.rotation().phase, Phase::Drained, "it is not finalized before all are ready");
        assert_eq!(controller.finalize(&spec().by).unwrap(), [Generation::FIRST]);
        assert_eq!(volume.table().entry(Generation::FIRST).unwrap().state, KeyState::Empty);
        controller.stop();
    }
}
