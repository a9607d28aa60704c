//! Matrix products: one blocked, packed driver, and a micro-kernel for each instruction set.
//!
//! `C[m, n] (+)= Σk A(m, k) B(k, n)` with any strides of A and B, so that the three products of a linear layer need no
//! transposed copies. Both operands are packed (see `kernel::Format`); a weight may come packed.
//!
//! **Order of sums.** K is cut into blocks whose length depends on K and the kernel alone. An element is the sum of its
//! blocks, first to last, and a block is summed by the micro-kernel in an order of its own. Nothing depends on M, on
//! the element's place, on threads or on who packed, so that a row of `x wᵀ` is the same to the bit in a batch of one
//! and in a batch of thousands.

#[cfg(target_arch = "x86_64")]
pub mod amx;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
mod blocks;
mod both_ways;
pub mod choice;
pub mod int8;
pub mod kernel;
mod on_demand;
mod operand;
mod outer;
pub mod pack;
#[cfg(target_arch = "x86_64")]
mod pack_pairs;
#[cfg(target_arch = "x86_64")]
mod pack_tiles;
pub mod rows;
mod small;
mod small_halves;
mod strip;
mod strips;
mod sums;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tiles_in_rust;
mod view;

pub use both_ways::BothWays;
pub use operand::{Left, PackedA, PackedB, PackedColumns, Right};
pub use outer::{outer, Outer};
pub use small::{Lanes, Small, SmallProducts, Steps};
pub use strip::Strip;
pub use strips::{Rows, Strips, Sum};
pub use sums::{kernel_of, multiply_sums};
pub use view::View;

use crate::dtype::Precision;
use crate::memory::Block;
use crate::pool::parallel_for;
use blocks::Blocks;
use kernel::Kernel;
use operand::{PackJob, Side};
use std::cell::RefCell;

/// Packed operands are made in slices of at most about this size, so that workspaces stay bounded.
const SLICE_BYTES: usize = 24 << 20;

/// A result of fewer bytes may still be in a cache when it is read.
const FAR_FROM: usize = 1 << 20;

thread_local! {
    /// Memory for packed operands, kept from product to product: fresh pages are slow.
    static WORKSPACE: RefCell<[Option<Block>; 2]> = const { RefCell::new([None, None]) };
}

/// Gives `body` two blocks of at least these sizes.
fn with_workspace<T>(sizes: [usize; 2], body: impl FnOnce([*mut u8; 2]) -> T) -> T {
    // Taken out while used, so that a product inside a product's task (which does not happen) would get its own.
    let mut blocks = WORKSPACE.with(|cell| std::mem::take(&mut *cell.borrow_mut()));
    let mut pointers = [std::ptr::NonNull::<u8>::dangling().as_ptr(); 2];
    for ((block, size), pointer) in blocks.iter_mut().zip(sizes).zip(&mut pointers) {
        if size > 0 {
            if block.as_ref().is_none_or(|block| block.bytes() < size) {
                *block = None; // free first
                *block = Some(Block::new(size.next_power_of_two().min(size.next_multiple_of(4 << 20))));
            }
            *pointer = block.as_ref().map_or(*pointer, Block::as_ptr);
        }
    }
    let result = body(pointers);
    WORKSPACE.with(|cell| *cell.borrow_mut() = blocks);
    result
}

/// How many lanes of an operand are packed at a time.
fn slice_of(kernel: &Kernel, side: Side, lanes: usize, k: usize) -> usize {
    ((SLICE_BYTES / side.panel_bytes(kernel, k)).max(4) * side.width(kernel)).min(lanes)
}

/// Where a product goes: rows of `n` columns, `stride` apart.
pub struct Output<'a> {
    pub data: &'a mut [f32],
    pub stride: usize,
    /// Add to what is there instead of overwriting it.
    pub accumulate: bool,
    /// The result is not read soon: where it is large, it may be written past the caches.
    pub far: bool,
    /// Added to each row, after the product.
    pub bias: Option<&'a [f32]>,
}

/// C = or += A · B. A has element (m, k). Panics when sizes do not fit.
pub fn multiply<'a>(output: Output, a: impl Into<Left<'a>>, b: Right, precision: Precision) {
    let kernel = match &b {
        Right::Lanes(_) => choice::kernel(precision),
        Right::Packed(columns) => columns.packed.kernel,
    };
    multiply_with(kernel, output, a.into(), b);
}

/// The same with a given kernel.
pub(crate) fn multiply_with(kernel: &'static Kernel, output: Output, a: Left, b: Right) {
    let (n, k) = (b.lanes(), b.steps());
    let (m, inner) = a.size();
    assert_eq!(inner, k, "inner sizes differ");
    if m == 0 || n == 0 {
        return;
    }
    let Output { data, stride, accumulate, far, bias } = output;
    assert!(stride >= n && data.len() >= (m - 1) * stride + n, "C is too small");
    assert!(bias.is_none_or(|bias| bias.len() >= n), "the bias is too short");
    if k == 0 {
        for row in data.chunks_mut(stride).take(m) {
            for (column, c) in row[..n].iter_mut().enumerate() {
                *c = if accumulate { *c } else { 0.0 } + bias.map_or(0.0, |bias| bias[column]);
            }
        }
        return;
    }

    let slice_of = |side, lanes| slice_of(kernel, side, lanes, k);
    if let Left::Packed(packed) = a {
        assert!(std::ptr::eq(packed.kernel, kernel), "both operands are packed for one kernel");
    }
    if let Some(strips) = Strips::new(kernel, vec![a.into()], m) {
        let output = Output { data, stride, accumulate, far, bias };
        return strips.multiply(vec![Sum { output, terms: vec![(0, b)] }], &|strip| strip.pack_views());
    }
    let (rows, size_a) = match a {
        Left::View(_) => (slice_of(Side::A, m), Side::A.bytes(kernel, slice_of(Side::A, m), k)),
        Left::Packed(_) => (m, 0),
    };
    let (columns, size_b) = match b {
        Right::Lanes(_) => (slice_of(Side::B, n), Side::B.bytes(kernel, slice_of(Side::B, n), k)),
        Right::Packed(_) => (n, 0),
    };
    with_workspace([size_a, size_b], |[out_a, out_b]| {
        let c = data.as_mut_ptr();
        for row in (0..m).step_by(rows) {
            let height = rows.min(m - row);
            for column in (0..n).step_by(columns) {
                let width = columns.min(n - column);
                let (pack_a, packed_a) = match a {
                    Left::View(view) => {
                        // SAFETY: the workspaces have room for a slice of this many rows and columns.
                        let job = unsafe {
                            PackJob::new(kernel, Side::A, view.row_range(row..row + height), out_a)
                        };
                        (Some(job), out_a)
                    }
                    Left::Packed(packed) => (None, packed.block.as_ptr()),
                };
                let pack_a = pack_a.filter(|_| column == 0); // else it is there already
                let tasks_a = pack_a.as_ref().map_or(0, PackJob::tasks);
                let run_a = |task| pack_a.iter().for_each(|job| job.run(task));
                let packed_b = match &b {
                    Right::Lanes(view) => {
                        let view = view.row_range(column..column + width);
                        // SAFETY: as above.
                        let pack_b = unsafe { PackJob::new(kernel, Side::B, view, out_b) };
                        parallel_for(tasks_a + pack_b.tasks(), |task| match task.checked_sub(tasks_a) {
                            None => run_a(task),
                            Some(task) => pack_b.run(task),
                        });
                        out_b.cast_const()
                    }
                    Right::Packed(part) => {
                        parallel_for(tasks_a, run_a);
                        let first = part.range.start / kernel.nr * Side::B.panel_bytes(kernel, k);
                        part.packed.block.as_ptr().wrapping_add(first).cast_const()
                    }
                };
                let block = Blocks {
                    kernel,
                    m: height,
                    n: width,
                    k,
                    a: packed_a,
                    b: packed_b,
                    // SAFETY: inside C, checked above.
                    c: unsafe { c.add(row * stride + column) },
                    stride,
                    accumulate,
                    far: false,
                    bias: bias.map(|bias| &bias[column..column + width]),
                };
                block.run();
            }
        }
    });
}
