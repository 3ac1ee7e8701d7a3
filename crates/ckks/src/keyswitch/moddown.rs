//! Division by some primes with rounding: mod-down by P, rescale by q_l, and both at once by q_l·P.
//!
//! y = (x − conv(x))/M with the centred conversion of [`BaseConversion`]: the rounding error has mean 0 and standard
//! deviation √(K/12) for K primes, 1/√12 for one.
use super::digits::extend_row;
use super::{BaseConversion, Context};
use tacit_ring::{Coeff, Eval, Modulus, Poly, Scalar, kernel};

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

/// One row on its way through a division: the result is `(x − converted)·inverse` modulo `m`.
pub(crate) struct Quotient<'a> {
    /// Which of the polynomials.
    pub(crate) part: usize,
    /// The row, which is also the index of its prime.
    pub(crate) row: usize,
    pub(crate) m: &'a Modulus,
    /// The dividend; free to be overwritten.
    pub(crate) x: &'a mut [u64],
    /// conv(x), NTT order, words below 2^52.
    pub(crate) converted: &'a [u64],
    pub(crate) inverse: &'a Scalar,
    /// A row to write to on the way.
    pub(crate) spare: &'a mut [u64],
}

impl Quotient<'_> {
    /// Writes the result.
    pub(crate) fn write(&self, cx: Context<'_>, out: &mut [u64]) {
        kernel::sub_mul_scalar(cx.path(), out, self.x, self.converted, self.inverse, self.m);
    }

    /// Writes the result plus `added`.
    pub(crate) fn write_sum(&self, cx: Context<'_>, out: &mut [u64], added: &[u64]) {
        kernel::sub_mul_scalar_add(
            cx.path(),
            out,
            self.x,
            self.converted,
            self.inverse,
            added,
            self.m,
        );
    }

    /// Writes the result plus `added` to `spare`.
    pub(crate) fn write_sum_to_spare(&mut self, cx: Context<'_>, added: &[u64]) -> &[u64] {
        let (path, converted) = (cx.path(), self.converted);
        kernel::sub_mul_scalar_add(
            path,
            self.spare,
            self.x,
            converted,
            self.inverse,
            added,
            self.m,
        );
        self.spare
    }

    /// Leaves the result in `x`.
    pub(crate) fn write_in_place(&mut self, cx: Context<'_>) {
        kernel::sub_mul_scalar_assign(cx.path(), self.x, self.converted, self.inverse, self.m);
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
    extend_row(cx, conversion, sources, row, converted.row_mut(0));
    let (m, inverse) = (cx.params.modulus(row), &conversion.target(row).inverse);
    kernel::sub_mul_scalar(cx.path(), out, x, converted.row(0), inverse, m);
}
