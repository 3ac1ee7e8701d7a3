//! Integer coefficients ↔ residues.

use tacit_ring::{Coeff, CpuPath, Modulus, Poly, kernel};

use crate::params::Parameters;

/// Added before a reduction so that words are not negative, and subtracted modulo q by the same kernel.
const OFFSET: u64 = 1 << 51;
/// The low 52 bits: the mantissa of a double.
const MANTISSA: u64 = (1 << 52) - 1;
/// For `|x| <= 2^51` the sum `x + 1.5·2^52` has ulp 1, so it is rounded to an integer (ties to even) whose low 52 bits are
/// `2^51 + round(x)`.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
const TWO_52: f64 = 4_503_599_627_370_496.0;

/// Rounded coefficients in natural order, shifted to unsigned words of 52 bits.
pub(super) enum Rounded {
    /// `OFFSET + c` for `|c| < 2^51`.
    Narrow(Vec<u64>),
    /// `c = (high - OFFSET)·2^52 + low` for `|c| < 2^103`.
    Wide { high: Vec<u64>, low: Vec<u64> },
}

impl Rounded {
    /// Rounds both halves of the coefficients, given in bit-reversed order; all magnitudes are at most `bound < 2^103`.
    pub(super) fn from_bit_reversed(re: &[f64], im: &[f64], bound: f64) -> Self {
        let shift = usize::BITS - re.len().trailing_zeros();
        let natural = || {
            [re, im]
                .into_iter()
                .flat_map(|half| (0..half.len()).map(|i| half[i.reverse_bits() >> shift]))
        };
        if bound < (OFFSET - 1) as f64 {
            Self::Narrow(
                natural()
                    .map(|x| (x + ROUNDER).to_bits() & MANTISSA)
                    .collect(),
            )
        } else {
            let (mut high, mut low) = (
                Vec::with_capacity(2 * re.len()),
                Vec::with_capacity(2 * re.len()),
            );
            for x in natural().map(f64::round_ties_even) {
                // Exact: a quotient by a power of two, its floor, and a difference that fits into 52 bits.
                let quotient = (x / TWO_52).floor();
                high.push((quotient + ROUNDER).to_bits() & MANTISSA);
                low.push((x - quotient * TWO_52 + TWO_52).to_bits() & MANTISSA);
            }
            Self::Wide { high, low }
        }
    }

    /// Writes the canonical residues modulo `m`.
    pub(super) fn reduce_into(&self, path: CpuPath, row: &mut [u64], m: &Modulus) {
        match self {
            Self::Narrow(words) => kernel::reduce_sub(path, row, words, OFFSET, m),
            Self::Wide { high, low } => {
                kernel::reduce_sub(path, row, high, OFFSET, m);
                kernel::mul_scalar_assign(path, row, &m.scalar(1 << 52), m);
                let mut reduced = vec![0; low.len()];
                kernel::reduce(path, &mut reduced, low, m);
                kernel::add_assign(path, row, &reduced, m);
            }
        }
    }
}

/// The centred representatives modulo `q_0·…·q_level` divided by `scale`, each within three units in the last place; infinite
/// where that leaves the range of `f64`. Rows of `poly` are canonical.
///
/// Mixed-radix digits (Garner; Knuth, TAOCP vol. 2, section 4.3.2, equations 24 and 25): `v = d_0 + d_1·q_0 + d_2·q_0·q_1 + …`.
/// Decrypted plaintexts are far smaller than the modulus, so digits are taken from the first few rows only, and the other rows
/// prove them: a centred value of the first k rows that is congruent to every remaining row is the centred value of all.
/// If one coefficient fails, all rows are used.
pub(super) fn centred(params: &Parameters, poly: &Poly<Coeff>, scale: f64) -> Vec<f64> {
    let rows = poly.rows();
    // 24 bits above the scale: values up to 2^23 in the first attempt.
    let enough = (1..rows)
        .find(|&k| params.log_q(k - 1) >= scale.log2() + 24.0)
        .unwrap_or(rows);
    let short = Digits::of(params, poly, enough);
    let digits = if short.agree(params, poly) {
        short
    } else {
        Digits::of(params, poly, rows)
    };
    digits.to_f64(params, scale)
}

/// Mixed-radix digits of the first rows, least significant first, and the signs.
struct Digits {
    digits: Vec<Vec<u64>>,
    /// 1 where the centred value is negative.
    negative: Vec<u64>,
}

impl Digits {
    fn of(params: &Parameters, poly: &Poly<Coeff>, rows: usize) -> Self {
        let (path, n) = (params.path(), poly.n());
        let mut digits: Vec<Vec<u64>> = Vec::with_capacity(rows);
        digits.push(poly.row(0).to_vec());
        let mut lower = vec![0; n];
        for i in 1..rows {
            // d_i = (r_i - Σ_{j<i} d_j·Q_j) / Q_i mod q_i with Q_j = q_0·…·q_{j-1}.
            let m = &params.q()[i];
            let weights = radices(params, i, m);
            let inputs: Vec<&[u64]> = digits.iter().map(Vec::as_slice).collect();
            kernel::weighted_sum(path, &mut lower, &inputs, &weights[..i], 0, m);
            let mut digit = vec![0; n];
            kernel::sub_mul_scalar(
                path,
                &mut digit,
                poly.row(i),
                &lower,
                &m.scalar(m.inv(weights[i])),
                m,
            );
            digits.push(digit);
        }
        // (Q-1)/2 has the digits (q_i - 1)/2, since Q is odd: compare from the top.
        let mut negative = vec![0; n];
        for (digit, m) in digits.iter().zip(params.q()) {
            let half = m.q() / 2;
            for (sign, &d) in negative.iter_mut().zip(digit) {
                *sign = u64::from(d > half) | (u64::from(d == half) & *sign);
            }
        }
        Self { digits, negative }
    }

    /// Whether the centred values are congruent to the rows that were not used.
    fn agree(&self, params: &Parameters, poly: &Poly<Coeff>) -> bool {
        let known = self.digits.len();
        let mut inputs: Vec<&[u64]> = self.digits.iter().map(Vec::as_slice).collect();
        inputs.push(&self.negative);
        let mut expected = vec![0; poly.n()];
        (known..poly.rows()).all(|i| {
            let m = &params.q()[i];
            let mut weights = radices(params, known, m);
            weights[known] = m.neg(weights[known]);
            kernel::weighted_sum(params.path(), &mut expected, &inputs, &weights, 0, m);
            expected
                .iter()
                .zip(poly.row(i))
                .fold(0, |acc, (a, b)| acc | (a ^ b))
                == 0
        })
    }

    /// Sums from the top digit. A negative value `v - Q` is summed as `-(Q - v) = -(Q - 1 - v) - 1` whose first part has the
    /// digits `q_i - 1 - d_i`: no cancellation in either case.
    fn to_f64(&self, params: &Parameters, scale: f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.negative.len()];
        for (digit, m) in self.digits.iter().zip(params.q()).rev() {
            let (q, top) = (m.q() as f64, m.q() - 1);
            for ((sum, &d), &sign) in sums.iter_mut().zip(digit).zip(&self.negative) {
                let mask = sign.wrapping_neg();
                let d = (d & !mask) | ((top - d) & mask);
                *sum = *sum * q + (f64::from_bits(d | TWO_52.to_bits()) - TWO_52);
            }
        }
        for (sum, &sign) in sums.iter_mut().zip(&self.negative) {
            // 1 - 2·sign is 1 or -1.
            let sign = sign as i64 as f64;
            *sum = (*sum + sign) * (1.0 - 2.0 * sign) / scale;
        }
        sums
    }
}

/// `1, q_0, q_0·q_1, …, q_0·…·q_{count-1}` modulo `m`: `count + 1` values.
fn radices(params: &Parameters, count: usize, m: &Modulus) -> Vec<u64> {
    let mut values = vec![1];
    for (i, q) in params.q()[..count].iter().enumerate() {
        values.push(m.mul(values[i], m.reduce(q.q())));
    }
    values
}
