//! Two-dimensional convolutions modulo `2^64`.
//!
//! A convolution is the product of the kernel, a matrix of filters, with the matrix that has one column for each pixel of the
//! result and there the words of the input that the kernel meets. That matrix never lies in memory: a panel of it, some columns
//! wide, is gathered straight into the form that the tiles of [`crate::gemm`] read, and used for all filters while it is in the
//! first cache (as in BLIS-based implicit convolutions, Van Zee and others). With less than three filters in a group (depthwise
//! convolutions) a row of the result is a sum of rows of the input, each times one word.
//!
//! The result is the same, bit for bit, on every path and for every number of threads. Time and addresses depend on the sizes alone.

mod direct;
mod input;

use tacit_team::Team;

use crate::cpu::CpuPath;
use crate::gemm::{self, Multiplier, Scratch, Tile};
use crate::sum::{Sum, Summand, add_up};
use input::Input;

/// Sizes of a convolution; each pair is that of the rows and that of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Images.
    pub samples: usize,
    /// Channels of an image: `groups` times those of the kernel.
    pub channels: usize,
    /// Rows and columns of an image.
    pub image: [usize; 2],
    /// Filters: channels of the result. A multiple of `groups`.
    pub filters: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Steps between pixels of the result, at least 1.
    pub strides: [usize; 2],
    /// Zeros above, to the left, below and to the right of an image.
    pub pads: [usize; 4],
    /// Steps between words of the kernel, at least 1.
    pub dilations: [usize; 2],
    /// Each has its own channels and filters.
    pub groups: usize,
}

/// One summand: the convolution of an image with a kernel.
#[derive(Clone, Copy)]
pub struct Term<'a> {
    /// `samples × channels × rows × columns` words.
    pub input: &'a [u64],
    /// `filters × channels / groups × rows × columns` words.
    pub kernel: &'a [u64],
}

impl Convolution {
    /// Rows and columns of the result. `None` where the sizes disagree or the kernel is larger than the image with its zeros.
    pub fn result(&self) -> Option<[usize; 2]> {
        let whole = self.groups > 0
            && self.channels.is_multiple_of(self.groups)
            && self.filters.is_multiple_of(self.groups);
        let mut result = [0; 2];
        for (i, result) in result.iter_mut().enumerate() {
            let padded = self.padded(i)?;
            let steps = self.kernel[i].checked_sub(1)?;
            let reach = steps.checked_mul(self.dilations[i])?.checked_add(1)?;
            if self.strides[i] == 0 || self.dilations[i] == 0 {
                return None;
            }
            *result = padded.checked_sub(reach)? / self.strides[i] + 1;
        }
        whole.then_some(result)
    }

    /// Rows or columns of an image with its zeros.
    fn padded(&self, axis: usize) -> Option<usize> {
        self.image[axis]
            .checked_add(self.pads[axis])?
            .checked_add(self.pads[axis + 2])
    }

    /// Words of input, kernel and result; `None` as [`Self::result`], or where one is too large to be addressed.
    pub fn words(&self) -> Option<[usize; 3]> {
        let product = |sizes: [usize; 4]| {
            sizes
                .into_iter()
                .try_fold(1usize, usize::checked_mul)
                .filter(|words| *words <= isize::MAX as usize / 8)
        };
        let [rows, columns] = self.result()?;
        product([
            self.samples,
            self.channels,
            self.padded(0)?,
            self.padded(1)?,
        ])?;
        Some([
            product([self.samples, self.channels, self.image[0], self.image[1]])?,
            product([
                self.filters,
                self.channels / self.groups,
                self.kernel[0],
                self.kernel[1],
            ])?,
            product([self.samples, self.filters, rows, columns])?,
        ])
    }

    /// Channels of a group.
    fn group_channels(&self) -> usize {
        self.channels / self.groups
    }

    /// Words of a filter: products in a word of the result.
    fn depth(&self) -> usize {
        self.group_channels() * self.kernel[0] * self.kernel[1]
    }
}

/// Below this many multiplications a convolution stays on the calling thread: some 10 µs of work.
const MIN_PARALLEL: usize = 1 << 18;

/// Filters whose panels are packed together: with [`Tile::DEPTH`] they fit the second cache.
const FILTERS: usize = 240;

/// Columns for which an image is copied with its zeros at a time.
const COLUMNS: usize = 2048;

/// Groups with fewer filters are convolved row by row.
const MIN_FILTERS: usize = 3;

/// `out = Σ terms`, modulo `2^64`: `samples × filters × rows × columns` words.
///
/// # Panics
/// When the sizes disagree, or a slice has not the length that they ask for.
pub fn convolve(
    path: CpuPath,
    team: Option<&Team>,
    out: &mut [u64],
    sizes: &Convolution,
    terms: &[Term<'_>],
) {
    convolve_by(path, Multiplier::detect(), team, out, sizes, terms);
}

/// One party's part of a convolution of replicated shares, `k1·x1 + k1·x2 + k2·x1`, **not yet re-randomised**: add a fresh share
/// of zero ([`crate::prg::ZeroSharing`]) before it leaves this party.
///
/// # Panics
/// As [`convolve`].
pub fn replicated_convolve(
    path: CpuPath,
    team: Option<&Team>,
    out: &mut [u64],
    sizes: &Convolution,
    x: [&[u64]; 2],
    kernel: [&[u64]; 2],
) {
    let mut both = vec![0; kernel[0].len()];
    let parts = kernel.map(Summand::Words).into();
    add_up(path, &mut both, &mut Sum::of(parts)).expect("words do not end");
    let terms = [
        Term {
            input: x[0],
            kernel: &both,
        },
        Term {
            input: x[1],
            kernel: kernel[0],
        },
    ];
    convolve(path, team, out, sizes, &terms);
}

/// [`convolve`] with a chosen multiplier; only the AVX-512 path looks at it.
///
/// # Panics
/// As [`convolve`].
pub fn convolve_by(
    path: CpuPath,
    multiplier: Multiplier,
    team: Option<&Team>,
    out: &mut [u64],
    sizes: &Convolution,
    terms: &[Term<'_>],
) {
    let [input, kernel, result] = sizes.words().expect("a convolution that fits");
    assert_eq!(out.len(), result, "words of the result");
    for term in terms {
        assert_eq!(term.input.len(), input, "words of the input");
        assert_eq!(term.kernel.len(), kernel, "words of the kernel");
    }
    let path = path.checked();
    out.fill(0);
    if out.is_empty() || sizes.depth() == 0 {
        return;
    }
    let work = out.len().saturating_mul(sizes.depth());
    let team = team.filter(|team| team.threads() > 1 && work >= MIN_PARALLEL);
    let add: unsafe fn(CpuPath, &mut [u64], &Convolution, &Part, &Term<'_>) = match path {
        _ if sizes.filters / sizes.groups < MIN_FILTERS => direct::convolve_add,
        #[cfg(target_arch = "x86_64")]
        CpuPath::Ifma if multiplier == Multiplier::Whole => by_tiles::<gemm::Whole>,
        #[cfg(target_arch = "x86_64")]
        CpuPath::Ifma => by_tiles::<gemm::Fused52>,
        #[cfg(target_arch = "x86_64")]
        CpuPath::Avx2 => by_tiles::<gemm::Halves>,
        _ => by_tiles::<gemm::Scalar>,
    };
    let _ = multiplier;
    let pieces = split(out, sizes, team.map_or(1, Team::threads));
    gemm::each(
        team,
        pieces,
        || (),
        |(), (part, out)| {
            for term in terms {
                // SAFETY: `checked` made sure that this CPU has the instructions.
                unsafe { add(path, out, sizes, &part, term) };
            }
        },
    );
}

/// Neighbouring words of the result: all filters of some samples, or some filters of one sample.
struct Part {
    first_sample: usize,
    samples: usize,
    first_filter: usize,
    filters: usize,
}

impl Part {
    /// The groups that have filters of this part, with the first of these and their number.
    fn groups(&self, sizes: &Convolution) -> impl Iterator<Item = (usize, usize, usize)> {
        let each = sizes.filters / sizes.groups;
        let (first, end) = (self.first_filter, self.first_filter + self.filters);
        (first / each..end.div_ceil(each)).map(move |group| {
            let begin = first.max(group * each);
            (group, begin, end.min((group + 1) * each) - begin)
        })
    }
}

/// The parts that threads take, each with its words of the result.
fn split<'a>(
    out: &'a mut [u64],
    sizes: &Convolution,
    threads: usize,
) -> Vec<(Part, &'a mut [u64])> {
    let image = out.len() / sizes.samples;
    // Each thread gets some parts, so that the last one is not waited for long.
    let wanted = if threads > 1 { 2 * threads } else { 1 };
    if sizes.samples >= wanted {
        let each = sizes.samples.div_ceil(wanted);
        let parts = out.chunks_mut(each * image).enumerate().map(|(i, out)| {
            let part = Part {
                first_sample: i * each,
                samples: out.len() / image,
                first_filter: 0,
                filters: sizes.filters,
            };
            (part, out)
        });
        return parts.collect();
    }
    let pixels = image / sizes.filters;
    // Whole tiles of every form.
    let each = (sizes.samples * sizes.filters)
        .div_ceil(wanted)
        .next_multiple_of(12);
    let images = out.chunks_mut(image).enumerate();
    let parts = images.flat_map(|(first_sample, out)| {
        let filters = out.chunks_mut(each * pixels).enumerate();
        filters.map(move |(i, out)| {
            let part = Part {
                first_sample,
                samples: 1,
                first_filter: i * each,
                filters: out.len() / pixels,
            };
            (part, out)
        })
    });
    parts.collect()
}

/// Adds a term to a part, by tiles.
///
/// # Safety
/// This CPU has the instructions of the tile.
unsafe fn by_tiles<T: Tile>(
    _path: CpuPath,
    out: &mut [u64],
    sizes: &Convolution,
    part: &Part,
    term: &Term<'_>,
) {
    let image = out.len() / part.samples;
    let pixels = image / part.filters;
    let depth = sizes.depth();
    let together = (COLUMNS / pixels).max(1);
    for (i, out) in out.chunks_mut(together * image).enumerate() {
        let first = part.first_sample + i * together;
        for (group, filter, filters) in part.groups(sizes) {
            let samples = out.len() / image;
            let input = Input::of(sizes, term.input, first..first + samples, group, T::COLUMNS);
            let kernel = &term.kernel[filter * depth..][..filters * depth];
            let offset = (filter - part.first_filter) * pixels;
            let place = Place {
                pixels,
                image,
                columns: samples * pixels,
            };
            // SAFETY: the caller made sure of the instructions.
            unsafe { multiply::<T>(&mut out[offset..], &place, kernel, depth, &input) };
        }
    }
}

/// Where the columns of a product lie: neighbours in an image, `image` words from one image to the next, `pixels` words from the
/// result of one filter to the next.
struct Place {
    pixels: usize,
    image: usize,
    columns: usize,
}

/// `out += kernel·input`.
///
/// # Safety
/// This CPU has the instructions of the tile.
unsafe fn multiply<T: Tile>(
    out: &mut [u64],
    place: &Place,
    kernel: &[u64],
    depth: usize,
    input: &Input<'_>,
) {
    // Blocks of the depth that are nearly equal.
    let steps = depth.div_ceil(depth.div_ceil(T::DEPTH));
    let block = FILTERS.min((kernel.len() / depth).next_multiple_of(T::ROWS));
    let mut left = Scratch::new(block * steps * T::LEFT_PARTS);
    let mut right = Scratch::new(T::COLUMNS * steps * T::RIGHT_PARTS);
    for start in (0..depth).step_by(steps) {
        let length = steps.min(depth - start);
        let size = length * T::LEFT_PARTS * T::ROWS;
        let right = &mut right.words_mut()[..length * T::RIGHT_PARTS * T::COLUMNS];
        for (i, kernel) in kernel.chunks(FILTERS * depth).enumerate() {
            let filters = kernel.len() / depth;
            let left = &mut left.words_mut()[..size * filters.div_ceil(T::ROWS)];
            for (i, packed) in left.chunks_mut(size).enumerate() {
                let row = i * T::ROWS;
                let words = &kernel[row * depth + start..];
                // SAFETY: the caller made sure of the instructions.
                unsafe { T::pack_left(packed, words, depth, T::ROWS.min(filters - row)) };
            }
            for column in (0..place.columns).step_by(T::COLUMNS) {
                let at = &input.at[column..column + T::COLUMNS];
                let steps = &input.steps[start..start + length];
                // SAFETY: as above.
                unsafe { T::gather_right(right, &input.words, at, steps) };
                for (j, left) in left.chunks(size).enumerate() {
                    let row = j * T::ROWS;
                    let rows = T::ROWS.min(filters - row);
                    let row = i * FILTERS + row;
                    // SAFETY: as above.
                    unsafe { add_tile::<T>(out, place, (row, rows), column, left, right) };
                }
            }
        }
    }
}

/// Adds one tile to some rows of the result, and to the columns from `column` on that are there.
///
/// # Safety
/// This CPU has the instructions of the tile.
#[inline]
unsafe fn add_tile<T: Tile>(
    out: &mut [u64],
    place: &Place,
    (row, rows): (usize, usize),
    column: usize,
    left: &[u64],
    right: &[u64],
) {
    let (sample, pixel) = (column / place.pixels, column % place.pixels);
    let first = sample * place.image + row * place.pixels + pixel;
    if rows == T::ROWS && pixel + T::COLUMNS <= place.pixels {
        // SAFETY: the caller made sure of the instructions.
        return unsafe { T::multiply(&mut out[first..], place.pixels, left, right) };
    }
    let mut tile = [0; gemm::LARGEST_TILE];
    // SAFETY: as above.
    unsafe { T::multiply(&mut tile[..T::ROWS * T::COLUMNS], T::COLUMNS, left, right) };
    let columns = T::COLUMNS.min(place.columns - column);
    for (i, tile) in tile.chunks(T::COLUMNS).take(rows).enumerate() {
        let (mut line, mut pixel) = (first - pixel + i * place.pixels, pixel);
        let mut tile = &tile[..columns];
        while !tile.is_empty() {
            // As far as the image goes.
            let (now, rest) = tile.split_at(tile.len().min(place.pixels - pixel));
            for (out, word) in out[line + pixel..].iter_mut().zip(now) {
                *out = out.wrapping_add(*word);
            }
            (tile, pixel, line) = (rest, 0, line + place.image);
        }
    }
}
