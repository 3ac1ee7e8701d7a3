//! Writing into memory of the exact length.

use tacit_ring::{Eval, Poly};

use super::{CHECKSUM_BYTES, Kind, MAGIC, VERSION, checksum, pack, packed_len};
use crate::params::Parameters;

/// The bytes of one object and how far they have been written.
pub(super) struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Writes the common header. `bytes` has the exact length of the object.
    pub(super) fn begin(bytes: &'a mut [u8], params: &Parameters, kind: Kind, flags: u8) -> Self {
        let mut writer = Self { bytes, at: 0 };
        writer.put(&MAGIC);
        writer.put(&VERSION.to_le_bytes());
        writer.put(&[kind as u8, flags]);
        writer.put(params.hash());
        writer
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len()).copy_from_slice(bytes);
    }

    /// The next `count` bytes, to be written.
    pub(super) fn reserve(&mut self, count: usize) -> &mut [u8] {
        let start = self.at;
        self.at += count;
        &mut self.bytes[start..start + count]
    }

    /// The rows of `poly`, which belong to the primes with these indices in the whole chain.
    pub(super) fn rows(
        &mut self,
        params: &Parameters,
        poly: &Poly<Eval>,
        primes: impl Iterator<Item = usize>,
    ) {
        for (row, prime) in primes.enumerate() {
            let m = params.modulus(prime);
            pack(self.reserve(packed_len(params.n(), m)), poly.row(row), m);
        }
    }

    /// Writes the checksum, which ends the object.
    pub(super) fn finish(mut self) {
        debug_assert_eq!(self.at + CHECKSUM_BYTES, self.bytes.len());
        let sum = checksum(&self.bytes[..self.at]);
        self.put(&sum);
    }
}
