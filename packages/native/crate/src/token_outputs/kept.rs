//! What the forward pass keeps for the backward pass, so that this need not compute logits again: for some blocks of the vocabulary, from the first on, the logits
//! themselves, or in bfloat16, where their gradients are rounded anyway, their exponentials in half the room.

use super::COLUMNS;
use crate::dtype::Precision;
use crate::pool::SharedMut;
use crate::vectorised;

vectorised! {
    /// Exponentials that were kept, times a factor.
    pub(super) fn expand<V>(kept: &[u16], factor: f32, x: &mut [f32]) {
        assert!(kept.len() >= x.len().next_multiple_of(V::LANES));
        let factor = V::splat(factor);
        let whole = x.len() / V::LANES * V::LANES;
        for index in (0..x.len()).step_by(V::LANES) {
            // SAFETY: whole vectors of `kept`, and of x but for the last one.
            unsafe {
                let gradient = V::load_half(kept.as_ptr().add(index)).mul(factor);
                if index < whole {
                    gradient.store(x.as_mut_ptr().add(index));
                } else {
                    gradient.store_part(x.as_mut_ptr().add(index), x.len() - index);
                }
            }
        }
    }
}

/// Exponentials of logits, `[blocks][A][COLUMNS]` bfloat16, relative to the largest logit of their row in the block; these are `[blocks][A]` after them.
#[derive(Clone, Copy)]
pub struct Exponentials<'a> {
    halves: SharedMut<'a, u16>,
    tops: SharedMut<'a, f32>,
    a: usize,
    blocks: usize,
}

impl<'a> Exponentials<'a> {
    /// Floats of `a` positions and a block.
    const fn floats(a: usize) -> usize {
        a * (COLUMNS / 2 + 1)
    }

    fn new(a: usize, data: &'a mut [f32]) -> Self {
        let blocks = data.len().checked_div(Self::floats(a)).unwrap_or(0);
        let (halves, tops) = data.split_at_mut(blocks * a * (COLUMNS / 2));
        // SAFETY: twice as many halves as floats, in the same memory; both may have any bits.
        let halves = unsafe { std::slice::from_raw_parts_mut(halves.as_mut_ptr().cast(), 2 * halves.len()) };
        Self { halves: SharedMut::new(halves), tops: SharedMut::new(tops), a, blocks }
    }

    /// Blocks of the vocabulary that are kept.
    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    /// The exponentials of a position in a block, and the logit that they are relative to. None where the block is not kept.
    ///
    /// # Safety
    /// Nobody else uses those of this position and block.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn row(&self, block: usize, row: usize) -> Option<(&'a mut [u16], &'a mut f32)> {
        let at = block * self.a + row;
        // SAFETY: by the caller's promise.
        (block < self.blocks)
            .then(|| unsafe { (self.halves.slice(at * COLUMNS, COLUMNS), &mut self.tops.slice(at, 1)[0]) })
    }
}

/// Logits, `[blocks][A * COLUMNS]`: of some positions those of a block lie as the product gives them, rows of the block's width side by side.
#[derive(Clone, Copy)]
pub struct Logits<'a> {
    data: SharedMut<'a, f32>,
    a: usize,
    blocks: usize,
}

impl<'a> Logits<'a> {
    const fn floats(a: usize) -> usize {
        a * COLUMNS
    }

    fn new(a: usize, data: &'a mut [f32]) -> Self {
        let blocks = data.len().checked_div(Self::floats(a)).unwrap_or(0);
        Self { data: SharedMut::new(data), a, blocks }
    }

    /// Room for the logits of `rows` positions from `first` on in a block, `width` of each. None where the block is not kept.
    ///
    /// # Safety
    /// Nobody else uses those of these positions and this block.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn rows(
        &self,
        block: usize,
        first: usize,
        rows: usize,
        width: usize,
    ) -> Option<&'a mut [f32]> {
        assert!(first + rows <= self.a && width <= COLUMNS);
        // SAFETY: by the caller's promise.
        (block < self.blocks)
            .then(|| unsafe { self.data.slice((block * self.a + first) * COLUMNS, rows * width) })
    }
}

/// What is kept.
#[derive(Clone, Copy)]
pub enum Kept<'a> {
    Exponentials(Exponentials<'a>),
    Logits(Logits<'a>),
}

/// How many floats are kept where there is room for so many: whole blocks of a vocabulary of `v` for `a` positions.
pub fn kept_floats(precision: Precision, a: usize, v: usize, room: usize) -> usize {
    let block = match precision {
        Precision::Fp32 => Logits::floats(a),
        _ => Exponentials::floats(a),
    };
    v.div_ceil(COLUMNS).min(room.checked_div(block).unwrap_or(0)) * block
}

impl<'a> Kept<'a> {
    /// In room of `kept_floats`.
    pub fn new(precision: Precision, a: usize, data: &'a mut [f32]) -> Self {
        match precision {
            Precision::Fp32 => Kept::Logits(Logits::new(a, data)),
            _ => Kept::Exponentials(Exponentials::new(a, data)),
        }
    }

    pub(super) fn exponentials(self) -> Option<Exponentials<'a>> {
        match self {
            Kept::Exponentials(exponentials) => Some(exponentials),
            Kept::Logits(_) => None,
        }
    }

    pub(super) fn logits(self) -> Option<Logits<'a>> {
        match self {
            Kept::Logits(logits) => Some(logits),
            Kept::Exponentials(_) => None,
        }
    }
}
