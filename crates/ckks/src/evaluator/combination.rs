//! Linear combinations of many ciphertexts with constant weights: a modular matrix product, for batches that carry
//! one sample per slot and one feature per ciphertext.
use super::Evaluator;
use crate::cipher::{Ciphertext, check_equal_scales, check_scale};
use crate::encoding::encode_constant;
use crate::error::{CkksError, Result};
use tacit_ring::{Eval, Poly, kernel};

/// A tile of all operands' rows has at most this many words, so that it stays in the second-level cache while every
/// output reads it.
const TILE_WORDS: usize = 1 << 15;

/// Tiles are multiples of this many words; the kernels work on cache lines of 8.
const MIN_TILE: usize = 64;

impl Evaluator {
    /// Output i is Σ_j weights[i·k + j]·operands[j] for the k operands, the weights encoded with `scale`; as many
    /// outputs as there are rows of weights. Scales multiply, nothing is rescaled.
    ///
    /// # Errors
    /// [`CkksError::EmptyOperands`], [`CkksError::WeightsMismatch`], [`CkksError::LevelMismatch`],
    /// [`CkksError::ScaleMismatch`], [`CkksError::DegreeMismatch`] unless all have degree 1,
    /// [`CkksError::ScaleOverflow`], [`CkksError::ParametersMismatch`] and the errors
    /// of encoding.
    pub fn linear_combinations(
        &self,
        operands: &[&Ciphertext],
        weights: &[f64],
        scale: f64,
    ) -> Result<Vec<Ciphertext>> {
        let op = "linear_combinations";
        let first = *operands.first().ok_or(CkksError::EmptyOperands { op })?;
        for operand in operands {
            self.check_degree(op, operand, 1)?;
            self.check_levels(op, first, operand)?;
            check_equal_scales(op, first.scale, operand.scale)?;
        }
        if weights.is_empty() || !weights.len().is_multiple_of(operands.len()) {
            return Err(CkksError::WeightsMismatch {
                op,
                columns: operands.len(),
                got: weights.len(),
            });
        }
        check_scale(op, scale)?;
        let level = first.level;
        let product = self.check_product(op, level, first.scale, scale)?;
        let by_prime = self.weights_by_prime(weights, level, scale)?;
        let outputs = weights.len() / operands.len();
        let parts = self.multiply_matrix(operands, &by_prime, outputs, level);
        let result = |parts| Ciphertext {
            parts,
            scale: product,
            ..self.header(first)
        };
        Ok(parts.into_iter().map(result).collect())
    }

    /// The residues of all weights modulo q_0, then modulo q_1, and so on.
    fn weights_by_prime(&self, weights: &[f64], level: usize, scale: f64) -> Result<Vec<Vec<u64>>> {
        let mut by_prime = vec![Vec::with_capacity(weights.len()); level + 1];
        for &weight in weights {
            let residues = encode_constant(&self.params, weight, level, scale)?;
            for (list, residue) in by_prime.iter_mut().zip(residues) {
                list.push(residue);
            }
        }
        Ok(by_prime)
    }

    fn multiply_matrix(
        &self,
        operands: &[&Ciphertext],
        by_prime: &[Vec<u64>],
        outputs: usize,
        level: usize,
    ) -> Vec<Vec<Poly<Eval>>> {
        let (n, k) = (self.params.n(), operands.len());
        let fresh = || Poly::<Eval>::uninit_pooled(n, level + 1);
        let mut results: Vec<Vec<Poly<Eval>>> =
            (0..outputs).map(|_| vec![fresh(), fresh()]).collect();
        let mut items: Vec<(usize, usize, Vec<&mut [u64]>)> = (0..2 * (level + 1))
            .map(|i| {
                (
                    i / (level + 1),
                    i % (level + 1),
                    Vec::with_capacity(outputs),
                )
            })
            .collect();
        for parts in &mut results {
            let rows = parts.iter_mut().flat_map(Poly::rows_mut);
            for ((_, _, list), row) in items.iter_mut().zip(rows) {
                list.push(row);
            }
        }
        let tile = (TILE_WORDS / k / MIN_TILE * MIN_TILE).clamp(MIN_TILE, n.max(MIN_TILE));
        self.workers.for_each(
            items,
            n * k,
            |(part, row, mut outputs): (usize, usize, Vec<&mut [u64]>)| {
                let (m, path) = (&self.params.q()[row], self.params.path());
                let mut inputs: Vec<&[u64]> = Vec::with_capacity(k);
                for start in (0..n).step_by(tile) {
                    let columns = start..n.min(start + tile);
                    inputs.clear();
                    inputs.extend(
                        operands
                            .iter()
                            .map(|operand| &operand.parts[part].row(row)[columns.clone()]),
                    );
                    for (output, weights) in outputs.iter_mut().zip(by_prime[row].chunks(k)) {
                        kernel::weighted_sum(
                            path,
                            &mut output[columns.clone()],
                            &inputs,
                            weights,
                            0,
                            m,
                        );
                    }
                }
            },
        );
        results
    }
}
