//! Convolutions against the definition.

use proptest::prelude::*;
use tacit_share::CpuPath;
use tacit_share::conv::{self, Convolution, Term};
use tacit_share::gemm::Multiplier;
use tacit_team::Team;

mod words;
use words::words;

/// The definition.
fn defined(sizes: &Convolution, input: &[u64], kernel: &[u64]) -> Vec<u64> {
    let [rows, columns] = sizes.result().unwrap();
    let (group_channels, group_filters) =
        (sizes.channels / sizes.groups, sizes.filters / sizes.groups);
    let mut out = Vec::new();
    for sample in 0..sizes.samples {
        for filter in 0..sizes.filters {
            for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
                let mut sum = 0u64;
                for c in 0..group_channels {
                    let channel = filter / group_filters * group_channels + c;
                    for i in 0..sizes.kernel[0] {
                        for j in 0..sizes.kernel[1] {
                            let v = y * sizes.strides[0] + i * sizes.dilations[0];
                            let u = x * sizes.strides[1] + j * sizes.dilations[1];
                            let (Some(v), Some(u)) =
                                (v.checked_sub(sizes.pads[0]), u.checked_sub(sizes.pads[1]))
                            else {
                                continue;
                            };
                            if v >= sizes.image[0] || u >= sizes.image[1] {
                                continue;
                            }
                            let at = ((sample * sizes.channels + channel) * sizes.image[0] + v)
                                * sizes.image[1]
                                + u;
                            let k = ((filter * group_channels + c) * sizes.kernel[0] + i)
                                * sizes.kernel[1]
                                + j;
                            sum = sum.wrapping_add(input[at].wrapping_mul(kernel[k]));
                        }
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

/// Every path, multiplier and team gives the words of the definition.
fn check(sizes: &Convolution, seed: u64) {
    let [input, kernel, result] = sizes.words().unwrap();
    let (x1, x2) = (words(input, seed), words(input, seed + 1));
    let (k1, k2) = (words(kernel, seed + 2), words(kernel, seed + 3));
    let plain = defined(sizes, &x1, &k1);
    let expected: Vec<u64> = plain
        .iter()
        .zip(defined(sizes, &x1, &k2))
        .zip(defined(sizes, &x2, &k1))
        .map(|((a, b), c)| a.wrapping_add(b).wrapping_add(c))
        .collect();
    let team = Team::new(3).unwrap();
    for path in CpuPath::all_available() {
        for team in [None, Some(&team)] {
            for multiplier in [Multiplier::Whole, Multiplier::Fused52] {
                let mut out = words(result, seed + 5);
                let term = Term {
                    input: &x1,
                    kernel: &k1,
                };
                conv::convolve_by(path, multiplier, team, &mut out, sizes, &[term]);
                assert!(out == plain, "{path} {multiplier:?} {sizes:?}");
            }
            let mut out = words(result, seed + 5);
            conv::replicated_convolve(path, team, &mut out, sizes, [&x1, &x2], [&k1, &k2]);
            assert!(out == expected, "{path} {sizes:?}");
        }
    }
}

fn any_sizes() -> impl Strategy<Value = Convolution> {
    let pair = |low: usize, high: usize| [low..high, low..high];
    (
        (0usize..4, 1usize..4, 1usize..6, 1usize..4),
        pair(1, 14),
        pair(1, 5),
        pair(1, 4),
        [0usize..3, 0usize..3, 0usize..3, 0usize..3],
        pair(1, 3),
    )
        .prop_map(
            |((samples, channels, filters, groups), image, kernel, strides, pads, dilations)| {
                Convolution {
                    samples,
                    channels: channels * groups,
                    image,
                    filters: filters * groups,
                    kernel,
                    strides,
                    pads,
                    dilations,
                    groups,
                }
            },
        )
        .prop_filter("the kernel fits", |sizes| sizes.result().is_some())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_small_convolution(sizes in any_sizes(), seed: u64) {
        check(&sizes, seed >> 8);
    }
}

const PLAIN: Convolution = Convolution {
    samples: 1,
    channels: 1,
    image: [28, 28],
    filters: 20,
    kernel: [5, 5],
    strides: [1, 1],
    pads: [0; 4],
    dilations: [1, 1],
    groups: 1,
};

/// More than one block of samples, of the depth and of the filters; enough work for threads.
#[test]
fn sizes_around_the_blocks() {
    check(
        &Convolution {
            samples: 7,
            ..PLAIN
        },
        1,
    );
    let layer = Convolution {
        samples: 3,
        channels: 30,
        image: [7, 7],
        filters: 250,
        kernel: [3, 3],
        pads: [1; 4],
        ..PLAIN
    };
    check(&layer, 2);
    check(
        &Convolution {
            samples: 1,
            ..layer
        },
        3,
    );
    let depthwise = Convolution {
        samples: 2,
        channels: 40,
        image: [33, 35],
        filters: 40,
        kernel: [3, 3],
        pads: [1; 4],
        groups: 40,
        ..PLAIN
    };
    check(&depthwise, 4);
    check(
        &Convolution {
            strides: [2, 2],
            ..depthwise
        },
        5,
    );
    check(
        &Convolution {
            filters: 80,
            samples: 1,
            ..depthwise
        },
        6,
    );
}

#[test]
fn sizes_that_do_not_fit() {
    let wrong = [
        Convolution {
            kernel: [29, 1],
            ..PLAIN
        },
        Convolution {
            kernel: [1, 0],
            ..PLAIN
        },
        Convolution {
            dilations: [1, 7],
            ..PLAIN
        },
        Convolution {
            dilations: [0, 1],
            ..PLAIN
        },
        Convolution {
            strides: [1, 0],
            ..PLAIN
        },
        Convolution { groups: 0, ..PLAIN },
        Convolution { groups: 2, ..PLAIN },
        Convolution {
            pads: [usize::MAX, 1, 0, 0],
            ..PLAIN
        },
    ];
    for sizes in wrong {
        assert_eq!(sizes.result(), None, "{sizes:?}");
    }
    let large = Convolution {
        samples: usize::MAX / 2,
        ..PLAIN
    };
    assert!(large.result().is_some() && large.words().is_none());
    assert_eq!(PLAIN.words(), Some([784, 500, 20 * 576]));
}

#[test]
#[should_panic(expected = "words of the kernel")]
fn lengths_are_checked() {
    let term = Term {
        input: &[0; 784],
        kernel: &[0; 499],
    };
    conv::convolve(CpuPath::Portable, None, &mut [0; 20 * 576], &PLAIN, &[term]);
}
