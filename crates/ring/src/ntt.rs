//! The negacyclic number theoretic transform.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod portable;

use std::sync::OnceLock;

use crate::cpu::CpuPath;
use crate::error::RingError;
use crate::modulus::{Modulus, Scalar};
use crate::primes::LOG_N_RANGE;

/// Twiddle factors for one prime and one degree.
///
/// The root of unity is `ψ = x^((q-1)/2N)` for the least positive quadratic non-residue `x` of `q`; so `ψ^N = -1`.
/// Forward: word `i` of the output is `a(ψ^(2·brv(i)+1))`. Butterflies are those of Harvey, *Faster arithmetic for
/// number-theoretic transforms* (arXiv:1205.2926), on the merged negacyclic transform of Longa and Naehrig, *Speeding up
/// the number theoretic transform for faster ideal lattice-based cryptography* (ia.cr/2016/504), algorithms 1 and 2.
pub struct NttTable {
    log_n: u32,
    modulus: Modulus,
    /// `ψ`.
    psi: u64,
    /// `N^-1`.
    n_inverse: u64,
    /// Factor 1, offset 0.
    plain_inverse: InverseScale,
    /// Tables of each path for the two directions, made when the path is first used.
    portable: [OnceLock<Vec<Root>>; 2],
    #[cfg(target_arch = "x86_64")]
    avx2: [OnceLock<avx2::Roots>; 2],
    #[cfg(target_arch = "x86_64")]
    ifma: [OnceLock<ifma::Roots>; 2],
}

/// Index of the two directions.
const FORWARD: usize = 0;
const INVERSE: usize = 1;

/// What the last butterflies of an inverse transform multiply by and add; made by [`NttTable::inverse_scale`] for that
/// table alone.
#[derive(Clone, Copy, Debug)]
pub struct InverseScale {
    /// `factor / N`.
    pub(crate) low: Scalar,
    /// `factor / N` times the last twiddle factor.
    pub(crate) high: Scalar,
    /// In `[0, q)`.
    pub(crate) offset: u64,
}

/// What a transform starts from: `offset + Σ weights[i]·inputs[i]`.
#[cfg(target_arch = "x86_64")]
struct Conversion<'a> {
    inputs: &'a [&'a [u64]],
    weights: &'a [u64],
    offset: u64,
}

/// A twiddle factor and its 64-bit Shoup quotient.
#[derive(Clone, Copy)]
pub(crate) struct Root {
    pub(crate) value: u64,
    pub(crate) shoup64: u64,
}

impl NttTable {
    /// Tables for degree `2^log_n` modulo a prime `q = 1 (mod 2N)`.
    ///
    /// # Errors
    /// [`RingError::InvalidDegree`], [`RingError::NoRootOfUnity`].
    pub fn new(log_n: u32, modulus: &Modulus) -> Result<Self, RingError> {
        if !LOG_N_RANGE.contains(&log_n) {
            return Err(RingError::InvalidDegree { log_n });
        }
        let q = modulus.q();
        let order = 1u64 << (log_n + 1);
        if q % order != 1 {
            return Err(RingError::NoRootOfUnity { q, log_n });
        }
        // Euler's criterion; half of the residues are non-residues, so the search is short.
        let nonresidue = (2..q)
            .find(|&x| modulus.pow(x, (q - 1) / 2) == q - 1)
            .unwrap_or(1);
        let psi = modulus.pow(nonresidue, (q - 1) / order);
        let n_inverse = modulus.inv(1 << log_n);
        let mut table = Self {
            log_n,
            modulus: *modulus,
            psi,
            n_inverse,
            plain_inverse: InverseScale {
                low: modulus.scalar(0),
                high: modulus.scalar(0),
                offset: 0,
            },
            portable: Default::default(),
            #[cfg(target_arch = "x86_64")]
            avx2: Default::default(),
            #[cfg(target_arch = "x86_64")]
            ifma: Default::default(),
        };
        table.plain_inverse = table.inverse_scale(1, 0);
        Ok(table)
    }

    /// `log2` of the degree.
    pub fn log_n(&self) -> u32 {
        self.log_n
    }

    /// The degree.
    pub fn n(&self) -> usize {
        1 << self.log_n
    }

    /// The prime.
    pub fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// The primitive `2N`-th root of unity.
    pub fn psi(&self) -> u64 {
        self.psi
    }

    /// Natural order, `[0, 4q)` → bit-reversed order, canonical. In place.
    pub fn forward(&self, path: CpuPath, row: &mut [u64]) {
        self.forward_to_range(path, row, true);
    }

    /// Natural order, `[0, 4q)` → bit-reversed order, lazy: below `2^52`. In place.
    pub fn forward_lazy(&self, path: CpuPath, row: &mut [u64]) {
        self.forward_to_range(path, row, false);
    }

    /// The base conversion `offset + Σ weights[i]·inputs[i]`, natural order → bit-reversed order, lazy: below `2^52`.
    ///
    /// Inputs are anything below `2^50`, so residues of any prime; weights and `offset` are in `[0, q)`. The same as
    /// [`crate::kernel::weighted_sum_lazy`] and [`NttTable::forward_lazy`], with one pass over the memory less.
    pub fn forward_converted(
        &self,
        path: CpuPath,
        out: &mut [u64],
        inputs: &[&[u64]],
        weights: &[u64],
        offset: u64,
    ) {
        self.check(out.len());
        #[cfg(target_arch = "x86_64")]
        if path.checked() == CpuPath::Ifma
            && out.len() >= ifma::MIN_N
            && inputs.len() <= ifma::max_terms(&self.modulus)
        {
            crate::kernel::check_weighted(out.len(), inputs, weights, offset, &self.modulus);
            let roots = self.ifma[FORWARD]
                .get_or_init(|| ifma::Roots::new(self.log_n, self.psi, &self.modulus));
            let source = Conversion {
                inputs,
                weights,
                offset,
            };
            // SAFETY: `checked` made sure that this CPU has the instructions.
            return unsafe { ifma::forward(out, Some(&source), roots, &self.modulus, false) };
        }
        crate::kernel::weighted_sum_lazy(path, out, inputs, weights, offset, &self.modulus);
        self.forward_lazy(path, out);
    }

    fn forward_to_range(&self, path: CpuPath, row: &mut [u64], canonical: bool) {
        self.check(row.len());
        match path.checked() {
            #[cfg(target_arch = "x86_64")]
            CpuPath::Ifma if row.len() >= ifma::MIN_N => {
                let roots = self.ifma[FORWARD]
                    .get_or_init(|| ifma::Roots::new(self.log_n, self.psi, &self.modulus));
                // SAFETY: `checked` made sure that this CPU has the instructions.
                unsafe { ifma::forward(row, None, roots, &self.modulus, canonical) }
            }
            #[cfg(target_arch = "x86_64")]
            CpuPath::Avx2 if row.len() >= avx2::MIN_N => {
                let roots = self.avx2[FORWARD]
                    .get_or_init(|| avx2::Roots::new(self.log_n, self.psi, &self.modulus));
                // SAFETY: `checked` made sure that this CPU has the instructions.
                unsafe { avx2::forward(row, roots, &self.modulus) }
            }
            _ => portable::forward(row, self.portable_roots(FORWARD), &self.modulus, canonical),
        }
    }

    /// Natural order, any words below `2^52` → bit-reversed order, canonical. Out of place; the residues are taken on the
    /// way, so a row of another prime can be brought to this one.
    pub fn forward_reduce(&self, path: CpuPath, out: &mut [u64], a: &[u64]) {
        crate::kernel::reduce(path, out, a, &self.modulus);
        self.forward(path, out);
    }

    /// Bit-reversed order, `[0, 2q)` → natural order, canonical, divided by `N`. In place.
    pub fn inverse(&self, path: CpuPath, row: &mut [u64]) {
        self.inverse_scaled(path, row, &self.plain_inverse);
    }

    /// Prepares an inverse whose result is multiplied by `factor` and then increased by `offset` (any words).
    pub fn inverse_scale(&self, factor: u64, offset: u64) -> InverseScale {
        let m = &self.modulus;
        let low = m.scalar(m.mul(m.reduce(factor), self.n_inverse));
        // The twiddle factor of the root of the tree: ψ^-brv(1) = ψ^(-N/2).
        let top = m.pow(m.inv(self.psi), 1 << (self.log_n - 1));
        let high = m.scalar(m.mul(low.value, top));
        InverseScale {
            low,
            high,
            offset: m.reduce(offset),
        }
    }

    /// Bit-reversed order, `[0, 2q)` → natural order, canonical; the inverse transform times the factor of `scale`, plus
    /// its offset at every coefficient. In place, at the price of [`NttTable::inverse`].
    pub fn inverse_scaled(&self, path: CpuPath, row: &mut [u64], scale: &InverseScale) {
        self.check(row.len());
        self.inverse_from(path, row, None, scale);
    }

    /// [`NttTable::inverse_scaled`] out of place.
    pub fn inverse_scaled_to(
        &self,
        path: CpuPath,
        out: &mut [u64],
        input: &[u64],
        scale: &InverseScale,
    ) {
        self.check(input.len());
        self.check(out.len());
        self.inverse_from(path, out, Some(input), scale);
    }

    /// Transforms `input` into `row`, or `row` itself.
    fn inverse_from(
        &self,
        path: CpuPath,
        row: &mut [u64],
        input: Option<&[u64]>,
        scale: &InverseScale,
    ) {
        let path = path.checked();
        #[cfg(target_arch = "x86_64")]
        if path == CpuPath::Ifma && row.len() >= ifma::MIN_N {
            let base = || self.modulus.inv(self.psi);
            let roots = self.ifma[INVERSE]
                .get_or_init(|| ifma::Roots::new(self.log_n, base(), &self.modulus));
            // SAFETY: `checked` made sure that this CPU has the instructions.
            return unsafe { ifma::inverse(row, input, roots, scale, &self.modulus) };
        }
        if let Some(input) = input {
            row.copy_from_slice(input);
        }
        match path {
            #[cfg(target_arch = "x86_64")]
            CpuPath::Avx2 if row.len() >= avx2::MIN_N => {
                let base = || self.modulus.inv(self.psi);
                let roots = self.avx2[INVERSE]
                    .get_or_init(|| avx2::Roots::new(self.log_n, base(), &self.modulus));
                // SAFETY: `checked` made sure that this CPU has the instructions.
                unsafe { avx2::inverse(row, roots, scale, &self.modulus) }
            }
            _ => portable::inverse(row, self.portable_roots(INVERSE), scale, &self.modulus),
        }
    }

    fn portable_roots(&self, direction: usize) -> &[Root] {
        self.portable[direction].get_or_init(|| {
            let base = if direction == FORWARD {
                self.psi
            } else {
                self.modulus.inv(self.psi)
            };
            let powers = bit_reversed_powers(self.log_n, base, &self.modulus);
            powers
                .into_iter()
                .map(|value| Root {
                    value,
                    shoup64: self.modulus.shoup64(value),
                })
                .collect()
        })
    }

    fn check(&self, len: usize) {
        assert_eq!(len, self.n(), "row length and ring degree differ");
    }
}

/// `base^brv(i)` for `i < 2^log_n`.
fn bit_reversed_powers(log_n: u32, base: u64, modulus: &Modulus) -> Vec<u64> {
    let mut powers = vec![1; 1 << log_n];
    let mut power = 1;
    for i in 0..powers.len() {
        powers[i.reverse_bits() >> (usize::BITS - log_n)] = power;
        power = modulus.mul(power, base);
    }
    powers
}
