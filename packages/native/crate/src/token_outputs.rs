//! The LM head and what is computed from its logits, without logits `[A, V]` in memory.
//!
//! With logits `x = (hidden · wᵀ + bias) / temperature`, `lse = ln Σ eˣ` and `p = eˣ⁻ˡˢᵉ`, for each position:
//! `logp = x[target] - lse`, `entropy = -Σ p ln p`, `sumSquares = Σ p²`.
//!
//! Positions go in blocks of `ROWS` and the vocabulary in blocks of `COLUMNS`, so that w is read once a block of
//! positions and its gradient is written once. The softmax is accumulated over blocks (Milakov and Gimelshein 2018,
//! algorithm 3), in float64 from block to block. The order of sums does not depend on A. The backward pass computes the
//! logits again instead of keeping them.

use crate::border::{disjoint, fail, floats, floats_mut, guard, ints, place, place_of, product};
use crate::dtype::Precision;
use crate::gemm::{multiply, Left, Output, PackedA, PackedB, Right, View};
use crate::linear::{add_columns, PackedWeight};
use crate::memory::Floats;
use crate::pool::{parallel_chunks_mut, parallel_for, SharedMut};
use crate::vector::Vector;
use crate::vectorised;
use napi::bindgen_prelude::*;
use napi_derive::napi;

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
        multiply(Output { data, stride: width, accumulate: false, bias }, hidden, b, self.precision);
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
    /// The largest of `x * scale`, and the three sums of `Row` relative to it.
    pub(crate) fn reduce<V>(x: &[f32], scale: f32) -> (f32, [f32; 3]) {
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
        let gradient = |x: V| {
            let relative = x.mul(factor).add(negative);
            let e = relative.exp();
            if simple {
                e.mul(constant)
            } else {
                e.mul(relative.max(floor).fma(log_p, e.fma(p, constant)))
            }
        };
        let whole = x.len() / V::LANES * V::LANES;
        for index in (0..whole).step_by(V::LANES) {
            // SAFETY: a whole vector of x.
            unsafe {
                let at = x.as_mut_ptr().add(index);
                gradient(V::load(at)).store(at);
            }
        }
        if whole < x.len() {
            let mut tail = [PAD; 16];
            let rest = &mut x[whole..];
            tail[..rest.len()].copy_from_slice(rest);
            // SAFETY: no vector is wider than the buffer.
            unsafe { gradient(V::load(tail.as_ptr())).store(tail.as_mut_ptr()) };
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
            let logits = &mut buffer[..rows * width];
            head.logits((&packed).into(), start, width, logits);
            let logits = &*logits;
            parallel_chunks_mut(&mut states, GRAIN, |chunk, states| {
                for (index, state) in states.iter_mut().enumerate() {
                    let row = chunk * GRAIN + index;
                    let x = &logits[row * width..(row + 1) * width];
                    let (max, sums) = reduce(x, scale);
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
        let accumulate = gradients.accumulate || first > 0;
        for start in (0..v).step_by(COLUMNS) {
            let width = COLUMNS.min(v - start);
            let logits = &mut buffer[..rows * width];
            head.logits((&left).into(), start, width, logits);
            let shared = SharedMut::new(logits);
            parallel_for(rows.div_ceil(GRAIN), |chunk| {
                for row in chunk * GRAIN..((chunk + 1) * GRAIN).min(rows) {
                    // SAFETY: each row is one task's.
                    let x = unsafe { shared.slice(row * width, width) };
                    let known = saved.known(first + row);
                    differentiate(x, scale, &known);
                    let target = (targets[first + row] as usize).wrapping_sub(start);
                    if let Some(x) = x.get_mut(target) {
                        *x += known.dlogp * scale;
                    }
                }
            });
            let dlogits = View::row_major(&buffer[..rows * width], rows, width);
            if let (Some(dhidden), Some(w)) = (&mut gradients.dhidden, head.w) {
                let data = &mut dhidden[first * d..(first + rows) * d];
                let output = Output { data, stride: d, accumulate: start > 0, bias: None };
                let w = w.row_range(start..start + width);
                multiply(output, dlogits, Right::Lanes(w.transposed()), head.precision);
            }
            if let (Some(dw), Some(right)) = (&mut gradients.dw, &right) {
                let data = &mut dw[start * d..(start + width) * d];
                let output = Output { data, stride: d, accumulate, bias: None };
                multiply(output, dlogits.transposed(), Right::Packed(right.columns()), head.precision);
            }
            if let Some(dbias) = &mut gradients.dbias {
                add_columns(&mut dbias[start..start + width], &buffer[..rows * width], width, accumulate);
            }
        }
    }
}

/// The head from JavaScript's arguments. `kernel` names the caller in messages.
#[allow(clippy::too_many_arguments)]
pub(crate) fn head<'a>(
    kernel: &str,
    w: Option<&'a [f32]>,
    packed: Option<&'a PackedWeight>,
    bias: Option<&'a [f32]>,
    v: usize,
    d: usize,
    temperature: f64,
    precision: &str,
) -> Result<Head<'a>> {
    if !(temperature > 0.0 && temperature.is_finite()) {
        return Err(fail(format!("{kernel}: temperature {temperature} is not a positive number")));
    }
    let mut precision = Precision::parse(precision)?;
    if let Some(packed) = packed {
        let found = packed.get()?;
        if (found.n(), found.k()) != (v, d) {
            let (n, k) = (found.n(), found.k());
            return Err(fail(format!("{kernel}: the packed weight is {n} x {k}, not {v} x {d}")));
        }
        precision = packed.precision_of();
    } else if w.is_none() {
        return Err(fail(format!("{kernel}: neither w nor packed is given")));
    }
    Ok(Head {
        w: w.map(|w| View::row_major(w, v, d)),
        packed: packed.map(PackedWeight::get).transpose()?,
        bias,
        v,
        temperature: temperature as f32,
        precision,
    })
}

fn check_targets<'a>(targets: &'a Int32ArraySlice, a: usize, v: usize) -> Result<&'a [i32]> {
    let targets = ints(targets, "tokenOutputs: targets", a)?;
    match targets.iter().position(|&target| target < 0 || target as usize >= v) {
        Some(index) => {
            Err(fail(format!("tokenOutputs: target {index} is {}, outside of 0 .. {v}", targets[index])))
        }
        None => Ok(targets),
    }
}

/// A typed array that may be absent.
type Maybe<'a> = Option<Float32ArraySlice<'a>>;

fn read<'a>(data: &'a Maybe, name: &str, len: usize) -> Result<Option<&'a [f32]>> {
    data.as_ref().map(|data| floats(data, &format!("tokenOutputs: {name}"), len)).transpose()
}

fn write<'a>(data: &'a mut Maybe, name: &str, len: usize) -> Result<Option<&'a mut [f32]>> {
    data.as_mut().map(|data| floats_mut(data, &format!("tokenOutputs: {name}"), len)).transpose()
}

#[napi]
#[allow(clippy::too_many_arguments)]
pub fn token_outputs(
    hidden: Float32ArraySlice,
    w: Option<Float32ArraySlice>,
    packed: Option<&PackedWeight>,
    bias: Option<Float32ArraySlice>,
    targets: Int32ArraySlice,
    a: u32,
    v: u32,
    d: u32,
    temperature: f64,
    precision: String,
    mut logps: Float32ArraySlice,
    mut entropy: Option<Float32ArraySlice>,
    mut sum_squares: Option<Float32ArraySlice>,
    mut lse: Float32ArraySlice,
) -> Result<()> {
    guard(|| {
        let (a, v, d) = (a as usize, v as usize, d as usize);
        disjoint(
            "tokenOutputs",
            &[place(&logps), place_of(&entropy), place_of(&sum_squares), place(&lse)],
            &[place(&hidden), place_of(&w), place_of(&bias), place(&targets)],
        )?;
        let hidden = floats(&hidden, "tokenOutputs: hidden", product("tokenOutputs", &[a, d])?)?;
        let targets = check_targets(&targets, a, v)?;
        let w = read(&w, "w", product("tokenOutputs", &[v, d])?)?;
        let bias = read(&bias, "bias", v)?;
        let head = head("tokenOutputs", w, packed, bias, v, d, temperature, &precision)?;
        let outputs = Outputs {
            logps: floats_mut(&mut logps, "tokenOutputs: logps", a)?,
            entropy: write(&mut entropy, "entropy", a)?,
            sum_squares: write(&mut sum_squares, "sumSquares", a)?,
            lse: floats_mut(&mut lse, "tokenOutputs: lse", a)?,
        };
        forward(View::row_major(hidden, a, d), &head, targets, outputs);
        Ok(())
    })
}

#[napi]
#[allow(clippy::too_many_arguments)]
pub fn token_outputs_backward(
    hidden: Float32ArraySlice,
    w: Float32ArraySlice,
    packed: Option<&PackedWeight>,
    bias: Option<Float32ArraySlice>,
    targets: Int32ArraySlice,
    a: u32,
    v: u32,
    d: u32,
    temperature: f64,
    precision: String,
    lse: Float32ArraySlice,
    entropy: Option<Float32ArraySlice>,
    sum_squares: Option<Float32ArraySlice>,
    dlogps: Option<Float32ArraySlice>,
    dentropy: Option<Float32ArraySlice>,
    dsum_squares: Option<Float32ArraySlice>,
    mut dhidden: Option<Float32ArraySlice>,
    mut dw: Option<Float32ArraySlice>,
    mut dbias: Option<Float32ArraySlice>,
    accumulate: bool,
) -> Result<()> {
    guard(|| {
        let (a, v, d) = (a as usize, v as usize, d as usize);
        let inputs = [&bias, &entropy, &sum_squares, &dlogps, &dentropy, &dsum_squares];
        let mut reads = vec![place(&hidden), place(&w), place(&targets), place(&lse)];
        reads.extend(inputs.map(place_of));
        disjoint("tokenOutputsBackward", &[place_of(&dhidden), place_of(&dw), place_of(&dbias)], &reads)?;
        let hidden = floats(&hidden, "tokenOutputs: hidden", product("tokenOutputs", &[a, d])?)?;
        let targets = check_targets(&targets, a, v)?;
        let weight = product("tokenOutputs", &[v, d])?;
        let w = floats(&w, "tokenOutputs: w", weight)?;
        let bias = read(&bias, "bias", v)?;
        let head = head("tokenOutputs", Some(w), packed, bias, v, d, temperature, &precision)?;
        if (dentropy.is_some() && entropy.is_none()) || (dsum_squares.is_some() && sum_squares.is_none()) {
            return Err(fail(
                "tokenOutputsBackward: a gradient is given without the output that it belongs to",
            ));
        }
        let saved = Saved {
            lse: floats(&lse, "tokenOutputs: lse", a)?,
            entropy: read(&entropy, "entropy", a)?,
            sum_squares: read(&sum_squares, "sumSquares", a)?,
            dlogps: read(&dlogps, "dlogps", a)?,
            dentropy: read(&dentropy, "dentropy", a)?,
            dsum_squares: read(&dsum_squares, "dsumSquares", a)?,
        };
        let gradients = Gradients {
            dhidden: write(&mut dhidden, "dhidden", a * d)?,
            dw: write(&mut dw, "dw", weight)?,
            dbias: write(&mut dbias, "dbias", v)?,
            accumulate,
        };
        backward(View::row_major(hidden, a, d), &head, targets, &saved, gradients);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::choice::noise;

    struct Case {
        a: usize,
        v: usize,
        d: usize,
        hidden: Vec<f32>,
        w: Vec<f32>,
        bias: Vec<f32>,
        targets: Vec<i32>,
        temperature: f32,
    }

    impl Case {
        fn new(a: usize, v: usize, d: usize, temperature: f32) -> Self {
            let targets = (0..a).map(|i| ((i * 7919 + 13) % v) as i32).collect();
            let scaled = |seed, len| noise(seed, len).iter().map(|x| x * 1.5).collect();
            Case {
                a,
                v,
                d,
                hidden: scaled(1, a * d),
                w: scaled(2, v * d),
                bias: noise(3, v),
                targets,
                temperature,
            }
        }

        fn head<'a>(&'a self, packed: Option<&'a PackedB>) -> Head<'a> {
            Head {
                w: Some(View::row_major(&self.w, self.v, self.d)),
                packed,
                bias: Some(&self.bias),
                v: self.v,
                temperature: self.temperature,
                precision: Precision::Fp32,
            }
        }

        /// Probabilities of a position, by the definition in float64.
        fn probabilities(&self, row: usize) -> (Vec<f64>, f64) {
            let logits: Vec<f64> = (0..self.v)
                .map(|column| {
                    let products = (0..self.d).map(|i| {
                        f64::from(self.hidden[row * self.d + i]) * f64::from(self.w[column * self.d + i])
                    });
                    (products.sum::<f64>() + f64::from(self.bias[column])) / f64::from(self.temperature)
                })
                .collect();
            let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lse = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
            (logits.iter().map(|x| (x - lse).exp()).collect(), lse)
        }

        fn run(&self, packed: Option<&PackedB>) -> [Vec<f32>; 4] {
            let mut out = [(); 4].map(|()| vec![f32::NAN; self.a]);
            let [logps, entropy, sum_squares, lse] = &mut out;
            let outputs = Outputs { logps, entropy: Some(entropy), sum_squares: Some(sum_squares), lse };
            forward(
                View::row_major(&self.hidden, self.a, self.d),
                &self.head(packed),
                &self.targets,
                outputs,
            );
            out
        }
    }

    fn close(got: f32, expected: f64, limit: f64, what: &str) {
        assert!(
            (f64::from(got) - expected).abs() <= limit * (1.0 + expected.abs()),
            "{what}: {got}, not {expected}"
        );
    }

    #[test]
    fn outputs_are_those_of_the_definition() {
        for (a, v, d, temperature) in [(1, 1, 1, 1.0), (3, 5, 7, 0.5), (9, 1500, 20, 1.0), (5, 3001, 33, 1.7)]
        {
            let case = Case::new(a, v, d, temperature);
            let [logps, entropy, sum_squares, lse] = case.run(None);
            for row in 0..a {
                let (p, expected) = case.probabilities(row);
                close(lse[row], expected, 2e-6, "lse");
                close(logps[row], p[case.targets[row] as usize].ln(), 4e-6, "logps");
                close(
                    entropy[row],
                    p.iter().map(|p| if *p > 0.0 { -p * p.ln() } else { 0.0 }).sum(),
                    4e-6,
                    "entropy",
                );
                close(sum_squares[row], p.iter().map(|p| p * p).sum(), 4e-6, "sum of squares");
            }
            let Some(packed) = PackedB::new(View::row_major(&case.w, v, d), Precision::Fp32) else {
                panic!("memory")
            };
            assert_eq!(case.run(Some(&packed)), [logps, entropy, sum_squares, lse], "packed or not");
        }
    }

    #[test]
    fn a_position_is_the_same_to_the_bit_in_any_batch() {
        let case = Case::new(40, 2100, 24, 1.0);
        let whole = case.run(None);
        for row in [0, 17, 39] {
            let mut one = Case::new(1, 2100, 24, 1.0);
            one.hidden.copy_from_slice(&case.hidden[row * 24..(row + 1) * 24]);
            one.targets[0] = case.targets[row];
            assert_eq!(one.run(None), [0, 1, 2, 3].map(|i| vec![whole[i][row]]));
        }
    }

    #[test]
    fn gradients_are_those_of_the_definition() {
        for (a, v, d, temperature) in [(1, 3, 2, 1.0), (6, 1100, 9, 0.8), (ROWS + 5, 20, 4, 1.3)] {
            let case = Case::new(a, v, d, temperature);
            let [_, entropy, sum_squares, lse] = case.run(None);
            let (dlogps, dentropy, dsum_squares) = (noise(11, a), noise(12, a), noise(13, a));
            let (mut dhidden, mut dw, mut dbias) = (vec![f32::NAN; a * d], vec![0.25; v * d], vec![0.5; v]);
            let saved = Saved {
                lse: &lse,
                entropy: Some(&entropy),
                sum_squares: Some(&sum_squares),
                dlogps: Some(&dlogps),
                dentropy: Some(&dentropy),
                dsum_squares: Some(&dsum_squares),
            };
            let gradients = Gradients {
                dhidden: Some(&mut dhidden),
                dw: Some(&mut dw),
                dbias: Some(&mut dbias),
                accumulate: true,
            };
            backward(View::row_major(&case.hidden, a, d), &case.head(None), &case.targets, &saved, gradients);
            let (mut expected_w, mut expected_bias) = (vec![0.25f64; v * d], vec![0.5f64; v]);
            for row in 0..a {
                let (p, _) = case.probabilities(row);
                let entropy: f64 = p.iter().map(|p| if *p > 0.0 { -p * p.ln() } else { 0.0 }).sum();
                let squares: f64 = p.iter().map(|p| p * p).sum();
                let mut expected = vec![0f64; d];
                for (column, &p) in p.iter().enumerate() {
                    let hit = if case.targets[row] as usize == column { 1.0 } else { 0.0 };
                    let mut gradient = f64::from(dlogps[row]) * (hit - p);
                    gradient -= f64::from(dentropy[row]) * p * (p.max(1e-300).ln() + entropy);
                    gradient += f64::from(dsum_squares[row]) * 2.0 * p * (p - squares);
                    gradient /= f64::from(temperature);
                    expected_bias[column] += gradient;
                    for i in 0..d {
                        expected[i] += gradient * f64::from(case.w[column * d + i]);
                        expected_w[column * d + i] += gradient * f64::from(case.hidden[row * d + i]);
                    }
                }
                for i in 0..d {
                    close(dhidden[row * d + i], expected[i], 5e-6, "dhidden");
                }
            }
            dw.iter().zip(&expected_w).for_each(|(&got, &expected)| close(got, expected, 2e-5, "dw"));
            dbias
                .iter()
                .zip(&expected_bias)
                .for_each(|(&got, &expected)| close(got, expected, 2e-5, "dbias"));
        }
    }

    #[test]
    fn forbidden_tokens_have_no_share() {
        let mut case = Case::new(2, 40, 3, 1.0);
        case.bias[7] = f32::NEG_INFINITY;
        case.targets = vec![1, 2];
        let [logps, entropy, sum_squares, lse] = case.run(None);
        assert!([&logps, &entropy, &sum_squares, &lse]
            .iter()
            .all(|values| values.iter().all(|x| x.is_finite())));
        let mut dw = vec![f32::NAN; 40 * 3];
        let ones = [1.0, 1.0];
        let saved = Saved {
            lse: &lse,
            entropy: Some(&entropy),
            sum_squares: None,
            dlogps: Some(&ones),
            dentropy: Some(&ones),
            dsum_squares: None,
        };
        let gradients = Gradients { dhidden: None, dw: Some(&mut dw), dbias: None, accumulate: false };
        backward(View::row_major(&case.hidden, 2, 3), &case.head(None), &case.targets, &saved, gradients);
        assert!(dw.iter().all(|x| x.is_finite()) && dw[21..24] == [0.0; 3]);
    }
}
