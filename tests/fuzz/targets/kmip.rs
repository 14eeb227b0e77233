//! What a server says that claims to speak KMIP. Promises: items never reach beyond what is around them, and written again
//! are the same; whatever an answer holds is a part of what arrived.

use keymoult::keys::kmip::{Item, Operation, Reader, Writer, response};

/// Deepest nesting that is followed; the product follows no more than it asks for.
const DEEPEST: usize = 16;

pub fn run(bytes: &[u8]) {
    walk(Reader::new(bytes), bytes.len(), 0);
    for operation in [Operation::Encrypt, Operation::Decrypt, Operation::GetAttributes, Operation::Query] {
        let Ok(answer) = response(bytes, operation) else { continue };
        let within = |part: &[u8]| bytes.as_ptr_range().contains(&part.as_ptr()) || part.is_empty();
        if let Ok(sealed) = answer.sealed(&[1; 12]) {
            assert!(within(sealed.data) && within(sealed.tag) && sealed.tag.len() == 16);
            assert!((12..=16).contains(&sealed.nonce.len()));
        }
        assert!(answer.plain().map_or(true, within));
        let _ = (answer.state(), answer.offers(operation));
    }
}

fn walk(mut items: Reader<'_>, most: usize, depth: usize) {
    while let Ok(Some(item)) = items.item() {
        assert!(item.value.len() <= most);
        again(item);
        match item.structure() {
            Ok(inside) if depth < DEEPEST => walk(inside, item.value.len(), depth + 1),
            _ => {}
        }
    }
}

fn again(item: Item<'_>) {
    let mut buffer = [0; 4096];
    let mut writer = Writer::new(&mut buffer);
    if let Ok(value) = item.bytes() {
        writer.bytes(item.tag, value);
    } else if let Ok(value) = item.enumeration() {
        writer.enumeration(item.tag, value);
    } else {
        return;
    }
    let Some(length) = writer.finish() else { return };
    assert_eq!(Reader::new(&buffer[..length]).item(), Ok(Some(item)));
}
