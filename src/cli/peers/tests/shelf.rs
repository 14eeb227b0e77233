//! What is saved is what is loaded; what is not, is noticed and kept.

use super::*;
use crate::cli::peers::sample;
use crate::units::Generation;

fn shelf() -> (tempfile::TempDir, Shelf) {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path(), sample::VOLUME).unwrap();
    (folder, shelf)
}

#[test]
fn what_was_saved_last_is_loaded_and_the_one_before_is_kept() {
    let (_folder, shelf) = shelf();
    assert!(shelf.load().unwrap().is_none());
    let first = sample::durable();
    let second = Durable { highest: Generation(9), ..first.clone() };
    shelf.save(&first).unwrap();
    assert_eq!(shelf.load().unwrap(), Some(first.clone()));
    shelf.save(&second).unwrap();
    assert_eq!(shelf.load().unwrap(), Some(second));
    assert_eq!(std::fs::read(shelf.named("before")).unwrap(), first.encode());
    assert!(std::fs::metadata(shelf.named("new")).unwrap().len() > 64 << 10, "space is set aside");
}

#[test]
fn a_file_that_is_cut_anywhere_is_put_aside_and_nobody_begins_anew_over_it() {
    let bytes = sample::durable().encode();
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        let (_folder, shelf) = shelf();
        std::fs::write(shelf.path(), &bytes[..cut]).unwrap();
        let said = shelf.load().unwrap_err().to_string();
        assert!(said.contains("does not hold what was saved") && said.contains("damaged"), "{said}");
        assert_eq!(std::fs::read(shelf.named("damaged")).unwrap(), bytes[..cut]);
        // The next start finds no file, and does not take that for a beginning.
        assert!(matches!(shelf.load(), Err(ShelfError::Damaged { .. })), "cut at {cut}");
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let bytes = sample::durable().encode();
    let (_folder, shelf) = shelf();
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        std::fs::write(shelf.path(), &changed).unwrap();
        assert!(shelf.load().is_err(), "byte {at}");
        let _ = std::fs::remove_file(shelf.named("damaged"));
    }
}

#[test]
fn a_missing_file_is_no_beginning_once_something_was_saved() {
    let (_folder, shelf) = shelf();
    shelf.save(&sample::durable()).unwrap();
    shelf.save(&sample::durable()).unwrap();
    std::fs::remove_file(shelf.path()).unwrap();
    assert!(matches!(shelf.load(), Err(ShelfError::Damaged { .. })));
}

#[test]
fn a_save_that_fails_leaves_what_was_there() {
    let (_folder, shelf) = shelf();
    let first = sample::durable();
    shelf.save(&first).unwrap();
    // A folder in the way of the new file.
    std::fs::remove_file(shelf.named("new")).unwrap();
    std::fs::create_dir(shelf.named("new")).unwrap();
    assert!(shelf.save(&Durable { highest: Generation(9), ..first.clone() }).is_err());
    assert_eq!(shelf.load().unwrap(), Some(first));
}
