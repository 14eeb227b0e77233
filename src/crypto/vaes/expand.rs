//! The key schedules of AES, by AES-NI (FIPS 197 §5.2 and §5.3.5).

use core::arch::x86_64::{
    __m128i, _mm_aesimc_si128, _mm_aeskeygenassist_si128, _mm_loadu_si128, _mm_shuffle_epi32, _mm_slli_si128,
    _mm_storeu_si128, _mm_xor_si128,
};

use crate::crypto::xex::Block;

/// The round keys of one direction.
pub(super) type Schedule<const N: usize> = [Block; N];

/// FIPS 197 §5.3.5, the equivalent inverse cipher: the round keys backwards, the inner ones through InvMixColumns.
#[target_feature(enable = "aes")]
pub(super) fn inverse<const N: usize>(keys: &Schedule<N>) -> Schedule<N> {
    let mut inverse = *keys;
    inverse.reverse();
    for key in &mut inverse[1..N - 1] {
        *key = store(_mm_aesimc_si128(load_block(key)));
    }
    inverse
}

#[target_feature(enable = "sse2")]
fn load_block(block: &Block) -> __m128i {
    // SAFETY: a block is 16 readable bytes.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

#[target_feature(enable = "sse2")]
fn store(value: __m128i) -> Block {
    let mut block = Block::default();
    // SAFETY: a block is 16 writable bytes.
    unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), value) };
    block
}

/// The next round key: each word is the sum of the words before it and `word`, in all four places.
#[target_feature(enable = "sse2")]
fn chain(mut key: __m128i, word: __m128i) -> __m128i {
    for _ in 0..3 {
        key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    }
    _mm_xor_si128(key, word)
}

/// FIPS 197 §5.2 for 128-bit keys.
#[target_feature(enable = "aes")]
pub(super) fn expand_128(key: &[u8]) -> Option<Schedule<11>> {
    let mut keys = [Block::default(); 11];
    let mut last = load_block(key.try_into().ok()?);
    keys[0] = store(last);
    macro_rules! rounds {
        ($($round:literal: $constant:literal),*) => {$(
            last = chain(last, _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(last)));
            keys[$round] = store(last);
        )*};
    }
    rounds!(1: 0x01, 2: 0x02, 3: 0x04, 4: 0x08, 5: 0x10, 6: 0x20, 7: 0x40, 8: 0x80, 9: 0x1b, 10: 0x36);
    Some(keys)
}

/// FIPS 197 §5.2 for 256-bit keys: even round keys take the round constant, odd ones only the S-box.
#[target_feature(enable = "aes")]
pub(super) fn expand_256(key: &[u8]) -> Option<Schedule<15>> {
    let mut keys = [Block::default(); 15];
    let (first, second) = key.split_at_checked(16)?;
    let (mut even, mut odd) = (load_block(first.try_into().ok()?), load_block(second.try_into().ok()?));
    (keys[0], keys[1]) = (store(even), store(odd));
    macro_rules! rounds {
        ($($round:literal: $constant:literal),*) => {$(
            even = chain(even, _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(odd)));
            keys[$round] = store(even);
            odd = chain(odd, _mm_shuffle_epi32::<0xaa>(_mm_aeskeygenassist_si128::<0>(even)));
            keys[$round + 1] = store(odd);
        )*};
    }
    rounds!(2: 0x01, 4: 0x02, 6: 0x04, 8: 0x08, 10: 0x10, 12: 0x20);
    keys[14] = store(chain(even, _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<0x40>(odd))));
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197 Appendix A.1 and A.3: the last round keys.
    #[test]
    fn key_expansion_by_the_book() {
        if !is_x86_feature_detected!("aes") {
            return;
        }
        let hex = |text: &str| crate::crypto::vectors::hex(text).unwrap();
        // SAFETY: the CPU has AES-NI: asked above.
        let (short, long) = unsafe {
            (
                expand_128(&hex("2b7e151628aed2a6abf7158809cf4f3c")).unwrap(),
                expand_256(&hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")).unwrap(),
            )
        };
        assert_eq!(short[10][..], hex("d014f9a8c9ee2589e13f0cc8b6630ca6")[..]);
        assert_eq!(long[13][..], hex("cafaaae3e4d59b349adf6acebd10190d")[..]);
        assert_eq!(long[14][..], hex("fe4890d1e6188d0b046df344706c631e")[..]);
    }
}
