//! The table of key faults says of each fault its class, the exit code of that class, and a test that is there.

use super::source::{File, code_of, words};

/// Classes of key errors, with the exit code of a command that ends by one.
const CLASSES: &[(&str, &str)] = &[
    ("unreachable", "9"),
    ("sealed", "9"),
    ("throttled", "9"),
    ("denied", "4"),
    ("disabled", "4"),
    ("wrong-key", "4"),
    ("tampered", "5"),
    ("local", "3"),
    ("usage", "3"),
    // Nothing is wrong.
    ("–", "–"),
];

/// Keepers outside this process, of which every fault they know must be in the table.
const FAULTS: &[(&str, &[&str])] = &[
    ("pkcs11", &["unreachable", "denied", "disabled", "wrong-key", "tampered", "local", "usage"]),
    ("vault", &["unreachable", "sealed", "throttled", "denied", "disabled", "wrong-key", "tampered", "local", "usage"]),
    ("kmip", &["unreachable", "throttled", "denied", "disabled", "wrong-key", "tampered", "local", "usage"]),
];

struct Row<'a> {
    line: usize,
    cells: Vec<&'a str>,
}

/// The rows of all tables with seven columns, without heads and rules.
fn rows(text: &str) -> Vec<Row<'_>> {
    let cells = |line: &'_ str| -> Option<Vec<String>> {
        let inside = line.strip_prefix("| ")?.strip_suffix(" |")?;
        Some(inside.split(" | ").map(|cell| cell.trim().to_owned()).collect())
    };
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(found) = cells(line) else { continue };
        if found.len() == 7 && found[0] != "keeper" {
            let inside = line.trim_start_matches("| ").trim_end_matches(" |");
            rows.push(Row { line: index + 1, cells: inside.split(" | ").map(str::trim).collect() });
        }
    }
    rows
}

/// What is wrong with the table in `note`; `files` hold the tests.
pub fn fault_rows(note: &File, files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    let rows = rows(&note.text);
    for Row { line, cells } in &rows {
        let place = format!("{}:{line}", note.path);
        match CLASSES.iter().find(|(class, _)| *class == cells[3]) {
            None => wrong.push(format!("{place}: there is no class {}", cells[3])),
            Some((class, exit)) if *exit != cells[4] => {
                wrong.push(format!("{place}: class {class} ends with {exit}, not {}", cells[4]));
            }
            Some(_) => {}
        }
        let mut named = cells[6].split('`').skip(1).step_by(2).peekable();
        if named.peek().is_none() {
            wrong.push(format!("{place}: names no test"));
        }
        for name in named.filter(|name| !is_test(name, files)) {
            wrong.push(format!("{place}: no test {name}"));
        }
    }
    for (keeper, classes) in FAULTS {
        let known = |class: &&str| rows.iter().any(|row| row.cells[0] == *keeper && row.cells[3] == *class);
        let missing = classes.iter().filter(|class| !known(class));
        wrong.extend(missing.map(|class| format!("{}: no row for {keeper}, {class}", note.path)));
    }
    wrong
}

/// Whether the last part of `name` is a function in a file or folder that the part before it names.
pub fn is_test(name: &str, files: &[File]) -> bool {
    let Some((path, function)) = name.rsplit_once("::") else { return false };
    let module = path.rsplit("::").find(|part| *part != "tests").unwrap_or(path);
    let holds = |file: &&File| {
        let code = code_of(&file.text);
        let all: Vec<&str> = words(&code).map(|(_, word)| word).collect();
        all.windows(2).any(|pair| pair == ["fn", function])
    };
    let is_there = |file: &&File| file.path.trim_end_matches(".rs").split('/').any(|part| part == module);
    files.iter().filter(is_there).any(|file| holds(&file))
}
