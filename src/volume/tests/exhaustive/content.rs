//! What a place of the model's device can hold, interned: a place carries a number, the library the thing itself.
//!
//! A cell's version is what the checks go by and no part of its bytes where it is a hole. The bytes of a granule stand in for
//! ciphertext: they differ exactly where generation or version differ, and a hole is all zero.

use std::collections::HashMap;
use std::fmt;

use crate::format::intents::{Image, Record};
use crate::units::Generation;

/// Number of a content.
pub type Id = u32;

/// One data cell: the least the device replaces at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// The key it is under; `None` is a hole.
    pub generation: Option<Generation>,
    /// Which write of the granule's it shows: 0 is what was there at first.
    pub version: u8,
}

/// The version of a text that was decrypted under the wrong key and encrypted again.
pub const GARBLED: u8 = u8::MAX;

/// Bytes that stand in for one cell's ciphertext.
pub const CELL_BYTES: usize = 16;

impl Cell {
    pub fn bytes(self) -> [u8; CELL_BYTES] {
        match self.generation {
            None => [0; CELL_BYTES],
            Some(generation) => {
                let mut bytes = [0xa5; CELL_BYTES];
                (bytes[0], bytes[1]) = (generation.0 as u8, self.version);
                bytes
            }
        }
    }

    /// The same text under another key; a hole stays one.
    pub fn under(self, generation: Generation) -> Cell {
        Cell { generation: self.generation.map(|_| generation), ..self }
    }

    /// What a journal record carries for a cell: its bytes, and the version of a hole too, which the checks need.
    pub fn journalled(self) -> [u8; CELL_BYTES] {
        let mut bytes = self.bytes();
        bytes[1] = self.version;
        bytes
    }

    pub fn from_journal(bytes: &[u8]) -> Cell {
        Cell { generation: (bytes[0] > 0).then(|| Generation(u32::from(bytes[0]))), version: bytes[1] }
    }
}

/// A superblock, as far as the model needs one. Its digest is the list of sequences itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Superblock {
    pub sequence: u64,
    pub checkpoint: u64,
    pub tail: u64,
    pub pages: Vec<u64>,
}

/// What a place holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    Blank,
    Torn,
    Cell(Cell),
    Record(Record),
    Page { sequence: u64, tags: Vec<Generation> },
    Superblock(Superblock),
}

impl Content {
    /// Whether a power loss may leave part of it.
    pub fn tears(&self) -> bool {
        !matches!(self, Content::Cell(_))
    }
}

/// All contents met so far.
pub struct Library {
    contents: Vec<Content>,
    numbers: HashMap<Content, Id>,
}

impl Default for Library {
    fn default() -> Self {
        let mut library = Library { contents: Vec::new(), numbers: HashMap::new() };
        assert_eq!(library.number(Content::Blank), Library::BLANK);
        assert_eq!(library.number(Content::Torn), Library::TORN);
        library
    }
}

impl Library {
    pub const BLANK: Id = 0;
    pub const TORN: Id = 1;

    pub fn number(&mut self, content: Content) -> Id {
        if let Some(id) = self.numbers.get(&content) {
            return *id;
        }
        let id = Id::try_from(self.contents.len()).expect("contents fit the numbers");
        self.contents.push(content.clone());
        self.numbers.insert(content, id);
        id
    }

    pub fn cell_number(&mut self, cell: Cell) -> Id {
        self.number(Content::Cell(cell))
    }

    pub fn get(&self, id: Id) -> &Content {
        &self.contents[id as usize]
    }

    pub fn cell(&self, id: Id) -> Cell {
        match self.get(id) {
            Content::Cell(cell) => *cell,
            other => panic!("a data place holds {other}"),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation {
            Some(generation) if self.version == GARBLED => write!(f, "garbled text under key {generation}"),
            Some(generation) => write!(f, "version {} under key {generation}", self.version),
            None => write!(f, "version {}, a hole", self.version),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Blank => f.write_str("blank"),
            Content::Torn => f.write_str("torn"),
            Content::Cell(cell) => cell.fmt(f),
            Content::Page { sequence, tags } => {
                let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
                write!(f, "page of checkpoint {sequence}: tags {}", tags.join(" "))
            }
            Content::Superblock(it) => write!(
                f,
                "superblock {}: checkpoint {}, tail {}, pages of {:?}",
                it.sequence, it.checkpoint, it.tail, it.pages
            ),
            Content::Record(record) => {
                write!(f, "record {}:", record.sequence)?;
                for commit in &record.commits {
                    write!(f, " commit {}→{} (of {})", commit.extent, commit.generation, commit.intent)?;
                }
                for intent in &record.intents {
                    let kind = match &intent.image {
                        Image::Fingerprints(_) => "",
                        Image::Ciphertext(_) => " with its ciphertext",
                    };
                    write!(f, " intent {}: {}→{}{kind}", intent.extent, intent.old, intent.new)?;
                }
                Ok(())
            }
        }
    }
}
