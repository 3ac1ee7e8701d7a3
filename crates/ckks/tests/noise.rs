//! Noise against theory: the standard deviation of the coefficients is within a factor 1.5 of the average-case value
//! (independent coefficients, variances add: Costache et al., ia.cr/2022/162; key switching as in Han, Ki,
//! ia.cr/2019/688, with the centred conversions of `keyswitch`).
mod fixture;

use fixture::Fixture;
use tacit_ckks::{Ciphertext, Parameters, Plaintext, encode};
use tacit_ring::CpuPath;

const SIGMA: f64 = 3.2;

/// Small scale, so that products fit into q_0 and coefficients are read from its row alone.
const SCALE: f64 = 262144.0;

/// (log_n, primes, special primes).
const SHAPES: [(u32, usize, usize); 3] = [(10, 4, 1), (10, 5, 2), (11, 6, 3)];

/// Centred coefficients, read modulo q_0.
fn coefficients(params: &Parameters, plaintext: &Plaintext) -> Vec<f64> {
    let mut row = plaintext.poly().row(0).to_vec();
    params.ntt_q(0).inverse(CpuPath::detect(), &mut row);
    let q = params.q()[0].q();
    row.iter()
        .map(|&x| {
            if x > q / 2 {
                -((q - x) as f64)
            } else {
                x as f64
            }
        })
        .collect()
}

impl Fixture {
    fn message(&self, ciphertext: &Ciphertext) -> Vec<f64> {
        coefficients(&self.params, &self.secret.decrypt(ciphertext).unwrap())
    }

    fn plaintext(&mut self) -> Plaintext {
        let values = self.values();
        encode(&self.params, &values, self.params.max_level(), SCALE).unwrap()
    }

    fn ring_degree(&self) -> f64 {
        self.params.n() as f64
    }

    /// Variance of a rounding error of K uniform terms in both parts.
    fn rounding(&self, primes: usize) -> f64 {
        primes as f64 / 12.0 * (1.0 + 2.0 / 3.0 * self.ring_degree())
    }

    /// Variance of Σ digit_j·e_j / P.
    fn key_switch(&self) -> f64 {
        let (q, p, alpha) = (self.params.q(), self.params.p(), self.params.alpha());
        let p: f64 = p.iter().map(|p| p.q() as f64).product();
        let digit = |primes: &[tacit_ring::Modulus]| {
            let product: f64 = primes.iter().map(|q| q.q() as f64).product();
            primes.len() as f64 / 12.0 * (product / p).powi(2)
        };
        self.ring_degree() * SIGMA * SIGMA * q.chunks(alpha).map(digit).sum::<f64>()
    }
}

fn assert_deviation(what: &str, noise: impl Iterator<Item = f64>, variance: f64) {
    let (count, sum) = noise.fold((0.0, 0.0), |(count, sum), x| (count + 1.0, sum + x * x));
    let ratio = (sum / count / variance).sqrt();
    assert!(
        (1.0 / 1.5..1.5).contains(&ratio),
        "{what}: {ratio:.3} times the predicted deviation {}",
        variance.sqrt()
    );
}

fn differences<'a>(a: &'a [f64], b: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    a.iter().zip(b).map(|(x, y)| x - y)
}

#[test]
fn fresh_ciphertexts() {
    let mut f = Fixture::new(11, 3, 1, &[]);
    let plaintext = f.plaintext();
    let exact = coefficients(&f.params, &plaintext);
    let a = f.secret.encrypt(&plaintext, &mut f.rng).unwrap();
    assert_deviation(
        "secret key",
        differences(&f.message(&a), &exact),
        SIGMA * SIGMA,
    );
    let public = f.secret.public_key(&mut f.rng);
    let b = public.encrypt(&plaintext, &mut f.rng).unwrap();
    // v·e + e_0 + e_1·s with v and s uniform ternary: variance 2/3 for each coefficient.
    let variance = SIGMA * SIGMA * (1.0 + 4.0 / 3.0 * f.ring_degree());
    assert_deviation("public key", differences(&f.message(&b), &exact), variance);
    let sum = f.evaluator.add(&a, &a).unwrap();
    let doubled: Vec<f64> = exact.iter().map(|x| 2.0 * x).collect();
    assert_deviation(
        "sum",
        differences(&f.message(&sum), &doubled),
        4.0 * SIGMA * SIGMA,
    );
}

#[test]
fn key_switching() {
    for (log_n, limbs, alpha) in SHAPES {
        let mut f = Fixture::new(log_n, limbs, alpha, &[1, 5]);
        let plaintext = f.plaintext();
        let a = f.secret.encrypt(&plaintext, &mut f.rng).unwrap();
        let before = f.secret.decrypt(&a).unwrap();
        let variance = f.key_switch() + f.rounding(alpha);
        for k in [1, 5] {
            let rotated = f
                .secret
                .decrypt(&f.evaluator.rotate(&a, k).unwrap())
                .unwrap();
            let automorphism = f.params.automorphism(f.params.galois_element(k)).unwrap();
            let mut row = vec![0; f.params.n()];
            automorphism.apply_eval(f.params.path(), &mut row, before.poly().row(0));
            let m = &f.params.q()[0];
            let mut noise: Vec<u64> = rotated
                .poly()
                .row(0)
                .iter()
                .zip(&row)
                .map(|(&x, &y)| m.sub(x, y))
                .collect();
            f.params.ntt_q(0).inverse(f.params.path(), &mut noise);
            let centred = noise.iter().map(|&x| {
                if x > m.q() / 2 {
                    -((m.q() - x) as f64)
                } else {
                    x as f64
                }
            });
            assert_deviation("rotate", centred, variance);
        }
        let product = f.evaluator.square(&a).unwrap();
        let switched = f.evaluator.relinearize(&product).unwrap();
        assert_deviation(
            "relinearize",
            differences(&f.message(&switched), &f.message(&product)),
            variance,
        );
    }
}

#[test]
fn rescaling() {
    for (log_n, limbs, alpha) in SHAPES {
        let mut f = Fixture::new(log_n, limbs, alpha, &[]);
        let plaintext = f.plaintext();
        let a = f.secret.encrypt(&plaintext, &mut f.rng).unwrap();
        let q_last = f.params.q()[f.params.max_level()].q() as f64;
        let quotient = |x: &[f64]| x.iter().map(|x| x / q_last).collect::<Vec<f64>>();
        let rescaled = f.evaluator.rescale(&a).unwrap();
        let noise = f.message(&rescaled);
        assert_deviation(
            "rescale",
            differences(&noise, &quotient(&f.message(&a))),
            f.rounding(1),
        );
        let product = f.evaluator.mul(&a, &a).unwrap();
        let fused = f.evaluator.mul_relin_rescale(&a, &a).unwrap();
        let variance = f.key_switch() / q_last / q_last + f.rounding(alpha + 1);
        assert_deviation(
            "fused",
            differences(&f.message(&fused), &quotient(&f.message(&product))),
            variance,
        );
        let squared = f.evaluator.square_relin_rescale(&a).unwrap();
        assert!(squared.parts() == fused.parts());
    }
}

#[test]
fn products_multiply_noise_by_the_other_factor() {
    let mut f = Fixture::new(11, 4, 2, &[]);
    let (p, q) = (f.plaintext(), f.plaintext());
    let (a, b) = (
        f.secret.encrypt(&p, &mut f.rng).unwrap(),
        f.secret.encrypt(&q, &mut f.rng).unwrap(),
    );
    let mean_square = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let (x, y) = (coefficients(&f.params, &p), coefficients(&f.params, &q));
    let exact = f
        .evaluator
        .mul_plain(&f.secret.encrypt(&p, &mut f.rng).unwrap(), &q)
        .unwrap();
    let clear = {
        let m = &f.params.q()[0];
        let mut row: Vec<u64> = p
            .poly()
            .row(0)
            .iter()
            .zip(q.poly().row(0))
            .map(|(&x, &y)| m.mul(x, y))
            .collect();
        f.params.ntt_q(0).inverse(f.params.path(), &mut row);
        row.iter()
            .map(|&x| {
                if x > m.q() / 2 {
                    -((m.q() - x) as f64)
                } else {
                    x as f64
                }
            })
            .collect::<Vec<f64>>()
    };
    let plain = f.ring_degree() * SIGMA * SIGMA * mean_square(&y);
    assert_deviation("mul_plain", differences(&f.message(&exact), &clear), plain);
    let both = plain + f.ring_degree() * SIGMA * SIGMA * (mean_square(&x) + SIGMA * SIGMA);
    let product = f.evaluator.mul(&a, &b).unwrap();
    assert_deviation("mul", differences(&f.message(&product), &clear), both);
}
