//! Division by some primes with rounding: mod-down by P, rescale by q_l, and both at once by q_l·P.
//!
//! y = (x − conv(x))/M with the centred conversion of [`BaseConversion`]: the rounding error has mean 0 and standard
//! deviation √(K/12) for K primes, 1/√12 for one.
use super::digits::extend_row;
use super::{BaseConversion, Context};
use tacit_ring::{Automorphism, Coeff, Eval, Poly, Quotient, Scalar, kernel};

/// Brings a row modulo a source of `conversion` from NTT order to scaled coefficients; leaves other rows alone.
pub(crate) fn scale_source(
    cx: Context<'_>,
    conversion: &BaseConversion,
    index: usize,
    row: &mut [u64],
) {
    if let Some(source) = conversion
        .sources
        .iter()
        .find(|source| source.index == index)
    {
        source.scale_row(cx, row);
    }
}

/// What becomes of the quotients of a division: each is added to a row of `added`, permuted, and added to a row of `base`.
/// Both lists have a place for each of the two parts.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ending<'a> {
    pub(crate) added: [Option<&'a Poly<Eval>>; 2],
    pub(crate) automorphism: Option<&'a Automorphism>,
    /// Only with an automorphism.
    pub(crate) base: [Option<&'a Poly<Eval>>; 2],
}

impl Ending<'_> {
    /// The rows that are read for this part, besides the quotient.
    pub(super) fn reads(&self, part: usize, row: usize) -> impl Iterator<Item = &[u64]> {
        let rows = [self.added[part], self.base[part]].into_iter().flatten();
        rows.map(move |poly| poly.row(row))
    }

    /// out = (x − converted)·inverse and so on, modulo the prime of `row`. `converted`: words below 2^52. What `x` holds
    /// afterwards is unspecified.
    pub(super) fn write(
        &self,
        cx: Context<'_>,
        [part, row]: [usize; 2],
        x: &mut [u64],
        converted: &[u64],
        inverse: &Scalar,
        out: &mut [u64],
    ) {
        let (path, m) = (cx.path(), cx.params.modulus(row));
        let added = self.added[part].map(|poly| poly.row(row));
        let base = self.base[part].map(|poly| poly.row(row));
        match (self.automorphism, added) {
            (Some(automorphism), added) => {
                let quotient = Quotient {
                    a: x,
                    b: converted,
                    inverse,
                    added,
                };
                automorphism.apply_quotient(path, out, base, quotient, m);
            }
            (None, Some(added)) => {
                kernel::sub_mul_scalar_add(path, out, x, converted, inverse, added, m);
            }
            (None, None) => kernel::sub_mul_scalar(path, out, x, converted, inverse, m),
        }
    }
}

/// Divides each of `dividends` by the primes of `conversion`, whose rows ([`scale_source`]d) follow the first `rows`
/// rows.
pub(crate) fn mod_down_to(
    cx: Context<'_>,
    conversion: &BaseConversion,
    dividends: &[Poly<Eval>],
    rows: usize,
) -> Vec<Poly<Eval>> {
    let n = cx.params.n();
    let mut quotients: Vec<_> = dividends
        .iter()
        .map(|_| Poly::<Eval>::uninit_pooled(n, rows))
        .collect();
    let items = quotients
        .iter_mut()
        .zip(dividends)
        .flat_map(|(quotient, dividend)| {
            quotient
                .rows_mut()
                .into_iter()
                .enumerate()
                .map(move |(row, out)| (dividend, row, out))
        });
    cx.workers.for_each(
        items.collect(),
        n * 4,
        |(dividend, row, out): (&Poly<Eval>, usize, &mut [u64])| {
            let sources: Vec<&[u64]> = (rows..rows + conversion.sources.len())
                .map(|i| dividend.row(i))
                .collect();
            divide_row(cx, conversion, &sources, row, dividend.row(row), out);
        },
    );
    quotients
}

/// Divides by q_level: `level` rows remain. The operands are left alone.
pub(crate) fn rescale(cx: Context<'_>, parts: &[Poly<Eval>], level: usize) -> Vec<Poly<Eval>> {
    let (n, conversion) = (cx.params.n(), cx.tables().rescale(level));
    let mut last = Poly::<Coeff>::uninit_pooled(n, parts.len());
    let rows = last.rows_mut().into_iter().zip(parts).collect();
    cx.workers
        .for_each(rows, n * 4, |(row, part): (&mut [u64], &Poly<Eval>)| {
            let scale = &conversion.sources[0].scale;
            cx.params
                .ntt(level)
                .inverse_scaled_to(cx.path(), row, part.row(level), scale);
        });
    let mut quotients: Vec<_> = parts
        .iter()
        .map(|_| Poly::<Eval>::uninit_pooled(n, level))
        .collect();
    let rows = quotients.iter_mut().enumerate().flat_map(|(part, poly)| {
        poly.rows_mut()
            .into_iter()
            .enumerate()
            .map(move |(row, out)| (part, row, out))
    });
    cx.workers.for_each(
        rows.collect(),
        n * 4,
        |(part, row, out): (usize, usize, &mut [u64])| {
            divide_row(
                cx,
                conversion,
                &[last.row(part)],
                row,
                parts[part].row(row),
                out,
            );
        },
    );
    quotients
}

/// out = (x − conv(sources))/M modulo q_row.
fn divide_row(
    cx: Context<'_>,
    conversion: &BaseConversion,
    sources: &[&[u64]],
    row: usize,
    x: &[u64],
    out: &mut [u64],
) {
    let mut converted = Poly::<Eval>::uninit_pooled(cx.params.n(), 1);
    extend_row(cx, conversion, sources, row, converted.row_mut(0), &[]);
    let (m, inverse) = (cx.params.modulus(row), &conversion.target(row).inverse);
    kernel::sub_mul_scalar(cx.path(), out, x, converted.row(0), inverse, m);
}
