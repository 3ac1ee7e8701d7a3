//! Convolutions of groups with few filters: rows of the input, each times one word.

use super::input::Input;
use super::{Convolution, Part, Term};
use crate::compiled::compiled;
use crate::cpu::CpuPath;

/// Adds a term to a part.
pub(super) fn convolve_add(
    path: CpuPath,
    out: &mut [u64],
    sizes: &Convolution,
    part: &Part,
    term: &Term<'_>,
) {
    let image = out.len() / part.samples;
    let pixels = image / part.filters;
    let columns = sizes.result().map_or(1, |[_, columns]| columns);
    let depth = sizes.depth();
    for (i, out) in out.chunks_mut(image).enumerate() {
        let sample = part.first_sample + i;
        for (group, filter, filters) in part.groups(sizes) {
            let input = Input::of(sizes, term.input, sample..sample + 1, group, 1);
            let offset = (filter - part.first_filter) * pixels;
            let kernels = term.kernel[filter * depth..][..filters * depth].chunks(depth);
            for (out, kernel) in out[offset..].chunks_mut(pixels).zip(kernels) {
                let firsts = input.at.iter().step_by(columns);
                for (out, first) in out.chunks_mut(columns).zip(firsts) {
                    let words = &input.words[*first..];
                    add_row(path, out, words, sizes.strides[1], &input.steps, kernel);
                }
            }
        }
    }
}

compiled! {
    /// `out[x] += Σ kernel[k]·words[steps[k] + x·stride]`.
    fn add_row(out: &mut [u64], words: &[u64], stride: usize, steps: &[usize], kernel: &[u64]) {
        for (step, weight) in steps.iter().zip(kernel) {
            let words = &words[*step..];
            if stride == 1 {
                for (out, word) in out.iter_mut().zip(words) {
                    *out = out.wrapping_add(weight.wrapping_mul(*word));
                }
            } else {
                for (out, word) in out.iter_mut().zip(words.iter().step_by(stride)) {
                    *out = out.wrapping_add(weight.wrapping_mul(*word));
                }
            }
        }
    }
}
