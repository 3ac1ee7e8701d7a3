//! Rows of residues as bit strings.
//!
//! Residue `i` of a row modulo `q` takes the bits `i·b … i·b + b - 1`, `b = ceil(log2 q)`, least significant bit first in
//! little-endian bytes; there is no padding, because eight residues fill `b` bytes and rows are multiples of eight.

use tacit_ring::Modulus;

/// Bytes of a packed row of `n` residues; `n` a multiple of 8.
pub(super) fn packed_len(n: usize, m: &Modulus) -> usize {
    n / 8 * m.bits() as usize
}

/// Appends the packed row. Residues are canonical.
pub(super) fn pack(out: &mut Vec<u8>, row: &[u64], m: &Modulus) {
    let start = out.len();
    out.resize(start + packed_len(row.len(), m), 0);
    let out = &mut out[start..];
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

fn pack_sized<const BITS: usize>(out: &mut [u8], row: &[u64]) {
    for (group, bytes) in row.chunks_exact(8).zip(out.chunks_exact_mut(BITS)) {
        // At most seven bits wait in `rest`, so a residue of 50 bits always fits on top.
        let (mut rest, mut waiting, mut at) = (0u64, 0, 0);
        for &residue in group {
            rest |= residue << waiting;
            waiting += BITS;
            let whole = waiting / 8;
            bytes[at..at + whole].copy_from_slice(&rest.to_le_bytes()[..whole]);
            rest >>= 8 * whole;
            waiting -= 8 * whole;
            at += whole;
        }
    }
}

fn unpack_sized<const BITS: usize>(row: &mut [u64], bytes: &[u8], q: u64) -> bool {
    let mask = (1u64 << BITS) - 1;
    let mut excess = 0;
    for (group, bytes) in row.chunks_exact_mut(8).zip(bytes.chunks_exact(BITS)) {
        for (i, residue) in group.iter_mut().enumerate() {
            let first = (i * BITS / 8).min(BITS - 8);
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[first..first + 8]);
            *residue = u64::from_le_bytes(word) >> (i * BITS - 8 * first) & mask;
            // The top bit is set when residue >= q.
            excess |= (q - 1).wrapping_sub(*residue);
        }
    }
    excess >> 63 == 0
}
