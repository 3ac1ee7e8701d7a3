//! Errors of this crate.

/// What can be wrong with the parameters of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The modulus is not an odd prime below `2^50`.
    #[error("the modulus must be an odd prime below 2^50. Got {q} instead")]
    InvalidModulus {
        /// The refused modulus.
        q: u64,
    },
    /// The ring degree is out of range.
    #[error("`log_n` must be from 4 to 17. Got {log_n} instead")]
    InvalidDegree {
        /// The refused degree.
        log_n: u32,
    },
    /// The modulus has no primitive `2N`-th root of unity.
    #[error("the modulus {q} is not 1 modulo 2^{}, so there is no NTT of size 2^{log_n}", log_n + 1)]
    NoRootOfUnity {
        /// The modulus.
        q: u64,
        /// The degree.
        log_n: u32,
    },
    /// The size asked of a prime is out of range.
    #[error("a prime must have from 20 to 50 bits. Got {bits} instead")]
    InvalidPrimeSize {
        /// The refused number of bits.
        bits: u32,
    },
    /// There are not so many primes of this size.
    #[error("there are only {found} usable primes of {bits} bits that are 1 modulo 2^{}; {wanted} were asked for", log_n + 1)]
    NotEnoughPrimes {
        /// The degree.
        log_n: u32,
        /// The size.
        bits: u32,
        /// How many were asked for.
        wanted: usize,
        /// How many exist.
        found: usize,
    },
    /// The Galois element is even.
    #[error("a Galois element must be odd. Got {element} instead")]
    InvalidGaloisElement {
        /// The refused element.
        element: u64,
    },
}
