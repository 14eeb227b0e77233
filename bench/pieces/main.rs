//! Pieces of the hot paths, each as often as asked, for `bench/regress --instructions`: under callgrind the difference between
//! N and 2N times is what once costs, and it is the same each time, where time on a shared machine is not.
//!
//! `keymoult-pieces` lists the pieces; `keymoult-pieces PIECE COUNT` works on one. Keys and data are fixed. The sessions are
//! the server's own threads behind a unix socket, on the posix engine, with nothing behind them and one request in flight;
//! their client is in the same process and so in the count, which makes it too large by a constant.

#[path = "../null/backend.rs"]
mod backend;
mod session;

use std::hint::black_box;

use keymoult::crypto::fingerprint::{Fingerprinter, SECRET_LEN};
use keymoult::crypto::mac::MacKey;
use keymoult::crypto::{EngineKind, Secret, Suite, TweakRule, Xts};
use keymoult::format::Seal;
use keymoult::format::intents::{Image, Intent, Record};
use keymoult::format::layout::{RING_SLOTS, Shape, WriteMode};
use keymoult::format::tags::{open_page, seal_page};
use keymoult::nbd::form::Form;
use keymoult::nbd::meta::Contexts;
use keymoult::nbd::reply::{Say, To};
use keymoult::nbd::request;
use keymoult::nbd::wire::{NBD_CMD_READ, NBD_CMD_WRITE, REQUEST_LEN};
use keymoult::units::{Extent, Generation, VolumeId};

type Failure = Box<dyn std::error::Error>;
type Piece = fn(u64) -> Result<(), Failure>;

const PIECES: [(&str, Piece); 12] = [
    ("wire: a request and its reply", wire),
    ("intents: seal a record of 16 extents", seal_record),
    ("intents: open a record of 16 extents", open_record),
    ("tags: seal a page", seal_tags),
    ("tags: open a page", open_tags),
    ("fingerprints of an extent", fingerprints),
    ("xts portable, 128 KiB", |count| xts(EngineKind::Portable, count)),
    ("xts aws-lc, 128 KiB", |count| xts(EngineKind::AwsLc, count)),
    ("session: read 4 KiB", |count| session::run(NBD_CMD_READ, 4 << 10, count)),
    ("session: write 4 KiB", |count| session::run(NBD_CMD_WRITE, 4 << 10, count)),
    ("session: read 128 KiB", |count| session::run(NBD_CMD_READ, 128 << 10, count)),
    ("session: write 128 KiB", |count| session::run(NBD_CMD_WRITE, 128 << 10, count)),
];

const VOLUME: VolumeId = VolumeId([7; 16]);
const SHAPE: Shape = Shape {
    size: 64 << 20,
    max_size: 64 << 20,
    extent_size: 1 << 20,
    data_unit: 4096,
    granule: 4096,
    mode: WriteMode::InPlace,
};

fn seal() -> Seal {
    Seal::new(VOLUME, MacKey::new(&Secret::filled(32, |bytes| bytes.fill(3))))
}

fn wire(count: u64) -> Result<(), Failure> {
    let (form, contexts) = (Form::Simple, Contexts::default());
    let terms = request::Terms { size: 1 << 30, read_only: false, form, contexts, fast_zero: false };
    let mut out = Vec::new();
    for cookie in 0..count {
        let bytes: [u8; REQUEST_LEN] = session::header(NBD_CMD_READ, cookie, cookie << 12, 4096);
        let header = request::Header::parse(black_box(&bytes)).ok_or("the magic is wrong")?;
        black_box(request::judge(&header, &terms));
        out.clear();
        Say::Done.write(form, To { cookie: header.cookie, offset: header.offset }, &mut out);
        black_box(&out);
    }
    Ok(())
}

fn record() -> Record {
    let granules = SHAPE.extent_size / u64::from(SHAPE.granule);
    let intent = |extent| Intent {
        extent: Extent(extent),
        old: Generation(1),
        new: Generation(2),
        image: Image::Fingerprints((0..granules).collect()),
    };
    Record { sequence: 1, commits: Vec::new(), intents: (0..16).map(intent).collect() }
}

fn seal_record(count: u64) -> Result<(), Failure> {
    let (seal, record) = (seal(), record());
    for _ in 0..count {
        black_box(black_box(&record).seal(&seal, RING_SLOTS));
    }
    Ok(())
}

fn open_record(count: u64) -> Result<(), Failure> {
    let seal = seal();
    let bytes = record().seal(&seal, RING_SLOTS);
    for _ in 0..count {
        black_box(Record::open(&seal, 1, black_box(&bytes), &SHAPE)?);
    }
    Ok(())
}

fn seal_tags(count: u64) -> Result<(), Failure> {
    let seal = seal();
    for sequence in 0..count {
        black_box(seal_page(&seal, 0, sequence, (0..1008).map(Generation)));
    }
    Ok(())
}

fn open_tags(count: u64) -> Result<(), Failure> {
    let seal = seal();
    let page = seal_page(&seal, 0, 1, (0..1008).map(Generation));
    for _ in 0..count {
        black_box(open_page(&seal, 0, black_box(&page))?);
    }
    Ok(())
}

fn fingerprints(count: u64) -> Result<(), Failure> {
    let printer = Fingerprinter::new(Secret::filled(SECRET_LEN, |bytes| bytes.fill(9)));
    let (data, mut out) = (vec![0x5a; SHAPE.extent_size as usize], Vec::new());
    for _ in 0..count {
        out.clear();
        printer.all(black_box(&data), SHAPE.granule as usize, &mut out);
        black_box(&out);
    }
    Ok(())
}

fn xts(engine: EngineKind, count: u64) -> Result<(), Failure> {
    let key = Secret::filled(64, |bytes| bytes.iter_mut().zip(0..).for_each(|(byte, at)| *byte = at));
    let cipher = Xts::new(engine, Suite::Aes256Xts, &key, SHAPE.data_unit, TweakRule::own(SHAPE.data_unit))?;
    let mut data = vec![0x5a; 128 << 10];
    for turn in 0..count {
        cipher.encrypt(turn << 17, black_box(&mut data));
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [] => PIECES.iter().for_each(|(name, _)| println!("{name}")),
        [piece, count] => {
            let found = PIECES.iter().find(|(name, _)| name == piece);
            found.ok_or("there is no such piece; without arguments they are listed")?.1(count.parse()?)?;
        }
        _ => return Err("usage: keymoult-pieces [PIECE COUNT]".into()),
    }
    Ok(())
}
