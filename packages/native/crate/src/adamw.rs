//! The optimiser: AdamW (Loshchilov and Hutter 2019, algorithm 2) with the arithmetic of `torch.optim.AdamW`, one pass
//! over memory; and the sum of squares for clipping by the global norm.

use crate::border::{disjoint, fail, floats, floats_mut, guard, place};
use crate::pool::{parallel_chunks_mut, parallel_runs, SharedMut};
use crate::vectorised;
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Elements that a task updates, a multiple of every vector.
const GRAIN: usize = 1 << 15;

/// Constants of a step.
#[derive(Clone, Copy)]
pub struct Step {
    /// 1 for the first step.
    pub step: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// Gradients are multiplied by this first: clipping, and the mean over micro-batches.
    pub gradient_scale: f64,
}

/// A parameter: four arrays of one length, and what may differ between parameters.
pub struct Parameter<'a> {
    pub w: &'a mut [f32],
    pub gradient: &'a [f32],
    pub m: &'a mut [f32],
    pub v: &'a mut [f32],
    pub learning_rate: f64,
    pub weight_decay: f64,
}

vectorised! {
    fn update<V>(w: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32], learning_rate: f64, weight_decay: f64, step: &Step) {
        let correction1 = 1.0 - step.beta1.powf(step.step);
        let correction2 = (1.0 - step.beta2.powf(step.step)).sqrt();
        let constant = |x: f64| V::splat(x as f32);
        let keep = constant(1.0 - learning_rate * weight_decay);
        let rate = constant(-learning_rate / correction1);
        let (weight1, beta2, weight2) = (constant(1.0 - step.beta1), constant(step.beta2), constant(1.0 - step.beta2));
        let (correction2, epsilon, scale) = (constant(correction2), constant(step.epsilon), constant(step.gradient_scale));
        // A macro, because a closure would be compiled without the vector instructions of its function.
        macro_rules! one {
            ($w:expr, $gradient:expr, $m:expr, $v:expr) => {{
                let (w, m, v) = ($w, $m, $v);
                let gradient = $gradient.mul(scale);
                let m = gradient.sub(m).fma(weight1, m);
                let v = gradient.mul(gradient).fma(weight2, v.mul(beta2));
                let denominator = v.sqrt().div(correction2).add(epsilon);
                (m.div(denominator).fma(rate, w.mul(keep)), m, v)
            }};
        }
        let len = w.len();
        assert!(gradient.len() == len && m.len() == len && v.len() == len);
        let whole = len / V::LANES * V::LANES;
        for i in (0..whole).step_by(V::LANES) {
            // SAFETY: whole vectors of slices of the same length.
            unsafe {
                let (pw, pm, pv) = (w.as_mut_ptr().add(i), m.as_mut_ptr().add(i), v.as_mut_ptr().add(i));
                let (new_w, new_m, new_v) = one!(V::load(pw), V::load(gradient.as_ptr().add(i)), V::load(pm), V::load(pv));
                new_w.store(pw);
                new_m.store(pm);
                new_v.store(pv);
            }
        }
        if whole < len {
            // The end goes through the same code, padded.
            let mut padded = [[0f32; 16]; 4];
            for (padded, x) in padded.iter_mut().zip([&*w, gradient, &*m, &*v]) {
                padded[..len - whole].copy_from_slice(&x[whole..]);
            }
            // SAFETY: no vector is wider than 16 floats.
            let [pw, pg, pm, pv] = unsafe { [V::load(padded[0].as_ptr()), V::load(padded[1].as_ptr()), V::load(padded[2].as_ptr()), V::load(padded[3].as_ptr())] };
            let (new_w, new_m, new_v) = one!(pw, pg, pm, pv);
            w[whole..].copy_from_slice(&new_w.lanes()[..len - whole]);
            m[whole..].copy_from_slice(&new_m.lanes()[..len - whole]);
            v[whole..].copy_from_slice(&new_v.lanes()[..len - whole]);
        }
    }
}

/// Pieces of at most [`GRAIN`] elements of arrays of these lengths, one array after another: which array, and where its piece starts.
fn pieces(lengths: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    lengths.enumerate().flat_map(|(index, len)| (0..len).step_by(GRAIN).map(move |at| (index, at))).collect()
}

/// One step of all parameters, in place.
pub fn adamw(parameters: &mut [Parameter], step: &Step) {
    let pieces = pieces(parameters.iter().map(|parameter| parameter.w.len()));
    let shared: Vec<_> = parameters
        .iter_mut()
        .map(|Parameter { w, gradient, m, v, learning_rate, weight_decay }| {
            assert!(gradient.len() == w.len() && m.len() == w.len() && v.len() == w.len());
            let written = (SharedMut::new(w), SharedMut::new(m), SharedMut::new(v));
            (written, &**gradient, *learning_rate, *weight_decay)
        })
        .collect();
    parallel_runs(pieces.len(), |piece| {
        let (index, at) = pieces[piece];
        let ((w, m, v), gradient, learning_rate, weight_decay) = &shared[index];
        let len = GRAIN.min(w.len() - at);
        // SAFETY: pieces are disjoint, and the four arrays have one length.
        let (w, m, v) = unsafe { (w.slice(at, len), m.slice(at, len), v.slice(at, len)) };
        update(w, &gradient[at..at + len], m, v, *learning_rate, *weight_decay, step);
    });
}

/// Parts of a chunk that are read side by side: several streams come from memory faster than one.
const STREAMS: usize = 4;

vectorised! {
    fn squares<V>(x: &[f32]) -> f64 {
        let mut lanes = [[0f64; 16]; STREAMS];
        let part = x.len() / (16 * STREAMS) * 16;
        for at in (0..part).step_by(16) {
            for (stream, lanes) in lanes.iter_mut().enumerate() {
                for (lane, &x) in lanes.iter_mut().zip(&x[stream * part + at..][..16]) {
                    *lane += f64::from(x) * f64::from(x);
                }
            }
        }
        for chunk in x[STREAMS * part..].chunks(16) {
            for (lane, &x) in lanes[0].iter_mut().zip(chunk) {
                *lane += f64::from(x) * f64::from(x);
            }
        }
        lanes.iter().flatten().sum()
    }
}

/// `Σ x²` over all arrays in float64: pieces of a fixed size, each in 64 lanes, added in order.
pub fn sum_of_squares(arrays: &[&[f32]]) -> f64 {
    let pieces = pieces(arrays.iter().map(|x| x.len()));
    let mut parts = vec![0f64; pieces.len()];
    parallel_chunks_mut(&mut parts, 1, |piece, part| {
        let (index, at) = pieces[piece];
        let x = arrays[index];
        part[0] = squares(&x[at..(at + GRAIN).min(x.len())]);
    });
    parts.iter().sum()
}

/// See `adamW` in `binding.ts`.
#[napi(js_name = "adamW")]
#[allow(clippy::too_many_arguments)]
pub fn adam_w(
    mut w: Vec<Float32ArraySlice>,
    grad: Vec<Float32ArraySlice>,
    mut m: Vec<Float32ArraySlice>,
    mut v: Vec<Float32ArraySlice>,
    learning_rate: Float64ArraySlice,
    weight_decay: Float64ArraySlice,
    step: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    grad_scale: f64,
) -> Result<()> {
    guard(|| {
        if !(step >= 1.0 && (0.0..1.0).contains(&beta1) && (0.0..1.0).contains(&beta2) && epsilon >= 0.0) {
            return Err(fail(format!(
                "adamW: step {step} must be at least 1, beta1 {beta1} and beta2 {beta2} in [0, 1), epsilon {epsilon} at least 0"
            )));
        }
        let count = w.len();
        let lengths = [grad.len(), m.len(), v.len(), learning_rate.len(), weight_decay.len()];
        if lengths.iter().any(|&found| found != count) {
            return Err(fail(format!("adamW: {count} parameters came with {lengths:?} of the others")));
        }
        let mut constants = learning_rate.iter().chain(weight_decay.iter()).chain([&grad_scale]);
        if !constants.all(|x| x.is_finite()) {
            return Err(fail("adamW: learningRate, weightDecay and gradScale must be finite"));
        }
        let written: Vec<_> = w.iter().chain(&m).chain(&v).map(|x| place(x)).collect();
        disjoint("adamW", &written, &grad.iter().map(|x| place(x)).collect::<Vec<_>>())?;
        let mut parameters = Vec::with_capacity(count);
        let rates = learning_rate.iter().zip(weight_decay.iter());
        let arrays = w.iter_mut().zip(&grad).zip(m.iter_mut()).zip(v.iter_mut());
        for ((((w, grad), m), v), (&learning_rate, &weight_decay)) in arrays.zip(rates) {
            let len = w.len();
            parameters.push(Parameter {
                w: floats_mut(w, "adamW: w", len)?,
                gradient: floats(grad, "adamW: grad", len)?,
                m: floats_mut(m, "adamW: m", len)?,
                v: floats_mut(v, "adamW: v", len)?,
                learning_rate,
                weight_decay,
            });
        }
        adamw(&mut parameters, &Step { step, beta1, beta2, epsilon, gradient_scale: grad_scale });
        Ok(())
    })
}

/// See `squaredSum` in `binding.ts`.
#[napi]
pub fn squared_sum(x: Vec<Float32ArraySlice>) -> Result<f64> {
    guard(|| Ok(sum_of_squares(&x.iter().map(|x| x.as_ref()).collect::<Vec<_>>())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::choice::noise;

    #[test]
    fn steps_are_those_of_the_definition() {
        // Another parameter beside it, of other constants, must not be mixed up with it.
        for len in [0, 1, 5, 16, 37, GRAIN + 9] {
            let (mut w, mut m, mut v) = (noise(1, len), vec![0f32; len], vec![0f32; len]);
            let (mut other, mut other_m, mut other_v) = ([3f32; 2], [0f32; 2], [0f32; 2]);
            let mut reference: Vec<[f64; 3]> = w.iter().map(|&w| [f64::from(w), 0.0, 0.0]).collect();
            for count in 1..=4 {
                let gradient = noise(10 + count, len);
                let step = Step {
                    step: f64::from(count),
                    beta1: 0.9,
                    beta2: 0.95,
                    epsilon: 1e-8,
                    gradient_scale: 0.5,
                };
                let still = Parameter {
                    w: &mut other,
                    gradient: &[1.0, -1.0],
                    m: &mut other_m,
                    v: &mut other_v,
                    learning_rate: 0.0,
                    weight_decay: 5.0,
                };
                let (w, m, v) = (&mut w[..], &mut m[..], &mut v[..]);
                let moving =
                    Parameter { w, gradient: &gradient, m, v, learning_rate: 1e-2, weight_decay: 0.1 };
                adamw(&mut [still, moving], &step);
                for ([w, m, v], &gradient) in reference.iter_mut().zip(&gradient) {
                    let gradient = 0.5 * f64::from(gradient);
                    *w -= 1e-2 * 0.1 * *w;
                    *m = 0.9 * *m + 0.1 * gradient;
                    *v = 0.95 * *v + 0.05 * gradient * gradient;
                    let (m_hat, v_hat) =
                        (*m / (1.0 - 0.9f64.powi(count as i32)), *v / (1.0 - 0.95f64.powi(count as i32)));
                    *w -= 1e-2 * m_hat / (v_hat.sqrt() + 1e-8);
                }
            }
            assert!(other == [3.0; 2] && other_m[0] > 0.1 && other_m[0] == -other_m[1]);
            for (i, [expected, ..]) in reference.iter().enumerate() {
                assert!(
                    (f64::from(w[i]) - expected).abs() < 2e-6,
                    "{len}: element {i} is {}, not {expected}",
                    w[i]
                );
            }
        }
    }

    #[test]
    fn squares_are_summed_in_float64() {
        let x = noise(5, 3 * GRAIN + 21);
        let expected: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        assert!((sum_of_squares(&[&x]) - expected).abs() < 1e-9 * expected);
        let (first, rest) = x.split_at(37);
        assert!((sum_of_squares(&[first, &[], rest]) - expected).abs() < 1e-9 * expected);
        assert_eq!(sum_of_squares(&[]), 0.0);
    }
}
