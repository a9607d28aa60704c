//! Exponentials and sums in float64, eight lanes at a time, in an order that other languages can repeat.

use crate::vector::eight::{Eight, ROUND};
use crate::vectorised;

/// Powers of two are added to the exponent field; below this the result is 0.
const SMALLEST: f64 = -708.0;
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
/// times `2^k`.
#[inline(always)]
pub(super) fn exp_lanes<E: Eight>(x: E) -> E {
    let smallest = E::splat(SMALLEST);
    let clamped = x.at_least(smallest);
    let shifted = clamped.mul(E::splat(LOG2_E)).add(E::splat(ROUND));
    let k = shifted.sub(E::splat(ROUND)); // at least -1022, by the clamp
    let r = clamped.sub(k.mul(E::splat(LN2_HIGH))).sub(k.mul(E::splat(LN2_LOW)));
    let mut p = E::splat(1.0 / 6_227_020_800.0);
    for coefficient in COEFFICIENTS {
        p = p.mul(r).add(E::splat(coefficient));
    }
    p.mul(shifted.pow2_of_rounded()).zero_where_below(x, smallest)
}

/// Weights between two marks of the running sum.
pub(super) const MARK: usize = 64;

vectorised! {
    /// `out[i] = exp((y[i] - top) * inverse)`, with the logits `z` for `y` where there is none; returns `lanes(out)`. `marks` gets the running sum of
    /// step 7 after every [`MARK`] weights and after the last: it waits for each addition, and here other work fills the time.
    pub(super) fn weigh<V>(z: &[f32], y: Option<&[f64]>, top: f64, inverse: f64, out: &mut [f64], marks: &mut Vec<f64>) -> f64 {
        marks.clear();
        let n = out.len();
        assert!(z.len() >= n && y.is_none_or(|y| y.len() >= n));
        let (high, factor) = (V::Doubles::splat(top), V::Doubles::splat(inverse));
        let mut sums = V::Doubles::splat(0.0);
        let mut running = 0.0;
        let mut start = 0;
        while start < n {
            let count = (n - start).min(8);
            let whole = count == 8;
            let x = match y {
                // SAFETY: eight numbers from `start` on are there.
                Some(y) if whole => unsafe { V::Doubles::load(y.as_ptr().add(start)) },
                // SAFETY: as above.
                None if whole => unsafe { V::Doubles::widen(z.as_ptr().add(start)) },
                _ => {
                    // What is missing in the last chunk weighs 0, and adding 0 changes no sum.
                    let mut last = [f64::NEG_INFINITY; 8];
                    for (l, last) in last[..count].iter_mut().enumerate() {
                        *last = y.map_or_else(|| f64::from(z[start + l]), |y| y[start + l]);
                    }
                    // SAFETY: the array holds eight.
                    unsafe { V::Doubles::load(last.as_ptr()) }
                }
            };
            let w = exp_lanes(x.sub(high).mul(factor));
            sums = sums.add(w);
            let lanes = w.lanes();
            for weight in lanes {
                running += weight;
            }
            out[start..start + count].copy_from_slice(&lanes[..count]);
            start += 8;
            if start.is_multiple_of(MARK) || start >= n {
                marks.push(running);
            }
        }
        fold(sums.lanes())
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
