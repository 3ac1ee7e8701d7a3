//! Words chosen by a shared bit `β + γ` modulo 2, of which position 0 knows `β` and the others `γ`.

use crate::bits::plane_words;
use crate::compiled::compiled;
use crate::cpu::CpuPath;
use crate::prg::{Stream, StreamExhaustedError};

/// Words that are masked while they are in the first cache. A multiple of 128, so that bits and streams go on word by word.
const CHUNK: usize = 1024;

/// What position 0 deals: the bits of `choice` as words, then, where there is an `x`, `x[0] + x[1]` where the bit is 1, else 0; less
/// the words of `mask`.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing may be sent.
///
/// # Panics
/// When lengths do not agree.
pub fn deal(
    path: CpuPath,
    choice: &[u64],
    x: Option<[&[u64]; 2]>,
    mask: &mut Stream,
    out: &mut [u64],
) -> Result<(), StreamExhaustedError> {
    let n = if x.is_some() {
        out.len() / 2
    } else {
        out.len()
    };
    assert_eq!(choice.len(), plane_words(n), "a bit for every word");
    let (bits, products) = out.split_at_mut(n);
    for (out, choice) in bits.chunks_mut(CHUNK).zip(choice.chunks(CHUNK / 64)) {
        unpack(path, out, choice);
        mask.subtract_from(out)?;
    }
    if let Some([x0, x1]) = x {
        assert!(
            products.len() == n && x0.len() == n && x1.len() == n,
            "two results for every word"
        );
        let words = x0.chunks(CHUNK).zip(x1.chunks(CHUNK));
        for ((out, choice), (x0, x1)) in products
            .chunks_mut(CHUNK)
            .zip(choice.chunks(CHUNK / 64))
            .zip(words)
        {
            choose(path, out, choice, x0, x1);
            mask.subtract_from(out)?;
        }
    }
    Ok(())
}

/// The part of position 1 or 2 of the chosen words, less `masks`, the next words of `mask`: with `p = dealt[n..] + dealt[..n]·common`, it is `p` turned
/// (`-p` where `γ` is 1) plus, where `γ` is 1, the sum of `extra`.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing may be sent.
///
/// # Panics
/// When lengths do not agree.
#[expect(clippy::too_many_arguments, reason = "two results")]
pub fn part(
    path: CpuPath,
    turn: &[u64],
    dealt: &[u64],
    common: &[u64],
    extra: &[&[u64]],
    mask: &mut Stream,
    masks: &mut [u64],
    out: &mut [u64],
) -> Result<(), StreamExhaustedError> {
    let n = out.len();
    assert_eq!(masks.len(), n, "a mask for every word");
    assert_eq!(turn.len(), plane_words(n), "a bit for every word");
    assert_eq!(dealt.len(), 2 * n, "two dealt words for every word");
    assert!(
        common.len() == n && extra.iter().all(|extra| extra.len() == n),
        "operands of equal sizes"
    );
    let (bits, products) = dealt.split_at(n);
    let mut at = 0;
    for (out, turn) in out.chunks_mut(CHUNK).zip(turn.chunks(CHUNK / 64)) {
        let now = at..at + out.len();
        at = now.end;
        let [bits, products, common] = [bits, products, common].map(|words| &words[now.clone()]);
        multiply(path, out, bits, products, common);
        turn_chunk(path, out, turn);
        for extra in extra {
            add_where(path, out, turn, &extra[now.clone()]);
        }
        let masks = &mut masks[now];
        mask.fill(masks)?;
        subtract(path, out, masks);
    }
    Ok(())
}

/// The part of position 1 or 2 of the bits as words, less `masks`, the next words of `mask`: `dealt` turned, and `γ` itself with `constant`.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing may be sent.
///
/// # Panics
/// When lengths do not agree.
pub fn bit_part(
    path: CpuPath,
    turn: &[u64],
    dealt: &[u64],
    constant: bool,
    mask: &mut Stream,
    masks: &mut [u64],
    out: &mut [u64],
) -> Result<(), StreamExhaustedError> {
    assert_eq!(turn.len(), plane_words(out.len()), "a bit for every word");
    assert_eq!(dealt.len(), out.len(), "a dealt word for every word");
    assert_eq!(masks.len(), out.len(), "a mask for every word");
    let chunks = out.chunks_mut(CHUNK).zip(masks.chunks_mut(CHUNK));
    let given = turn.chunks(CHUNK / 64).zip(dealt.chunks(CHUNK));
    for ((out, masks), (turn, dealt)) in chunks.zip(given) {
        bit_chunk(path, out, turn, dealt, u64::from(constant));
        mask.fill(masks)?;
        subtract(path, out, masks);
    }
    Ok(())
}

compiled! {
    fn unpack(out: &mut [u64], bits: &[u64]) {
        for (out, bits) in out.chunks_mut(64).zip(bits) {
            for (i, out) in out.iter_mut().enumerate() {
                *out = bits >> i & 1;
            }
        }
    }
}

compiled! {
    fn choose(out: &mut [u64], bits: &[u64], x0: &[u64], x1: &[u64]) {
        let words = x0.chunks(64).zip(x1.chunks(64));
        for ((out, bits), (x0, x1)) in out.chunks_mut(64).zip(bits).zip(words) {
            for (i, (out, (x0, x1))) in out.iter_mut().zip(x0.iter().zip(x1)).enumerate() {
                *out = (bits >> i & 1).wrapping_neg() & x0.wrapping_add(*x1);
            }
        }
    }
}

compiled! {
    fn subtract(out: &mut [u64], words: &[u64]) {
        for (out, word) in out.iter_mut().zip(words) {
            *out = out.wrapping_sub(*word);
        }
    }
}

compiled! {
    fn multiply(out: &mut [u64], bits: &[u64], products: &[u64], common: &[u64]) {
        for (((out, bit), product), common) in out.iter_mut().zip(bits).zip(products).zip(common) {
            *out = bit.wrapping_mul(*common).wrapping_add(*product);
        }
    }
}

compiled! {
    fn turn_chunk(out: &mut [u64], turn: &[u64]) {
        for (out, turn) in out.chunks_mut(64).zip(turn) {
            for (i, out) in out.iter_mut().enumerate() {
                let negative = (turn >> i & 1).wrapping_neg();
                *out = (*out ^ negative).wrapping_sub(negative);
            }
        }
    }
}

compiled! {
    fn add_where(out: &mut [u64], bits: &[u64], extra: &[u64]) {
        for ((out, bits), extra) in out.chunks_mut(64).zip(bits).zip(extra.chunks(64)) {
            for (i, (out, extra)) in out.iter_mut().zip(extra).enumerate() {
                *out = out.wrapping_add((bits >> i & 1).wrapping_neg() & extra);
            }
        }
    }
}

compiled! {
    fn bit_chunk(out: &mut [u64], turn: &[u64], dealt: &[u64], constant: u64) {
        for ((out, turn), dealt) in out.chunks_mut(64).zip(turn).zip(dealt.chunks(64)) {
            for (i, (out, dealt)) in out.iter_mut().zip(dealt).enumerate() {
                let bit = turn >> i & 1;
                let negative = bit.wrapping_neg();
                *out = (dealt ^ negative).wrapping_sub(negative).wrapping_add(bit & constant.wrapping_neg());
            }
        }
    }
}
