//! The carry of a sum of two numbers, `a` known to position 0 and `b` to positions 1 and 2.
//!
//! The lowest bits fall into groups of up to four. Whether a group makes a carry, and whether it passes one on, is linear in products
//! of bits of `a` with coefficients that `b` gives. Position 0 deals the products, the others evaluate their parts, then a tree
//! brings the groups down to one. [`rows`] says what is dealt and what follows.
//!
//! # Layout
//!
//! A table of planes is held in blocks of [`BLOCK`] words of each plane (the last block of what is left): row after row within a
//! block, block after block. A table of one row is a plane as in [`crate::bits`].

use crate::bits::{eight_to_planes, plane_words};
use crate::compiled::compiled;
use crate::cpu::CpuPath;

/// Words of each plane in a block.
pub const BLOCK: usize = 8;

/// Numbers of a block.
const NUMBERS: usize = 64 * BLOCK;

/// The largest group.
pub const MAX_GROUP: usize = 4;

type Row = [u64; BLOCK];

/// Rows that are dealt for groups of these sizes, and rows of the values of the groups: of carries made, for all groups, then of
/// carries passed on, for all but the first.
///
/// # Panics
/// When there are no groups, a size is not from 1 to [`MAX_GROUP`], or they have more than 63 bits.
pub fn rows(sizes: &[usize]) -> (usize, usize) {
    let bits: usize = sizes.iter().sum();
    let fit = sizes.iter().all(|size| (1..=MAX_GROUP).contains(size));
    assert!(
        !sizes.is_empty() && fit && bits < 64,
        "groups of 1 to 4 bits, 63 in all"
    );
    (
        sizes.iter().map(|size| (1 << size) - 1).sum(),
        2 * sizes.len() - 1,
    )
}

fn check(n: usize, tables: &[(usize, usize)]) {
    for &(len, rows) in tables {
        assert_eq!(len, rows * plane_words(n), "words of a table");
    }
}

/// What position 0 deals before it is masked: the products of the bits of each group of `a = x[0] + x[1]`. Product `s` of a group,
/// `1 <= s < 2^size`, is of the bits whose places are set in `s`. `top`: the plane of the bit above the groups.
///
/// # Panics
/// As [`rows`], and when lengths do not agree.
pub fn deal(path: CpuPath, sizes: &[usize], x: [&[u64]; 2], out: &mut [u64], top: &mut [u64]) {
    let n = x[0].len();
    let (dealt, _) = rows(sizes);
    assert_eq!(x[1].len(), n, "both components have the same words");
    check(n, &[(out.len(), dealt), (top.len(), 1)]);
    let bits: usize = sizes.iter().sum();
    let path = path.checked();
    let tables = out.chunks_mut(dealt * BLOCK).zip(top.chunks_mut(BLOCK));
    for ((x0, x1), (out, top)) in x[0].chunks(NUMBERS).zip(x[1].chunks(NUMBERS)).zip(tables) {
        let mut numbers = [0; NUMBERS];
        for (number, (x0, x1)) in numbers.iter_mut().zip(x0.iter().zip(x1)) {
            *number = x0.wrapping_add(*x1);
        }
        let mut planes = [[0; BLOCK]; 64];
        eight_to_planes(path, &mut planes, &numbers);
        top.copy_from_slice(&planes[bits][..top.len()]);
        deal_block(path, out, top.len(), &planes, sizes);
    }
}

/// A part of positions 1 and 2 of the values of the groups of `a + b`, before it is masked. `dealt`: a part of the table of
/// [`deal`]. `constant`: this part has what does not depend on `a`. `top`: the plane of the bit of `b` above the groups.
///
/// # Panics
/// As [`rows`], and when lengths do not agree.
pub fn values(
    path: CpuPath,
    sizes: &[usize],
    b: &[u64],
    dealt: &[u64],
    constant: bool,
    out: &mut [u64],
    top: &mut [u64],
) {
    let (given, made) = rows(sizes);
    check(
        b.len(),
        &[(dealt.len(), given), (out.len(), made), (top.len(), 1)],
    );
    let bits: usize = sizes.iter().sum();
    let path = path.checked();
    let tables = dealt
        .chunks(given * BLOCK)
        .zip(out.chunks_mut(made * BLOCK))
        .zip(top.chunks_mut(BLOCK));
    for (b, ((dealt, out), top)) in b.chunks(NUMBERS).zip(tables) {
        let mut numbers = [0; NUMBERS];
        numbers[..b.len()].copy_from_slice(b);
        let mut planes = [[0; BLOCK]; 64];
        eight_to_planes(path, &mut planes, &numbers);
        top.copy_from_slice(&planes[bits][..top.len()]);
        values_block(path, out, dealt, top.len(), &planes, sizes, constant);
    }
}

/// This party's parts, before a share of zero is added, of the products of a level of the tree over `groups` groups: for each pair of
/// groups that of carries made, then, for all pairs but the first, that of carries passed on. `words`: of a plane.
///
/// # Panics
/// When there are less than two groups, or lengths do not agree.
pub fn products(
    path: CpuPath,
    groups: usize,
    own: &[u64],
    following: &[u64],
    words: usize,
    out: &mut [u64],
) {
    assert!(groups >= 2, "a level of the tree has pairs");
    let (given, made) = (2 * groups - 1, 2 * (groups / 2) - 1);
    assert!(
        own.len() == given * words && following.len() == own.len(),
        "words of the values"
    );
    assert_eq!(out.len(), made * words, "words of the products");
    let tables = own
        .chunks(given * BLOCK)
        .zip(following.chunks(given * BLOCK));
    for ((own, following), out) in tables.zip(out.chunks_mut(made * BLOCK)) {
        products_block(
            path,
            out,
            own,
            following,
            out_words(own.len(), given),
            groups,
        );
    }
}

/// One component of the values of the pairs, from that of the `groups` groups and that of the products. A last group without a
/// partner stays.
///
/// # Panics
/// As [`products`].
pub fn next(
    path: CpuPath,
    groups: usize,
    values: &[u64],
    products: &[u64],
    words: usize,
    out: &mut [u64],
) {
    assert!(groups >= 2, "a level of the tree has pairs");
    let pairs = groups / 2;
    let (given, made, left) = (2 * groups - 1, 2 * pairs - 1, 2 * (groups - pairs) - 1);
    assert_eq!(values.len(), given * words, "words of the values");
    assert_eq!(products.len(), made * words, "words of the products");
    assert_eq!(out.len(), left * words, "words of the next values");
    let tables = values
        .chunks(given * BLOCK)
        .zip(products.chunks(made * BLOCK));
    for ((values, products), out) in tables.zip(out.chunks_mut(left * BLOCK)) {
        next_block(
            path,
            out,
            values,
            products,
            out_words(values.len(), given),
            groups,
        );
    }
}

fn out_words(len: usize, rows: usize) -> usize {
    len / rows
}

compiled! {
    fn deal_block(out: &mut [u64], words: usize, planes: &[Row; 64], sizes: &[usize]) {
        let mut out = out.chunks_mut(words);
        let mut planes = planes.iter();
        for size in sizes {
            let mut monomials = [[u64::MAX; BLOCK]; 1 << MAX_GROUP];
            for (j, plane) in planes.by_ref().take(*size).enumerate() {
                let (before, after) = monomials.split_at_mut(1 << j);
                for (after, before) in after.iter_mut().zip(before) {
                    *after = and(before, plane);
                }
            }
            for (row, out) in monomials[1..1 << size].iter().zip(out.by_ref()) {
                out.copy_from_slice(&row[..words]);
            }
        }
    }
}

compiled! {
    fn values_block(
        out: &mut [u64],
        dealt: &[u64],
        words: usize,
        planes: &[Row; 64],
        sizes: &[usize],
        constant: bool,
    ) {
        let mut dealt = dealt.chunks(words);
        let mut planes = planes.iter();
        for (group, size) in sizes.iter().enumerate() {
            // Coefficients of the products of bits of `a` in whether the bits so far make a carry, and pass one on.
            let mut carry = [[0; BLOCK]; 1 << MAX_GROUP];
            let mut through = [[u64::MAX; BLOCK]; 1 << MAX_GROUP];
            for (j, plane) in planes.by_ref().take(*size).enumerate() {
                // A carry is `a_j·b_j + (a_j + b_j)·(carry before)`: one product stays, times `b_j`, and goes to that with `a_j`.
                for coefficients in [&mut carry, &mut through] {
                    let (before, after) = coefficients.split_at_mut(1 << j);
                    for (after, before) in after.iter_mut().zip(before) {
                        *after = *before;
                        *before = and(before, plane);
                    }
                }
                carry[1 << j] = xor(&carry[1 << j], plane);
            }
            let (mut made, mut passed) = ([0; BLOCK], [0; BLOCK]);
            if constant {
                (made, passed) = (carry[0], through[0]);
            }
            for ((carry, through), dealt) in carry[1..1 << size].iter().zip(&through[1..]).zip(dealt.by_ref()) {
                let mut row = [0; BLOCK];
                row[..words].copy_from_slice(dealt);
                made = xor(&made, &and(carry, &row));
                passed = xor(&passed, &and(through, &row));
            }
            out[group * words..][..words].copy_from_slice(&made[..words]);
            if group > 0 {
                out[(sizes.len() + group - 1) * words..][..words].copy_from_slice(&passed[..words]);
            }
        }
    }
}

compiled! {
    fn products_block(out: &mut [u64], own: &[u64], following: &[u64], words: usize, groups: usize) {
        let pairs = groups / 2;
        for (row, out) in out.chunks_mut(words).enumerate() {
            // Carries made by the lower of pair `row`, or those that the lower of a later pair passes on.
            let (high, low) = if row < pairs {
                (groups + 2 * row, 2 * row)
            } else {
                let pair = row - pairs + 1;
                (groups + 2 * pair, groups + 2 * pair - 1)
            };
            let [x0, x1, y0, y1] = [(own, high), (following, high), (own, low), (following, low)]
                .map(|(table, row)| &table[row * words..][..words]);
            for ((((out, x0), x1), y0), y1) in out.iter_mut().zip(x0).zip(x1).zip(y0).zip(y1) {
                *out = x0 & (y0 ^ y1) ^ x1 & y0;
            }
        }
    }
}

compiled! {
    fn next_block(out: &mut [u64], values: &[u64], products: &[u64], words: usize, groups: usize) {
        let (pairs, left) = (groups / 2, groups - groups / 2);
        let (made, passed) = out.split_at_mut(left * words);
        for (pair, (out, product)) in made.chunks_mut(words).zip(products[..pairs * words].chunks(words)).enumerate() {
            let high = &values[(2 * pair + 1) * words..][..words];
            for ((out, high), product) in out.iter_mut().zip(high).zip(product) {
                *out = high ^ product;
            }
        }
        made[pairs * words..].copy_from_slice(&values[2 * pairs * words..groups * words]);
        let (both, alone) = passed.split_at_mut((pairs - 1) * words);
        both.copy_from_slice(&products[pairs * words..]);
        alone.copy_from_slice(&values[(groups + 2 * pairs - 1) * words..]);
    }
}

#[inline(always)]
fn and(a: &Row, b: &Row) -> Row {
    std::array::from_fn(|i| a[i] & b[i])
}

#[inline(always)]
fn xor(a: &Row, b: &Row) -> Row {
    std::array::from_fn(|i| a[i] ^ b[i])
}
