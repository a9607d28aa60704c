//! Sums and maxima. Long sums go in blocks of a fixed size whose results are added in float64 in the order of blocks.

use crate::border::{disjoint, fail, floats, floats_mut, guard, place, product};
use crate::pool::{parallel_for, parallel_ranges, SharedMut};
use crate::vector::GRAIN;
use crate::{fold, map, vectorised};
use napi::bindgen_prelude::*;
use napi_derive::napi;

vectorised! {
    fn sum_part<V>(x: &[f32]) -> f32 {
        // SAFETY: x holds x.len() floats.
        unsafe { fold!(V, x.len(), [x: x.as_ptr()], sum, sum.add(x)) }
    }
}

vectorised! {
    fn square_part<V>(x: &[f32]) -> f64 {
        let mut lanes = [0.0f64; 16];
        let chunks = x.chunks_exact(16);
        let rest = chunks.remainder();
        for chunk in chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(x) * f64::from(x);
            }
        }
        let mut sum: f64 = lanes.iter().sum();
        for &x in rest {
            sum += f64::from(x) * f64::from(x);
        }
        sum
    }
}

vectorised! {
    fn max_part<V>(x: &[f32]) -> f32 {
        // A NaN anywhere is the answer, as in tfjs.
        let mut top = f32::NEG_INFINITY;
        let mut nan = false;
        for &x in x {
            nan |= x.is_nan();
            if x > top {
                top = x;
            }
        }
        if nan { f32::NAN } else { top }
    }
}

vectorised! {
    /// Adds whole rows, `width` apart, to `out`, first row first.
    fn add_rows<V>(x: &[f32], width: usize, start: usize, out: &mut [f32]) {
        let n = out.len();
        let rows = x.len() / width;
        assert!(start + n <= width);
        out.fill(0.0);
        for row in 0..rows {
            let part = &x[row * width + start..][..n];
            // SAFETY: both hold n floats; out is input and output at the same place.
            unsafe { map!(V, n, [x: part.as_ptr(), sum: out.as_ptr()] => [out.as_mut_ptr()], [sum.add(x)]) };
        }
    }
}

fn blocks<T: Default + Clone + Send>(x: &[f32], part: impl Fn(&[f32]) -> T + Sync) -> Vec<T> {
    let count = x.len().div_ceil(GRAIN);
    let mut partials = vec![T::default(); count];
    let shared = SharedMut::new(&mut partials);
    parallel_for(count, |block| {
        // SAFETY: each block has a place of its own.
        let place = unsafe { shared.slice(block, 1) };
        place[0] = part(&x[block * GRAIN..((block + 1) * GRAIN).min(x.len())]);
    });
    partials
}

pub fn sum(x: &[f32]) -> f64 {
    blocks(x, sum_part).iter().map(|&part| f64::from(part)).sum()
}

pub fn squared_norm(x: &[f32]) -> f64 {
    blocks(x, square_part).iter().sum()
}

/// One number for each row of `width`.
fn each_row(x: &[f32], width: usize, out: &mut [f32], f: impl Fn(&[f32]) -> f32 + Sync) {
    let rows = out.len();
    let out = SharedMut::new(out);
    parallel_ranges(rows, (GRAIN / width.max(1)).max(1), |range| {
        // SAFETY: ranges are disjoint.
        let part = unsafe { out.slice(range.start, range.len()) };
        for (row, value) in range.zip(part) {
            *value = f(&x[row * width..(row + 1) * width]);
        }
    });
}

/// `x [rows, width]` → `out [width]`, the sum over rows in order.
pub fn column_sums(x: &[f32], width: usize, out: &mut [f32]) {
    let out = SharedMut::new(out);
    parallel_ranges(width, 128, |range| {
        // SAFETY: ranges are disjoint.
        add_rows(x, width, range.start, unsafe { out.slice(range.start, range.len()) });
    });
}

/// The sum of all of `x`.
#[napi]
pub fn sum_all(x: Float32ArraySlice) -> Result<f64> {
    guard(|| Ok(sum(&x)))
}

/// Σ x², in float64.
#[napi]
pub fn sum_squares(x: Float32ArraySlice) -> Result<f64> {
    guard(|| Ok(squared_norm(&x)))
}

/// `x [rows, width]` → `out [rows]`: the sums (`kind` 0), means (1) or maxima (2) of rows.
#[napi]
pub fn reduce_rows(
    x: Float32ArraySlice,
    mut out: Float32ArraySlice,
    rows: u32,
    width: u32,
    kind: u32,
) -> Result<()> {
    guard(|| {
        let (rows, width) = (rows as usize, width as usize);
        let n = product("reduceRows", &[rows, width])?;
        disjoint("reduceRows", &[place(&out)], &[place(&x)])?;
        let (x, out) = (floats(&x, "x", n)?, floats_mut(&mut out, "out", rows)?);
        let long = width > 4 * GRAIN;
        match (kind, long) {
            (0, false) => each_row(x, width, out, sum_part),
            (1, false) => each_row(x, width, out, |row| sum_part(row) / width as f32),
            (2, _) => each_row(x, width, out, max_part),
            (0 | 1, true) => {
                let divisor = if kind == 1 { width as f64 } else { 1.0 };
                for (row, value) in out.iter_mut().enumerate() {
                    *value = (sum(&x[row * width..(row + 1) * width]) / divisor) as f32;
                }
            }
            _ => return Err(fail(format!("reduceRows: unknown kind {kind}"))),
        }
        Ok(())
    })
}

/// `x [rows, width]` → `out [width]`: the sums over rows.
#[napi]
pub fn sum_columns(x: Float32ArraySlice, mut out: Float32ArraySlice, rows: u32, width: u32) -> Result<()> {
    guard(|| {
        let (rows, width) = (rows as usize, width as usize);
        let n = product("sumColumns", &[rows, width])?;
        disjoint("sumColumns", &[place(&out)], &[place(&x)])?;
        column_sums(floats(&x, "x", n)?, width, floats_mut(&mut out, "out", width)?);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_agree_with_float64() {
        for n in [0, 1, 7, 100, 16_384, 70_001] {
            let x: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
            let exact: f64 = x.iter().map(|&v| f64::from(v)).sum();
            let squares: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            assert!((sum(&x) - exact).abs() <= 1e-6 * (1.0 + n as f64).sqrt() * 10.0);
            assert!((squared_norm(&x) - squares).abs() <= 1e-12 * (1.0 + squares));
        }
        let x: Vec<f32> = (0..30 * 301).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut columns = vec![5.0; 301];
        column_sums(&x, 301, &mut columns);
        for (j, value) in columns.iter().enumerate() {
            let exact: f64 = (0..30).map(|r| f64::from(x[r * 301 + j])).sum();
            assert!((f64::from(*value) - exact).abs() < 1e-5);
        }
        assert!(max_part(&[1.0, f32::NAN, 3.0]).is_nan());
        assert_eq!(max_part(&[1.0, 9.0, 3.0]), 9.0);
    }
}
