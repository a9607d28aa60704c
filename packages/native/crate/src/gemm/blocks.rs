//! A product of packed operands, cut into tasks.

use super::kernel::{Kernel, Tile};
use super::operand::Side;
use crate::pool::{num_threads, parallel_for};
use std::ops::Range;

/// Up to this many rows the time goes into reading B, and it is read in its own order.
const FEW_ROWS: usize = 96;

/// One panel of rows leaves no time to ask for a whole block of B: what is so many bytes ahead is asked for, and with a single row, which is done with it sooner
/// than memory brings it, less.
const AHEAD: [usize; 2] = [4 << 10, 6 << 10];

/// A product of packed operands.
pub(super) struct Blocks<'a> {
    pub kernel: &'static Kernel,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: *const u8,
    pub b: *const u8,
    pub c: *mut f32,
    pub stride: usize,
    pub accumulate: bool,
    /// See `Tile::far`.
    pub far: bool,
    pub bias: Option<&'a [f32]>,
}

// SAFETY: tasks read the packed operands and write tiles of C that are disjoint.
unsafe impl Sync for Blocks<'_> {}

impl Blocks<'_> {
    /// Cuts C into tasks and runs them.
    pub fn run(&self) {
        let Self { kernel, m, n, .. } = self;
        let (panels_m, panels_n) = (m.div_ceil(kernel.mr), n.div_ceil(kernel.nr));
        // More tasks than threads, so that none waits long for the last; many more where a task is just reading B.
        let wanted = if *m <= FEW_ROWS { 32 } else { 4 } * num_threads();
        let (mut step_m, mut step_n) =
            ((kernel.task.0 / kernel.mr).max(1), (kernel.task.1 / kernel.nr).max(1));
        step_m = panels_m.div_ceil(panels_m.div_ceil(step_m)); // of about the same size
        let across = panels_m.div_ceil(step_m);
        let fitting = panels_n / wanted.div_ceil(across).max(1);
        step_n = step_n.min(fitting).max(1);
        step_n = panels_n.div_ceil(panels_n.div_ceil(step_n));
        let down = panels_n.div_ceil(step_n);
        parallel_for(across * down, |task| {
            let (i, j) = (task % across * step_m, task / across * step_n);
            (kernel.enter)();
            self.task(i..(i + step_m).min(panels_m), j..(j + step_n).min(panels_n));
            (kernel.leave)();
        });
    }

    /// Panels `rows` of A, which are in the cache, by panels `columns` of B, each with all of K. `between` is called after each tile.
    pub fn columns(&self, rows: Range<usize>, columns: Range<usize>, between: &mut impl FnMut()) {
        let block_k = self.kernel.block_k(self.k);
        let padded = self.kernel.padded_k(self.k);
        for j in columns.clone() {
            for start in (0..padded).step_by(block_k) {
                self.column(rows.clone(), j, start, block_k.min(padded - start), between);
            }
        }
        self.add_bias(rows, columns);
    }

    /// A tile of C: panels `rows` of A by panels `columns` of B.
    pub fn task(&self, rows: Range<usize>, columns: Range<usize>) {
        let block_k = self.kernel.block_k(self.k);
        let padded = self.kernel.padded_k(self.k);
        if self.m <= FEW_ROWS {
            return self.columns(rows, columns, &mut || ());
        }
        for start in (0..padded).step_by(block_k) {
            for j in columns.clone() {
                self.column(rows.clone(), j, start, block_k.min(padded - start), &mut || ());
            }
        }
        self.add_bias(rows, columns);
    }

    fn add_bias(&self, rows: Range<usize>, columns: Range<usize>) {
        if let Some(bias) = self.bias {
            let kernel = self.kernel;
            let (first, last) = (columns.start * kernel.nr, (columns.end * kernel.nr).min(self.n));
            for row in rows.start * kernel.mr..(rows.end * kernel.mr).min(self.m) {
                // SAFETY: the row and columns belong to this task's tile of C.
                let c = unsafe {
                    std::slice::from_raw_parts_mut(self.c.add(row * self.stride + first), last - first)
                };
                c.iter_mut().zip(&bias[first..last]).for_each(|(c, &bias)| *c += bias);
            }
        }
    }

    /// Panels `rows` of A by panel `j` of B, for one block of K.
    fn column(&self, rows: Range<usize>, j: usize, start: usize, k: usize, between: &mut impl FnMut()) {
        let Self { kernel, m, n, stride, .. } = *self;
        let (panel_a, panel_b) = (Side::A.panel_bytes(kernel, self.k), Side::B.panel_bytes(kernel, self.k));
        let (first_a, first_b) =
            (kernel.format_a.bytes(start * kernel.mr), kernel.format_b.bytes(start * kernel.nr));
        // Where B comes from memory, its blocks are read one after another as they lie there. The first panel of rows asks for the next block, and the
        // others find what they need in the cache.
        let few = m <= FEW_ROWS;
        let ahead = match rows.len() {
            _ if !few => 0,
            1 => AHEAD[usize::from(m > 1)],
            _ => kernel.format_b.bytes(k * kernel.nr),
        };
        let whole = k == kernel.padded_k(self.k);
        for i in rows.clone() {
            let (row, column) = (i * kernel.mr, j * kernel.nr);
            // SAFETY: panels `i` and `j` and their steps `start .. start + k` exist, and so does the tile of C, which is
            // this task's alone; the kernel was chosen for this processor, and `enter` was called.
            unsafe {
                (kernel.run)(&Tile {
                    k,
                    a: self.a.add(i * panel_a + first_a),
                    b: self.b.add(j * panel_b + first_b),
                    soon: self
                        .b
                        .wrapping_add(j * panel_b + first_b + if i == rows.start { ahead } else { 0 }),
                    far: self.far && whole,
                    c: self.c.add(row * stride + column),
                    ldc: stride,
                    rows: (m - row).min(kernel.mr),
                    cols: (n - column).min(kernel.nr),
                    add: self.accumulate || start > 0,
                });
            }
            between();
        }
    }
}
