//! Arithmetic in `Z_q` and `R_q = Z_q[X]/(X^N+1)`.
//!
//! Pure functions: no I/O, no clock, no global randomness. The only global state is the buffer pool of [`buffer`].
//!
//! # Notation
//!
//! | Symbol | Meaning |
//! |---|---|
//! | `N`, `n`, `log_n` | ring degree, a power of two, `2^4 <= N <= 2^17` |
//! | `q` | odd prime below `2^50`; `q = 1 (mod 2N)` where an NTT is taken |
//! | `row` | one residue polynomial: `n` words, all modulo the same prime |
//! | `canonical` | every word in `[0, q)` |
//! | `lazy` | every word below `2^52`; which representative is unspecified and may differ between [`CpuPath`]s |
//! | `ψ` | the primitive `2N`-th root of unity of [`NttTable`] |
//! | `brv(i)` | reversal of the `log_n` low bits of `i` |
//! | [`Coeff`] order | word `i` is the coefficient of `X^i` |
//! | [`Eval`] order | word `i` is `a(ψ^(2·brv(i)+1))`: the bit-reversed output of the negacyclic NTT |
//!
//! # Paths
//!
//! Each kernel takes the [`CpuPath`] as its first argument. Canonical outputs are bit-identical over the paths.
//!
//! # Side channels
//!
//! NTT, kernels and the samplers of secrets take no branch and touch no address that depends on a value. The modulus, the
//! shapes and everything made by [`sampler::uniform`] are public.
//!
//! # Panics
//!
//! Row functions panic when slices disagree in length (or have the wrong length for a table); they are internal building
//! blocks whose callers own the shapes. Nothing panics because of the value of a word.

pub mod automorphism;
pub mod buffer;
mod cpu;
mod error;
pub mod kernel;
mod modulus;
mod ntt;
mod poly;
mod primes;
pub mod sampler;

pub use automorphism::{Automorphism, Quotient};
pub use cpu::CpuPath;
pub use error::RingError;
pub use modulus::{Modulus, Scalar};
pub use ntt::{Conversion, InverseScale, NttTable, Term};
pub use poly::{Coeff, Domain, Eval, Poly};
pub use primes::{is_prime, ntt_primes};
