//! The binary forms of ciphertexts and keys, version 1.
//!
//! All integers are little-endian. Every object is
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic, ASCII `TCKS` |
//! | 4 | 2 | version, 1 |
//! | 6 | 1 | kind: 1 ciphertext, 2 public key, 3 evaluation keys, 4 secret key |
//! | 7 | 1 | flags: bit 0 is "seeded" of a ciphertext and "has a relinearisation key" of evaluation keys; else 0 |
//! | 8 | 32 | [`Parameters::hash`] |
//! | 40 | … | fields of the kind, then its residues |
//! | end - 16 | 16 | checksum: the first 16 bytes of BLAKE3 of everything before |
//!
//! * **ciphertext**: level (1 byte), degree 1 or 2 (1 byte), two bytes 0, scale (8 bytes, IEEE 754 binary64), seed (32 bytes,
//!   only if seeded), then part by part (part 1 left out if seeded: it is the seed expanded, see [`crate::keys`]) the rows
//!   q_0..q_level.
//! * **public key**: seed of half a (32 bytes), then the rows q_0..q_L of half b.
//! * **evaluation keys**: number of Galois keys (4 bytes), four bytes 0, then one entry of 48 bytes for each key, the
//!   relinearisation key first and Galois keys by ascending element: Galois element (8 bytes; 0 for relinearisation), level (8 bytes),
//!   seed of the halves a (32 bytes). Then, in the same order, key by key and digit by digit the rows q_0..q_level, p_0..p_{K-1}
//!   of half b.
//! * **secret key**: the coefficients in natural order, two bits each, four to a byte from the low bits up: 0, 1, or 3 for -1.
//!
//! Rows are in bit-reversed NTT order (`tacit_ring::Eval`), each residue in `ceil(log2 q)` bits, least significant bit first, without
//! padding.
//!
//! Reading checks, in this order: size limit and shortest length, magic, version, kind, parameter hash, flags and fields, exact
//! length (computed before anything is allocated for it), checksum, and that every residue is below its prime; a ciphertext whose
//! parts above c_0 are all zero is refused. There is exactly one form of each object, and no input panics.
//!
//! The checksum detects damage, not an adversary: everybody can compute it. Authenticity is the work of the channel.

mod keys;
mod pack;
mod reader;
mod writer;

use crate::cipher::{Ciphertext, ParametersTag, check_scale};
use crate::error::{CkksError, Result};
use crate::keygen::expand;
use crate::keys::Stream;
use crate::params::Parameters;
use pack::{pack, packed_len, unpack};
use reader::{HEADER_BYTES, Reader};
use writer::Writer;

/// Largest object that is read: 4 GiB.
pub const MAX_BYTES: usize = 1 << 32;

const MAGIC: [u8; 4] = *b"TCKS";
const VERSION: u16 = 1;
const CHECKSUM_BYTES: usize = 16;
const SEED_BYTES: usize = 32;
const FLAG_SEEDED: u8 = 1;
const FLAG_RELINEARIZATION: u8 = 1;

/// What an object is; byte 6.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Ciphertext = 1,
    PublicKey = 2,
    EvaluationKeys = 3,
    SecretKey = 4,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ciphertext => "ciphertext",
            Self::PublicKey => "public key",
            Self::EvaluationKeys => "evaluation keys",
            Self::SecretKey => "secret key",
        }
    }
}

const CIPHERTEXT_FIELDS: usize = 12;

impl Ciphertext {
    /// Bytes of [`Self::to_bytes`].
    pub fn wire_len(&self, params: &Parameters) -> usize {
        ciphertext_len(params, self.level, self.degree(), self.seed.is_some()) as usize
    }

    /// The binary form; seeded ciphertexts stay seeded (half the size). Fails for other parameters.
    pub fn to_bytes(&self, params: &Parameters) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.wire_len(params)];
        self.write_bytes(params, &mut bytes)?;
        Ok(bytes)
    }

    /// [`Self::to_bytes`] into memory of [`Self::wire_len`] bytes. Panics when it has another length.
    pub fn write_bytes(&self, params: &Parameters, bytes: &mut [u8]) -> Result<()> {
        self.tag.check(params, "ciphertext")?;
        assert_eq!(
            bytes.len(),
            self.wire_len(params),
            "memory of another length than the object"
        );
        let flags = if self.seed.is_some() { FLAG_SEEDED } else { 0 };
        let mut writer = Writer::begin(bytes, params, Kind::Ciphertext, flags);
        // Levels are below 96 and degrees at most 2.
        writer.put(&[self.level as u8, self.degree() as u8, 0, 0]);
        writer.put(&self.scale.to_le_bytes());
        writer.put(self.seed.as_ref().map_or(&[], |seed| seed));
        for (i, part) in self.parts.iter().enumerate() {
            if i != 1 || self.seed.is_none() {
                writer.rows(params, part, 0..=self.level);
            }
        }
        writer.finish();
        Ok(())
    }

    /// Reads the binary form; the errors are listed in the module documentation.
    pub fn from_bytes(params: &Parameters, bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "ciphertext";
        let (mut reader, flags) = Reader::open(
            params,
            Kind::Ciphertext,
            bytes,
            HEADER_BYTES + CIPHERTEXT_FIELDS,
        )?;
        let [level, degree, zero0, zero1] = reader.array();
        let (level, degree, scale) = (
            usize::from(level),
            usize::from(degree),
            f64::from_le_bytes(reader.array()),
        );
        let seeded = flags == FLAG_SEEDED;
        if flags & !FLAG_SEEDED != 0 || zero0 != 0 || zero1 != 0 {
            return Err(malformed(WHAT, "an unknown flag or a reserved byte is set"));
        }
        if level > params.max_level() {
            return Err(malformed(
                WHAT,
                "its level is above the top level of the parameters",
            ));
        }
        if !(degree == 1 || degree == 2 && !seeded) {
            return Err(malformed(
                WHAT,
                "its degree is not 1 or 2, or it is seeded and of degree 2",
            ));
        }
        check_scale("reading a ciphertext", scale)?;
        reader.check_length(ciphertext_len(params, level, degree, seeded))?;
        reader.check_sum()?;
        let seed = seeded.then(|| reader.array::<SEED_BYTES>());
        let mut parts = Vec::with_capacity(degree + 1);
        for i in 0..=degree {
            parts.push(match &seed {
                Some(seed) if i == 1 => expand(params, seed, Stream::Ciphertext, 0, level, 0),
                _ => reader.rows(params, 0..=level)?,
            });
        }
        let ciphertext = Self {
            parts,
            level,
            scale,
            seed,
            tag: ParametersTag::of(params),
        };
        if seed.is_none() && ciphertext.is_transparent() {
            return Err(CkksError::TransparentCiphertext);
        }
        Ok(ciphertext)
    }
}

fn ciphertext_len(params: &Parameters, level: usize, degree: usize, seeded: bool) -> u64 {
    let seed = if seeded { SEED_BYTES } else { 0 };
    let parts = if seeded { 1 } else { degree as u64 + 1 };
    (HEADER_BYTES + CIPHERTEXT_FIELDS + seed + CHECKSUM_BYTES) as u64
        + parts * rows_len(params, 0..=level)
}

/// Bytes of the packed rows of the primes with these indices in q_0..q_L, p_0..p_{K-1}.
fn rows_len(params: &Parameters, primes: impl Iterator<Item = usize>) -> u64 {
    primes
        .map(|prime| packed_len(params.n(), params.modulus(prime)) as u64)
        .sum()
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECKSUM_BYTES]);
    sum
}

fn malformed(what: &'static str, reason: &'static str) -> CkksError {
    CkksError::Malformed { what, reason }
}
