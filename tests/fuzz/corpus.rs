//! Inputs as text: one to a line, in hexadecimal.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// What stands behind a `#`.
    Comment(String),
    /// An input.
    Input(Vec<u8>),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Comment(text) => write!(f, "# {text}"),
            Line::Input(bytes) => f.write_str(&encode(bytes)),
        }
    }
}

fn root(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(folder)
}

/// The file of a target.
pub fn path(folder: &str, target: &str) -> PathBuf {
    let end = if folder == "dictionaries" { "dict" } else { "hex" };
    root(folder).join(format!("{target}.{end}"))
}

/// The targets that have a file in `folder`.
pub fn names(folder: &str) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(root(folder)) else { return BTreeSet::new() };
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The lines of a target's file, with their numbers; none if there is no file.
pub fn read(folder: &str, target: &str) -> Vec<(usize, Line)> {
    let text = std::fs::read_to_string(path(folder, target)).unwrap_or_default();
    (1..).zip(text.lines()).filter(|line| !line.1.is_empty()).map(|(number, line)| (number, decode(line))).collect()
}

/// Reads a line.
pub fn decode(line: &str) -> Line {
    match line {
        "-" => Line::Input(Vec::new()),
        _ => match line.strip_prefix('#') {
            Some(text) => Line::Comment(text.trim().into()),
            None => Line::Input(bytes(line)),
        },
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
    assert!(odd.is_empty(), "half a byte: {digits}");
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Writes an input.
pub fn encode(bytes: &[u8]) -> String {
    if bytes.is_empty() { "-".into() } else { bytes.iter().map(|byte| format!("{byte:02x}")).collect() }
}
