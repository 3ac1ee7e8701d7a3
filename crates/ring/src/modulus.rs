//! Prime moduli below `2^50` and the constants for reducing by them.

use crate::error::RingError;
use crate::primes::is_prime;

/// An odd prime `q < 2^50` with its reduction constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modulus {
    q: u64,
    bits: u32,
    /// `floor(2^(2·bits) / q)`, for [`Modulus::mul`].
    barrett: u64,
    /// `floor(2^64 / q)`: Shoup quotient of 1.
    one_shoup64: u64,
    /// `floor(2^52 / q)`: Shoup quotient of 1.
    one_shoup52: u64,
    /// `floor(2^(bits+63) / q)`, for Shoup quotients.
    inverse: u64,
    /// `2^64 mod q`.
    r64: Scalar,
    /// `2^52 mod q`.
    r52: Scalar,
}

/// A fixed multiplicand `w` modulo `q` with its Shoup quotients (Harvey, arXiv:1205.2926, section 2).
///
/// For `y < 2^52` (`2^64`): `w·y - floor(shoup52·y / 2^52)·q` is in `[0, 2q)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// `w`, in `[0, q)`.
    pub value: u64,
    /// `floor(w·2^52 / q)`.
    pub shoup52: u64,
    /// `floor(w·2^64 / q)`.
    pub shoup64: u64,
}

impl Scalar {
    fn new(value: u64, q: u64) -> Self {
        Self {
            value,
            // value < q, so both quotients are below 2^52 and 2^64.
            shoup52: (((value as u128) << 52) / q as u128) as u64,
            shoup64: (((value as u128) << 64) / q as u128) as u64,
        }
    }
}

impl Modulus {
    /// The modulus `q`, an odd prime below `2^50`.
    ///
    /// # Errors
    /// [`RingError::InvalidModulus`] for anything else.
    pub fn new(q: u64) -> Result<Self, RingError> {
        if q < 3 || q >> 50 != 0 || !is_prime(q) {
            return Err(RingError::InvalidModulus { q });
        }
        let bits = 64 - q.leading_zeros();
        Ok(Self {
            q,
            bits,
            barrett: ((1u128 << (2 * bits)) / q as u128) as u64,
            one_shoup64: ((1u128 << 64) / q as u128) as u64,
            one_shoup52: (1u64 << 52) / q,
            inverse: ((1u128 << (bits + 63)) / q as u128) as u64,
            r64: Scalar::new(((1u128 << 64) % q as u128) as u64, q),
            r52: Scalar::new((1u64 << 52) % q, q),
        })
    }

    /// The prime itself.
    #[inline]
    pub fn q(&self) -> u64 {
        self.q
    }

    /// Bits of the prime: `2^(bits-1) < q < 2^bits`.
    #[inline]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// `floor(2^52 / q)`.
    pub(crate) fn one_shoup52(&self) -> u64 {
        self.one_shoup52
    }

    #[allow(dead_code)] // read by the vector paths, which exist on x86-64 only
    pub(crate) fn r52(&self) -> &Scalar {
        &self.r52
    }

    /// `value mod q` as a fixed multiplicand; any `value`.
    pub fn scalar(&self, value: u64) -> Scalar {
        let value = self.reduce(value);
        Scalar {
            value,
            shoup52: self.shoup52(value),
            shoup64: self.shoup64(value),
        }
    }

    /// `floor(w·2^52 / q)` for `w` in `[0, q)`, without a division.
    pub(crate) fn shoup52(&self, w: u64) -> u64 {
        // The estimate is at most 1 too small: w < q < 2^bits, and inverse·2^-(bits+63) is at most 2^-(bits+63) too small.
        self.shoup(
            w,
            ((w as u128 * self.inverse as u128) >> (self.bits + 11)) as u64,
            52,
        )
    }

    /// `floor(w·2^64 / q)` for `w` in `[0, q)`, without a division.
    pub(crate) fn shoup64(&self, w: u64) -> u64 {
        // The estimate is at most 2 too small.
        self.shoup(
            w,
            ((w as u128 * self.inverse as u128) >> (self.bits - 1)) as u64,
            64,
        )
    }

    /// Corrects an estimate of `floor(w·2^shift / q)` that is at most 2 too small.
    fn shoup(&self, w: u64, estimate: u64, shift: u32) -> u64 {
        let shifted = w.checked_shl(shift).unwrap_or(0);
        let rest = shifted.wrapping_sub(estimate.wrapping_mul(self.q)); // [0, 3q), modulo 2^64
        estimate + u64::from(rest >= self.q) + u64::from(rest >= 2 * self.q)
    }

    /// `a mod q` for any `a`.
    #[inline]
    pub fn reduce(&self, a: u64) -> u64 {
        let quotient = ((a as u128 * self.one_shoup64 as u128) >> 64) as u64;
        self.fold(a.wrapping_sub(quotient.wrapping_mul(self.q)))
    }

    /// `a mod q` for any `a`.
    #[inline]
    pub fn reduce_u128(&self, a: u128) -> u64 {
        let high = self.mul_shoup_lazy((a >> 64) as u64, &self.r64); // [0, 2q)
        self.fold(self.fold(high) + self.reduce(a as u64))
    }

    /// `a mod q` for any signed `a`, without a branch on it.
    #[inline]
    pub fn reduce_i64(&self, a: i64) -> u64 {
        let sign = a >> 63; // 0 or -1
        let magnitude = self.reduce(a.unsigned_abs());
        // -m mod q is q - m; the fold maps q - 0 back to 0.
        self.fold(magnitude ^ ((magnitude ^ (self.q - magnitude)) & sign as u64))
    }

    /// `[0, 2q) → [0, q)` without a branch.
    #[inline]
    pub(crate) fn fold(&self, a: u64) -> u64 {
        a.min(a.wrapping_sub(self.q))
    }

    /// `a + b mod q`; operands canonical.
    #[inline]
    pub fn add(&self, a: u64, b: u64) -> u64 {
        self.fold(a + b)
    }

    /// `a - b mod q`; operands canonical.
    #[inline]
    pub fn sub(&self, a: u64, b: u64) -> u64 {
        let d = a.wrapping_sub(b);
        d.min(d.wrapping_add(self.q))
    }

    /// `-a mod q`; operand canonical.
    #[inline]
    pub fn neg(&self, a: u64) -> u64 {
        self.fold(self.q - a)
    }

    /// `a·b mod q`; operands canonical. Barrett reduction: *Handbook of Applied Cryptography*, algorithm 14.42.
    #[inline]
    pub fn mul(&self, a: u64, b: u64) -> u64 {
        let product = a as u128 * b as u128; // < 2^(2·bits) <= 2^100
        let quotient =
            (((product >> (self.bits - 1)) * self.barrett as u128) >> (self.bits + 1)) as u64;
        let r = (product as u64).wrapping_sub(quotient.wrapping_mul(self.q)); // [0, 3q)
        self.fold(r.min(r.wrapping_sub(2 * self.q)))
    }

    /// `a·w mod q` for any 64-bit `a`, in `[0, 2q)`.
    #[inline]
    pub(crate) fn mul_shoup_lazy(&self, a: u64, w: &Scalar) -> u64 {
        let quotient = ((a as u128 * w.shoup64 as u128) >> 64) as u64;
        a.wrapping_mul(w.value)
            .wrapping_sub(quotient.wrapping_mul(self.q))
    }

    /// `a·w mod q` for any 64-bit `a`; canonical.
    #[inline]
    pub fn mul_scalar(&self, a: u64, w: &Scalar) -> u64 {
        self.fold(self.mul_shoup_lazy(a, w))
    }

    /// `a^exponent mod q`; any `a`. Time depends on the exponent: for public values only.
    pub fn pow(&self, a: u64, exponent: u64) -> u64 {
        let (mut base, mut rest, mut result) = (self.reduce(a), exponent, 1);
        while rest != 0 {
            if rest & 1 == 1 {
                result = self.mul(result, base);
            }
            base = self.mul(base, base);
            rest >>= 1;
        }
        result
    }

    /// `a^-1 mod q` by Fermat's little theorem; 0 for a multiple of `q`. Any `a`.
    pub fn inv(&self, a: u64) -> u64 {
        self.pow(a, self.q - 2)
    }
}
