//! One bit of a sum, by a tree of the carries below it.

use super::{BITS, plane_words, replicated_and, xor_assign};
use crate::cpu::CpuPath;
use crate::prg::{StreamExhaustedError, ZeroSharing};

/// One party's side of the computation of bit `width - 1` of `a + b`, for replicated shares of the bits of `a` and `b`.
///
/// The carry into that bit is that of the tree of Sklansky (1960), of which only the last carry is wanted. Bit `i` generates a
/// carry when `g = a_i·b_i` and passes one on when `p = a_i + b_i`; a lower and a higher run of bits together have
/// `g = g_high + p_high·g_low` and `p = p_high·p_low`. One round for the `width - 1` first products and some to bring as many runs
/// down to one: [`CarryTree::products`] says how many and what they send.
///
/// A round is [`CarryTree::message`], whose result goes to the party before, and [`CarryTree::receive`], with the message of the
/// party after. All parties have the same number of numbers and streams that are at the same place.
pub struct CarryTree {
    /// `a`, then `g` of each run, lowest first; two parts.
    generate: [Vec<u64>; 2],
    /// `b`, then `p` of each run.
    propagate: [Vec<u64>; 2],
    /// The sum of the top planes of `a` and `b`, without the carry.
    top: [Vec<u64>; 2],
    runs: usize,
    words: usize,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    First,
    Tree,
}

impl CarryTree {
    /// By round, the bits that each party sends for each number: for 64 bits 63, then 61, 31, 15, 7, 3 and 1; for one bit
    /// nothing.
    pub fn products(width: usize) -> Vec<usize> {
        let mut runs = width.saturating_sub(1);
        let mut products = Vec::new();
        if runs > 0 {
            products.push(runs);
        }
        while runs > 1 {
            products.push(2 * (runs / 2) - 1);
            runs = runs.div_ceil(2);
        }
        products
    }

    /// Of `n` numbers, whose `width` lowest bits are given away as planes (see [`super`]): the tree works in their place.
    ///
    /// # Panics
    /// When `width` is not from 1 to 64, or a part has not `width·plane_words(n)` words.
    pub fn new(path: CpuPath, n: usize, width: usize, a: [Vec<u64>; 2], b: [Vec<u64>; 2]) -> Self {
        let words = plane_words(n);
        assert!((1..=BITS).contains(&width), "a width of 1 to 64 bits");
        for part in a.iter().chain(&b) {
            assert_eq!(part.len(), width * words, "words of all planes");
        }
        let runs = width - 1;
        let (mut generate, mut propagate) = (a, b);
        let mut top = generate.each_mut().map(|part| part.split_off(runs * words));
        for (top, b) in top.iter_mut().zip(&mut propagate) {
            xor_assign(path, top, &b[runs * words..]);
            b.truncate(runs * words);
        }
        Self {
            generate,
            propagate,
            top,
            runs,
            words,
            stage: Stage::First,
        }
    }

    /// Whether there is nothing more to send.
    pub fn is_done(&self) -> bool {
        self.runs == 0 || self.runs == 1 && self.stage == Stage::Tree
    }

    /// Words of the next message; 0 when there is nothing more to send, or there are no numbers.
    pub fn message_words(&self) -> usize {
        match self.stage {
            _ if self.is_done() => 0,
            Stage::First => self.runs * self.words,
            // The lowest run of a level has no use for `p`.
            Stage::Tree => (2 * (self.runs / 2) - 1) * self.words,
        }
    }

    /// This party's message: its shares of the products of this round, re-randomised.
    ///
    /// # Errors
    /// [`StreamExhaustedError`]; the message must not be sent.
    ///
    /// # Panics
    /// When `message` has not [`Self::message_words`] words.
    pub fn message(
        &self,
        path: CpuPath,
        zero: &mut ZeroSharing,
        message: &mut [u64],
    ) -> Result<(), StreamExhaustedError> {
        assert_eq!(message.len(), self.message_words(), "words of the message");
        let generate = self.generate.each_ref().map(Vec::as_slice);
        let propagate = self.propagate.each_ref().map(Vec::as_slice);
        if self.stage == Stage::First {
            return replicated_and(path, zero, message, generate, propagate);
        }
        if self.is_done() || self.words == 0 {
            return Ok(());
        }
        let pairs = self.runs / 2;
        let (carries, passes) = message.split_at_mut(pairs * self.words);
        let tree = [(generate, carries, 0), (propagate, passes, 1)];
        for (lower, out, first) in tree {
            for (i, out) in (first..).zip(out.chunks_mut(self.words)) {
                let (low, high) = (
                    run(lower, 2 * i, self.words),
                    run(propagate, 2 * i + 1, self.words),
                );
                replicated_and(path, zero, out, high, low)?;
            }
        }
        Ok(())
    }

    /// Goes on to the next round: `sent` is this party's message of this round, `received` that of the party after.
    ///
    /// # Panics
    /// When either has not [`Self::message_words`] words.
    pub fn receive(&mut self, path: CpuPath, sent: &[u64], received: &[u64]) {
        let (words, pairs) = (self.words, self.runs / 2);
        assert!(!self.is_done(), "a carry tree receives what it waits for");
        for message in [sent, received] {
            assert_eq!(message.len(), self.message_words(), "words of the message");
        }
        for (side, message) in [sent, received].into_iter().enumerate() {
            let (generate, propagate) = (&mut self.generate[side], &mut self.propagate[side]);
            if self.stage == Stage::First {
                xor_assign(path, propagate, generate);
                generate.copy_from_slice(message);
                continue;
            }
            let (carries, passes) = message.split_at(pairs * words);
            for i in 0..pairs {
                generate.copy_within((2 * i + 1) * words..(2 * i + 2) * words, i * words);
                let generate = &mut generate[i * words..(i + 1) * words];
                xor_assign(path, generate, &carries[i * words..(i + 1) * words]);
            }
            propagate[words..pairs * words].copy_from_slice(passes);
            if self.runs % 2 == 1 {
                // The highest run waits for the next level.
                for part in [generate, propagate] {
                    part.copy_within(2 * pairs * words..self.runs * words, pairs * words);
                }
            }
        }
        if self.stage == Stage::First {
            self.stage = Stage::Tree;
        } else {
            self.runs = self.runs.div_ceil(2);
        }
    }

    /// This party's shares of bit `width - 1` of the sums, one plane.
    ///
    /// # Panics
    /// When there is a message still to send.
    pub fn finish(self, path: CpuPath) -> [Vec<u64>; 2] {
        assert!(
            self.is_done(),
            "a carry tree is finished after its last round"
        );
        let mut top = self.top;
        if self.runs == 0 {
            return top;
        }
        for (top, carry) in top.iter_mut().zip(&self.generate) {
            xor_assign(path, top, &carry[..self.words]);
        }
        top
    }
}

/// Run `i` of both parts.
fn run(parts: [&[u64]; 2], i: usize, words: usize) -> [&[u64]; 2] {
    parts.map(|part| &part[i * words..][..words])
}
