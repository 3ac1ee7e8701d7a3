//! Storage for packed panels.

/// Words in 64 bytes.
const LINE: usize = 8;

/// Words of which the first lies at a multiple of 64 bytes, so that no vector of a panel crosses a cache line: that costs a
/// quarter of the speed.
pub(crate) struct Scratch {
    storage: Vec<u64>,
    start: usize,
    len: usize,
}

impl Scratch {
    /// `len` words, all 0.
    pub(crate) fn new(len: usize) -> Self {
        let storage = vec![0u64; len + LINE];
        // A u64 pointer is off by at most 7 words. `align_offset` may give up (usize::MAX) only in const evaluation.
        let start = storage.as_ptr().align_offset(64).min(LINE);
        Self {
            storage,
            start,
            len,
        }
    }

    #[inline]
    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.storage[self.start..self.start + self.len]
    }
}
