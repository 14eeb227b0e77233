//! Option data of LIST_META_CONTEXT and SET_META_CONTEXT. Promises: what selects also lists; every byte counts, so that a
//! query cut short or with anything behind it is refused.

use keymoult::nbd::meta::{Purpose, parse};

pub fn run(bytes: &[u8]) {
    let (list, set) = (parse(bytes, Purpose::List), parse(bytes, Purpose::Set));
    assert_eq!(list.is_some(), set.is_some());
    let (Some(list), Some(set)) = (list, set) else { return };
    assert_eq!(list.export, set.export);
    let listed: Vec<_> = list.matched.iter().collect();
    assert!(set.matched.iter().all(|context| listed.contains(&context)));
    assert_eq!(parse(&bytes[..bytes.len() - 1], Purpose::Set), None);
    assert_eq!(parse(&[bytes, &[0]].concat(), Purpose::Set), None);
}
