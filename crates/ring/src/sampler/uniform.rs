//! Uniform polynomials from a public seed.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};

use crate::cpu::CpuPath;
use crate::modulus::Modulus;

/// AES blocks that are encrypted at a time: 4 kB.
const BLOCKS: usize = 256;

/// Uniform words in `[0, q)`, a function of `seed`, `stream` and `q` alone.
///
/// Definition, bit by bit. Block `i = 0, 1, 2, …` of the key stream is `AES-256(seed, stream ‖ i)`, where `stream` and `i` are
/// written as 8 bytes each, least significant byte first. The key stream is read as 64-bit words, least significant byte
/// first, two from each block. Each word is reduced to its `bits` low bits, where `2^(bits-1) < q < 2^bits`; if the result
/// is below `q` it is the next output, else it is skipped. Unread words are discarded.
///
/// Public randomness: the running time depends on the values.
pub fn uniform(seed: &[u8; 32], stream: u64, out: &mut [u64], m: &Modulus) {
    let cipher = Aes256::new(seed.into());
    let is_vector = CpuPath::Ifma.is_available();
    let mut blocks = [aes::Block::default(); BLOCKS];
    let mut counter = 0u64;
    let mut filled = 0;
    while filled < out.len() {
        // As many blocks as will do when nothing is skipped; in whole vectors.
        let needed = (out.len() - filled).div_ceil(2).next_multiple_of(4);
        let blocks = &mut blocks[..needed.min(BLOCKS)];
        for block in blocks.iter_mut() {
            let input = u128::from(stream) | u128::from(counter) << 64;
            block.0 = input.to_le_bytes();
            counter += 1;
        }
        cipher.encrypt_blocks(blocks);
        if filled + 2 * blocks.len() <= out.len() {
            filled = keep_below(is_vector, out, filled, blocks, m);
        } else {
            // The last words of a row whose length is not a multiple of the vector length, or after skipped words.
            let mut rest = [0; 2 * BLOCKS];
            let kept = keep_below(is_vector, &mut rest, 0, blocks, m).min(out.len() - filled);
            out[filled..filled + kept].copy_from_slice(&rest[..kept]);
            filled += kept;
        }
    }
}

/// Appends the accepted words of `blocks` to `out` from `filled` on, where there is room for all; returns the new position.
fn keep_below(
    is_vector: bool,
    out: &mut [u64],
    filled: usize,
    blocks: &[aes::Block],
    m: &Modulus,
) -> usize {
    let (mask, q) = (u64::MAX >> (64 - m.bits()), m.q());
    #[cfg(target_arch = "x86_64")]
    if is_vector {
        // SAFETY: the caller found that this CPU has the instructions.
        return unsafe { super::ifma::keep_below(out, filled, blocks, mask, q) };
    }
    let _ = is_vector;
    let mut filled = filled;
    for block in blocks {
        let words = u128::from_le_bytes(block.0);
        for word in [words as u64, (words >> 64) as u64] {
            out[filled] = word & mask;
            filled += usize::from(word & mask < q);
        }
    }
    filled
}

#[cfg(test)]
mod tests;
