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
    /// `i`, the same position of `im` holds coefficient `i + N/2`. Stages from wide to narrow.
    pub(crate) fn to_coefficients(&self, re: &mut [f64], im: &mut [f64]) {
        debug_assert!(re.len() == self.slots && im.len() == self.slots);
        let mut half = self.slots / 2;
        while half >= 4 {
            self.stage(half, re, im, unmix);
            half /= 2;
        }
        let [w1, w2, w3] = self.narrow();
        for_fours(re, im, |[x0, x1, x2, x3]| {
            let ((x0, x2), (x1, x3)) = (unmix(x0, x2, w2), unmix(x1, x3, w3));
            let ((x0, x1), (x2, x3)) = (unmix(x0, x1, w1), unmix(x2, x3, w1));
            [x0, x1, x2, x3]
        });
    }

    /// The inverse of [`Self::to_coefficients`] up to the factor `N/2`, which is not there in this direction. Stages from
    /// narrow to wide.
    pub(crate) fn to_slots(&self, re: &mut [f64], im: &mut [f64]) {
        debug_assert!(re.len() == self.slots && im.len() == self.slots);
        let [w1, w2, w3] = self.narrow();
        for_fours(re, im, |[x0, x1, x2, x3]| {
            let ((x0, x1), (x2, x3)) = (mix(x0, x1, w1), mix(x2, x3, w1));
            let ((x0, x2), (x1, x3)) = (mix(x0, x2, w2), mix(x1, x3, w3));
            [x0, x1, x2, x3]
        });
        let mut half = 4;
        while half < self.slots {
            self.stage(half, re, im, mix);
            half *= 2;
        }
    }

    /// One stage that joins halves of `half` values.
    #[inline(always)]
    fn stage(
        &self,
        half: usize,
        re: &mut [f64],
        im: &mut [f64],
        butterfly: impl Fn(Complex, Complex, Complex) -> Pair,
    ) {
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
                ((*re0, *im0), (*re1, *im1)) = butterfly((*re0, *im0), (*re1, *im1), (cos, sin));
            }
        }
    }

    /// The twiddles of the stages with halves of one and two.
    fn narrow(&self) -> [Complex; 3] {
        [1, 2, 3].map(|i| (self.cos[i], self.sin[i]))
    }
}

type Complex = (f64, f64);
type Pair = (Complex, Complex);

/// `(u, v) → (u + v, (u - v)·conj(w))`.
#[inline(always)]
fn unmix(u: Complex, v: Complex, (cos, sin): Complex) -> Pair {
    let (dr, di) = (u.0 - v.0, u.1 - v.1);
    (
        (u.0 + v.0, u.1 + v.1),
        (dr * cos + di * sin, di * cos - dr * sin),
    )
}

/// `(u, v) → (u + v·w, u - v·w)`.
#[inline(always)]
fn mix(u: Complex, v: Complex, (cos, sin): Complex) -> Pair {
    let (vr, vi) = (v.0 * cos - v.1 * sin, v.0 * sin + v.1 * cos);
    ((u.0 + vr, u.1 + vi), (u.0 - vr, u.1 - vi))
}

/// Applies `work` to every group of four neighbours: the two narrowest stages in one pass.
#[inline(always)]
fn for_fours(re: &mut [f64], im: &mut [f64], work: impl Fn([Complex; 4]) -> [Complex; 4]) {
    for (re, im) in re
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(im.as_chunks_mut::<4>().0)
    {
        let out = work([0, 1, 2, 3].map(|i| (re[i], im[i])));
        for (i, (r, m)) in out.into_iter().enumerate() {
            (re[i], im[i]) = (r, m);
        }
    }
}
