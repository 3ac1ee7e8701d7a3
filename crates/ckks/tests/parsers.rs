//! Mutated bytes against every parser: a typed error or an object whose only form is these bytes, never a panic.
//!
//! Deterministic, so that a failure can be repeated; `fuzz/` runs the same property under coverage guidance.

use std::collections::BTreeMap;
use std::mem::discriminant;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use tacit_ckks::{
    Ciphertext, CkksError, EvaluationKeys, Evaluator, Parameters, ParametersLiteral, PublicKey,
    SecretKey, encode_real,
};
use tacit_ring::CpuPath;

const RUNS: usize = 200_000;
const CHECKSUM_BYTES: usize = 16;

fn parameters() -> Parameters {
    let literal = ParametersLiteral {
        log_n: 4,
        log_q: vec![50, 30, 20],
        log_p: vec![33],
        log_scale: 20,
    };
    Parameters::insecure_from_literal(&literal, CpuPath::detect()).unwrap()
}

/// A number below `bound`.
fn below(rng: &mut ChaCha20Rng, bound: usize) -> usize {
    (rng.next_u64() % bound as u64) as usize
}

/// One of the seeds after one to four mutations; half of the time with a right checksum.
fn mutated(rng: &mut ChaCha20Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[below(rng, seeds.len())].clone();
    for _ in 0..=below(rng, 4) {
        if bytes.len() < 2 {
            break;
        }
        let length = bytes.len();
        // Half of the positions in the header and the fields, where the decisions are made.
        let span = if below(rng, 2) == 0 {
            length.min(160)
        } else {
            length
        };
        let at = below(rng, span);
        match below(rng, 8) {
            0 => bytes[at] ^= 1 << below(rng, 8),
            1 => bytes[at] = [0, 1, 2, 3, 0x7f, 0x80, 0xff][below(rng, 7)],
            2 => bytes.truncate(at),
            3 => bytes.resize(length + 1 + below(rng, 64), rng.next_u32() as u8),
            // A lie about a length, a level, a count or an element.
            4 => {
                let lie = [0, 1, 2, 31, 33, u32::MAX as u64, u64::MAX, rng.next_u64()]
                    [below(rng, 8)]
                .to_le_bytes();
                let width = (1 << below(rng, 4)).min(length - at);
                bytes[at..at + width].copy_from_slice(&lie[..width]);
            }
            // A splice with another valid object.
            5 => {
                let other = &seeds[below(rng, seeds.len())];
                bytes.truncate(at);
                bytes.extend(&other[at.min(other.len())..]);
            }
            6 => {
                let width = below(rng, length - at) + 1;
                let fill = [0, 0xff, rng.next_u32() as u8][below(rng, 3)];
                bytes[at..at + width].fill(fill);
            }
            _ => {
                let width = below(rng, (length - at).min(48)) + 1;
                let piece = bytes[at..at + width].to_vec();
                let to = below(rng, length);
                bytes.splice(to..to, piece);
            }
        }
    }
    if below(rng, 2) == 0 && bytes.len() >= CHECKSUM_BYTES {
        bytes.truncate(bytes.len() - CHECKSUM_BYTES);
        let sum = blake3::hash(&bytes);
        bytes.extend(&sum.as_bytes()[..CHECKSUM_BYTES]);
    }
    bytes
}

/// Runs the parser, which gives back the form of what it read, and counts outcomes by name.
fn run(
    seed: u8,
    seeds: &[Vec<u8>],
    parse: impl Fn(&[u8]) -> Result<Vec<u8>, CkksError>,
) -> BTreeMap<String, usize> {
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    let mut outcomes = BTreeMap::new();
    for bytes in seeds {
        assert_eq!(&parse(bytes).unwrap(), bytes, "a seed does not round-trip");
    }
    for i in 0..RUNS {
        let bytes = mutated(&mut rng, seeds);
        let outcome = match parse(&bytes) {
            Ok(form) => {
                assert!(form == bytes, "run {i}: a second form of one object");
                "read".to_owned()
            }
            Err(error) => {
                assert!(is_wire_error(&error), "run {i}: {error:?}");
                let shown = format!("{error:?}");
                shown
                    .split([' ', '{'])
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            }
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}

fn is_wire_error(error: &CkksError) -> bool {
    let what = "";
    [
        CkksError::Truncated {
            what,
            needed: 0,
            got: 0,
        },
        CkksError::TrailingBytes { what, count: 0 },
        CkksError::Malformed { what, reason: "" },
        CkksError::UnsupportedVersion {
            what,
            got: 0,
            supported: 0,
        },
        CkksError::ParametersMismatch { what },
        CkksError::InvalidScale { op: "" },
        CkksError::ChecksumMismatch { what },
        CkksError::NonCanonicalResidue { what, row: 0 },
        CkksError::TransparentCiphertext,
    ]
    .iter()
    .any(|known| discriminant(known) == discriminant(error))
}

/// The mutations reach every check, or the test would be worth little.
fn assert_reached(outcomes: &BTreeMap<String, usize>, wanted: &[&str]) {
    for outcome in wanted {
        assert!(
            outcomes.contains_key(*outcome),
            "{outcome} never happened: {outcomes:?}"
        );
    }
}

const ALWAYS: [&str; 7] = [
    "read",
    "Truncated",
    "TrailingBytes",
    "Malformed",
    "UnsupportedVersion",
    "ParametersMismatch",
    "ChecksumMismatch",
];

#[test]
fn ciphertexts() {
    let (params, mut rng) = (parameters(), ChaCha20Rng::from_seed([1; 32]));
    let secret = SecretKey::generate(&params, &mut rng);
    let evaluator = Evaluator::new(&params, None, None).unwrap();
    let mut seeds = Vec::new();
    for level in 0..3 {
        let plaintext = encode_real(&params, &[1.0, 2.0], level, 2f64.powi(15)).unwrap();
        let seeded = secret.encrypt(&plaintext, &mut rng).unwrap();
        for ciphertext in [
            &seeded,
            &evaluator.neg(&seeded).unwrap(),
            &evaluator.square(&seeded).unwrap(),
        ] {
            seeds.push(ciphertext.to_bytes(&params).unwrap());
        }
    }
    let outcomes = run(11, &seeds, |bytes| {
        Ciphertext::from_bytes(&params, bytes)?.to_bytes(&params)
    });
    assert_reached(&outcomes, &ALWAYS);
    assert_reached(
        &outcomes,
        &[
            "NonCanonicalResidue",
            "InvalidScale",
            "TransparentCiphertext",
        ],
    );
}

#[test]
fn public_keys() {
    let (params, mut rng) = (parameters(), ChaCha20Rng::from_seed([2; 32]));
    let secret = SecretKey::generate(&params, &mut rng);
    let seeds = [0; 3].map(|_| secret.public_key(&mut rng).to_bytes());
    let outcomes = run(12, &seeds, |bytes| {
        Ok(PublicKey::from_bytes(&params, bytes)?.to_bytes())
    });
    assert_reached(&outcomes, &ALWAYS);
    assert_reached(&outcomes, &["NonCanonicalResidue"]);
}

#[test]
fn evaluation_keys() {
    let (params, mut rng) = (parameters(), ChaCha20Rng::from_seed([3; 32]));
    let secret = SecretKey::generate(&params, &mut rng);
    let sets = [
        (vec![], None),
        (vec![(5, 0)], None),
        (vec![], Some(1)),
        (vec![(5, 2), (25, 1), (31, 0)], Some(2)),
    ];
    let seeds = sets.map(|(galois, relinearization)| {
        let keys = secret.evaluation_keys(&galois.into_iter().collect(), relinearization, &mut rng);
        keys.unwrap().to_bytes(&params).unwrap()
    });
    let outcomes = run(13, &seeds, |bytes| {
        EvaluationKeys::from_bytes(&params, bytes)?.to_bytes(&params)
    });
    assert_reached(&outcomes, &ALWAYS);
    assert_reached(&outcomes, &["NonCanonicalResidue"]);
}

#[test]
fn secret_keys() {
    let (params, mut rng) = (parameters(), ChaCha20Rng::from_seed([4; 32]));
    let seeds = [0; 3].map(|_| SecretKey::generate(&params, &mut rng).reveal_bytes());
    let outcomes = run(14, &seeds, |bytes| {
        Ok(SecretKey::from_bytes(&params, bytes)?.reveal_bytes())
    });
    assert_reached(&outcomes, &ALWAYS);
}
