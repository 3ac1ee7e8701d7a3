//! Every refusal of the binary forms, one by one, and the round trips.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tacit_ckks::{
    Ciphertext, CkksError, EvaluationKeys, Evaluator, Parameters, ParametersLiteral, PublicKey,
    SecretKey, encode_real,
};
use tacit_ring::CpuPath;

fn parameters(log_n: u32, log_q: &[u32], log_p: &[u32]) -> Parameters {
    let literal = ParametersLiteral {
        log_n,
        log_q: log_q.to_vec(),
        log_p: log_p.to_vec(),
        log_scale: 30,
    };
    Parameters::insecure_from_literal(&literal, CpuPath::detect()).unwrap()
}

struct Objects {
    params: Parameters,
    secret: SecretKey,
    seeded: Vec<u8>,
    full: Vec<u8>,
    public: Vec<u8>,
    keys: Vec<u8>,
    revealed: Vec<u8>,
}

fn objects(log_n: u32) -> Objects {
    let params = parameters(log_n, &[50, 37, 20], &[45, 41]);
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let secret = SecretKey::generate(&params, &mut rng);
    let plaintext = encode_real(&params, &[1.0, -2.0], 2, params.scale()).unwrap();
    let ciphertext = secret.encrypt(&plaintext, &mut rng).unwrap();
    let evaluator = Evaluator::new(&params, None, None).unwrap();
    let galois = [(5, 1), (25, 2), (params.conjugation_element(), 0)]
        .into_iter()
        .collect();
    let keys = secret.evaluation_keys(&galois, Some(2), &mut rng).unwrap();
    Objects {
        seeded: ciphertext.to_bytes(&params).unwrap(),
        full: evaluator
            .square(&ciphertext)
            .unwrap()
            .to_bytes(&params)
            .unwrap(),
        public: secret.public_key(&mut rng).to_bytes(),
        keys: keys.to_bytes(&params).unwrap(),
        revealed: secret.reveal_bytes(),
        secret,
        params,
    }
}

/// Writes `new` at `at` and makes the checksum right again.
fn patched(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes[..bytes.len() - 16].to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    summed(bytes)
}

fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = blake3::hash(&bytes);
    bytes.extend(&sum.as_bytes()[..16]);
    bytes
}

fn reason(error: CkksError) -> &'static str {
    match error {
        CkksError::Malformed { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn round_trips_are_exact() {
    for log_n in [4, 5, 8, 12] {
        let o = objects(log_n);
        let seeded = Ciphertext::from_bytes(&o.params, &o.seeded).unwrap();
        assert_eq!(seeded.to_bytes(&o.params).unwrap(), o.seeded);
        assert_eq!(
            (seeded.wire_len(&o.params), seeded.level(), seeded.degree()),
            (o.seeded.len(), 2, 1)
        );
        assert!(seeded.seed().is_some());
        let full = Ciphertext::from_bytes(&o.params, &o.full).unwrap();
        assert_eq!(full.to_bytes(&o.params).unwrap(), o.full);
        assert!(
            full.degree() == 2 && full.seed().is_none() && full.wire_len(&o.params) == o.full.len()
        );
        assert_eq!(
            PublicKey::from_bytes(&o.params, &o.public)
                .unwrap()
                .to_bytes(),
            o.public
        );
        let keys = EvaluationKeys::from_bytes(&o.params, &o.keys).unwrap();
        assert_eq!(keys.to_bytes(&o.params).unwrap(), o.keys);
        assert_eq!(keys.wire_len(&o.params), o.keys.len());
        let secret = SecretKey::from_bytes(&o.params, &o.revealed).unwrap();
        assert_eq!(secret.reveal_coefficients(), o.secret.reveal_coefficients());
        let shown = tacit_ckks::decode_real(&o.params, &secret.decrypt(&full).unwrap()).unwrap();
        assert!((shown[1] - 4.0).abs() < 1e-3, "{}", shown[1]);
    }
}

#[test]
fn the_layout_is_the_documented_one() {
    let o = objects(4);
    let ciphertext = Ciphertext::from_bytes(&o.params, &o.seeded).unwrap();
    let mut expected = b"TCKS\x01\x00\x01\x01".to_vec();
    expected.extend(o.params.hash());
    expected.extend([2, 1, 0, 0]);
    expected.extend(2f64.powi(30).to_le_bytes());
    expected.extend(ciphertext.seed().unwrap());
    for (i, m) in o.params.q().iter().enumerate() {
        // Bit by bit, with nothing of the fast packing.
        let mut bits = Vec::new();
        for residue in ciphertext.parts()[0].row(i) {
            bits.extend((0..m.bits()).map(|b| (residue >> b & 1) as u8));
        }
        expected.extend(
            bits.chunks(8)
                .map(|byte| byte.iter().rev().fold(0, |acc, bit| acc << 1 | bit)),
        );
    }
    assert_eq!(o.seeded, summed(expected));
    // Half a is stored as its seed: a seeded ciphertext has one part of two, a key one half of two.
    assert_eq!(o.seeded.len(), 84 + 2 * (50 + 37 + 20) + 16);
    assert_eq!(o.public.len(), 72 + 2 * (50 + 37 + 20) + 16);
    assert_eq!(o.revealed.len(), 40 + 4 + 16);
    let key = |q: usize, digits: usize| 48 + digits * 2 * (q + 45 + 41);
    assert_eq!(
        o.keys.len(),
        48 + 2 * key(107, 2) + key(87, 1) + key(50, 1) + 16
    );
    for (byte, four) in o.revealed[40..44]
        .iter()
        .zip(o.secret.reveal_coefficients().chunks(4))
    {
        for (k, c) in four.iter().enumerate() {
            assert_eq!(byte >> (2 * k) & 3, [3, 0, 1][(c + 1) as usize]);
        }
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    let o = objects(4);
    let read = |bytes: &[u8]| Ciphertext::from_bytes(&o.params, bytes).map(|_| ());
    for cut in 0..o.seeded.len() {
        let short = read(&o.seeded[..cut]);
        assert!(
            matches!(short, Err(CkksError::Truncated { got, .. }) if got == cut),
            "{cut}: {short:?}"
        );
    }
    let longer = [&o.seeded[..], &[0]].concat();
    assert!(matches!(
        read(&longer),
        Err(CkksError::TrailingBytes { count: 1, .. })
    ));
    // Another level, degree or seeding is another length.
    assert!(matches!(
        read(&patched(&o.seeded, 40, &[1])),
        Err(CkksError::TrailingBytes { .. })
    ));
    assert!(matches!(
        read(&patched(&o.seeded, 7, &[0])),
        Err(CkksError::Truncated { .. })
    ));
    assert!(matches!(
        read(&patched(&o.full, 41, &[1])),
        Err(CkksError::TrailingBytes { .. })
    ));
    for bytes in [&o.public, &o.revealed, &o.keys] {
        for cut in [0, 39, 40, 50, bytes.len() - 17, bytes.len() - 1] {
            let short = &bytes[..cut.min(bytes.len() - 1)];
            for result in [
                PublicKey::from_bytes(&o.params, short).map(|_| ()),
                SecretKey::from_bytes(&o.params, short).map(|_| ()),
                EvaluationKeys::from_bytes(&o.params, short).map(|_| ()),
            ] {
                assert!(result.is_err());
            }
        }
    }
    // Four thousand million keys: refused before anything is allocated for them.
    let many = patched(&o.keys, 40, &u32::MAX.to_le_bytes());
    assert!(matches!(
        EvaluationKeys::from_bytes(&o.params, &many),
        Err(CkksError::Truncated { .. })
    ));
}

#[test]
fn headers_of_other_objects_are_refused() {
    let o = objects(4);
    let read = |bytes: &[u8]| Ciphertext::from_bytes(&o.params, bytes).unwrap_err();
    assert_eq!(
        reason(read(&patched(&o.seeded, 0, b"PK"))),
        "it does not begin with the magic bytes"
    );
    assert!(matches!(
        read(&patched(&o.seeded, 4, &[2, 0])),
        CkksError::UnsupportedVersion {
            got: 2,
            supported: 1,
            ..
        }
    ));
    assert_eq!(
        reason(read(&o.full.clone().tap(|b| b[6] = 2))),
        "the bytes are an object of another kind"
    );
    for bytes in [&o.public, &o.keys] {
        assert_eq!(
            reason(read(bytes)),
            "the bytes are an object of another kind"
        );
    }
    assert!(matches!(
        read(&patched(&o.seeded, 20, &[0; 4])),
        CkksError::ParametersMismatch { .. }
    ));
    let other = parameters(4, &[50, 37, 21], &[45, 41]);
    assert!(matches!(
        Ciphertext::from_bytes(&other, &o.seeded),
        Err(CkksError::ParametersMismatch { .. })
    ));
    assert!(matches!(
        EvaluationKeys::from_bytes(&other, &o.keys),
        Err(CkksError::ParametersMismatch { .. })
    ));
    assert!(matches!(
        PublicKey::from_bytes(&other, &o.public),
        Err(CkksError::ParametersMismatch { .. })
    ));
    assert!(matches!(
        SecretKey::from_bytes(&other, &o.revealed),
        Err(CkksError::ParametersMismatch { .. })
    ));
    let ciphertext = Ciphertext::from_bytes(&o.params, &o.seeded).unwrap();
    assert!(matches!(
        ciphertext.to_bytes(&other),
        Err(CkksError::ParametersMismatch { .. })
    ));
}

#[test]
fn material_of_insecure_parameters_is_refused_by_secure_ones() {
    let literal = ParametersLiteral {
        log_n: 12,
        log_q: vec![40, 30],
        log_p: vec![],
        log_scale: 30,
    };
    let insecure = Parameters::insecure_from_literal(&literal, CpuPath::detect()).unwrap();
    let secure = Parameters::from_literal(&literal, CpuPath::detect()).unwrap();
    let key = SecretKey::generate(&insecure, &mut ChaCha20Rng::from_seed([1; 32])).reveal_bytes();
    assert!(matches!(
        SecretKey::from_bytes(&secure, &key),
        Err(CkksError::ParametersMismatch { .. })
    ));
}

#[test]
fn fields_out_of_range_are_refused() {
    let o = objects(4);
    let read =
        |at, new: &[u8]| Ciphertext::from_bytes(&o.params, &patched(&o.full, at, new)).unwrap_err();
    for flags in [2, 128, 255] {
        assert_eq!(
            reason(read(7, &[flags])),
            "an unknown flag or a reserved byte is set"
        );
    }
    assert_eq!(
        reason(read(42, &[1])),
        "an unknown flag or a reserved byte is set"
    );
    assert_eq!(
        reason(read(43, &[1])),
        "an unknown flag or a reserved byte is set"
    );
    for level in [3, 255] {
        assert_eq!(
            reason(read(40, &[level])),
            "its level is above the top level of the parameters"
        );
    }
    for degree in [0, 3, 255] {
        assert!(reason(read(41, &[degree])).starts_with("its degree is not 1 or 2"));
    }
    assert!(
        reason(read(7, &[1])).starts_with("its degree is not 1 or 2"),
        "seeded of degree 2"
    );
    for scale in [0.0, -1.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(
            matches!(
                read(44, &scale.to_le_bytes()),
                CkksError::InvalidScale { .. }
            ),
            "{scale}"
        );
    }
}

#[test]
fn damage_and_residues_are_refused() {
    let o = objects(4);
    for at in 84..o.seeded.len() {
        for bit in 0..8 {
            let damaged = o.seeded.clone().tap(|b| b[at] ^= 1 << bit);
            let result = Ciphertext::from_bytes(&o.params, &damaged);
            assert!(
                matches!(result, Err(CkksError::ChecksumMismatch { .. })),
                "{at}"
            );
        }
    }
    // A residue equal to its prime, in each row of the second part.
    for (row, m) in o.params.q().iter().enumerate() {
        let width = |i: usize| 2 * o.params.q()[i].bits() as usize;
        let start = 52 + (0..3).map(width).sum::<usize>() + (0..row).map(width).sum::<usize>();
        let mut first = [0; 8];
        first.copy_from_slice(&o.full[start..start + 8]);
        let word = u64::from_le_bytes(first) >> m.bits() << m.bits();
        for (residue, fine) in [
            (m.q() - 1, true),
            (m.q(), false),
            ((1 << m.bits()) - 1, false),
        ] {
            let bytes = patched(&o.full, start, &(word | residue).to_le_bytes());
            match Ciphertext::from_bytes(&o.params, &bytes) {
                Ok(_) => assert!(fine),
                Err(CkksError::NonCanonicalResidue { row: got, .. }) => {
                    assert!(!fine && got == row)
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    let ones = vec![0xff; o.public.len() - 16 - 72];
    let result = PublicKey::from_bytes(&o.params, &patched(&o.public, 72, &ones));
    assert!(matches!(
        result,
        Err(CkksError::NonCanonicalResidue { row: 0, .. })
    ));
}

#[test]
fn transparent_ciphertexts_are_refused() {
    let o = objects(4);
    let part = 2 * (50 + 37 + 20);
    // c_1 = 0 alone is fine in degree 2, all above c_0 is not.
    let bytes = patched(&o.full, 52 + part, &vec![0; part]);
    assert!(Ciphertext::from_bytes(&o.params, &bytes).is_ok());
    let bytes = patched(&o.full, 52 + part, &vec![0; 2 * part]);
    assert!(matches!(
        Ciphertext::from_bytes(&o.params, &bytes),
        Err(CkksError::TransparentCiphertext)
    ));
}

#[test]
fn key_tables_out_of_order_are_refused() {
    let o = objects(4);
    let read = |at, new: &[u8]| {
        reason(EvaluationKeys::from_bytes(&o.params, &patched(&o.keys, at, new)).unwrap_err())
    };
    let entry = |i: usize| 48 + 48 * i;
    assert_eq!(read(7, &[2]), "an unknown flag or a reserved byte is set");
    assert_eq!(read(44, &[1]), "an unknown flag or a reserved byte is set");
    assert_eq!(
        read(entry(0), &[3]),
        "the first key is not a relinearization key"
    );
    for even in [0, 2, 30] {
        assert_eq!(
            read(entry(1), &[even]),
            "a galois element is even or not below 2n"
        );
    }
    assert_eq!(
        read(entry(3), &[33]),
        "a galois element is even or not below 2n"
    );
    assert_eq!(
        read(entry(3), &u64::MAX.to_le_bytes()),
        "a galois element is even or not below 2n"
    );
    assert_eq!(
        read(entry(1), &[1]),
        "there is a galois key for the identity"
    );
    assert_eq!(
        read(entry(2), &[5]),
        "galois elements are repeated or not ascending"
    );
    assert_eq!(
        read(entry(1), &[27]),
        "galois elements are repeated or not ascending"
    );
    for level in [3u64, 255, u64::MAX] {
        assert_eq!(
            read(entry(2) + 8, &level.to_le_bytes()),
            "the level of a key is above the top level of the parameters"
        );
    }
    // Without special primes there are no keys but the empty set.
    let bare = parameters(4, &[50, 37], &[]);
    let empty = EvaluationKeys::new(&bare, None, Default::default())
        .unwrap()
        .to_bytes(&bare)
        .unwrap();
    assert_eq!(
        EvaluationKeys::from_bytes(&bare, &empty)
            .unwrap()
            .galois()
            .len(),
        0
    );
    let error = EvaluationKeys::from_bytes(&bare, &patched(&empty, 40, &[1])).unwrap_err();
    assert_eq!(
        reason(error),
        "the parameters have no special primes for key switching"
    );
}

#[test]
fn secret_coefficients_out_of_range_are_refused() {
    let o = objects(4);
    for shift in [0, 2, 4, 6] {
        let byte = o.revealed[41] & !(3 << shift) | 2 << shift;
        let error =
            SecretKey::from_bytes(&o.params, &patched(&o.revealed, 41, &[byte])).unwrap_err();
        assert_eq!(reason(error), "a coefficient is not -1, 0 or 1");
    }
    assert_eq!(
        reason(SecretKey::from_bytes(&o.params, &patched(&o.revealed, 7, &[1])).unwrap_err()),
        "an unknown flag is set"
    );
}

trait Tap: Sized {
    /// The value after a change in place.
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Tap for Vec<u8> {}
