//! Kernels of secret sharing in `Z_{2^64}`.
//!
//! Pure functions: no I/O, no clock, no global randomness. What leaves a party, and to whom, is decided by the protocols above.
//!
//! # Paths
//!
//! Each kernel takes the [`CpuPath`] as its first argument. Outputs are bit-identical over the paths, and over the number of
//! threads.
//!
//! # Side channels
//!
//! No kernel takes a branch or touches an address that depends on a word; multiplications of words take the same time for all
//! words on the CPUs that the paths name. Lengths, shapes and shifts are public.
//!
//! # Panics
//!
//! Functions panic when slices disagree in length or with a shape; they are internal building blocks whose callers own the
//! shapes. Nothing panics because of the value of a word.

pub mod bits;
mod compiled;
pub mod conv;
mod cpu;
pub mod dcf;
pub mod gemm;
pub mod prg;
pub mod product;
pub mod replicated;
pub mod sum;
pub mod trunc;

pub use cpu::CpuPath;
