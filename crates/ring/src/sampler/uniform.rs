//! Uniform polynomials from a public seed.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};

use crate::modulus::Modulus;

/// AES blocks that are encrypted at a time.
const BLOCKS: usize = 64;

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
    let mask = u64::MAX >> (64 - m.bits());
    let mut blocks = [aes::Block::default(); BLOCKS];
    let mut counter = 0u64;
    let mut filled = 0;
    while filled < out.len() {
        for block in &mut blocks {
            let (low, high) = block.split_at_mut(8);
            low.copy_from_slice(&stream.to_le_bytes());
            high.copy_from_slice(&counter.to_le_bytes());
            counter += 1;
        }
        cipher.encrypt_blocks(&mut blocks);
        for word in blocks.as_flattened_words() {
            if filled < out.len() {
                out[filled] = word & mask;
                filled += usize::from(word & mask < m.q());
            }
        }
    }
}

/// Little-endian words of a key stream.
trait Words {
    fn as_flattened_words(&self) -> impl Iterator<Item = u64>;
}

impl Words for [aes::Block; BLOCKS] {
    fn as_flattened_words(&self) -> impl Iterator<Item = u64> {
        self.iter().flat_map(|block| {
            block
                .as_chunks::<8>()
                .0
                .iter()
                .map(|word| u64::from_le_bytes(*word))
        })
    }
}
