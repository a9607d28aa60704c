//! A few rows times several packed weights: what a step of decoding is made of.
//!
//! The rows are packed once for all the weights that they meet, the panels of these weights are tasks of one parallel
//! loop, and what follows element by element is done by the thread that has just computed the columns. An element is
//! summed as `multiply` sums it, so that it is the same to the bit.

use super::blocks::Blocks;
use super::kernel::Kernel;
use super::operand::{PackJob, PackedB, Side};
use super::view::View;
use crate::memory::Block;
use crate::pool::{num_threads, parallel_for, parallel_runs, SharedMut};
use std::ops::Range;

/// So many tasks a thread where there are enough panels: the last one is short against the whole, and still long against handing it out.
const TASKS_PER_THREAD: usize = 32;

/// Rows packed as the left operand, in memory that is used again.
#[derive(Default)]
pub struct PackedRows {
    kernel: Option<&'static Kernel>,
    m: usize,
    k: usize,
    block: Option<Block>,
}

impl PackedRows {
    /// Packs `m` rows of `k` for products with weights that were packed like `weight`. `rows` gives some of them, `[range.len(), k]`; it is
    /// asked once for each range, by several threads, and may compute them first.
    pub fn pack<'a>(
        &mut self,
        weight: &PackedB,
        m: usize,
        k: usize,
        rows: impl Fn(Range<usize>) -> &'a [f32] + Sync,
    ) {
        assert!(m > 0 && k > 0, "there are rows to pack");
        let kernel = weight.kernel;
        let bytes = Side::A.bytes(kernel, m, k);
        if self.block.as_ref().is_none_or(|block| block.bytes() < bytes) {
            self.block = None; // free first
        }
        let block = self.block.get_or_insert_with(|| Block::new(bytes));
        // SAFETY: the block holds as many bytes; the allocator's memory is opaque to the compiler; `&mut self` makes it exclusive.
        let out = SharedMut::new(unsafe { std::slice::from_raw_parts_mut(block.as_ptr(), bytes) });
        let size = Side::A.panel_bytes(kernel, k);
        parallel_for(m.div_ceil(kernel.mr), |panel| {
            let range = panel * kernel.mr..((panel + 1) * kernel.mr).min(m);
            let view = View::row_major(rows(range.clone()), range.len(), k);
            // SAFETY: panels are disjoint, and one of this size is what so many rows take.
            let job =
                unsafe { PackJob::new(kernel, Side::A, view, out.slice(panel * size, size).as_mut_ptr()) };
            (0..job.tasks()).for_each(|task| job.run(task));
        });
        (self.kernel, self.m, self.k) = (Some(kernel), m, k);
    }

    /// Panics where the rows and the product do not fit together.
    fn times<'a>(
        &self,
        weight: &'a PackedB,
        bias: Option<&'a [f32]>,
        y: SharedMut<'a, f32>,
        accumulate: bool,
    ) -> Blocks<'a> {
        let (Some(kernel), Some(block)) = (self.kernel, &self.block) else { panic!("no rows were packed") };
        assert!(std::ptr::eq(weight.kernel, kernel), "rows and weights are packed for one kernel");
        assert!(weight.k == self.k, "inner sizes differ");
        assert!(y.len() >= self.m * weight.n, "the result is too short");
        assert!(bias.is_none_or(|bias| bias.len() >= weight.n), "the bias is too short");
        Blocks {
            kernel,
            m: self.m,
            n: weight.n,
            k: self.k,
            a: block.as_ptr(),
            b: weight.block.as_ptr(),
            c: y.as_ptr(),
            stride: weight.n,
            accumulate,
            far: false,
            bias,
        }
    }
}

/// One product: `y [m, n] = rows · weight + bias`, and an update where there is one.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    pub weight: &'a PackedB,
    pub bias: Option<&'a [f32]>,
    pub y: SharedMut<'a, f32>,
    /// Other rows and their weight: their product is added to `y`.
    pub update: Option<(&'a PackedRows, &'a PackedB)>,
}

/// Computes all products. Those of a group are equally wide and computed column by column together; then `after(group, columns)` is called, on the
/// same thread: it may use these columns of the group's results, and nobody else does.
pub fn multiply_rows(rows: &PackedRows, groups: &[&[Product]], after: impl Fn(usize, Range<usize>) + Sync) {
    let Some(kernel) = rows.kernel else { panic!("no rows were packed") };
    let mut blocks: Vec<Vec<Blocks>> = vec![];
    let mut starts = vec![0]; // the first panel of each group, all groups' panels counted through
    for group in groups {
        let n = group.first().map_or(0, |first| first.weight.n);
        let mut own = vec![];
        for &Product { weight, bias, y, update } in *group {
            assert!(weight.n == n, "products of a group are equally wide");
            own.push(rows.times(weight, bias, y, false));
            if let Some((inner, weight)) = update {
                assert!(weight.n == n && inner.m == rows.m, "an update is as large as its product");
                own.push(inner.times(weight, None, y, true));
            }
        }
        blocks.push(own);
        starts.push(starts[starts.len() - 1] + n.div_ceil(kernel.nr));
    }
    let (panels, panels_m) = (starts[groups.len()], rows.m.div_ceil(kernel.mr));
    let step = (panels / (TASKS_PER_THREAD * num_threads())).max(1);
    parallel_runs(panels.div_ceil(step), |task| {
        let (from, to) = (task * step, ((task + 1) * step).min(panels));
        for (index, group) in blocks.iter().enumerate() {
            let (first, end) = (from.max(starts[index]), to.min(starts[index + 1]));
            if first >= end {
                continue;
            }
            let columns = first - starts[index]..end - starts[index];
            (kernel.enter)();
            group.iter().for_each(|block| block.task(0..panels_m, columns.clone()));
            (kernel.leave)();
            after(index, columns.start * kernel.nr..(columns.end * kernel.nr).min(group[0].n));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Precision;
    use crate::gemm::choice::noise;
    use crate::gemm::{multiply, Output, Right};

    #[test]
    fn products_of_a_group_are_those_of_multiply_to_the_bit() {
        let mut rows = PackedRows::default();
        for precision in [Precision::Fp32, Precision::Bf16, Precision::Int8] {
            for (m, k, widths) in [
                (1, 576, [64, 33]),
                (3, 37, [1, 200]),
                (8, 1000, [96, 96]),
                (37, 64, [31, 5]),
                (130, 33, [70, 2]),
            ] {
                let x = noise(1, m * k);
                let bias = noise(2, 200);
                let packed: Vec<PackedB> = widths
                    .iter()
                    .map(|&n| {
                        let w = noise(n as u32, n * k);
                        match PackedB::new(View::row_major(&w, n, k), precision) {
                            Some(packed) => packed,
                            None => panic!("memory"),
                        }
                    })
                    .collect();
                let mut results: Vec<Vec<f32>> = widths.iter().map(|&n| vec![7f32; m * n]).collect();
                let mut sums = vec![1f32; m * widths[0]];
                {
                    let shared = SharedMut::new(&mut sums);
                    let [one, two] = &mut results[..] else { panic!("two") };
                    let (one, two) = (SharedMut::new(one), SharedMut::new(two));
                    rows.pack(&packed[0], m, k, |range| &x[range.start * k..range.end * k]);
                    let first = [Product { weight: &packed[0], bias: Some(&bias), y: one, update: None }];
                    let second = [Product { weight: &packed[1], bias: None, y: two, update: None }];
                    multiply_rows(&rows, &[&first, &second], |group, columns| {
                        if group == 0 {
                            for row in 0..m {
                                let at = row * widths[0] + columns.start;
                                // SAFETY: these columns are this call's alone.
                                let (sum, y) = unsafe {
                                    (shared.slice(at, columns.len()), one.slice(at, columns.len()))
                                };
                                sum.iter_mut().zip(y).for_each(|(sum, y)| *sum += *y);
                            }
                        }
                    });
                }
                for (i, &n) in widths.iter().enumerate() {
                    let mut expected = vec![0f32; m * n];
                    let bias = (i == 0).then_some(&bias[..]);
                    let output =
                        Output { data: &mut expected, stride: n, accumulate: false, far: false, bias };
                    multiply(
                        output,
                        View::row_major(&x, m, k),
                        Right::Packed(packed[i].columns()),
                        precision,
                    );
                    assert!(results[i] == expected, "{m}x{n}x{k} {precision:?}");
                }
                assert!(sums.iter().zip(&results[0]).all(|(sum, y)| *sum == 1.0 + y));
            }
        }
    }

    #[test]
    fn groups_of_two_are_computed_side_by_side() {
        let (m, n, k) = (5, 100, 40);
        let (x, w) = (noise(1, m * k), noise(2, 2 * n * k));
        let pack = |w: &[f32]| match PackedB::new(View::row_major(w, n, k), Precision::Fp32) {
            Some(packed) => packed,
            None => panic!("memory"),
        };
        let (left, right) = (pack(&w[..n * k]), pack(&w[n * k..]));
        let mut buffers = vec![vec![0f32; m * n]; 3];
        let [one, two, products] = &mut buffers[..] else { panic!("three") };
        let (one, two, products) = (SharedMut::new(one), SharedMut::new(two), SharedMut::new(products));
        let mut rows = PackedRows::default();
        rows.pack(&left, m, k, |range| &x[range.start * k..range.end * k]);
        let pair = [
            Product { weight: &left, bias: None, y: one, update: None },
            Product { weight: &right, bias: None, y: two, update: None },
        ];
        multiply_rows(&rows, &[&pair], |_, columns| {
            for at in (0..m).flat_map(|row| columns.clone().map(move |column| row * n + column)) {
                // SAFETY: these columns are this call's alone.
                unsafe { products.slice(at, 1)[0] = one.slice(at, 1)[0] * two.slice(at, 1)[0] };
            }
        });
        assert!((0..m * n).all(|i| buffers[2][i] == buffers[0][i] * buffers[1][i] && buffers[2][i] != 0.0));
    }
}
