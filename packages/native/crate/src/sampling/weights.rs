//! Exponentials and sums in float64, eight lanes at a time, in an order that other languages can repeat.

use crate::vectorised;

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
pub(super) fn fold(s: [f64; 8]) -> f64 {
    ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))
}

/// `e^x` for `x <= 0`: 0 below -708; else with `k = round(x * LOG2_E)` and `r = (x - k * LN2_HIGH) - k * LN2_LOW`, Horner's scheme over `1 / n!`, `n = 13 … 0`,
/// times `2^k`. Of eight numbers, step by step for all of them: so written, the compiler makes vectors of it.
#[inline(always)]
pub(super) fn exp_lanes(x: [f64; 8]) -> [f64; 8] {
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
pub(super) const MARK: usize = 64;

vectorised! {
    /// `out[i] = exp((y[i] - top) * inverse)`, with the logits `z` for `y` where there is none; returns `lanes(out)`. `marks` gets the running sum of
    /// step 7 after every [`MARK`] weights and after the last: it waits for each addition, and here other work fills the time.
    pub(super) fn weigh<V>(z: &[f32], y: Option<&[f64]>, top: f64, inverse: f64, out: &mut [f64], marks: &mut Vec<f64>) -> f64 {
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
    pub(super) fn largest<V>(z: &[f32]) -> f32 {
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
pub(super) fn lanes(w: &[f64]) -> f64 {
    let mut sums = [0.0f64; 8];
    for (i, value) in w.iter().enumerate() {
        sums[i & 7] += value;
    }
    fold(sums)
}
