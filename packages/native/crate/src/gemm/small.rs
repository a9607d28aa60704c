//! Small products inside of another kernel: one thread packs operands of a few panels into scratch of its own, and multiplies some of their panels.

use super::choice;
use super::kernel::{Kernel, Tile};
use super::operand::Side;
use super::pack::Source;
use crate::dtype::Precision;
use std::ops::Range;

/// Numbers that are packed: element (lane, k) is `data[lane * lane_stride + k * k_stride]`. Lanes are rows of the left operand, columns of the right one.
#[derive(Clone, Copy)]
pub struct Lanes<'a> {
    pub data: &'a [f32],
    pub lane_stride: usize,
    pub k_stride: usize,
    pub lanes: usize,
    pub k: usize,
}

/// A packed operand.
#[derive(Clone, Copy)]
pub struct Small<'a> {
    data: &'a [f32],
    lanes: usize,
    /// Padded.
    k: usize,
    panel: usize,
}

/// Steps of K that are multiplied, of which the two operands may have counted differently. Starts are multiples of `unit`.
#[derive(Clone, Copy)]
pub struct Steps {
    pub left: usize,
    pub right: usize,
    pub count: usize,
}

impl Steps {
    pub fn first(count: usize) -> Self {
        Self { left: 0, right: 0, count }
    }
}

/// A micro-kernel, ready to run on this thread. Vectors may be used meanwhile.
pub struct SmallProducts {
    pub(super) kernel: &'static Kernel,
    _thread: std::marker::PhantomData<*const ()>,
}

impl Drop for SmallProducts {
    fn drop(&mut self) {
        (self.kernel.leave)();
    }
}

impl SmallProducts {
    /// Whether the processor multiplies bfloat16 itself: else packing would gain nothing.
    pub fn pay() -> bool {
        choice::kernel(Precision::Bf16).bf16
    }

    /// In bfloat16.
    pub fn in_bf16() -> Self {
        Self::on(choice::kernel(Precision::Bf16))
    }

    fn on(kernel: &'static Kernel) -> Self {
        (kernel.enter)();
        Self { kernel, _thread: std::marker::PhantomData }
    }

    /// Rows of a panel of the left operand.
    pub fn rows(&self) -> usize {
        self.kernel.mr
    }

    /// Columns of a panel of the right one.
    pub fn columns(&self) -> usize {
        self.kernel.nr
    }

    /// Steps of K come in multiples of this.
    pub fn unit(&self) -> usize {
        self.kernel.unit
    }

    /// Floats of scratch for a left operand.
    pub fn left_len(&self, lanes: usize, k: usize) -> usize {
        Side::A.bytes(self.kernel, lanes, k).div_ceil(4)
    }

    /// Floats of scratch for a right operand.
    pub fn right_len(&self, lanes: usize, k: usize) -> usize {
        Side::B.bytes(self.kernel, lanes, k).div_ceil(4)
    }

    pub fn left<'a>(&self, lanes: Lanes, room: &'a mut [f32]) -> Small<'a> {
        self.pack(Side::A, lanes, room)
    }

    pub fn right<'a>(&self, lanes: Lanes, room: &'a mut [f32]) -> Small<'a> {
        self.pack(Side::B, lanes, room)
    }

    fn pack<'a>(&self, side: Side, from: Lanes, room: &'a mut [f32]) -> Small<'a> {
        let Self { kernel, .. } = *self;
        let Lanes { data, lane_stride, k_stride, lanes, k } = from;
        assert!(lanes > 0 && k > 0, "there is something to pack");
        assert!(
            (lanes - 1) * lane_stride + (k - 1) * k_stride < data.len(),
            "elements are inside of their slice"
        );
        assert!(4 * room.len() >= side.bytes(kernel, lanes, k), "there is room for the panels");
        let (width, padded, panel) = (side.width(kernel), kernel.padded_k(k), side.panel_bytes(kernel, k));
        for index in 0..lanes.div_ceil(width) {
            let first = index * width;
            let source = Source {
                data: data[first * lane_stride..].as_ptr(),
                lane_stride,
                k_stride,
                lanes: (lanes - first).min(width),
                width,
                k,
                padded,
            };
            // SAFETY: all elements are inside of `data`, and the panel inside of `room`, as was checked; the kernel was chosen for this processor.
            unsafe {
                (kernel.pack)(&source, side.format(kernel), room.as_mut_ptr().cast::<u8>().add(index * panel))
            };
        }
        Small { data: room, lanes, k: padded, panel }
    }

    /// Floats of a panel of a right operand of two-byte numbers.
    pub(super) fn panel_words(&self, k: usize) -> usize {
        Side::B.panel_bytes(self.kernel, k) / 4
    }

    /// A right operand that lies in `room`, panels of so many floats.
    pub(super) fn packed_small<'a>(
        &self,
        room: &'a [f32],
        lanes: usize,
        k: usize,
        panel: usize,
    ) -> Small<'a> {
        Small { data: room, lanes, k: self.kernel.padded_k(k), panel: 4 * panel }
    }

    /// Rows of panel `panel` of `a` times the columns `columns` of `b` (whole panels, but for the last; those beyond its lanes are 0), to `c` in rows of `stride`, whose first element is that of the first row and
    /// column 0 of `b`; `add`: to what is there. An element's sum is the same to the bit whatever rows and columns come with it, and so with steps more that are zero in one operand.
    #[allow(clippy::too_many_arguments)]
    pub fn multiply(
        &self,
        a: Small,
        panel: usize,
        b: Small,
        columns: Range<usize>,
        steps: Steps,
        c: &mut [f32],
        stride: usize,
        add: bool,
    ) {
        let Self { kernel, .. } = *self;
        let rows = (a.lanes - panel * kernel.mr).min(kernel.mr);
        let k = kernel.padded_k(steps.count);
        assert!(steps.left.is_multiple_of(kernel.unit) && steps.right.is_multiple_of(kernel.unit));
        assert!(steps.left + k <= a.k && steps.right + k <= b.k, "steps that exist");
        assert!(
            columns.start.is_multiple_of(kernel.nr) && columns.end <= b.lanes.next_multiple_of(kernel.nr),
            "columns that exist"
        );
        assert!((rows - 1) * stride + columns.end <= c.len(), "there is room for the result");
        let (left, right) =
            (kernel.format_a.bytes(steps.left * kernel.mr), kernel.format_b.bytes(steps.right * kernel.nr));
        for first in columns.clone().step_by(kernel.nr) {
            let cols = (columns.end - first).min(kernel.nr);
            // SAFETY: the panels and their steps exist, as was checked, and so do the rows and columns of C; the kernel was chosen for this processor and `enter` was called on
            // this thread, which the type does not leave.
            unsafe {
                let b = b.data.as_ptr().cast::<u8>().add(first / kernel.nr * b.panel + right);
                (kernel.run)(&Tile {
                    k,
                    a: a.data.as_ptr().cast::<u8>().add(panel * a.panel + left),
                    b,
                    soon: b,
                    far: false,
                    c: c.as_mut_ptr().add(first),
                    ldc: stride,
                    rows,
                    cols,
                    add,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::bf16_bits;
    use crate::gemm::choice::{candidates, noise, stored};
    use crate::vectorised;

    vectorised! {
        /// The product of rows of both with what is packed from bfloat16, by rows and over them.
        fn of_halves<V>(products: &SmallProducts, a: &[f32], halves: &[u16], rows: usize, dim: usize) -> [Vec<f32>; 2] {
            let row = |j: usize| &halves[j * dim..(j + 1) * dim];
            let (mut right, mut over) = (vec![f32::NAN; products.right_len(rows, dim)], vec![f32::NAN; products.right_len(dim, rows)]);
            let (mut left, mut weights) = (vec![0.0; products.left_len(1, dim)], vec![0.0; products.left_len(1, rows)]);
            let lanes = |k: usize| Lanes { data: a, lane_stride: k, k_stride: 1, lanes: 1, k };
            let (left, weights) = (products.left(lanes(dim), &mut left), products.left(lanes(rows), &mut weights));
            let right = products.right_of_halves::<V>(row, rows, dim, &mut right, |_| ());
            let over = products.right_over_halves::<V>(row, rows, dim, &mut over);
            let (mut y, mut z) = (vec![0.0; rows], vec![0.0; dim]);
            products.multiply(left, 0, right, 0..rows, Steps::first(dim), &mut y, rows, false);
            products.multiply(weights, 0, over, 0..dim, Steps::first(rows), &mut z, dim, false);
            [y, z]
        }
    }

    #[test]
    fn rows_in_bf16_are_packed_as_floats_are() {
        for kernel in candidates(Precision::Bf16).into_iter().filter(|kernel| kernel.bf16) {
            let products = SmallProducts::on(kernel);
            for (rows, dim) in [(1, 32), (2, 64), (7, 32), (31, 96), (33, 64), (64, 128)] {
                let (a, b) = (noise(1, rows.max(dim)), noise(2, rows * dim));
                let halves: Vec<u16> = b.iter().map(|&x| bf16_bits(x)).collect();
                let [y, z] = of_halves(&products, &a, &halves, rows, dim);
                let (mut left, mut right) = (
                    vec![0.0; products.left_len(1, rows.max(dim))],
                    vec![0.0; products.right_len(rows.max(dim), rows.max(dim))],
                );
                for (found, lanes, k, strides) in [(y, rows, dim, (dim, 1)), (z, dim, rows, (1, dim))] {
                    let one = products
                        .left(Lanes { data: &a, lane_stride: k, k_stride: 1, lanes: 1, k }, &mut left);
                    let (lane_stride, k_stride) = strides;
                    let many =
                        products.right(Lanes { data: &b, lane_stride, k_stride, lanes, k }, &mut right);
                    let mut expected = vec![0.0; lanes];
                    products.multiply(one, 0, many, 0..lanes, Steps::first(k), &mut expected, lanes, false);
                    assert_eq!(found, expected, "{}: {rows} x {dim}", kernel.name);
                }
            }
        }
    }

    #[test]
    fn panels_and_steps_of_products_are_those_of_plain_loops() {
        for kernel in [Precision::Fp32, Precision::Bf16].into_iter().flat_map(candidates) {
            let products = SmallProducts::on(kernel);
            for (m, n, k) in [(1, 1, 1), (3, 17, 31), (64, 64, 64), (50, 33, 5), (13, 70, 96)] {
                let (a, b) = (noise(1, m * k), noise(2, n * k));
                // The left operand by columns, the right one by rows with something between them.
                let apart: Vec<f32> =
                    b.chunks_exact(k).flat_map(|row| row.iter().copied().chain([9.0; 3])).collect();
                let turned: Vec<f32> = (0..k * m).map(|i| a[i % m * k + i / m]).collect();
                let (mut left, mut right) =
                    (vec![0.0; products.left_len(m, k)], vec![0.0; products.right_len(n, k)]);
                let left = products
                    .left(Lanes { data: &turned, lane_stride: 1, k_stride: m, lanes: m, k }, &mut left);
                let right = products
                    .right(Lanes { data: &apart, lane_stride: k + 3, k_stride: 1, lanes: n, k }, &mut right);
                let unit = products.unit();
                let rounded = |x: &[f32]| {
                    x.chunks_exact(k).map(|lane| stored(kernel.format_b, lane)).collect::<Vec<_>>()
                };
                let (a, b) = (rounded(&a), rounded(&b));
                for start in [0, k / 2 / unit * unit] {
                    let steps = Steps { left: start, right: start, count: k - start };
                    let mut c = vec![0.5; m * n];
                    for panel in 0..m.div_ceil(kernel.mr) {
                        let at = panel * kernel.mr * n;
                        products.multiply(left, panel, right, 0..n, steps, &mut c[at..], n, true);
                    }
                    for (i, found) in c.iter().enumerate() {
                        let exact: f64 = (start..k).map(|p| a[i / n][p] * b[i % n][p]).sum::<f64>() + 0.5;
                        assert!(
                            (f64::from(*found) - exact).abs() < 1e-4,
                            "{}: {m} x {n} x {k} from {start}: {i}",
                            kernel.name
                        );
                    }
                }
            }
        }
    }
}
