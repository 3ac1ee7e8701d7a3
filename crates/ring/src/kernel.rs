//! Arithmetic on rows.
//!
//! Each function works on whole rows modulo one prime and takes the [`CpuPath`] first and the [`Modulus`] last. Inputs and
//! outputs are canonical, `[0, q)`, unless a function says otherwise. Slices of one call have equal length. Rows may
//! have any length; positions are independent.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod ifma;
mod portable;

use crate::cpu::CpuPath;
use crate::modulus::{Modulus, Scalar};

/// Calls the implementation of a kernel that belongs to a path.
macro_rules! dispatch {
    ($path:expr, $name:ident ( $($argument:expr),* $(,)? )) => {
        match $path.checked() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `checked` made sure that this CPU has the instructions.
            CpuPath::Ifma => unsafe { ifma::$name($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `checked` made sure that this CPU has the instructions.
            CpuPath::Avx2 => unsafe { avx2::$name($($argument),*) },
            _ => portable::$name($($argument),*),
        }
    };
}

macro_rules! check {
    ($len:expr, $($other:expr),+) => {
        $(assert_eq!($len, $other, "rows of one operation differ in length");)+
    };
}

/// Words of each input that [`weighted_sums_lazy`] keeps in the first cache (ten inputs: 20 kB).
const TILE: usize = 256;

/// `out = a + b`.
pub fn add(path: CpuPath, out: &mut [u64], a: &[u64], b: &[u64], m: &Modulus) {
    check!(out.len(), a.len(), b.len());
    dispatch!(path, add(out, a, b, m))
}

/// `a += b`.
pub fn add_assign(path: CpuPath, a: &mut [u64], b: &[u64], m: &Modulus) {
    check!(a.len(), b.len());
    dispatch!(path, add_assign(a, b, m))
}

/// `out = a - b`.
pub fn sub(path: CpuPath, out: &mut [u64], a: &[u64], b: &[u64], m: &Modulus) {
    check!(out.len(), a.len(), b.len());
    dispatch!(path, sub(out, a, b, m))
}

/// `a -= b`.
pub fn sub_assign(path: CpuPath, a: &mut [u64], b: &[u64], m: &Modulus) {
    check!(a.len(), b.len());
    dispatch!(path, sub_assign(a, b, m))
}

/// `out = -a`.
pub fn neg(path: CpuPath, out: &mut [u64], a: &[u64], m: &Modulus) {
    check!(out.len(), a.len());
    dispatch!(path, neg(out, a, m))
}

/// `a = -a`.
pub fn neg_assign(path: CpuPath, a: &mut [u64], m: &Modulus) {
    dispatch!(path, neg_assign(a, m))
}

/// `out = a·b`; `a` may be lazy, below `2^52`.
pub fn mul(path: CpuPath, out: &mut [u64], a: &[u64], b: &[u64], m: &Modulus) {
    check!(out.len(), a.len(), b.len());
    dispatch!(path, mul(out, a, b, m))
}

/// `a *= b`; `a` may be lazy, below `2^52`.
pub fn mul_assign(path: CpuPath, a: &mut [u64], b: &[u64], m: &Modulus) {
    check!(a.len(), b.len());
    dispatch!(path, mul_assign(a, b, m))
}

/// `acc += a·b`; `a` may be lazy, below `2^52`.
pub fn mul_add_assign(path: CpuPath, acc: &mut [u64], a: &[u64], b: &[u64], m: &Modulus) {
    check!(acc.len(), a.len(), b.len());
    dispatch!(path, mul_add_assign(acc, a, b, m))
}

/// `out = a·s`; `a` may be anything below `2^52`.
pub fn mul_scalar(path: CpuPath, out: &mut [u64], a: &[u64], s: &Scalar, m: &Modulus) {
    check!(out.len(), a.len());
    dispatch!(path, mul_scalar(out, a, s, m))
}

/// `a *= s`; `a` may be anything below `2^52`.
pub fn mul_scalar_assign(path: CpuPath, a: &mut [u64], s: &Scalar, m: &Modulus) {
    dispatch!(path, mul_scalar_assign(a, s, m))
}

/// `acc += a·s`; `a` may be anything below `2^52`.
pub fn mul_scalar_add_assign(path: CpuPath, acc: &mut [u64], a: &[u64], s: &Scalar, m: &Modulus) {
    check!(acc.len(), a.len());
    dispatch!(path, mul_scalar_add_assign(acc, a, s, m))
}

/// `a += c`; `c` in `[0, q)`.
pub fn add_scalar_assign(path: CpuPath, a: &mut [u64], c: u64, m: &Modulus) {
    dispatch!(path, add_scalar_assign(a, c, m))
}

/// `out = (a - b)·s`; `b` may be lazy, below `2^52`: the last step of a rescale or mod-down.
pub fn sub_mul_scalar(
    path: CpuPath,
    out: &mut [u64],
    a: &[u64],
    b: &[u64],
    s: &Scalar,
    m: &Modulus,
) {
    check!(out.len(), a.len(), b.len());
    dispatch!(path, sub_mul_scalar(out, a, b, s, m))
}

/// `out = (a - b)·s + c`; `b` may be lazy, below `2^52`: a mod-down and the addition that follows it.
pub fn sub_mul_scalar_add(
    path: CpuPath,
    out: &mut [u64],
    a: &[u64],
    b: &[u64],
    s: &Scalar,
    c: &[u64],
    m: &Modulus,
) {
    check!(out.len(), a.len(), b.len(), c.len());
    dispatch!(path, sub_mul_scalar_add(out, a, b, s, c, m))
}

/// `a = (a - b)·s`; `b` may be lazy, below `2^52`.
pub fn sub_mul_scalar_assign(path: CpuPath, a: &mut [u64], b: &[u64], s: &Scalar, m: &Modulus) {
    check!(a.len(), b.len());
    dispatch!(path, sub_mul_scalar_assign(a, b, s, m))
}

/// `out = a mod q`; `a` is anything below `2^52`.
pub fn reduce(path: CpuPath, out: &mut [u64], a: &[u64], m: &Modulus) {
    check!(out.len(), a.len());
    dispatch!(path, reduce(out, a, m))
}

/// `out = (a - c) mod q`; `a` is anything below `2^52`, `c` any word: the residues of a centred value in a rescale.
pub fn reduce_sub(path: CpuPath, out: &mut [u64], a: &[u64], c: u64, m: &Modulus) {
    check!(out.len(), a.len());
    let c = m.reduce(c);
    dispatch!(path, reduce_sub(out, a, c, m))
}

/// `out = offset + Σ weights[i]·inputs[i]`: the inner loop of a base conversion.
///
/// Inputs are anything below `2^50`, so residues of any prime; weights and `offset` are in `[0, q)`; any number of terms.
/// Products are accumulated unreduced (104 or 128 bits) and reduced once.
pub fn weighted_sum(
    path: CpuPath,
    out: &mut [u64],
    inputs: &[&[u64]],
    weights: &[u64],
    offset: u64,
    m: &Modulus,
) {
    check_weighted(out.len(), inputs, weights, offset, m);
    dispatch!(path, weighted_sum(out, inputs, weights, offset, m, true))
}

/// [`weighted_sum`] with an output in `[0, 4q)`: feeds [`crate::NttTable::forward`].
pub fn weighted_sum_lazy(
    path: CpuPath,
    out: &mut [u64],
    inputs: &[&[u64]],
    weights: &[u64],
    offset: u64,
    m: &Modulus,
) {
    check_weighted(out.len(), inputs, weights, offset, m);
    dispatch!(path, weighted_sum(out, inputs, weights, offset, m, false))
}

/// [`weighted_sum_lazy`] for several target primes in one pass: row `t` is
/// `offsets[t] + Σ weights[t][i]·inputs[i]` modulo `ms[t]`, in `[0, 4q)`. Inputs are read from memory once for all targets
/// (up to four at a time on the IFMA path).
pub fn weighted_sums_lazy(
    path: CpuPath,
    outs: &mut [&mut [u64]],
    inputs: &[&[u64]],
    weights: &[&[u64]],
    offsets: &[u64],
    ms: &[&Modulus],
) {
    assert!(
        outs.len() == weights.len() && outs.len() == offsets.len() && outs.len() == ms.len(),
        "weights, an offset and a modulus for each output row"
    );
    let n = outs.first().map_or(0, |out| out.len());
    for (((out, weights), &offset), m) in outs.iter().zip(weights).zip(offsets).zip(ms) {
        check!(n, out.len());
        check_weighted(n, inputs, weights, offset, m);
    }
    let path = path.checked();
    #[cfg(target_arch = "x86_64")]
    if path == CpuPath::Ifma {
        // SAFETY: `checked` made sure that this CPU has the instructions.
        return unsafe { ifma::weighted_sums(outs, inputs, weights, offsets, ms) };
    }
    let mut tile: Vec<&[u64]> = Vec::with_capacity(inputs.len());
    for start in (0..n).step_by(TILE) {
        let range = start..n.min(start + TILE);
        tile.clear();
        tile.extend(inputs.iter().map(|input| &input[range.clone()]));
        for (((out, weights), &offset), m) in outs.iter_mut().zip(weights).zip(offsets).zip(ms) {
            weighted_sum_lazy(path, &mut out[range.clone()], &tile, weights, offset, m);
        }
    }
}

/// `out = Σ xs[i]·ys[i]`; `xs` may be lazy, below `2^52`; any number of terms, reduced once.
pub fn inner_product(path: CpuPath, out: &mut [u64], xs: &[&[u64]], ys: &[&[u64]], m: &Modulus) {
    check_terms(out.len(), xs, ys);
    dispatch!(path, inner_product(out, xs, ys, m, false))
}

/// `out += Σ xs[i]·ys[i]`; `xs` may be lazy, below `2^52`.
pub fn inner_product_add(
    path: CpuPath,
    out: &mut [u64],
    xs: &[&[u64]],
    ys: &[&[u64]],
    m: &Modulus,
) {
    check_terms(out.len(), xs, ys);
    dispatch!(path, inner_product(out, xs, ys, m, true))
}

/// `out0 = Σ xs[i]·k0s[i]` and `out1 = Σ xs[i]·k1s[i]` in one pass: the inner product of a key switch. `xs` may be
/// lazy, below `2^52`; any number of terms, reduced once.
pub fn inner_product2(
    path: CpuPath,
    out0: &mut [u64],
    out1: &mut [u64],
    xs: &[&[u64]],
    k0s: &[&[u64]],
    k1s: &[&[u64]],
    m: &Modulus,
) {
    check!(out0.len(), out1.len());
    check_terms(out0.len(), xs, k0s);
    check_terms(out0.len(), xs, k1s);
    dispatch!(path, inner_product2(out0, out1, xs, k0s, k1s, m, false))
}

/// [`inner_product2`], added to what the outputs hold.
pub fn inner_product2_add(
    path: CpuPath,
    out0: &mut [u64],
    out1: &mut [u64],
    xs: &[&[u64]],
    k0s: &[&[u64]],
    k1s: &[&[u64]],
    m: &Modulus,
) {
    check!(out0.len(), out1.len());
    check_terms(out0.len(), xs, k0s);
    check_terms(out0.len(), xs, k1s);
    dispatch!(path, inner_product2(out0, out1, xs, k0s, k1s, m, true))
}

fn check_terms(len: usize, xs: &[&[u64]], ys: &[&[u64]]) {
    assert_eq!(
        xs.len(),
        ys.len(),
        "both sides of an inner product have the same number of rows"
    );
    for row in xs.iter().chain(ys) {
        check!(len, row.len());
    }
}

pub(crate) fn check_weighted(
    len: usize,
    inputs: &[&[u64]],
    weights: &[u64],
    offset: u64,
    m: &Modulus,
) {
    assert_eq!(inputs.len(), weights.len(), "one weight for each row");
    assert!(
        offset < m.q() && weights.iter().all(|&w| w < m.q()),
        "weights and offset are canonical"
    );
    for row in inputs {
        check!(len, row.len());
    }
}
