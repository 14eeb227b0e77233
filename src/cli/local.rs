//! The commands that work on this machine's files: where the command line meets the layers below.
//!
//! Invariants: a function here returns a structured result or a [`Failure`] and prints nothing, except through the
//! [`Progress`] it is given; what it was given has been checked as far as that is possible without opening anything. A
//! failed `create` leaves nothing behind.

use std::time::Duration;

use super::args::{Cipher, CreateArgs, ModeChoice, SpeedArgs};
use super::daemon::open_keks;
use super::exit::Exit;
use super::failure::Failure;
use super::progress::Progress;
use super::records::Records;
use super::report::{Created, Speed, SpeedRow};
use super::{config, failure_of, words};
use crate::crypto::{Standing, Suite, speed};
use crate::engine::CacheMode;
use crate::keys::NewKek;
use crate::volume::create::{self, CreateOptions};

pub use super::daemon::serve;

/// Makes a volume. Shows progress while it zeroes the data area.
pub fn create(args: &CreateArgs, records: &Records, progress: &mut Progress) -> Result<Created, Failure> {
    crate::crypto::selftest::run().map_err(|error| Failure::from_error(Exit::Internal, &error))?;
    refuse_early(args)?;
    let warnings = by_policy(args)?;
    let new = if args.new_kek { NewKek::IfMissing } else { NewKek::Never };
    let (keks, new_key_files) = open_keks(&args.keks, new, records.witness().as_ref())?;
    let suite = suite(args.cipher);
    let options = CreateOptions {
        path: &args.path,
        header: args.header.as_deref(),
        size: args.size,
        max_size: args.max_size,
        extent_size: args.extent_size,
        data_unit: args.sector_size,
        suite,
        replica_of: None,
        mode: match args.mode {
            ModeChoice::Auto => create::ModeChoice::Auto,
            ModeChoice::InPlace => create::ModeChoice::InPlace,
            ModeChoice::Journal => create::ModeChoice::Journal,
        },
        assume_zeroed: args.assume_zeroed,
        keks: &keks,
        cache: CacheMode::Auto,
        now: words::now(),
    };
    let mut zeroed = 0;
    let mut begun = false;
    let made = create::create(&options, &mut |done, total| {
        if !begun {
            progress.begin("zeroing the data area", total);
            begun = true;
        }
        zeroed = done;
        progress.advance(done);
    });
    let made = made.map_err(|error| {
        new_key_files.iter().for_each(|label| forget_key_file(label));
        failure_of::volume(&error).at(args.path.display().to_string())
    })?;
    Ok(Created {
        path: args.path.display().to_string(),
        header: args.header.as_ref().map(|path| path.display().to_string()),
        id: made.id.to_string(),
        size_bytes: made.shape.size,
        extent_bytes: made.shape.extent_size,
        data_unit_bytes: made.shape.data_unit,
        suite: suite.to_string(),
        mode: words::mode(made.shape.mode),
        granule_bytes: made.shape.granule,
        granule_source: made.granule_source,
        keks: keks.iter().map(|kek| kek.describe().label.clone()).collect(),
        new_key_files,
        zeroed_bytes: zeroed,
        warnings,
    })
}

/// What can be refused before a key file is made or a passphrase asked for.
fn refuse_early(args: &CreateArgs) -> Result<(), Failure> {
    let refused = |what: String| Failure::new(Exit::BadInput, what);
    if let Some(parent) = args.path.parent().filter(|parent| !parent.as_os_str().is_empty())
        && !parent.is_dir()
    {
        let hint = format!("make it first: mkdir -p {}", parent.display());
        return Err(refused(format!("the directory {} does not exist", parent.display())).hint(hint));
    }
    if let Some(header) = args.header.as_ref().filter(|header| header.exists()) {
        return Err(refused(format!("the header file {} exists already", header.display()))
            .hint("a header is made new; choose another name, or remove the file if it is of no use"));
    }
    Ok(())
}

/// What policy has to say against the suite; refuses one that it forbids.
fn by_policy(args: &CreateArgs) -> Result<Vec<String>, Failure> {
    let Some(path) = &args.config else { return Ok(Vec::new()) };
    let suite = suite(args.cipher);
    let verdict = config::suites(path)?.verdict(suite, words::now());
    let what = words::standing(suite, &verdict);
    match verdict.standing {
        Standing::Allowed => Ok(Vec::new()),
        Standing::Deprecated => Ok(vec![what]),
        Standing::Forbidden => {
            Err(Failure::new(Exit::Refused, what).at(path.display().to_string()).hint("choose another --cipher"))
        }
    }
}

/// A key file made for a volume that then could not be made serves nobody.
fn forget_key_file(label: &str) {
    if let Some(path) = label.strip_prefix("file:") {
        let _ = std::fs::remove_file(path);
    }
}

fn suite(cipher: Cipher) -> Suite {
    match cipher {
        Cipher::Aes256Xts => Suite::Aes256Xts,
        Cipher::Aes128Xts => Suite::Aes128Xts,
        Cipher::None => Suite::None,
    }
}

/// Measures.
pub fn speed(args: &SpeedArgs, _progress: &mut Progress) -> Result<Speed, Failure> {
    let rows = speed::measure(Duration::from_secs_f64(args.seconds))
        .map_err(|error| Failure::from_error(Exit::Internal, &error))?;
    let row = |row: speed::SpeedRow| SpeedRow {
        what: "crypto".into(),
        engine: row.engine.to_string(),
        detail: row.suite.to_string(),
        unit_bytes: row.unit,
        direction: row.direction.into(),
        bytes_per_s: row.bytes_per_s as u64,
    };
    let mut rows: Vec<SpeedRow> = rows.into_iter().map(row).collect();
    rows.extend(super::speed::engines(Duration::from_secs_f64(args.seconds), args.backing.as_deref())?);
    Ok(Speed { cpu: cpu(), rows })
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown".into(), |(_, name)| name.to_string())
}
