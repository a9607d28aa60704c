//! Products in strips of rows, each strip the task of one thread, which packs its rows unless they come packed: they stay in the second-level cache to the last column.
//! Several products may share a strip: of the same rows, or of other ones whose products are summed. Columns that come unpacked are packed by the first strip that meets
//! them. What is packed next, rows or columns, is asked for while tiles are computed, where the kernel gains by that.

use super::blocks::Blocks;
use super::kernel::Kernel;
use super::on_demand::{Lines, OnDemand};
use super::operand::{PackJob, PackedA, Side};
use super::strip::Strip;
use super::view::View;
use super::{with_workspace, Left, Output, Right, FAR_FROM, SLICE_BYTES};
use crate::memory::Block;
use crate::pool::{num_threads, parallel_runs};
use std::cell::RefCell;
use std::ops::Range;

/// Fewest panels of a strip: each panel of columns is read again for each strip.
const FEWEST: usize = 3;
/// Fewest panels of columns that are packed at a time, however long they are.
const FEWEST_COLUMNS: usize = 4;

thread_local! {
    /// The memory of a thread's strips, kept: fresh pages are slow.
    static STRIP: RefCell<Option<Block>> = const { RefCell::new(None) };
}

/// The rows of a left operand.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    View(View<'a>),
    Packed(&'a PackedA),
    /// Rows of so many steps, which are made strip by strip: see `Strip::pack`.
    Made(usize),
}

impl Rows<'_> {
    pub(super) fn steps(&self) -> usize {
        match self {
            Rows::View(view) => view.columns,
            Rows::Packed(packed) => packed.k,
            Rows::Made(steps) => *steps,
        }
    }
}

impl<'a> From<Left<'a>> for Rows<'a> {
    fn from(left: Left<'a>) -> Self {
        match left {
            Left::View(view) => Rows::View(view),
            Left::Packed(packed) => Rows::Packed(packed),
        }
    }
}

/// `C = or += Σ A · B (+ bias)`: `terms` are left operands by their index, with what each is multiplied by. The bias is added after the first of them.
pub struct Sum<'a> {
    pub output: Output<'a>,
    pub terms: Vec<(usize, Right<'a>)>,
}

/// Some columns of a sum.
struct Piece<'a> {
    n: usize,
    parts: Vec<Part<'a>>,
}

/// Some columns of a term.
struct Part<'a> {
    left: usize,
    /// Lacks its rows, and its columns until `pack` has made them.
    block: Blocks<'a>,
    pack: Option<OnDemand<'a>>,
}

/// How the rows are cut.
pub struct Strips<'a> {
    pub(super) kernel: &'static Kernel,
    pub(super) lefts: Vec<Rows<'a>>,
    pub(super) m: usize,
    count: usize,
    /// About so many bytes of packed columns at a time, at most.
    pass_bytes: usize,
}

impl<'a> Strips<'a> {
    /// `None` where strips would be too few for the threads, or too large for the cache.
    pub fn new(kernel: &'static Kernel, lefts: Vec<Rows<'a>>, m: usize) -> Option<Self> {
        let strips = Self::with_made(kernel, lefts, m);
        let enough = m.div_ceil(kernel.mr) >= 2 * FEWEST * num_threads();
        (strips.most() >= FEWEST && enough).then_some(strips)
    }

    /// Strips in any case, for rows that are made.
    pub fn with_made(kernel: &'static Kernel, lefts: Vec<Rows<'a>>, m: usize) -> Self {
        let (panels, threads) = (m.div_ceil(kernel.mr), num_threads());
        let strips = Self { kernel, lefts, m, count: 1, pass_bytes: SLICE_BYTES };
        let wanted = (kernel.strips.per_thread * threads).min(panels / FEWEST);
        let count = panels.div_ceil(strips.most().max(1)).max(wanted).next_multiple_of(threads);
        Self { count: count.min(panels).max(1), ..strips }
    }

    /// Most panels of a strip.
    fn most(&self) -> usize {
        (self.kernel.strips.bytes / self.panel_bytes()).min(self.kernel.task.0 / self.kernel.mr)
    }

    /// Bytes of a panel of all rows that strips pack or make, and of those that they read packed.
    fn panel_bytes(&self) -> usize {
        self.lefts.iter().map(|left| Side::A.panel_bytes(self.kernel, left.steps())).sum::<usize>().max(1)
    }

    /// Where the panels of each left operand begin in a strip's memory, and how much of that there is.
    pub(super) fn places(&self) -> (Vec<usize>, usize) {
        let panels = self.m.div_ceil(self.kernel.mr).div_ceil(self.count);
        let mut next = 0;
        let starts = self.lefts.iter().map(|left| {
            let start = next;
            if !matches!(left, Rows::Packed(_)) {
                next += panels * Side::A.panel_bytes(self.kernel, left.steps());
            }
            start
        });
        let starts = starts.collect();
        (starts, next)
    }

    /// The panels of a strip.
    pub(super) fn panels(&self, strip: usize) -> Range<usize> {
        let panels = self.m.div_ceil(self.kernel.mr);
        strip * panels / self.count..(strip + 1) * panels / self.count
    }

    /// The rows of a strip.
    pub(super) fn rows(&self, strip: usize) -> Range<usize> {
        let (panels, mr) = (self.panels(strip), self.kernel.mr);
        panels.start * mr..(panels.end * mr).min(self.m)
    }

    /// Computes the sums. `make` packs a strip's rows, and makes those that are to be made, before its products; columns that take much memory are packed in several passes,
    /// and it is called in each.
    pub fn multiply(&self, mut sums: Vec<Sum>, make: &(dyn Fn(&Strip) + Sync)) {
        for sum in &sums {
            self.check(sum);
        }
        let c: Vec<*mut f32> = sums.iter_mut().map(|sum| sum.output.data.as_mut_ptr()).collect();
        for columns in self.passes(&sums) {
            let bytes = columns.iter().map(|(sum, range)| self.columns_bytes(&sums[*sum], range.len())).sum();
            with_workspace([0, bytes], |[_, out]| {
                let mut next = out;
                let pieces: Vec<Piece> = columns
                    .iter()
                    .map(|(sum, range)| {
                        let here = next;
                        next = next.wrapping_add(self.columns_bytes(&sums[*sum], range.len()));
                        // SAFETY: the workspace has room for the columns of all pieces.
                        unsafe { self.piece(&sums[*sum], c[*sum], range.clone(), here) }
                    })
                    .collect();
                self.run(&pieces, make);
            });
        }
    }

    /// Panics when sizes do not fit.
    fn check(&self, Sum { output, terms }: &Sum) {
        let n = terms.first().map_or(0, |(_, right)| right.lanes());
        let (m, Output { data, stride, bias, .. }) = (self.m, output);
        assert!(n > 0 && m > 0, "there is something to compute");
        assert!(*stride >= n && data.len() >= (m - 1) * stride + n, "C is too small");
        assert!(bias.is_none_or(|bias| bias.len() >= n), "the bias is too short");
        for (left, right) in terms {
            let left = &self.lefts[*left];
            assert!(right.lanes() == n, "sizes of a term differ");
            assert!(left.steps() == right.steps() && left.steps() > 0, "inner sizes differ");
            let packed = [
                if let Rows::Packed(packed) = left { Some((packed.kernel, packed.m)) } else { None },
                if let Right::Packed(part) = right { Some((part.packed.kernel, m)) } else { None },
            ];
            for (kernel, rows) in packed.into_iter().flatten() {
                assert!(std::ptr::eq(kernel, self.kernel), "all operands are packed for one kernel");
                assert!(rows == m, "sizes of a term differ");
            }
            assert!(!matches!(left, Rows::View(view) if view.rows != m), "sizes of a term differ");
        }
    }

    /// Memory for so many columns of a sum, as far as they come unpacked.
    fn columns_bytes(&self, sum: &Sum, columns: usize) -> usize {
        let unpacked = sum.terms.iter().filter(|(_, right)| matches!(right, Right::Lanes(_)));
        unpacked.map(|(_, right)| Side::B.bytes(self.kernel, columns, right.steps())).sum()
    }

    /// The columns of all sums, cut into passes.
    fn passes(&self, sums: &[Sum]) -> Vec<Vec<(usize, Range<usize>)>> {
        let nr = self.kernel.nr;
        let (mut passes, mut used) = (vec![vec![]], 0);
        for (index, sum) in sums.iter().enumerate() {
            let (n, panel) = (sum.terms[0].1.lanes(), self.columns_bytes(sum, 1));
            let mut first = 0;
            while first < n {
                let left = (n - first).div_ceil(nr);
                let fitting = self.pass_bytes.saturating_sub(used).checked_div(panel).unwrap_or(left);
                let panels = if used == 0 { fitting.max(FEWEST_COLUMNS) } else { fitting }.min(left);
                if panels == 0 {
                    passes.push(vec![]);
                    used = 0;
                    continue;
                }
                let end = n.min(first + panels * nr);
                if let Some(pass) = passes.last_mut() {
                    pass.push((index, first..end));
                }
                used += panels * panel;
                first = end;
            }
        }
        passes
    }

    /// Some columns of a sum that goes to `c`.
    ///
    /// # Safety
    /// `out` has room for what `columns_bytes` says while the piece is used.
    unsafe fn piece<'s>(&self, sum: &'s Sum, c: *mut f32, columns: Range<usize>, out: *mut u8) -> Piece<'s> {
        let Self { kernel, m, .. } = *self;
        let Output { stride, accumulate, far, bias, .. } = &sum.output;
        let (mut next, single) = (out, sum.terms.len() == 1 && bias.is_none());
        let parts = sum.terms.iter().enumerate().map(|(place, (left, right))| {
            let k = right.steps();
            let (b, pack) = match right {
                Right::Packed(part) => {
                    let first = (part.range.start + columns.start) / kernel.nr;
                    let panel = Side::B.panel_bytes(kernel, k);
                    (part.packed.block.as_ptr().wrapping_add(first * panel), None)
                }
                Right::Lanes(view) => {
                    let here = next;
                    next = next.wrapping_add(Side::B.bytes(kernel, columns.len(), k));
                    // SAFETY: by the caller's promise.
                    let job = unsafe { PackJob::new(kernel, Side::B, view.row_range(columns.clone()), here) };
                    (here, Some(OnDemand::new(job)))
                }
            };
            let block = Blocks {
                kernel,
                m,
                n: columns.len(),
                k,
                a: std::ptr::null(), // each strip has its own
                b,
                c: c.wrapping_add(columns.start),
                stride: *stride,
                accumulate: *accumulate || place > 0,
                far: *far && single && 4 * m * stride >= FAR_FROM,
                bias: bias.filter(|_| place == 0).map(|bias| &bias[columns.clone()]),
            };
            Part { left: *left, block, pack }
        });
        Piece { n: columns.len(), parts: parts.collect() }
    }

    fn run(&self, pieces: &[Piece], make: &(dyn Fn(&Strip) + Sync)) {
        let Self { kernel, count, .. } = *self;
        let (starts, bytes) = self.places();
        parallel_runs(count, |index| {
            let room = bytes.max(kernel.strips.bytes);
            let memory = STRIP.take().filter(|memory| memory.bytes() >= room);
            let memory = memory.unwrap_or_else(|| Block::new(room));
            let strip = Strip { strips: self, index, starts: &starts, memory: memory.as_ptr() };
            make(&strip);
            let panels = strip.panels();
            // Calls for a column of a piece, one for each tile of each block of K.
            let tiles = |piece: &Piece| -> usize {
                let blocks =
                    |part: &Part| kernel.padded_k(part.block.k).div_ceil(kernel.block_k(part.block.k));
                panels * piece.parts.iter().map(blocks).sum::<usize>()
            };
            let all = pieces.iter().map(|piece| tiles(piece) * piece.n.div_ceil(kernel.nr)).sum();
            let ask = kernel.strips.ask;
            let next = if ask && index + 1 < count { self.rows(index + 1) } else { 0..0 };
            let views = self.lefts.iter().filter_map(|left| match left {
                Rows::View(view) => Some(*view),
                _ => None,
            });
            let views = views.filter(|_| !next.is_empty());
            let mut rows_soon: Vec<Lines> =
                views.map(|view| Lines::new(view.row_range(next.clone()), all)).collect();
            let mut columns_soon: Vec<Lines> = vec![];
            (kernel.enter)();
            for piece in pieces {
                let (columns, tiles) = (piece.n.div_ceil(kernel.nr), tiles(piece));
                let blocks: Vec<Blocks> =
                    piece.parts.iter().map(|part| strip.block(part.left, &part.block)).collect();
                // Strips begin at different columns, so that threads do not pack the same ones.
                let place = |column: usize| (column + index * columns / count) % columns;
                for (column, after) in (0..columns).map(|column| (place(column), place(column + 1))) {
                    columns_soon.clear();
                    for pack in piece.parts.iter().filter_map(|part| part.pack.as_ref()) {
                        pack.ensure(column);
                        if let Some(view) = pack.missing(after).filter(|_| ask) {
                            columns_soon.push(Lines::new(view, tiles));
                        }
                    }
                    for block in &blocks {
                        block.columns(0..panels, column..column + 1, &mut || {
                            rows_soon.iter_mut().for_each(Lines::ask);
                            columns_soon.iter_mut().for_each(Lines::ask);
                        });
                    }
                }
            }
            (kernel.leave)();
            STRIP.set(Some(memory));
        });
    }
}

#[cfg(test)]
mod tests;
