//! RMSNorm and LayerNorm over the last dimension, forward and backward.

use crate::border::{disjoint, fail, floats, floats_mut, guard, place, product};
use crate::memory::Floats;
use crate::pool::{parallel_ranges, parallel_runs, SharedMut};
use crate::vector::Vector;
use crate::{fold, map, vectorised};
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Rows that one partial sum of a weight's gradient covers. A constant, so that the order of summation depends on the number of rows alone.
const ROWS_PER_PARTIAL: usize = 32;

/// Rows handed out at a time in the forward pass.
fn grain(width: usize) -> usize {
    (16_384 / width.max(1)).max(1)
}

vectorised! {
    /// `y = x * inv * weight` for whole rows, `inv = 1 / sqrt(mean(x²) + eps)`.
    pub fn rms_rows<V>(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
        let d = weight.len();
        assert_eq!(x.len(), y.len());
        for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
            // SAFETY: x, weight and y hold d floats each.
            unsafe {
                let squares = fold!(V, d, [x: x.as_ptr()], sum, x.fma(x, sum));
                let inv = V::splat(1.0 / (squares / d as f32 + eps).sqrt());
                map!(V, d, [x: x.as_ptr(), w: weight.as_ptr()] => [y.as_mut_ptr()], [x.mul(inv).mul(w)]);
            }
        }
    }
}

vectorised! {
    /// `dx` for whole rows, overwritten or added to, and their part of `dweight` (overwritten).
    fn rms_grad_rows<V>(dy: &[f32], x: &[f32], weight: &[f32], eps: f32, dx: &mut [f32], accumulate: bool, dweight: &mut [f32]) {
        let d = weight.len();
        assert!(dy.len() == x.len() && dx.len() == x.len() && dweight.len() == d);
        dweight.fill(0.0);
        for ((dy, x), dx) in dy.chunks_exact(d).zip(x.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
            // SAFETY: every slice here holds d floats; dweight, and dx where it is added to, are input and output at the same place.
            unsafe {
                let squares = fold!(V, d, [x: x.as_ptr()], sum, x.fma(x, sum));
                let dot = fold!(V, d, [dy: dy.as_ptr(), w: weight.as_ptr(), x: x.as_ptr()], sum, dy.mul(w).fma(x, sum));
                let scale = 1.0 / (squares / d as f32 + eps).sqrt();
                let (inv, shrink) = (V::splat(scale), V::splat(-scale * scale * scale * dot / d as f32));
                if accumulate {
                    map!(V, d, [dy: dy.as_ptr(), x: x.as_ptr(), w: weight.as_ptr(), sum: dweight.as_ptr(), old: dx.as_ptr()] => [dx.as_mut_ptr(), dweight.as_mut_ptr()], {
                        [old.add(dy.mul(w).fma(inv, shrink.mul(x))), dy.mul(x).fma(inv, sum)]
                    });
                } else {
                    map!(V, d, [dy: dy.as_ptr(), x: x.as_ptr(), w: weight.as_ptr(), sum: dweight.as_ptr()] => [dx.as_mut_ptr(), dweight.as_mut_ptr()], {
                        [dy.mul(w).fma(inv, shrink.mul(x)), dy.mul(x).fma(inv, sum)]
                    });
                }
            }
        }
    }
}

/// Mean and `1 / sqrt(var + eps)` of a row of `d` floats.
///
/// # Safety
/// `x` must be readable for `d` floats.
#[inline(always)]
unsafe fn moments<V: Vector>(x: *const f32, d: usize, eps: f32) -> (f32, f32) {
    // SAFETY: the caller's promise.
    let mean = unsafe { fold!(V, d, [x: x], sum, sum.add(x)) } / d as f32;
    let shift = V::splat(mean);
    let whole = d / V::LANES * V::LANES;
    // SAFETY: whole <= d. The rest goes one by one: padding would add mean² to the sum.
    let mut squares = unsafe {
        fold!(V, whole, [x: x], sum, {
            let c = x.sub(shift);
            c.fma(c, sum)
        })
    };
    for i in whole..d {
        // SAFETY: i < d.
        let c = unsafe { *x.add(i) } - mean;
        squares += c * c;
    }
    (mean, 1.0 / (squares / d as f32 + eps).sqrt())
}

vectorised! {
    /// `y = (x - mean) * inv * weight + bias` for whole rows.
    fn layer_rows<V>(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
        let d = weight.len();
        assert!(x.len() == y.len() && bias.len() == d);
        for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
            // SAFETY: every slice here holds d floats.
            unsafe {
                let (mean, inv) = moments::<V>(x.as_ptr(), d, eps);
                let (mean, inv) = (V::splat(mean), V::splat(inv));
                map!(V, d, [x: x.as_ptr(), w: weight.as_ptr(), b: bias.as_ptr()] => [y.as_mut_ptr()], [x.sub(mean).mul(inv).fma(w, b)]);
            }
        }
    }
}

vectorised! {
    /// `dx` for whole rows, and their part of `dweight` and `dbias` (overwritten).
    fn layer_grad_rows<V>(dy: &[f32], x: &[f32], weight: &[f32], eps: f32, dx: &mut [f32], dweight: &mut [f32], dbias: &mut [f32]) {
        let d = weight.len();
        assert!(dy.len() == x.len() && dx.len() == x.len() && dweight.len() == d && dbias.len() == d);
        dweight.fill(0.0);
        dbias.fill(0.0);
        for ((dy, x), dx) in dy.chunks_exact(d).zip(x.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
            // SAFETY: every slice here holds d floats; the sums are inputs and outputs at the same place.
            unsafe {
                let (mean, inv) = moments::<V>(x.as_ptr(), d, eps);
                let (mean, inv) = (V::splat(mean), V::splat(inv));
                let g = fold!(V, d, [dy: dy.as_ptr(), w: weight.as_ptr()], sum, dy.fma(w, sum)) / d as f32;
                let gx = fold!(V, d, [dy: dy.as_ptr(), w: weight.as_ptr(), x: x.as_ptr()], sum, dy.mul(w).fma(x.sub(mean).mul(inv), sum)) / d as f32;
                let (g, gx) = (V::splat(g), V::splat(-gx));
                map!(V, d, [dy: dy.as_ptr(), x: x.as_ptr(), w: weight.as_ptr(), dw: dweight.as_ptr(), db: dbias.as_ptr()] => [dx.as_mut_ptr(), dweight.as_mut_ptr(), dbias.as_mut_ptr()], {
                    let hat = x.sub(mean).mul(inv);
                    [hat.fma(gx, dy.mul(w).sub(g)).mul(inv), dy.fma(hat, dw), db.add(dy)]
                });
            }
        }
    }
}

pub fn rms_norm_forward(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let d = weight.len();
    let y = SharedMut::new(y);
    parallel_ranges(x.len() / d, grain(d), |rows| {
        let (start, len) = (rows.start * d, rows.len() * d);
        // SAFETY: ranges are disjoint.
        rms_rows(&x[start..start + len], weight, eps, unsafe { y.slice(start, len) });
    });
}

pub fn layer_norm_forward(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    let d = weight.len();
    let y = SharedMut::new(y);
    parallel_ranges(x.len() / d, grain(d), |rows| {
        let (start, len) = (rows.start * d, rows.len() * d);
        // SAFETY: ranges are disjoint.
        layer_rows(&x[start..start + len], weight, bias, eps, unsafe { y.slice(start, len) });
    });
}

/// Runs `rows(start, len, dx, partial)` over blocks of rows, then adds the partial sums up in the order of blocks.
/// `sums` holds one or two vectors of `d` floats, each `partial` as many.
fn backward(
    total: usize,
    d: usize,
    dx: &mut [f32],
    sums: &mut [&mut [f32]],
    rows: impl Fn(usize, usize, &mut [f32], &mut [f32]) + Sync,
) {
    let blocks = total.div_ceil(ROWS_PER_PARTIAL);
    let width = sums.len() * d;
    let mut partials = Floats::uninit(blocks * width);
    let shared = SharedMut::new(&mut partials);
    let dx = SharedMut::new(dx);
    parallel_runs(blocks, |block| {
        let start = block * ROWS_PER_PARTIAL;
        let count = ROWS_PER_PARTIAL.min(total - start);
        // SAFETY: blocks are disjoint in both.
        let (dx, partial) = unsafe { (dx.slice(start * d, count * d), shared.slice(block * width, width)) };
        rows(start * d, count * d, dx, partial);
    });
    for (k, sum) in sums.iter_mut().enumerate() {
        sum.fill(0.0);
        for block in 0..blocks {
            let partial = &partials[block * width + k * d..][..d];
            for (a, b) in sum.iter_mut().zip(partial) {
                *a += b;
            }
        }
    }
}

pub fn rms_norm_backward(
    dy: &[f32],
    x: &[f32],
    weight: &[f32],
    eps: f32,
    (dx, accumulate): (&mut [f32], bool),
    dweight: &mut [f32],
) {
    let d = weight.len();
    backward(x.len() / d, d, dx, &mut [dweight], |start, len, dx, partial| {
        rms_grad_rows(&dy[start..start + len], &x[start..start + len], weight, eps, dx, accumulate, partial);
    });
}

pub fn layer_norm_backward(
    dy: &[f32],
    x: &[f32],
    weight: &[f32],
    eps: f32,
    dx: &mut [f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    let d = weight.len();
    backward(x.len() / d, d, dx, &mut [dweight, dbias], |start, len, dx, partial| {
        let (dweight, dbias) = partial.split_at_mut(d);
        layer_grad_rows(&dy[start..start + len], &x[start..start + len], weight, eps, dx, dweight, dbias);
    });
}

/// The number of floats in `rows` rows of `d`; a width of 0 is an error.
fn size(kernel: &str, rows: u32, d: u32) -> Result<(usize, usize)> {
    if d == 0 {
        return Err(fail(format!("{kernel}: rows of width 0")));
    }
    Ok((product(kernel, &[rows as usize, d as usize])?, d as usize))
}

/// `x [rows, d]`, `weight [d]` → `y [rows, d]`.
#[napi]
pub fn rms_norm(
    x: Float32ArraySlice,
    weight: Float32ArraySlice,
    mut y: Float32ArraySlice,
    rows: u32,
    d: u32,
    eps: f64,
) -> Result<()> {
    guard(|| {
        let (n, d) = size("rmsNorm", rows, d)?;
        disjoint("rmsNorm", &[place(&y)], &[place(&x), place(&weight)])?;
        rms_norm_forward(
            floats(&x, "x", n)?,
            floats(&weight, "weight", d)?,
            eps as f32,
            floats_mut(&mut y, "y", n)?,
        );
        Ok(())
    })
}

/// `dy [rows, d]`, `x [rows, d]`, `weight [d]` → `dx [rows, d]`, overwritten or added to, `dweight [d]`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn rms_norm_grad(
    dy: Float32ArraySlice,
    x: Float32ArraySlice,
    weight: Float32ArraySlice,
    mut dx: Float32ArraySlice,
    mut dweight: Float32ArraySlice,
    rows: u32,
    d: u32,
    eps: f64,
    accumulate: bool,
) -> Result<()> {
    guard(|| {
        let (n, d) = size("rmsNormGrad", rows, d)?;
        disjoint("rmsNormGrad", &[place(&dx), place(&dweight)], &[place(&dy), place(&x), place(&weight)])?;
        let (dx, dweight) = (floats_mut(&mut dx, "dx", n)?, floats_mut(&mut dweight, "dweight", d)?);
        rms_norm_backward(
            floats(&dy, "dy", n)?,
            floats(&x, "x", n)?,
            floats(&weight, "weight", d)?,
            eps as f32,
            (dx, accumulate),
            dweight,
        );
        Ok(())
    })
}

/// `x [rows, d]`, `weight [d]`, `bias [d]` → `y [rows, d]`.
#[napi]
pub fn layer_norm(
    x: Float32ArraySlice,
    weight: Float32ArraySlice,
    bias: Float32ArraySlice,
    mut y: Float32ArraySlice,
    rows: u32,
    d: u32,
    eps: f64,
) -> Result<()> {
    guard(|| {
        let (n, d) = size("layerNorm", rows, d)?;
        disjoint("layerNorm", &[place(&y)], &[place(&x), place(&weight), place(&bias)])?;
        let y = floats_mut(&mut y, "y", n)?;
        layer_norm_forward(
            floats(&x, "x", n)?,
            floats(&weight, "weight", d)?,
            floats(&bias, "bias", d)?,
            eps as f32,
            y,
        );
        Ok(())
    })
}

/// `dy [rows, d]`, `x [rows, d]`, `weight [d]` → `dx [rows, d]`, `dweight [d]`, `dbias [d]`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn layer_norm_grad(
    dy: Float32ArraySlice,
    x: Float32ArraySlice,
    weight: Float32ArraySlice,
    mut dx: Float32ArraySlice,
    mut dweight: Float32ArraySlice,
    mut dbias: Float32ArraySlice,
    rows: u32,
    d: u32,
    eps: f64,
) -> Result<()> {
    guard(|| {
        let (n, d) = size("layerNormGrad", rows, d)?;
        disjoint(
            "layerNormGrad",
            &[place(&dx), place(&dweight), place(&dbias)],
            &[place(&dy), place(&x), place(&weight)],
        )?;
        let (dx, dweight, dbias) = (
            floats_mut(&mut dx, "dx", n)?,
            floats_mut(&mut dweight, "dweight", d)?,
            floats_mut(&mut dbias, "dbias", d)?,
        );
        layer_norm_backward(
            floats(&dy, "dy", n)?,
            floats(&x, "x", n)?,
            floats(&weight, "weight", d)?,
            eps as f32,
            dx,
            dweight,
            dbias,
        );
        Ok(())
    })
}

#[cfg(test)]
mod tests;
