//! The daemon under attack, and the well-behaved client that must not notice.
//!
//! The volume `vol` begins with [`KNOWN`] bytes of known content, which nobody may change; behind it lies [`SCRATCH`], where
//! peers may write; behind that the witness has a place of its own.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use crate::peer::Peer;
use crate::support::{Client, Daemon, MIB, ServeOptions, Store, VolumeOptions, pattern};

/// Bytes of known content at the start of the volume.
pub const KNOWN: usize = 1 << 20;
/// Where peers may write.
pub const SCRATCH: u64 = 4 << 20;
/// Where the witness writes.
const OWN: u64 = 12 << 20;
/// Size of the volume, bytes.
pub const SIZE: u64 = 16 * MIB;
/// What the witness reads and writes after each case, bytes.
const STEP: usize = 4096;

/// One case: a name and what is done.
pub struct Case {
    pub name: String,
    pub run: Box<dyn Fn(&Ground)>,
}

/// A case by this name.
pub fn case(name: impl Into<String>, run: impl Fn(&Ground) + 'static) -> Case {
    Case { name: name.into(), run: Box::new(run) }
}

/// The known content.
pub fn known() -> Vec<u8> {
    pattern(77, KNOWN)
}

pub struct Ground<'a> {
    daemon: &'a Daemon<'a>,
    known: Vec<u8>,
    witness: RefCell<Client>,
    round: Cell<u64>,
    case: RefCell<String>,
}

impl Ground<'_> {
    /// Serves a volume with `settings` (lines of the configuration) and hands it to `test`; then the whole known content must
    /// be there and the daemon must leave in peace.
    pub fn with(settings: &[&str], test: impl FnOnce(&Ground<'_>)) {
        let store = Store::new();
        let volume = store.create("vol", &VolumeOptions { size: SIZE, ..VolumeOptions::default() });
        let config = store.path("settings.toml");
        std::fs::write(&config, settings.join("\n")).unwrap();
        let more = vec!["--config".into(), config.display().to_string()];
        let mut daemon = Daemon::start(&store, &[volume], &ServeOptions { more, ..ServeOptions::default() });
        let known = known();
        let mut witness = daemon.connect();
        witness.write(0, &known).unwrap();
        witness.flush().unwrap();
        {
            let (witness, round) = (RefCell::new(witness), Cell::new(0));
            let ground = Ground { daemon: &daemon, known, witness, round, case: RefCell::default() };
            test(&ground);
            ground.check();
            let found = ground.witness.borrow_mut().read(0, KNOWN).unwrap();
            assert!(found == ground.known, "the known content has changed");
        }
        daemon.terminate();
    }

    /// Where the daemon listens.
    pub fn socket(&self) -> PathBuf {
        self.daemon.socket()
    }

    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// The daemon's memory now, bytes (`VmRSS`).
    pub fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() << 10
    }

    /// A new peer that has the greeting.
    pub fn peer(&self) -> Peer {
        Peer::connect(&self.socket())
    }

    /// A well-behaved client.
    pub fn client(&self) -> Client {
        self.daemon.connect()
    }

    /// Known content.
    pub fn known(&self, offset: usize, len: usize) -> &[u8] {
        &self.known[offset..offset + len]
    }

    /// Names the case under way, for the report of a failure.
    pub fn set_case(&self, name: &str) {
        self.case.replace(name.into());
    }

    /// The witness reads what is known, writes, and reads that back.
    pub fn check(&self) {
        let round = self.round.get();
        self.round.set(round + 1);
        let mut witness = self.witness.borrow_mut();
        let case = self.case.borrow();
        let at = (round as usize * STEP) % KNOWN;
        let found = witness.read(at as u64, STEP).unwrap_or_else(|error| panic!("{case}: the witness: {error:?}"));
        assert!(found == self.known[at..at + STEP], "{case}: the witness reads something else");
        let own = pattern(round, STEP);
        let place = OWN + (round * STEP as u64) % MIB;
        witness.write(place, &own).unwrap();
        assert!(witness.read(place, STEP).unwrap() == own, "{case}: the witness reads back something else");
    }
}

impl Drop for Ground<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the case: {}", self.case.borrow());
        }
    }
}
