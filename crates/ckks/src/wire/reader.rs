//! Reading with the checks that all objects share.

use tacit_ring::{Eval, Poly};

use super::{
    CHECKSUM_BYTES, Kind, MAGIC, MAX_BYTES, VERSION, checksum, malformed, packed_len, unpack,
};
use crate::error::{CkksError, Result};
use crate::params::Parameters;

/// Magic, version, kind, flags, parameter hash.
pub(super) const HEADER_BYTES: usize = 40;

/// The bytes of one object and how far they have been read.
pub(super) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Checks the common header of an object that has at least `shortest` bytes before its checksum; returns the flags.
    pub(super) fn open(
        params: &Parameters,
        kind: Kind,
        bytes: &'a [u8],
        shortest: usize,
    ) -> Result<(Self, u8)> {
        let (what, got) = (kind.name(), bytes.len());
        if got > MAX_BYTES {
            return Err(CkksError::TooLong {
                what,
                got,
                limit: MAX_BYTES,
            });
        }
        if got < shortest + CHECKSUM_BYTES {
            return Err(CkksError::Truncated {
                what,
                needed: shortest + CHECKSUM_BYTES,
                got,
            });
        }
        let mut reader = Self { what, bytes, at: 0 };
        if reader.array::<4>() != MAGIC {
            return Err(malformed(what, "it does not begin with the magic bytes"));
        }
        let version = u16::from_le_bytes(reader.array());
        if version != VERSION {
            return Err(CkksError::UnsupportedVersion {
                what,
                got: version.into(),
                supported: VERSION.into(),
            });
        }
        let [kind_byte, flags] = reader.array();
        if kind_byte != kind as u8 {
            return Err(malformed(what, "the bytes are an object of another kind"));
        }
        if reader.array::<32>() != *params.hash() {
            return Err(CkksError::ParametersMismatch { what });
        }
        Ok((reader, flags))
    }

    /// The next bytes. The caller has checked that they are there: by `shortest` or by [`Self::check_length`].
    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(self.slice(N));
        out
    }

    /// The next bytes, checked as in [`Self::array`].
    pub(super) fn slice(&mut self, count: usize) -> &'a [u8] {
        let slice = &self.bytes[self.at..self.at + count];
        self.at += count;
        slice
    }

    /// Bytes before the checksum that have not been read.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - CHECKSUM_BYTES - self.at
    }

    /// Refuses all lengths but `needed`, checksum included.
    pub(super) fn check_length(&self, needed: u64) -> Result<()> {
        let (what, got) = (self.what, self.bytes.len());
        match usize::try_from(needed) {
            Ok(needed) if needed == got => Ok(()),
            Ok(needed) if needed < got => Err(CkksError::TrailingBytes {
                what,
                count: got - needed,
            }),
            Ok(needed) => Err(CkksError::Truncated { what, needed, got }),
            Err(_) => Err(CkksError::Truncated {
                what,
                needed: usize::MAX,
                got,
            }),
        }
    }

    pub(super) fn check_sum(&self) -> Result<()> {
        let (body, sum) = self.bytes.split_at(self.bytes.len() - CHECKSUM_BYTES);
        if checksum(body) == sum {
            Ok(())
        } else {
            Err(CkksError::ChecksumMismatch { what: self.what })
        }
    }

    /// The packed rows of the primes with these indices in the whole chain.
    pub(super) fn rows(
        &mut self,
        params: &Parameters,
        primes: impl Iterator<Item = usize>,
    ) -> Result<Poly<Eval>> {
        let primes: Vec<usize> = primes.collect();
        let mut poly = Poly::uninit_pooled(params.n(), primes.len());
        for (row, &prime) in primes.iter().enumerate() {
            let m = params.modulus(prime);
            let bytes = self.slice(packed_len(params.n(), m));
            if !unpack(poly.row_mut(row), bytes, m) {
                return Err(CkksError::NonCanonicalResidue {
                    what: self.what,
                    row,
                });
            }
        }
        Ok(poly)
    }
}
