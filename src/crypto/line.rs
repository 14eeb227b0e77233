//! A secret as a line of a file: hexadecimal digits behind a prefix. The digits are as secret as what they stand for, so no
//! ordinary text ever holds them.

use super::Secret;
use crate::units::nibble;

/// The line that says `parts`, one behind the other, with its newline.
pub fn write(prefix: &[u8], parts: &[&Secret]) -> Secret {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes = parts.iter().flat_map(|part| part.expose());
    let digits = 2 * parts.iter().map(|part| part.len()).sum::<usize>();
    Secret::filled(prefix.len() + digits + 1, |line| {
        line[..prefix.len()].copy_from_slice(prefix);
        let (pairs, _) = line[prefix.len()..].as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(bytes) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        line[prefix.len() + digits] = b'\n';
    })
}

/// The secret that `digits` say; none if they are no hexadecimal digits, or an odd number of them.
pub fn read(digits: &[u8]) -> Option<Secret> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let secret = Secret::try_filled(pairs.len(), |bytes| {
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = nibble(*high).zip(nibble(*low)).map(|(high, low)| high << 4 | low).ok_or(())?;
        }
        Ok::<_, ()>(())
    });
    secret.ok().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back() {
        let part = |byte: u8| Secret::filled(2, |bytes| bytes.fill(byte));
        let line = write(b"p:", &[&part(0x0a), &part(0xf1)]);
        assert_eq!(line.expose(), b"p:0a0af1f1\n");
        assert_eq!(read(b"0a0aF1f1").unwrap().expose(), [0x0a, 0x0a, 0xf1, 0xf1]);
        assert!(read(b"0a0").is_none() && read(b"0g").is_none() && read(b"+1").is_none());
    }
}
