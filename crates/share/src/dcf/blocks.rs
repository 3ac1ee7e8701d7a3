//! One block after the other with the crate `aes`, which takes AES instructions where there are some; levels outside, keys inside,
//! so that many paths are encrypted together.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Block};
use zeroize::Zeroize;

use super::{Batch, LEAF_BITS, LOW, bit, leaf, leaves, levels};

/// Paths that go down together.
const TOGETHER: usize = 64;

/// `E` of the definition.
struct Hash(Aes128);

impl Hash {
    fn new(prg_key: &[u8; 16]) -> Self {
        Self(Aes128::new(prg_key.into()))
    }

    /// `H` of each block, in place.
    fn apply(&self, blocks: &mut [u128]) {
        let mut out = [Block::default(); 4 * TOGETHER];
        let out = &mut out[..blocks.len()];
        for (out, block) in out.iter_mut().zip(&*blocks) {
            out.0 = block.to_le_bytes();
        }
        self.0.encrypt_blocks(out);
        for (block, out) in blocks.iter_mut().zip(&mut *out) {
            *block ^= u128::from_le_bytes(out.0);
            out.0.zeroize();
        }
    }
}

fn load(words: &[u64], i: usize) -> u128 {
    u128::from(words[2 * i + 1]) << 64 | u128::from(words[2 * i])
}

fn store(words: &mut [u64], i: usize, block: u128) {
    words[2 * i] = block as u64;
    words[2 * i + 1] = (block >> 64) as u64;
}

/// All ones where the lowest bit is 1, else zero.
fn spread(bit: u128) -> u128 {
    (bit & 1).wrapping_neg()
}

pub(super) fn generate(
    batch: &Batch,
    roots: [&[u64]; 2],
    alpha: &[u64],
    flips: &[u64],
    keys: &mut [u64],
) {
    let bits = batch.bits;
    let (hash, n) = (Hash::new(&batch.prg_key), alpha.len());
    let mut children = [0u128; 4 * TOGETHER];
    // Seeds of both parties, with all ones in `controls` where the control bit is 1; `value`: the sum of the parties' values.
    let (mut seeds, mut controls) = ([[0u128; TOGETHER]; 2], [[0u128; TOGETHER]; 2]);
    let mut value = [0u128; TOGETHER];
    for start in (0..n).step_by(TOGETHER) {
        let m = TOGETHER.min(n - start);
        for j in 0..m {
            for party in 0..2 {
                seeds[party][j] = load(roots[party], start + j) & !LOW;
                controls[party][j] = spread(party as u128);
            }
            value[j] = 0;
        }
        for level in 0..levels(bits) {
            for j in 0..m {
                for party in 0..2 {
                    children[4 * j + 2 * party] = seeds[party][j];
                    children[4 * j + 2 * party + 1] = seeds[party][j] | 1;
                }
            }
            hash.apply(&mut children[..4 * m]);
            for j in 0..m {
                let a = u128::from(alpha[start + j] >> (bits as usize - 1 - level) & 1);
                let (right, flip) = (spread(a), u128::from(bit(flips, start + j)));
                let [l0, r0, l1, r1] = [0, 1, 2, 3].map(|i| children[4 * j + i]);
                // The child off the path of alpha is that of direction 1 - a.
                let lose = (l0 ^ l1) & right | (r0 ^ r1) & !right;
                let v = (lose >> 2 ^ value[j] ^ a ^ flip) & 1;
                let left_control = (l0 ^ l1 ^ a ^ 1) & 1;
                let right_control = ((r0 ^ r1) >> 1 ^ a) & 1;
                let word = lose & !LOW | v << 2 | right_control << 1 | left_control;
                store(&mut keys[2 * n * level..], start + j, word);
                let mut sum = 0;
                for (party, [left_child, right_child]) in
                    [[l0, r0], [l1, r1]].into_iter().enumerate()
                {
                    let kept = right_child & right | left_child & !right;
                    let kept = kept ^ word & controls[party][j];
                    sum ^= kept >> 2;
                    seeds[party][j] = kept & !LOW;
                    controls[party][j] = spread(kept >> 1 & right | kept & !right);
                }
                value[j] ^= sum & 1;
            }
        }
        for party in 0..2 {
            children[party * m..][..m].copy_from_slice(&seeds[party][..m]);
        }
        hash.apply(&mut children[..2 * m]);
        for j in 0..m {
            let suffix = alpha[start + j] & ((1 << LEAF_BITS.min(bits)) - 1);
            let target = leaves(suffix, spread(u128::from(bit(flips, start + j)) ^ value[j]));
            let word = children[j] ^ children[m + j] ^ target;
            store(&mut keys[2 * n * levels(bits)..], start + j, word);
        }
    }
    children.zeroize();
    seeds.zeroize();
    controls.zeroize();
    value.zeroize();
}

pub(super) fn evaluate(
    batch: &Batch,
    second: bool,
    roots: &[u64],
    keys: &[u64],
    points: &[u64],
    out: &mut [u64],
) {
    let bits = batch.bits;
    let (hash, n) = (Hash::new(&batch.prg_key), points.len());
    let mut blocks = [0u128; TOGETHER];
    let (mut control, mut value) = ([0u128; TOGETHER], [0u128; TOGETHER]);
    for start in (0..n).step_by(TOGETHER) {
        let m = TOGETHER.min(n - start);
        for j in 0..m {
            blocks[j] = load(roots, start + j) & !LOW;
            (control[j], value[j]) = (spread(u128::from(second)), 0);
        }
        for level in 0..levels(bits) {
            let shift = bits as usize - 1 - level;
            for j in 0..m {
                blocks[j] |= u128::from(points[start + j] >> shift & 1);
            }
            hash.apply(&mut blocks[..m]);
            for j in 0..m {
                let word = load(&keys[2 * n * level..], start + j);
                let right = spread(u128::from(points[start + j] >> shift));
                let child = blocks[j] ^ word & control[j];
                value[j] ^= child >> 2 & 1;
                control[j] = spread(child >> 1 & right | child & !right);
                blocks[j] = child & !LOW;
            }
        }
        hash.apply(&mut blocks[..m]);
        let mut packed = 0;
        for j in 0..m {
            let word = load(&keys[2 * n * levels(bits)..], start + j);
            let suffix = points[start + j] & ((1 << LEAF_BITS.min(bits)) - 1);
            let shared = leaf(blocks[j] ^ word & control[j], suffix) ^ value[j] as u64;
            packed |= shared << j;
        }
        out[start / 64] = packed;
    }
    blocks.zeroize();
    control.zeroize();
}
