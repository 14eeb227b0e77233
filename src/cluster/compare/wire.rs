//! Questions and answers of the comparison as bytes, and how a replica answers.
//!
//! Invariants: canonical; sizes are bounded before anything is allocated or read; what does not decode to the last byte is
//! refused with the field's name. A witness is not answered: it holds no keys, and digests of content under a key of its choice
//! would let it test guesses.

use std::fmt;

use super::{BLOCK, CELLS_MAX, Digests, EXTENTS_MAX, WINDOW_MAX};
use crate::cluster::record::Role;
use crate::format::Damage;
use crate::format::codec::{Reader, Writer};
use crate::units::Generation;

const MAGIC: [u8; 4] = *b"KMCK";
const VERSION: u8 = 1;
const QUESTION: u8 = 1;
const ANSWER: u8 = 2;
/// Longest reason of a failure, bytes.
const WHY_MAX: usize = 512;

/// Names one comparison.
pub type CheckId = [u8; 16];
/// A digest of one range.
pub type Digest = [u8; 16];

/// The key of content digests, made anew for each comparison.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CheckKey(pub [u8; 32]);

impl fmt::Debug for CheckKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckKey")
    }
}

/// The disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Bytes clients see.
    pub size: u64,
    /// Bytes of an extent.
    pub extent: u64,
}

impl Shape {
    /// How many extents there are.
    pub fn extents(&self) -> u64 {
        self.size.div_ceil(self.extent.max(1))
    }

    fn is_believable(&self) -> bool {
        self.size > 0 && self.extent.is_power_of_two() && self.extent >= BLOCK && self.extents() <= EXTENTS_MAX
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The shape.
    Shape,
    /// Which generation encrypts which extents.
    Map {
        /// The first extent.
        first: u64,
        /// How many.
        count: u64,
        /// Extents a digest speaks of.
        step: u64,
    },
    /// What clients would read.
    Plain {
        /// The key of the digests.
        key: CheckKey,
        /// The first byte.
        first: u64,
        /// How many.
        count: u64,
        /// Bytes a digest speaks of.
        step: u64,
    },
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Of which comparison.
    pub check: CheckId,
    /// Counts its questions.
    pub number: u64,
    /// What is asked for.
    pub ask: Ask,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It could not.
    Failed(String),
    /// The shape.
    Shape(Shape),
    /// Digests, none where it cannot be read.
    Cells {
        /// The generation the replica writes under.
        target: Generation,
        /// Whether extents are being moved to it.
        moving: bool,
        /// The digests.
        cells: Vec<Option<Digest>>,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) check: CheckId,
    pub(super) number: u64,
    pub(super) reply: Reply,
}

/// Whether a payload is a question, to be answered; else it is an answer, to be heard.
pub fn is_question(payload: &[u8]) -> bool {
    payload.get(5) == Some(&QUESTION)
}

/// Answers a question of a member that is `asker`, from what `digests` gives. May read up to [`WINDOW_MAX`] bytes.
///
/// # Errors
/// It is no question, or none that is answered.
pub fn answer(question: &[u8], asker: Role, digests: &dyn Digests) -> Result<Vec<u8>, Damage> {
    let Question { check, number, ask } = Question::decode(question)?;
    let reply = match (asker, ask) {
        (Role::Witness, _) => Reply::Failed("a witness is not answered".into()),
        (Role::Full, Ask::Shape) => Reply::Shape(digests.shape()),
        (Role::Full, ask) => cells(&ask, digests).unwrap_or_else(Reply::Failed),
    };
    Ok(Answer { check, number, reply }.encode())
}

fn cells(ask: &Ask, digests: &dyn Digests) -> Result<Reply, String> {
    let cells = match ask {
        Ask::Shape => Vec::new(),
        Ask::Map { first, count, step } => {
            digests.map(*first, *count, *step)?.iter().map(|it| Some(head(it))).collect()
        }
        Ask::Plain { key, first, count, step } => digests.plain(&key.0, *first, *count, *step)?,
    };
    // Asked after the digests were made: a rotation that began meanwhile shows.
    let (target, moving) = digests.target();
    Ok(Reply::Cells { target, moving, cells })
}

fn head(digest: &[u8; 32]) -> Digest {
    std::array::from_fn(|index| digest[index])
}

fn begin(kind: u8, check: &CheckId, number: u64) -> Writer {
    let mut writer = Writer::new();
    writer.raw(&MAGIC).u8(VERSION).u8(kind).raw(check).u64(number);
    writer
}

fn open<'a>(what: &'static str, kind: u8, payload: &'a [u8]) -> Result<(Reader<'a>, CheckId, u64), Damage> {
    let mut reader = Reader::new(what, payload);
    let magic: [u8; 4] = reader.array("magic")?;
    reader.require(magic == MAGIC, "magic")?;
    let version = reader.u8("version")?;
    reader.require(version == VERSION, "version")?;
    let found = reader.u8("kind")?;
    reader.require(found == kind, "kind")?;
    let check = reader.array("check")?;
    let number = reader.u64("number")?;
    Ok((reader, check, number))
}

fn close<T>(reader: &Reader<'_>, value: T) -> Result<T, Damage> {
    reader.require(reader.rest().is_empty(), "length").map(|()| value)
}

impl Question {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = begin(QUESTION, &self.check, self.number);
        match &self.ask {
            Ask::Shape => writer.u8(0),
            Ask::Map { first, count, step } => writer.u8(1).u64(*first).u64(*count).u64(*step),
            Ask::Plain { key, first, count, step } => writer.u8(2).raw(&key.0).u64(*first).u64(*count).u64(*step),
        };
        writer.bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// A field is out of bounds.
    pub fn decode(payload: &[u8]) -> Result<Question, Damage> {
        let (mut reader, check, number) = open("a question about a replica", QUESTION, payload)?;
        let ask = match reader.u8("subject")? {
            0 => Ask::Shape,
            1 => {
                let (first, count, step) = span(&mut reader)?;
                reader.require(first.checked_add(count).is_some_and(|end| end <= EXTENTS_MAX), "count")?;
                Ask::Map { first, count, step }
            }
            2 => {
                let key = CheckKey(reader.array("key")?);
                let (first, count, step) = span(&mut reader)?;
                reader.require(count <= WINDOW_MAX && first.checked_add(count).is_some(), "count")?;
                reader.require(step >= BLOCK && step.is_power_of_two() && first.is_multiple_of(step), "step")?;
                Ask::Plain { key, first, count, step }
            }
            _ => return Err(reader.bad("subject")),
        };
        close(&reader, Question { check, number, ask })
    }
}

fn span(reader: &mut Reader<'_>) -> Result<(u64, u64, u64), Damage> {
    let (first, count, step) = (reader.u64("first")?, reader.u64("count")?, reader.u64("step")?);
    reader.require(count > 0, "count")?;
    reader.require(step > 0 && count.div_ceil(step) <= CELLS_MAX as u64, "step")?;
    Ok((first, count, step))
}

impl Answer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = begin(ANSWER, &self.check, self.number);
        match &self.reply {
            Reply::Failed(why) => writer.u8(0).short_text(why, WHY_MAX),
            Reply::Shape(shape) => writer.u8(1).u64(shape.size).u64(shape.extent),
            Reply::Cells { target, moving, cells } => {
                writer.u8(2).u32(target.0).u8(u8::from(*moving)).u32(cells.len() as u32);
                for cell in cells {
                    match cell {
                        Some(digest) => writer.u8(1).raw(digest),
                        None => writer.u8(0),
                    };
                }
                &mut writer
            }
        };
        writer.bytes
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Answer, Damage> {
        let (mut reader, check, number) = open("an answer about a replica", ANSWER, payload)?;
        let reply = match reader.u8("reply")? {
            0 => Reply::Failed(reader.string("reason", WHY_MAX)?),
            1 => {
                let shape = Shape { size: reader.u64("size")?, extent: reader.u64("extent size")? };
                reader.require(shape.is_believable(), "size")?;
                Reply::Shape(shape)
            }
            2 => decode_cells(&mut reader)?,
            _ => return Err(reader.bad("reply")),
        };
        close(&reader, Answer { check, number, reply })
    }
}

fn decode_cells(reader: &mut Reader<'_>) -> Result<Reply, Damage> {
    let target = Generation(reader.u32("target")?);
    let moving = flag(reader, "moving")?;
    let count = reader.u32("count")? as usize;
    reader.require(count <= CELLS_MAX, "count")?;
    let mut cells = Vec::with_capacity(count);
    for _ in 0..count {
        cells.push(match flag(reader, "cell")? {
            true => Some(reader.array("digest")?),
            false => None,
        });
    }
    Ok(Reply::Cells { target, moving, cells })
}

fn flag(reader: &mut Reader<'_>, field: &'static str) -> Result<bool, Damage> {
    match reader.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.bad(field)),
    }
}
