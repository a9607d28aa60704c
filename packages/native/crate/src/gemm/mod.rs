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
pub mod choice;
pub mod kernel;
pub mod pack;
#[cfg(test)]
mod tests;

use crate::dtype::Precision;
use crate::memory::Block;
use crate::pool::{num_threads, parallel_for};
use kernel::{Format, Kernel, Tile};
use pack::Source;
use std::cell::RefCell;
use std::ops::Range;

/// Packed operands are made in slices of at most about this size, so that workspaces stay bounded.
const SLICE_BYTES: usize = 24 << 20;
/// Up to this many rows the time goes into reading B, and it is read in its own order.
const FEW_ROWS: usize = 96;
/// Steps of K that a packing task covers, a multiple of `pack::STEP`.
const PACK_STEPS: usize = 1024;

/// A matrix inside a slice, with any strides.
#[derive(Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// `None` when an element would lie outside of `data`.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, row: usize, column: usize) -> Option<Self> {
        if rows > 0 && columns > 0 {
            let last = (rows - 1).checked_mul(row)?.checked_add((columns - 1).checked_mul(column)?)?;
            if last >= data.len() {
                return None;
            }
        }
        Some(Self { data, rows, columns, row_stride: row, column_stride: column })
    }

    /// A row-major matrix. Panics when `data` is too short.
    pub fn row_major(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::new(data, rows, columns, columns, 1).expect("the matrix lies inside its slice")
    }

    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Some of the rows.
    pub fn row_range(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows);
        let data = if range.is_empty() || self.columns == 0 {
            &[]
        } else {
            &self.data[range.start * self.row_stride..]
        };
        Self { data, rows: range.len(), ..*self }
    }
}

/// Which operand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    A,
    B,
}

impl Side {
    fn width(self, kernel: &Kernel) -> usize {
        if self == Side::A {
            kernel.mr
        } else {
            kernel.nr
        }
    }

    fn format(self, kernel: &Kernel) -> Format {
        if self == Side::A {
            kernel.format_a
        } else {
            kernel.format_b
        }
    }

    /// Bytes of a panel.
    fn panel_bytes(self, kernel: &Kernel, k: usize) -> usize {
        kernel.padded_k(k) * self.width(kernel) * self.format(kernel).bytes()
    }

    fn bytes(self, kernel: &Kernel, lanes: usize, k: usize) -> usize {
        lanes.div_ceil(self.width(kernel)) * self.panel_bytes(kernel, k)
    }
}

/// Tasks that pack `view` (lanes are rows, K is columns) to `out`.
struct PackJob<'a> {
    kernel: &'static Kernel,
    side: Side,
    view: View<'a>,
    out: *mut u8,
    chunks: usize,
}

// SAFETY: `out` is written by `run` at places that differ from task to task.
unsafe impl Sync for PackJob<'_> {}

impl<'a> PackJob<'a> {
    /// # Safety
    /// `out` is valid for `side.bytes(kernel, view.rows, view.columns)` bytes while the job is used.
    unsafe fn new(kernel: &'static Kernel, side: Side, view: View<'a>, out: *mut u8) -> Self {
        let chunks = kernel.padded_k(view.columns).div_ceil(PACK_STEPS);
        Self { kernel, side, view, out, chunks }
    }

    fn tasks(&self) -> usize {
        self.view.rows.div_ceil(self.side.width(self.kernel)) * self.chunks
    }

    fn run(&self, task: usize) {
        let Self { kernel, side, view, .. } = *self;
        let (panel, start) = (task / self.chunks, task % self.chunks * PACK_STEPS);
        let (width, format) = (side.width(kernel), side.format(kernel));
        let first = panel * width;
        let source = Source {
            data: view.data[first * view.row_stride + start.min(view.columns - 1) * view.column_stride..]
                .as_ptr(),
            lane_stride: view.row_stride,
            k_stride: view.column_stride,
            lanes: (view.rows - first).min(width),
            width,
            k: view.columns.saturating_sub(start).min(PACK_STEPS),
            padded: (kernel.padded_k(view.columns) - start).min(PACK_STEPS),
        };
        let offset = panel * side.panel_bytes(kernel, view.columns) + start * width * format.bytes();
        // SAFETY: the view keeps all elements inside its slice; the range of `out` is this task's alone; the kernel was
        // chosen for this processor.
        unsafe { (kernel.pack)(&source, format, self.out.add(offset)) };
    }
}

/// A right operand, packed to be used many times.
pub struct PackedB {
    kernel: &'static Kernel,
    n: usize,
    k: usize,
    block: Block,
}

impl PackedB {
    /// Packs B(k, n), given as the view with element (n, k): for `y = x wᵀ` that is w [N, K] itself.
    /// `None` when memory is exhausted.
    pub fn new(lanes: View, precision: Precision) -> Option<Self> {
        let kernel = choice::kernel(precision);
        let block = Block::try_new(Side::B.bytes(kernel, lanes.rows, lanes.columns))?;
        let mut packed = Self { kernel, n: lanes.rows, k: lanes.columns, block };
        packed.repack(lanes);
        Some(packed)
    }

    /// Packs other values of the same shape. Panics when the shape differs.
    pub fn repack(&mut self, lanes: View) {
        assert!(lanes.rows == self.n && lanes.columns == self.k, "the shape of a packed weight is fixed");
        if self.n == 0 || self.k == 0 {
            return;
        }
        // SAFETY: the block has the size that its constructor computed for this shape, and `&mut self` is exclusive.
        let job = unsafe { PackJob::new(self.kernel, Side::B, lanes, self.block.as_ptr()) };
        parallel_for(job.tasks(), |task| job.run(task));
    }

    pub fn n(&self) -> usize {
        self.n
    }

    pub fn k(&self) -> usize {
        self.k
    }

    pub fn bytes(&self) -> usize {
        self.block.bytes()
    }

    pub fn columns(&self) -> PackedColumns<'_> {
        PackedColumns { packed: self, range: 0..self.n }
    }

    /// The columns `range` of B alone; the start is a multiple of 32 (of every kernel's panel).
    pub fn column_range(&self, range: Range<usize>) -> PackedColumns<'_> {
        assert!(range.start.is_multiple_of(pack::MAX_WIDTH) && range.end <= self.n);
        PackedColumns { packed: self, range }
    }
}

/// A left operand, packed to be used several times.
pub struct PackedA {
    kernel: &'static Kernel,
    m: usize,
    k: usize,
    block: Block,
}

impl PackedA {
    /// Packs A(m, k).
    pub fn new(view: View, precision: Precision) -> Self {
        let kernel = choice::kernel(precision);
        let block = Block::new(Side::A.bytes(kernel, view.rows, view.columns));
        if view.rows > 0 && view.columns > 0 {
            // SAFETY: the block has the size of this shape and is not shared yet.
            let job = unsafe { PackJob::new(kernel, Side::A, view, block.as_ptr()) };
            parallel_for(job.tasks(), |task| job.run(task));
        }
        Self { kernel, m: view.rows, k: view.columns, block }
    }
}

/// The left operand of a product.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// The view with element (m, k).
    View(View<'a>),
    Packed(&'a PackedA),
}

impl<'a> From<View<'a>> for Left<'a> {
    fn from(view: View<'a>) -> Self {
        Left::View(view)
    }
}

impl<'a> From<&'a PackedA> for Left<'a> {
    fn from(packed: &'a PackedA) -> Self {
        Left::Packed(packed)
    }
}

/// Some columns of a packed operand.
#[derive(Clone)]
pub struct PackedColumns<'a> {
    packed: &'a PackedB,
    range: Range<usize>,
}

/// The right operand of a product.
#[derive(Clone)]
pub enum Right<'a> {
    /// The view with element (n, k).
    Lanes(View<'a>),
    Packed(PackedColumns<'a>),
}

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

/// Where a product goes: rows of `n` columns, `stride` apart.
pub struct Output<'a> {
    pub data: &'a mut [f32],
    pub stride: usize,
    /// Add to what is there instead of overwriting it.
    pub accumulate: bool,
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
    let (n, k) = match &b {
        Right::Lanes(view) => (view.rows, view.columns),
        Right::Packed(columns) => (columns.range.len(), columns.packed.k),
    };
    let (m, inner) = match a {
        Left::View(view) => (view.rows, view.columns),
        Left::Packed(packed) => (packed.m, packed.k),
    };
    assert_eq!(inner, k, "inner sizes differ");
    if m == 0 || n == 0 {
        return;
    }
    let Output { data, stride, accumulate, bias } = output;
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

    let slice_of = |side: Side, lanes: usize| {
        let panel = side.panel_bytes(kernel, k);
        ((SLICE_BYTES / panel).max(4) * side.width(kernel)).min(lanes)
    };
    let (rows, size_a) = match a {
        Left::View(_) => (slice_of(Side::A, m), Side::A.bytes(kernel, slice_of(Side::A, m), k)),
        Left::Packed(packed) => {
            assert!(std::ptr::eq(packed.kernel, kernel), "both operands are packed for one kernel");
            (m, 0)
        }
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
                    bias: bias.map(|bias| &bias[column..column + width]),
                };
                block.run();
            }
        }
    });
}

/// A product of packed operands.
struct Blocks<'a> {
    kernel: &'static Kernel,
    m: usize,
    n: usize,
    k: usize,
    a: *const u8,
    b: *const u8,
    c: *mut f32,
    stride: usize,
    accumulate: bool,
    bias: Option<&'a [f32]>,
}

// SAFETY: tasks read the packed operands and write tiles of C that are disjoint.
unsafe impl Sync for Blocks<'_> {}

impl Blocks<'_> {
    /// Cuts C into tasks and runs them.
    fn run(&self) {
        let kernel = self.kernel;
        let (panels_m, panels_n) = (self.m.div_ceil(kernel.mr), self.n.div_ceil(kernel.nr));
        let wanted = 4 * num_threads(); // some more tasks than threads, so that none waits long for the last
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

    /// A tile of C: panels `rows` of A by panels `columns` of B.
    fn task(&self, rows: Range<usize>, columns: Range<usize>) {
        let block_k = self.kernel.block_k(self.k);
        let padded = self.kernel.padded_k(self.k);
        if self.m <= FEW_ROWS {
            for j in columns.clone() {
                for start in (0..padded).step_by(block_k) {
                    self.column(rows.clone(), j, start, block_k.min(padded - start));
                }
            }
        } else {
            for start in (0..padded).step_by(block_k) {
                for j in columns.clone() {
                    self.column(rows.clone(), j, start, block_k.min(padded - start));
                }
            }
        }
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
    fn column(&self, rows: Range<usize>, j: usize, start: usize, k: usize) {
        let Self { kernel, m, n, stride, .. } = *self;
        let (panel_a, panel_b) = (Side::A.panel_bytes(kernel, self.k), Side::B.panel_bytes(kernel, self.k));
        let (step_a, step_b) = (kernel.mr * kernel.format_a.bytes(), kernel.nr * kernel.format_b.bytes());
        for i in rows {
            let (row, column) = (i * kernel.mr, j * kernel.nr);
            // SAFETY: panels `i` and `j` and their steps `start .. start + k` exist, and so does the tile of C, which is
            // this task's alone; the kernel was chosen for this processor, and `enter` was called.
            unsafe {
                (kernel.run)(&Tile {
                    k,
                    a: self.a.add(i * panel_a + start * step_a),
                    b: self.b.add(j * panel_b + start * step_b),
                    c: self.c.add(row * stride + column),
                    ldc: stride,
                    rows: (m - row).min(kernel.mr),
                    cols: (n - column).min(kernel.nr),
                    add: self.accumulate || start > 0,
                });
            }
        }
    }
}
