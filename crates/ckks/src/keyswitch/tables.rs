//! Constants of base conversion: everything that depends on the primes only.
use super::Context;
use crate::chain;
use crate::params::Parameters;
use tacit_ring::{Conversion, InverseScale, Modulus, Scalar};

/// Conversion of an integer modulo M = m_1·…·m_K, given by its residues, to other primes.
///
/// Centred: with H = ⌊K·M/2⌋ and y_i = [(x+H)·(M/m_i)^-1] mod m_i,
/// conv(x) = Σ y_i·(M/m_i) − H ≡ x (mod M) and |conv(x)| ≤ K·M/2.
/// The fast conversion of Halevi, Polyakov, Shoup (ia.cr/2018/117, section 2.2) without its floating-point
/// correction: the sum is left in [0, K·M), and H moves its mean to 0, so that the multiple of M that remains has
/// standard deviation √(K/12) and no bias. With K = 1 it is the exact centred lift.
pub(crate) struct BaseConversion {
    pub(crate) sources: Vec<Source>,
    /// For every prime of the chain (meaningless at the sources).
    targets: Vec<Target>,
}

/// One m_i.
pub(crate) struct Source {
    /// Index in the chain.
    pub(crate) index: usize,
    /// x → y_i = x·(M/m_i)^-1 + H·(M/m_i)^-1 mod m_i, done by the last layer of the inverse transform.
    pub(crate) scale: InverseScale,
}

impl Source {
    /// Brings a row modulo this prime from NTT order to scaled coefficients.
    pub(crate) fn scale_row(&self, cx: Context<'_>, row: &mut [u64]) {
        cx.params
            .ntt(self.index)
            .inverse_scaled(cx.path(), row, &self.scale);
    }
}

/// One prime t to convert to.
pub(crate) struct Target {
    /// M/m_i mod t.
    pub(crate) weights: Vec<u64>,
    /// −H mod t.
    pub(crate) offset: u64,
    /// M^-1 mod t.
    pub(crate) inverse: Scalar,
}

impl BaseConversion {
    /// From the primes with these indices to all others.
    pub(crate) fn new(params: &Parameters, sources: &[usize]) -> Self {
        let primes: Vec<u64> = sources.iter().map(|&i| params.modulus(i).q()).collect();
        let from = |(i, &index): (usize, &usize)| {
            let m = params.modulus(index);
            let scale = m.inv(product_without(&primes, i, m));
            let offset = m.mul(half_shift(&primes, m), scale);
            Source {
                index,
                scale: params.ntt(index).inverse_scale(scale, offset),
            }
        };
        let to = |index: usize| {
            let t = params.modulus(index);
            Target {
                weights: (0..primes.len())
                    .map(|i| product_without(&primes, i, t))
                    .collect(),
                offset: t.neg(half_shift(&primes, t)),
                inverse: t.scalar(t.inv(product_without(&primes, usize::MAX, t))),
            }
        };
        Self {
            sources: sources.iter().enumerate().map(from).collect(),
            targets: (0..chain::len(params)).map(to).collect(),
        }
    }

    /// The conversion of `rows`, the scaled ones of the sources, to the prime with this index.
    pub(crate) fn source<'a>(&'a self, index: usize, rows: &'a [&'a [u64]]) -> Conversion<'a> {
        let target = self.target(index);
        Conversion {
            inputs: rows,
            weights: &target.weights,
            offset: target.offset,
        }
    }

    /// The constants for the prime with this index.
    pub(crate) fn target(&self, index: usize) -> &Target {
        &self.targets[index]
    }
}

/// Π m_k over k ≠ `skipped`, modulo t.
fn product_without(primes: &[u64], skipped: usize, t: &Modulus) -> u64 {
    let kept = primes.iter().enumerate().filter(|(k, _)| *k != skipped);
    kept.fold(1, |product, (_, &m)| t.mul(product, t.reduce(m)))
}

/// H = ⌊K·M/2⌋ modulo t (M is odd).
fn half_shift(primes: &[u64], t: &Modulus) -> u64 {
    let count = primes.len() as u64;
    let product = product_without(primes, usize::MAX, t);
    if count.is_multiple_of(2) {
        t.mul(t.reduce(count / 2), product)
    } else {
        let doubled = t.sub(t.mul(t.reduce(count), product), 1);
        t.mul(doubled, t.inv(2))
    }
}

/// All conversions of one parameter set.
pub(crate) struct KeySwitchTables {
    /// `[j][c-1]`: digit j with its first c primes.
    digits: Vec<Vec<BaseConversion>>,
    /// From P.
    mod_down: BaseConversion,
    /// `[l-1]`: from q_l.
    rescale: Vec<BaseConversion>,
    /// `[l-1]`: from q_l·P.
    mod_down_rescale: Vec<BaseConversion>,
    /// P modulo q_i.
    special_product: Vec<Scalar>,
}

impl KeySwitchTables {
    pub(crate) fn new(params: &Parameters) -> Self {
        let (alpha, top) = (params.alpha(), params.max_level());
        let special: Vec<usize> = chain::special(params).collect();
        let digit = |j: usize| {
            let first = j * alpha;
            let most = alpha.min(top + 1 - first);
            let primes: Vec<usize> = (first..first + most).collect();
            (1..=most)
                .map(|count| BaseConversion::new(params, &primes[..count]))
                .collect()
        };
        let with_special =
            |l: usize| BaseConversion::new(params, &[&[l], special.as_slice()].concat());
        let special_primes: Vec<u64> = params.p().iter().map(Modulus::q).collect();
        let product = |q: &Modulus| q.scalar(product_without(&special_primes, usize::MAX, q));
        Self {
            digits: (0..params.dnum(top)).map(digit).collect(),
            mod_down: BaseConversion::new(params, &special),
            rescale: (1..=top)
                .map(|l| BaseConversion::new(params, &[l]))
                .collect(),
            mod_down_rescale: (1..=top).map(with_special).collect(),
            special_product: params.q().iter().map(product).collect(),
        }
    }

    /// From the primes of digit `j` that are present at `level`.
    pub(crate) fn digit(&self, params: &Parameters, j: usize, level: usize) -> &BaseConversion {
        let count = params.alpha().min(level + 1 - j * params.alpha());
        &self.digits[j][count - 1]
    }

    /// From P.
    pub(crate) fn mod_down(&self) -> &BaseConversion {
        &self.mod_down
    }

    /// From q_level; `level` ≥ 1.
    pub(crate) fn rescale(&self, level: usize) -> &BaseConversion {
        &self.rescale[level - 1]
    }

    /// From q_level·P; `level` ≥ 1.
    pub(crate) fn mod_down_rescale(&self, level: usize) -> &BaseConversion {
        &self.mod_down_rescale[level - 1]
    }

    /// P modulo q_i.
    pub(crate) fn special_product(&self, i: usize) -> &Scalar {
        &self.special_product[i]
    }
}
