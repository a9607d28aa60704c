//! A matrix that two products need: as it lies, and transposed. Both are packed as its rows are made, so that it is read once, from the cache.

use super::choice;
use super::kernel::Kernel;
use super::operand::{PackJob, PackedA, Side};
use super::pack::STEP;
use super::view::View;
use crate::dtype::Precision;
use crate::lent::Lent;
use std::ops::Range;

/// `X [m, n]` as the left operand of `X · B` and of `Xᵀ · B`.
pub struct BothWays {
    kernel: &'static Kernel,
    m: usize,
    n: usize,
    rows: Option<PackedA>,
    columns: Option<PackedA>,
}

impl BothWays {
    /// Room for `m` rows of at most `n`; `wanted` says which of the two forms is packed.
    pub fn new(m: usize, n: usize, wanted: [bool; 2], precision: Precision) -> Self {
        let kernel = choice::kernel(precision);
        let room = |wanted: bool, lanes, k| {
            wanted.then(|| PackedA { kernel, m: lanes, k, block: Lent::new(Side::A.bytes(kernel, lanes, k)) })
        };
        Self { kernel, m, n, rows: room(wanted[0], m, n), columns: room(wanted[1], n, m) }
    }

    /// Another number of columns, at most that of `new`. What was packed is gone.
    pub fn resize(&mut self, n: usize) {
        assert!(n <= self.n, "there is no room for so many columns");
        self.rows.iter_mut().for_each(|rows| rows.k = n);
        self.columns.iter_mut().for_each(|columns| columns.m = n);
    }

    /// Rows are packed in ranges that start at multiples of this: whole panels, and whole steps of the transposed form.
    pub fn step(&self) -> usize {
        let mr = self.kernel.mr;
        (1..).map(|times| times * mr).find(|step| step.is_multiple_of(STEP)).unwrap_or(mr * STEP)
    }

    /// Packs the rows `range`, given as `[range.len(), n]`, on the calling thread.
    ///
    /// # Safety
    /// No two threads pack the same rows, and none packs while `rows` or `columns` are in use.
    pub unsafe fn pack(&self, range: Range<usize>, data: &[f32]) {
        let Self { kernel, m, .. } = *self;
        let whole = range.end.is_multiple_of(self.step()) || range.end == m;
        assert!(
            range.start.is_multiple_of(self.step()) && whole && range.end <= m,
            "rows come in whole steps"
        );
        if range.is_empty() {
            return;
        }
        if let Some(rows) = self.rows.as_ref().filter(|rows| rows.k > 0) {
            let offset = range.start / kernel.mr * Side::A.panel_bytes(kernel, rows.k);
            let view = View::row_major(data, range.len(), rows.k);
            // SAFETY: the panels of these rows lie inside the block, and by the caller's promise they are this thread's.
            let job = unsafe { PackJob::new(kernel, Side::A, view, rows.block.as_ptr().add(offset)) };
            (0..job.tasks()).for_each(|task| job.run(task));
        }
        if let Some(columns) = self.columns.as_ref().filter(|columns| columns.m > 0) {
            let offset = kernel.format_a.bytes(range.start * kernel.mr);
            let view = View::row_major(data, range.len(), columns.m).transposed();
            let stride = Side::A.panel_bytes(kernel, m);
            // SAFETY: as above; a panel has `m` steps, padded as those of the last range are.
            let job = unsafe {
                PackJob::strided(kernel, Side::A, view, columns.block.as_ptr().add(offset), stride)
            };
            (0..job.tasks()).for_each(|task| job.run(task));
        }
    }

    /// `X`, if it was wanted.
    pub fn rows(&self) -> Option<&PackedA> {
        self.rows.as_ref()
    }

    /// `Xᵀ`, if it was wanted.
    pub fn columns(&self) -> Option<&PackedA> {
        self.columns.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::choice::noise;
    use crate::gemm::{multiply, Output, Right};

    #[test]
    fn products_are_those_of_the_matrix_to_the_bit() {
        for precision in [Precision::Fp32, Precision::Bf16] {
            for (m, n, d) in [(1, 1, 1), (3, 33, 17), (97, 31, 5), (200, 100, 33), (1030, 17, 3)] {
                let mut both = BothWays::new(m, n + 9, [true, true], precision);
                both.resize(n);
                let (x, w, h) = (noise(1, m * n), noise(2, n * d), noise(3, m * d));
                for start in (0..m).step_by(both.step()) {
                    let end = (start + both.step()).min(m);
                    // SAFETY: one thread.
                    unsafe { both.pack(start..end, &x[start * n..end * n]) };
                }
                let view = View::row_major(&x, m, n);
                let (Some(rows), Some(columns)) = (both.rows(), both.columns()) else {
                    panic!("both were wanted")
                };
                let product = |a: crate::gemm::Left, b: &[f32], lanes: usize, k: usize| {
                    let mut data = vec![0f32; lanes * d];
                    let output =
                        Output { data: &mut data, stride: d, accumulate: false, far: false, bias: None };
                    multiply(output, a, Right::Lanes(View::row_major(b, k, d).transposed()), precision);
                    data
                };
                assert_eq!(product(rows.into(), &w, m, n), product(view.into(), &w, m, n), "{m}x{n}");
                assert_eq!(
                    product(columns.into(), &h, n, m),
                    product(view.transposed().into(), &h, n, m),
                    "{m}x{n} transposed"
                );
            }
        }
    }
}
