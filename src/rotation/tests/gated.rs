//! Volumes of files behind a controller, and one whose keeper of KEKs hangs while a test wants it to.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

use crate::crypto::{EngineKind, Secret, Suite};
use crate::engine::{CacheMode, EngineOptions, IoKind};
use crate::format::generations::{Order, Pace, VerifyMode};
use crate::format::wrapped::Wrapped;
use crate::keys::{Answer, Capabilities, Kek, KekDescription, KekProvider, Keks, KeyError, ProviderKind, WrapPurpose};
use crate::latency::Histogram;
use crate::rotation::{Controller, StateName};
use crate::units::Generation;
use crate::volume::create::{CreateOptions, ModeChoice, create};
use crate::volume::life::{By, SystemClock};
use crate::volume::lifecycle::RotationSpec;
use crate::volume::open::{OpenVolume, open};

pub const FIRST: Generation = Generation(1);
pub const SECOND: Generation = Generation(2);
pub const THIRD: Generation = Generation(3);

/// What a keeper waits at before it opens a wrap.
pub struct Gate {
    shut: Mutex<bool>,
    changed: Condvar,
    asked: Mutex<Sender<()>>,
}

impl Gate {
    /// An open one, and what tells of everybody who comes to it while it is shut.
    pub fn new() -> (Arc<Gate>, Receiver<()>) {
        let (asked, told) = channel();
        (Arc::new(Gate { shut: Mutex::new(false), changed: Condvar::new(), asked: Mutex::new(asked) }), told)
    }

    pub fn shut(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut shut = self.shut.lock().unwrap();
        if *shut {
            self.asked.lock().unwrap().send(()).unwrap();
        }
        while *shut {
            shut = self.changed.wait(shut).unwrap();
        }
    }
}

/// A keeper that hides nothing: it stores keys as they are.
struct Gated {
    description: KekDescription,
    gate: Arc<Gate>,
}

/// A KEK whose keeper waits at the gate.
pub fn kek(name: &str, gate: &Arc<Gate>) -> Kek {
    let kek_id = Some(name.to_owned());
    let description = KekDescription { kind: ProviderKind::File, label: format!("file:/{name}"), kek_id };
    Kek::unwitnessed(Gated { description, gate: Arc::clone(gate) })
}

impl KekProvider for Gated {
    fn describe(&self) -> &KekDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::HELD
    }

    fn probe(&self) -> Result<(), KeyError> {
        Ok(())
    }

    fn wrap(&self, _: &WrapPurpose, key: &Secret) -> Result<Answer<Wrapped>, KeyError> {
        let (kek_id, blob) = (self.description.kek_id.clone().unwrap_or_default(), key.expose().to_vec());
        Ok(Wrapped { provider: ProviderKind::File.id(), kek_id, kek_version: 0, blob }.into())
    }

    fn unwrap(&self, _: &WrapPurpose, wrapped: &Wrapped) -> Result<Answer<Secret>, KeyError> {
        self.gate.pass();
        Ok(Secret::filled(wrapped.blob.len(), |bytes| bytes.copy_from_slice(&wrapped.blob)).into())
    }

    fn could_open(&self, wrapped: &Wrapped) -> bool {
        Some(&wrapped.kek_id) == self.description.kek_id.as_ref()
    }
}

pub fn by() -> By {
    By { actor: "test".into(), reason: "why not".into(), now: 9 }
}

pub fn spec() -> RotationSpec {
    RotationSpec {
        suite: Suite::Aes256Xts,
        order: Order::Sequential,
        pace: Pace { rate: 0, adaptive: false, factor_percent: 150 },
        verify: VerifyMode::Full,
        hold_finalize: true,
        paused: false,
        by: by(),
    }
}

/// A new volume of sixteen extents.
pub fn options<'a>(path: &'a Path, keks: &'a [Kek]) -> CreateOptions<'a> {
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

/// The controller of a volume that is there.
pub fn served(path: &Path, keks: Vec<Kek>) -> Controller {
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

/// A new volume whose keeper waits at the gate, served.
pub fn controller(path: &Path, gate: &Arc<Gate>) -> Controller {
    let keks = vec![kek("first", gate)];
    create(&options(path, &keks), &mut |_, _| {}).unwrap();
    served(path, keks)
}

/// Generation 1 is retired, 2 drains, and every extent carries 3.
pub fn three(controller: &Controller) {
    for generation in [SECOND, THIRD] {
        assert_eq!(controller.start(&spec()).unwrap(), generation);
        drained(controller);
        if generation == SECOND {
            controller.finalize(&by()).unwrap();
        }
    }
    controller.retire(FIRST, &by(), &SystemClock::default(), &mut |_, _| Ok(())).unwrap();
}

/// Until every extent is moved and read back.
pub fn drained(controller: &Controller) {
    while controller.status().state != StateName::Verified {
        assert_eq!(controller.volume().poisoned(), None);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
