//! Rows of residues as bit strings.
//!
//! Residue `i` of a row modulo `q` takes the bits `i·b … i·b + b - 1`, `b = ceil(log2 q)`, least significant bit first in
//! little-endian bytes; there is no padding, because eight residues fill `b` bytes and rows are multiples of eight.

use tacit_ring::Modulus;

/// Bytes of a packed row of `n` residues; `n` a multiple of 8.
pub(super) fn packed_len(n: usize, m: &Modulus) -> usize {
    n / 8 * m.bits() as usize
}

/// Packs the row into `out`, of [`packed_len`]. Residues are canonical.
pub(super) fn pack(out: &mut [u8], row: &[u64], m: &Modulus) {
    sized!(m.bits(), pack_sized(out, row));
}

/// Unpacks `bytes`, of [`packed_len`], into `row`; `false` when a residue is not below `q`.
#[must_use]
pub(super) fn unpack(row: &mut [u64], bytes: &[u8], m: &Modulus) -> bool {
    sized!(m.bits(), unpack_sized(row, bytes, m.q()))
}

/// Calls `function::<BITS>` for the bits of a modulus, so that all shifts are constants.
macro_rules! sized {
    ($bits:expr, $function:ident($($argument:expr),*)) => {
        sized!(@ $bits, $function($($argument),*),
            20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50)
    };
    (@ $bits:expr, $function:ident $arguments:tt, $($size:literal)*) => {
        match $bits {
            $($size => $function::<$size> $arguments,)*
            // `Parameters` makes primes of 20 to 50 bits only.
            _ => unreachable!("a prime of {} bits", $bits),
        }
    };
}
use sized;

/// Eight residues to `BITS` bytes by way of whole words. All bounds are constants: the loops unroll without a branch.
fn pack_sized<const BITS: usize>(out: &mut [u8], row: &[u64]) {
    for (group, bytes) in row
        .as_chunks::<8>()
        .0
        .iter()
        .zip(out.chunks_exact_mut(BITS))
    {
        let mut words = [0u64; 8];
        for (i, residue) in group.iter().enumerate() {
            let (at, shift) = (i * BITS / 64, i * BITS % 64);
            words[at] |= residue << shift;
            if shift + BITS > 64 {
                words[at + 1] |= residue >> (64 - shift);
            }
        }
        let (whole, last) = bytes.split_at_mut(BITS / 8 * 8);
        for (bytes, word) in whole.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        last.copy_from_slice(&words[BITS / 8].to_le_bytes()[..BITS % 8]);
    }
}

fn unpack_sized<const BITS: usize>(row: &mut [u64], bytes: &[u8], q: u64) -> bool {
    let mask = (1u64 << BITS) - 1;
    let mut excess = 0;
    for (group, bytes) in row
        .as_chunks_mut::<8>()
        .0
        .iter_mut()
        .zip(bytes.chunks_exact(BITS))
    {
        for (i, residue) in group.iter_mut().enumerate() {
            // The eight bytes that hold the residue, moved back where they would leave the group.
            let first = (i * BITS / 8).min(BITS - 8);
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[first..first + 8]);
            *residue = u64::from_le_bytes(word) >> (i * BITS - 8 * first) & mask;
            // The top bit is set when the residue is not below q.
            excess |= (q - 1).wrapping_sub(*residue);
        }
    }
    excess >> 63 == 0
}
