//! Rules about secrets: a type that holds one cannot be printed, copied or serialized, and every fault of a keeper has a test.
//!
//! The compiler refuses to derive such a trait for a type with a `Secret` in it; what it cannot see is a trait written out by
//! hand, or a derived one on a type that reaches its secret through a pointer that has the trait of its own (`Arc` is `Clone`).

use super::source::{File, code_of, words};

/// Where secret bytes live, and what is made of them elsewhere.
const ROOTS: &[&str] = &["Secret", "Region", "Locked", "Context", "AuthPin", "RawAuthPin"];
/// What a type that holds a secret must not be.
const FORBIDDEN: &[&str] = &["Debug", "Display", "Clone", "Copy", "Serialize", "LowerHex", "UpperHex", "ToString"];

/// One type of the tree.
struct Type<'a> {
    file: &'a str,
    name: String,
    derives: Vec<String>,
    body: Vec<String>,
}

/// Types that hold a secret have none of the traits by which it would get out.
pub fn secrets_stay(files: &[File]) -> Vec<String> {
    let kept: Vec<(&File, String)> = files
        .iter()
        .filter(|file| ["src/crypto/", "src/keys/"].iter().any(|layer| file.path.starts_with(layer)))
        .filter(|file| !file.path.contains("/tests"))
        .map(|file| (file, code_of(&file.text)))
        .collect();
    let types: Vec<Type<'_>> = kept.iter().flat_map(|(file, code)| types_of(&file.path, code)).collect();
    let mut secret: Vec<usize> = Vec::new();
    loop {
        let holds = |it: &Type<'_>| it.body.iter().any(|word| is_secret(word, it.file, &types, &secret));
        let new = (0..types.len()).find(|index| !secret.contains(index) && holds(&types[*index]));
        match new {
            Some(new) => secret.push(new),
            None => break,
        }
    }
    let mut wrong = Vec::new();
    for it in types.iter().filter(|it| is_secret(&it.name, it.file, &types, &secret)) {
        let bad = it.derives.iter().filter(|name| FORBIDDEN.contains(&name.as_str()));
        wrong.extend(bad.map(|name| format!("{}: {} holds a secret and derives {name}", it.file, it.name)));
    }
    for (file, code) in &kept {
        for (name, of) in impls_of(code) {
            if FORBIDDEN.contains(&name.as_str()) && is_secret(&of, &file.path, &types, &secret) {
                wrong.push(format!("{}: {of} holds a secret and implements {name}", file.path));
            }
        }
    }
    wrong
}

/// Whether `name`, written in `file`, is a type that holds a secret. Of several types of a name the one of the same folder is
/// meant, if there is one.
fn is_secret(name: &str, file: &str, types: &[Type<'_>], secret: &[usize]) -> bool {
    if ROOTS.contains(&name) {
        return true;
    }
    let folder = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let named: Vec<usize> = (0..types.len()).filter(|index| types[*index].name == name).collect();
    let near: Vec<usize> = named.iter().copied().filter(|index| folder(types[*index].file) == folder(file)).collect();
    let meant = if near.is_empty() { &named } else { &near };
    meant.iter().any(|index| secret.contains(index))
}

/// The structs and enums of a file: derives, and the words between name and end.
fn types_of<'a>(path: &'a str, code: &str) -> Vec<Type<'a>> {
    let mut types = Vec::new();
    for key in ["struct ", "enum "] {
        for (at, _) in code.match_indices(key) {
            let starts = code[..at].rsplit(|c: char| c.is_whitespace()).next().is_none_or(str::is_empty);
            let rest = &code[at + key.len()..];
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !starts || name.is_empty() {
                continue;
            }
            let body = &rest[name.len()..body_end(rest)];
            // A variant may be called like a type; what it holds stands in brackets of its own.
            let body = if key == "enum " { nested(body) } else { body.to_owned() };
            let before = &code[..at];
            let attributes = &before[before.rfind(['}', ';']).map_or(0, |end| end + 1)..];
            let derives = attributes.split("derive(").skip(1).flat_map(|list| {
                let list = list.split(')').next().unwrap_or_default();
                words(list).map(|(_, word)| word.to_owned()).collect::<Vec<_>>()
            });
            let body = words(&body).map(|(_, word)| word.to_owned()).collect();
            types.push(Type { file: path, derives: derives.collect(), name, body });
        }
    }
    types
}

/// Where the definition that begins here ends: at a semicolon outside, or at the closing brace.
fn body_end(rest: &str) -> usize {
    let mut depth = 0;
    for (at, c) in rest.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 && (c == ';' || c == '}') {
            return at;
        }
    }
    rest.len()
}

/// What stands in brackets within the outermost ones.
fn nested(body: &str) -> String {
    let mut depth = 0;
    let mut inner = String::new();
    for c in body.chars() {
        if ")}]".contains(c) {
            depth -= 1;
        }
        inner.push(if depth > 1 { c } else { ' ' });
        if "({[".contains(c) {
            depth += 1;
        }
    }
    inner
}

/// Trait and type of every `impl Trait for Type`.
fn impls_of(code: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for part in code.split("impl").skip(1) {
        let head = part.split('{').next().unwrap_or_default();
        if let Some((left, right)) = head.split_once(" for ") {
            let last = words(left).map(|(_, word)| word).last().unwrap_or_default();
            let name = words(right).map(|(_, word)| word).next().unwrap_or_default();
            let named = left.split('<').next().unwrap_or_default();
            let of = words(named).map(|(_, word)| word).last().unwrap_or(last);
            all.push((of.to_owned(), name.to_owned()));
        }
    }
    all
}
