//! Binary forms of the keys; the layout is in the documentation of [`crate::wire`].

use std::collections::BTreeMap;

use super::reader::{HEADER_BYTES, Reader};
use super::writer::Writer;
use super::{CHECKSUM_BYTES, FLAG_RELINEARIZATION, Kind, SEED_BYTES, malformed, rows_len};
use crate::cipher::ParametersTag;
use crate::error::Result;
use crate::keys::{EvaluationKeys, PublicKey, SecretKey, Stream, SwitchingKey};
use crate::params::Parameters;

const COUNT_BYTES: usize = 8;
const ENTRY_BYTES: usize = 16 + SEED_BYTES;

impl PublicKey {
    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let params = self.params();
        let mut bytes = vec![0; public_key_len(params) as usize];
        let mut writer = Writer::begin(&mut bytes, params, Kind::PublicKey, 0);
        writer.put(&self.seed);
        writer.rows(params, &self.b, 0..=params.max_level());
        writer.finish();
        bytes
    }

    /// Reads the binary form; the errors are listed in [`crate::wire`].
    pub fn from_bytes(params: &Parameters, bytes: &[u8]) -> Result<Self> {
        let (mut reader, flags) =
            Reader::open(params, Kind::PublicKey, bytes, HEADER_BYTES + SEED_BYTES)?;
        if flags != 0 {
            return Err(malformed("public key", "an unknown flag is set"));
        }
        reader.check_length(public_key_len(params))?;
        reader.check_sum()?;
        let seed = reader.array();
        let b = reader.rows(params, 0..=params.max_level())?;
        let a = Self::expand_a(params, &seed);
        Ok(Self {
            b,
            a,
            seed,
            params: params.clone(),
        })
    }
}

fn public_key_len(params: &Parameters) -> u64 {
    (HEADER_BYTES + SEED_BYTES + CHECKSUM_BYTES) as u64 + rows_len(params, 0..=params.max_level())
}

impl EvaluationKeys {
    /// Bytes of [`Self::to_bytes`].
    pub fn wire_len(&self, params: &Parameters) -> usize {
        let keys: u64 = self
            .in_wire_order()
            .map(|(_, key)| switching_key_len(params, key.level))
            .sum();
        HEADER_BYTES + COUNT_BYTES + keys as usize + CHECKSUM_BYTES
    }

    /// The binary form; halves a are stored as their seeds. Fails for other parameters.
    pub fn to_bytes(&self, params: &Parameters) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.wire_len(params)];
        self.write_bytes(params, &mut bytes)?;
        Ok(bytes)
    }

    /// [`Self::to_bytes`] into memory of [`Self::wire_len`] bytes. Panics when it has another length.
    pub fn write_bytes(&self, params: &Parameters, bytes: &mut [u8]) -> Result<()> {
        self.tag.check(params, "evaluation keys")?;
        assert_eq!(
            bytes.len(),
            self.wire_len(params),
            "memory of another length than the object"
        );
        let flags = if self.relinearization.is_some() {
            FLAG_RELINEARIZATION
        } else {
            0
        };
        let mut writer = Writer::begin(bytes, params, Kind::EvaluationKeys, flags);
        // There are at most N Galois elements.
        writer.put(&(self.galois.len() as u32).to_le_bytes());
        writer.put(&[0; 4]);
        for (element, key) in self.in_wire_order() {
            writer.put(&element.to_le_bytes());
            writer.put(&(key.level as u64).to_le_bytes());
            writer.put(&key.seed);
        }
        for (_, key) in self.in_wire_order() {
            for (b, _) in &key.digits {
                writer.rows(params, b, key_primes(params, key.level));
            }
        }
        writer.finish();
        Ok(())
    }

    /// Reads the binary form; the errors are listed in [`crate::wire`].
    pub fn from_bytes(params: &Parameters, bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "evaluation keys";
        let (mut reader, flags) = Reader::open(
            params,
            Kind::EvaluationKeys,
            bytes,
            HEADER_BYTES + COUNT_BYTES,
        )?;
        let count = u32::from_le_bytes(reader.array());
        if flags & !FLAG_RELINEARIZATION != 0 || reader.array::<4>() != [0; 4] {
            return Err(malformed(WHAT, "an unknown flag or a reserved byte is set"));
        }
        let has_relinearization = flags == FLAG_RELINEARIZATION;
        let total = u64::from(count) + u64::from(has_relinearization);
        if total > 0 && params.alpha() == 0 {
            return Err(malformed(
                WHAT,
                "the parameters have no special primes for key switching",
            ));
        }
        let fixed = (HEADER_BYTES + COUNT_BYTES + CHECKSUM_BYTES) as u64;
        if total * ENTRY_BYTES as u64 > reader.left() as u64 {
            // Too short for the table of entries alone, so for any contents of it.
            reader.check_length(fixed + total * ENTRY_BYTES as u64)?;
        }
        let entries = (0..total)
            .map(|_| {
                (
                    u64::from_le_bytes(reader.array()),
                    u64::from_le_bytes(reader.array()),
                    reader.array(),
                )
            })
            .collect::<Vec<(u64, u64, [u8; SEED_BYTES])>>();
        check_elements(
            params,
            entries.iter().map(|entry| entry.0),
            has_relinearization,
        )?;
        if entries
            .iter()
            .any(|entry| entry.1 > params.max_level() as u64)
        {
            return Err(malformed(
                WHAT,
                "the level of a key is above the top level of the parameters",
            ));
        }
        let keys = entries
            .iter()
            .map(|entry| switching_key_len(params, entry.1 as usize));
        reader.check_length(fixed + keys.sum::<u64>())?;
        reader.check_sum()?;
        let (mut relinearization, mut galois) = (None, BTreeMap::new());
        for (element, level, seed) in entries {
            let (level, stream) = (
                level as usize,
                if element == 0 {
                    Stream::Relinearization
                } else {
                    Stream::Galois
                },
            );
            let b = (0..params.dnum(level))
                .map(|_| reader.rows(params, key_primes(params, level)))
                .collect::<Result<Vec<_>>>()?;
            let digits = b
                .into_iter()
                .zip(SwitchingKey::expand_a(params, stream, level, &seed))
                .collect();
            let key = SwitchingKey {
                level,
                digits,
                seed,
                tag: ParametersTag::of(params),
            };
            if element == 0 {
                relinearization = Some(key);
            } else {
                galois.insert(element, key);
            }
        }
        Ok(Self {
            relinearization,
            galois,
            tag: ParametersTag::of(params),
        })
    }

    /// The relinearisation key under 0, then the Galois keys by ascending element.
    fn in_wire_order(&self) -> impl Iterator<Item = (u64, &SwitchingKey)> {
        let galois = self.galois.iter().map(|(&element, key)| (element, key));
        self.relinearization
            .iter()
            .map(|key| (0, key))
            .chain(galois)
    }
}

/// One 0 in front if there is a relinearisation key, then odd elements from 3 to 2N - 1, ascending.
fn check_elements(
    params: &Parameters,
    elements: impl Iterator<Item = u64>,
    relinearization: bool,
) -> Result<()> {
    const WHAT: &str = "evaluation keys";
    let mut last = 0;
    for (i, element) in elements.enumerate() {
        if i == 0 && relinearization {
            if element != 0 {
                return Err(malformed(
                    WHAT,
                    "the first key is not a relinearization key",
                ));
            }
            continue;
        }
        if element.is_multiple_of(2) || element >= 2 * params.n() as u64 {
            return Err(malformed(WHAT, "a galois element is even or not below 2n"));
        }
        if element == 1 {
            return Err(malformed(WHAT, "there is a galois key for the identity"));
        }
        if element <= last {
            return Err(malformed(
                WHAT,
                "galois elements are repeated or not ascending",
            ));
        }
        last = element;
    }
    Ok(())
}

/// q_0..q_level, then all p, as indices in the whole chain.
fn key_primes(params: &Parameters, level: usize) -> impl Iterator<Item = usize> {
    let top = params.max_level() + 1;
    (0..=level).chain(top..top + params.alpha())
}

/// Bytes of one key: its entry and its residues.
fn switching_key_len(params: &Parameters, level: usize) -> u64 {
    ENTRY_BYTES as u64 + params.dnum(level) as u64 * rows_len(params, key_primes(params, level))
}

impl SecretKey {
    /// The secret itself, unprotected: for the owner's key store only. The caller wipes the bytes.
    pub fn reveal_bytes(&self) -> Vec<u8> {
        let params = self.params();
        // The length is exact: a growing vector would leave copies behind.
        let mut bytes = vec![0; secret_key_len(params) as usize];
        let mut writer = Writer::begin(&mut bytes, params, Kind::SecretKey, 0);
        let packed = writer.reserve(params.n() / 4).iter_mut();
        for (byte, four) in packed.zip(self.reveal_coefficients().chunks_exact(4)) {
            *byte = four
                .iter()
                .rev()
                .fold(0, |byte, &c| (byte << 2) | (c as u8 & 3));
        }
        writer.finish();
        bytes
    }

    /// Reads what [`Self::reveal_bytes`] wrote; the errors are listed in [`crate::wire`].
    pub fn from_bytes(params: &Parameters, bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "secret key";
        let (mut reader, flags) = Reader::open(params, Kind::SecretKey, bytes, HEADER_BYTES)?;
        if flags != 0 {
            return Err(malformed(WHAT, "an unknown flag is set"));
        }
        reader.check_length(secret_key_len(params))?;
        reader.check_sum()?;
        let packed = reader.slice(params.n() / 4);
        // 2 is no coefficient: a high bit without its low bit.
        if packed
            .iter()
            .fold(0, |bad, byte| bad | ((byte >> 1) & !byte & 0x55))
            != 0
        {
            return Err(malformed(WHAT, "a coefficient is not -1, 0 or 1"));
        }
        let mut coefficients = Vec::with_capacity(params.n());
        for byte in packed {
            // Shifting the two bits up and down again extends the sign.
            coefficients.extend([6, 4, 2, 0].map(|up| (byte << up) as i8 >> 6));
        }
        Self::from_coefficients(params, coefficients)
    }
}

fn secret_key_len(params: &Parameters) -> u64 {
    (HEADER_BYTES + params.n() / 4 + CHECKSUM_BYTES) as u64
}
