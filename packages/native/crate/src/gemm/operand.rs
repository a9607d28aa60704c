//! Operands of a product: as they lie in memory, or packed to be used many times.

use super::choice;
use super::kernel::{Format, Kernel};
use super::pack::{self, Source};
use super::view::View;
use crate::arena::Piece;
use crate::dtype::Precision;
use crate::lent::Lent;
use crate::pool::parallel_for;
use std::ops::Range;

/// Steps of K that a packing task covers, a multiple of `pack::STEP`.
const PACK_STEPS: usize = 1024;
/// Where lanes lie side by side, a task packs so many panels, and so many steps of each before those of the next: whole lines of a few rows are read
/// and not a piece of each row.
const SIDE_BY_SIDE: (usize, usize) = (8, 32);

/// Which operand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
}

impl Side {
    pub(super) fn width(self, kernel: &Kernel) -> usize {
        if self == Side::A {
            kernel.mr
        } else {
            kernel.nr
        }
    }

    pub(super) fn format(self, kernel: &Kernel) -> Format {
        if self == Side::A {
            kernel.format_a
        } else {
            kernel.format_b
        }
    }

    /// Bytes of a panel.
    pub(super) fn panel_bytes(self, kernel: &Kernel, k: usize) -> usize {
        self.format(kernel).bytes(kernel.padded_k(k) * self.width(kernel))
    }

    pub(super) fn bytes(self, kernel: &Kernel, lanes: usize, k: usize) -> usize {
        lanes.div_ceil(self.width(kernel)) * self.panel_bytes(kernel, k)
    }
}

/// Tasks that pack `view` (lanes are rows, K is columns) to `out`.
pub(super) struct PackJob<'a> {
    kernel: &'static Kernel,
    side: Side,
    view: View<'a>,
    out: *mut u8,
    chunks: usize,
    /// Panels of a task.
    group: usize,
    /// From a panel to the next, in bytes: more than what is packed where these are some steps of K of a longer panel.
    stride: usize,
}

// SAFETY: `out` is written by `run` at places that differ from task to task.
unsafe impl Sync for PackJob<'_> {}

impl<'a> PackJob<'a> {
    /// # Safety
    /// `out` is valid for `side.bytes(kernel, view.rows, view.columns)` bytes while the job is used.
    pub(super) unsafe fn new(kernel: &'static Kernel, side: Side, view: View<'a>, out: *mut u8) -> Self {
        let chunks = kernel.padded_k(view.columns).div_ceil(PACK_STEPS);
        let group = if view.column_stride == 1 { 1 } else { SIDE_BY_SIDE.0 };
        Self { kernel, side, view, out, chunks, group, stride: side.panel_bytes(kernel, view.columns) }
    }

    /// Panels that lie `stride` bytes apart, of which these are some steps.
    ///
    /// # Safety
    /// `out` is valid for what is packed, panels being that far apart.
    pub(super) unsafe fn strided(
        kernel: &'static Kernel,
        side: Side,
        view: View<'a>,
        out: *mut u8,
        stride: usize,
    ) -> Self {
        // SAFETY: by the caller's promise.
        Self { stride, ..unsafe { Self::new(kernel, side, view, out) } }
    }

    pub(super) fn panels(&self) -> usize {
        self.view.rows.div_ceil(self.side.width(self.kernel))
    }

    pub(super) fn tasks(&self) -> usize {
        self.panels().div_ceil(self.group) * self.chunks
    }

    pub(super) fn run(&self, task: usize) {
        let (first, start) = (task / self.chunks * self.group, task % self.chunks * PACK_STEPS);
        let panels = first..(first + self.group).min(self.panels());
        let end = self.kernel.padded_k(self.view.columns).min(start + PACK_STEPS);
        let steps = if self.group == 1 { PACK_STEPS } else { SIDE_BY_SIDE.1 };
        for start in (start..end).step_by(steps) {
            panels.clone().for_each(|panel| self.part(panel, start, steps.min(end - start)));
        }
    }

    /// All of one panel.
    pub(super) fn panel(&self, panel: usize) {
        let end = self.kernel.padded_k(self.view.columns);
        for start in (0..end).step_by(PACK_STEPS) {
            self.part(panel, start, PACK_STEPS.min(end - start));
        }
    }

    /// What a panel is packed from.
    pub(super) fn source(&self, panel: usize) -> View<'a> {
        let width = self.side.width(self.kernel);
        self.view.row_range(panel * width..((panel + 1) * width).min(self.view.rows))
    }

    /// Packs `padded` steps of a panel; the start is a multiple of `pack::STEP`.
    fn part(&self, panel: usize, start: usize, padded: usize) {
        let Self { kernel, side, view, .. } = *self;
        let (width, format) = (side.width(kernel), side.format(kernel));
        let first = panel * width;
        let source = Source {
            data: view.data[first * view.row_stride + start.min(view.columns - 1) * view.column_stride..]
                .as_ptr(),
            lane_stride: view.row_stride,
            k_stride: view.column_stride,
            lanes: (view.rows - first).min(width),
            width,
            k: view.columns.saturating_sub(start).min(padded),
            padded,
        };
        let offset = panel * self.stride + format.bytes(start * width);
        // SAFETY: the view keeps all elements inside its slice; the range of `out` is this task's alone; the kernel was
        // chosen for this processor.
        unsafe { (kernel.pack)(&source, format, self.out.add(offset)) };
    }
}

/// Where a right operand is packed: for long, or for a call.
pub(super) enum Room {
    Piece(Piece),
    Lent(Lent),
}

impl Room {
    pub(super) fn as_ptr(&self) -> *mut u8 {
        match self {
            Room::Piece(piece) => piece.as_ptr(),
            Room::Lent(lent) => lent.as_ptr(),
        }
    }
    fn bytes(&self) -> usize {
        match self {
            Room::Piece(piece) => piece.bytes(),
            Room::Lent(lent) => lent.bytes(),
        }
    }
}

/// A right operand, packed to be used many times.
pub struct PackedB {
    pub(super) kernel: &'static Kernel,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) block: Room,
}

impl PackedB {
    /// Packs B(k, n), given as the view with element (n, k): for `y = x wᵀ` that is w [N, K] itself.
    /// `None` when memory is exhausted.
    pub fn new(lanes: View, precision: Precision) -> Option<Self> {
        let kernel = choice::kernel(precision);
        let block = Room::Piece(Piece::try_new(Side::B.bytes(kernel, lanes.rows, lanes.columns))?);
        let mut packed = Self { kernel, n: lanes.rows, k: lanes.columns, block };
        packed.repack(lanes);
        Some(packed)
    }

    /// The same for the length of a call.
    pub fn transient(lanes: View, precision: Precision) -> Self {
        let kernel = choice::kernel(precision);
        let block = Room::Lent(Lent::new(Side::B.bytes(kernel, lanes.rows, lanes.columns)));
        let mut packed = Self { kernel, n: lanes.rows, k: lanes.columns, block };
        packed.repack(lanes);
        packed
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

    /// Whether both are packed for the same kernel, so that rows packed for one serve the other.
    pub fn alike(&self, other: &PackedB) -> bool {
        std::ptr::eq(self.kernel, other.kernel)
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
    pub(super) kernel: &'static Kernel,
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) block: Lent,
}

impl PackedA {
    /// Packs A(m, k).
    pub fn new(view: View, precision: Precision) -> Self {
        let kernel = choice::kernel(precision);
        let block = Lent::new(Side::A.bytes(kernel, view.rows, view.columns));
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

impl Left<'_> {
    /// Rows, and steps of K.
    pub(super) fn size(&self) -> (usize, usize) {
        match self {
            Left::View(view) => (view.rows, view.columns),
            Left::Packed(packed) => (packed.m, packed.k),
        }
    }
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
    pub(super) packed: &'a PackedB,
    pub(super) range: Range<usize>,
}

/// The right operand of a product.
#[derive(Clone)]
pub enum Right<'a> {
    /// The view with element (n, k).
    Lanes(View<'a>),
    Packed(PackedColumns<'a>),
}

impl Right<'_> {
    /// Columns of B.
    pub(super) fn lanes(&self) -> usize {
        match self {
            Right::Lanes(view) => view.rows,
            Right::Packed(part) => part.range.len(),
        }
    }

    /// Steps of K.
    pub(super) fn steps(&self) -> usize {
        match self {
            Right::Lanes(view) => view.columns,
            Right::Packed(part) => part.packed.k,
        }
    }
}
