//! Matrix products modulo `2^64`.
//!
//! Matrices are row-major slices of words. A product is a sum of terms `left·(right + plus)`, so that the local part of a
//! multiplication of replicated shares, `x1·y1 + x1·y2 + x2·y1 = x1·(y1 + y2) + x2·y1`, costs two products and no pass over
//! memory of its own: the sum is made while `right` is packed.
//!
//! The algorithm is that of Goto and van de Geijn (*Anatomy of High-Performance Matrix Multiplication*, 2008): panels of
//! `right` stay in the first cache, blocks of `left` in the second, and a tile of the result in registers. The result is
//! the same, bit for bit, on every path and for every number of threads. Time and addresses depend on the shape alone.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod narrow;
mod pack;
mod portable;
mod scratch;

use std::sync::OnceLock;

use tacit_team::Team;

use crate::cpu::CpuPath;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Halves;
#[cfg(target_arch = "x86_64")]
pub(crate) use ifma::{Fused52, Whole};
pub(crate) use pack::Tile;
pub(crate) use portable::Scalar;
pub(crate) use scratch::Scratch;

/// Sizes of a product: `(rows × depth)·(depth × columns)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of `left` and of the result.
    pub rows: usize,
    /// Columns of `left` and rows of `right`.
    pub depth: usize,
    /// Columns of `right` and of the result.
    pub columns: usize,
}

/// `left·right`, or `left·(right + plus)`.
#[derive(Clone, Copy)]
pub struct Term<'a> {
    /// `rows × depth` words.
    pub left: &'a [u64],
    /// `depth × columns` words.
    pub right: &'a [u64],
    /// As `right`.
    pub plus: Option<&'a [u64]>,
}

/// How the AVX-512 path multiplies. Both give the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiplier {
    /// `vpmullq`, a single operation on AMD.
    Whole,
    /// Three 52-bit multiply-adds, where `vpmullq` is three multiplications and the addition comes on top (Intel).
    Fused52,
}

impl Multiplier {
    /// The faster one of this CPU, by its maker. Asked once: a virtual machine leaves to its host for the answer.
    pub fn detect() -> Self {
        static DETECTED: OnceLock<Multiplier> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                let id = std::arch::x86_64::__cpuid(0);
                let name = [id.ebx, id.edx, id.ecx].map(u32::to_le_bytes);
                if name.as_flattened() == b"AuthenticAMD" {
                    return Self::Whole;
                }
            }
            Self::Fused52
        })
    }
}

/// Columns of `right` that are packed at a time.
const COLUMNS: usize = 1024;

/// Rows of `left` that one thread takes at a time: a multiple of the rows of every tile.
const ROWS: usize = 120;

/// Words of the largest tile, 6 × 32.
pub(crate) const LARGEST_TILE: usize = 192;

/// Below this many multiplications a product stays on the calling thread: some 10 µs of work.
const MIN_PARALLEL: usize = 1 << 18;

/// `out = Σ terms`, modulo `2^64`. `out` has `rows × columns` words. No terms: 0.
///
/// # Panics
/// When a slice has not the length that `shape` asks for.
pub fn matmul(
    path: CpuPath,
    team: Option<&Team>,
    out: &mut [u64],
    shape: Shape,
    terms: &[Term<'_>],
) {
    out.fill(0);
    matmul_add(path, team, out, shape, terms);
}

/// [`matmul`], added to what `out` holds.
///
/// # Panics
/// As [`matmul`].
pub fn matmul_add(
    path: CpuPath,
    team: Option<&Team>,
    out: &mut [u64],
    shape: Shape,
    terms: &[Term<'_>],
) {
    matmul_add_by(path, Multiplier::detect(), team, out, shape, terms);
}

/// One party's part of a product of replicated shares, `x1·y1 + x1·y2 + x2·y1`, **not yet re-randomised**: add a fresh share
/// of zero ([`crate::prg::ZeroSharing`]) before it leaves this party.
///
/// # Panics
/// As [`matmul`].
pub fn replicated_product(
    path: CpuPath,
    team: Option<&Team>,
    out: &mut [u64],
    shape: Shape,
    x: [&[u64]; 2],
    y: [&[u64]; 2],
) {
    let first = Term {
        left: x[0],
        right: y[0],
        plus: Some(y[1]),
    };
    let second = Term {
        left: x[1],
        right: y[0],
        plus: None,
    };
    matmul(path, team, out, shape, &[first, second]);
}

/// [`matmul_add`] with a chosen multiplier; only the AVX-512 path looks at it.
///
/// # Panics
/// As [`matmul`].
pub fn matmul_add_by(
    path: CpuPath,
    multiplier: Multiplier,
    team: Option<&Team>,
    out: &mut [u64],
    shape: Shape,
    terms: &[Term<'_>],
) {
    let Shape {
        rows,
        depth,
        columns,
    } = shape;
    let size = |a: usize, b: usize| a.checked_mul(b).expect("the matrix has a size");
    assert_eq!(out.len(), size(rows, columns), "words of the result");
    for term in terms {
        assert_eq!(term.left.len(), size(rows, depth), "words of `left`");
        assert_eq!(term.right.len(), size(depth, columns), "words of `right`");
        if let Some(plus) = term.plus {
            assert_eq!(plus.len(), term.right.len(), "words of `plus`");
        }
    }
    let path = path.checked();
    if out.is_empty() || depth == 0 {
        return;
    }
    let work = rows.saturating_mul(columns).saturating_mul(depth);
    let team = team.filter(|team| team.threads() > 1 && work >= MIN_PARALLEL);
    if rows < narrow::MIN_ROWS || columns < narrow::MIN_COLUMNS {
        return narrow::matmul_add(path, team, out, shape, terms);
    }
    let blocked = match path {
        #[cfg(target_arch = "x86_64")]
        CpuPath::Ifma if multiplier == Multiplier::Whole => blocked::<Whole>,
        #[cfg(target_arch = "x86_64")]
        CpuPath::Ifma => blocked::<Fused52>,
        #[cfg(target_arch = "x86_64")]
        CpuPath::Avx2 => blocked::<Halves>,
        _ => blocked::<Scalar>,
    };
    for term in terms {
        // SAFETY: `checked` made sure that this CPU has the instructions.
        unsafe { blocked(team, out, shape, term) };
    }
    let _ = multiplier;
}

/// `out += left·(right + plus)` in blocks.
///
/// # Safety
/// This CPU has the instructions of the tile.
unsafe fn blocked<T: Tile>(team: Option<&Team>, out: &mut [u64], shape: Shape, term: &Term<'_>) {
    let Shape {
        rows,
        depth,
        columns,
    } = shape;
    // Each thread gets some blocks, so that the last one is not waited for long.
    let threads = team.map_or(1, Team::threads);
    let wanted = if threads > 1 {
        rows.div_ceil(2 * threads)
    } else {
        rows
    };
    let block_rows = wanted.next_multiple_of(T::ROWS).min(ROWS);
    // Blocks of the depth that are nearly equal.
    let steps = depth.div_ceil(depth.div_ceil(T::DEPTH));
    let mut right =
        Scratch::new(steps * T::RIGHT_PARTS * columns.min(COLUMNS).next_multiple_of(T::COLUMNS));
    for first in (0..columns).step_by(COLUMNS) {
        let width = COLUMNS.min(columns - first);
        for start in (0..depth).step_by(steps) {
            let length = steps.min(depth - start);
            let panel = length * T::RIGHT_PARTS * T::COLUMNS;
            let right = &mut right.words_mut()[..panel * width.div_ceil(T::COLUMNS)];
            let panels = right.chunks_mut(panel).enumerate().collect();
            each(
                team,
                panels,
                || (),
                |(), (i, packed)| {
                    let column = first + i * T::COLUMNS;
                    let offset = start * columns + column;
                    let plus = term.plus.map(|plus| &plus[offset..]);
                    let width = T::COLUMNS.min(columns - column);
                    // SAFETY: the caller made sure of the instructions.
                    unsafe { T::pack_right(packed, &term.right[offset..], plus, columns, width) };
                },
            );
            let right = &*right;
            let blocks = out.chunks_mut(block_rows * columns).enumerate().collect();
            each(
                team,
                blocks,
                || Scratch::new(block_rows * steps * T::LEFT_PARTS),
                |scratch, (i, out)| {
                    let offset = i * block_rows * depth + start;
                    let rows = out.len() / columns;
                    let size = length * T::LEFT_PARTS * T::ROWS;
                    let left = &mut scratch.words_mut()[..size * rows.div_ceil(T::ROWS)];
                    for (i, packed) in left.chunks_mut(size).enumerate() {
                        let row = i * T::ROWS;
                        let left = &term.left[offset + row * depth..];
                        // SAFETY: the caller made sure of the instructions.
                        unsafe { T::pack_left(packed, left, depth, T::ROWS.min(rows - row)) };
                    }
                    for (j, right) in right.chunks(panel).enumerate() {
                        let column = first + j * T::COLUMNS;
                        for (i, left) in left.chunks(size).enumerate() {
                            let row = i * T::ROWS;
                            let inside = Inside {
                                rows: T::ROWS.min(rows - row),
                                columns: T::COLUMNS.min(columns - column),
                            };
                            let out = &mut out[row * columns + column..];
                            // SAFETY: the caller made sure of the instructions.
                            unsafe { add_tile::<T>(out, columns, inside, left, right) };
                        }
                    }
                },
            );
        }
    }
}

/// The part of a tile that lies inside the result.
struct Inside {
    rows: usize,
    columns: usize,
}

/// Adds one tile to `out`, whose first word is the tile's and whose rows are `stride` words apart.
///
/// # Safety
/// This CPU has the instructions of the tile.
#[inline]
unsafe fn add_tile<T: Tile>(
    out: &mut [u64],
    stride: usize,
    inside: Inside,
    left: &[u64],
    right: &[u64],
) {
    if inside.rows == T::ROWS && inside.columns == T::COLUMNS {
        // SAFETY: the caller made sure of the instructions.
        return unsafe { T::multiply(out, stride, left, right) };
    }
    let mut tile = [0; LARGEST_TILE];
    // SAFETY: as above.
    unsafe { T::multiply(&mut tile[..T::ROWS * T::COLUMNS], T::COLUMNS, left, right) };
    let rows = tile.chunks(T::COLUMNS).zip(out.chunks_mut(stride));
    for (tile, out) in rows.take(inside.rows) {
        for (out, tile) in out.iter_mut().zip(&tile[..inside.columns]) {
            *out = out.wrapping_add(*tile);
        }
    }
}

/// `body` of every item, by the team if there is one.
pub(crate) fn each<I: Send, S>(
    team: Option<&Team>,
    items: Vec<I>,
    scratch: impl Fn() -> S + Sync,
    body: impl Fn(&mut S, I) + Sync,
) {
    match team {
        Some(team) if items.len() > 1 => team.for_each_with(items, scratch, body),
        _ => {
            let mut scratch = scratch();
            items.into_iter().for_each(|item| body(&mut scratch, item));
        }
    }
}
