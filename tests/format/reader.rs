//! A second reader of the format, written from FORMAT.md: numbers instead of the product's structures, and only its
//! cryptographic primitives. What it and the product disagree about is a gap in the document.

use std::collections::BTreeMap;
use std::path::Path;

use keymoult::crypto::mac::MacKey;
use keymoult::crypto::wrap::{WrapContext, kwp_unwrap};
use keymoult::crypto::{EngineKind, Secret, Suite, TweakRule, Xts, kdf};
use keymoult::units::{Generation, VolumeId};

use super::image::Image;

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn secret(bytes: &[u8]) -> Secret {
    Secret::filled(bytes.len(), |into| into.copy_from_slice(bytes))
}

/// Section 2, without a key: the sequence and body of an envelope whose CRC is right.
fn peek<'a>(magic: &[u8; 8], bytes: &'a [u8]) -> Option<(u64, &'a [u8])> {
    let n = number(bytes, 12, 4) as usize;
    let whole = bytes.starts_with(magic) && number(bytes, 8, 4) == 1 && 60 + n <= bytes.len();
    let good = whole && number(bytes, 56 + n, 4) == u64::from(crc32fast::hash(&bytes[..56 + n]));
    good.then(|| (number(bytes, 16, 8), &bytes[24..24 + n]))
}

struct Reader<'a> {
    header: &'a [u8],
    superblock: &'a [u8],
    volume: VolumeId,
    mac: MacKey,
    metadata_key: Secret,
}

/// Section 9.
fn label(metadata_key: &Secret, volume: VolumeId, info: &str, len: usize) -> Secret {
    kdf::derive(metadata_key, &volume.0, info.as_bytes(), len)
}

impl<'a> Reader<'a> {
    /// Section 2, with the key.
    fn open(&self, magic: &[u8; 8], place: u64, bytes: &'a [u8]) -> Option<(u64, &'a [u8])> {
        let (sequence, body) = peek(magic, bytes)?;
        let end = 24 + body.len();
        let good = self.mac.verify(&[&self.volume.0, &place.to_le_bytes(), &bytes[..end]], &bytes[end..end + 32]);
        assert!(good, "MAC of {:?} at place {place}", std::str::from_utf8(magic));
        Some((sequence, body))
    }

    /// Section 6: the tags of the checkpoint, the digest checked.
    fn tags(&self) -> Vec<u32> {
        let (zone, length) = (number(self.superblock, 84, 8) as usize, number(self.superblock, 92, 8) as usize);
        let checkpoint = number(self.superblock, 164, 8);
        let pages = length / 8192;
        let (mut tags, mut input) = (Vec::new(), b"tag pages".to_vec());
        for page in 0..pages {
            let copies = [0, 1].map(|copy| {
                let at = zone + (copy * pages + page) * 4096;
                self.open(b"KMTAGPAG", page as u64, &self.header[at..at + 4096])
            });
            let counting = copies.into_iter().flatten().filter(|(sequence, _)| *sequence <= checkpoint);
            let (sequence, body) = counting.max_by_key(|(sequence, _)| *sequence).unwrap();
            input.extend_from_slice(&(page as u32).to_le_bytes());
            input.extend_from_slice(&sequence.to_le_bytes());
            tags.extend((0..1008).map(|index| number(body, index * 4, 4) as u32));
        }
        let key = MacKey::new(&label(&self.metadata_key, self.volume, "keymoult v1 tag digest", 32));
        assert!(key.verify(&[&input], &self.superblock[172..204]), "tag digest");
        tags
    }

    /// Section 7: commits applied to the tags; what is left of the intents, by extent: old, new, image.
    fn ring(&self, tags: &mut [u32]) -> BTreeMap<usize, (u64, u32, u32, &'a [u8])> {
        let zone = number(self.superblock, 100, 8) as usize;
        let (slots, size) = (number(self.superblock, 148, 4), number(self.superblock, 152, 4) as usize);
        let mut live: BTreeMap<usize, (u64, u32, u32, &'a [u8])> = BTreeMap::new();
        for sequence in number(self.superblock, 156, 8) + 1.. {
            let slot = sequence % slots;
            let at = zone + slot as usize * size;
            let record = self.open(b"KMINTENT", slot, &self.header[at..at + size]);
            let Some((_, body)) = record.filter(|(found, _)| *found == sequence) else { break };
            let mut rest = &body[16..];
            for _ in 0..number(body, 0, 4) {
                let (extent, intent) = (number(rest, 0, 4) as usize, number(rest, 8, 8));
                tags[extent] = number(rest, 4, 4) as u32;
                live.retain(|at, (sequence, ..)| *at != extent || *sequence > intent);
                rest = &rest[16..];
            }
            for _ in 0..number(body, 4, 4) {
                let len = number(rest, 12, 4) as usize;
                let intent = (sequence, number(rest, 4, 4) as u32, number(rest, 8, 4) as u32, &rest[16..16 + len]);
                live.insert(number(rest, 0, 4) as usize, intent);
                rest = &rest[16 + len..];
            }
        }
        live
    }
}

/// Section 4: entries by generation: the entry's fixed bytes and its wraps (provider, KEK id, blob).
type Entries<'a> = BTreeMap<u32, (&'a [u8], Vec<(u8, String, &'a [u8])>)>;

fn entries(body: &[u8]) -> Entries<'_> {
    let mut entries = BTreeMap::new();
    let mut rest = &body[2..];
    for _ in 0..number(body, 0, 2) {
        let entry = &rest[..68];
        rest = &rest[68 + number(rest, 66, 2) as usize..];
        let count = rest[0];
        rest = &rest[1..];
        let mut wraps = Vec::new();
        for _ in 0..count {
            let k = number(rest, 5, 2) as usize;
            let b = number(rest, 7 + k, 2) as usize;
            let id = String::from_utf8(rest[7..7 + k].to_vec()).unwrap();
            wraps.push((rest[0], id, &rest[9 + k..9 + k + b]));
            rest = &rest[9 + k + b..];
        }
        entries.insert(number(entry, 0, 4) as u32, (entry, wraps));
    }
    entries
}

/// The key of `generation`, by the wrap of the key file.
fn unwrap(entries: &Entries<'_>, generation: u32, volume: VolumeId, kek: &Secret) -> Secret {
    let (entry, wraps) = &entries[&generation];
    let (_, kek_id, blob) = wraps.iter().find(|(provider, ..)| *provider == 1).unwrap();
    let context = WrapContext {
        volume,
        generation: Generation(generation),
        key_id: entry[4..20].try_into().unwrap(),
        suite: number(entry, 20, 2) as u16,
        kek_id,
    };
    kwp_unwrap(kek, &context, blob).unwrap()
}

/// The plaintext of a volume, given the key file's path.
pub fn read(image: &Image, key_file: &Path) -> Vec<u8> {
    let line = std::fs::read_to_string(key_file).unwrap();
    let digits = line.trim().strip_prefix("keymoult-kek-v1:").unwrap();
    let kek: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap()).collect();
    let kek = secret(&kek);
    let header = image.header.as_ref().unwrap_or(&image.data);
    let newest = |magic, places: [usize; 2], len: usize| {
        let copies = places.map(|at| (at, peek(magic, &header[at..at + len])));
        let (at, _) = copies.into_iter().filter(|copy| copy.1.is_some()).max_by_key(|copy| copy.1.unwrap().0).unwrap();
        at
    };
    let superblock_at = newest(b"KEYMOULT", [0, 32768], 4096);
    let superblock = peek(b"KEYMOULT", &header[superblock_at..superblock_at + 4096]).unwrap().1;
    let volume = VolumeId(superblock[..16].try_into().unwrap());
    let zone = number(superblock, 52, 8) as usize;
    let table_at = newest(b"KMGENTAB", [zone, zone + 262_144], 262_144);
    let table = peek(b"KMGENTAB", &header[table_at..table_at + 262_144]).unwrap().1;
    let entries = entries(table);
    let metadata_key = unwrap(&entries, 0, volume, &kek);
    let mac = MacKey::new(&label(&metadata_key, volume, "keymoult v1 mac", 32));
    let reader = Reader { header, superblock, volume, mac, metadata_key };
    reader.open(b"KEYMOULT", 0, &header[superblock_at..superblock_at + 4096]).unwrap();
    reader.open(b"KMGENTAB", 0, &header[table_at..table_at + 262_144]).unwrap();
    let mut tags = reader.tags();
    let live = reader.ring(&mut tags);
    let ciphers: BTreeMap<u32, Xts> = entries
        .iter()
        .filter(|(generation, _)| **generation > 0)
        .map(|(generation, (entry, _))| {
            let suite = Suite::from_id(number(entry, 20, 2) as u16).unwrap();
            let tweak = TweakRule { unit: number(entry, 26, 4) as u32, base: number(entry, 30, 8) };
            let key = unwrap(&entries, *generation, volume, &kek);
            let unit = number(entry, 22, 4) as u32;
            (*generation, Xts::new(EngineKind::Portable, suite, &key, unit, tweak).unwrap())
        })
        .collect();
    let prints = label(&reader.metadata_key, volume, "keymoult v1 fingerprint", 192);
    let (size, extent_size) = (number(superblock, 16, 8) as usize, number(superblock, 32, 8) as usize);
    let (granule, journal) = (number(superblock, 44, 4) as usize, superblock[48] == 1);
    let base = number(superblock, 116, 8) as usize;
    let mut plain = Vec::with_capacity(size);
    for first in (0..size).step_by(extent_size) {
        let (extent, len) = (first / extent_size, extent_size.min(size - first));
        let raw = &image.data[base + first..base + first + len];
        let under = |generation: u32, raw: &[u8]| decrypt(&ciphers[&generation], first as u64, raw);
        match live.get(&extent) {
            None => plain.extend(under(tags[extent], raw)),
            Some((_, _, new, ciphertext)) if journal => plain.extend(under(*new, ciphertext)),
            Some((_, old, new, image)) => {
                let (old, new) = (under(*old, raw), under(*new, raw));
                for (index, at) in (0..len).step_by(granule).enumerate() {
                    let print = xxh3(&raw[at..at + granule], &prints);
                    let side = if print == number(image, index * 8, 8) { &old } else { &new };
                    plain.extend_from_slice(&side[at..at + granule]);
                }
            }
        }
    }
    plain
}

fn xxh3(bytes: &[u8], secret: &Secret) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_secret(bytes, secret.expose())
}

/// Section 10: decryption with the hole rule.
fn decrypt(cipher: &Xts, offset: u64, raw: &[u8]) -> Vec<u8> {
    let mut plain = raw.to_vec();
    cipher.decrypt(offset, &mut plain);
    for (slice, raw) in plain.chunks_mut(512).zip(raw.chunks(512)) {
        if raw.iter().all(|byte| *byte == 0) {
            slice.fill(0);
        }
    }
    plain
}
