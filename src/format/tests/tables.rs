//! FORMAT.md as data: its sections, the rows of its tables, and laying a table over the bytes of a structure.

pub const TEXT: &str = include_str!("../FORMAT.md");

/// The text of section `number`.
pub fn section(number: u32) -> &'static str {
    let start = TEXT.find(&format!("\n## {number}. ")).unwrap_or_else(|| panic!("no section {number}")) + 1;
    let rest = &TEXT[start..];
    &rest[..rest[3..].find("\n## ").map_or(rest.len(), |end| end + 3)]
}

/// The tables of a section, without their heads and rules: rows of cells.
pub fn tables(number: u32) -> Vec<Vec<Vec<String>>> {
    let mut tables = vec![Vec::new()];
    for line in section(number).lines() {
        match line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) {
            Some(line) => {
                let cells = line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
                tables.last_mut().unwrap().push(cells);
            }
            None if !tables.last().unwrap().is_empty() => tables.push(Vec::new()),
            None => {}
        }
    }
    tables.retain(|rows: &Vec<_>| rows.len() > 2);
    tables.iter().map(|rows| rows[2..].to_vec()).collect()
}

/// The value of a sum like `62+16g`, with a value for each letter.
pub fn value(text: &str, letters: &[(char, usize)]) -> usize {
    let term = |term: &str| {
        let digits: String = term.chars().take_while(char::is_ascii_digit).collect();
        let factor = if digits.is_empty() { 1 } else { digits.parse().unwrap() };
        match term.chars().nth(digits.len()) {
            None => factor,
            Some(letter) => {
                let known = letters.iter().find(|(name, _)| *name == letter);
                factor * known.unwrap_or_else(|| panic!("letter {letter} in {text}")).1
            }
        }
    };
    text.split('+').map(term).sum()
}

/// Lays a table over bytes: fields follow each other without a gap and fill the bytes; each holds what `wanted` says.
#[track_caller]
pub fn lay_over(rows: &[Vec<String>], letters: &[(char, usize)], bytes: &[u8], wanted: &[(&str, &[u8])]) {
    assert_eq!(rows.len(), wanted.len(), "fields of the table");
    let mut end = 0;
    for (row, (name, expected)) in rows.iter().zip(wanted) {
        let (offset, size, field) = (value(&row[0], letters), value(&row[1], letters), &row[2]);
        assert!(field.starts_with(name), "field {field:?} stands where {name:?} was expected");
        assert_eq!(offset, end, "{field}: offset {} does not follow the field before it", row[0]);
        assert_eq!(size, expected.len(), "{field}: size");
        assert_eq!(&bytes[offset..offset + size], *expected, "{field}: content");
        end = offset + size;
    }
    assert_eq!(end, bytes.len(), "the table does not end where the structure does");
}
