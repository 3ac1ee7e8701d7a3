//! What the targets share: small parameters, seeds, and the property.

use std::sync::LazyLock;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tacit_ckks::{Ciphertext, CkksError, Evaluator, Parameters, ParametersLiteral, SecretKey, encode_real};
use tacit_ring::CpuPath;

const CHECKSUM_BYTES: usize = 16;

/// N = 16 with three primes and a special one: every field is there, and the residues are short.
pub static PARAMETERS: LazyLock<Parameters> = LazyLock::new(|| {
    let literal = ParametersLiteral { log_n: 4, log_q: vec![50, 30, 20], log_p: vec![33], log_scale: 20 };
    Parameters::insecure_from_literal(&literal, CpuPath::detect()).expect("the literal is in range")
});

/// Parses the input twice: as it is, and with a right checksum, which no fuzzer finds alone. What is read has no other form.
pub fn check(input: &[u8], parse: fn(&Parameters, &[u8]) -> Result<Vec<u8>, CkksError>) {
    let one_form = |bytes: &[u8]| {
        if let Ok(form) = parse(&PARAMETERS, bytes) {
            assert!(form == bytes, "a second form of one object");
        }
    };
    one_form(input);
    let mut summed = input.to_vec();
    summed.truncate(input.len().saturating_sub(CHECKSUM_BYTES));
    let sum = blake3::hash(&summed);
    summed.extend(&sum.as_bytes()[..CHECKSUM_BYTES]);
    one_form(&summed);
}

/// Valid inputs of each target.
pub fn seeds() -> Result<Vec<(&'static str, Vec<u8>)>, CkksError> {
    let (params, mut rng) = (&*PARAMETERS, ChaCha20Rng::from_seed([9; 32]));
    let secret = SecretKey::generate(params, &mut rng);
    let evaluator = Evaluator::new(params, None, None)?;
    let mut seeds = vec![
        ("secret_key", secret.reveal_bytes()),
        ("public_key", secret.public_key(&mut rng).to_bytes()),
    ];
    for level in 0..=params.max_level() {
        let plaintext = encode_real(params, &[1.0, 2.0], level, 2f64.powi(15))?;
        let seeded = secret.encrypt(&plaintext, &mut rng)?;
        for ciphertext in [&seeded, &evaluator.neg(&seeded)?, &evaluator.square(&seeded)?] {
            seeds.push(("ciphertext", Ciphertext::to_bytes(ciphertext, params)?));
        }
        let galois = [(5, level), (25, 0), (params.conjugation_element(), 2)].into_iter().collect();
        for relinearization in [None, Some(level)] {
            let keys = secret.evaluation_keys(&galois, relinearization, &mut rng)?;
            seeds.push(("evaluation_keys", keys.to_bytes(params)?));
        }
    }
    Ok(seeds)
}
