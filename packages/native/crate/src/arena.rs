//! Memory for what is read from start to end again and again, in huge pages however small the pieces are: packed weights. Without them a step of decoding,
//! which reads all weights once, spends as much time on finding pages as on reading them.
//!
//! Pieces are cut from chunks one after another; a chunk goes when its last piece does. Weights are packed together and released together, so that little
//! stays held by few.

use crate::memory::{Block, ALIGNMENT};
use std::sync::{Arc, Mutex, Weak};

/// Several huge pages.
const CHUNK: usize = 16 << 20;
/// Smaller pieces are not worth a chunk.
const SMALLEST: usize = 64 << 10;
/// Larger ones are in huge pages by themselves, but for little.
const LARGEST: usize = 4 << 20;

/// The chunk that pieces are cut from, and how much of it is cut.
static CURRENT: Mutex<(Weak<Block>, usize)> = Mutex::new((Weak::new(), 0));

/// An aligned piece of memory with arbitrary contents.
pub struct Piece {
    block: Arc<Block>,
    offset: usize,
    bytes: usize,
}

impl Piece {
    /// `None` when memory is exhausted.
    pub fn try_new(bytes: usize) -> Option<Self> {
        let size = bytes.checked_next_multiple_of(ALIGNMENT)?;
        if !(SMALLEST..LARGEST).contains(&size) {
            return Some(Self { block: Arc::new(Block::try_new(bytes)?), offset: 0, bytes });
        }
        let mut current = CURRENT.lock().ok()?;
        let (block, offset) = match current.0.upgrade() {
            Some(block) if size <= CHUNK - current.1 => (block, current.1),
            _ => (Arc::new(Block::try_new(CHUNK)?), 0),
        };
        *current = (Arc::downgrade(&block), offset + size);
        Some(Self { block, offset, bytes })
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn as_ptr(&self) -> *mut u8 {
        // SAFETY: the piece lies inside the block.
        unsafe { self.block.as_ptr().add(self.offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_aligned_and_apart() {
        let sizes = [1, 100, SMALLEST, 663_552, 1_769_472, 1_769_473, 3 << 20, LARGEST - 1, LARGEST, 5 << 20];
        let mut pieces: Vec<(Piece, u8)> = vec![];
        for (round, &bytes) in sizes.iter().cycle().take(30).enumerate() {
            let Some(piece) = Piece::try_new(bytes) else { panic!("memory") };
            assert_eq!(piece.as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(piece.bytes(), bytes);
            // SAFETY: the piece owns this many bytes.
            unsafe { std::ptr::write_bytes(piece.as_ptr(), round as u8, bytes) };
            pieces.push((piece, round as u8));
            if round % 3 == 2 {
                pieces.remove(0);
            }
        }
        for (piece, value) in &pieces {
            // SAFETY: as above, and all of it was written.
            let bytes = unsafe { std::slice::from_raw_parts(piece.as_ptr(), piece.bytes()) };
            assert!(bytes.iter().all(|byte| byte == value));
        }
        assert!(Piece::try_new(usize::MAX / 2).is_none());
        assert!(Piece::try_new(usize::MAX).is_none());
    }
}
