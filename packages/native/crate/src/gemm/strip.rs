//! The rows that a thread has in its cache.

use super::blocks::Blocks;
use super::operand::{PackJob, PackedB, Side};
use super::strips::{Rows, Strips};
use super::view::View;
use std::ops::Range;

/// A strip whose rows are being made.
pub struct Strip<'s> {
    pub(super) strips: &'s Strips<'s>,
    pub(super) index: usize,
    pub(super) starts: &'s [usize],
    pub(super) memory: *mut u8,
}

impl Strip<'_> {
    pub fn rows(&self) -> Range<usize> {
        self.strips.rows(self.index)
    }

    pub(super) fn panels(&self) -> usize {
        self.strips.panels(self.index).len()
    }

    /// Packs all rows that come as views.
    pub fn pack_views(&self) {
        for (left, rows) in self.strips.lefts.iter().enumerate() {
            if let Rows::View(view) = rows {
                self.pack(left, view.row_range(self.rows()));
            }
        }
    }

    /// Packs the strip's rows of a left operand.
    pub fn pack(&self, left: usize, rows: View) {
        let kernel = self.strips.kernel;
        assert!(rows.rows == self.rows().len(), "all rows of the strip are packed");
        assert!(rows.columns == self.strips.lefts[left].steps(), "inner sizes differ");
        let out = self.memory.wrapping_add(self.starts[left]);
        // SAFETY: the strip's memory has room for all its panels, and is this thread's.
        let job = unsafe { PackJob::new(kernel, Side::A, rows, out) };
        (0..job.tasks()).for_each(|task| job.run(task));
    }

    /// `block` with the rows of the strip.
    pub(super) fn block<'b>(&self, left: usize, block: &Blocks<'b>) -> Blocks<'b> {
        let (kernel, rows) = (self.strips.kernel, self.rows());
        let a = match self.strips.lefts[left] {
            Rows::Packed(packed) => {
                let panel = Side::A.panel_bytes(kernel, packed.k);
                packed.block.as_ptr().wrapping_add(rows.start / kernel.mr * panel).cast_const()
            }
            _ => self.memory.wrapping_add(self.starts[left]).cast_const(),
        };
        Blocks { m: rows.len(), a, c: block.c.wrapping_add(rows.start * block.stride), ..*block }
    }

    /// `c = A · B` for the strip's rows of a left operand, which were packed. `c` has the strip's rows alone, `stride` apart.
    pub fn product(&self, left: usize, b: &PackedB, c: &mut [f32], stride: usize) {
        let Strips { kernel, m, lefts, .. } = self.strips;
        let rows = self.rows();
        assert!(std::ptr::eq(b.kernel, *kernel), "all operands are packed for one kernel");
        assert!(b.k == lefts[left].steps() && b.k > 0, "inner sizes differ");
        assert!(stride >= b.n && c.len() >= (rows.len() - 1) * stride + b.n, "C is too small");
        let whole = Blocks {
            kernel,
            m: *m,
            n: b.n,
            k: b.k,
            a: std::ptr::null(),
            b: b.block.as_ptr(),
            c: c.as_mut_ptr().wrapping_sub(rows.start * stride),
            stride,
            accumulate: false,
            far: false,
            bias: None,
        };
        let block = self.block(left, &whole);
        (kernel.enter)();
        block.columns(0..self.panels(), 0..b.n.div_ceil(kernel.nr), &mut || ());
        (kernel.leave)();
    }
}
