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
    /// Tables of each path for the two directions, made when the path is first used. IFMA has one for both.
    portable: [OnceLock<Vec<Root>>; 2],
    #[cfg(target_arch = "x86_64")]
    avx2: [OnceLock<avx2::Roots>; 2],
    #[cfg(target_arch = "x86_64")]
    ifma: OnceLock<ifma::Roots>,
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

/// A base conversion, from which a transform starts: `offset + Σ weights[i]·inputs[i]`.
///
/// Inputs are anything below `2^50`, so residues of any prime; weights and `offset` are in `[0, q)`.
#[derive(Clone, Copy)]
pub struct Conversion<'a> {
    /// In natural order.
    pub inputs: &'a [&'a [u64]],
    /// One for each input.
    pub weights: &'a [u64],
    /// Of every word.
    pub offset: u64,
}

/// A factor of an inner product.
pub enum Term<'a> {
    /// Bit-reversed order, words below `2^52`.
    Ready(&'a [u64]),
    /// The transform of a conversion.
    Converted {
        /// What is transformed.
        source: Conversion<'a>,
        /// A row for the result, which is left there.
        room: &'a mut [u64],
    },
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

    /// A base conversion, natural order → bit-reversed order, lazy: below `2^52`. The same as
    /// [`crate::kernel::weighted_sum_lazy`] and [`NttTable::forward_lazy`], with one pass over the memory less.
    ///
    /// Rows of `soon` have as many words; they are what is used next, and may be fetched from far away meanwhile.
    pub fn forward_converted(
        &self,
        path: CpuPath,
        out: &mut [u64],
        source: &Conversion<'_>,
        soon: &[&[u64]],
    ) {
        self.check(out.len());
        for row in soon {
            self.check(row.len());
        }
        #[cfg(target_arch = "x86_64")]
        if path.checked() == CpuPath::Ifma && self.is_fused(source) {
            let roots = self.ifma_roots();
            // SAFETY: `checked` made sure that this CPU has the instructions.
            return unsafe { ifma::forward(out, Some(source), soon, roots, &self.modulus, false) };
        }
        let Conversion {
            inputs,
            weights,
            offset,
        } = *source;
        crate::kernel::weighted_sum_lazy(path, out, inputs, weights, offset, &self.modulus);
        self.forward_lazy(path, out);
    }

    /// `outs[o] = Σ terms[i]·keys[o][i]` in one pass, added to what they hold when `add`: the inner product of a key switch,
    /// with its factors made on the way. Keys and results are canonical, in bit-reversed order.
    pub fn inner_product2(
        &self,
        path: CpuPath,
        outs: [&mut [u64]; 2],
        terms: &mut [Term<'_>],
        keys: [&[&[u64]]; 2],
        add: bool,
    ) {
        #[cfg(target_arch = "x86_64")]
        let is_fused = |term: &Term<'_>| match term {
            Term::Ready(_) => true,
            Term::Converted { source, .. } => self.is_fused(source),
        };
        #[cfg(target_arch = "x86_64")]
        if path.checked() == CpuPath::Ifma && self.n() >= ifma::MIN_N && terms.iter().all(is_fused)
        {
            let roots = self.ifma_roots();
            // SAFETY: `checked` made sure that this CPU has the instructions.
            return unsafe { ifma::inner_product2(outs, terms, keys, add, roots, &self.modulus) };
        }
        let mut xs: Vec<&[u64]> = Vec::with_capacity(terms.len());
        for term in terms {
            xs.push(match term {
                Term::Ready(x) => x,
                Term::Converted { source, room } => {
                    self.forward_converted(path, room, source, &[]);
                    room
                }
            });
        }
        let ([out0, out1], [k0s, k1s], m) = (outs, keys, &self.modulus);
        if add {
            crate::kernel::inner_product2_add(path, out0, out1, &xs, k0s, k1s, m);
        } else {
            crate::kernel::inner_product2(path, out0, out1, &xs, k0s, k1s, m);
        }
    }

    /// Whether the IFMA path makes a conversion in the first pass of the transform.
    #[cfg(target_arch = "x86_64")]
    fn is_fused(&self, source: &Conversion<'_>) -> bool {
        let Conversion {
            inputs,
            weights,
            offset,
        } = *source;
        crate::kernel::check_weighted(self.n(), inputs, weights, offset, &self.modulus);
        self.n() >= ifma::MIN_N && inputs.len() <= ifma::max_terms(&self.modulus)
    }

    #[cfg(target_arch = "x86_64")]
    fn ifma_roots(&self) -> &ifma::Roots {
        self.ifma
            .get_or_init(|| ifma::Roots::new(self.log_n, self.psi, &self.modulus))
    }

    fn forward_to_range(&self, path: CpuPath, row: &mut [u64], canonical: bool) {
        self.check(row.len());
        match path.checked() {
            #[cfg(target_arch = "x86_64")]
            CpuPath::Ifma if row.len() >= ifma::MIN_N => {
                let roots = self.ifma_roots();
                // SAFETY: `checked` made sure that this CPU has the instructions.
                unsafe { ifma::forward(row, None, &[], roots, &self.modulus, canonical) }
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
            let roots = self.ifma_roots();
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
