//! Columns that are packed by the thread that first needs them, and asking for what will be packed next.

use super::operand::PackJob;
use super::view::View;
use crate::memory::ask_second;
use std::sync::atomic::{AtomicU8, Ordering};

const LINE: usize = 64;

const EMPTY: u8 = 0;
const BUSY: u8 = 1;
const READY: u8 = 2;

/// Panels of columns, each packed by the first thread that needs it.
pub(super) struct OnDemand<'a> {
    job: PackJob<'a>,
    states: Vec<AtomicU8>,
}

impl<'a> OnDemand<'a> {
    pub fn new(job: PackJob<'a>) -> Self {
        let states = (0..job.panels()).map(|_| AtomicU8::new(EMPTY)).collect();
        Self { job, states }
    }

    /// Packs the panel, or waits for the thread that does.
    pub fn ensure(&self, panel: usize) {
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
    pub fn missing(&self, panel: usize) -> Option<View<'a>> {
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
pub(super) struct Lines {
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
    pub fn new(view: View, times: usize) -> Self {
        let View { data, rows, columns, row_stride, column_stride } = view;
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

    pub fn ask(&mut self) {
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

    #[test]
    fn lines_cover_what_is_read() {
        let data = vec![0f32; 40 * 64];
        let all = View::row_major(&data, 40, 64);
        for view in [all, all.row_range(3..9), all.transposed().row_range(7..20), all.row_range(5..6)] {
            for times in [1, 3, 100] {
                let mut lines = Lines::new(view, times);
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
