//! What both passes are made of: products of tiles, and room for them.

use super::Heads;
use crate::vector::Vector;
use std::cell::Cell;

/// Keys a tile, and queries a block.
pub(super) const TILE: usize = 64;
/// Rows of a tile that are multiplied together: what none of them sees of the others is left out.
pub(super) const ROWS: usize = 12;
/// Floats of scratch that a thread keeps between calls.
const SCRATCH_KEPT: usize = 2 << 20;

/// Where numbers lie that are multiplied: floats, or bfloat16.
pub(super) trait Numbers: Copy {
    /// # Safety
    /// Both places must be in one allocation.
    unsafe fn at(self, place: usize) -> Self;
    /// # Safety
    /// A whole vector must be readable here.
    unsafe fn vector<V: Vector>(self) -> V;
}

impl Numbers for *const f32 {
    #[inline(always)]
    unsafe fn at(self, place: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.add(place) }
    }
    #[inline(always)]
    unsafe fn vector<V: Vector>(self) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load(self) }
    }
}

impl Numbers for *const u16 {
    #[inline(always)]
    unsafe fn at(self, place: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.add(place) }
    }
    #[inline(always)]
    unsafe fn vector<V: Vector>(self) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_half(self) }
    }
}

/// `c [M, N vectors] (+)= a [M, k] · b [k, N vectors]`.
///
/// # Safety
/// `a` must be readable at `i * a_row + p * a_col`, `b` at rows of `b_row` numbers, `c` writable at rows of `c_row`, for N vectors each.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn block<V: Vector, B: Numbers, const M: usize, const N: usize>(
    k: usize,
    a: *const f32,
    a_row: usize,
    a_col: usize,
    b: B,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
) {
    let mut sums = [[V::splat(0.0); N]; M];
    for p in 0..k {
        // SAFETY: p < k, and the caller's promise.
        unsafe {
            let mut row = [V::splat(0.0); N];
            for (j, value) in row.iter_mut().enumerate() {
                *value = b.at(p * b_row + j * V::LANES).vector();
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = V::splat(*a.add(i * a_row + p * a_col));
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum = x.fma(value, *sum);
                }
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (j, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let place = c.add(i * c_row + j * V::LANES);
                let value = if accumulate { V::load(place).add(*sum) } else { *sum };
                value.store(place);
            }
        }
    }
}

/// `c [m, n] (+)= a [m, k] · b [k, n]`; `n` is a multiple of 16. Every element is one sum over `k` in order, whatever `m` is.
///
/// # Safety
/// `a` must be readable at `i * a_row + p * a_col`, `b` as `[k, n]` in rows of `b_row`, `c` writable as `[m, n]` in rows of `c_row`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn multiply<V: Vector, B: Numbers>(
    (m, n, k): (usize, usize, usize),
    a: *const f32,
    (a_row, a_col): (usize, usize),
    b: B,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
) {
    let mut j = 0;
    while j < n {
        // Four vectors where the processor has registers for as many sums.
        let vectors = match (n - j) / V::LANES {
            4.. if V::LANES == 16 => 4,
            2.. => 2,
            _ => 1,
        };
        let mut i = 0;
        while i < m {
            // SAFETY: i < m and j < n, and the caller's promise.
            unsafe {
                let (a, b, c) = (a.add(i * a_row), b.at(j), c.add(i * c_row + j));
                macro_rules! run {
                    ($m:literal) => {
                        match vectors {
                            4 => block::<V, B, $m, 4>(k, a, a_row, a_col, b, b_row, c, c_row, accumulate),
                            2 => block::<V, B, $m, 2>(k, a, a_row, a_col, b, b_row, c, c_row, accumulate),
                            _ => block::<V, B, $m, 1>(k, a, a_row, a_col, b, b_row, c, c_row, accumulate),
                        }
                    };
                }
                match m - i {
                    1 => run!(1),
                    2 => run!(2),
                    3 => run!(3),
                    4 => run!(4),
                    5 => run!(5),
                    _ => run!(6),
                }
            }
            i += 6;
        }
        j += vectors * V::LANES;
    }
}

/// So many columns of a tile are computed where it has `count` keys.
pub(super) fn columns_of(count: usize) -> usize {
    count.next_multiple_of(16)
}

/// Which columns of the tile from `from` the query at `position` sees.
#[inline(always)]
pub(super) fn seen(shape: &Heads, position: usize, from: usize, count: usize) -> (usize, usize) {
    (
        shape.first_seen(position).saturating_sub(from).min(count),
        (position + 1).saturating_sub(from).min(count),
    )
}

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// A thread's scratch, on loan. Not handed to a closure, because closures lose the processor features of the function that they stand in.
pub(super) struct Scratch(Vec<f32>);

impl Scratch {
    /// Room for pieces of these sizes, each rounded up to 16 floats, so that it may be read in whole vectors, and beginning with a line of the cache.
    pub(super) fn borrow(sizes: &[usize]) -> Self {
        let mut room = SCRATCH.take();
        let total = sizes.iter().map(|n| n.next_multiple_of(16)).sum::<usize>() + 16;
        if room.len() < total {
            room.resize(total, 0.0);
        }
        Self(room)
    }
    /// The pieces; contents arbitrary.
    pub(super) fn pieces<const N: usize>(&mut self, sizes: [usize; N]) -> [&mut [f32]; N] {
        let skipped = self.0.as_ptr().align_offset(64).min(16);
        let mut rest = &mut self.0[skipped..];
        sizes.map(|n| {
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(n.next_multiple_of(16));
            rest = after;
            &mut piece[..n]
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.len() <= SCRATCH_KEPT {
            SCRATCH.set(std::mem::take(&mut self.0));
        }
    }
}
