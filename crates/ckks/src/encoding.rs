//! Cleartext ↔ plaintext.
//!
//! `encode` inverts the canonical embedding, multiplies by the scale, rounds each coefficient to the nearest integer (ties to
//! even) and reduces it modulo every prime; `decode` undoes this (Cheon, Kim, Kim, Song, ia.cr/2016/421, section 3.2). Both
//! give the same bits on every CPU path and machine. The error of `decode(encode(z))` is the rounding, at most about
//! `√N / scale` per slot, plus about `2^-49` of the largest value.
//!
//! Cleartexts may be secret: no branch or index depends on a value, but which of two reductions runs (coefficients up to
//! `2^51`, or up to `2^103`) and whether an error is returned depend on the largest one.

mod embedding;
mod residue;
mod roots;

pub(crate) use embedding::Embedding;

use tacit_ring::{Coeff, Eval, Poly};

use crate::cipher::{ParametersTag, Plaintext, check_scale};
use crate::error::{CkksError, Result};
use crate::params::Parameters;
use residue::Rounded;

/// Encodes complex values as `(re, im)`, at most N/2 of them; the remaining slots are 0.
///
/// Fails when there are too many values, one is not finite, the level is above the top level, the scale is not a positive
/// number, or a coefficient does not fit into `q_0·…·q_level`.
pub fn encode(
    params: &Parameters,
    values: &[(f64, f64)],
    level: usize,
    scale: f64,
) -> Result<Plaintext> {
    let slots = Slots::from_values(params, values.iter().copied())?;
    slots.encode(params, "encode", level, scale)
}

/// Encodes real values; else as [`encode`].
pub fn encode_real(
    params: &Parameters,
    values: &[f64],
    level: usize,
    scale: f64,
) -> Result<Plaintext> {
    let slots = Slots::from_values(params, values.iter().map(|&value| (value, 0.0)))?;
    slots.encode(params, "encode", level, scale)
}

/// Encodes over `q_0..q_level, p_0..p_{K-1}`, in this order of rows: for products before `mod_down` (linear maps with double hoisting).
pub fn encode_qp(
    params: &Parameters,
    values: &[(f64, f64)],
    level: usize,
    scale: f64,
) -> Result<Poly<Eval>> {
    let slots = Slots::from_values(params, values.iter().copied())?;
    let rounded = slots.round(params, "encode_qp", level, scale)?;
    let top = params.max_level() + 1;
    Ok(lift(
        params,
        &rounded,
        (0..=level).chain(top..top + params.alpha()),
    ))
}

/// `round(value·scale)` modulo q_0, …, q_level, canonical: the factor of a constant in all slots.
pub fn encode_constant(
    params: &Parameters,
    value: f64,
    level: usize,
    scale: f64,
) -> Result<Vec<u64>> {
    const OP: &str = "encode_constant";
    check_level(params, OP, level)?;
    check_scale(OP, scale)?;
    if !value.is_finite() {
        return Err(CkksError::NonFiniteValue { index: 0 });
    }
    let scaled = (value * scale).round_ties_even();
    check_magnitude(params, OP, scaled.abs(), level, scale)?;
    // The check keeps |scaled| below 2^103.
    let integer = scaled as i128;
    Ok(params.q()[..=level]
        .iter()
        .map(|m| integer.rem_euclid(i128::from(m.q())) as u64)
        .collect())
}

/// All N/2 slots as `(re, im)`.
///
/// Fails when the plaintext belongs to other parameters, or when a coefficient is so large (2^1000 scales) that it has no
/// `f64`.
pub fn decode(params: &Parameters, plaintext: &Plaintext) -> Result<Vec<(f64, f64)>> {
    let Slots { re, im } = decode_split(params, plaintext)?;
    Ok(re.into_iter().zip(im).collect())
}

/// The real parts of all N/2 slots; else as [`decode`].
pub fn decode_real(params: &Parameters, plaintext: &Plaintext) -> Result<Vec<f64>> {
    Ok(decode_split(params, plaintext)?.re)
}

fn decode_split(params: &Parameters, plaintext: &Plaintext) -> Result<Slots> {
    plaintext.tag.check(params, "plaintext")?;
    let rows = plaintext.level + 1;
    let mut poly: Poly<Coeff> = plaintext.poly.clone_rows(rows).into_domain();
    for (i, row) in poly.rows_mut().into_iter().enumerate() {
        params.ntt_q(i).inverse(params.path(), row);
    }
    let coefficients = residue::centred(params, &poly, plaintext.scale);
    poly.zeroize();
    if !largest_magnitude(&coefficients).is_finite() {
        return Err(CkksError::EncodingOverflow {
            op: "decode",
            log_scale: plaintext.scale.log2(),
            log_q: params.log_q(plaintext.level),
        });
    }
    let (low, high) = coefficients.split_at(params.slots());
    let mut slots = Slots {
        re: bit_reversed(low),
        im: bit_reversed(high),
    };
    params.embedding().to_slots(&mut slots.re, &mut slots.im);
    Ok(slots)
}

/// Real and imaginary parts, N/2 each.
struct Slots {
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Slots {
    fn from_values(
        params: &Parameters,
        values: impl ExactSizeIterator<Item = (f64, f64)>,
    ) -> Result<Self> {
        let (slots, got) = (params.slots(), values.len());
        if got > slots {
            return Err(CkksError::TooManyValues { got, slots });
        }
        let (mut re, mut im) = (Vec::with_capacity(slots), Vec::with_capacity(slots));
        for (r, i) in values {
            re.push(r);
            im.push(i);
        }
        if !largest_magnitude(&re).is_finite() || !largest_magnitude(&im).is_finite() {
            let index = re
                .iter()
                .zip(&im)
                .position(|(r, i)| !(r.is_finite() && i.is_finite()));
            return Err(CkksError::NonFiniteValue {
                index: index.unwrap_or(0),
            });
        }
        re.resize(slots, 0.0);
        im.resize(slots, 0.0);
        Ok(Self { re, im })
    }

    fn encode(
        self,
        params: &Parameters,
        op: &'static str,
        level: usize,
        scale: f64,
    ) -> Result<Plaintext> {
        let rounded = self.round(params, op, level, scale)?;
        let poly = lift(params, &rounded, 0..=level);
        Ok(Plaintext {
            poly,
            level,
            scale,
            tag: ParametersTag::of(params),
        })
    }

    /// The integer coefficients in natural order.
    fn round(
        mut self,
        params: &Parameters,
        op: &'static str,
        level: usize,
        scale: f64,
    ) -> Result<Rounded> {
        check_level(params, op, level)?;
        check_scale(op, scale)?;
        // A coefficient is at most the largest |slot| times the scale; far above the limit, sums could leave the range of f64.
        if largest_magnitude(&self.re).max(largest_magnitude(&self.im)) > 2f64.powi(900) {
            return Err(overflow(params, op, level, scale));
        }
        params
            .embedding()
            .to_coefficients(&mut self.re, &mut self.im);
        // slots is a power of two, so the quotient is as exact as the scale.
        let factor = scale / params.slots() as f64;
        self.re.iter_mut().for_each(|x| *x *= factor);
        self.im.iter_mut().for_each(|x| *x *= factor);
        let bound = largest_magnitude(&self.re).max(largest_magnitude(&self.im));
        check_magnitude(params, op, bound, level, scale)?;
        Ok(Rounded::from_bit_reversed(&self.re, &self.im, bound))
    }
}

/// Reduces modulo the primes of the whole chain with the given indices and transforms.
fn lift(params: &Parameters, rounded: &Rounded, primes: impl Iterator<Item = usize>) -> Poly<Eval> {
    let primes: Vec<usize> = primes.collect();
    let mut poly: Poly<Coeff> = Poly::uninit_pooled(params.n(), primes.len());
    for (&prime, row) in primes.iter().zip(poly.rows_mut()) {
        rounded.reduce_into(params.path(), row, params.modulus(prime));
        params.ntt(prime).forward(params.path(), row);
    }
    poly.into_domain()
}

fn check_level(params: &Parameters, op: &'static str, level: usize) -> Result<()> {
    let max_level = params.max_level();
    if level > max_level {
        Err(CkksError::LevelTooHigh {
            op,
            level,
            max_level,
        })
    } else {
        Ok(())
    }
}

/// Refuses coefficients of `q_0·…·q_level / 2` and more (a thousandth of a bit covers the rounding of the logarithms), and those of
/// 2^103 and more, for which there is no reduction.
fn check_magnitude(
    params: &Parameters,
    op: &'static str,
    bound: f64,
    level: usize,
    scale: f64,
) -> Result<()> {
    if bound < 2f64.powi(103) && (bound + 1.0).log2() < params.log_q(level) - 1.001 {
        Ok(())
    } else {
        Err(overflow(params, op, level, scale))
    }
}

fn overflow(params: &Parameters, op: &'static str, level: usize, scale: f64) -> CkksError {
    CkksError::EncodingOverflow {
        op,
        log_scale: scale.log2(),
        log_q: params.log_q(level),
    }
}

/// The largest absolute value; infinite or NaN when an element is. Magnitudes of `f64` order like their bits, and NaN comes last.
fn largest_magnitude(values: &[f64]) -> f64 {
    f64::from_bits(values.iter().fold(0, |max, x| max.max(x.abs().to_bits())))
}

fn bit_reversed(values: &[f64]) -> Vec<f64> {
    let shift = usize::BITS - values.len().trailing_zeros();
    (0..values.len())
        .map(|i| values[i.reverse_bits() >> shift])
        .collect()
}
