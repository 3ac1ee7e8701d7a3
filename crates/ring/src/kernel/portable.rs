//! Kernels in 64-bit integers.

use crate::modulus::{Modulus, Scalar};

/// Products below `2^102` that a `u128` holds beside one reduced value: `2^26 · 2^102 = 2^128`.
const TERMS: usize = (1 << 26) - 1;

macro_rules! map {
    // out[i] = f(a[i], b[i])
    ($name:ident, $assign:ident, |$x:ident, $y:ident, $m:ident $(, $s:ident : $t:ty)?| $body:expr) => {
        pub(super) fn $name(out: &mut [u64], a: &[u64], b: &[u64], $($s: $t,)? $m: &Modulus) {
            for ((out, &$x), &$y) in out.iter_mut().zip(a).zip(b) {
                *out = $body;
            }
        }
        pub(super) fn $assign(a: &mut [u64], b: &[u64], $($s: $t,)? $m: &Modulus) {
            for (out, &$y) in a.iter_mut().zip(b) {
                let $x = *out;
                *out = $body;
            }
        }
    };
    // out[i] = f(a[i])
    ($name:ident, $assign:ident, |$x:ident, $m:ident $(, $s:ident : $t:ty)?| $body:expr) => {
        pub(super) fn $name(out: &mut [u64], a: &[u64], $($s: $t,)? $m: &Modulus) {
            for (out, &$x) in out.iter_mut().zip(a) {
                *out = $body;
            }
        }
        pub(super) fn $assign(a: &mut [u64], $($s: $t,)? $m: &Modulus) {
            for out in a {
                let $x = *out;
                *out = $body;
            }
        }
    };
}

map!(add, add_assign, |x, y, m| m.add(x, y));
map!(sub, sub_assign, |x, y, m| m.sub(x, y));
map!(neg, neg_assign, |x, m| m.neg(x));
map!(mul, mul_assign, |x, y, m| m.mul(m.reduce(x), y));
map!(mul_scalar, mul_scalar_assign, |x, m, s: &Scalar| m
    .mul_scalar(x, s));
map!(
    sub_mul_scalar,
    sub_mul_scalar_assign,
    |x, y, m, s: &Scalar| {
        // A multiple of q above 2^52 makes the difference positive; any 64-bit word will do for the multiplication.
        let multiple = (m.one_shoup52() + 1) * m.q();
        m.mul_scalar(x + multiple - y, s)
    }
);

pub(super) fn mul_add_assign(acc: &mut [u64], a: &[u64], b: &[u64], m: &Modulus) {
    for ((acc, &x), &y) in acc.iter_mut().zip(a).zip(b) {
        *acc = m.add(*acc, m.mul(m.reduce(x), y));
    }
}

pub(super) fn mul_scalar_add_assign(acc: &mut [u64], a: &[u64], s: &Scalar, m: &Modulus) {
    for (acc, &x) in acc.iter_mut().zip(a) {
        *acc = m.add(*acc, m.mul_scalar(x, s));
    }
}

pub(super) fn sub_mul_scalar_add(
    out: &mut [u64],
    a: &[u64],
    b: &[u64],
    s: &Scalar,
    c: &[u64],
    m: &Modulus,
) {
    sub_mul_scalar(out, a, b, s, m);
    add_assign(out, c, m);
}

pub(super) fn add_scalar_assign(a: &mut [u64], c: u64, m: &Modulus) {
    for x in a {
        *x = m.add(*x, c);
    }
}

pub(super) fn reduce(out: &mut [u64], a: &[u64], m: &Modulus) {
    for (out, &x) in out.iter_mut().zip(a) {
        *out = m.reduce(x);
    }
}

pub(super) fn reduce_sub(out: &mut [u64], a: &[u64], c: u64, m: &Modulus) {
    for (out, &x) in out.iter_mut().zip(a) {
        *out = m.sub(m.reduce(x), c);
    }
}

/// Canonical whether or not that is asked for.
pub(super) fn weighted_sum(
    out: &mut [u64],
    inputs: &[&[u64]],
    weights: &[u64],
    offset: u64,
    m: &Modulus,
    _canonical: bool,
) {
    for (i, out) in out.iter_mut().enumerate() {
        let mut sum = offset as u128;
        for (inputs, weights) in inputs.chunks(TERMS).zip(weights.chunks(TERMS)) {
            sum = m.reduce_u128(sum) as u128;
            for (input, &w) in inputs.iter().zip(weights) {
                sum += input[i] as u128 * w as u128;
            }
        }
        *out = m.reduce_u128(sum);
    }
}

pub(super) fn inner_product(out: &mut [u64], xs: &[&[u64]], ys: &[&[u64]], m: &Modulus, add: bool) {
    for (i, out) in out.iter_mut().enumerate() {
        let mut sum = if add { *out as u128 } else { 0 };
        for (xs, ys) in xs.chunks(TERMS).zip(ys.chunks(TERMS)) {
            sum = m.reduce_u128(sum) as u128;
            for (x, y) in xs.iter().zip(ys) {
                sum += x[i] as u128 * y[i] as u128;
            }
        }
        *out = m.reduce_u128(sum);
    }
}

pub(super) fn inner_product2(
    out0: &mut [u64],
    out1: &mut [u64],
    xs: &[&[u64]],
    k0s: &[&[u64]],
    k1s: &[&[u64]],
    m: &Modulus,
    add: bool,
) {
    inner_product(out0, xs, k0s, m, add);
    inner_product(out1, xs, k1s, m, add);
}
