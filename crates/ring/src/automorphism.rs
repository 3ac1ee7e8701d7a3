//! The automorphisms `a(X) → a(X^g)`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod ifma;

use crate::cpu::CpuPath;
use crate::error::RingError;
use crate::kernel;
use crate::modulus::{Modulus, Scalar};
use crate::primes::LOG_N_RANGE;

/// `a(X) → a(X^g)` for odd `g`, at one ring degree and for every prime.
///
/// In [`crate::Eval`] order an automorphism only moves words: output `i` is input `j` with
/// `2·brv(j)+1 = g·(2·brv(i)+1) (mod 2N)`. Write `i = 8I + r`. Then `g·(2·brv(i)+1) = g·(2·brv'(I)+1) + (N/4)·g·brv3(r)`
/// (`brv'` of `log_n - 3` bits, `brv3` of three), whose residue modulo `N/4` depends on `I` alone: **each aligned group of
/// eight comes from one aligned group of eight**, and inside the group word `r` comes from
/// `brv3(c + g·brv3(r) mod 8)` with the carry `c = floor(g·(2·brv'(I)+1) / (N/4)) mod 8`.
pub struct Automorphism {
    log_n: u32,
    galois_element: u64,
    /// For each group of the output: index of the source group times 8, plus the carry `c`.
    sources: Vec<u32>,
    /// `inside[c][r]`: position in the source group.
    inside: [[u64; 8]; 8],
    /// `inside` for vectors of half a group.
    #[cfg(target_arch = "x86_64")]
    halves: avx2::Halves,
}

/// `(a - b)·inverse + added`: the last step of a division, for [`Automorphism::apply_quotient`].
pub struct Quotient<'a> {
    /// Canonical; it may be overwritten.
    pub a: &'a mut [u64],
    /// Words below `2^52`.
    pub b: &'a [u64],
    /// The factor.
    pub inverse: &'a Scalar,
    /// Canonical.
    pub added: Option<&'a [u64]>,
}

impl Automorphism {
    /// The automorphism of `galois_element` (odd; reduced modulo `2N`) at degree `2^log_n`.
    ///
    /// # Errors
    /// [`RingError::InvalidDegree`], [`RingError::InvalidGaloisElement`].
    pub fn new(log_n: u32, galois_element: u64) -> Result<Self, RingError> {
        if !LOG_N_RANGE.contains(&log_n) {
            return Err(RingError::InvalidDegree { log_n });
        }
        if galois_element.is_multiple_of(2) {
            return Err(RingError::InvalidGaloisElement {
                element: galois_element,
            });
        }
        let two_n = 1u64 << (log_n + 1);
        let g = galois_element % two_n;
        let group_bits = log_n - 3;
        let quarter_bits = log_n - 2;
        let sources = (0..1u64 << group_bits)
            .map(|group| {
                let point = g * (2 * reverse(group, group_bits) + 1) % two_n;
                let source = reverse((point & ((1 << quarter_bits) - 1)) >> 1, group_bits);
                ((source << 3) | (point >> quarter_bits)) as u32
            })
            .collect();
        let mut inside = [[0; 8]; 8];
        for (carry, row) in (0u64..).zip(&mut inside) {
            for (r, position) in (0u64..).zip(row) {
                *position = reverse((carry + g * reverse(r, 3)) % 8, 3);
            }
        }
        Ok(Self {
            log_n,
            galois_element: g,
            sources,
            inside,
            #[cfg(target_arch = "x86_64")]
            halves: avx2::Halves::new(&inside),
        })
    }

    /// `g`, in `[1, 2N)`.
    pub fn galois_element(&self) -> u64 {
        self.galois_element
    }

    /// `log2` of the degree.
    pub fn log_n(&self) -> u32 {
        self.log_n
    }

    /// `out = a(X^g)`, both in Eval order; any words (they are only moved).
    pub fn apply_eval(&self, path: CpuPath, out: &mut [u64], a: &[u64]) {
        self.check(out.len(), a.len());
        match path.checked() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `checked` made sure that this CPU has the instructions.
            CpuPath::Ifma => unsafe { ifma::apply(out, a, &self.sources, &self.inside) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            CpuPath::Avx2 => unsafe { avx2::apply(out, a, &self.sources, &self.halves) },
            _ => self.map_portable(out, a, |_, word| word),
        }
    }

    /// `out += a(X^g)`, both in Eval order and canonical.
    pub fn apply_eval_add(&self, path: CpuPath, out: &mut [u64], a: &[u64], m: &Modulus) {
        self.check(out.len(), a.len());
        match path.checked() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `checked` made sure that this CPU has the instructions.
            CpuPath::Ifma => unsafe { ifma::apply_add(out, a, &self.sources, &self.inside, m) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            CpuPath::Avx2 => unsafe { avx2::apply_add(out, a, &self.sources, &self.halves, m) },
            _ => self.map_portable(out, a, |old, word| m.add(old, word)),
        }
    }

    /// `out = base + a(X^g)`, all in Eval order and canonical.
    pub fn apply_eval_sum(
        &self,
        path: CpuPath,
        out: &mut [u64],
        base: &[u64],
        a: &[u64],
        m: &Modulus,
    ) {
        self.check(out.len(), a.len());
        self.check(out.len(), base.len());
        match path.checked() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `checked` made sure that this CPU has the instructions.
            CpuPath::Ifma => unsafe {
                ifma::apply_sum(out, base, a, &self.sources, &self.inside, m)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            CpuPath::Avx2 => unsafe {
                avx2::apply_sum(out, base, a, &self.sources, &self.halves, m)
            },
            _ => {
                out.copy_from_slice(base);
                self.map_portable(out, a, |old, word| m.add(old, word));
            }
        }
    }

    /// `out = base + quotient(X^g)`, all in Eval order and canonical but `quotient.b`; without `base` when there is none.
    /// What `quotient.a` holds afterwards is unspecified.
    pub fn apply_quotient(
        &self,
        path: CpuPath,
        out: &mut [u64],
        base: Option<&[u64]>,
        quotient: Quotient<'_>,
        m: &Modulus,
    ) {
        let rows = [Some(&*quotient.a), Some(quotient.b), quotient.added, base];
        for row in rows.into_iter().flatten() {
            self.check(out.len(), row.len());
        }
        match path.checked() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `checked` made sure that this CPU has the instructions.
            CpuPath::Ifma => unsafe {
                ifma::apply_quotient(out, base, &quotient, &self.sources, &self.inside, m)
            },
            path => {
                let Quotient {
                    a,
                    b,
                    inverse,
                    added,
                } = quotient;
                kernel::sub_mul_scalar_assign(path, a, b, inverse, m);
                if let Some(added) = added {
                    kernel::add_assign(path, a, added, m);
                }
                match base {
                    Some(base) => self.apply_eval_sum(path, out, base, a, m),
                    None => self.apply_eval(path, out, a),
                }
            }
        }
    }

    /// `out = a(X^g)`, both in Coeff order and canonical: a signed permutation. Not vectorised.
    pub fn apply_coeff(&self, out: &mut [u64], a: &[u64], m: &Modulus) {
        self.check(out.len(), a.len());
        let n = 1u64 << self.log_n;
        for (i, &word) in (0u64..).zip(a) {
            let exponent = i * self.galois_element % (2 * n);
            // X^N = -1. Which exponents wrap is public.
            out[(exponent % n) as usize] = if exponent < n { word } else { m.neg(word) };
        }
    }

    fn map_portable(&self, out: &mut [u64], a: &[u64], combine: impl Fn(u64, u64) -> u64) {
        let (groups, _) = a.as_chunks::<8>();
        for (target, &source) in out.as_chunks_mut::<8>().0.iter_mut().zip(&self.sources) {
            let group = &groups[(source >> 3) as usize];
            let inside = &self.inside[(source & 7) as usize];
            for (word, &position) in target.iter_mut().zip(inside) {
                *word = combine(*word, group[(position & 7) as usize]);
            }
        }
    }

    fn check(&self, out: usize, a: usize) {
        assert!(
            out == 1 << self.log_n && a == out,
            "row length and ring degree differ"
        );
    }
}

/// The `bits` low bits of `i` in reverse; `bits >= 1`.
fn reverse(i: u64, bits: u32) -> u64 {
    i.reverse_bits() >> (64 - bits)
}
