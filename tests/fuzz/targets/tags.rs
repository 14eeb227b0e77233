//! Tag pages. The first four bytes are the page's index and two more numbers, the rest the body. Promises: a page that is
//! accepted holds as many tags as a page has and reads back as the same, with the key and without; the copy that counts
//! is the newest one not newer than the checkpoint.

use keymoult::crypto::mac::MacKey;
use keymoult::format::envelope::TAG_PAGE;
use keymoult::format::layout::TAGS_PER_PAGE;
use keymoult::format::tags::{counting_copy, digest, open_page, peek_page, peek_tags, seal_page};

use crate::support::input::Input;
use crate::support::sealed::{seal, secret};

pub fn run(bytes: &[u8]) {
    let _ = (peek_page(bytes), peek_tags(bytes), open_page(seal(), 0, bytes));
    let mut input = Input::new(bytes);
    let (index, numbers) = (u32::from(input.u8()), [input.u8(), input.u8(), input.u8()].map(u64::from));
    copies(numbers);
    let sealed = seal().seal(TAG_PAGE, u64::from(index), 7, input.rest());
    assert_eq!(peek_page(&sealed), Ok(7));
    let Ok(page) = open_page(seal(), index, &sealed) else { return };
    assert_eq!((page.sequence, page.tags.len()), (7, TAGS_PER_PAGE as usize));
    assert_eq!(peek_tags(&sealed).as_ref(), Ok(&page.tags));
    let again = seal_page(seal(), index, 7, page.tags.iter().copied());
    assert_eq!(open_page(seal(), index, &again), Ok(page));
}

fn copies([checkpoint, a, b]: [u64; 3]) {
    // Zero stands for a copy that cannot be read.
    let copies = [a, b].map(|sequence| Some(sequence).filter(|sequence| *sequence > 0));
    let best = copies.iter().flatten().filter(|sequence| **sequence <= checkpoint).max();
    assert_eq!(counting_copy(checkpoint, copies).and_then(|copy| copies[copy]).as_ref(), best);
    let key = MacKey::new(&secret(32, 9));
    assert_eq!(digest(&key, [a, b].into_iter()) == digest(&key, [b, a].into_iter()), a == b);
}
