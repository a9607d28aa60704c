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
use crate::vectorised;
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Powers of two are added to the exponent field; below this the result is 0.
const SMALLEST: f64 = -708.0;
/// Adding and subtracting 1.5 * 2^52 rounds to the nearest integer, ties to even.
const ROUND: f64 = 6_755_399_441_055_744.0;
const LOG2_E: f64 = std::f64::consts::LOG2_E;
/// ln 2 in two pieces; the first has 32 trailing zero bits (fdlibm).
const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// `1 / n!` for `n = 12 … 0`.
const COEFFICIENTS: [f64; 13] = [
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

/// Eight running sums, `lane = i mod 8`, added as `((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))`.
#[inline(always)]
fn fold(s: [f64; 8]) -> f64 {
    ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))
}

/// `e^x` for `x <= 0`: 0 below -708; else with `k = round(x * LOG2_E)` and `r = (x - k * LN2_HIGH) - k * LN2_LOW`, Horner's scheme over `1 / n!`, `n = 13 … 0`,
/// times `2^k`. Of eight numbers, step by step for all of them: so written, the compiler makes vectors of it.
#[inline(always)]
fn exp_lanes(x: [f64; 8]) -> [f64; 8] {
    let (mut shifted, mut r, mut p) = ([0.0; 8], [0.0; 8], [1.0 / 6_227_020_800.0; 8]);
    for l in 0..8 {
        let clamped = if x[l] < SMALLEST { SMALLEST } else { x[l] };
        shifted[l] = clamped * LOG2_E + ROUND;
        let k = shifted[l] - ROUND;
        r[l] = (clamped - k * LN2_HIGH) - k * LN2_LOW;
    }
    for coefficient in COEFFICIENTS {
        for l in 0..8 {
            p[l] = p[l] * r[l] + coefficient;
        }
    }
    for l in 0..8 {
        // `shifted` holds k in its low bits, so this is 2^k; k >= -1022 by the clamp above.
        let scale =
            f64::from_bits((shifted[l].to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(1023)) << 52);
        let value = p[l] * scale;
        p[l] = if x[l] < SMALLEST { 0.0 } else { value };
    }
    p
}

/// Weights between two marks of the running sum.
const MARK: usize = 64;

vectorised! {
    /// `out[i] = exp((y[i] - top) * inverse)`, with the logits `z` for `y` where there is none; returns `lanes(out)`. `marks` gets the running sum of
    /// step 7 after every [`MARK`] weights and after the last: it waits for each addition, and here other work fills the time.
    fn weigh<V>(z: &[f32], y: Option<&[f64]>, top: f64, inverse: f64, out: &mut [f64], marks: &mut Vec<f64>) -> f64 {
        marks.clear();
        let n = out.len();
        let mut sums = [0.0f64; 8];
        let mut running = 0.0;
        let mut start = 0;
        while start < n {
            let count = (n - start).min(8);
            // What is missing in the last chunk weighs 0, and adding 0 changes no sum.
            let mut x = [f64::NEG_INFINITY; 8];
            match y {
                Some(y) => x[..count].copy_from_slice(&y[start..start + count]),
                None => x.iter_mut().zip(&z[start..start + count]).for_each(|(x, &z)| *x = f64::from(z)),
            }
            for value in &mut x {
                *value = (*value - top) * inverse;
            }
            let w = exp_lanes(x);
            for l in 0..8 {
                sums[l] += w[l];
            }
            for weight in w {
                running += weight;
            }
            out[start..start + count].copy_from_slice(&w[..count]);
            start += 8;
            if start.is_multiple_of(MARK) || start >= n {
                marks.push(running);
            }
        }
        fold(sums)
    }
}

vectorised! {
    /// The largest logit; NaN where one is NaN.
    fn largest<V>(z: &[f32]) -> f32 {
        let mut tops = [f32::NEG_INFINITY; 16];
        let mut bad = [false; 16];
        for chunk in z.chunks(16) {
            for (l, &z) in chunk.iter().enumerate() {
                bad[l] |= z.is_nan();
                tops[l] = if z > tops[l] { z } else { tops[l] };
            }
        }
        if bad.contains(&true) {
            return f32::NAN;
        }
        tops.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
    }
}

/// The sum of `w` in eight lanes.
fn lanes(w: &[f64]) -> f64 {
    let mut sums = [0.0f64; 8];
    for (i, value) in w.iter().enumerate() {
        sums[i & 7] += value;
    }
    fold(sums)
}

/// Philox4x32-10 (Salmon et al. 2011).
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
    }
    counter
}

/// A number in (0, 1): the generator's first two words `x0`, `x1` give `((x0 >> 6) * 2^26 + (x1 >> 6) + 0.5) * 2^-52`.
/// Key: the seed's low and high word; counter: `[position, sample, 0, 0]`.
pub fn uniform(seed: [u32; 2], sample: u32, position: u32) -> f64 {
    let words = philox([position, sample, 0, 0], seed);
    (f64::from(words[0] >> 6) * 67_108_864.0 + f64::from(words[1] >> 6) + 0.5) / 4_503_599_627_370_496.0
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn exp(x: f64) -> f64 {
        exp_lanes([x; 8])[3]
    }

    #[test]
    fn philox_gives_the_published_answers() {
        // Known answers of Random123 (kat_vectors, philox4x32 10).
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn exp_is_accurate() {
        for i in 0..100_000 {
            let x = -f64::from(i) * 0.007;
            let exact = x.exp();
            assert!((exp(x) - exact).abs() <= 4e-16 * exact, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
    }

    #[test]
    fn draws_the_first_id_whose_running_sum_exceeds_the_goal() {
        let mut scratch = Scratch::default();
        for n in [1usize, 7, 8, 63, 64, 65, 200, 1000] {
            let logits: Vec<f32> =
                (0..n as u32).map(|i| uniform([9, n as u32], i, 0) as f32 * 20.0 - 10.0).collect();
            let top = logits.iter().fold(f64::NEG_INFINITY, |top, &z| top.max(f64::from(z)));
            let w: Vec<f64> = logits.iter().map(|&z| exp((f64::from(z) - top) * 1.25)).collect();
            for position in 0..50 {
                let sum = w.iter().fold(0.0, |sum, w| sum + w);
                let goal = uniform([1, 2], 3, position) * sum;
                let mut running = 0.0;
                let expected = w.iter().position(|w| {
                    running += w;
                    running > goal
                });
                let row = Row {
                    seed: [1, 2],
                    sample: 3,
                    position,
                    temperature: 0.8,
                    top_k: 0,
                    top_p: 1.0,
                    min_p: 0.0,
                    penalty: 1.0,
                    history: &[],
                };
                let Some((token, logp)) = sample_row(&logits, &row, &mut scratch) else { panic!("finite") };
                assert_eq!(Some(token), expected, "{n} ids, position {position}");
                let exact = (f64::from(logits[token]) - top) * 1.25 - lanes(&w).ln();
                assert_eq!(logp, exact as f32);
                // A filter that removes nothing takes the other way to the same token.
                let filtered = Row { min_p: 1e-300, ..row };
                assert_eq!(sample_row(&logits, &filtered, &mut scratch), Some((token, logp)));
            }
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let mut logits = vec![0f32; 40];
            logits[33] = bad;
            assert_eq!(largest(&logits).is_nan(), bad.is_nan());
            let row = Row {
                seed: [0, 0],
                sample: 0,
                position: 0,
                temperature: 1.0,
                top_k: 0,
                top_p: 1.0,
                min_p: 0.0,
                penalty: 1.0,
                history: &[],
            };
            assert_eq!(sample_row(&logits, &row, &mut scratch), None);
        }
        assert_eq!(draw(&[0.5, 0.0, 0.25, 0.0], &[0.75], 1.0), 2); // rounding has left none
    }

    #[test]
    fn nucleus_equals_a_full_sort() {
        let mut state = 1u32;
        for case in 0..200 {
            let y: Vec<f64> = (0..97)
                .map(|i| {
                    state = philox([state, i, case, 7], [1, 2])[0];
                    // Coarse steps, so that there are ties.
                    -f64::from(state % 64) / 4.0
                })
                .collect();
            let top = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let w: Vec<f64> = y.iter().map(|v| exp((v - top) * 1.3)).collect();
            let goal = (f64::from(case) + 1.0) / 201.0 * lanes(&w);
            let mut order: Vec<usize> = (0..y.len()).collect();
            order.sort_by(|&a, &b| y[b].total_cmp(&y[a]).then(a.cmp(&b)));
            let mut expected = vec![0.0; w.len()];
            let mut mass = 0.0;
            for &i in &order {
                if mass < goal {
                    expected[i] = w[i];
                    mass += w[i];
                } else {
                    break;
                }
            }
            let mut actual = w.clone();
            nucleus(&y, &mut actual, goal, &mut Vec::new());
            assert_eq!(actual, expected, "case {case}");
        }
    }
}
