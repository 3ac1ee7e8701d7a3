//! Finding primes that have an NTT.

use crate::error::RingError;

/// Smallest and largest `log_n` for which rings are built.
pub(crate) const LOG_N_RANGE: std::ops::RangeInclusive<u32> = 4..=17;

/// Whether `n` is prime. Miller-Rabin with the first twelve primes as bases, which decides every 64-bit integer
/// (Sorenson and Webster, *Strong pseudoprimes to twelve prime bases*, 2017, theorem 1.1).
pub fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    if let Some(&p) = BASES.iter().find(|&&p| n.is_multiple_of(p)) {
        return n == p;
    }
    let twos = (n - 1).trailing_zeros();
    let odd = (n - 1) >> twos;
    BASES.iter().all(|&base| {
        let mut x = pow_mod(base, odd, n);
        if x == 1 || x == n - 1 {
            return true;
        }
        (1..twos).any(|_| {
            x = mul_mod(x, x, n);
            x == n - 1
        })
    })
}

/// The `count` largest primes `p = 1 (mod 2^(log_n+1))` with exactly `bits` bits that are not in `taken`, largest first.
///
/// Deterministic: the same arguments give the same primes on every machine and in every version.
///
/// # Errors
/// [`RingError::InvalidDegree`], [`RingError::InvalidPrimeSize`] (not 20 to 50 bits), [`RingError::NotEnoughPrimes`].
pub fn ntt_primes(
    log_n: u32,
    bits: u32,
    count: usize,
    taken: &[u64],
) -> Result<Vec<u64>, RingError> {
    if !LOG_N_RANGE.contains(&log_n) {
        return Err(RingError::InvalidDegree { log_n });
    }
    if !(20..=50).contains(&bits) {
        return Err(RingError::InvalidPrimeSize { bits });
    }
    let step = 1u64 << (log_n + 1);
    // 2^bits + 1 is the first candidate above the range: bits >= 20 > log_n + 1, so 2^bits is a multiple of the step.
    let candidates = (1..)
        .map(|i| (1u64 << bits) + 1 - i * step)
        .take_while(|&p| p >> (bits - 1) == 1);
    let primes: Vec<u64> = candidates
        .filter(|&p| is_prime(p) && !taken.contains(&p))
        .take(count)
        .collect();
    if primes.len() < count {
        return Err(RingError::NotEnoughPrimes {
            log_n,
            bits,
            wanted: count,
            found: primes.len(),
        });
    }
    Ok(primes)
}

fn mul_mod(a: u64, b: u64, n: u64) -> u64 {
    (a as u128 * b as u128 % n as u128) as u64
}

fn pow_mod(base: u64, mut exponent: u64, n: u64) -> u64 {
    let (mut base, mut result) = (base % n, 1);
    while exponent != 0 {
        if exponent & 1 == 1 {
            result = mul_mod(result, base, n);
        }
        base = mul_mod(base, base, n);
        exponent >>= 1;
    }
    result
}
