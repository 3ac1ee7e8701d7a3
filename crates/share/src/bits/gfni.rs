//! Transposition of 64×64 bits with AVX-512 VBMI and GFNI.

use std::arch::x86_64::*;

type V = __m512i;

/// Byte `8·i + j` of the result is byte `8·j + i`.
const SWAPPED: [u8; 64] = {
    let mut index = [0; 64];
    let mut i = 0;
    while i < 64 {
        index[i] = (i % 8 * 8 + i / 8) as u8;
        i += 1;
    }
    index
};

/// Eight blocks of 64 numbers, one after the other: word `i` of row `j` becomes plane `j` of block `i`.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
pub(super) fn to_planes(rows: &mut [[u64; 8]; 64], numbers: &[u64; 512]) {
    let mut blocks = [[_mm512_setzero_si512(); 8]; 8];
    for (block, numbers) in blocks.iter_mut().zip(numbers.as_chunks::<64>().0) {
        let mut vectors = [_mm512_setzero_si512(); 8];
        for (vector, words) in vectors.iter_mut().zip(numbers.as_chunks::<8>().0) {
            *vector = load(words);
        }
        *block = transpose(vectors);
    }
    for (i, rows) in rows.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        for (row, vector) in rows.iter_mut().zip(words(blocks.map(|block| block[i]))) {
            store(row, vector);
        }
    }
}

/// The inverse of [`to_planes`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
pub(super) fn from_planes(numbers: &mut [u64; 512], rows: &[[u64; 8]; 64]) {
    let mut blocks = [[_mm512_setzero_si512(); 8]; 8];
    for (i, rows) in rows.as_chunks::<8>().0.iter().enumerate() {
        let mut vectors = [_mm512_setzero_si512(); 8];
        for (vector, row) in vectors.iter_mut().zip(rows) {
            *vector = load(row);
        }
        for (block, vector) in blocks.iter_mut().zip(words(vectors)) {
            block[i] = vector;
        }
    }
    for (numbers, block) in numbers.as_chunks_mut::<64>().0.iter_mut().zip(blocks) {
        for (words, vector) in numbers
            .as_chunks_mut::<8>()
            .0
            .iter_mut()
            .zip(transpose(block))
        {
            store(words, vector);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(words: &[u64; 8]) -> V {
    // SAFETY: a reference to eight words is read.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(words: &mut [u64; 8], vector: V) {
    // SAFETY: a reference to eight words is written.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) }
}

/// Bit `i` of word `j` goes to bit `j` of word `i`, for the 64 words of eight vectors.
///
/// After a transposition of the bytes of vector `i`, word `b` has byte `b` of its eight; after one of the bits in each word, byte
/// `j` of word `b` has bit `8·b + j` of the eight. Words `b` of all vectors then are vector `b`, and a last transposition of
/// its bytes brings the eight bytes of each bit together.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
fn transpose(block: [V; 8]) -> [V; 8] {
    // SAFETY: a reference to 64 bytes is read.
    let swapped = unsafe { _mm512_loadu_si512(SWAPPED.as_ptr().cast()) };
    let mut rows = block;
    for row in &mut rows {
        *row = bits(_mm512_permutexvar_epi8(swapped, *row));
    }
    let mut planes = words(rows);
    for plane in &mut planes {
        *plane = _mm512_permutexvar_epi8(swapped, *plane);
    }
    planes
}

/// Transposes the 8×8 bits of each word: bit `i` of byte `j` goes to bit `j` of byte `i`.
///
/// The affine instruction makes bit `j` of a result the parity of a byte `x` and byte `7 - j` of a matrix. Here the matrix is the
/// data, in reverse, and byte `x` at place `i` has bit `i` alone: the result is column `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
fn bits(rows: V) -> V {
    let units = _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64);
    let reversed = _mm512_shuffle_epi8(
        rows,
        _mm512_broadcast_i32x4(_mm_set_epi64x(0x0809_0a0b_0c0d_0e0f, 0x0001_0203_0405_0607)),
    );
    _mm512_gf2p8affine_epi64_epi8::<0>(units, reversed)
}

/// Word `i` of vector `j` goes to word `j` of vector `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
fn words(v: [V; 8]) -> [V; 8] {
    // Exchange of single words, of pairs, of halves.
    let mut a = [_mm512_setzero_si512(); 8];
    for i in (0..8).step_by(2) {
        a[i] = _mm512_unpacklo_epi64(v[i], v[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi64(v[i], v[i + 1]);
    }
    let (even, odd) = (
        _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0),
        _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2),
    );
    let mut b = a;
    for i in [0, 1, 4, 5] {
        b[i] = _mm512_permutex2var_epi64(a[i], even, a[i + 2]);
        b[i + 2] = _mm512_permutex2var_epi64(a[i], odd, a[i + 2]);
    }
    let mut c = b;
    for i in 0..4 {
        c[i] = _mm512_shuffle_i64x2::<0x44>(b[i], b[i + 4]);
        c[i + 4] = _mm512_shuffle_i64x2::<0xee>(b[i], b[i + 4]);
    }
    c
}
