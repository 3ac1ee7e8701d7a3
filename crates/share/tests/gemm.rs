//! Products of matrices against the definition.

use proptest::prelude::*;
use tacit_share::CpuPath;
use tacit_share::gemm::{self, Multiplier, Shape, Term};
use tacit_team::Team;

mod words;
use words::words;

/// The definition, in 128-bit integers.
fn defined(shape: Shape, terms: &[Term<'_>], start: &[u64]) -> Vec<u64> {
    let mut out = start.to_vec();
    for i in 0..shape.rows {
        for j in 0..shape.columns {
            for term in terms {
                for k in 0..shape.depth {
                    let at = k * shape.columns + j;
                    let b = u128::from(term.right[at])
                        + term.plus.map_or(0, |plus| u128::from(plus[at]));
                    let product = u128::from(term.left[i * shape.depth + k]).wrapping_mul(b);
                    let word = &mut out[i * shape.columns + j];
                    *word = (u128::from(*word) + (product & u128::from(u64::MAX))) as u64;
                }
            }
        }
    }
    out
}

/// Every path, multiplier and team gives the words of the definition.
fn check(rows: usize, depth: usize, columns: usize, seed: u64) {
    let shape = Shape {
        rows,
        depth,
        columns,
    };
    let (x1, x2) = (words(rows * depth, seed), words(rows * depth, seed + 1));
    let (y1, y2) = (
        words(depth * columns, seed + 2),
        words(depth * columns, seed + 3),
    );
    let start = words(rows * columns, seed + 4);
    let first = Term {
        left: &x1,
        right: &y1,
        plus: Some(&y2),
    };
    let second = Term {
        left: &x2,
        right: &y1,
        plus: None,
    };
    let expected = defined(shape, &[first, second], &start);
    let team = Team::new(3).unwrap();
    for path in CpuPath::all_available() {
        for multiplier in [Multiplier::Whole, Multiplier::Fused52] {
            for team in [None, Some(&team)] {
                let mut out = start.clone();
                gemm::matmul_add_by(path, multiplier, team, &mut out, shape, &[first, second]);
                assert!(out == expected, "{path} {multiplier:?} {shape:?}");
            }
        }
        let mut out = words(rows * columns, seed + 5);
        gemm::replicated_product(path, None, &mut out, shape, [&x1, &x2], [&y1, &y2]);
        let zero = vec![0; out.len()];
        assert!(
            out == defined(shape, &[first, second], &zero),
            "{path} {shape:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_small_shape(rows in 0usize..40, depth in 0usize..40, columns in 0usize..70, seed: u64) {
        check(rows, depth, columns, seed >> 8);
    }
}

#[test]
fn shapes_around_the_blocks() {
    for (rows, depth, columns) in [
        (1, 1, 1),
        (1, 1000, 700),
        (2, 257, 33),
        (300, 130, 1),
        (300, 130, 5),
        (300, 130, 6),
        (3, 129, 513),
        (129, 128, 32),
        (131, 257, 530),
        (260, 300, 17),
    ] {
        check(rows, depth, columns, (rows * depth * columns) as u64);
    }
}

/// All ones: the cross products of the 52-bit form are as large as they can be, over more than one block of the depth.
#[test]
fn the_largest_words() {
    let shape = Shape {
        rows: 4,
        depth: 300,
        columns: 16,
    };
    let (left, right) = (vec![u64::MAX; 1200], vec![u64::MAX; 4800]);
    for path in CpuPath::all_available() {
        let mut out = vec![0; 64];
        let term = Term {
            left: &left,
            right: &right,
            plus: None,
        };
        gemm::matmul(path, None, &mut out, shape, &[term]);
        // (-1)·(-1), 300 times.
        assert_eq!(out, vec![300; 64], "{path}");
    }
}

#[test]
#[should_panic(expected = "words of `right`")]
fn lengths_are_checked() {
    let shape = Shape {
        rows: 1,
        depth: 2,
        columns: 3,
    };
    let term = Term {
        left: &[0; 2],
        right: &[0; 5],
        plus: None,
    };
    gemm::matmul(CpuPath::Portable, None, &mut [0; 3], shape, &[term]);
}
