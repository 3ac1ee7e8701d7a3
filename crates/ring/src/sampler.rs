//! Random polynomials: public uniform ones from a seed, secret ternary and Gaussian ones.

mod gaussian;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod uniform;

use rand_core::CryptoRng;
use zeroize::Zeroize;

use crate::cpu::CpuPath;
use crate::modulus::Modulus;

pub use gaussian::{GAUSSIAN_BOUND, SIGMA, gaussian};
pub use uniform::uniform;

/// Random words that are fetched at a time.
const BATCH: usize = 256;

/// Uniform `{-1, 0, 1}`. Constant time.
///
/// Each value is `floor(3·u / 2^64) - 1` of a fresh 64-bit word `u`: within statistical distance `2^-64` of uniform, and
/// without the rejection that an exactly uniform sampler needs.
pub fn ternary(rng: &mut impl CryptoRng, out: &mut [i8]) {
    for_each_word(rng, out, |u| ((3 * u as u128) >> 64) as i8 - 1);
}

/// `out = small mod q`, canonical, for secret small integers: no branch on a value.
pub fn lift_signed<T: Small>(out: &mut [u64], small: &[T], m: &Modulus) {
    assert_eq!(
        out.len(),
        small.len(),
        "rows of one operation differ in length"
    );
    T::lift(out, small, m);
}

/// Integers that [`lift_signed`] takes: `i8`, `i32` and `i64`.
pub trait Small: Copy + Into<i64> {
    /// [`lift_signed`] for rows of equal length.
    fn lift(out: &mut [u64], small: &[Self], m: &Modulus) {
        for (out, &x) in out.iter_mut().zip(small) {
            *out = m.reduce_i64(x.into());
        }
    }
}

impl Small for i32 {}
impl Small for i64 {}

impl Small for i8 {
    fn lift(out: &mut [u64], small: &[Self], m: &Modulus) {
        let q = m.q();
        #[cfg(target_arch = "x86_64")]
        if q > 128 && CpuPath::Ifma.is_available() {
            // SAFETY: this CPU has the instructions.
            return unsafe { ifma::lift(out, small, q) };
        }
        for (out, &x) in out.iter_mut().zip(small) {
            // A negative x is a large unsigned number, and x + q is the residue; else x + q is larger than x.
            *out = if q > 128 {
                (x as u64).min((x as u64).wrapping_add(q))
            } else {
                m.reduce_i64(x.into())
            };
        }
    }
}

/// Fills `out` with a function of one fresh random word for each place.
fn for_each_word(rng: &mut impl CryptoRng, out: &mut [i8], f: impl Fn(u64) -> i8) {
    let mut bytes = [0u8; 8 * BATCH];
    for out in out.chunks_mut(BATCH) {
        let bytes = &mut bytes[..8 * out.len()];
        rng.fill_bytes(bytes);
        for (out, word) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *out = f(u64::from_le_bytes(*word));
        }
    }
    bytes.zeroize();
}
