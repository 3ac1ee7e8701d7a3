//! Division by a power of two of a shared fixed-point number, with an error below one unit in the last place.
//!
//! The method of Escudero, Ghosh, Keller, Rachuri and Scholl (CRYPTO 2020, ia.cr/2020/338, section 5.1), with a mask whose bits
//! are shared. Let `x` be signed with `-2^62 <= x < 2^62`, so that `u = x + 2^62` is below `2^63`, and let `r` be uniform. The
//! parties open `c = u + r mod 2^64`, which is uniform and tells nothing. Then `u + (r mod 2^63) = (c mod 2^63) + 2^63·w` for a
//! carry `w` that is the exclusive or of the top bits of `c` and `r`, linear in the share of the latter, and
//!
//! `y = ((c mod 2^63) >> f) + 2^(63-f)·w - ((r mod 2^63) >> f) - 2^(62-f)`
//!
//! is `floor(x / 2^f)` or one more: one more with probability `(x mod 2^f) / 2^f` when `r` is uniform. **In the stated range there
//! is no rare large error**, in contrast to the local truncation of two shares (SecureML), which is not here for that reason.
//! Outside the range the result is wrong: whoever calls proves the range.
//!
//! All functions work on one part of a sharing. What all parties know is added by one part alone, the one that `is_first`.

use zeroize::Zeroize;

use crate::compiled::compiled;
use crate::cpu::CpuPath;
use crate::prg::StreamExhaustedError;
use crate::sum::{CHUNK, Sum, Summand, pass};

/// `2^62`.
const OFFSET: u64 = 1 << 62;

/// All but the top bit.
const LOW: u64 = u64::MAX >> 1;

/// The largest number of bits that are cut off.
pub const MAX_BITS: u32 = 62;

/// Checks what all functions ask for.
macro_rules! check {
    ($bits:expr, $len:expr, $($other:expr),+) => {
        assert!((1..=MAX_BITS).contains(&$bits), "1 to 62 bits are cut off");
        $(assert_eq!($len, $other, "slices of one operation differ in length");)+
    };
}

compiled! {
    /// What whoever knows the mask `r` shares along with it: `high = (r mod 2^63) >> bits` and `top = r >> 63`.
    ///
    /// # Panics
    /// When lengths differ, or `bits` is not from 1 to 62.
    pub fn mask_parts(high: &mut [u64], top: &mut [u64], r: &[u64], bits: u32) {
        check!(bits, r.len(), high.len(), top.len());
        for ((high, top), r) in high.iter_mut().zip(top).zip(r) {
            *high = (r & LOW) >> bits;
            *top = r >> 63;
        }
    }
}

compiled! {
    /// One part of what is opened: `out = x + r`, and `2^62` in the first part.
    ///
    /// # Panics
    /// When lengths differ.
    pub fn masked(out: &mut [u64], x: &[u64], r: &[u64], is_first: bool) {
        check!(1, out.len(), x.len(), r.len());
        let offset = if is_first { OFFSET } else { 0 };
        for ((out, x), r) in out.iter_mut().zip(x).zip(r) {
            *out = x.wrapping_add(*r).wrapping_add(offset);
        }
    }
}

compiled! {
    /// One part of the quotient. `opened` is the sum of all parts of [`masked`]; `high` and `top` are this part of
    /// [`mask_parts`].
    ///
    /// # Panics
    /// When lengths differ, or `bits` is not from 1 to 62.
    pub fn quotient(
        out: &mut [u64],
        opened: &[u64],
        high: &[u64],
        top: &[u64],
        bits: u32,
        is_first: bool,
    ) {
        check!(bits, out.len(), opened.len(), high.len(), top.len());
        // All ones where this part adds what everybody knows.
        let first = if is_first { u64::MAX } else { 0 };
        for (((out, c), high), top) in out.iter_mut().zip(opened).zip(high).zip(top) {
            // w = m + t - 2·m·t for the top bits m of c and t of r: t with its sign turned where m is set.
            let negative = (c >> 63).wrapping_neg();
            let turned = (top ^ negative).wrapping_sub(negative);
            let carry = turned.wrapping_add(negative & first & 1);
            let public = ((c & LOW) >> bits).wrapping_sub(OFFSET >> bits);
            *out = (carry << (63 - bits))
                .wrapping_add(public & first)
                .wrapping_sub(*high);
        }
    }
}

/// [`mask_parts`] of the mask `r = mask`, which is not kept: `high = (r mod 2^63 >> bits) + high_sum` and
/// `top = (r >> 63) + top_sum`.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing was changed.
///
/// # Panics
/// When lengths differ, or `bits` is not from 1 to 62.
pub fn mask_parts_and(
    path: CpuPath,
    [high, top]: [&mut [u64]; 2],
    mask: &mut Sum<'_>,
    bits: u32,
    [high_sum, top_sum]: [&mut Sum<'_>; 2],
) -> Result<(), StreamExhaustedError> {
    check!(bits, high.len(), top.len());
    for sum in [&*mask, &*high_sum, &*top_sum] {
        sum.check(high.len())?;
    }
    let mut buffer = [0; CHUNK];
    let chunks = high.chunks_mut(CHUNK).zip(top.chunks_mut(CHUNK));
    for (i, (high, top)) in chunks.enumerate() {
        let (start, r) = (i * CHUNK, &mut buffer[..high.len()]);
        mask.write_chunk(path, start, r)?;
        mask_parts(path, high, top, r, bits);
        high_sum.add_chunk(path, start, high)?;
        top_sum.add_chunk(path, start, top)?;
    }
    buffer.zeroize();
    Ok(())
}

/// [`quotient`] and `sum`, where `opened` is added up from its parts, and those of the mask may be streams.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing was changed but `out`.
///
/// # Panics
/// When lengths differ, or `bits` is not from 1 to 62.
#[expect(
    clippy::too_many_arguments,
    reason = "each is one thing of the definition"
)]
pub fn quotient_and(
    path: CpuPath,
    out: &mut [u64],
    opened: &mut Sum<'_>,
    high: &mut Summand<'_>,
    top: &mut Summand<'_>,
    bits: u32,
    is_first: bool,
    sum: &mut Sum<'_>,
) -> Result<(), StreamExhaustedError> {
    assert!((1..=MAX_BITS).contains(&bits), "1 to 62 bits are cut off");
    opened.check(out.len())?;
    high.check(out.len())?;
    top.check(out.len())?;
    let mut buffers = [[0; CHUNK]; 3];
    pass(path, out, sum, |at, out| {
        let [c, first, second] = &mut buffers;
        let c = &mut c[..out.len()];
        opened.write_chunk(path, at.start, c)?;
        let (high, top) = (high.chunk(at.clone(), first)?, top.chunk(at, second)?);
        quotient(path, out, c, high, top, bits, is_first);
        Ok(())
    })?;
    buffers.as_flattened_mut().zeroize();
    Ok(())
}
