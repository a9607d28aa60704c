//! Blocks that are used for the length of a call and kept for the next one: fresh pages are slow, and a step asks for the same sizes hundreds of times.

use crate::memory::Block;
use std::sync::Mutex;

/// So much is kept at most.
const KEPT_BYTES: usize = 32 << 20;
/// Smaller blocks come from the allocator, which keeps them itself.
const SMALLEST: usize = 64 << 10;

static KEPT: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// A block on loan: at least as large as was asked for, contents arbitrary; it goes back when dropped.
pub struct Lent(Option<Block>);

impl Lent {
    /// Aborts when memory is exhausted, as `Vec` does.
    pub fn new(bytes: usize) -> Self {
        if bytes >= SMALLEST {
            if let Ok(mut kept) = KEPT.lock() {
                // The smallest that is large enough, and not so large that others would miss it.
                let fitting = (0..kept.len())
                    .filter(|&i| (bytes..=4 * bytes).contains(&kept[i].bytes()))
                    .min_by_key(|&i| kept[i].bytes());
                if let Some(index) = fitting {
                    return Self(Some(kept.swap_remove(index)));
                }
            }
        }
        Self(Some(Block::new(bytes)))
    }

    pub fn as_ptr(&self) -> *mut u8 {
        self.0.as_ref().map_or(std::ptr::null_mut(), Block::as_ptr)
    }

    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, Block::bytes)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (Some(block), Ok(mut kept)) = (self.0.take(), KEPT.lock()) else { return };
        if block.bytes() < SMALLEST {
            return;
        }
        kept.push(block);
        // Those that came back first go first.
        while kept.iter().map(Block::bytes).sum::<usize>() > KEPT_BYTES {
            kept.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_large_enough_and_nobody_elses() {
        for round in 0..3 {
            let lent: Vec<Lent> =
                [1, 100, SMALLEST, 300_000, 3 << 20, 3 << 20, 40 << 20].map(Lent::new).into_iter().collect();
            for (block, bytes) in lent.iter().zip([1, 100, SMALLEST, 300_000, 3 << 20, 3 << 20, 40 << 20]) {
                assert!(block.bytes() >= bytes && !block.as_ptr().is_null(), "round {round}");
            }
            let mut places: Vec<[usize; 2]> =
                lent.iter().map(|block| [block.as_ptr() as usize, block.bytes()]).collect();
            places.sort();
            assert!(places.windows(2).all(|pair| pair[0][0] + pair[0][1] <= pair[1][0]));
        }
        let kept: usize = KEPT.lock().map_or(0, |kept| kept.iter().map(Block::bytes).sum());
        assert!(kept <= KEPT_BYTES);
    }
}
