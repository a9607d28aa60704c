//! What a block leaves behind for the backward pass of its tokens: the rows that its layers and its attention gave.

use crate::attention::Left;
use crate::memory::far;
use crate::pool::SharedMut;
use std::ops::Range;

/// Arrays that a block writes to, a row a token; each has room for as many rows.
#[derive(Clone, Copy)]
pub struct Kept<'a> {
    /// The row of each token, none twice; negative: it is not kept.
    pub rows: &'a [i32],
    pub q: SharedMut<'a, f32>,
    pub k: SharedMut<'a, f32>,
    pub v: SharedMut<'a, f32>,
    /// Of attention `[heads * dim]`.
    pub mixed: SharedMut<'a, f32>,
    /// `[heads]`
    pub lse: SharedMut<'a, f32>,
    pub o: SharedMut<'a, f32>,
    pub gate: SharedMut<'a, f32>,
    pub up: SharedMut<'a, f32>,
    pub down: SharedMut<'a, f32>,
}

/// How many arrays there are.
pub const ARRAYS: usize = 9;

impl<'a> Kept<'a> {
    /// The part of it that attention leaves.
    pub fn of_attention(&self) -> Left<'a> {
        Left { rows: self.rows, o: self.mixed, lse: self.lse }
    }

    /// Some columns of `from [m, width]`, which nobody writes meanwhile, to their places in an array.
    ///
    /// # Safety
    /// Nobody else may write or read these columns of the array meanwhile, nor write those of `from`.
    pub unsafe fn put(
        &self,
        into: SharedMut<f32>,
        from: SharedMut<f32>,
        width: usize,
        columns: &Range<usize>,
    ) {
        for (token, row) in self.rows.iter().enumerate() {
            let Ok(row) = usize::try_from(*row) else { continue };
            let part = |row: usize| row * width + columns.start;
            // SAFETY: by the caller's promise; tokens have rows of their own, and bounds are checked.
            unsafe {
                far::copy(into.slice(part(row), columns.len()), from.slice(part(token), columns.len()))
            };
        }
        far::fence();
    }
}
