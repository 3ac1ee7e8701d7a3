//! Planes and carry trees against single bits.

use proptest::prelude::*;
use tacit_share::CpuPath;
use tacit_share::bits::{self, CarryTree};
use tacit_share::prg::{Stream, ZeroSharing};

mod words;
use words::words;

fn check_planes(n: usize, seed: u64) {
    let numbers = words(n, seed);
    let stride = bits::plane_words(n);
    for path in CpuPath::all_available() {
        let mut planes = vec![!0; 64 * stride];
        bits::to_planes(path, &mut planes, &numbers, None);
        for (j, plane) in planes.chunks(stride.max(1)).enumerate() {
            for i in 0..64 * stride {
                let expected = numbers.get(i).map_or(0, |number| number >> j & 1);
                assert_eq!(
                    plane[i / 64] >> (i % 64) & 1,
                    expected,
                    "{path} {n} {i} {j}"
                );
            }
        }
        let mut back = vec![!0; n];
        bits::from_planes(path, &mut back, &planes);
        assert!(back == numbers, "{path} {n}");
    }
}

/// Three parts of each word whose exclusive or is the word; party `i` holds parts `i` and `i + 1`.
fn shared(secret: &[u64], number: u64) -> [Vec<u64>; 3] {
    let mut stream = Stream::new(CpuPath::Portable, &[9; 32], number);
    let [mut first, mut second] = [vec![0; secret.len()], vec![0; secret.len()]];
    stream.fill(&mut first).unwrap();
    stream.fill(&mut second).unwrap();
    let third = (0..secret.len()).map(|i| secret[i] ^ first[i] ^ second[i]);
    let third = third.collect();
    [first, second, third]
}

fn planes(numbers: &[u64], width: usize) -> Vec<u64> {
    let mut planes = vec![0; width * bits::plane_words(numbers.len())];
    bits::to_planes(CpuPath::Portable, &mut planes, numbers, None);
    planes
}

fn of<T: AsRef<[u64]>>(parts: &[T; 3], party: usize) -> [&[u64]; 2] {
    [parts[party].as_ref(), parts[(party + 1) % 3].as_ref()]
}

fn given(parts: &[Vec<u64>; 3], party: usize) -> [Vec<u64>; 2] {
    of(parts, party).map(<[u64]>::to_vec)
}

/// All messages of three parties, and the bits that they get together.
fn run(
    path: CpuPath,
    width: usize,
    a: &[u64],
    b: &[u64],
    number: u64,
) -> (Vec<Vec<u64>>, Vec<u64>) {
    let n = a.len();
    let (a, b) = (
        shared(&planes(a, width), number),
        shared(&planes(b, width), number + 1),
    );
    let seeds = [[1; 32], [2; 32], [3; 32]];
    let mut zeros: Vec<ZeroSharing> = (0..3)
        .map(|i| ZeroSharing::new(path, &seeds[i], &seeds[(i + 1) % 3], number))
        .collect();
    let mut trees: Vec<CarryTree> = (0..3)
        .map(|i| CarryTree::new(path, n, width, given(&a, i), given(&b, i)))
        .collect();
    let mut transcript = Vec::new();
    let mut sent = Vec::new();
    while !trees[0].is_done() {
        let messages: [Vec<u64>; 3] = std::array::from_fn(|i| {
            let mut message = vec![0; trees[i].message_words()];
            trees[i].message(path, &mut zeros[i], &mut message).unwrap();
            message
        });
        for (i, tree) in trees.iter_mut().enumerate() {
            let [own, next] = of(&messages, i);
            tree.receive(path, own, next);
        }
        sent.push(messages[0].len());
        transcript.extend(messages);
    }
    let products = CarryTree::products(width).into_iter();
    assert_eq!(
        sent,
        products
            .map(|bits| bits * bits::plane_words(n))
            .collect::<Vec<_>>()
    );
    let results: Vec<[Vec<u64>; 2]> = trees.into_iter().map(|tree| tree.finish(path)).collect();
    for i in 0..3 {
        assert_eq!(results[i][1], results[(i + 1) % 3][0]);
    }
    let opened = (0..bits::plane_words(n)).map(|w| results.iter().fold(0, |x, r| x ^ r[0][w]));
    (transcript, opened.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_number_of_planes(n in 0usize..1200, seed: u64) {
        check_planes(n, seed);
    }

    #[test]
    fn any_sums(pairs in proptest::collection::vec(any::<(u64, u64)>(), 1..200), width in 1usize..65, number in 0u64..1 << 40) {
        let (a, b): (Vec<u64>, Vec<u64>) = pairs.into_iter().unzip();
        check_sums(width, &a, &b, number);
    }
}

fn check_sums(width: usize, a: &[u64], b: &[u64], number: u64) {
    let mut first = None;
    for path in CpuPath::all_available() {
        let (transcript, result) = run(path, width, a, b, number);
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            let expected = a.wrapping_add(*b) >> (width - 1) & 1;
            assert_eq!(
                result[i / 64] >> (i % 64) & 1,
                expected,
                "{path} {a:x} + {b:x}"
            );
        }
        // Every path sends the same words.
        assert!(
            first.get_or_insert_with(|| transcript.clone()) == &transcript,
            "{path}"
        );
    }
}

/// A carry that begins at each bit and runs to the top, or stops one short of it.
#[test]
fn long_carries() {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for i in 0..64 {
        for x in [
            u64::MAX << i,
            u64::MAX << i ^ 1 << 63,
            u64::MAX >> 1 & u64::MAX << i,
        ] {
            a.push(x);
            b.push(1 << i);
            a.push(x & !(1 << 62));
            b.push(1 << i);
        }
    }
    for width in 1..=64 {
        check_sums(width, &a, &b, 0);
    }
    check_sums(64, &[], &[], 0);
}

/// The same numbers in the same shares give other messages when the streams are others.
#[test]
fn messages_are_re_randomised() {
    let x = words(256, 1);
    let parts = shared(&x, 5);
    let path = CpuPath::detect();
    let message = |number| {
        let mut zero = ZeroSharing::new(path, &[1; 32], &[2; 32], number);
        let mut out = vec![0; 256];
        bits::replicated_and(path, &mut zero, &mut out, of(&parts, 0), of(&parts, 0)).unwrap();
        out
    };
    let (first, second) = (message(0), message(1));
    let differ: u32 = first
        .iter()
        .zip(&second)
        .map(|(a, b)| (a ^ b).count_ones())
        .sum();
    // Half of 2^14 bits, within six standard deviations of 64.
    assert!(differ.abs_diff(1 << 13) < 6 * 64, "{differ}");
}

#[test]
#[should_panic(expected = "after its last round")]
fn a_tree_is_not_finished_early() {
    let zero = || [vec![0; 64], vec![0; 64]];
    CarryTree::new(CpuPath::Portable, 1, 64, zero(), zero()).finish(CpuPath::Portable);
}

#[test]
fn what_a_tree_sends() {
    assert_eq!(CarryTree::products(64), [63, 61, 31, 15, 7, 3, 1]);
    assert_eq!(CarryTree::products(32), [31, 29, 15, 7, 3, 1]);
    assert_eq!(CarryTree::products(3), [2, 1]);
    assert_eq!(CarryTree::products(2), [1]);
    assert!(CarryTree::products(1).is_empty());
}

/// The lowest planes are those of all; the others come back as 0.
#[test]
fn some_planes() {
    let (x, y) = (words(700, 1), words(700, 2));
    let sums: Vec<u64> = x.iter().zip(&y).map(|(x, y)| x.wrapping_add(*y)).collect();
    let all = planes(&sums, 64);
    let stride = bits::plane_words(700);
    for path in CpuPath::all_available() {
        for width in [1, 2, 17, 32, 63, 64] {
            let mut some = vec![!0; width * stride];
            bits::to_planes(path, &mut some, &x, Some(&y));
            assert!(some == all[..width * stride], "{path} {width}");
            let mut back = vec![!0; 700];
            bits::from_planes(path, &mut back, &some);
            let mask = u64::MAX >> (64 - width);
            assert!(
                back.iter()
                    .zip(&sums)
                    .all(|(back, sum)| *back == sum & mask),
                "{path} {width}"
            );
        }
    }
}

#[test]
#[should_panic(expected = "at most 64 planes")]
fn planes_are_whole() {
    bits::to_planes(CpuPath::Portable, &mut [0; 5], &[0; 65], None);
}
