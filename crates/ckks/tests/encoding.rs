//! Encoding against a direct evaluation of the definition, and its limits.

use std::f64::consts::PI;

use tacit_ckks::{
    CkksError, Parameters, ParametersLiteral, decode, decode_real, encode, encode_constant,
    encode_real,
};
use tacit_ring::CpuPath;

fn parameters(log_n: u32, log_q: &[u32]) -> Parameters {
    on_path(log_n, log_q, CpuPath::detect())
}

fn on_path(log_n: u32, log_q: &[u32], path: CpuPath) -> Parameters {
    let literal = ParametersLiteral {
        log_n,
        log_q: log_q.to_vec(),
        log_p: vec![50],
        log_scale: 40,
    };
    Parameters::insecure_from_literal(&literal, path).unwrap()
}

/// Values in [-1, 1) from a fixed sequence (SplitMix64; Steele, Lea, Flood, OOPSLA 2014, figure 16).
fn values(count: usize, mut state: u64) -> Vec<(f64, f64)> {
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as i64 as f64 / 2f64.powi(63)
    };
    (0..count).map(|_| (next(), next())).collect()
}

fn largest_error(a: &[(f64, f64)], b: &[(f64, f64)]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(x, y)| (x.0 - y.0).hypot(x.1 - y.1))
        .fold(0.0, f64::max)
}

#[test]
fn slots_are_values_at_powers_of_five() {
    // X encodes as ζ^(5^j) in slot j: the definition, with nothing of the fast transform.
    let params = parameters(6, &[50, 50]);
    let n = params.n();
    let mut power = 1;
    let slots: Vec<(f64, f64)> = (0..params.slots())
        .map(|_| {
            let angle = PI * power as f64 / n as f64;
            power = power * 5 % (2 * n);
            (angle.cos(), angle.sin())
        })
        .collect();
    let plaintext = encode(&params, &slots, 1, 2f64.powi(45)).unwrap();
    for i in 0..2 {
        let m = params.q()[i];
        let mut row = plaintext.poly().row(i).to_vec();
        params.ntt_q(i).inverse(CpuPath::Portable, &mut row);
        for (k, &residue) in row.iter().enumerate() {
            let centred = if residue > m.q() / 2 {
                residue as i64 - m.q() as i64
            } else {
                residue as i64
            };
            let expected = if k == 1 { 1i64 << 45 } else { 0 };
            assert!(
                (centred - expected).abs() <= 1,
                "coefficient {k}: {centred}"
            );
        }
    }
}

#[test]
fn round_trip_is_precise() {
    for (log_n, log_q, log_scale) in [
        (4, vec![50, 50], 50),
        (10, vec![50], 40),
        (12, vec![50, 50], 50),
        (13, vec![50, 40, 40], 60),
        (14, vec![50; 8], 90),
        (16, vec![50, 50], 60),
        (16, vec![50, 50, 50], 100),
    ] {
        let params = parameters(log_n, &log_q);
        let scale = 2f64.powi(log_scale);
        let given = values(params.slots(), u64::from(log_n));
        let plaintext = encode(&params, &given, params.max_level(), scale).unwrap();
        let error = largest_error(&given, &decode(&params, &plaintext).unwrap());
        // Rounding adds at most 1/2 per coefficient and about √N in a slot; six standard deviations.
        let bound = 2f64.powi(-48) + 6.0 * (params.n() as f64 / 12.0).sqrt() / scale;
        assert!(
            error <= bound,
            "log_n {log_n}, scale 2^{log_scale}: 2^{:.1}",
            error.log2()
        );
    }
}

#[test]
fn large_coefficients_need_all_rows() {
    // Values near Q/2 do not fit into the first rows: the proof by the other rows must fail and all digits be used.
    let params = parameters(8, &[40; 6]);
    let given: Vec<f64> = values(params.slots(), 5)
        .iter()
        .map(|v| v.0 * 2f64.powi(38))
        .collect();
    let plaintext = encode_real(&params, &given, 5, 2f64.powi(60)).unwrap();
    let plaintext = plaintext.with_scale(2f64.powi(10)).unwrap();
    for (a, b) in given.iter().zip(decode_real(&params, &plaintext).unwrap()) {
        assert!(
            (a * 2f64.powi(50) - b).abs() <= 2f64.powi(88 - 46),
            "{a} {b}"
        );
    }
}

#[test]
fn paths_agree_bit_for_bit() {
    for scale in [2f64.powi(40), 2f64.powi(70) + 2f64.powi(30)] {
        let reference = on_path(11, &[50, 40, 40], CpuPath::Portable);
        let given = values(reference.slots(), 9);
        let expected = encode(&reference, &given, 2, scale).unwrap();
        let decoded = decode(&reference, &expected).unwrap();
        for path in CpuPath::all_available() {
            let params = on_path(11, &[50, 40, 40], path);
            let got = encode(&params, &given, 2, scale).unwrap();
            assert!(got.poly() == expected.poly(), "{path}");
            let bits = |v: &[(f64, f64)]| {
                v.iter()
                    .map(|z| (z.0.to_bits(), z.1.to_bits()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                bits(&decode(&params, &got).unwrap()),
                bits(&decoded),
                "{path}"
            );
        }
    }
}

#[test]
fn constants_are_the_integers_of_the_definition() {
    let params = parameters(5, &[50, 40, 30]);
    for (value, scale, integer) in [
        (0.0, 1.0, 0i128),
        (-1.0, 8.0, -8),
        (2.5, 1.0, 2),
        (3.5, 1.0, 4),
        (-1.5, 2f64.powi(80), -(3i128 << 79)),
    ] {
        for (residue, m) in encode_constant(&params, value, 2, scale)
            .unwrap()
            .iter()
            .zip(params.q())
        {
            assert_eq!(i128::from(*residue), integer.rem_euclid(i128::from(m.q())));
        }
    }
}

#[test]
fn misuse_has_typed_errors() {
    let params = parameters(5, &[50, 40]);
    let scale = params.scale();
    assert!(matches!(
        encode_real(&params, &[0.0; 17], 1, scale),
        Err(CkksError::TooManyValues { got: 17, slots: 16 })
    ));
    assert!(matches!(
        encode_real(&params, &[0.0, f64::NAN], 1, scale),
        Err(CkksError::NonFiniteValue { index: 1 })
    ));
    assert!(matches!(
        encode(&params, &[(0.0, f64::INFINITY)], 1, scale),
        Err(CkksError::NonFiniteValue { index: 0 })
    ));
    assert!(matches!(
        encode_real(&params, &[1.0], 2, scale),
        Err(CkksError::LevelTooHigh {
            level: 2,
            max_level: 1,
            ..
        })
    ));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            encode_real(&params, &[1.0], 1, bad),
            Err(CkksError::InvalidScale { .. })
        ));
        assert!(matches!(
            encode_constant(&params, 1.0, 1, bad),
            Err(CkksError::InvalidScale { .. })
        ));
    }
    for (value, level, scale) in [
        (1.0, 0, 2f64.powi(60)),
        (1e300, 1, 1.0),
        (f64::MAX, 1, 1.0),
        (1.0, 1, 2f64.powi(99)),
    ] {
        let all = vec![value; params.slots()];
        assert!(matches!(
            encode_real(&params, &all, level, scale),
            Err(CkksError::EncodingOverflow { .. })
        ));
        assert!(matches!(
            encode_constant(&params, value, level, scale),
            Err(CkksError::EncodingOverflow { .. })
        ));
    }
    let other = parameters(6, &[50, 40]);
    let foreign = encode_real(&other, &[1.0], 1, scale).unwrap();
    assert!(matches!(
        decode(&params, &foreign),
        Err(CkksError::ParametersMismatch { .. })
    ));
}
