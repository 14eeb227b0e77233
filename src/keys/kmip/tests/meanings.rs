//! Result reasons of KMIP, and what they mean for a key; by the numbers of the specification (9.1.3.2.29).

use super::{blob, meaning, split};
use crate::keys::KeyErrorClass as Class;
use crate::keys::kmip::Sealed;

#[test]
fn reasons_have_their_classes() {
    for (reasons, class) in [
        (&[0x01, 0x36, 0x37, 0x0d, 0x43, 0x1a][..], Class::Disabled),
        (&[0x03, 0x0c, 0x14, 0x15, 0x39], Class::Denied),
        (&[0x3a], Class::Throttled),
        (&[0x2a, 0x44], Class::Unreachable),
        (&[0x05, 0x07, 0x08, 0x0a, 0x3e, 0x3f, 0x100, 0xffff_ffff], Class::Usage),
    ] {
        for reason in reasons {
            assert_eq!(meaning(*reason).0, class, "{reason:#x}");
        }
    }
}

#[test]
fn a_blob_gives_back_what_went_in_and_nothing_shorter_does() {
    let sealed = Sealed { nonce: &[1; 13], tag: &[2; 16], data: &[3; 64] };
    let made = blob(&sealed).unwrap();
    assert_eq!(split(&made), Some(sealed));
    for length in 0..2 + 13 + 16 + 1 {
        assert_eq!(split(&made[..length]), None, "{length}");
    }
    for (index, value) in [(0, 2), (1, 11), (1, 17)] {
        let mut changed = made.clone();
        changed[index] = value;
        assert_eq!(split(&changed), None);
    }
    assert!(blob(&Sealed { data: &[3; 1024], ..sealed }).is_err());
}
