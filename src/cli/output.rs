//! Results on stdout: a table for people, JSON for programs.
//!
//! Invariants: one result, one JSON document on one line; nothing else ever goes to stdout.

use std::io::{self, Write};

use serde::Serialize;

use super::failure::Failure;

/// How results are written.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// JSON or not.
    pub const fn new(json: bool) -> Output {
        Output { json }
    }

    /// Whether results are JSON.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a result: as JSON, or as `human` words it.
    pub fn result<T: Serialize>(&self, value: &T, human: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let text = match self.json {
            true => serde_json::to_string(value).map_err(io::Error::from)? + "\n",
            false => human(value),
        };
        self.text(&text)
    }

    /// Writes text as it is.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }
}

/// Rows with aligned columns, two blanks apart; no blanks at the end of a line.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `label  value` lines, indented, for things with many properties.
pub fn properties(pairs: &[(&str, String)]) -> String {
    let rows: Vec<Vec<String>> = pairs.iter().map(|(label, value)| vec![format!("  {label}"), value.clone()]).collect();
    table(&rows)
}

/// A row of a table.
pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}
