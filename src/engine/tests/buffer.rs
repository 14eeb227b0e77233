//! The pool: classes, limit, reuse, merging and trimming.

use super::*;

#[test]
fn classes_are_aligned_powers_of_two() {
    let pool = Pool::new(64 << 20);
    for (asked, class) in [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (40_000, 65_536), (1 << 20, 1 << 20)] {
        let buf = pool.take(asked).unwrap();
        assert_eq!(buf.len(), class);
        assert_eq!(buf.as_ptr() as usize % 4096, 0);
    }
    assert!(pool.take((1 << 20) + 1).is_none());
}

#[test]
fn the_limit_is_back_pressure_and_returning_lifts_it() {
    let pool = Pool::new(4 << 20);
    let mut held: Vec<Buf> = std::iter::from_fn(|| pool.take(1 << 20)).collect();
    assert_eq!(held.len(), 4);
    assert!(pool.take(1).is_none());
    held.pop();
    assert!(pool.take(1).is_some());
    assert_eq!(pool.usage(), PoolUsage { taken: 3 << 20, mapped: 4 << 20, limit: 4 << 20 });
}

#[test]
fn small_buffers_merge_into_large_ones_at_the_limit() {
    let pool = Pool::new(2 << 20);
    let small: Vec<Buf> = std::iter::from_fn(|| pool.take(4096)).collect();
    assert_eq!(small.len(), 512);
    drop(small);
    let large = [pool.take(1 << 20).unwrap(), pool.take(1 << 20).unwrap()];
    drop(large);
    assert_eq!(std::iter::from_fn(|| pool.take(4096)).collect::<Vec<_>>().len(), 512);
}

#[test]
fn buffers_do_not_overlap() {
    let pool = Pool::new(8 << 20);
    let mut held: Vec<Buf> = (0..200).map_while(|index| pool.take(4096 << (index % 4))).collect();
    for (index, buf) in held.iter_mut().enumerate() {
        buf.fill(index as u8);
    }
    assert_eq!(held.len(), 200);
    for (index, buf) in held.iter().enumerate() {
        assert!(buf.iter().all(|&byte| byte == index as u8));
    }
}

#[test]
fn trimming_keeps_what_is_taken() {
    let pool = Pool::new(16 << 20);
    let mut held: Vec<Buf> = std::iter::from_fn(|| pool.take(1 << 20)).collect();
    assert_eq!(held.len(), 16);
    held.truncate(1);
    held[0].fill(7);
    assert_eq!(pool.trim(), 12 << 20);
    assert_eq!(pool.usage().mapped, 4 << 20);
    assert!(held[0].iter().all(|&byte| byte == 7));
    drop(held);
    assert_eq!(pool.trim(), 2 << 20);
}

#[test]
fn chunks_are_never_mistaken_for_one_another() {
    let pool = Pool::new(2 << 20);
    let before = pool.take(1).unwrap().chunk().unwrap().0;
    let other = Pool::new(2 << 20);
    assert_ne!(other.take(1).unwrap().chunk().unwrap().0, before);
}

#[test]
fn buffers_return_from_other_threads() {
    let pool = Pool::new(2 << 20);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..1000usize {
                    if let Some(mut buf) = pool.take(4096 << (round % 5)) {
                        buf.fill(round as u8);
                        assert!(buf.iter().all(|&byte| byte == round as u8));
                    }
                }
            });
        }
    });
    assert_eq!(pool.usage().taken, 0);
}
