//! The form in which the tiles read their factors.

/// A kernel that adds the product of two packed panels to `ROWS × COLUMNS` words of the result.
///
/// Each factor is packed in one or two parts: the words themselves, and a second encoding that the kernel needs. A panel of
/// `left` has `ROWS` words of the first part, then of the second, for each step of the depth; one of `right` `COLUMNS`.
///
/// # Safety
/// The functions may be called on a CPU that has the instructions of the tile.
pub(crate) trait Tile {
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

    /// The columns that begin at `at` (as many as the tile has), of which row `k` is the word `steps[k]` further on.
    unsafe fn gather_right(packed: &mut [u64], words: &[u64], at: &[usize], steps: &[usize]);

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

/// [`Tile::gather_right`] with `second` as the other encoding; to be inlined where the instructions are on.
#[inline(always)]
pub(super) fn gathered<const COLUMNS: usize, const PARTS: usize>(
    packed: &mut [u64],
    words: &[u64],
    at: &[usize],
    steps: &[usize],
    second: impl Fn(u64) -> u64,
) {
    /// Words that are read together where they are neighbours; a divisor of the columns of every tile.
    const NEIGHBOURS: usize = 8;
    let at: &[usize; COLUMNS] = at.try_into().expect("a place for each column");
    let groups = at.as_chunks::<NEIGHBOURS>().0;
    let are_neighbours = groups
        .iter()
        .all(|group| (group[0]..).zip(group).all(|(a, b)| a == *b));
    let rows = packed.chunks_exact_mut(PARTS * COLUMNS).zip(steps);
    for (packed, &step) in rows {
        let words = &words[step..];
        let mut row = [0; COLUMNS];
        if are_neighbours {
            for (row, at) in row.as_chunks_mut::<NEIGHBOURS>().0.iter_mut().zip(groups) {
                row.copy_from_slice(&words[at[0]..][..NEIGHBOURS]);
            }
        } else {
            for (word, at) in row.iter_mut().zip(at) {
                *word = words[*at];
            }
        }
        packed[..COLUMNS].copy_from_slice(&row);
        if PARTS == 2 {
            packed[COLUMNS..].copy_from_slice(&row.map(&second));
        }
    }
}

/// The packing functions of a [`Tile`], compiled for its instructions.
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

        unsafe fn gather_right(packed: &mut [u64], words: &[u64], at: &[usize], steps: &[usize]) {
            #[target_feature(enable = $features)]
            fn compiled(packed: &mut [u64], words: &[u64], at: &[usize], steps: &[usize]) {
                pack::gathered::<COLUMNS, RIGHT_PARTS>(packed, words, at, steps, $second);
            }
            // SAFETY: the caller made sure of the instructions.
            unsafe { compiled(packed, words, at, steps) }
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use packing;
