//! Reordering of dimensions.

use crate::border::{disjoint, fail, floats, floats_mut, guard, ints, place, product};
use crate::pool::{parallel_ranges, SharedMut};
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Square tiles, so that neither side of a transposition runs out of cache lines.
const BLOCK: usize = 16;

/// `y` has dimension `perm[i]` of `x` as its dimension `i`; `perm` is a permutation.
pub fn permuted(x: &[f32], shape: &[usize], perm: &[usize], y: &mut [f32]) {
    let rank = shape.len();
    if y.is_empty() {
        return;
    }
    let mut strides = vec![1; rank];
    for i in (1..rank).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    // Dimensions that stay neighbours become one: (size, stride in x), outermost first.
    let mut dims: Vec<(usize, usize)> = Vec::new();
    for &axis in perm.iter().filter(|&&axis| shape[axis] != 1) {
        match dims.last_mut() {
            Some((size, stride)) if *stride == shape[axis] * strides[axis] => {
                (*size, *stride) = (*size * shape[axis], strides[axis])
            }
            _ => dims.push((shape[axis], strides[axis])),
        }
    }
    let Some((inner, inner_stride)) = dims.pop() else {
        return y.copy_from_slice(&x[..y.len()]);
    };
    let (rows, row_stride) = dims.pop().unwrap_or((1, 0));
    let plane = rows * inner;
    let planes = y.len() / plane;
    let start = |mut index: usize| {
        let mut at = 0;
        for &(size, stride) in dims.iter().rev() {
            at += index % size * stride;
            index /= size;
        }
        at
    };
    let y = SharedMut::new(y);
    let strips = rows.div_ceil(BLOCK);
    parallel_ranges(planes * strips, (16_384 / (BLOCK.min(rows) * inner)).max(1), |range| {
        for strip in range {
            let (from, first) = (start(strip / strips), strip % strips * BLOCK);
            let count = BLOCK.min(rows - first);
            // SAFETY: strips are disjoint.
            let out = unsafe { y.slice(strip / strips * plane + first * inner, count * inner) };
            let source = from + first * row_stride;
            if inner_stride == 1 {
                for (r, row) in out.chunks_exact_mut(inner).enumerate() {
                    row.copy_from_slice(&x[source + r * row_stride..][..inner]);
                }
                continue;
            }
            for column in (0..inner).step_by(BLOCK) {
                for r in 0..count {
                    for c in column..(column + BLOCK).min(inner) {
                        out[r * inner + c] = x[source + r * row_stride + c * inner_stride];
                    }
                }
            }
        }
    });
}

/// `x` of shape `shape` → `y` with its dimensions in the order `perm`.
#[napi]
pub fn permute(
    x: Float32ArraySlice,
    shape: Int32ArraySlice,
    perm: Int32ArraySlice,
    mut y: Float32ArraySlice,
) -> Result<()> {
    guard(|| {
        let rank = shape.len();
        let mut sorted: Vec<i32> = ints(&perm, "perm", rank)?.to_vec();
        sorted.sort_unstable();
        if perm.len() != rank
            || sorted.iter().enumerate().any(|(i, &axis)| axis != i as i32)
            || shape.iter().any(|&d| d < 0)
        {
            return Err(fail(format!(
                "permute: {:?} does not permute the dimensions {:?}",
                &perm[..],
                &shape[..]
            )));
        }
        let sizes: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
        let order: Vec<usize> = perm.iter().map(|&axis| axis as usize).collect();
        let n = product("permute", &sizes)?;
        disjoint("permute", &[place(&y)], &[place(&x), place(&shape), place(&perm)])?;
        permuted(floats(&x, "x", n)?, &sizes, &order, floats_mut(&mut y, "y", n)?);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permutation_of_four_dimensions() {
        let shapes = [[2, 3, 4, 5], [1, 17, 1, 33], [7, 1, 40, 1], [3, 18, 2, 19]];
        let perms = [
            [0, 1, 2, 3],
            [0, 2, 1, 3],
            [3, 2, 1, 0],
            [1, 0, 3, 2],
            [0, 1, 3, 2],
            [2, 0, 1, 3],
            [1, 2, 3, 0],
        ];
        for shape in shapes {
            let x: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32).collect();
            for perm in perms {
                let mut y = vec![-1.0; x.len()];
                permuted(&x, &shape, &perm, &mut y);
                let out = perm.map(|axis| shape[axis]);
                for (i, value) in y.iter().enumerate() {
                    let mut rest = i;
                    let mut index = [0; 4];
                    for d in (0..4).rev() {
                        index[perm[d]] = rest % out[d];
                        rest /= out[d];
                    }
                    let at = ((index[0] * shape[1] + index[1]) * shape[2] + index[2]) * shape[3] + index[3];
                    assert_eq!(*value, x[at], "{shape:?} {perm:?}");
                }
            }
        }
    }
}
