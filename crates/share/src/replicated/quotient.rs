//! Quotients by a power of two with a mask that costs nothing, exact up to the direction of rounding.
//!
//! The quotient is that of [`crate::trunc`]: with `c = z + 2^62 + r` opened, `m` and `t` the top bits of `c` and `r`,
//!
//! `((c mod 2^63) >> cut) - 2^(62-cut) + 2^(63-cut)·m + 2^(63-cut)·t - ((r mod 2^63) >> cut) - 2^(64-cut)·m·t`.
//!
//! Positions 0 and 1 know `c`, position 2 knows `r`. Of `m·t` only `cut` bits count: they travel as numbers modulo `2^cut` in
//! fields of 8, 16, 32 or 64 bits, packed as this module does: of each chunk of [`CHUNK`] numbers, field `j` of word `k` belongs to
//! number `k + j·words`, for `words` words in the chunk. Streams are read chunk by chunk, in the order that each function names.

use crate::compiled::compiled;
use crate::cpu::CpuPath;
use crate::prg::{Stream, StreamExhaustedError};
use crate::trunc::MAX_BITS;

/// Numbers that are worked on at a time.
pub const CHUNK: usize = 1024;

/// `2^62`.
const OFFSET: u64 = 1 << 62;

/// All but the top bit.
const LOW: u64 = u64::MAX >> 1;

/// Bits of a field.
fn field_bits(cut: u32) -> usize {
    cut.next_power_of_two().max(8) as usize
}

/// Words that hold `n` numbers modulo `2^cut`.
pub fn field_words(n: usize, cut: u32) -> usize {
    // Whole chunks fill their words.
    (n * field_bits(cut)).div_ceil(64)
}

fn check(cut: u32, n: usize, words: &[usize], fields: &[usize]) {
    assert!((1..=MAX_BITS).contains(&cut), "1 to 62 bits are cut off");
    assert!(words.iter().all(|&len| len == n), "words for each number");
    let wanted = field_words(n, cut);
    assert!(
        fields.iter().all(|&len| len == wanted),
        "words of packed fields"
    );
}

/// What position 2 does, which knows `r = -part`: `rest` is `2^(63-cut)·t - ((r mod 2^63) >> cut) - base`, `tops` is `t - top`;
/// both are sent to position 1. `mine` are its components of the quotient. Of `following`: base, top, mask; of `own`: mask.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing may be sent.
///
/// # Panics
/// When lengths do not agree, or `cut` is not from 1 to 62.
#[expect(
    clippy::too_many_arguments,
    reason = "two results, two components, two streams"
)]
pub fn helper(
    path: CpuPath,
    cut: u32,
    part: &[u64],
    own: &mut Stream,
    following: &mut Stream,
    rest: &mut [u64],
    tops: &mut [u64],
    mine: [&mut [u64]; 2],
) -> Result<(), StreamExhaustedError> {
    let [own_part, base] = mine;
    check(
        cut,
        part.len(),
        &[rest.len(), own_part.len(), base.len()],
        &[tops.len()],
    );
    let stride = field_words(CHUNK, cut);
    let (mut mask, mut base_mask) = ([0; CHUNK], [0; CHUNK]);
    let chunks = part
        .chunks(CHUNK)
        .zip(rest.chunks_mut(CHUNK))
        .zip(tops.chunks_mut(stride));
    let mine = own_part.chunks_mut(CHUNK).zip(base.chunks_mut(CHUNK));
    for (((part, rest), tops), (own_part, base)) in chunks.zip(mine) {
        let (mask, base_mask) = (&mut mask[..tops.len()], &mut base_mask[..tops.len()]);
        following.fill(base)?;
        following.fill(tops)?;
        following.fill(base_mask)?;
        own.fill(mask)?;
        helper_chunk(path, rest, tops, own_part, base, part, mask, base_mask, cut);
    }
    Ok(())
}

/// What position 0 does once it has `other`, the part of position 1: `turned` is sent to it, `base` is component 0,
/// `public` will be component 1 ([`finish`]). Of `own`: base, top, mask.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing may be sent.
///
/// # Panics
/// When lengths do not agree, or `cut` is not from 1 to 62.
#[expect(clippy::too_many_arguments, reason = "three results")]
pub fn first(
    path: CpuPath,
    cut: u32,
    part: &[u64],
    other: &[u64],
    own: &mut Stream,
    turned: &mut [u64],
    base: &mut [u64],
    public: &mut [u64],
) -> Result<(), StreamExhaustedError> {
    check(
        cut,
        part.len(),
        &[other.len(), base.len(), public.len()],
        &[turned.len()],
    );
    let stride = field_words(CHUNK, cut);
    let (mut top, mut mask) = ([0; CHUNK], [0; CHUNK]);
    let chunks = part
        .chunks(CHUNK)
        .zip(other.chunks(CHUNK))
        .zip(turned.chunks_mut(stride));
    for (((part, other), turned), (base, public)) in
        chunks.zip(base.chunks_mut(CHUNK).zip(public.chunks_mut(CHUNK)))
    {
        let (top, mask) = (&mut top[..turned.len()], &mut mask[..turned.len()]);
        own.fill(base)?;
        own.fill(top)?;
        own.fill(mask)?;
        opened_chunk(path, turned, public, base, part, other, top, mask, cut);
    }
    Ok(())
}

/// What position 1 does once it has `other`, the part of position 0, and `rest` and `tops` of position 2: `turned` is sent to
/// position 0, `masked` is component 2, `public` will be component 1 ([`finish`]). Of `following`: mask.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing may be sent.
///
/// # Panics
/// When lengths do not agree, or `cut` is not from 1 to 62.
#[expect(clippy::too_many_arguments, reason = "three results")]
pub fn second(
    path: CpuPath,
    cut: u32,
    part: &[u64],
    other: &[u64],
    rest: &[u64],
    tops: &[u64],
    following: &mut Stream,
    turned: &mut [u64],
    public: &mut [u64],
    masked: &mut [u64],
) -> Result<(), StreamExhaustedError> {
    check(
        cut,
        part.len(),
        &[other.len(), rest.len(), public.len(), masked.len()],
        &[turned.len(), tops.len()],
    );
    let stride = field_words(CHUNK, cut);
    let mut mask = [0; CHUNK];
    let chunks = part
        .chunks(CHUNK)
        .zip(other.chunks(CHUNK))
        .zip(turned.chunks_mut(stride));
    let dealt = rest.chunks(CHUNK).zip(tops.chunks(stride));
    let results = public.chunks_mut(CHUNK).zip(masked.chunks_mut(CHUNK));
    for ((((part, other), turned), (rest, tops)), (public, masked)) in
        chunks.zip(dealt).zip(results)
    {
        let mask = &mut mask[..turned.len()];
        following.fill(mask)?;
        masked.copy_from_slice(rest);
        opened_chunk(path, turned, public, masked, part, other, tops, mask, cut);
    }
    Ok(())
}

/// The last step of positions 0 and 1: `public -= 2^(64-cut)·(sent + received)`, for the fields that both exchanged.
///
/// # Panics
/// When lengths do not agree, or `cut` is not from 1 to 62.
pub fn finish(path: CpuPath, cut: u32, public: &mut [u64], sent: &[u64], received: &[u64]) {
    check(cut, public.len(), &[], &[sent.len(), received.len()]);
    let stride = field_words(CHUNK, cut);
    let fields = sent.chunks(stride).zip(received.chunks(stride));
    for (public, (sent, received)) in public.chunks_mut(CHUNK).zip(fields) {
        finish_chunk(path, public, sent, received, cut);
    }
}

compiled! {
    #[expect(clippy::too_many_arguments, reason = "see `helper`")]
    fn helper_chunk(
        rest: &mut [u64],
        tops: &mut [u64],
        own_part: &mut [u64],
        base: &mut [u64],
        part: &[u64],
        mask: &[u64],
        base_mask: &[u64],
        cut: u32,
    ) {
        let (words, bits) = (tops.len(), field_bits(cut));
        let field = u64::MAX >> (64 - bits);
        for (rest, (part, base)) in rest.iter_mut().zip(part.iter().zip(&*base)) {
            let r = part.wrapping_neg();
            *rest = ((r >> 63) << (63 - cut)).wrapping_sub((r & LOW) >> cut).wrapping_sub(*base);
        }
        subtract_fields(own_part, Some(rest), mask, bits, cut);
        subtract_fields(base, None, base_mask, bits, cut);
        let top = &mut [0; CHUNK][..words];
        top.copy_from_slice(tops);
        tops.fill(0);
        for (j, part) in part.chunks(words).enumerate() {
            for ((out, top), part) in tops.iter_mut().zip(&*top).zip(part) {
                let bit = part.wrapping_neg() >> 63;
                *out |= (bit.wrapping_sub(top >> (j * bits)) & field) << (j * bits);
            }
        }
    }
}

compiled! {
    #[expect(clippy::too_many_arguments, reason = "see `first` and `second`")]
    fn opened_chunk(
        turned: &mut [u64],
        public: &mut [u64],
        masked: &mut [u64],
        part: &[u64],
        other: &[u64],
        top: &[u64],
        mask: &[u64],
        cut: u32,
    ) {
        let (words, bits) = (turned.len(), field_bits(cut));
        let field = u64::MAX >> (64 - bits);
        // First c, which stands where the public part of the quotient will.
        for ((c, part), other) in public.iter_mut().zip(part).zip(other) {
            *c = part.wrapping_add(*other).wrapping_add(OFFSET);
        }
        turned.fill(0);
        for (j, c) in public.chunks(words).enumerate() {
            for (((out, top), mask), c) in turned.iter_mut().zip(top).zip(mask).zip(c) {
                let product = (c >> 63).wrapping_neg() & (top >> (j * bits));
                *out |= (product.wrapping_sub(mask >> (j * bits)) & field) << (j * bits);
            }
        }
        for c in public.iter_mut() {
            let sign = *c >> 63;
            *c = ((*c & LOW) >> cut).wrapping_sub(OFFSET >> cut).wrapping_add(sign << (63 - cut));
        }
        subtract_fields(masked, None, mask, bits, cut);
    }
}

compiled! {
    fn finish_chunk(public: &mut [u64], sent: &[u64], received: &[u64], cut: u32) {
        let bits = field_bits(cut);
        for (j, public) in public.chunks_mut(sent.len()).enumerate() {
            for ((public, sent), received) in public.iter_mut().zip(sent).zip(received) {
                let sum = (sent >> (j * bits)).wrapping_add(received >> (j * bits));
                *public = public.wrapping_sub(sum << (64 - cut));
            }
        }
    }
}

/// `out = (from or out) - 2^(64-cut)·field`.
#[inline(always)]
fn subtract_fields(out: &mut [u64], from: Option<&[u64]>, fields: &[u64], bits: usize, cut: u32) {
    if let Some(from) = from {
        out.copy_from_slice(from);
    }
    for (j, out) in out.chunks_mut(fields.len()).enumerate() {
        for (out, field) in out.iter_mut().zip(fields) {
            *out = out.wrapping_sub((field >> (j * bits)) << (64 - cut));
        }
    }
}
