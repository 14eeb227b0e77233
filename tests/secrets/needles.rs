//! Secrets in every spelling a slip could give them.
//!
//! Invariant: a piece of [`PIECE`] bytes is enough to be found; what is found is named by secret, spelling and place, and
//! never printed.

/// Bytes of a secret that are looked for at a time: a part that leaks is a leak.
const PIECE: usize = 12;

/// One spelling of one piece of a secret.
pub struct Needle {
    /// What it is, for the report.
    pub name: String,
    /// How it would stand there.
    pub bytes: Vec<u8>,
}

/// The pieces of a secret as they are, for memory.
pub fn raw(name: &str, secret: &[u8]) -> Vec<Needle> {
    assert!(secret.len() >= PIECE, "{name} is too short to be told from chance");
    let needle =
        |(index, piece): (usize, &[u8])| Needle { name: format!("{name}, part {index}"), bytes: piece.to_vec() };
    secret.chunks_exact(PIECE).enumerate().map(needle).collect()
}

/// The pieces of a secret in every spelling, for text and files.
pub fn spelled(name: &str, secret: &[u8]) -> Vec<Needle> {
    let mut needles = Vec::new();
    for Needle { name, bytes } in raw(name, secret) {
        let mut add =
            |spelling: &str, bytes: Vec<u8>| needles.push(Needle { name: format!("{name} {spelling}"), bytes });
        add("as it is", bytes.clone());
        add("backwards", bytes.iter().rev().copied().collect());
        for size in [4, 2] {
            add("in reversed words", bytes.chunks(size).flat_map(|word| word.iter().rev().copied()).collect());
        }
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        add("in hexadecimal capitals", hex.to_uppercase().into_bytes());
        add("in reversed hexadecimal", bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect::<String>().into());
        add("in hexadecimal", hex.into_bytes());
        let list = |text: String| text.trim_matches(['[', ']']).to_owned().into_bytes();
        add("as a list", list(format!("{bytes:?}")));
        add("as a tight list", list(format!("{bytes:?}")).into_iter().filter(|byte| *byte != b' ').collect());
        add("as a list in hexadecimal", list(format!("{bytes:02x?}")));
        add("escaped", bytes.escape_ascii().to_string().into_bytes());
        // Wherever the piece begins in a longer run, one of three alignments is its own.
        for skip in 0..3 {
            let whole = &bytes[skip..skip + (PIECE - skip) / 3 * 3];
            add("in base64", base64(whole, b"+/"));
            add("in base64 for URLs", base64(whole, b"-_"));
        }
    }
    needles
}

fn base64(bytes: &[u8], last: &[u8; 2]) -> Vec<u8> {
    let digit = |value: u32| match value as u8 & 63 {
        value @ 0..=25 => b'A' + value,
        value @ 26..=51 => b'a' + value - 26,
        value @ 52..=61 => b'0' + value - 52,
        value => last[usize::from(value) - 62],
    };
    let triple = |three: &[u8]| three.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    bytes.chunks_exact(3).map(triple).flat_map(|sum| [18, 12, 6, 0].map(|shift| digit(sum >> shift))).collect()
}

/// Where `needle` stands in `hay`.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    // A byte that is rare in memory leads: `contains` on bytes is fast, comparing at every zero is not.
    let lead = (0..needle.len()).find(|at| !matches!(needle[*at], 0 | 0xff)).unwrap_or(0);
    let mut from = 0;
    while from < hay.len() {
        let block = &hay[from..hay.len().min(from + 256)];
        if block.contains(&needle[lead]) {
            for (at, _) in block.iter().enumerate().filter(|(_, byte)| **byte == needle[lead]) {
                let Some(start) = (from + at).checked_sub(lead) else { continue };
                if hay[start..].starts_with(needle) {
                    return Some(start);
                }
            }
        }
        from += 256;
    }
    None
}

/// All that was written, by where.
#[derive(Default)]
pub struct Heap(Vec<(String, Vec<u8>)>);

impl Heap {
    /// Adds what came out at `place`.
    pub fn add(&mut self, place: &str, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.to_owned(), bytes.into()));
    }

    /// Adds both outputs of a command.
    pub fn add_output(&mut self, place: &str, output: &std::process::Output) {
        self.add(&format!("stdout of {place}"), output.stdout.clone());
        self.add(&format!("stderr of {place}"), output.stderr.clone());
    }

    /// Whether something was written at a place of that name.
    pub fn holds(&self, place: &str, words: &str) -> bool {
        self.0.iter().any(|(at, bytes)| at.contains(place) && find(bytes, words.as_bytes()).is_some())
    }

    /// Every needle that lies in it.
    pub fn search(&self, needles: &[Needle]) -> Vec<String> {
        let mut found = Vec::new();
        for (place, bytes) in &self.0 {
            let hits = needles.iter().filter(|needle| find(bytes, &needle.bytes).is_some());
            found.extend(hits.map(|needle| format!("{place}: {}", needle.name)));
        }
        found
    }
}

/// The search itself can fail: every spelling is found where it was put.
#[test]
fn every_spelling_is_found() {
    let secret: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(37) ^ 0x5a).collect();
    let needles = spelled("planted", &secret);
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut spellings = vec![
        secret.clone(),
        hex.clone().into_bytes(),
        hex.to_uppercase().into_bytes(),
        format!("{secret:?}").into_bytes(),
        format!("{:02x?}", secret).into_bytes(),
        secret.escape_ascii().to_string().into_bytes(),
        secret.iter().rev().copied().collect(),
    ];
    for before in 0..3 {
        let run = [&b"xy"[..before], &secret, b"xyz"].concat();
        let run = &run[..run.len() / 3 * 3];
        spellings.extend([base64(run, b"+/"), base64(run, b"-_")]);
    }
    assert_eq!(base64(b"any carnal pleas", b"+/")[..20], *b"YW55IGNhcm5hbCBwbGVh");
    for (index, spelling) in spellings.iter().enumerate() {
        let mut heap = Heap::default();
        heap.add("here", [&b"noise"[..], spelling, b"noise"].concat());
        assert!(!heap.search(&needles).is_empty(), "spelling {index} was missed");
    }
    let mut heap = Heap::default();
    heap.add("here", b"nothing of the kind".repeat(50));
    assert!(heap.search(&needles).is_empty());
}
