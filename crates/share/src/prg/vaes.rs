//! AES-128 in counter mode, four blocks in a vector and eight vectors at a time.

use std::arch::x86_64::*;

use zeroize::Zeroize;

use super::Use;

type V = __m512i;

/// Words in a vector.
const LANES: usize = 8;

/// Vectors that are encrypted together, so that the latency of one round is covered by the others.
const TOGETHER: usize = 8;

/// The eleven round keys.
pub(crate) struct RoundKeys([[u8; 16]; 11]);

impl Drop for RoundKeys {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl RoundKeys {
    /// Of a key; the caller made sure that this CPU can run the AVX-512 path, which has AES.
    pub(crate) fn new(key: &[u8; 16]) -> Box<Self> {
        let mut keys = Box::new(Self([[0; 16]; 11]));
        // SAFETY: the caller made sure of the instructions.
        unsafe { expand(key, &mut keys.0) };
        keys
    }

    /// Each key in all four lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn wide(&self) -> [V; 11] {
        self.0.map(|key| {
            // SAFETY: a reference to 16 bytes is read.
            _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(key.as_ptr().cast()) })
        })
    }
}

/// FIPS 197, section 5.2, for keys of 128 bits.
#[target_feature(enable = "aes,sse2")]
fn expand(key: &[u8; 16], keys: &mut [[u8; 16]; 11]) {
    macro_rules! round {
        ($i:literal, $constant:literal) => {{
            // SAFETY: references to 16 bytes are read and written.
            let last = unsafe { _mm_loadu_si128(keys[$i - 1].as_ptr().cast()) };
            let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(last));
            let two = _mm_xor_si128(last, _mm_slli_si128::<4>(last));
            let four = _mm_xor_si128(two, _mm_slli_si128::<8>(two));
            // SAFETY: as above.
            unsafe { _mm_storeu_si128(keys[$i].as_mut_ptr().cast(), _mm_xor_si128(four, word)) };
        }};
    }
    keys[0] = *key;
    round!(1, 0x01);
    round!(2, 0x02);
    round!(3, 0x04);
    round!(4, 0x08);
    round!(5, 0x10);
    round!(6, 0x20);
    round!(7, 0x40);
    round!(8, 0x80);
    round!(9, 0x1b);
    round!(10, 0x36);
}

/// Applies the words of the blocks from `first` on to `out`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,aes,vaes")]
pub(super) fn apply(keys: &RoundKeys, nonce: u64, first: u64, how: Use, out: &mut [u64]) {
    match how {
        Use::Fill => stream(keys, nonce, first, out, |_, r| r),
        Use::Add => stream(keys, nonce, first, out, |old, r| _mm512_add_epi64(old, r)),
        Use::Sub => stream(keys, nonce, first, out, |old, r| _mm512_sub_epi64(old, r)),
        Use::Xor => stream(keys, nonce, first, out, |old, r| _mm512_xor_si512(old, r)),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,aes,vaes")]
fn stream(keys: &RoundKeys, nonce: u64, first: u64, out: &mut [u64], merge: impl Fn(V, V) -> V) {
    let round_keys = keys.wide();
    let (nonce, first) = (nonce as i64, first as i64);
    let mut counters = _mm512_set_epi64(
        nonce,
        first + 3,
        nonce,
        first + 2,
        nonce,
        first + 1,
        nonce,
        first,
    );
    let four = _mm512_set_epi64(0, 4, 0, 4, 0, 4, 0, 4);
    let (groups, rest) = out.as_chunks_mut::<{ TOGETHER * LANES }>();
    for group in groups {
        let mut blocks = [_mm512_setzero_si512(); TOGETHER];
        for block in &mut blocks {
            *block = counters;
            counters = _mm512_add_epi64(counters, four);
        }
        let blocks = encrypt(&round_keys, blocks);
        for (out, block) in group.as_chunks_mut::<LANES>().0.iter_mut().zip(blocks) {
            // SAFETY: a reference to eight words is read and written.
            unsafe {
                let old = _mm512_loadu_si512(out.as_ptr().cast());
                _mm512_storeu_si512(out.as_mut_ptr().cast(), merge(old, block));
            }
        }
    }
    for out in rest.chunks_mut(LANES) {
        let [block] = encrypt(&round_keys, [counters]);
        counters = _mm512_add_epi64(counters, four);
        let mask = 0xff >> (LANES - out.len());
        // SAFETY: the mask selects as many words as `out` has, one to eight.
        unsafe {
            let old = _mm512_maskz_loadu_epi64(mask, out.as_ptr().cast());
            _mm512_mask_storeu_epi64(out.as_mut_ptr().cast(), mask, merge(old, block));
        }
    }
}

/// Each 128-bit lane encrypted under the round keys as `RoundKeys::wide` gives them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,aes,vaes")]
pub(crate) fn encrypt<const N: usize>(keys: &[V; 11], blocks: [V; N]) -> [V; N] {
    let mut blocks = blocks;
    for block in &mut blocks {
        *block = _mm512_xor_si512(*block, keys[0]);
    }
    for key in &keys[1..10] {
        for block in &mut blocks {
            *block = _mm512_aesenc_epi128(*block, *key);
        }
    }
    for block in &mut blocks {
        *block = _mm512_aesenclast_epi128(*block, keys[10]);
    }
    blocks
}
