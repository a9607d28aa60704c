//! GELU in its tanh form ("gelu_new"): `0.5 x (1 + tanh(u)) = x sigmoid(2u)`, `u = sqrt(2/π) (x + 0.044715 x³)`, forward and backward.

use crate::border::{disjoint, floats, floats_mut, guard, place};
use crate::pool::{parallel_ranges, SharedMut};
use crate::vector::GRAIN;
use crate::{map, vectorised};
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// `2 sqrt(2/π)`.
const TWICE: f32 = 1.595_769_2;
const CUBIC: f32 = 0.044_715;

vectorised! {
    fn forward_part<V>(x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        let (twice, cubic, one) = (V::splat(TWICE), V::splat(CUBIC), V::splat(1.0));
        // SAFETY: both hold y.len() floats.
        unsafe {
            map!(V, y.len(), [x: x.as_ptr()] => [y.as_mut_ptr()], [x.mul(twice.mul(x).mul(cubic.fma(x.mul(x), one)).sigmoid())]);
        }
    }
}

vectorised! {
    /// `dx = dy (s + x s (1 - s) 2u')`, `s = sigmoid(2u)`, `2u' = 2 sqrt(2/π) (1 + 3 * 0.044715 x²)`.
    fn backward_part<V>(dy: &[f32], x: &[f32], dx: &mut [f32]) {
        assert!(x.len() == dy.len() && dx.len() == dy.len());
        let (twice, cubic, slope, one) = (V::splat(TWICE), V::splat(CUBIC), V::splat(3.0 * CUBIC), V::splat(1.0));
        // SAFETY: all three hold dy.len() floats.
        unsafe {
            map!(V, dy.len(), [dy: dy.as_ptr(), x: x.as_ptr()] => [dx.as_mut_ptr()], {
                let square = x.mul(x);
                let s = twice.mul(x).mul(cubic.fma(square, one)).sigmoid();
                // Where s is 0 or 1 the second term is 0, even where the slope overflows.
                let turn = s.mul(one.sub(s));
                let inner = twice.mul(x).mul(slope.fma(square, one)).mul(turn).zero_where_below(turn, V::splat(f32::MIN_POSITIVE));
                [dy.mul(s.add(inner))]
            });
        }
    }
}

pub fn gelu_forward(x: &[f32], y: &mut [f32]) {
    let (n, y) = (y.len(), SharedMut::new(y));
    parallel_ranges(n, GRAIN, |r| {
        // SAFETY: ranges are disjoint.
        forward_part(&x[r.clone()], unsafe { y.slice(r.start, r.len()) });
    });
}

pub fn gelu_backward(dy: &[f32], x: &[f32], dx: &mut [f32]) {
    let dx = SharedMut::new(dx);
    parallel_ranges(dy.len(), GRAIN, |r| {
        // SAFETY: ranges are disjoint.
        backward_part(&dy[r.clone()], &x[r.clone()], unsafe { dx.slice(r.start, r.len()) });
    });
}

/// `x` → `y`, as long as `y` is.
#[napi]
pub fn gelu(x: Float32ArraySlice, mut y: Float32ArraySlice) -> Result<()> {
    guard(|| {
        let n = y.len();
        disjoint("gelu", &[place(&y)], &[place(&x)])?;
        gelu_forward(floats(&x, "x", n)?, floats_mut(&mut y, "y", n)?);
        Ok(())
    })
}

/// `dy`, `x` → `dx`, as long as `dy` is.
#[napi]
pub fn gelu_grad(dy: Float32ArraySlice, x: Float32ArraySlice, mut dx: Float32ArraySlice) -> Result<()> {
    guard(|| {
        let n = dy.len();
        disjoint("geluGrad", &[place(&dx)], &[place(&dy), place(&x)])?;
        gelu_backward(floats(&dy, "dy", n)?, floats(&x, "x", n)?, floats_mut(&mut dx, "dx", n)?);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_derivatives() {
        let x: Vec<f32> = (0..1001).map(|i| (i as f32 - 500.0) * 0.04).collect();
        let dy: Vec<f32> = (0..1001).map(|i| (i as f32 * 0.3).cos()).collect();
        let (mut y, mut dx) = (vec![0.0; 1001], vec![0.0; 1001]);
        gelu_forward(&x, &mut y);
        gelu_backward(&dy, &x, &mut dx);
        let gelu = |x: f64| {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
        };
        for i in 0..1001 {
            let at = f64::from(x[i]);
            let slope = (gelu(at + 1e-5) - gelu(at - 1e-5)) / 2e-5;
            for (actual, expected) in [(y[i], gelu(at)), (dx[i], f64::from(dy[i]) * slope)] {
                assert!(
                    (f64::from(actual) - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
                    "{at}: {actual} {expected}"
                );
            }
        }
    }
}
