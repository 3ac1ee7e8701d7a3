//! Random words from a seed that parties share, and shares of zero made from them.
//!
//! # Definition
//!
//! `E256` and `E128` are AES-256 and AES-128 (FIPS 197); integers are 8 bytes, least significant first. From a seed of 32 bytes
//! and the number of a stream, `key = E256(seed, stream ‖ 0)` and `nonce` is the first half of `E256(seed, stream ‖ 1)`. Block `i`
//! of the stream is `E128(key, i ‖ nonce)` and gives two words, least significant byte first. Each call takes the blocks that
//! follow those of the call before; when it needs an odd number of words, the last half block is thrown away.
//!
//! # No word is used twice
//!
//! A [`Stream`] moves in one direction: it cannot be copied, rewound or told where to begin, and ends with an error after
//! [`BLOCK_LIMIT`] blocks. So long as no two sessions have the same seed, and no session makes a stream of the same number
//! twice, no mask is used twice. A process that was restarted therefore needs a fresh seed, agreed upon anew.
//!
//! # Secrets
//!
//! Constant time: AES instructions, or the bit-sliced form of the crate `aes`. Keys are wiped on drop, intermediate blocks after
//! use.

#[cfg(target_arch = "x86_64")]
pub(crate) mod vaes;

use std::fmt;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256};
use zeroize::Zeroize;

use crate::cpu::CpuPath;

/// Blocks of one stream: 16 TiB. The advantage of telling them from random words is below `2^-48`.
pub const BLOCK_LIMIT: u64 = 1 << 40;

/// The stream has not so many words left as were asked for. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a random stream has {left} words left; {wanted} were asked for")]
pub struct StreamExhaustedError {
    /// Words that were asked for.
    pub wanted: usize,
    /// Words that are left.
    pub left: u64,
}

/// What happens to the words of a buffer.
#[derive(Clone, Copy)]
enum Use {
    Fill,
    Add,
    Sub,
    Xor,
}

/// One stream of random words. See the definition in [`self`].
pub struct Stream {
    cipher: Cipher,
    nonce: u64,
    next_block: u64,
}

/// Boxed, so that no copy of the keys is left behind when a stream is moved.
enum Cipher {
    /// Wipes its keys itself.
    Blocks(Box<Aes128>),
    #[cfg(target_arch = "x86_64")]
    Vectors(Box<vaes::RoundKeys>),
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.nonce.zeroize();
    }
}

impl Stream {
    /// Stream `number` of `seed`, at its beginning. 32 secret bytes that were never used for a stream of this number.
    pub fn new(path: CpuPath, seed: &[u8; 32], number: u64) -> Self {
        let derive = Aes256::new(seed.into());
        let mut blocks = [u128::from(number), u128::from(number) | 1 << 64]
            .map(|block| aes::Block::from(block.to_le_bytes()));
        derive.encrypt_blocks(&mut blocks);
        let cipher = match path.checked() {
            #[cfg(target_arch = "x86_64")]
            CpuPath::Ifma => Cipher::Vectors(vaes::RoundKeys::new(&blocks[0].0)),
            _ => Cipher::Blocks(Box::new(Aes128::new(&blocks[0]))),
        };
        let nonce = u128::from_le_bytes(blocks[1].0) as u64;
        blocks.iter_mut().for_each(|block| block.0.zeroize());
        Self {
            cipher,
            nonce,
            next_block: 0,
        }
    }

    /// `out = r`.
    ///
    /// # Errors
    /// [`StreamExhaustedError`].
    pub fn fill(&mut self, out: &mut [u64]) -> Result<(), StreamExhaustedError> {
        self.apply(Use::Fill, out)
    }

    /// `out += r`.
    ///
    /// # Errors
    /// [`StreamExhaustedError`].
    pub fn add_to(&mut self, out: &mut [u64]) -> Result<(), StreamExhaustedError> {
        self.apply(Use::Add, out)
    }

    /// `out -= r`.
    ///
    /// # Errors
    /// [`StreamExhaustedError`].
    pub fn subtract_from(&mut self, out: &mut [u64]) -> Result<(), StreamExhaustedError> {
        self.apply(Use::Sub, out)
    }

    /// `out ^= r`.
    ///
    /// # Errors
    /// [`StreamExhaustedError`].
    pub fn xor_to(&mut self, out: &mut [u64]) -> Result<(), StreamExhaustedError> {
        self.apply(Use::Xor, out)
    }

    /// The blocks of so many words.
    pub(crate) fn check(&self, words: usize) -> Result<u64, StreamExhaustedError> {
        let (blocks, left) = (words.div_ceil(2) as u64, BLOCK_LIMIT - self.next_block);
        let exhausted = StreamExhaustedError {
            wanted: words,
            left: 2 * left,
        };
        if blocks > left {
            Err(exhausted)
        } else {
            Ok(blocks)
        }
    }

    fn apply(&mut self, how: Use, out: &mut [u64]) -> Result<(), StreamExhaustedError> {
        let blocks = self.check(out.len())?;
        let first = self.next_block;
        self.next_block += blocks;
        match &self.cipher {
            Cipher::Blocks(cipher) => by_blocks(cipher, self.nonce, first, how, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` made sure of the instructions when it chose this form.
            Cipher::Vectors(keys) => unsafe { vaes::apply(keys, self.nonce, first, how, out) },
        }
        Ok(())
    }
}

/// [`Stream::apply`] with the crate `aes`, which takes AES instructions where there are some.
fn by_blocks(cipher: &Aes128, nonce: u64, first: u64, how: Use, out: &mut [u64]) {
    /// Blocks that are encrypted at a time: 2 kB.
    const BLOCKS: usize = 128;
    let mut buffer = [aes::Block::default(); BLOCKS];
    let mut counter = first;
    for out in out.chunks_mut(2 * BLOCKS) {
        let blocks = &mut buffer[..out.len().div_ceil(2)];
        for block in blocks.iter_mut() {
            block.0 = (u128::from(nonce) << 64 | u128::from(counter)).to_le_bytes();
            counter += 1;
        }
        cipher.encrypt_blocks(blocks);
        let words = blocks.iter().flat_map(|block| {
            let both = u128::from_le_bytes(block.0);
            [both as u64, (both >> 64) as u64]
        });
        let pairs = out.iter_mut().zip(words);
        match how {
            Use::Fill => pairs.for_each(|(out, r)| *out = r),
            Use::Add => pairs.for_each(|(out, r)| *out = out.wrapping_add(r)),
            Use::Sub => pairs.for_each(|(out, r)| *out = out.wrapping_sub(r)),
            Use::Xor => pairs.for_each(|(out, r)| *out ^= r),
        }
    }
    buffer.iter_mut().for_each(|block| block.0.zeroize());
}

/// Shares of zero among three parties without communication (Araki et al., CCS 2016, section 2.2, "correlated randomness"):
/// party `i` has the seeds `k_i` and `k_{i+1}` and its share is `F(k_i) - F(k_{i+1})`; the three sum up to 0, and any two parties'
/// shares tell nothing of the third's.
#[derive(Debug)]
pub struct ZeroSharing {
    own: Stream,
    next: Stream,
}

impl ZeroSharing {
    /// Words that are masked by both streams while they are in the first cache. Even, so that no half block is lost.
    const CHUNK: usize = 1024;

    /// From the seeds that this party shares with the one before (`own`) and with the one after (`next`).
    pub fn new(path: CpuPath, own: &[u8; 32], next: &[u8; 32], number: u64) -> Self {
        Self {
            own: Stream::new(path, own, number),
            next: Stream::new(path, next, number),
        }
    }

    pub(crate) fn check(&self, words: usize) -> Result<(), StreamExhaustedError> {
        self.own.check(words)?;
        self.next.check(words).map(drop)
    }

    /// Adds a fresh share of zero, modulo `2^64`, to each word.
    ///
    /// # Errors
    /// [`StreamExhaustedError`]; nothing was changed.
    pub fn add_to(&mut self, out: &mut [u64]) -> Result<(), StreamExhaustedError> {
        self.check(out.len())?;
        for out in out.chunks_mut(Self::CHUNK) {
            self.own.add_to(out)?;
            self.next.subtract_from(out)?;
        }
        Ok(())
    }

    /// Adds a fresh share of zero, modulo 2, to each bit.
    ///
    /// # Errors
    /// [`StreamExhaustedError`]; nothing was changed.
    pub fn xor_to(&mut self, out: &mut [u64]) -> Result<(), StreamExhaustedError> {
        self.check(out.len())?;
        for out in out.chunks_mut(Self::CHUNK) {
            self.own.xor_to(out)?;
            self.next.xor_to(out)?;
        }
        Ok(())
    }

    /// This party's two parts of fresh random words that no party knows.
    ///
    /// # Errors
    /// [`StreamExhaustedError`]; nothing was changed.
    ///
    /// # Panics
    /// When the parts differ in length.
    pub fn random(&mut self, parts: [&mut [u64]; 2]) -> Result<(), StreamExhaustedError> {
        let [own, next] = parts;
        assert_eq!(own.len(), next.len(), "both parts have the same words");
        self.check(own.len())?;
        self.own.fill(own)?;
        self.next.fill(next)
    }
}

#[cfg(test)]
mod tests;
