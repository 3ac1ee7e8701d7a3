//! Parameters: a plain literal, checked once, then immutable tables.
//!
//! # Security model
//!
//! RLWE over `Z_Q[X]/(X^N+1)` with a uniform ternary secret and a discrete Gaussian error of σ = 3.2. The largest modulus
//! that is ever published is `QP` (the switching keys), so `log2(QP)` is held against the table for 128-bit **classical**
//! security of J.-P. Bossuat et al., "Security Guidelines for Implementing Homomorphic Encryption", ia.cr/2024/463, table
//! 5.2 (uniform ternary secret, σ = 3.19, lattice-estimator with the MATZOV cost model). Ring degrees below 2^12 are in
//! that table (26 bits at 2^10, 53 at 2^11) but too small for CKKS and are not offered; sparse secrets are not either.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Arc, OnceLock, RwLock};

use tacit_ring::{Automorphism, CpuPath, Modulus, NttTable, ntt_primes};

use crate::encoding::Embedding;
use crate::error::{CkksError, Result};
use crate::keyswitch::KeySwitchTables;

/// `(log_n, largest log2(QP))` for 128-bit classical security; source in the module documentation.
pub const SECURITY_TABLE: [(u32, u32); 5] =
    [(12, 106), (13, 214), (14, 430), (15, 868), (16, 1747)];

/// Standard deviation of the error of every encryption and key.
pub const ERROR_STD: f64 = 3.2;

/// Sizes of the primes in bits: below 2^50 for 52-bit multiplication with lazy reduction, above 2^19 for enough of them.
const PRIME_BITS: std::ops::RangeInclusive<u32> = 20..=50;

/// No literal of the table needs more primes: 1747 bits in primes of 20 bits are 87.
const MAX_PRIMES: usize = 96;

/// What a user writes down: sizes only. [`Parameters::from_literal`] makes the primes and refuses what is insecure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParametersLiteral {
    /// log2 of the ring degree N; 12 to 16.
    pub log_n: u32,
    /// Bits of the primes q_0, …, q_L (20 to 50 each); q_L is dropped first, q_0 last. At least one.
    pub log_q: Vec<u32>,
    /// Bits of the special primes p_0, … of key switching; empty when no evaluation key is needed.
    pub log_p: Vec<u32>,
    /// log2 of the default scale; 1 to 60 and below the bits of all q together.
    pub log_scale: u32,
}

/// Checked, immutable parameters with all tables; clones share them.
#[derive(Clone)]
pub struct Parameters(Arc<Inner>);

struct Inner {
    log_n: u32,
    log_scale: u32,
    q: Vec<Modulus>,
    p: Vec<Modulus>,
    ntt_q: Vec<NttTable>,
    ntt_p: Vec<NttTable>,
    log_qp: f64,
    hash: [u8; 32],
    path: CpuPath,
    insecure: bool,
    embedding: Embedding,
    automorphisms: RwLock<BTreeMap<u64, Arc<Automorphism>>>,
    keyswitch_tables: OnceLock<KeySwitchTables>,
}

impl Parameters {
    /// Parameters of 128-bit security, or an error: [`CkksError::InsecureParameters`] when QP is too large for the ring degree,
    /// [`CkksError::InvalidParameters`] when a size is out of range.
    pub fn from_literal(literal: &ParametersLiteral, path: CpuPath) -> Result<Self> {
        let Some(limit) = max_log_qp(literal.log_n) else {
            return Err(invalid("log_n", "between 12 and 16", literal.log_n));
        };
        Self::build(literal, path, Some(limit))
    }

    /// The same without the security table and from N = 2^4 up: for tests. Marked by [`Self::is_insecure`], and the mark is part
    /// of the hash, so secure parameters refuse keys and ciphertexts made with these.
    pub fn insecure_from_literal(literal: &ParametersLiteral, path: CpuPath) -> Result<Self> {
        if !(4..=16).contains(&literal.log_n) {
            return Err(invalid("log_n", "between 4 and 16", literal.log_n));
        }
        Self::build(literal, path, None)
    }

    fn build(literal: &ParametersLiteral, path: CpuPath, limit: Option<u32>) -> Result<Self> {
        let ParametersLiteral {
            log_n,
            ref log_q,
            ref log_p,
            log_scale,
        } = *literal;
        if log_q.is_empty() {
            return Err(invalid(
                "log_q",
                "a list of at least one size",
                "an empty list",
            ));
        }
        if log_q.len() + log_p.len() > MAX_PRIMES {
            return Err(invalid(
                "log_q",
                "at most 96 sizes together with log_p",
                log_q.len() + log_p.len(),
            ));
        }
        for (parameter, sizes) in [("log_q", log_q), ("log_p", log_p)] {
            if let Some(bits) = sizes.iter().find(|bits| !PRIME_BITS.contains(bits)) {
                return Err(invalid(
                    parameter,
                    "made of sizes between 20 and 50 bits",
                    bits,
                ));
            }
        }
        if !(1..=60).contains(&log_scale) || log_scale >= log_q.iter().sum() {
            return Err(invalid(
                "log_scale",
                "between 1 and 60 and below the bits of all q together",
                log_scale,
            ));
        }
        if !path.is_available() {
            return Err(invalid("cpu", "a path that this CPU has", path));
        }
        // Before any table is made: the sizes bound log2(QP) from above, the primes give it exactly.
        let primes = distinct_primes(log_n, log_q.iter().chain(log_p))?;
        let log_qp = primes.iter().map(|&prime| (prime as f64).log2()).sum();
        if let Some(max_log_qp) = limit
            && log_qp > f64::from(max_log_qp)
        {
            return Err(CkksError::InsecureParameters {
                log_n,
                log_qp,
                max_log_qp,
            });
        }
        let insecure = limit.is_none();
        let hash = canonical_hash(log_n, log_scale, insecure, &primes, log_q.len());
        let moduli = primes
            .iter()
            .map(|&prime| Modulus::new(prime))
            .collect::<core::result::Result<Vec<_>, _>>()?;
        let tables = moduli
            .iter()
            .map(|m| NttTable::new(log_n, m))
            .collect::<core::result::Result<Vec<_>, _>>()?;
        let (mut q, mut ntt_q) = (moduli, tables);
        let (p, ntt_p) = (q.split_off(log_q.len()), ntt_q.split_off(log_q.len()));
        Ok(Self(Arc::new(Inner {
            log_n,
            log_scale,
            q,
            p,
            ntt_q,
            ntt_p,
            log_qp,
            hash,
            path,
            insecure,
            embedding: Embedding::new(log_n),
            automorphisms: RwLock::new(BTreeMap::new()),
            keyswitch_tables: OnceLock::new(),
        })))
    }

    /// log2 of the ring degree.
    pub fn log_n(&self) -> u32 {
        self.0.log_n
    }

    /// The ring degree N.
    pub fn n(&self) -> usize {
        1 << self.0.log_n
    }

    /// Number of packed values, N/2.
    pub fn slots(&self) -> usize {
        self.n() / 2
    }

    /// The level L of a fresh ciphertext: q_0..q_L are present.
    pub fn max_level(&self) -> usize {
        self.0.q.len() - 1
    }

    /// The moduli chain q_0..q_L.
    pub fn q(&self) -> &[Modulus] {
        &self.0.q
    }

    /// The special moduli p_0..p_{K-1}.
    pub fn p(&self) -> &[Modulus] {
        &self.0.p
    }

    /// Primes per key-switching digit: as many as there are special primes.
    pub fn alpha(&self) -> usize {
        self.0.p.len()
    }

    /// Digits of a ciphertext of `level` in key switching; 0 without special primes.
    pub fn dnum(&self, level: usize) -> usize {
        if self.0.p.is_empty() {
            0
        } else {
            (level + 1).div_ceil(self.alpha())
        }
    }

    /// log2 of the product of all primes.
    pub fn log_qp(&self) -> f64 {
        self.0.log_qp
    }

    /// log2 of q_0·…·q_level.
    pub fn log_q(&self, level: usize) -> f64 {
        self.0.q[..=level]
            .iter()
            .map(|m| (m.q() as f64).log2())
            .sum()
    }

    /// log2 of the default scale.
    pub fn log_scale(&self) -> u32 {
        self.0.log_scale
    }

    /// The default scale.
    pub fn scale(&self) -> f64 {
        (1u64 << self.0.log_scale) as f64
    }

    /// BLAKE3 of the canonical byte form: the 24 ASCII bytes `tacit.ckks.parameters.v1`, one byte 1 if insecure else 0, then as
    /// bytes log_n, log_scale, number of q, number of p, then every prime (q before p) as 8 bytes, little-endian. The CPU path
    /// is not part of it.
    pub fn hash(&self) -> &[u8; 32] {
        &self.0.hash
    }

    /// The instructions in use. They change the speed, never the result.
    pub fn path(&self) -> CpuPath {
        self.0.path
    }

    /// Whether these came from [`Self::insecure_from_literal`].
    pub fn is_insecure(&self) -> bool {
        self.0.insecure
    }

    /// Transform modulo q_i.
    pub fn ntt_q(&self, i: usize) -> &NttTable {
        &self.0.ntt_q[i]
    }

    /// Transform modulo p_j.
    pub fn ntt_p(&self, j: usize) -> &NttTable {
        &self.0.ntt_p[j]
    }

    /// The exponent g of the map X → X^g that moves slot i + rotation to slot i: 5^rotation mod 2N. Any sign; taken modulo N/2.
    pub fn galois_element(&self, rotation: i64) -> u64 {
        let (order, mask) = (self.slots() as i64, 2 * self.n() as u64 - 1);
        let (mut exponent, mut base, mut g) = (rotation.rem_euclid(order), 5u64, 1u64);
        while exponent > 0 {
            if exponent & 1 == 1 {
                g = (g * base) & mask;
            }
            base = (base * base) & mask;
            exponent >>= 1;
        }
        g
    }

    /// The exponent of complex conjugation, 2N - 1.
    pub fn conjugation_element(&self) -> u64 {
        2 * self.n() as u64 - 1
    }

    /// The permutation of X → X^g, made at first use and kept. Fails when g is even or not below 2N.
    pub fn automorphism(&self, g: u64) -> Result<Arc<Automorphism>> {
        if g.is_multiple_of(2) || g >= 2 * self.n() as u64 {
            return Err(CkksError::InvalidGaloisElement { galois_element: g });
        }
        // A poisoned lock means that building a permutation panicked; the map itself is always whole.
        if let Some(found) = self
            .0
            .automorphisms
            .read()
            .unwrap_or_else(|e| e.into_inner())
            .get(&g)
        {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(Automorphism::new(self.0.log_n, g)?);
        let mut known = self
            .0
            .automorphisms
            .write()
            .unwrap_or_else(|e| e.into_inner());
        Ok(Arc::clone(known.entry(g).or_insert(made)))
    }

    /// Prime `i` of the whole chain q_0..q_L, p_0..p_{K-1}.
    pub(crate) fn modulus(&self, i: usize) -> &Modulus {
        self.0
            .q
            .get(i)
            .unwrap_or_else(|| &self.0.p[i - self.0.q.len()])
    }

    /// Transform modulo prime `i` of the whole chain.
    pub(crate) fn ntt(&self, i: usize) -> &NttTable {
        self.0
            .ntt_q
            .get(i)
            .unwrap_or_else(|| &self.0.ntt_p[i - self.0.q.len()])
    }

    /// The constants of key switching and rescaling, made at first use.
    pub(crate) fn keyswitch_tables(&self) -> &KeySwitchTables {
        self.0
            .keyswitch_tables
            .get_or_init(|| KeySwitchTables::new(self))
    }

    pub(crate) fn embedding(&self) -> &Embedding {
        &self.0.embedding
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(if self.is_insecure() {
            "InsecureParameters"
        } else {
            "Parameters"
        })
        .field("log_n", &self.0.log_n)
        .field("q", &self.0.q.len())
        .field("p", &self.0.p.len())
        .field("log_qp", &self.0.log_qp)
        .field("path", &self.0.path)
        .finish_non_exhaustive()
    }
}

/// The limit of the security table; `None` for a ring degree that is not offered.
pub fn max_log_qp(log_n: u32) -> Option<u32> {
    SECURITY_TABLE
        .iter()
        .find(|row| row.0 == log_n)
        .map(|row| row.1)
}

/// One prime per size, in the order of the sizes: the largest prime ≡ 1 mod 2N of that size that no earlier entry took.
fn distinct_primes<'a>(log_n: u32, sizes: impl Iterator<Item = &'a u32>) -> Result<Vec<u64>> {
    let sizes: Vec<u32> = sizes.copied().collect();
    let mut unused = BTreeMap::new();
    for &bits in &sizes {
        if let Entry::Vacant(entry) = unused.entry(bits) {
            let count = sizes.iter().filter(|&&other| other == bits).count();
            entry.insert(ntt_primes(log_n, bits, count, &[])?.into_iter());
        }
    }
    // Each list holds as many primes as there are entries of its size, so no entry is left without one.
    Ok(sizes
        .iter()
        .filter_map(|bits| unused.get_mut(bits)?.next())
        .collect())
}

fn canonical_hash(
    log_n: u32,
    log_scale: u32,
    insecure: bool,
    primes: &[u64],
    n_q: usize,
) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"tacit.ckks.parameters.v1");
    // All four are at most 96 by the checks of the constructor.
    hasher.update(&[
        u8::from(insecure),
        log_n as u8,
        log_scale as u8,
        n_q as u8,
        (primes.len() - n_q) as u8,
    ]);
    for prime in primes {
        hasher.update(&prime.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

fn invalid(
    parameter: &'static str,
    requirement: &'static str,
    got: impl fmt::Display,
) -> CkksError {
    CkksError::InvalidParameters {
        parameter,
        requirement,
        got: got.to_string(),
    }
}
