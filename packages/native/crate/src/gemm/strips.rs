//! A product in strips of rows, each the task of one thread, which packs the rows unless they come packed: they stay in the second-level cache to the last column.
//! Columns that come unpacked are packed by the first strip that meets them. What is packed next, rows or columns, is asked for while tiles are computed, where the kernel gains by that.

use super::blocks::Blocks;
use super::kernel::Kernel;
use super::operand::{PackJob, Side};
use super::view::View;
use super::{slice_of, with_workspace, Left, Output, Right, FAR_FROM};
use crate::memory::{ask_second, Block};
use crate::pool::{num_threads, parallel_runs};
use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};

/// Fewest panels of a strip: each panel of columns is read again for each strip.
const FEWEST: usize = 3;
const LINE: usize = 64;

thread_local! {
    /// The memory of a thread's strips, kept: fresh pages are slow.
    static STRIP: RefCell<Option<Block>> = const { RefCell::new(None) };
}

/// How the rows are cut.
pub(super) struct Strips<'a> {
    kernel: &'static Kernel,
    a: Left<'a>,
    m: usize,
    k: usize,
    count: usize,
}

impl<'a> Strips<'a> {
    /// `None` where strips would be too few for the threads, or too large for the cache.
    pub fn new(kernel: &'static Kernel, a: Left<'a>) -> Option<Self> {
        let (m, k) = a.size();
        let (panels, threads) = (m.div_ceil(kernel.mr), num_threads());
        let most = (kernel.strips.bytes / Side::A.panel_bytes(kernel, k)).min(kernel.task.0 / kernel.mr);
        if most < FEWEST || panels < 2 * FEWEST * threads {
            return None;
        }
        let wanted = (kernel.strips.per_thread * threads).min(panels / FEWEST);
        let count = panels.div_ceil(most).max(wanted).next_multiple_of(threads);
        Some(Self { kernel, a, m, k, count })
    }

    /// C = or += A · B, of which the sizes were checked: B has `n` columns. `more` are other products of so many rows and columns, packed, which are added to C.
    pub fn multiply(&self, output: Output, b: &Right, n: usize, more: &[Blocks]) {
        let Self { kernel, m, k, .. } = *self;
        let Output { data, stride, accumulate, far, bias } = output;
        let c = data.as_mut_ptr();
        let block = |first: usize, n: usize, b: *const u8| Blocks {
            kernel,
            m,
            n,
            k,
            a: std::ptr::null(), // each strip has its own
            b,
            c: c.wrapping_add(first),
            stride,
            accumulate,
            far: far && bias.is_none() && more.is_empty() && 4 * m * stride >= FAR_FROM,
            bias: bias.map(|bias| &bias[first..first + n]),
        };
        match b {
            Right::Packed(part) => {
                let first = part.range.start / kernel.nr * Side::B.panel_bytes(kernel, k);
                self.run(&block(0, n, part.packed.block.as_ptr().wrapping_add(first)), None, more);
            }
            Right::Lanes(view) => {
                let width = slice_of(kernel, Side::B, n, k);
                with_workspace([0, Side::B.bytes(kernel, width, k)], |[_, out]| {
                    for first in (0..n).step_by(width) {
                        let view = view.row_range(first..(first + width).min(n));
                        // SAFETY: the workspace has room for a slice of this many columns.
                        let job = unsafe { PackJob::new(kernel, Side::B, view, out) };
                        let more: Vec<Blocks> =
                            more.iter().map(|more| more.part(0..m, first..first + view.rows)).collect();
                        self.run(&block(first, view.rows, out), Some(&OnDemand::new(&job)), &more);
                    }
                });
            }
        }
    }

    /// The panels of a strip.
    fn panels(&self, strip: usize) -> Range<usize> {
        let panels = self.m.div_ceil(self.kernel.mr);
        strip * panels / self.count..(strip + 1) * panels / self.count
    }

    /// What the rows of a strip are packed from, unless they came packed.
    fn rows(&self, strip: usize) -> Option<View<'a>> {
        let (panels, mr) = (self.panels(strip), self.kernel.mr);
        match self.a {
            Left::View(view) => Some(view.row_range(panels.start * mr..(panels.end * mr).min(self.m))),
            Left::Packed(_) => None,
        }
    }

    /// `block` lacks its rows, and its columns until `pack` has made them.
    fn run(&self, block: &Blocks, pack: Option<&OnDemand>, more: &[Blocks]) {
        let Self { kernel, count, .. } = *self;
        parallel_runs(count, |index| {
            let panels = self.panels(index);
            let memory = STRIP.take().filter(|memory| memory.bytes() >= kernel.strips.bytes);
            let memory = memory.unwrap_or_else(|| Block::new(kernel.strips.bytes));
            let a = match self.a {
                Left::View(_) => memory.as_ptr().cast_const(),
                Left::Packed(packed) => {
                    packed.block.as_ptr().wrapping_add(panels.start * Side::A.panel_bytes(kernel, block.k))
                }
            };
            if let Some(rows) = self.rows(index) {
                assert!(Side::A.bytes(kernel, rows.rows, block.k) <= memory.bytes());
                // SAFETY: the memory is this thread's, and has room for these rows.
                let job = unsafe { PackJob::new(kernel, Side::A, rows, memory.as_ptr()) };
                (0..job.tasks()).for_each(|task| job.run(task));
            }
            let strip = Blocks {
                m: (panels.end * kernel.mr).min(self.m) - panels.start * kernel.mr,
                a,
                c: block.c.wrapping_add(panels.start * kernel.mr * block.stride),
                ..*block
            };
            let rows = panels.start * kernel.mr..(panels.end * kernel.mr).min(self.m);
            let more: Vec<Blocks> = more.iter().map(|more| more.part(rows.clone(), 0..block.n)).collect();
            let columns = block.n.div_ceil(kernel.nr);
            let tiles = panels.len() * kernel.padded_k(block.k).div_ceil(kernel.block_k(block.k));
            let next = (index + 1 < count && kernel.strips.ask).then(|| self.rows(index + 1)).flatten();
            let mut rows_soon = Lines::new(next, tiles * columns);
            // Strips begin at different columns, so that threads do not pack the same ones.
            let place = |column: usize| (column + index * columns / count) % columns;
            (kernel.enter)();
            for (column, after) in (0..columns).map(|column| (place(column), place(column + 1))) {
                let columns_soon = pack.and_then(|pack| {
                    pack.ensure(column);
                    kernel.strips.ask.then(|| pack.missing(after)).flatten()
                });
                let mut columns_soon = Lines::new(columns_soon, tiles);
                strip.columns(0..panels.len(), column..column + 1, &mut || {
                    rows_soon.ask();
                    columns_soon.ask();
                });
                for more in &more {
                    more.columns(0..panels.len(), column..column + 1, &mut || ());
                }
            }
            (kernel.leave)();
            STRIP.set(Some(memory));
        });
    }
}

const EMPTY: u8 = 0;
const BUSY: u8 = 1;
const READY: u8 = 2;

/// Panels of columns, each packed by the first thread that needs it.
struct OnDemand<'a> {
    job: &'a PackJob<'a>,
    states: Vec<AtomicU8>,
}

impl<'a> OnDemand<'a> {
    fn new(job: &'a PackJob<'a>) -> Self {
        Self { job, states: (0..job.panels()).map(|_| AtomicU8::new(EMPTY)).collect() }
    }

    /// Packs the panel, or waits for the thread that does.
    fn ensure(&self, panel: usize) {
        let state = &self.states[panel];
        match state.compare_exchange(EMPTY, BUSY, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                let _done = Done(state);
                self.job.panel(panel);
            }
            Err(_) => {
                let mut spins = 0u32;
                while state.load(Ordering::Acquire) != READY {
                    spins += 1;
                    if spins < 1000 {
                        std::hint::spin_loop();
                    } else {
                        std::thread::yield_now(); // the thread that packs may have lost its core
                    }
                }
            }
        }
    }

    /// What the panel is packed from, unless it is packed.
    fn missing(&self, panel: usize) -> Option<View<'a>> {
        (self.states[panel].load(Ordering::Relaxed) == EMPTY).then(|| self.job.source(panel))
    }
}

/// The panel is ready, even if packing panics: nobody may wait for ever, and the panic ends the product.
struct Done<'a>(&'a AtomicU8);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(READY, Ordering::Release);
    }
}

/// The cache lines of a matrix, asked for some at a time. Where its rows are not whole lines apart, some at the ends of runs are left out.
struct Lines {
    at: *const u8,
    /// Lines that lie side by side: what is left of the current run, and of each.
    left: usize,
    per_run: usize,
    runs: usize,
    /// From the end of a run to the next one, in bytes.
    skip: usize,
    /// Lines a time.
    each: usize,
}

impl Lines {
    /// So that all are asked for after so many times.
    fn new(view: Option<View>, times: usize) -> Self {
        let Some(View { data, rows, columns, row_stride, column_stride }) = view else {
            return Self { at: std::ptr::null(), left: 0, per_run: 0, runs: 0, skip: 0, each: 0 };
        };
        let (runs, apart, bytes) = if column_stride <= row_stride {
            (rows, row_stride * 4, columns * column_stride * 4)
        } else {
            (columns, column_stride * 4, rows * row_stride * 4)
        };
        let (runs, bytes) = if apart == bytes { (1, bytes * runs) } else { (runs, bytes) };
        let at = data.as_ptr().cast::<u8>();
        let past = at as usize % LINE;
        let per_run = (past + bytes).div_ceil(LINE);
        let each = (runs * per_run).div_ceil(times.max(1));
        let skip = apart.wrapping_sub(per_run * LINE);
        Self { at: at.wrapping_sub(past), left: per_run, per_run, runs, skip, each }
    }

    fn ask(&mut self) {
        let mut wanted = self.each;
        while wanted > 0 && self.runs > 0 {
            let now = wanted.min(self.left);
            (0..now).for_each(|line| ask_second(self.at.wrapping_add(line * LINE)));
            self.at = self.at.wrapping_add(now * LINE);
            wanted -= now;
            self.left -= now;
            if self.left == 0 {
                self.runs -= 1;
                self.left = self.per_run;
                self.at = self.at.wrapping_add(self.skip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Precision;
    use crate::gemm::choice::{candidates, noise, stored};
    use crate::gemm::{multiply_with, PackedA, PackedB};
    use crate::memory::Floats;

    /// Every kernel, rows and columns adjacent or apart, packed columns or not, more columns than a slice: in strips and in the other way to the bit.
    #[test]
    fn strips_are_the_product() {
        for precision in [Precision::Fp32, Precision::Bf16, Precision::Int8] {
            for kernel in candidates(precision) {
                let most = kernel.mr * 2 * FEWEST * num_threads();
                for (m, n, k) in [(most, 33, 17), (most + 1, 1, 70), (most * 3 + 5, 130, 600), (most, 40, 1)]
                {
                    let (a, b, bias) = (noise(1, m * k), noise(2, n * k), noise(3, n));
                    let (rows, columns) = (View::row_major(&a, m, k), View::row_major(&b, n, k));
                    assert!(Strips::new(kernel, Left::View(rows)).is_some());
                    let product = |left: Left, right: Right, accumulate: bool| {
                        let mut c = noise(4, m * (n + 3));
                        let data = &mut c[..];
                        let output =
                            Output { data, stride: n + 3, accumulate, far: false, bias: Some(&bias) };
                        multiply_with(kernel, output, left, right);
                        c
                    };
                    // Rows at a time, too few for strips.
                    let mut expected = noise(4, m * (n + 3));
                    for (row, c) in expected.chunks_mut(n + 3).enumerate() {
                        let output = Output {
                            data: c,
                            stride: n + 3,
                            accumulate: true,
                            far: false,
                            bias: Some(&bias),
                        };
                        let left = Left::View(rows.row_range(row..row + 1));
                        multiply_with(kernel, output, left, Right::Lanes(columns));
                    }
                    assert!(
                        product(rows.into(), Right::Lanes(columns), true) == expected,
                        "{} {m}x{n}x{k}",
                        kernel.name
                    );
                    let turn = |data: &[f32], lanes: usize| -> Vec<f32> {
                        (0..k * lanes).map(|at| data[at % lanes * k + at / lanes]).collect()
                    };
                    let (a_turned, b_turned) = (turn(&a, m), turn(&b, n));
                    let turned = |data, lanes| View::row_major(data, k, lanes).transposed();
                    let found =
                        product(turned(&a_turned, m).into(), Right::Lanes(turned(&b_turned, n)), true);
                    assert!(found == expected, "{} {m}x{n}x{k}, turned", kernel.name);
                    if std::ptr::eq(kernel, crate::gemm::choice::kernel(precision)) {
                        let packed = PackedB::transient(columns, precision);
                        let found = product(rows.into(), Right::Packed(packed.columns()), true);
                        assert!(found == expected, "{} {m}x{n}x{k}, packed columns", kernel.name);
                        let rows = PackedA::new(rows, precision);
                        let found = product((&rows).into(), Right::Lanes(columns), true);
                        assert!(found == expected, "{} {m}x{n}x{k}, packed rows", kernel.name);
                    }
                    // Against the definition, at one place, without what was there.
                    let [x, y] =
                        [&a[(m - 1) * k..], &b[(n - 1) * k..]].map(|lane| stored(kernel.format_a, lane));
                    let sum = x.iter().zip(&y).map(|(x, y)| x * y).sum::<f64>() + f64::from(bias[n - 1]);
                    let found = product(rows.into(), Right::Lanes(columns), false)[(m - 1) * (n + 3) + n - 1];
                    assert!((f64::from(found) - sum).abs() < 2e-6 * (1.0 + k as f64).sqrt(), "{found} {sum}");
                }
            }
        }
    }

    /// Rows and columns that end inside of a tile, whole tiles only, and rows that are not aligned.
    #[test]
    fn results_past_the_caches_are_the_same() {
        for (m, n, k, stride) in [(645, 448, 100, 448), (640, 437, 64, 448), (645, 437, 33, 441)] {
            let (a, b) = (noise(1, m * k), noise(2, n * k));
            for precision in [Precision::Fp32, Precision::Bf16, Precision::Int8] {
                for kernel in candidates(precision) {
                    let product = |far: bool| {
                        let mut c = Floats::uninit(m * stride);
                        assert!(4 * c.len() >= FAR_FROM);
                        c.fill(7.0);
                        let output = Output { data: &mut c, stride, accumulate: false, far, bias: None };
                        let (a, b) = (View::row_major(&a, m, k), View::row_major(&b, n, k));
                        multiply_with(kernel, output, a.into(), Right::Lanes(b));
                        c
                    };
                    assert!(product(true)[..] == product(false)[..], "{} {m}x{n}x{k}", kernel.name);
                }
            }
        }
    }

    #[test]
    fn lines_cover_what_is_read() {
        let data = vec![0f32; 40 * 64];
        let all = View::row_major(&data, 40, 64);
        for view in [all, all.row_range(3..9), all.transposed().row_range(7..20), all.row_range(5..6)] {
            for times in [1, 3, 100] {
                let mut lines = Lines::new(Some(view), times);
                let mut seen = std::collections::HashSet::new();
                for _ in 0..times {
                    let (mut wanted, mut copy) = (lines.each, Lines { ..lines });
                    while wanted > 0 && copy.runs > 0 {
                        // One line at a time, as `ask` walks.
                        seen.insert(copy.at as usize / LINE);
                        copy.each = 1;
                        copy.ask();
                        wanted -= 1;
                    }
                    lines.ask();
                }
                assert_eq!(lines.runs, 0);
                for row in 0..view.rows {
                    for column in 0..view.columns {
                        let at = &view.data[row * view.row_stride + column * view.column_stride];
                        assert!(seen.contains(&(at as *const f32 as usize / LINE)));
                    }
                }
            }
        }
    }
}
