//! The LM head and what is computed from its logits, without logits `[A, V]` in memory.
//!
//! With logits `x = (hidden · wᵀ + bias) / temperature`, `lse = ln Σ eˣ` and `p = eˣ⁻ˡˢᵉ`, for each position:
//! `logp = x[target] - lse`, `entropy = -Σ p ln p`, `sumSquares = Σ p²`.
//!
//! Positions go in blocks of `ROWS` and the vocabulary in blocks of `COLUMNS`, so that w is read once a block of
//! positions and its gradient is written once. The softmax is accumulated over blocks (Milakov and Gimelshein 2018,
//! algorithm 3), in float64 from block to block. The order of sums does not depend on A. The backward pass computes the
//! logits again, but for blocks of the vocabulary that the forward pass could keep in the room that it was given (`kept`).

use crate::dtype::Precision;
use crate::gemm::{multiply, BothWays, Left, Output, PackedA, PackedB, Right, View};
use crate::linear::add_columns;
use crate::memory::Floats;
use crate::pool::{parallel_chunks_mut, parallel_runs, SharedMut};
use crate::vector::Vector;
use crate::vectorised;

pub mod border;
mod kept;
#[cfg(test)]
mod tests;

pub(crate) use border::head;
use kept::expand;
pub use kept::{kept_floats, Kept};

/// Positions of a block.
pub(crate) const ROWS: usize = 2048;
/// Vocabulary entries of a block, a multiple of every kernel's panel.
pub(crate) const COLUMNS: usize = 1024;
/// Rows that a task of the softmax handles.
pub(crate) const GRAIN: usize = 4;

/// The LM head.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// `[V, D]`; may be absent when packed is given and no gradient is asked for.
    pub w: Option<View<'a>>,
    pub packed: Option<&'a PackedB>,
    pub bias: Option<&'a [f32]>,
    pub v: usize,
    pub temperature: f32,
    pub precision: Precision,
}

impl Head<'_> {
    /// Columns `start .. start + width` of `hidden · wᵀ + bias`.
    pub(crate) fn logits(&self, hidden: Left, start: usize, width: usize, data: &mut [f32]) {
        let b = match (self.packed, self.w) {
            (Some(packed), _) => Right::Packed(packed.column_range(start..start + width)),
            (None, Some(w)) => Right::Lanes(w.row_range(start..start + width)),
            (None, None) => panic!("the LM head has no weight"),
        };
        let bias = self.bias.map(|bias| &bias[start..start + width]);
        multiply(
            Output { data, stride: width, accumulate: false, far: false, bias },
            hidden,
            b,
            self.precision,
        );
    }
}

/// Running softmax of a row: `max`, `Σ e`, `Σ e · (x - max)` and `Σ e²` with `e = eˣ⁻ᵐᵃˣ`, and the target's logit.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    max: f64,
    sum: f64,
    weighted: f64,
    squares: f64,
    target: f64,
}

impl Row {
    pub(crate) const EMPTY: Row =
        Row { max: f64::NEG_INFINITY, sum: 0.0, weighted: 0.0, squares: 0.0, target: f64::NAN };

    /// Joins the sums of another block of logits, which are relative to `max`.
    pub(crate) fn join(&mut self, max: f32, [sum, weighted, squares]: [f32; 3]) {
        let top = self.max.max(f64::from(max));
        let shifted = |max: f64, sum: f64, weighted: f64, squares: f64| {
            if sum == 0.0 {
                return (0.0, 0.0, 0.0);
            }
            let factor = (max - top).exp();
            (sum * factor, (weighted + sum * (max - top)) * factor, squares * factor * factor)
        };
        let old = shifted(self.max, self.sum, self.weighted, self.squares);
        let new = shifted(f64::from(max), f64::from(sum), f64::from(weighted), f64::from(squares));
        (self.max, self.sum, self.weighted, self.squares) =
            (top, old.0 + new.0, old.1 + new.1, old.2 + new.2);
    }

    pub(crate) fn lse(&self) -> f64 {
        self.max + self.sum.ln()
    }
}

/// Lanes past the end of a row are padded with this: their exponential is 0 whatever the rest is.
pub(crate) const PAD: f32 = f32::NEG_INFINITY;

vectorised! {
    /// The largest of `x * scale`, and the three sums of `Row` relative to it. The exponentials go to `kept`, unless it is empty: as many as x has, and up to a whole vector.
    pub(crate) fn reduce<V>(x: &[f32], scale: f32, kept: &mut [u16]) -> (f32, [f32; 3]) {
        assert!(kept.is_empty() || kept.len() >= x.len().next_multiple_of(V::LANES));
        let factor = V::splat(scale);
        // SAFETY: whole vectors of x are loaded; the rest comes from a padded buffer.
        let at = |index: usize| unsafe {
            if index + V::LANES <= x.len() {
                V::load(x.as_ptr().add(index))
            } else {
                let mut tail = [PAD; 16];
                tail[..x.len() - index].copy_from_slice(&x[index..]);
                V::load(tail.as_ptr())
            }
        };
        let mut max = V::splat(f32::NEG_INFINITY);
        for index in (0..x.len()).step_by(V::LANES) {
            max = at(index).mul(factor).max(max);
        }
        let max = max.top();
        // All logits -inf, or nothing but NaN: relative to 0, so that -inf stays -inf.
        let base = if max == f32::NEG_INFINITY { 0.0 } else { max };
        let (negative, floor) = (V::splat(-base), V::splat(-1e4));
        let mut sums = [V::splat(0.0); 3];
        for index in (0..x.len()).step_by(V::LANES) {
            let relative = at(index).mul(factor).add(negative);
            let e = relative.exp();
            if !kept.is_empty() {
                // SAFETY: there is room for a whole vector, see above.
                unsafe { e.store_half(kept.as_mut_ptr().add(index)) };
            }
            sums[0] = sums[0].add(e);
            // e is 0 below the floor, and 0 · -inf would be NaN. `max` gives its argument where self is NaN: NaN stays in sums[0].
            sums[1] = e.fma(relative.max(floor), sums[1]);
            sums[2] = e.fma(e, sums[2]);
        }
        (max, sums.map(Vector::sum))
    }
}

/// What is known of a position in the backward pass.
#[derive(Clone, Copy)]
struct Known {
    lse: f32,
    entropy: f32,
    sum_squares: f32,
    dlogp: f32,
    dentropy: f32,
    dsum_squares: f32,
}

vectorised! {
    /// Logits become their gradients, but for the target's share, which the caller adds.
    fn differentiate<V>(x: &mut [f32], scale: f32, known: &Known) {
        let Known { lse, entropy, sum_squares, dlogp, dentropy, dsum_squares } = *known;
        let (factor, negative, floor) = (V::splat(scale), V::splat(-lse), V::splat(-1e4));
        let simple = dentropy == 0.0 && dsum_squares == 0.0;
        // d/dx = scale · p · (-dlogp - dentropy · (ln p + entropy) + 2 · dsumSquares · (p - sumSquares))
        let (log_p, p) = (V::splat(-dentropy * scale), V::splat(2.0 * dsum_squares * scale));
        let constant = V::splat(scale * (-dlogp - dentropy * entropy - 2.0 * dsum_squares * sum_squares));
        // A macro, because a closure that is called twice would be compiled without the vector instructions of its function.
        macro_rules! gradient {
            ($x:expr) => {{
                let relative = $x.mul(factor).add(negative);
                let e = relative.exp();
                if simple {
                    e.mul(constant)
                } else {
                    e.mul(relative.max(floor).fma(log_p, e.fma(p, constant)))
                }
            }};
        }
        let whole = x.len() / V::LANES * V::LANES;
        for index in (0..whole).step_by(V::LANES) {
            // SAFETY: a whole vector of x.
            unsafe {
                let at = x.as_mut_ptr().add(index);
                gradient!(V::load(at)).store(at);
            }
        }
        if whole < x.len() {
            let mut tail = [PAD; 16];
            let rest = &mut x[whole..];
            tail[..rest.len()].copy_from_slice(rest);
            // SAFETY: no vector is wider than the buffer.
            unsafe { gradient!(V::load(tail.as_ptr())).store(tail.as_mut_ptr()) };
            rest.copy_from_slice(&tail[..rest.len()]);
        }
    }
}

/// What the forward pass writes, one number a position.
pub struct Outputs<'a> {
    pub logps: &'a mut [f32],
    pub entropy: Option<&'a mut [f32]>,
    pub sum_squares: Option<&'a mut [f32]>,
    pub lse: &'a mut [f32],
    /// Room for what spares the backward pass computing logits again.
    pub kept: Option<Kept<'a>>,
}

/// `targets` hold values below `head.v`; slices have A elements.
pub fn forward(hidden: View, head: &Head, targets: &[i32], mut outputs: Outputs) {
    let (a, v) = (targets.len(), head.v);
    let scale = 1.0 / head.temperature;
    let mut buffer = Floats::uninit(a.min(ROWS) * v.min(COLUMNS));
    for first in (0..a).step_by(ROWS) {
        let rows = ROWS.min(a - first);
        let packed = PackedA::new(hidden.row_range(first..first + rows), head.precision);
        let mut states = vec![Row::EMPTY; rows];
        for start in (0..v).step_by(COLUMNS) {
            let width = COLUMNS.min(v - start);
            let block = start / COLUMNS;
            // SAFETY: nobody else uses what is kept while it is written.
            let room = outputs
                .kept
                .and_then(Kept::logits)
                .and_then(|kept| unsafe { kept.rows(block, first, rows, width) });
            let logits = room.unwrap_or(&mut buffer[..rows * width]);
            head.logits((&packed).into(), start, width, logits);
            let (logits, exponentials) = (&*logits, outputs.kept.and_then(Kept::exponentials));
            parallel_chunks_mut(&mut states, GRAIN, |chunk, states| {
                for (index, state) in states.iter_mut().enumerate() {
                    let row = chunk * GRAIN + index;
                    let x = &logits[row * width..(row + 1) * width];
                    // SAFETY: each row is one task's.
                    let kept = exponentials.and_then(|kept| unsafe { kept.row(block, first + row) });
                    let (max, sums) = match kept {
                        Some((halves, top)) => {
                            let (max, sums) = reduce(x, scale, halves);
                            *top = max;
                            (max, sums)
                        }
                        None => reduce(x, scale, &mut []),
                    };
                    state.join(max, sums);
                    let target = (targets[first + row] as usize).wrapping_sub(start);
                    if let Some(&x) = x.get(target) {
                        state.target = f64::from(x * scale);
                    }
                }
            });
        }
        for (index, state) in states.iter().enumerate() {
            let (row, log_sum) = (first + index, state.sum.ln());
            outputs.lse[row] = (state.max + log_sum) as f32;
            outputs.logps[row] = (state.target - state.max - log_sum) as f32;
            if let Some(entropy) = &mut outputs.entropy {
                entropy[row] = (log_sum - state.weighted / state.sum) as f32;
            }
            if let Some(sum_squares) = &mut outputs.sum_squares {
                sum_squares[row] = (state.squares / (state.sum * state.sum)) as f32;
            }
        }
    }
}

/// What the backward pass reads, one number a position. Absent gradients are zero.
pub struct Saved<'a> {
    pub lse: &'a [f32],
    pub entropy: Option<&'a [f32]>,
    pub sum_squares: Option<&'a [f32]>,
    pub dlogps: Option<&'a [f32]>,
    pub dentropy: Option<&'a [f32]>,
    pub dsum_squares: Option<&'a [f32]>,
    /// What the forward pass kept, and its log-probs.
    pub kept: Option<(Kept<'a>, &'a [f32])>,
}

impl Saved<'_> {
    fn known(&self, row: usize) -> Known {
        let at = |values: Option<&[f32]>| values.map_or(0.0, |values| values[row]);
        Known {
            lse: self.lse[row],
            entropy: at(self.entropy),
            sum_squares: at(self.sum_squares),
            dlogp: at(self.dlogps),
            dentropy: at(self.dentropy),
            dsum_squares: at(self.dsum_squares),
        }
    }
}

/// What the backward pass writes.
pub struct Gradients<'a> {
    /// `[A, D]`, overwritten.
    pub dhidden: Option<&'a mut [f32]>,
    /// `[V, D]`.
    pub dw: Option<&'a mut [f32]>,
    /// `[V]`.
    pub dbias: Option<&'a mut [f32]>,
    /// Add to `dw` and `dbias` instead of overwriting them.
    pub accumulate: bool,
}

/// The head's `w` is given when `dhidden` is asked for.
pub fn backward(hidden: View, head: &Head, targets: &[i32], saved: &Saved, mut gradients: Gradients) {
    let (a, v, d) = (targets.len(), head.v, hidden.columns());
    let scale = 1.0 / head.temperature;
    if a == 0 && !gradients.accumulate {
        gradients.dw.iter_mut().for_each(|dw| dw.fill(0.0));
        gradients.dbias.iter_mut().for_each(|dbias| dbias.fill(0.0));
    }
    let mut buffer = Floats::uninit(a.min(ROWS) * v.min(COLUMNS));
    for first in (0..a).step_by(ROWS) {
        let rows = ROWS.min(a - first);
        let part = hidden.row_range(first..first + rows);
        let left = PackedA::new(part, head.precision);
        let right = gradients.dw.is_some().then(|| {
            PackedB::new(part.transposed(), head.precision).expect("memory for a block of positions")
        });
        // Exponentials say nothing of the derivatives of the entropy and of the sum of squares.
        let zero = |values: Option<&[f32]>| values.is_none_or(|values| values.iter().all(|&x| x == 0.0));
        let exponentials = saved.kept.and_then(|(kept, logps)| Some((kept.exponentials()?, logps)));
        let exponentials = exponentials.filter(|_| zero(saved.dentropy) && zero(saved.dsum_squares));
        let wanted = [gradients.dhidden.is_some() && head.w.is_some(), gradients.dw.is_some()];
        let mut both = BothWays::new(rows, v.min(COLUMNS), wanted, head.precision);
        let accumulate = gradients.accumulate || first > 0;
        for start in (0..v).step_by(COLUMNS) {
            let width = COLUMNS.min(v - start);
            let (block, logits) = (start / COLUMNS, &mut buffer[..rows * width]);
            // SAFETY: what is kept is only read.
            let kept =
                saved.kept.and_then(|(kept, _)| unsafe { kept.logits()?.rows(block, first, rows, width) });
            let kept = kept.map(|kept| &*kept);
            let exponentials = exponentials.filter(|(kept, _)| block < kept.blocks());
            if kept.is_none() && exponentials.is_none() {
                head.logits((&left).into(), start, width, logits);
            }
            // While a few rows are in the cache, they become gradients and are packed for both products.
            let (shared, packed) = (SharedMut::new(logits), &mut both);
            packed.resize(width);
            let (packed, step) = (&*packed, packed.step());
            parallel_runs(rows.div_ceil(step), |chunk| {
                let range = chunk * step..((chunk + 1) * step).min(rows);
                for row in range.clone() {
                    // SAFETY: each row is one task's.
                    let x = unsafe { shared.slice(row * width, width) };
                    let known = saved.known(first + row);
                    let target = (targets[first + row] as usize).wrapping_sub(start);
                    // SAFETY: each row is one task's.
                    let found = exponentials.and_then(|(kept, logps)| unsafe {
                        Some((kept.row(block, first + row)?, logps[first + row]))
                    });
                    if let Some(((halves, top), logp)) = found {
                        expand(halves, -known.dlogp * scale * (*top - known.lse).exp(), x);
                        if let Some(x) = x.get_mut(target) {
                            *x = -known.dlogp * scale * logp.exp_m1(); // 1 - p would lose digits of a p near 1
                        }
                        continue;
                    }
                    if let Some(kept) = kept {
                        x.copy_from_slice(&kept[row * width..(row + 1) * width]);
                    }
                    differentiate(x, scale, &known);
                    if let Some(x) = x.get_mut(target) {
                        *x += known.dlogp * scale;
                    }
                }
                // SAFETY: these rows are this task's, and no other packs them.
                unsafe { packed.pack(range.clone(), shared.slice(range.start * width, range.len() * width)) };
            });
            if let (Some(dhidden), Some(w), Some(dlogits)) = (&mut gradients.dhidden, head.w, both.rows()) {
                let data = &mut dhidden[first * d..(first + rows) * d];
                let output = Output { data, stride: d, accumulate: start > 0, far: false, bias: None };
                let w = w.row_range(start..start + width);
                multiply(output, dlogits, Right::Lanes(w.transposed()), head.precision);
            }
            if let (Some(dw), Some(right), Some(dlogits)) = (&mut gradients.dw, &right, both.columns()) {
                let data = &mut dw[start * d..(start + width) * d];
                let output = Output { data, stride: d, accumulate, far: true, bias: None };
                multiply(output, dlogits, Right::Packed(right.columns()), head.precision);
            }
            if let Some(dbias) = &mut gradients.dbias {
                add_columns(&mut dbias[start..start + width], &buffer[..rows * width], width, accumulate);
            }
        }
    }
}
