//! The checks of a literal, the choice of primes and the hash.

use std::collections::BTreeSet;

use tacit_ckks::{CkksError, Parameters, ParametersLiteral, SECURITY_TABLE, max_log_qp};
use tacit_ring::{CpuPath, is_prime};

fn literal(log_n: u32, log_q: &[u32], log_p: &[u32], log_scale: u32) -> ParametersLiteral {
    ParametersLiteral {
        log_n,
        log_q: log_q.to_vec(),
        log_p: log_p.to_vec(),
        log_scale,
    }
}

fn secure(
    log_n: u32,
    log_q: &[u32],
    log_p: &[u32],
    log_scale: u32,
) -> Result<Parameters, CkksError> {
    Parameters::from_literal(&literal(log_n, log_q, log_p, log_scale), CpuPath::Portable)
}

#[test]
fn the_table_is_the_limit() {
    assert_eq!(
        SECURITY_TABLE,
        [(12, 106), (13, 214), (14, 430), (15, 868), (16, 1747)]
    );
    assert_eq!(
        (max_log_qp(11), max_log_qp(12), max_log_qp(17)),
        (None, Some(106), None)
    );
    // Primes are a little shorter than their size, so a sum of sizes equal to the limit passes.
    assert!(secure(12, &[36, 35], &[35], 30).is_ok());
    assert!(secure(13, &[44, 40, 40, 40], &[50], 40).is_ok());
    for (log_n, log_q, log_p) in [
        (12, vec![37, 35], vec![35]),
        (12, vec![50, 50, 20], vec![]),
        (13, vec![45, 40, 40, 40], vec![50]),
        (14, vec![48; 8], vec![48]),
    ] {
        let (sum, limit) = (
            log_q.iter().chain(&log_p).sum::<u32>(),
            max_log_qp(log_n).unwrap(),
        );
        match secure(log_n, &log_q, &log_p, 30) {
            Err(CkksError::InsecureParameters {
                log_qp, max_log_qp, ..
            }) => {
                assert!(
                    max_log_qp == limit && (log_qp - f64::from(sum)).abs() < 0.1,
                    "{log_qp} {sum}"
                );
            }
            other => panic!("{log_n}: {other:?}"),
        }
    }
}

#[test]
fn sizes_out_of_range_are_refused() {
    for (case, parameter) in [
        (literal(11, &[30], &[], 20), "log_n"),
        (literal(17, &[30], &[], 20), "log_n"),
        (literal(13, &[], &[30], 20), "log_q"),
        (literal(13, &[51], &[], 20), "log_q"),
        (literal(13, &[50, 19], &[], 20), "log_q"),
        (literal(13, &[50], &[19], 20), "log_p"),
        (literal(13, &[50], &[51], 20), "log_p"),
        (literal(13, &[50], &[], 0), "log_scale"),
        (literal(13, &[50], &[], 50), "log_scale"),
        (literal(13, &[50, 50], &[], 61), "log_scale"),
        (literal(16, &[20; 97], &[], 30), "log_q"),
    ] {
        match Parameters::from_literal(&case, CpuPath::Portable) {
            Err(CkksError::InvalidParameters { parameter: got, .. }) => {
                assert_eq!(got, parameter, "{case:?}")
            }
            other => panic!("{case:?}: {other:?}"),
        }
    }
    assert!(matches!(
        Parameters::insecure_from_literal(&literal(3, &[30], &[], 20), CpuPath::Portable),
        Err(CkksError::InvalidParameters {
            parameter: "log_n",
            ..
        })
    ));
    // There are not that many primes of 20 bits that are 1 modulo 2^17.
    assert!(matches!(
        secure(16, &[20; 20], &[], 30),
        Err(CkksError::Ring(_))
    ));
}

#[test]
fn primes_are_distinct_stable_and_of_their_size() {
    let sizes = [50, 40, 40, 40, 36];
    let params = secure(14, &sizes, &[40, 50], 40).unwrap();
    let primes: Vec<u64> = params.q().iter().chain(params.p()).map(|m| m.q()).collect();
    assert_eq!(primes.iter().collect::<BTreeSet<_>>().len(), 7);
    for (prime, bits) in primes.iter().zip([50, 40, 40, 40, 36, 40, 50]) {
        assert!(is_prime(*prime) && prime % (1 << 15) == 1 && 64 - prime.leading_zeros() == bits);
    }
    // The first of a size is the largest; one more size does not move the earlier ones.
    assert!(
        primes[1] > primes[2]
            && primes[2] > primes[3]
            && primes[3] > primes[5]
            && primes[0] > primes[6]
    );
    let longer = secure(14, &[50, 40, 40, 40, 36, 40], &[40], 40).unwrap();
    assert!(
        longer.q()[..5]
            .iter()
            .map(|m| m.q())
            .eq(primes[..5].iter().copied())
    );
    assert_eq!(
        (params.max_level(), params.alpha(), params.slots()),
        (4, 2, 1 << 13)
    );
    assert_eq!(
        (
            params.dnum(0),
            params.dnum(1),
            params.dnum(2),
            params.dnum(4)
        ),
        (1, 1, 2, 3)
    );
}

#[test]
fn the_hash_is_the_documented_one() {
    let given = literal(13, &[50, 40], &[45], 40);
    let params = Parameters::from_literal(&given, CpuPath::Portable).unwrap();
    let mut form = b"tacit.ckks.parameters.v1".to_vec();
    form.extend([0, 13, 40, 2, 1]);
    for m in params.q().iter().chain(params.p()) {
        form.extend(m.q().to_le_bytes());
    }
    assert_eq!(params.hash(), blake3::hash(&form).as_bytes());
    for path in CpuPath::all_available() {
        assert_eq!(
            params.hash(),
            Parameters::from_literal(&given, path).unwrap().hash()
        );
    }
    let others = [
        secure(13, &[50, 40], &[45], 41),
        secure(13, &[40, 50], &[45], 40),
        secure(13, &[50, 40, 45], &[], 40),
        secure(14, &[50, 40], &[45], 40),
        Parameters::insecure_from_literal(&given, CpuPath::Portable),
    ];
    let hashes: BTreeSet<_> = others
        .into_iter()
        .map(|p| *p.unwrap().hash())
        .chain([*params.hash()])
        .collect();
    assert_eq!(hashes.len(), 6);
}

#[test]
fn galois_elements_are_powers_of_five() {
    let params =
        Parameters::insecure_from_literal(&literal(6, &[30], &[], 20), CpuPath::Portable).unwrap();
    assert_eq!(
        [0, 1, 2, 3, 4].map(|k| params.galois_element(k)),
        [1, 5, 25, 125, 625 % 128]
    );
    assert_eq!(params.galois_element(-1), params.galois_element(31));
    assert_eq!(params.galois_element(32), 1);
    assert_eq!(params.galois_element(i64::MIN), 1);
    assert_eq!(params.conjugation_element(), 127);
    assert!(params.is_insecure());
    assert!(params.automorphism(127).is_ok());
    for bad in [0, 2, 128, 129, u64::MAX] {
        assert!(
            matches!(
                params.automorphism(bad),
                Err(CkksError::InvalidGaloisElement { .. })
            ),
            "{bad}"
        );
    }
}
