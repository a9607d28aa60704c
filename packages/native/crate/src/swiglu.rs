//! SwiGLU: `silu(gate) * up`, `silu(g) = g / (1 + e^-g)`, forward and backward.

use crate::border::{disjoint, floats, floats_mut, guard, place};
use crate::pool::{parallel_ranges, SharedMut};
use crate::vector::GRAIN;
use crate::{map, vectorised};
use napi::bindgen_prelude::*;
use napi_derive::napi;

vectorised! {
    fn forward_part<V>(gate: &[f32], up: &[f32], y: &mut [f32]) {
        assert!(gate.len() == y.len() && up.len() == y.len());
        // SAFETY: all three hold y.len() floats.
        unsafe { map!(V, y.len(), [g: gate.as_ptr(), u: up.as_ptr()] => [y.as_mut_ptr()], [g.mul(g.sigmoid()).mul(u)]) }
    }
}

vectorised! {
    /// `gate = silu(gate) * up`, on the calling thread.
    pub fn swiglu_in_place<V>(gate: &mut [f32], up: &[f32]) {
        assert!(up.len() == gate.len());
        // SAFETY: both hold gate.len() floats; gate is input and output at the same place.
        unsafe { map!(V, gate.len(), [g: gate.as_ptr(), u: up.as_ptr()] => [gate.as_mut_ptr()], [g.mul(g.sigmoid()).mul(u)]) }
    }
}

vectorised! {
    /// `dgate = dy * up * s * (1 + gate * (1 - s))`, `dup = dy * gate * s`, with `s = sigmoid(gate)`.
    fn backward_part<V>(dy: &[f32], gate: &[f32], up: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
        let n = dy.len();
        assert!(gate.len() == n && up.len() == n && dgate.len() == n && dup.len() == n);
        let one = V::splat(1.0);
        // SAFETY: all five hold n floats.
        unsafe {
            map!(V, n, [dy: dy.as_ptr(), g: gate.as_ptr(), u: up.as_ptr()] => [dgate.as_mut_ptr(), dup.as_mut_ptr()], {
                let s = g.sigmoid();
                [dy.mul(u).mul(s.mul(g.fma(one.sub(s), one))), dy.mul(g.mul(s))]
            });
        }
    }
}

pub fn swiglu_forward(gate: &[f32], up: &[f32], y: &mut [f32]) {
    let (n, y) = (y.len(), SharedMut::new(y));
    parallel_ranges(n, GRAIN, |r| {
        // SAFETY: ranges are disjoint.
        forward_part(&gate[r.clone()], &up[r.clone()], unsafe { y.slice(r.start, r.len()) });
    });
}

pub fn swiglu_backward(dy: &[f32], gate: &[f32], up: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    let (dgate, dup) = (SharedMut::new(dgate), SharedMut::new(dup));
    parallel_ranges(dy.len(), GRAIN, |r| {
        // SAFETY: ranges are disjoint.
        let (dgate, dup) = unsafe { (dgate.slice(r.start, r.len()), dup.slice(r.start, r.len())) };
        backward_part(&dy[r.clone()], &gate[r.clone()], &up[r], dgate, dup);
    });
}

/// `gate`, `up` → `y`, as long as `y` is.
#[napi]
pub fn swiglu(gate: Float32ArraySlice, up: Float32ArraySlice, mut y: Float32ArraySlice) -> Result<()> {
    guard(|| {
        let n = y.len();
        disjoint("swiglu", &[place(&y)], &[place(&gate), place(&up)])?;
        swiglu_forward(floats(&gate, "gate", n)?, floats(&up, "up", n)?, floats_mut(&mut y, "y", n)?);
        Ok(())
    })
}

/// `dy`, `gate`, `up` → `dgate`, `dup`, as long as `dy` is.
#[napi]
pub fn swiglu_grad(
    dy: Float32ArraySlice,
    gate: Float32ArraySlice,
    up: Float32ArraySlice,
    mut dgate: Float32ArraySlice,
    mut dup: Float32ArraySlice,
) -> Result<()> {
    guard(|| {
        let n = dy.len();
        disjoint("swigluGrad", &[place(&dgate), place(&dup)], &[place(&dy), place(&gate), place(&up)])?;
        let (dgate, dup) = (floats_mut(&mut dgate, "dgate", n)?, floats_mut(&mut dup, "dup", n)?);
        swiglu_backward(floats(&dy, "dy", n)?, floats(&gate, "gate", n)?, floats(&up, "up", n)?, dgate, dup);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_derivatives() {
        let gate: Vec<f32> = (0..1001).map(|i| (i as f32 - 500.0) * 0.05).collect();
        let up: Vec<f32> = (0..1001).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let dy: Vec<f32> = (0..1001).map(|i| (i as f32 * 0.3).cos()).collect();
        let (mut y, mut dgate, mut dup) = (vec![0.0; 1001], vec![0.0; 1001], vec![0.0; 1001]);
        swiglu_forward(&gate, &up, &mut y);
        let mut in_place = gate.clone();
        swiglu_in_place(&mut in_place, &up);
        assert_eq!(in_place, y);
        swiglu_backward(&dy, &gate, &up, &mut dgate, &mut dup);
        for i in 0..1001 {
            let (g, u, d) = (f64::from(gate[i]), f64::from(up[i]), f64::from(dy[i]));
            let silu = |g: f64| g / (1.0 + (-g).exp());
            let slope = (silu(g + 1e-5) - silu(g - 1e-5)) / 2e-5;
            for (actual, expected) in [(y[i], silu(g) * u), (dgate[i], d * u * slope), (dup[i], d * silu(g))]
            {
                assert!(
                    (f64::from(actual) - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
                    "{g}: {actual} {expected}"
                );
            }
        }
    }
}
