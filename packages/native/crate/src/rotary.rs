//! Rotary position embedding in the "rotate half" form (Su et al. 2021). Going backward is the same rotation with the sine negated.

use crate::border::{disjoint, fail, floats, floats_mut, guard, ints, place, product};
use crate::pool::{parallel_ranges, SharedMut};
use crate::{map, vectorised};
use napi::bindgen_prelude::*;
use napi_derive::napi;
use std::sync::{Arc, Mutex};

/// Cosine and sine for each token and frequency: `[T, 2, half]`. The angle is a float32 product, as in the reference implementations;
/// its cosine and sine are computed in float64.
struct Table {
    positions: Vec<i32>,
    frequencies: Vec<u32>,
    scaling: u64,
    values: Vec<f32>,
}

/// The tables used last: all layers of a model ask for the same one.
static TABLES: Mutex<Vec<Arc<Table>>> = Mutex::new(Vec::new());
const KEPT: usize = 2;

fn table(positions: &[i32], inv_freq: &[f32], scaling: f64) -> Arc<Table> {
    let same = |t: &Arc<Table>| {
        t.scaling == scaling.to_bits()
            && t.positions == positions
            && t.frequencies.len() == inv_freq.len()
            && t.frequencies.iter().zip(inv_freq).all(|(a, b)| *a == b.to_bits())
    };
    if let Ok(tables) = TABLES.lock() {
        if let Some(found) = tables.iter().find(|t| same(t)) {
            return found.clone();
        }
    }
    let half = inv_freq.len();
    let mut values = vec![0.0f32; positions.len() * 2 * half];
    let shared = SharedMut::new(&mut values);
    parallel_ranges(positions.len(), 64, |tokens| {
        for t in tokens {
            // SAFETY: tokens are disjoint.
            let (cos, sin) = unsafe { shared.slice(t * 2 * half, 2 * half) }.split_at_mut(half);
            for (i, frequency) in inv_freq.iter().enumerate() {
                let angle = f64::from(positions[t] as f32 * frequency);
                cos[i] = (angle.cos() * scaling) as f32;
                sin[i] = (angle.sin() * scaling) as f32;
            }
        }
    });
    let made = Arc::new(Table {
        positions: positions.to_vec(),
        frequencies: inv_freq.iter().map(|f| f.to_bits()).collect(),
        scaling: scaling.to_bits(),
        values,
    });
    if let Ok(mut tables) = TABLES.lock() {
        tables.insert(0, made.clone());
        tables.truncate(KEPT);
    }
    made
}

vectorised! {
    /// Rotates the heads of one token.
    fn rotate<V>(x: &[f32], cos: &[f32], sin: &[f32], dim: usize, inverse: bool, y: &mut [f32]) {
        let half = cos.len();
        assert!(x.len() == y.len() && sin.len() == half && 2 * half <= dim);
        let sign = V::splat(if inverse { -1.0 } else { 1.0 });
        for (x, y) in x.chunks_exact(dim).zip(y.chunks_exact_mut(dim)) {
            // SAFETY: x and y hold dim >= 2 half floats, cos and sin half.
            unsafe {
                let (low, high) = (y.as_mut_ptr(), y.as_mut_ptr().add(half));
                map!(V, half, [a: x.as_ptr(), b: x.as_ptr().add(half), c: cos.as_ptr(), s: sin.as_ptr()] => [low, high], {
                    let s = s.mul(sign);
                    [a.mul(c).sub(b.mul(s)), b.mul(c).add(a.mul(s))]
                });
            }
            y[2 * half..].copy_from_slice(&x[2 * half..]);
        }
    }
}

#[allow(clippy::too_many_arguments)]
pub fn rotary_forward(
    x: &[f32],
    positions: &[i32],
    inv_freq: &[f32],
    scaling: f64,
    inverse: bool,
    heads: usize,
    dim: usize,
    y: &mut [f32],
) {
    let (width, half) = (heads * dim, inv_freq.len());
    let table = table(positions, inv_freq, scaling);
    let y = SharedMut::new(y);
    parallel_ranges(positions.len(), (16_384 / width.max(1)).max(1), |tokens| {
        for t in tokens {
            let (cos, sin) = table.values[t * 2 * half..(t + 1) * 2 * half].split_at(half);
            // SAFETY: tokens are disjoint.
            rotate(&x[t * width..(t + 1) * width], cos, sin, dim, inverse, unsafe {
                y.slice(t * width, width)
            });
        }
    });
}

/// `x [T, heads, dim]`, `positions [T]`, `invFreq [<= dim / 2]` → `y [T, heads, dim]`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn rotary(
    x: Float32ArraySlice,
    positions: Int32ArraySlice,
    inv_freq: Float32ArraySlice,
    mut y: Float32ArraySlice,
    heads: u32,
    dim: u32,
    scaling: f64,
    inverse: bool,
) -> Result<()> {
    guard(|| {
        let (tokens, heads, dim, half) = (positions.len(), heads as usize, dim as usize, inv_freq.len());
        let n = product("rotary", &[tokens, heads, dim])?;
        if half == 0 || 2 * half > dim {
            return Err(fail(format!("rotary: {half} frequencies for heads of {dim}")));
        }
        disjoint("rotary", &[place(&y)], &[place(&x), place(&positions), place(&inv_freq)])?;
        let y = floats_mut(&mut y, "y", n)?;
        rotary_forward(
            floats(&x, "x", n)?,
            ints(&positions, "positions", tokens)?,
            floats(&inv_freq, "invFreq", half)?,
            scaling,
            inverse,
            heads,
            dim,
            y,
        );
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotates_pairs_and_back() {
        let (heads, dim) = (3, 22);
        let inv_freq: Vec<f32> = (0..10).map(|i| 10f32.powf(-(i as f32) / 3.0)).collect();
        let positions = [0, 5, 1000, 3];
        let x: Vec<f32> = (0..positions.len() * heads * dim).map(|i| (i as f32 * 1.3).sin()).collect();
        let (mut y, mut back) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        rotary_forward(&x, &positions, &inv_freq, 1.0, false, heads, dim, &mut y);
        for (t, position) in positions.iter().enumerate() {
            for h in 0..heads {
                let at = (t * heads + h) * dim;
                for i in 0..10 {
                    let (sin, cos) = f64::from(*position as f32 * inv_freq[i]).sin_cos();
                    let (a, b) = (f64::from(x[at + i]), f64::from(x[at + i + 10]));
                    assert!((f64::from(y[at + i]) - (a * cos - b * sin)).abs() < 1e-6);
                    assert!((f64::from(y[at + i + 10]) - (b * cos + a * sin)).abs() < 1e-6);
                }
                assert_eq!(y[at + 20..at + 22], x[at + 20..at + 22]);
            }
        }
        rotary_forward(&y, &positions, &inv_freq, 1.0, true, heads, dim, &mut back);
        assert!(x.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
