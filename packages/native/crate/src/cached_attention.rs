//! Attention of one new token a row over ranges of a cache of keys and values: what decoding does.
//!
//! A row reads a range that many rows may share (a prompt) and a range of its own. Keys are taken in tiles with a running softmax; a score is a sum over the
//! head in vectors, in one order, and tiles count from the first key that is seen. So a row's result depends on its own ranges alone.

use crate::attention::{heads, Heads};
use crate::border::{disjoint, fail, floats, floats_mut, guard, ints, place, product};
use crate::pool::{parallel_for, SharedMut};
use crate::vector::Vector;
use crate::{fold, vectorised};
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Keys a tile.
const TILE: usize = 128;

/// The rows of the cache that a query sees: `prefix`, then `own`.
#[derive(Clone, Copy)]
pub struct Ranges {
    prefix: (usize, usize),
    own: (usize, usize),
}

impl Ranges {
    /// From `[B, 4]` numbers: prefix start and length, own start and length. An error where a range leaves the cache, or a row sees nothing.
    pub fn parse(kernel: &str, numbers: &[i32], capacity: usize, window: usize) -> Result<Vec<Self>> {
        let mut rows = Vec::with_capacity(numbers.len() / 4);
        for (b, range) in numbers.chunks_exact(4).enumerate() {
            let fine = range.iter().all(|&x| x >= 0)
                && [0, 2].iter().all(|&i| range[i] as usize + range[i + 1] as usize <= capacity)
                && (range[1] > 0 || range[3] > 0);
            if !fine {
                return Err(fail(format!(
                    "{kernel}: row {b}: ranges {range:?} in a cache of {capacity} rows"
                )));
            }
            let at = |i: usize| (range[i] as usize, range[i + 1] as usize);
            rows.push(Self { prefix: at(0), own: at(2) }.windowed(window));
        }
        Ok(rows)
    }

    /// Leaves the last `window` rows; 0 leaves all.
    fn windowed(self, window: usize) -> Self {
        let length = self.prefix.1 + self.own.1;
        let skip = if window == 0 { 0 } else { length.saturating_sub(window) };
        let of_prefix = skip.min(self.prefix.1);
        let of_own = skip - of_prefix;
        Self {
            prefix: (self.prefix.0 + of_prefix, self.prefix.1 - of_prefix),
            own: (self.own.0 + of_own, self.own.1 - of_own),
        }
    }
    #[inline(always)]
    fn row(&self, position: usize) -> usize {
        if position < self.prefix.1 {
            self.prefix.0 + position
        } else {
            self.own.0 + position - self.prefix.1
        }
    }
    fn len(&self) -> usize {
        self.prefix.1 + self.own.1
    }
}

/// `out[c ..] += Σ weights[j] * values[rows[j] + c ..]` for N vectors, in the order of `j`.
///
/// # Safety
/// N vectors from `c` on must lie in `out`, and in `values` from each row on.
#[inline(always)]
unsafe fn add_weighted<V: Vector, const N: usize>(
    weights: &[f32],
    values: &[f32],
    rows: &[usize],
    c: usize,
    out: &mut [f32],
) {
    let mut sums = [V::splat(0.0); N];
    // SAFETY: the caller's promise.
    unsafe {
        for (n, sum) in sums.iter_mut().enumerate() {
            *sum = V::load(out.as_ptr().add(c + n * V::LANES));
        }
        for (weight, row) in weights.iter().zip(rows) {
            let (weight, value) = (V::splat(*weight), values.as_ptr().add(row + c));
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = weight.fma(V::load(value.add(n * V::LANES)), *sum);
            }
        }
        for (n, sum) in sums.iter().enumerate() {
            sum.store(out.as_mut_ptr().add(c + n * V::LANES));
        }
    }
}

vectorised! {
    /// The query heads `head .. head + group` of one row, which share a key head. `q` and `o` are `[group, dim]`.
    fn attend<V>(q: &[f32], keys: &[f32], values: &[f32], ranges: &Ranges, shape: &Heads, kv_head: usize, o: &mut [f32]) {
        let (dim, width) = (shape.dim, shape.kv_heads * shape.dim);
        let group = q.len() / dim;
        let whole = dim / V::LANES * V::LANES;
        o.fill(0.0);
        let mut tops = vec![f32::NEG_INFINITY; group];
        let mut totals = vec![0.0f32; group];
        let mut scores = vec![0.0f32; group * TILE];
        let mut rows = [0usize; TILE];
        for from in (0..ranges.len()).step_by(TILE) {
            let count = TILE.min(ranges.len() - from);
            for (j, row) in rows[..count].iter_mut().enumerate() {
                *row = ranges.row(from + j) * width + kv_head * dim;
                assert!(*row + dim <= values.len());
                let key = &keys[*row..*row + dim];
                for g in 0..group {
                    // SAFETY: both hold dim floats.
                    scores[g * TILE + j] = unsafe { fold!(V, dim, [a: q[g * dim..(g + 1) * dim].as_ptr(), b: key.as_ptr()], sum, a.fma(b, sum)) } * shape.scale;
                }
            }
            for g in 0..group {
                let row = &mut scores[g * TILE..(g + 1) * TILE];
                row[count..].fill(f32::NEG_INFINITY);
                let top = row[..count].iter().fold(tops[g], |a, &b| if a > b { a } else { b });
                let shift = V::splat(top);
                let mut total = V::splat(0.0);
                for c in (0..TILE).step_by(V::LANES) {
                    // SAFETY: the row holds TILE floats, a multiple of every vector's width.
                    unsafe {
                        let p = row.as_mut_ptr().add(c);
                        let e = V::load(p).sub(shift).exp();
                        e.store(p);
                        total = total.add(e);
                    }
                }
                let decay = V::splat(tops[g] - top).exp().lanes()[0];
                totals[g] = totals[g] * decay + total.sum();
                tops[g] = top;
                if decay != 1.0 {
                    for value in &mut o[g * dim..(g + 1) * dim] {
                        *value *= decay;
                    }
                }
            }
            for g in 0..group {
                let weights = &scores[g * TILE..g * TILE + count];
                let out = &mut o[g * dim..(g + 1) * dim];
                let mut c = 0;
                while c < whole {
                    let n = if (whole - c) / V::LANES >= 4 { 4 } else { 1 };
                    // SAFETY: n vectors from c on lie inside of the head, in `out` and in every row of values (checked where the rows were found).
                    unsafe {
                        if n == 4 {
                            add_weighted::<V, 4>(weights, values, &rows[..count], c, out);
                        } else {
                            add_weighted::<V, 1>(weights, values, &rows[..count], c, out);
                        }
                    }
                    c += n * V::LANES;
                }
                for c in whole..dim {
                    for (weight, row) in weights.iter().zip(&rows) {
                        out[c] += weight * values[row + c];
                    }
                }
            }
        }
        for g in 0..group {
            let inverse = 1.0 / totals[g];
            for value in &mut o[g * dim..(g + 1) * dim] {
                *value *= inverse;
            }
        }
    }
}

/// `q [B, heads, dim]` over the ranges of each row → `o [B, heads, dim]`.
pub fn attend_cached(
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    ranges: &[Ranges],
    shape: &Heads,
    o: &mut [f32],
) {
    let piece = shape.heads / shape.kv_heads * shape.dim;
    let o = SharedMut::new(o);
    parallel_for(ranges.len() * shape.kv_heads, |task| {
        let (row, kv_head) = (task / shape.kv_heads, task % shape.kv_heads);
        // SAFETY: each task has a piece of its own.
        attend(&q[task * piece..(task + 1) * piece], keys, values, &ranges[row], shape, kv_head, unsafe {
            o.slice(task * piece, piece)
        });
    });
}

/// `q [B, heads, dim]`, `cacheK`, `cacheV [capacity, kvHeads * dim]`, `ranges [B, 4]` (prefix start and length, own start and length) → `o [B, heads, dim]`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn cached_attention(
    q: Float32ArraySlice,
    cache_k: Float32ArraySlice,
    cache_v: Float32ArraySlice,
    ranges: Int32ArraySlice,
    mut o: Float32ArraySlice,
    query_heads: u32,
    kv_heads: u32,
    dim: u32,
    scale: f64,
    window: u32,
) -> Result<()> {
    guard(|| {
        let shape = heads(query_heads, kv_heads, dim, scale, window)?;
        let batch = ranges.len() / 4;
        let n = product("cachedAttention", &[batch, shape.heads, shape.dim])?;
        let width = product("cachedAttention", &[shape.kv_heads, shape.dim])?;
        let capacity = (cache_k.len() / width).min(cache_v.len() / width);
        disjoint(
            "cachedAttention",
            &[place(&o)],
            &[place(&q), place(&cache_k), place(&cache_v), place(&ranges)],
        )?;
        let rows =
            Ranges::parse("cachedAttention", ints(&ranges, "ranges", batch * 4)?, capacity, shape.window)?;
        let o = floats_mut(&mut o, "o", n)?;
        attend_cached(floats(&q, "q", n)?, &cache_k, &cache_v, &rows, &shape, o);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, seed: u32) -> Vec<f32> {
        (0..n).map(|i| crate::sampling::uniform([seed, 5], i as u32, 0) as f32 * 2.0 - 1.0).collect()
    }

    #[test]
    fn agrees_with_whole_rows() {
        for (heads, kv_heads, dim, window) in [(4, 2, 8, 0), (3, 1, 5, 7), (9, 3, 64, 0), (2, 2, 17, 130)] {
            let shape = Heads { heads, kv_heads, dim, scale: 0.6, window };
            let width = kv_heads * dim;
            let (keys, values, q) = (wave(400 * width, 1), wave(400 * width, 2), wave(3 * heads * dim, 3));
            let ranges: Vec<Ranges> = [((10, 150), (300, 20)), ((0, 0), (399, 1)), ((10, 150), (200, 0))]
                .iter()
                .map(|&(prefix, own)| Ranges { prefix, own }.windowed(window))
                .collect();
            let mut o = vec![9.0; q.len()];
            attend_cached(&q, &keys, &values, &ranges, &shape, &mut o);
            for (b, range) in ranges.iter().enumerate() {
                for head in 0..heads {
                    let at = (b * heads + head) * dim;
                    let place = |j: usize| range.row(j) * width + head / (heads / kv_heads) * dim;
                    let scores: Vec<f64> = (0..range.len())
                        .map(|j| {
                            (0..dim)
                                .map(|d| f64::from(q[at + d]) * f64::from(keys[place(j) + d]))
                                .sum::<f64>()
                                * 0.6
                        })
                        .collect();
                    let total: f64 = scores.iter().map(|s| s.exp()).sum();
                    for d in 0..dim {
                        let expected: f64 = scores
                            .iter()
                            .enumerate()
                            .map(|(j, s)| s.exp() / total * f64::from(values[place(j) + d]))
                            .sum();
                        assert!((f64::from(o[at + d]) - expected).abs() < 2e-6);
                    }
                }
                let mut alone = vec![0.0; heads * dim];
                attend_cached(
                    &q[b * heads * dim..(b + 1) * heads * dim],
                    &keys,
                    &values,
                    &ranges[b..b + 1],
                    &shape,
                    &mut alone,
                );
                assert_eq!(alone, o[b * heads * dim..(b + 1) * heads * dim]);
            }
        }
    }
}
