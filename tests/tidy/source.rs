//! Reading the tree for the tidy rules: which files there are, and what of a Rust file is code.
//!
//! Invariant: [`code_of`] keeps every line break, so a line number in its result is one in the file.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// One file of the tree: its path from the root, with `/` between the parts, and its text.
pub struct File {
    /// Path from the root of the repository.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl File {
    /// A file that exists only in a canary.
    pub fn fake(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }
}

/// Every text file that is committed or could be: git's list where there is git, else a walk of the tree.
pub fn committed() -> Vec<File> {
    let names = git_list().unwrap_or_else(walk_list);
    assert!(names.len() > 10, "the list of files is too short to be true: {names:?}");
    names
        .into_iter()
        .filter_map(|path| Some(File { text: std::fs::read_to_string(root().join(&path)).ok()?, path }))
        .collect()
}

/// The Rust files under the given folders.
pub fn rust(folders: &[&str]) -> Vec<File> {
    let inside = |path: &str| folders.iter().any(|folder| path.starts_with(&format!("{folder}/")));
    let files: Vec<File> =
        committed().into_iter().filter(|file| file.path.ends_with(".rs") && inside(&file.path)).collect();
    assert!(!files.is_empty(), "no Rust files under {folders:?}");
    files
}

/// The folders directly under `src`.
pub fn src_folders() -> Vec<String> {
    let mut names: Vec<String> = rust(&["src"])
        .iter()
        .filter_map(|file| Some(file.path.strip_prefix("src/")?.split_once('/')?.0.to_owned()))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn git_list() -> Option<Vec<String>> {
    let output =
        Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).current_dir(root()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let names: Vec<String> = text.lines().map(str::to_owned).collect();
    (output.status.success() && !names.is_empty()).then_some(names)
}

fn walk_list() -> Vec<String> {
    let mut names = Vec::new();
    walk(&root(), &mut names);
    names
}

fn walk(folder: &Path, names: &mut Vec<String>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                walk(&path, names);
            }
        } else {
            names.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
        }
    }
}

/// The code of a Rust file: comments, strings and character literals are blanked, line breaks stay.
pub fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.push(' ');
            code.extend(chars[at..end].iter().filter(|c| **c == '\n'));
            at = end;
        }
    }
    code
}

/// The end of the comment, string or character literal that starts at `at`; `at` itself if none does.
fn skip(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1);
    match chars[at] {
        '/' if next == Some(&'/') => chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n),
        '/' if next == Some(&'*') => end_of_block_comment(chars, at),
        '"' => end_of_string(chars, at),
        'r' if !follows_word(chars, at) || chars[at - 1] == 'b' => end_of_raw_string(chars, at),
        '\'' => end_of_character(chars, at),
        _ => at,
    }
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn end_of_raw_string(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(start + 1 + hashes) != Some(&'"') {
        return start;
    }
    let mut at = start + 2 + hashes;
    while at < chars.len() {
        if chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    chars.len()
}

/// A quote starts a character literal or a lifetime; only the first is skipped.
fn end_of_character(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => chars[start + 3..].iter().position(|c| *c == '\'').map_or(chars.len(), |n| start + 4 + n),
        (Some(_), Some('\'')) => start + 3,
        _ => start,
    }
}

/// The words of a piece of code, with the line each stands on (from 1).
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(index, line)| {
        line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty())
            .map(move |word| (index + 1, word))
    })
}
