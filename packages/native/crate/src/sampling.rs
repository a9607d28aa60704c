//! Sampling of the next token, and the log-prob of what was sampled.
//!
//! The algorithm is written so that a program in another language gives the same tokens, bit for bit: all of it is IEEE float64 with `+ - * /`
//! in a stated order (never fused), an exponential of its own, and a counter-based generator. For one row of float32 logits `z[0..V]`:
//!
//! 1. **Penalty** (Keskar et al. 2019): `y[i] = z[i]`; for every distinct id in the history, `y[i] = z[i] < 0 ? z[i] * penalty : z[i] / penalty`.
//! 2. **Greedy** when `temperature == 0`: the lowest id among the largest `y`.
//! 3. **Weights**: `inverse = 1 / temperature`, `top = max y`, `w[i] = exp((y[i] - top) * inverse)` with `exp` as in [`exp_lanes`].
//! 4. **Top-k** when `0 < k < V`: with `t` the k-th largest of `y`, weights with `y[i] < t` become 0 (ties at `t` stay).
//! 5. **Top-p** when `p < 1`: `total = lanes(w)` (see [`lanes`]); visit the ids with `w > 0` by descending `y`, lower id first among equals, with
//!    `mass = 0`: keep the id while `mass < p * total`, then `mass += w`; all ids after the first one refused are refused. The first is always kept.
//! 6. **Min-p** when `minP > 0`: weights below `minP` become 0 (the largest weight is 1).
//! 7. **Draw**: `u` from [`uniform`]; `sum` adds up the weights one by one in the order of ids; `goal = u * sum`; the token is the first id with `w > 0`
//!    whose running sum exceeds `goal` (the last id with `w > 0` if rounding leaves none).
//! 8. **Log-prob** under the temperature-scaled distribution without penalty and filters: `inverse = 1 / temperature` (1 for greedy), `m = max z`,
//!    `logp = (z[token] - m) * inverse - ln(lanes(exp((z[i] - m) * inverse)))`, rounded to float32.

use crate::border::{disjoint, fail, floats, floats_mut, guard, ints, ints_mut, part, place, product};
use crate::pool::{parallel_for, SharedMut};
use napi::bindgen_prelude::*;
use napi_derive::napi;

mod philox;
#[cfg(test)]
mod tests;
mod weights;

pub use philox::{philox, uniform};
use weights::{lanes, largest, weigh, MARK};

/// How one row is to be sampled.
pub struct Row<'a> {
    pub seed: [u32; 2],
    pub sample: u32,
    pub position: u32,
    pub temperature: f64,
    pub top_k: usize,
    pub top_p: f64,
    pub min_p: f64,
    pub penalty: f64,
    pub history: &'a [i32],
}

/// Room that one thread uses again and again.
#[derive(Default)]
pub struct Scratch {
    y: Vec<f64>,
    w: Vec<f64>,
    marks: Vec<f64>,
    order: Vec<u32>,
    sorted: Vec<f64>,
}

/// Samples one row: the token and its log-prob. `None` where the logits hold NaN or +inf, or nothing finite.
pub fn sample_row(logits: &[f32], row: &Row, scratch: &mut Scratch) -> Option<(usize, f32)> {
    let n = logits.len();
    let Scratch { y, w, marks, order, sorted } = scratch;
    let raw_top = f64::from(largest(logits));
    if !raw_top.is_finite() {
        return None;
    }
    let penalised = row.penalty != 1.0 && !row.history.is_empty();
    let by_rank = row.temperature != 0.0 && ((row.top_k > 0 && row.top_k < n) || row.top_p < 1.0);
    y.clear();
    if penalised || by_rank {
        y.extend(logits.iter().map(|&z| f64::from(z)));
    }
    if penalised {
        for &id in row.history {
            let z = f64::from(logits[id as usize]);
            y[id as usize] = if z < 0.0 { z * row.penalty } else { z / row.penalty };
        }
    }
    let inverse = if row.temperature == 0.0 { 1.0 } else { 1.0 / row.temperature };
    let top = if penalised { y.iter().copied().fold(f64::NEG_INFINITY, f64::max) } else { raw_top };
    w.resize(n, 0.0);
    let mut total = weigh(logits, penalised.then_some(&y[..]), top, inverse, w, marks);
    let raw_total = if penalised { None } else { Some(total) };

    let token = if row.temperature == 0.0 {
        let first = if penalised {
            y.iter().position(|&value| value == top)
        } else {
            logits.iter().position(|&value| f64::from(value) == top)
        };
        first.unwrap_or(0)
    } else {
        if row.top_k > 0 && row.top_k < n {
            sorted.clear();
            sorted.extend_from_slice(y);
            let (_, threshold, _) = sorted.select_nth_unstable_by(row.top_k - 1, |a, b| b.total_cmp(a));
            let threshold = *threshold;
            for (weight, &value) in w.iter_mut().zip(y.iter()) {
                if value < threshold {
                    *weight = 0.0;
                }
            }
            total = lanes(w);
        }
        if row.top_p < 1.0 {
            nucleus(y, w, row.top_p * total, order);
        }
        if row.min_p > 0.0 {
            for weight in w.iter_mut() {
                if *weight < row.min_p {
                    *weight = 0.0;
                }
            }
        }
        if by_rank || row.min_p > 0.0 {
            mark(w, marks);
        }
        draw(w, marks, uniform(row.seed, row.sample, row.position))
    };

    let chosen = f64::from(logits[token]);
    let log_total = match raw_total {
        Some(value) => value,
        None => weigh(logits, None, raw_top, inverse, w, marks),
    };
    Some((token, ((chosen - raw_top) * inverse - log_total.ln()) as f32))
}

/// Step 5. Ids are visited in slices of falling weight (each a factor of 16 wide), so that only the slices that are reached get sorted.
fn nucleus(y: &[f64], w: &mut [f64], goal: f64, order: &mut Vec<u32>) {
    let mut mass = 0.0;
    let mut high = f64::INFINITY;
    let mut low = 1.0 / 16.0;
    let mut open = true;
    while open {
        order.clear();
        order.extend((0..w.len()).filter(|&i| w[i] < high && w[i] >= low && w[i] > 0.0).map(|i| i as u32));
        order.sort_unstable_by(|&a, &b| y[b as usize].total_cmp(&y[a as usize]).then(a.cmp(&b)));
        for &id in order.iter() {
            if open && (mass < goal || mass == 0.0) {
                mass += w[id as usize];
            } else {
                open = false;
                // Refused, but only after the slices are done: a later slice must not see it again, so it is marked below.
                w[id as usize] = 0.0;
            }
        }
        if low == 0.0 {
            return;
        }
        high = low;
        low = if low < 1e-300 { 0.0 } else { low / 16.0 };
    }
    for weight in w.iter_mut() {
        if *weight < high {
            *weight = 0.0;
        }
    }
}

/// The running sum after every [`MARK`] weights and after the last, as `weigh` gives it.
fn mark(w: &[f64], marks: &mut Vec<f64>) {
    marks.clear();
    let mut running = 0.0;
    for chunk in w.chunks(MARK) {
        chunk.iter().for_each(|weight| running += weight);
        marks.push(running);
    }
}

/// Step 7. The running sum never falls, so its marks say in which stretch it first exceeds the goal.
fn draw(w: &[f64], marks: &[f64], u: f64) -> usize {
    let goal = u * marks.last().copied().unwrap_or(0.0);
    let stretch = marks.partition_point(|&mark| mark <= goal);
    let mut running = if stretch == 0 { 0.0 } else { marks[stretch - 1] };
    for (i, &weight) in w.iter().enumerate().skip(stretch * MARK) {
        running += weight;
        if weight > 0.0 && running > goal {
            return i;
        }
    }
    w.iter().rposition(|&weight| weight > 0.0).unwrap_or(0)
}

/// `logits [rows, vocab]` → `tokens [rows]`, `logps [rows]`. `seeds [2 rows]` holds low and high words; the history of row `b` is
/// `history[historyOffsets[b] .. historyOffsets[b + 1]]`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn sample_tokens(
    logits: Float32ArraySlice,
    vocab: u32,
    seeds: Uint32ArraySlice,
    samples: Uint32ArraySlice,
    positions: Uint32ArraySlice,
    temperature: Float64ArraySlice,
    top_k: Int32ArraySlice,
    top_p: Float64ArraySlice,
    min_p: Float64ArraySlice,
    repetition_penalty: Float64ArraySlice,
    history: Int32ArraySlice,
    history_offsets: Int32ArraySlice,
    mut tokens: Int32ArraySlice,
    mut logps: Float32ArraySlice,
) -> Result<()> {
    guard(|| {
        let (rows, vocab) = (tokens.len(), vocab as usize);
        let n = product("sampleTokens", &[rows, vocab])?;
        let read = [
            place(&logits),
            place(&seeds),
            place(&samples),
            place(&positions),
            place(&temperature),
            place(&top_k),
            place(&top_p),
            place(&min_p),
            place(&repetition_penalty),
            place(&history),
            place(&history_offsets),
        ];
        disjoint("sampleTokens", &[place(&tokens), place(&logps)], &read)?;
        let logits = floats(&logits, "logits", n)?;
        let (seeds, samples, positions) = (
            part(&seeds, "seeds", 2 * rows)?,
            part(&samples, "samples", rows)?,
            part(&positions, "positions", rows)?,
        );
        let (temperature, top_k, top_p) = (
            part(&temperature, "temperature", rows)?,
            ints(&top_k, "topK", rows)?,
            part(&top_p, "topP", rows)?,
        );
        let (min_p, penalty) =
            (part(&min_p, "minP", rows)?, part(&repetition_penalty, "repetitionPenalty", rows)?);
        let (history, offsets) = (&history[..], ints(&history_offsets, "historyOffsets", rows + 1)?);
        let mut specs = Vec::with_capacity(rows);
        for b in 0..rows {
            let own = (offsets[b] >= 0 && offsets[b] <= offsets[b + 1])
                .then(|| history.get(offsets[b] as usize..offsets[b + 1] as usize))
                .flatten();
            let own = own.ok_or_else(|| {
                fail(format!(
                    "sampleTokens: row {b}: history {}..{} of {} ids",
                    offsets[b],
                    offsets[b + 1],
                    history.len()
                ))
            })?;
            if let Some(id) = own.iter().find(|&&id| id < 0 || id as usize >= vocab) {
                return Err(fail(format!(
                    "sampleTokens: row {b}: id {id} in the history is outside a vocabulary of {vocab}"
                )));
            }
            let fine = temperature[b] >= 0.0
                && temperature[b].is_finite()
                && top_k[b] >= 0
                && top_p[b] > 0.0
                && (0.0..=1.0).contains(&min_p[b])
                && penalty[b] > 0.0
                && penalty[b].is_finite();
            if !fine {
                return Err(fail(format!(
                    "sampleTokens: row {b}: temperature {} (>= 0), topK {} (>= 0), topP {} (> 0), minP {} (0 to 1), repetitionPenalty {} (> 0)",
                    temperature[b], top_k[b], top_p[b], min_p[b], penalty[b]
                )));
            }
            specs.push(Row {
                seed: [seeds[2 * b], seeds[2 * b + 1]],
                sample: samples[b],
                position: positions[b],
                temperature: temperature[b],
                top_k: top_k[b] as usize,
                top_p: top_p[b],
                min_p: min_p[b],
                penalty: penalty[b],
                history: own,
            });
        }
        let (out_tokens, out_logps) = (
            SharedMut::new(ints_mut(&mut tokens, "tokens", rows)?),
            SharedMut::new(floats_mut(&mut logps, "logps", rows)?),
        );
        parallel_for(rows, |b| {
            thread_local! {
                static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
            }
            let found = SCRATCH.with(|scratch| {
                sample_row(&logits[b * vocab..(b + 1) * vocab], &specs[b], &mut scratch.borrow_mut())
            });
            // SAFETY: each row has places of its own.
            let (token, logp) = unsafe { (&mut out_tokens.slice(b, 1)[0], &mut out_logps.slice(b, 1)[0]) };
            (*token, *logp) = found.map_or((-1, f32::NAN), |(token, logp)| (token as i32, logp));
        });
        match (0..rows).find(|&b| tokens[b] < 0) {
            Some(b) => Err(fail(format!(
                "sampleTokens: the logits of row {b} hold NaN or +infinity, or nothing finite"
            ))),
            None => Ok(()),
        }
    })
}
