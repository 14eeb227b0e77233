//! The little of DER that is read here: purposes and end of a certificate, and the common name of a subject.
//!
//! What is read was parsed and verified by `webpki` before; here only fields are looked up that it does not hand out.
//! Invariant: malformed bytes give `None`, never a panic.

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const EXTENSIONS: u8 = 0xa3;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The types of text a common name may have: UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// id-ce-extKeyUsage, 2.5.29.37.
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// id-kp-clientAuth, 1.3.6.1.5.5.7.3.2.
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
/// id-kp-serverAuth, 1.3.6.1.5.5.7.3.1.
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
/// id-at-commonName, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Elements one after another.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The content of the next element, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    /// Tag and content; `None` at the end and where the bytes are no element.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
                (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }
}

/// Whether a certificate says that it is for clients.
pub fn is_for_clients(certificate: &[u8]) -> bool {
    is_for(certificate, CLIENT_AUTH)
}

/// Whether a certificate says that it is for servers.
pub fn is_for_servers(certificate: &[u8]) -> bool {
    is_for(certificate, SERVER_AUTH)
}

fn is_for(certificate: &[u8], wanted: &[u8]) -> bool {
    purposes(certificate).is_some_and(|mut purposes| purposes.any(|purpose| purpose == (OID, wanted)))
}

/// When a certificate ends, seconds since 1970; `None` if it does not say so in a form RFC 5280 allows.
pub fn ends(certificate: &[u8]) -> Option<u64> {
    let body = Elements(Elements(certificate).expect(SEQUENCE)?).expect(SEQUENCE)?;
    // Serial number, signature algorithm, issuer, validity; a version may stand before them.
    let mut fields = Elements(body).skip_while(|(tag, _)| *tag == VERSION).skip(3);
    let validity = fields.next().filter(|(tag, _)| *tag == SEQUENCE)?.1;
    let (tag, text) = Elements(validity).nth(1)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let year_len = match tag {
        UTC_TIME => 2,
        GENERALIZED_TIME => 4,
        _ => return None,
    };
    if text.len() != year_len + 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = text.split_at(year_len);
    let year: i64 = year.parse().ok()?;
    let year = match (tag, year) {
        (UTC_TIME, 50..) => 1900 + year,
        (UTC_TIME, _) => 2000 + year,
        _ => year,
    };
    let part = |at: usize| rest[2 * at..2 * at + 2].parse::<i64>().ok();
    let (month, day) = (part(0).filter(|month| (1..=12).contains(month))?, part(1)?);
    let seconds = ((days_before(year, month) + day - 1) * 24 + part(2)?) * 3600 + part(3)? * 60 + part(4)?;
    u64::try_from(seconds).ok()
}

/// Days between 1970 and the first of a month, by the Gregorian calendar.
fn days_before(year: i64, month: i64) -> i64 {
    // Years that begin in March, so that a leap day is the last of its year.
    let year = if month > 2 { year } else { year - 1 };
    let days_of_months = (153 * ((month + 9) % 12) + 2) / 5;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + days_of_months - 719_468
}

/// The extended key usages of a certificate; `None` if it has no such extension.
fn purposes(certificate: &[u8]) -> Option<Elements<'_>> {
    let body = Elements(Elements(certificate).expect(SEQUENCE)?).expect(SEQUENCE)?;
    let extensions = Elements(body).find(|(tag, _)| *tag == EXTENSIONS)?.1;
    let extension = Elements(Elements(extensions).expect(SEQUENCE)?).find_map(|(_, extension)| {
        let mut fields = Elements(extension);
        (fields.expect(OID)? == EXTENDED_KEY_USAGE).then_some(fields)
    });
    // A flag may stand before the value.
    let value = extension?.find(|(tag, _)| *tag == OCTETS)?.1;
    Some(Elements(Elements(value).expect(SEQUENCE)?))
}

/// The common name of a subject, given without its outermost tag; `None` unless there is exactly one and it is text.
pub fn common_name(subject: &[u8]) -> Option<&str> {
    let attributes = Elements(subject).filter(|(tag, _)| *tag == SET).flat_map(|(_, set)| Elements(set));
    let mut names = attributes.filter_map(|(_, attribute)| {
        let mut fields = Elements(attribute);
        (fields.expect(OID)? == COMMON_NAME).then_some(fields)
    });
    let (mut only, None) = (names.next()?, names.next()) else {
        return None;
    };
    let (tag, text) = only.next()?;
    std::str::from_utf8(text).ok().filter(|_| TEXTS.contains(&tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = content.len();
        let head = if len < 128 { vec![tag, len as u8] } else { vec![tag, 0x82, (len >> 8) as u8, len as u8] };
        [head, content.to_vec()].concat()
    }

    fn attribute(oid: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
        element(SET, &element(SEQUENCE, &[element(OID, oid), element(tag, text)].concat()))
    }

    /// A certificate of nothing but what is looked at.
    fn certificate(extension: &[u8]) -> Vec<u8> {
        let other = element(SEQUENCE, &[element(OID, &[0x55, 0x1d, 0x0f]), element(OCTETS, &[3, 2, 7, 128])].concat());
        let all = element(SEQUENCE, &[other, extension.to_vec()].concat());
        let body = element(SEQUENCE, &[element(2, &[1]), element(EXTENSIONS, &all)].concat());
        element(SEQUENCE, &[body, element(3, &[0; 200])].concat())
    }

    fn usage(flag: &[u8], purposes: &[&[u8]]) -> Vec<u8> {
        let list = element(SEQUENCE, &purposes.iter().flat_map(|oid| element(OID, oid)).collect::<Vec<u8>>());
        element(SEQUENCE, &[element(OID, EXTENDED_KEY_USAGE), flag.to_vec(), element(OCTETS, &list)].concat())
    }

    #[test]
    fn only_a_certificate_that_says_so_is_for_clients() {
        let server = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
        assert!(is_for_clients(&certificate(&usage(&[], &[CLIENT_AUTH]))));
        assert!(is_for_clients(&certificate(&usage(&[1, 1, 0xff], &[server, CLIENT_AUTH]))), "critical, among others");
        assert!(!is_for_clients(&certificate(&usage(&[], &[server]))));
        assert!(
            !is_for_clients(&certificate(&usage(&[], &[&[0x55, 0x1d, 0x25, 0x00]]))),
            "any purpose is not this one"
        );
        assert!(!is_for_clients(&certificate(&[])), "no usage at all");
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_forms() {
        let of = |tag: u8, end: &[u8], version: &[u8]| {
            let validity = element(SEQUENCE, &[element(UTC_TIME, b"200101000000Z"), element(tag, end)].concat());
            let front = [version.to_vec(), element(2, &[1]), element(SEQUENCE, &[]), element(SEQUENCE, &[])].concat();
            let body = element(SEQUENCE, &[front, validity].concat());
            ends(&element(SEQUENCE, &body))
        };
        let version = element(VERSION, &[2, 1, 2]);
        assert_eq!(of(UTC_TIME, b"700101000000Z", &version), Some(0));
        assert_eq!(of(UTC_TIME, b"261128164500Z", &version), Some(1_795_884_300));
        assert_eq!(of(GENERALIZED_TIME, b"21000301000000Z", &[]), Some(4_107_542_400), "2100 is no leap year");
        assert_eq!(of(GENERALIZED_TIME, b"20240229235959Z", &[]), Some(1_709_251_199));
        assert_eq!(of(GENERALIZED_TIME, b"99991231235959Z", &version), Some(253_402_300_799));
        for bad in [&b"261128164500"[..], b"2611281645Z", b"261328164500Z", b"26112816450xZ", b"", b"Z"] {
            assert_eq!(of(UTC_TIME, bad, &version), None);
        }
        assert_eq!(of(OCTETS, b"261128164500Z", &version), None);
    }

    #[test]
    fn no_truncation_and_no_length_panics() {
        let whole = certificate(&usage(&[], &[CLIENT_AUTH]));
        assert!((0..whole.len() - 1).all(|len| !is_for_clients(&whole[..len])));
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0x80, 0x84, 0x85, 0xff] {
                let mut bent = whole.clone();
                bent[at] = value;
                is_for_clients(&bent);
                ends(&bent);
                common_name(&bent);
            }
        }
    }

    #[test]
    fn a_common_name_is_one_and_text() {
        let name = |text: &[u8]| attribute(COMMON_NAME, 0x0c, text);
        let organisation = attribute(&[0x55, 0x04, 0x0a], 0x0c, b"org");
        assert_eq!(common_name(&[organisation.clone(), name(b"alice")].concat()), Some("alice"));
        assert_eq!(common_name(&attribute(COMMON_NAME, 0x13, b"alice")), Some("alice"));
        assert_eq!(common_name(&organisation), None);
        assert_eq!(common_name(&[name(b"alice"), name(b"bob")].concat()), None, "which of the two?");
        assert_eq!(common_name(&attribute(COMMON_NAME, 0x1e, b"\0a")), None, "BMPString is no UTF-8");
        assert_eq!(common_name(&name(&[0xff])), None);
        assert_eq!(common_name(&[]), None);
    }
}
