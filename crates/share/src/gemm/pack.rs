//! The form in which the tiles read their factors.

/// A kernel that adds the product of two packed panels to `ROWS × COLUMNS` words of the result.
///
/// Each factor is packed in one or two parts: the words themselves, and a second encoding that the kernel needs. A panel of
/// `left` has `ROWS` words of the first part, then of the second, for each step of the depth; one of `right` `COLUMNS`.
///
/// # Safety
/// The functions may be called on a CPU that has the instructions of the tile.
pub(super) trait Tile {
    const ROWS: usize;
    const COLUMNS: usize;
    const LEFT_PARTS: usize;
    const RIGHT_PARTS: usize;
    /// Steps of the depth that are taken at a time: a panel of `right` fits the first cache.
    const DEPTH: usize;

    /// `rows` rows of `left`, `stride` words apart, as many words of each as `packed` has room for. Missing rows are 0.
    unsafe fn pack_left(packed: &mut [u64], left: &[u64], stride: usize, rows: usize);

    /// `width` columns of the rows of `right + plus`, `stride` words apart. Missing columns are 0.
    unsafe fn pack_right(
        packed: &mut [u64],
        right: &[u64],
        plus: Option<&[u64]>,
        stride: usize,
        width: usize,
    );

    /// `out[i·stride + j] += Σ left[k][i]·right[k][j]`.
    unsafe fn multiply(out: &mut [u64], stride: usize, left: &[u64], right: &[u64]);
}

/// [`Tile::pack_left`] with `second` as the other encoding; to be inlined where the instructions are on.
#[inline(always)]
pub(super) fn left<const ROWS: usize, const PARTS: usize>(
    packed: &mut [u64],
    left: &[u64],
    stride: usize,
    rows: usize,
    second: impl Fn(u64) -> u64,
) {
    let depth = packed.len() / (PARTS * ROWS);
    // Rows beyond the last one read the first, and count for nothing.
    let row = |i: usize| &left[if i < rows { i * stride } else { 0 }..][..depth];
    let lines: [&[u64]; ROWS] = std::array::from_fn(row);
    let kept: [u64; ROWS] = std::array::from_fn(|i| if i < rows { u64::MAX } else { 0 });
    for (k, packed) in packed.chunks_exact_mut(PARTS * ROWS).enumerate() {
        let words: [u64; ROWS] = std::array::from_fn(|i| lines[i][k] & kept[i]);
        packed[..ROWS].copy_from_slice(&words);
        if PARTS == 2 {
            packed[ROWS..].copy_from_slice(&words.map(&second));
        }
    }
}

/// [`Tile::pack_right`] with `second` as the other encoding; to be inlined where the instructions are on.
#[inline(always)]
pub(super) fn right<const COLUMNS: usize, const PARTS: usize>(
    packed: &mut [u64],
    right: &[u64],
    plus: Option<&[u64]>,
    stride: usize,
    width: usize,
    second: impl Fn(u64) -> u64,
) {
    for (k, packed) in packed.chunks_exact_mut(PARTS * COLUMNS).enumerate() {
        let row = k * stride..k * stride + width;
        let mut words = [0; COLUMNS];
        if width == COLUMNS {
            words.copy_from_slice(&right[row.start..][..COLUMNS]);
        } else {
            words[..width].copy_from_slice(&right[row.clone()]);
        }
        if let Some(plus) = plus {
            for (word, plus) in words.iter_mut().zip(&plus[row]) {
                *word = word.wrapping_add(*plus);
            }
        }
        packed[..COLUMNS].copy_from_slice(&words);
        if PARTS == 2 {
            packed[COLUMNS..].copy_from_slice(&words.map(&second));
        }
    }
}

/// [`Tile::pack_left`] and [`Tile::pack_right`] of a tile, compiled for its instructions.
#[cfg(target_arch = "x86_64")]
macro_rules! packing {
    ($features:literal, $second:expr) => {
        unsafe fn pack_left(packed: &mut [u64], left: &[u64], stride: usize, rows: usize) {
            #[target_feature(enable = $features)]
            fn compiled(packed: &mut [u64], left: &[u64], stride: usize, rows: usize) {
                pack::left::<ROWS, LEFT_PARTS>(packed, left, stride, rows, $second);
            }
            // SAFETY: the caller made sure of the instructions.
            unsafe { compiled(packed, left, stride, rows) }
        }

        unsafe fn pack_right(
            packed: &mut [u64],
            right: &[u64],
            plus: Option<&[u64]>,
            stride: usize,
            width: usize,
        ) {
            #[target_feature(enable = $features)]
            fn compiled(
                packed: &mut [u64],
                right: &[u64],
                plus: Option<&[u64]>,
                stride: usize,
                width: usize,
            ) {
                pack::right::<COLUMNS, RIGHT_PARTS>(packed, right, plus, stride, width, $second);
            }
            // SAFETY: the caller made sure of the instructions.
            unsafe { compiled(packed, right, plus, stride, width) }
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use packing;
