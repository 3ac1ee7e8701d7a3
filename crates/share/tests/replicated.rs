//! The local steps of three parties, put together, against integers; on every path of this CPU.

use tacit_share::CpuPath;
use tacit_share::bits::{plane_words, unpack};
use tacit_share::prg::Stream;
use tacit_share::replicated::{carries, choice, quotient};
use tacit_share::sum::Sum;

const SIZES: [usize; 8] = [0, 1, 63, 64, 65, 512, 1025, 2500];

/// Stream `number` of component `p`, as each of its two holders makes it.
fn stream(path: CpuPath, p: u8, number: u64) -> Stream {
    Stream::new(path, &[p + 1; 32], number)
}

fn random(path: CpuPath, n: usize, number: u64) -> Vec<u64> {
    let mut out = vec![0; n];
    stream(path, 9, number).fill(&mut out).unwrap();
    out
}

fn sum(parts: [&[u64]; 3]) -> Vec<u64> {
    (0..parts[0].len())
        .map(|i| {
            parts
                .iter()
                .fold(0, |sum: u64, part| sum.wrapping_add(part[i]))
        })
        .collect()
}

/// The three components of the quotient of the sum of `parts`.
fn divided(path: CpuPath, cut: u32, parts: [&[u64]; 3]) -> [Vec<u64>; 3] {
    let n = parts[0].len();
    let fields = quotient::field_words(n, cut);
    let words = || vec![0; n];
    let packed = || vec![0; fields];
    let (mut rest, mut tops, mut own, mut following) = (words(), packed(), words(), words());
    let (mut two, mut zero) = (stream(path, 2, 0), stream(path, 0, 0));
    let mine = [own.as_mut_slice(), following.as_mut_slice()];
    quotient::helper(
        path, cut, parts[2], &mut two, &mut zero, &mut rest, &mut tops, mine,
    )
    .unwrap();
    let (mut turned, mut base, mut public) = ([packed(), packed()], words(), [words(), words()]);
    let mut zero = stream(path, 0, 0);
    quotient::first(
        path,
        cut,
        parts[0],
        parts[1],
        &mut zero,
        &mut turned[0],
        &mut base,
        &mut public[0],
    )
    .unwrap();
    let mut two = stream(path, 2, 0);
    let (to, open, mut masked) = (&mut turned[1], &mut public[1], words());
    quotient::second(
        path,
        cut,
        parts[1],
        parts[0],
        &rest,
        &tops,
        &mut two,
        to,
        open,
        &mut masked,
    )
    .unwrap();
    let [one, other] = &mut public;
    quotient::finish(path, cut, one, &turned[0], &turned[1]);
    quotient::finish(path, cut, other, &turned[1], &turned[0]);
    assert_eq!(one, other, "both holders of component 1");
    assert_eq!(base, following, "both holders of component 0");
    assert_eq!(masked, own, "both holders of component 2");
    [base, public[0].clone(), own]
}

#[test]
fn quotients_are_rounded_down_or_up() {
    for n in SIZES {
        for cut in [1, 7, 8, 9, 16, 17, 31, 32, 33, 48, 62] {
            let mut first = None;
            for path in CpuPath::all_available() {
                let (a, b) = (random(path, n, 1), random(path, n, 2));
                let z: Vec<i64> = random(path, n, 3)
                    .iter()
                    .enumerate()
                    .map(|(i, &word)| match i % 5 {
                        0 => (1 << 62) - (i as i64) / 5,
                        1 => -(1 << 62) + (i as i64) / 5,
                        2 => word as i64 >> 40,
                        _ => word as i64 >> 2,
                    })
                    .collect();
                let c: Vec<u64> = (0..n)
                    .map(|i| (z[i] as u64).wrapping_sub(a[i]).wrapping_sub(b[i]))
                    .collect();
                let [y0, y1, y2] = divided(path, cut, [&a, &b, &c]);
                for (y, z) in sum([&y0, &y1, &y2]).into_iter().zip(&z) {
                    let up = y as i64 - (z >> cut);
                    assert!(
                        up == 0 || up == 1 && z & ((1 << cut) - 1) != 0,
                        "{z} cut by {cut} gave {}",
                        y as i64
                    );
                }
                let found = [y0, y1, y2];
                assert_eq!(first.get_or_insert(found.clone()), &found, "{path}");
            }
        }
    }
}

/// The carry into the bit above the groups and the bit itself, from all steps.
fn top_bits(path: CpuPath, sizes: &[usize], a: [&[u64]; 2], b: &[u64]) -> Vec<u64> {
    let (n, words) = (b.len(), plane_words(b.len()));
    let (dealt_rows, mut rows) = carries::rows(sizes);
    let (mut dealt, mut tops) = (
        vec![0; dealt_rows * words],
        [vec![0; words], vec![0; words]],
    );
    carries::deal(path, sizes, a, &mut dealt, &mut tops[0]);
    let mask = random(path, dealt.len(), 4);
    let masked: Vec<u64> = dealt.iter().zip(&mask).map(|(a, b)| a ^ b).collect();
    // Components: the two parts, and nothing.
    let (mut one, mut two) = (vec![0; rows * words], vec![0; rows * words]);
    carries::values(path, sizes, b, &masked, true, &mut one, &mut tops[1]);
    carries::values(path, sizes, b, &mask, false, &mut two, &mut vec![0; words]);
    let mut parts = [vec![0; rows * words], one, two];
    let mut groups = sizes.len();
    while groups > 1 {
        let made = (2 * (groups / 2) - 1) * words;
        let products: [Vec<u64>; 3] = std::array::from_fn(|i| {
            let mut out = vec![0; made];
            carries::products(
                path,
                groups,
                &parts[i],
                &parts[(i + 1) % 3],
                words,
                &mut out,
            );
            out
        });
        rows = 2 * (groups - groups / 2) - 1;
        parts = std::array::from_fn(|i| {
            let mut out = vec![0; rows * words];
            carries::next(path, groups, &parts[i], &products[i], words, &mut out);
            out
        });
        groups -= groups / 2;
    }
    let plane: Vec<u64> = (0..words)
        .map(|i| parts.iter().chain(&tops).fold(0, |bit, part| bit ^ part[i]))
        .collect();
    let mut bits = vec![0; n];
    unpack(path, &mut bits, &plane, &mut Sum::default()).unwrap();
    bits
}

#[test]
fn top_bits_are_those_of_the_sum() {
    let groups: [&[usize]; 8] = [
        &[1],
        &[4],
        &[1, 1],
        &[3, 2],
        &[2, 3, 4],
        &[3; 8],
        &[4; 13],
        &[4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3],
    ];
    for path in CpuPath::all_available() {
        for n in SIZES {
            for sizes in groups {
                let bits: usize = sizes.iter().sum();
                let (x0, x1, b) = (random(path, n, 1), random(path, n, 2), random(path, n, 3));
                // Some sums whose carry comes all the way.
                let b: Vec<u64> = b
                    .iter()
                    .enumerate()
                    .map(|(i, b)| {
                        if i % 3 == 0 {
                            x0[i].wrapping_add(x1[i]).wrapping_neg()
                        } else {
                            *b
                        }
                    })
                    .collect();
                let found = top_bits(path, sizes, [&x0, &x1], &b);
                let wanted: Vec<u64> = sum([&x0, &x1, &b])
                    .iter()
                    .map(|sum| sum >> bits & 1)
                    .collect();
                assert_eq!(found, wanted, "{path}, {n} numbers, groups {sizes:?}");
            }
        }
    }
}

#[test]
fn words_are_chosen_by_bits() {
    for path in CpuPath::all_available() {
        for n in SIZES {
            let x: [Vec<u64>; 3] = std::array::from_fn(|i| random(path, n, 5 + i as u64));
            let (known, turn) = (
                random(path, plane_words(n), 8),
                random(path, plane_words(n), 9),
            );
            let mut dealt = vec![0; 2 * n];
            choice::deal(
                path,
                &known,
                Some([&x[0], &x[1]]),
                &mut stream(path, 0, 1),
                &mut dealt,
            )
            .unwrap();
            let mut mask = vec![0; 2 * n];
            let mut again = stream(path, 0, 1);
            for row in mask.chunks_mut(n.max(1)) {
                again.fill(row).unwrap();
            }
            let (mut masks, mut parts) = ([vec![0; n], vec![0; n]], [vec![0; n], vec![0; n]]);
            let extras: [&[&[u64]]; 2] = [&[&x[1], &x[2]], &[&x[0]]];
            for i in 0..2 {
                let given = [&dealt, &mask][i];
                let (stream, masks) = (&mut stream(path, 1, i as u64), &mut masks[i]);
                choice::part(
                    path,
                    &turn,
                    given,
                    &x[2],
                    extras[i],
                    stream,
                    masks,
                    &mut parts[i],
                )
                .unwrap();
            }
            let whole = sum([&x[0], &x[1], &x[2]]);
            for i in 0..n {
                let bit = (known[i / 64] ^ turn[i / 64]) >> (i % 64) & 1;
                let found = [&parts[0], &parts[1], &masks[0], &masks[1]]
                    .iter()
                    .fold(0, |sum: u64, part| sum.wrapping_add(part[i]));
                assert_eq!(found, bit * whole[i], "{path}, number {i} of {n}");
            }
            let mut dealt = vec![0; n];
            choice::deal(path, &known, None, &mut stream(path, 0, 2), &mut dealt).unwrap();
            let mut mask = vec![0; n];
            stream(path, 0, 2).fill(&mut mask).unwrap();
            for i in 0..2 {
                let given = [&dealt, &mask][i];
                let (stream, masks) = (&mut stream(path, 1, i as u64), &mut masks[i]);
                choice::bit_part(path, &turn, given, i == 0, stream, masks, &mut parts[i]).unwrap();
            }
            for i in 0..n {
                let bit = (known[i / 64] ^ turn[i / 64]) >> (i % 64) & 1;
                let found = [&parts[0], &parts[1], &masks[0], &masks[1]]
                    .iter()
                    .fold(0, |sum: u64, part| sum.wrapping_add(part[i]));
                assert_eq!(found, bit, "{path}, bit {i} of {n}");
            }
        }
    }
}
