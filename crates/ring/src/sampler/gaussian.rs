//! The error distribution: a discrete Gaussian by inversion of a cumulative table.

use rand_core::CryptoRng;
use zeroize::Zeroize;

use crate::cpu::CpuPath;

/// Standard deviation parameter of the error: `P(x) ~ exp(-x² / (2·SIGMA²))`. The value of the homomorphic encryption
/// standard and of ia.cr/2024/463, section 2.
pub const SIGMA: f64 = 3.2;

/// Largest absolute value that [`gaussian`] returns (9.4 standard deviations).
pub const GAUSSIAN_BOUND: i8 = CUMULATIVE.len() as i8;

/// `round(2^64 · P(|x| <= k))`, `k = 0, 1, …`, printed by `scripts/gaussian_table.py`.
const CUMULATIVE: [u64; 29] = [
    0x1fea_5680_c943_e4b0,
    0x5cb4_4ba8_04df_fedc,
    0x9135_c4d0_5c7b_7376,
    0xba57_841b_cdf2_a20c,
    0xd790_d295_0c5f_9b9d,
    0xea65_b131_d3a3_2bb4,
    0xf567_2d93_01eb_f597,
    0xfb3c_9d1e_ce2f_d4e1,
    0xfe0a_92ac_2a14_b256,
    0xff43_9d33_f1b7_ed22,
    0xffbf_67e0_151e_6730,
    0xffeb_cdef_92fa_d1b1,
    0xfffa_3f2b_66e5_7a6c,
    0xfffe_81ef_ef5d_b8c8,
    0xffff_a5cc_5a0a_fde1,
    0xffff_eca0_7554_50ea,
    0xffff_fc37_5733_4e88,
    0xffff_ff54_0281_9ca5,
    0xffff_ffe4_3f14_74ef,
    0xffff_fffb_ee46_03e8,
    0xffff_ffff_753f_a8e5,
    0xffff_ffff_ef36_f19d,
    0xffff_ffff_fe27_edf3,
    0xffff_ffff_ffd0_e913,
    0xffff_ffff_fffb_bc48,
    0xffff_ffff_ffff_a640,
    0xffff_ffff_ffff_f94d,
    0xffff_ffff_ffff_ff8c,
    0xffff_ffff_ffff_fff9,
];

/// Values that share one word of sign bits.
const BATCH: usize = 64;

/// Discrete Gaussian integers with parameter [`SIGMA`], at most [`GAUSSIAN_BOUND`] in absolute value. Constant time.
///
/// Cumulative distribution table with a full scan: Pöppelmann, Ducas, Güneysu, *Enhanced lattice-based signatures on
/// reconfigurable hardware* (ia.cr/2014/254), section 3.3; the scan in constant time as in FrodoKEM (specification of
/// 2021-06-04, algorithm 5). The magnitude comes from 64 bits and the sign from one more, so each value is within statistical
/// distance `2^-58` of the exact distribution (table rounding and the cut-off tail).
pub fn gaussian(rng: &mut impl CryptoRng, out: &mut [i8]) {
    let is_vector = CpuPath::Ifma.is_available();
    let mut words = [0u64; BATCH + 1];
    let mut values = [0i8; BATCH];
    for out in out.chunks_mut(BATCH) {
        words.fill_with(|| rng.next_u64());
        let ([magnitudes @ .., signs], values) = (&words, &mut values);
        scan(is_vector, values, magnitudes, *signs);
        out.copy_from_slice(&values[..out.len()]);
    }
    words.zeroize();
    values.zeroize();
}

/// Magnitudes and signs of a batch: every entry of the table is read for every word, and no branch is taken.
fn scan(is_vector: bool, out: &mut [i8; BATCH], words: &[u64; BATCH], signs: u64) {
    #[cfg(target_arch = "x86_64")]
    if is_vector {
        // SAFETY: the caller found that this CPU has the instructions.
        return unsafe { super::ifma::scan(out, words, signs, &CUMULATIVE) };
    }
    let _ = is_vector;
    for (i, (out, &u)) in out.iter_mut().zip(words).enumerate() {
        let magnitude: i8 = CUMULATIVE
            .iter()
            .map(|&threshold| i8::from(u >= threshold))
            .sum();
        let sign = -((signs >> i & 1) as i8); // 0 or -1
        *out = (magnitude ^ sign) - sign;
    }
}

#[cfg(test)]
mod tests;
