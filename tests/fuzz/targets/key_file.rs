//! Key files and passphrase files. Promises: exactly what a key file is defined to be is accepted as one, and what it
//! wraps it unwraps; of a passphrase file one line of at most 1024 bytes is accepted, and nothing else.

use keymoult::crypto::Secret;
use keymoult::keys::{FileKek, Kek, PassphraseKek, PassphraseSource, PassphraseUse, WrapPurpose};
use keymoult::units::{Generation, VolumeId};

use crate::support::files::private;

pub fn run(bytes: &[u8]) {
    let path = private("fuzzed-key", bytes);
    let opened = FileKek::open(&path);
    assert_eq!(opened.is_ok(), is_key_file(bytes));
    if let Ok(kek) = opened.map(Kek::unwitnessed) {
        let purpose = WrapPurpose { volume: VolumeId([3; 16]), generation: Generation(1), key_id: [4; 16], suite: 0 };
        let key = Secret::filled(32, |key| key.fill(5));
        let wrap = kek.wrap(&purpose, &key).unwrap();
        assert!(kek.could_open(&wrap) && kek.unwrap(&purpose, &wrap).is_ok_and(|back| back.ct_eq(&key)));
    }
    let source = PassphraseSource::File(path);
    assert_eq!(PassphraseKek::open(&source, PassphraseUse::Open).is_ok(), is_passphrase(bytes));
}

fn is_key_file(bytes: &[u8]) -> bool {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let digits = line.strip_prefix(b"keymoult-kek-v1:");
    digits.is_some_and(|digits| digits.len() == 64 && digits.iter().all(u8::is_ascii_hexdigit))
}

fn is_passphrase(bytes: &[u8]) -> bool {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (1..=1024).contains(&line.len()) && !line.contains(&b'\n')
}
