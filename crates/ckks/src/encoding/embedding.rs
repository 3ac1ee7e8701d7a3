//! The canonical embedding of `R[X]/(X^N+1)` into `C^(N/2)` and its inverse, in `O(N log N)`.
//!
//! Slot `j` is the value at `ζ^(5^j)` with `ζ = e^(iπ/N)`: powers of 5 run through all classes of `Z_2N^*/{±1}`, so the
//! Galois map `X → X^(5^k)` rotates the slots by `k` (Cheon, Kim, Kim, Song, ia.cr/2016/421, section 3; the butterfly form
//! is that of Cheon, Han, Kim, Kim, Song, ia.cr/2018/153, algorithm 1).
//!
//! Real and imaginary parts live in separate arrays so that the compiler vectorises the wide stages. Rust never contracts
//! `a*b + c` into a fused operation and reorders no sum, so every build gives the same bits.

use super::roots::roots_of_unity;

/// The tables of one ring degree: `N/2` slots, `N/2` twiddles.
pub(crate) struct Embedding {
    slots: usize,
    /// The stage that joins halves of `h` values reads `[h..2h]`: `ζ^((5^j mod 8h)·N/(4h))` for `j < h`.
    cos: Vec<f64>,
    sin: Vec<f64>,
}

impl Embedding {
    /// Tables for `N = 2^log_n`, `log_n >= 4`.
    pub(crate) fn new(log_n: u32) -> Self {
        let order = 2usize << log_n;
        let slots = order / 4;
        let roots = roots_of_unity(order);
        let (mut cos, mut sin) = (vec![0.0; slots], vec![0.0; slots]);
        let mut half = 1;
        while half < slots {
            let mut power = 1;
            for j in 0..half {
                (cos[half + j], sin[half + j]) = roots[power * (order / (8 * half))];
                power = power * 5 % (8 * half);
            }
            half *= 2;
        }
        Self { slots, cos, sin }
    }

    /// Slots in natural order → `N/2` times the coefficients in bit-reversed order: position `brv(i)` of `re` holds coefficient
    /// `i`, the same position of `im` holds coefficient `i + N/2`. Stages from wide to narrow:
    /// `(u, v) → (u + v, (u - v)·conj(w))`.
    pub(crate) fn to_coefficients(&self, re: &mut [f64], im: &mut [f64]) {
        debug_assert!(re.len() == self.slots && im.len() == self.slots);
        let mut half = self.slots / 2;
        while half >= 1 {
            let (cos, sin) = (&self.cos[half..2 * half], &self.sin[half..2 * half]);
            for (re, im) in re
                .chunks_exact_mut(2 * half)
                .zip(im.chunks_exact_mut(2 * half))
            {
                let (re0, re1) = re.split_at_mut(half);
                let (im0, im1) = im.split_at_mut(half);
                let lanes = re0
                    .iter_mut()
                    .zip(im0)
                    .zip(re1.iter_mut().zip(im1))
                    .zip(cos.iter().zip(sin));
                for (((re0, im0), (re1, im1)), (&cos, &sin)) in lanes {
                    let (dr, di) = (*re0 - *re1, *im0 - *im1);
                    *re0 += *re1;
                    *im0 += *im1;
                    *re1 = dr * cos + di * sin;
                    *im1 = di * cos - dr * sin;
                }
            }
            half /= 2;
        }
    }

    /// The inverse of [`Self::to_coefficients`] up to the factor `N/2`, which is not there in this direction. Stages from
    /// narrow to wide: `(u, v) → (u + v·w, u - v·w)`.
    pub(crate) fn to_slots(&self, re: &mut [f64], im: &mut [f64]) {
        debug_assert!(re.len() == self.slots && im.len() == self.slots);
        let mut half = 1;
        while half < self.slots {
            let (cos, sin) = (&self.cos[half..2 * half], &self.sin[half..2 * half]);
            for (re, im) in re
                .chunks_exact_mut(2 * half)
                .zip(im.chunks_exact_mut(2 * half))
            {
                let (re0, re1) = re.split_at_mut(half);
                let (im0, im1) = im.split_at_mut(half);
                let lanes = re0
                    .iter_mut()
                    .zip(im0)
                    .zip(re1.iter_mut().zip(im1))
                    .zip(cos.iter().zip(sin));
                for (((re0, im0), (re1, im1)), (&cos, &sin)) in lanes {
                    let (vr, vi) = (*re1 * cos - *im1 * sin, *re1 * sin + *im1 * cos);
                    *re1 = *re0 - vr;
                    *im1 = *im0 - vi;
                    *re0 += vr;
                    *im0 += vi;
                }
            }
            half *= 2;
        }
    }
}
