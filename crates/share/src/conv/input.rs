//! Where the words lie that a kernel meets.

use std::borrow::Cow;
use std::ops::Range;

use super::Convolution;

/// One group of channels of some samples. The word that pixel `q` of the result and word `k` of a filter multiply is
/// `words[at[q] + steps[k]]`.
pub(super) struct Input<'a> {
    pub(super) words: Cow<'a, [u64]>,
    /// By pixel, row after row and image after image; then the last one again up to a multiple of what was asked for.
    pub(super) at: Vec<usize>,
    /// By word of a filter.
    pub(super) steps: Vec<usize>,
}

impl<'a> Input<'a> {
    /// Of the whole input. Images that need zeros around them are copied.
    pub(super) fn of(
        sizes: &Convolution,
        input: &'a [u64],
        samples: Range<usize>,
        group: usize,
        multiple: usize,
    ) -> Self {
        let [height, width] = sizes.image;
        let [top, left, bottom, right] = sizes.pads;
        let channels = sizes.group_channels();
        let (image, channel) = (sizes.channels * height * width, height * width);
        let first = samples.start * image + group * channels * channel;
        if sizes.pads == [0; 4] {
            let end = (samples.end - 1) * image + (group + 1) * channels * channel;
            let words = Cow::Borrowed(&input[first..end]);
            return Self::laid_out(
                sizes,
                words,
                samples.len(),
                [image, channel, width],
                multiple,
            );
        }
        let (rows, row) = (top + height + bottom, left + width + right);
        let mut words = vec![0; samples.len() * channels * rows * row];
        let lines = words.chunks_mut(rows * row).enumerate();
        for (i, padded) in lines {
            let from = first + i / channels * image + i % channels * channel;
            let inside = padded[top * row..].chunks_mut(row).take(height);
            for (padded, line) in inside.zip(input[from..][..channel].chunks(width.max(1))) {
                padded[left..left + width].copy_from_slice(line);
            }
        }
        let strides = [channels * rows * row, rows * row, row];
        Self::laid_out(sizes, Cow::Owned(words), samples.len(), strides, multiple)
    }

    /// `strides`: words from an image, a channel and a row to the next.
    fn laid_out(
        sizes: &Convolution,
        words: Cow<'a, [u64]>,
        samples: usize,
        [image, channel, row]: [usize; 3],
        multiple: usize,
    ) -> Self {
        let [rows, columns] = sizes.result().unwrap_or([0; 2]);
        let ([down, across], [far_down, far_across]) = (sizes.strides, sizes.dilations);
        let mut at = Vec::with_capacity((samples * rows * columns).next_multiple_of(multiple));
        for sample in 0..samples {
            for y in 0..rows {
                let first = sample * image + y * down * row;
                at.extend((0..columns).map(|x| first + x * across));
            }
        }
        at.resize(
            at.len().next_multiple_of(multiple),
            at.last().copied().unwrap_or(0),
        );
        let mut steps = Vec::with_capacity(sizes.depth());
        for c in 0..sizes.group_channels() {
            for i in 0..sizes.kernel[0] {
                let first = c * channel + i * far_down * row;
                steps.extend((0..sizes.kernel[1]).map(|j| first + j * far_across));
            }
        }
        Self { words, at, steps }
    }
}
