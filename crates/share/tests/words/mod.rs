//! Words to test with.

/// Words with the edges of the range among them.
pub fn words(n: usize, seed: u64) -> Vec<u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|i| match i % 23 {
            3 => 0,
            7 => u64::MAX,
            11 => 1 << 63,
            13 => (1 << 52) - 1,
            _ => {
                state = state
                    .wrapping_mul(0x5851_f42d_4c95_7f2d)
                    .wrapping_add(0x1405_7b7e_f767_814f);
                state ^ state.rotate_left(32)
            }
        })
        .collect()
}
