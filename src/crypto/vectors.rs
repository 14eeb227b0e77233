//! Published known answers, and the reader of `vectors_xts.txt`.
//!
//! They are part of the product, not of the tests: the self-test runs them at every start.

/// A known answer for XTS-AES over one data unit of whole blocks.
pub(super) struct XtsVector {
    /// Which standard or test suite, and which number there.
    pub name: &'static str,
    /// Key_1 ‖ Key_2.
    pub key: Vec<u8>,
    /// The tweak, as a number.
    pub tweak: u128,
    pub plain: Vec<u8>,
    pub cipher: Vec<u8>,
}

/// Every vector of `vectors_xts.txt`, or the number of the line that is not as it should be.
pub(super) fn xts() -> Result<Vec<XtsVector>, usize> {
    let text = include_str!("vectors_xts.txt");
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let mut vectors = Vec::new();
    while let Some((number, line)) = lines.next() {
        let name = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')).ok_or(number)?;
        let mut field = |label: &str| {
            let (number, line) = lines.next().ok_or(number)?;
            let value = line.strip_prefix(label).and_then(|l| l.strip_prefix(" = "));
            value.and_then(hex).ok_or(number)
        };
        let (key, tweak) = (field("Key")?, field("i")?);
        vectors.push(XtsVector {
            name,
            key,
            tweak: u128::from_le_bytes(tweak.try_into().map_err(|_| number)?),
            plain: field("PT")?,
            cipher: field("CT")?,
        });
    }
    Ok(vectors)
}

/// Bytes from an even number of hexadecimal digits.
pub(super) fn hex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8)).collect()
}

/// A known answer of HMAC-SHA256.
pub(super) struct MacVector {
    pub name: &'static str,
    pub key: &'static str,
    pub message: &'static str,
    pub tag: &'static str,
}

/// RFC 4231 §4.
pub(super) const HMAC_SHA256: &[MacVector] = &[
    MacVector {
        name: "RFC 4231 test case 1",
        key: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
        message: "4869205468657265",
        tag: "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    },
    MacVector {
        name: "RFC 4231 test case 2",
        key: "4a656665",
        message: "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
        tag: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    },
    MacVector {
        name: "RFC 4231 test case 4",
        key: "0102030405060708090a0b0c0d0e0f10111213141516171819",
        message: "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\
                  cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        tag: "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    },
];

/// A known answer of HKDF-SHA256.
pub(super) struct HkdfVector {
    pub name: &'static str,
    pub key: &'static str,
    pub salt: &'static str,
    pub info: &'static str,
    pub out: &'static str,
}

/// RFC 5869 appendix A.
pub(super) const HKDF_SHA256: &[HkdfVector] = &[
    HkdfVector {
        name: "RFC 5869 test case 1",
        key: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
        salt: "000102030405060708090a0b0c",
        info: "f0f1f2f3f4f5f6f7f8f9",
        out: "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    },
    HkdfVector {
        name: "RFC 5869 test case 3",
        key: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
        salt: "",
        info: "",
        out: "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    },
];

/// A known answer of AES-KWP.
pub(super) struct KwpVector {
    pub name: &'static str,
    pub kek: &'static str,
    pub key: &'static str,
    pub wrapped: &'static str,
}

/// RFC 5649 §6 (192-bit KEK) and NIST KWP-AE with AES-256 (CAVS 21.4).
pub(super) const KWP: &[KwpVector] = &[
    KwpVector {
        name: "RFC 5649 section 6, 20 octets",
        kek: "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8",
        key: "c37b7e6492584340bed12207808941155068f738",
        wrapped: "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
    },
    KwpVector {
        name: "RFC 5649 section 6, 7 octets",
        kek: "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8",
        key: "466f7250617369",
        wrapped: "afbeb0f07dfbf5419200f2ccb50bb24f",
    },
    KwpVector {
        name: "NIST KWP_AE_256, 248 bits, COUNT 0",
        kek: "e9bb7f44c7baafbf392ab912589a2f8db53268106eafb74689bb1833136e6113",
        key: "ffe952604834bff899e63658f34246815c91597eb40a21729e0a8a959b61f2",
        wrapped: "15b9f06fbc765e5e3d55d6b824616f21921d2a6918ee7bf1406b524274e170b4a78333ca5ee92af5",
    },
];

/// KEK and a wrap that must not open: NIST KWP-AD with AES-256, 248 bits.
pub(super) const KWP_FORGED: (&str, &str) = (
    "8c35fb77766d04f48d5b52275c5c5f31f568078419e5c2335918965fbe53cedd",
    "bacccb1714dbaa4908c2654aa8dbb1ddbddd8ab819429b026619fb1c0fa75a8247372b2feeab1e1d",
);

/// Argon2id, RFC 9106 §5.3 (32 KiB, 3 passes, 4 lanes, with secret and associated data).
pub(super) const ARGON2ID_TAG: &str = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659";

/// XXH3-64 with a secret: lengths and hashes from xxHash's `sanity_test_vectors.h`.
pub(super) const XXH3_WITH_SECRET: &[(usize, u64)] = &[
    (0, 0x3559_D648_78C5_C66C),
    (48, 0x33AB_D54D_094B_2534),
    (512, 0x7564_693D_D526_E28D),
    (2048, 0xD32E_9758_21D6_519F),
];

/// The data those hashes are of, and the secret (147 bytes at offset 7), as xxHash generates them.
pub(super) fn xxh3_sanity_buffer(len: usize) -> Vec<u8> {
    let mut state: u64 = 2_654_435_761;
    let mut next = || {
        let byte = (state >> 56) as u8;
        state = state.wrapping_mul(11_400_714_785_074_694_797);
        byte
    };
    (0..len).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_and_covers_both_key_sizes() {
        let vectors = xts().unwrap();
        assert_eq!(vectors.len(), 26);
        assert!(vectors.iter().any(|v| v.key.len() == 32 && v.plain.len() == 512));
        assert!(vectors.iter().any(|v| v.key.len() == 64 && v.plain.len() == 512));
        assert!(vectors.iter().all(|v| v.plain.len() == v.cipher.len() && v.plain != v.cipher));
    }

    #[test]
    fn hex_wants_pairs_of_digits() {
        assert_eq!(hex("00fF"), Some(vec![0, 255]));
        assert_eq!(hex("0"), None);
        assert_eq!(hex("0g"), None);
        assert_eq!(hex("é"), None);
    }
}
