//! Rows to test with.

/// Rows whose words are below `bound`, with the edges of the range among them.
pub fn row(n: usize, bound: u64, seed: u64) -> Vec<u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|i| match i % 23 {
            3 => 0,
            7 => bound - 1,
            _ => {
                state = state
                    .wrapping_mul(0x5851_f42d_4c95_7f2d)
                    .wrapping_add(0x1405_7b7e_f767_814f);
                ((state.rotate_left(32) as u128 * bound as u128) >> 64) as u64
            }
        })
        .collect()
}
