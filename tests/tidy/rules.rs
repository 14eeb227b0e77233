//! The tidy rules: each takes files and returns what is wrong, one line each, so that a canary can feed it a fault.

use super::source::{File, code_of, words};

/// What each layer may name with `crate::`. The list in `src/lib.rs` in words; nothing may point up.
pub const EDGES: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "control", "cluster", "nbd", "rotation", "volume", "keys", "format", "engine", "crypto", "tls", "units",
            "limits", "latency",
        ],
    ),
    ("control", &["cluster", "nbd", "rotation", "volume", "keys", "format", "crypto", "units", "limits"]),
    ("cluster", &["format", "crypto", "tls", "sync", "units", "limits"]),
    ("nbd", &["volume", "engine", "tls", "units", "limits", "latency"]),
    ("rotation", &["volume", "keys", "format", "engine", "crypto", "units", "limits", "latency"]),
    ("volume", &["keys", "format", "engine", "crypto", "sync", "units", "limits"]),
    ("keys", &["format", "crypto", "units", "limits"]),
    ("format", &["crypto", "units", "limits"]),
    ("engine", &["sync", "units", "limits"]),
    ("crypto", &["units", "limits"]),
    ("latency", &[]),
    ("limits", &["units"]),
    ("sync", &[]),
    ("tls", &[]),
    ("units", &[]),
];

/// Layers that hold bytes and mathematics only, and what they must not name.
const NO_IO_LAYERS: &[&str] = &["crypto", "format"];
const IO_NAMES: &[&str] = &["std::fs", "std::net", "std::os::unix::net", "tokio", "io_uring", "std::process"];

/// The files that may hold `unsafe`; a trailing `/` or `*` stands for everything that begins so.
const UNSAFE_FENCE: &[&str] = &[
    "src/crypto/awslc.rs",
    "src/crypto/vaes/",
    "src/crypto/locked.rs",
    "src/engine/ring.rs",
    "src/engine/ring_*",
    "src/engine/ring/",
    "src/engine/sys.rs",
    "src/engine/arena.rs",
    "src/engine/mapping.rs",
];

/// Most lines of code (no blanks, no comments) a file may have.
pub const CODE_LINES_MAX: usize = 400;

fn layer_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let first = inside.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "lib").then_some(name)
}

/// The names that follow `crate::` in a piece of code, groups in braces included.
fn crate_names(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_names(group)),
            None => names.push(first_word(rest)),
        }
    }
    names
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first word of every member of a `{…}` group, of which the opening brace is already taken.
fn group_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut start) = (1, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if (c == ',' && depth == 1) || depth == 0 {
            names.push(first_word(&group[start..at]));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Layers may only name what [`EDGES`] allows, and the byte-only layers no I/O.
pub fn layer_edges(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        let Some(layer) = layer_of(&file.path) else {
            continue;
        };
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == layer) else {
            wrong.push(format!("{}: layer {layer} is not in the table of edges", file.path));
            continue;
        };
        let code = code_of(&file.text);
        for name in crate_names(&code) {
            let is_layer = EDGES.iter().any(|(known, _)| *known == name);
            if is_layer && name != layer && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{}: {layer} must not know {name}", file.path));
            }
        }
        // What only the tests of a file do, at its end, is not what the layer does.
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        if NO_IO_LAYERS.contains(&layer) && !file.path.contains("/tests") {
            wrong.extend(
                IO_NAMES
                    .iter()
                    .filter(|name| code.contains(**name))
                    .map(|name| format!("{}: {layer} does no I/O, but names {name}", file.path)),
            );
        }
    }
    wrong
}

/// `unsafe` only behind the fence.
pub fn unsafe_fence(files: &[File]) -> Vec<String> {
    let fenced = |path: &str| {
        UNSAFE_FENCE.iter().any(|entry| match entry.strip_suffix('*') {
            Some(stem) => path.starts_with(stem),
            None if entry.ends_with('/') => path.starts_with(entry),
            None => path == *entry,
        })
    };
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !fenced(&file.path)) {
        let code = code_of(&file.text);
        let hit = words(&code).find(|(_, word)| *word == "unsafe");
        wrong.extend(hit.map(|(line, _)| format!("{}:{line}: unsafe outside the fence", file.path)));
        if code.contains("allow(unsafe_code") {
            wrong.push(format!("{}: allows unsafe_code outside the fence", file.path));
        }
    }
    wrong
}

/// Every Rust file begins by saying what it is for.
pub fn module_docs(files: &[File]) -> Vec<String> {
    let says = |line: &str| line.starts_with("#![doc = include_str!(") || line.starts_with("//! ") && line.len() > 12;
    let has_doc = |file: &&File| file.text.lines().next().is_some_and(says);
    files
        .iter()
        .filter(|file| !has_doc(file))
        .map(|file| format!("{}: does not begin with a module doc", file.path))
        .collect()
}

/// No file longer than [`CODE_LINES_MAX`] lines of code.
pub fn file_sizes(files: &[File]) -> Vec<String> {
    let lines = |file: &File| code_of(&file.text).lines().filter(|line| !line.trim().is_empty()).count();
    files
        .iter()
        .map(|file| (file, lines(file)))
        .filter(|(_, count)| *count > CODE_LINES_MAX)
        .map(|(file, count)| format!("{}: {count} lines of code, at most {CODE_LINES_MAX}", file.path))
        .collect()
}

/// Nothing left half-done.
pub fn leftovers(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        let code = code_of(&file.text);
        for name in ["todo!", "unimplemented!", "dbg!"] {
            wrong.extend(code.contains(name).then(|| format!("{}: {name} left in", file.path)));
        }
    }
    wrong
}

/// No committed file names a path of somebody's machine, or the host of a package registry.
pub fn private_places(files: &[File]) -> Vec<String> {
    // Put together here, so that this file passes its own rule.
    let slash = |parts: &[&str]| format!("/{}/", parts.join("/"));
    let dot = |parts: &[&str]| parts.join(".");
    let places = [
        slash(&["work"]),
        slash(&["root"]),
        slash(&["home"]),
        slash(&["Users"]),
        slash(&["workspace"]),
        dot(&["static.crates", "io"]),
        dot(&["index.crates", "io"]),
        dot(&["pypi", "org"]),
        dot(&["deb.debian", "org"]),
        dot(&["registry.npmjs", "org"]),
    ];
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| file.path != "Cargo.lock") {
        for (index, line) in file.text.lines().enumerate() {
            wrong.extend(
                places
                    .iter()
                    .filter(|place| names_place(line, place))
                    .map(|place| format!("{}:{}: names {place}", file.path, index + 1)),
            );
        }
    }
    wrong
}

/// No file carries the marks of a merge that was not finished.
pub fn merge_marks(files: &[File]) -> Vec<String> {
    // Put together here, so that this file passes its own rule.
    let marks = ["<", "=", ">"].map(|sign| sign.repeat(7));
    let is_mark = |line: &str| marks.iter().any(|mark| line == mark || line.starts_with(&format!("{mark} ")));
    let mut wrong = Vec::new();
    for file in files {
        let hit = file.text.lines().position(is_mark);
        wrong.extend(hit.map(|index| format!("{}:{}: mark of an unfinished merge", file.path, index + 1)));
    }
    wrong
}

/// Whether `line` holds `place` as the start of a path, not in the middle of one.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        !place.starts_with('/') || !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}".contains(c))
    })
}

/// The documents name every folder of `src`.
pub fn documented_folders(folders: &[String], documents: &[File]) -> Vec<String> {
    let named = |folder: &String| documents.iter().any(|file| file.text.contains(&format!("src/{folder}")));
    folders
        .iter()
        .filter(|folder| !named(folder))
        .map(|folder| format!("src/{folder} is in neither README.md nor ARCHITECTURE.md"))
        .collect()
}

/// Every file under `src` is declared as a module by some other one, by name or by `#[path]`.
pub fn dead_files(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !matches!(file.path.as_str(), "src/lib.rs" | "src/main.rs")) {
        let stem = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let Some((parent, name)) = stem.rsplit_once('/') else { continue };
        let is_declared =
            files.iter().any(|other| declares_by_name(other, parent, name) || declares_by_path(other, file));
        wrong.extend((!is_declared).then(|| format!("{}: no file declares this module", file.path)));
    }
    wrong
}

fn declares_by_name(other: &File, parent: &str, name: &str) -> bool {
    let is_parent = other.path.strip_suffix(".rs").is_some_and(|stem| {
        stem == parent || stem.strip_suffix("/mod") == Some(parent) || (parent == "src" && stem == "src/lib")
    });
    if !is_parent {
        return false;
    }
    let code = code_of(&other.text);
    let all: Vec<&str> = words(&code).map(|(_, word)| word).collect();
    all.windows(2).any(|pair| pair == ["mod", name])
}

fn declares_by_path(other: &File, file: &File) -> bool {
    let folder = other.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    file.path
        .strip_prefix(&format!("{folder}/"))
        .is_some_and(|inside| other.text.contains(&format!("#[path = \"{inside}\"]")))
}

/// Tests that the documents name, as `module::name`, must be there under that name.
pub fn named_tests(documents: &[File], files: &[File]) -> Vec<String> {
    let there = |name: &str| {
        files.iter().any(|file| {
            let place = file.path.trim_end_matches(".rs").split('/').any(|part| part == name);
            place || words(&code_of(&file.text)).any(|(_, word)| word == name)
        })
    };
    let mut wrong = Vec::new();
    for document in documents {
        for token in document.text.split('`').skip(1).step_by(2) {
            let is_path = token.contains("::") && token.chars().all(|c| c.is_alphanumeric() || "_:".contains(c));
            let last = token.rsplit("::").next().unwrap_or_default();
            if is_path && !there(last) {
                wrong.push(format!("{}: no test or module {token}", document.path));
            }
        }
    }
    wrong
}
