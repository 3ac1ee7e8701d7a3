//! Transforms whose results are the factors of an inner product, block by block: when all factors of a block are there, it is
//! multiplied while they are in the first caches.

use super::conversion::Sum;
use super::fetch::Fetch;
use super::forward::{Block, inner_passes, is_loose};
use super::{CACHED, COMPACT_N, Field, MIN_N, Roots, split};
use crate::kernel::ifma::inner_product2_words;
use crate::modulus::Modulus;
use crate::ntt::Term;

/// One inner product: what all its blocks need.
struct Product<'a> {
    outs: [*mut u64; 2],
    /// Where the factors are, or will be.
    xs: &'a [*const u64],
    keys: [&'a [*const u64]; 2],
    add: bool,
    r: &'a Roots,
    f: &'a Field,
    m: &'a Modulus,
}

/// `outs[o] = Σ terms[i]·keys[o][i]`, added to what they hold when `add`. All rows have `MIN_N` words or more, as many as the table
/// is for; there is a row of each of `keys` for each term, and no conversion has more than `max_terms` inputs.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(in crate::ntt) fn inner_product2(
    outs: [&mut [u64]; 2],
    terms: &mut [Term<'_>],
    keys: [&[&[u64]]; 2],
    add: bool,
    r: &Roots,
    m: &Modulus,
) {
    let (n, f) = (r.n(), &Field::new(m));
    assert!(n >= MIN_N && outs.iter().all(|out| out.len() == n));
    for keys in keys {
        assert!(keys.len() == terms.len() && keys.iter().all(|key| key.len() == n));
    }
    let soon: Vec<&[u64]> = keys.concat();
    let mut xs = Vec::with_capacity(terms.len());
    let (mut roots, mut sums) = (
        Vec::with_capacity(terms.len()),
        Vec::with_capacity(terms.len()),
    );
    for term in terms {
        xs.push(match term {
            Term::Ready(x) => {
                assert!(x.len() == n);
                x.as_ptr()
            }
            Term::Converted { source, room } => {
                assert!(room.len() == n);
                let p = room.as_mut_ptr();
                // SAFETY: the room is borrowed mutably as long as the terms, and the table is for its length.
                roots.push(unsafe { Block::root(p, n) });
                sums.push(Sum::new(source, n, m));
                p.cast_const()
            }
        });
    }
    let addresses = keys.map(|keys| keys.iter().map(|key| key.as_ptr()).collect::<Vec<_>>());
    let product = Product {
        outs: outs.map(<[u64]>::as_mut_ptr),
        xs: &xs,
        keys: [&addresses[0], &addresses[1]],
        add,
        r,
        f,
        m,
    };
    // The keys of one block after the other, while the rows are transformed.
    let piece = (n / split(n)).min(CACHED);
    let fetch = &mut Fetch::new(&soon, piece, roots.len() * inner_passes(n) * n / 8);
    match (is_loose(f), n >= COMPACT_N) {
        (true, false) => product.blocks::<true, false>(&roots, &sums, 0, fetch),
        (true, true) => product.blocks::<true, true>(&roots, &sums, 0, fetch),
        (false, false) => product.blocks::<false, false>(&roots, &sums, 0, fetch),
        (false, true) => product.blocks::<false, true>(&roots, &sums, 0, fetch),
    }
}

impl Product<'_> {
    /// The words of `blocks`, one block for each row that is to be made, at word `start` of their rows; those of the root with
    /// their inputs in `sums`.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn blocks<const LOOSE: bool, const COMPACT: bool>(
        &self,
        blocks: &[Block],
        sums: &[Sum<'_>],
        start: usize,
        fetch: &mut Fetch<'_>,
    ) {
        let len = blocks.first().map_or(self.r.n(), |block| block.len);
        if blocks.is_empty() || (sums.is_empty() && len <= CACHED) {
            for block in blocks {
                block.transform::<LOOSE, COMPACT, false>(self.r, self.f, fetch);
            }
            let words = start..start + len;
            // SAFETY: the words are inside the rows, all factors are there, and `outs` are borrowed mutably.
            return unsafe {
                inner_product2_words(self.outs, words, self.xs, self.keys, self.add, self.m)
            };
        }
        // All rows are of one degree and modulus: they split in the same way.
        let (mut k, mut range) = (1, None);
        for (i, block) in blocks.iter().enumerate() {
            // SAFETY: `Sum::new` has checked the inputs of a sum against the length of the row.
            let (parts, after) =
                unsafe { block.split::<LOOSE>(self.r, sums.get(i), self.f, fetch) };
            (k, range) = (parts, Some(after));
        }
        let Some(range) = range else { return };
        for i in 0..k {
            let parts: Vec<Block> = blocks.iter().map(|block| block.part(i, k, range)).collect();
            self.blocks::<LOOSE, COMPACT>(&parts, &[], start + i * (len / k), fetch);
        }
    }
}
