//! Attention of one new token a row over ranges of a cache of keys and values: what decoding does.
//!
//! A row reads a range that many rows may share (a prompt) and a range of its own. It is computed as training computes the last query of the same context, to the bit:
//! a sampler's log-probs and a trainer's differ by nothing that comes from here.

use crate::attention::{forward_last, heads, write_rows, Format, Span, Stored};
use crate::border::{disjoint, fail, floats, floats_mut, guard, ints, place, product};
use crate::embedding::check_ids;
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// From `[B, 4]` numbers: prefix start and length, own start and length. An error where a range leaves the cache, or a row sees nothing.
pub fn parse_ranges(kernel: &str, numbers: &[i32], capacity: usize) -> Result<Vec<Span>> {
    let mut rows = Vec::with_capacity(numbers.len() / 4);
    for (b, range) in numbers.chunks_exact(4).enumerate() {
        let fine = range.iter().all(|&x| x >= 0)
            && [0, 2].iter().all(|&i| range[i] as usize + range[i + 1] as usize <= capacity)
            && (range[1] > 0 || range[3] > 0);
        if !fine {
            return Err(fail(format!("{kernel}: row {b}: ranges {range:?} in a cache of {capacity} rows")));
        }
        let at = |i: usize| [range[i] as usize, range[i + 1] as usize];
        rows.push(Span::of_ranges(at(0), at(2)));
    }
    Ok(rows)
}

/// `q [B, heads, dim]`, `cacheK`, `cacheV [capacity, kvHeads * dim]` in a format (see `Format::parse`), `ranges [B, 4]` (prefix start and length, own start and length) → `o [B, heads, dim]`.
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
    format: String,
) -> Result<()> {
    guard(|| {
        let shape = heads(query_heads, kv_heads, dim, scale, window)?;
        let format = Format::parse(&format)?;
        let batch = ranges.len() / 4;
        let n = product("cachedAttention", &[batch, shape.heads, shape.dim])?;
        let width = product("cachedAttention", &[shape.kv_heads, shape.dim])?;
        let row = format.floats_of(width, shape.dim)?;
        let capacity = (cache_k.len() / row).min(cache_v.len() / row);
        disjoint(
            "cachedAttention",
            &[place(&o)],
            &[place(&q), place(&cache_k), place(&cache_v), place(&ranges)],
        )?;
        let rows = parse_ranges("cachedAttention", ints(&ranges, "ranges", batch * 4)?, capacity)?;
        let o = floats_mut(&mut o, "o", n)?;
        let (k, v) = (Stored::new(&cache_k, format), Stored::new(&cache_v, format));
        forward_last(floats(&q, "q", n)?, k, v, &shape, &rows, o, None);
        Ok(())
    })
}

/// Rows `values [B, width]` of keys or values, to the places `rows [B]` of a cache in a format; a later row wins.
#[napi]
pub fn cache_write(
    mut cache: Float32ArraySlice,
    values: Float32ArraySlice,
    rows: Int32ArraySlice,
    width: u32,
    format: String,
) -> Result<()> {
    guard(|| {
        let format = Format::parse(&format)?;
        let width = width as usize;
        let row = format.floats_of(width, width)?;
        let capacity = cache.len() / row.max(1);
        disjoint("cacheWrite", &[place(&cache)], &[place(&values), place(&rows)])?;
        check_ids("cacheWrite", &rows, capacity)?;
        let values = floats(&values, "values", product("cacheWrite", &[rows.len(), width])?)?;
        write_rows(floats_mut(&mut cache, "cache", capacity * row)?, format, values, width, &rows);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{forward, spans, Heads, Left};
    use crate::pool::SharedMut;

    fn wave(n: usize, seed: u32) -> Vec<f32> {
        (0..n).map(|i| crate::sampling::uniform([seed, 5], i as u32, 0) as f32 * 2.0 - 1.0).collect()
    }

    /// The rows of a cache that a query sees, in order.
    fn rows_of(&[prefix, prefix_len, own, own_len]: &[i32; 4], window: usize) -> Vec<usize> {
        let all: Vec<usize> =
            (prefix..prefix + prefix_len).chain(own..own + own_len).map(|row| row as usize).collect();
        let skip = if window == 0 { 0 } else { all.len().saturating_sub(window) };
        all[skip..].to_vec()
    }

    #[test]
    fn agrees_with_whole_rows() {
        for (heads, kv_heads, dim, window) in [(4, 2, 8, 0), (3, 1, 5, 7), (9, 3, 64, 0), (2, 2, 17, 130)] {
            let shape = Heads { heads, kv_heads, dim, scale: 0.6, window };
            let width = kv_heads * dim;
            let (keys, values, q) = (wave(400 * width, 1), wave(400 * width, 2), wave(3 * heads * dim, 3));
            let ranges = [[10, 150, 300, 20], [0, 0, 399, 1], [10, 150, 200, 0]];
            let parsed = parse_ranges("test", ranges.as_flattened(), 400).unwrap();
            let mut o = vec![9.0; q.len()];
            forward_last(&q, Stored::Floats(&keys), Stored::Floats(&values), &shape, &parsed, &mut o, None);
            for (b, range) in ranges.iter().enumerate() {
                let rows = rows_of(range, window);
                for head in 0..heads {
                    let at = (b * heads + head) * dim;
                    let place = |j: usize| rows[j] * width + head / (heads / kv_heads) * dim;
                    let scores: Vec<f64> = (0..rows.len())
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
                let one = b * heads * dim..(b + 1) * heads * dim;
                let mut alone = vec![0.0; heads * dim];
                let (keys, values) = (Stored::Floats(&keys), Stored::Floats(&values));
                forward_last(&q[one.clone()], keys, values, &shape, &parsed[b..b + 1], &mut alone, None);
                assert_eq!(alone, o[one]);
            }
        }
    }

    #[test]
    fn is_to_the_bit_what_training_computes() {
        for (heads, kv_heads, dim, window) in
            [(4, 2, 8, 0), (3, 1, 5, 7), (9, 3, 64, 0), (2, 2, 17, 130), (4, 2, 38, 100)]
        {
            let shape = Heads { heads, kv_heads, dim, scale: 0.6, window };
            let (prompt, completion) = (150_i32, 75_i32);
            let tokens = (prompt + completion) as usize;
            let (q, k, v) = (
                wave(tokens * heads * dim, 1),
                wave(tokens * kv_heads * dim, 2),
                wave(tokens * kv_heads * dim, 3),
            );
            let layout = spans(&[0, prompt, tokens as i32], &[-1, 0], tokens).unwrap();
            let width = kv_heads * dim;
            let places: Vec<i32> = (0..tokens as i32).collect();
            for (trains, samples) in [
                (Format::Floats, Format::Floats),
                (Format::Rounded, Format::Rounded),
                (Format::Rounded, Format::Halves),
            ] {
                let Ok(row) = samples.floats_of(width, dim) else { continue };
                let (mut trained, mut lse) = (vec![0.0; q.len()], vec![0.0; tokens * heads]);
                let (keys, values) = (Stored::new(&k, trains), Stored::new(&v, trains));
                forward(&q, keys, values, &shape, &layout, &mut trained, &mut lse);
                let cached = |rows: &[f32]| {
                    let mut cache = vec![f32::NAN; tokens * row];
                    write_rows(&mut cache, samples, rows, width, &places);
                    cache
                };
                let (keys, values) = (cached(&k), cached(&v));
                for at in 1..=completion {
                    let seen = parse_ranges("test", &[0, prompt, prompt, at], tokens).unwrap();
                    let row = (prompt + at - 1) as usize * heads * dim..(prompt + at) as usize * heads * dim;
                    let (mut sampled, mut sampled_lse) = (vec![0.0; heads * dim], vec![0.0; heads]);
                    let (keys, values) = (Stored::new(&keys, samples), Stored::new(&values, samples));
                    let mut left = vec![0.0; heads * dim];
                    let (o, lse_of_row) = (SharedMut::new(&mut left), SharedMut::new(&mut sampled_lse));
                    let left_in = Left { rows: &[0], o, lse: lse_of_row };
                    forward_last(&q[row.clone()], keys, values, &shape, &seen, &mut sampled, Some(&left_in));
                    assert_eq!(sampled, trained[row.clone()]);
                    assert_eq!(left, trained[row]);
                    assert_eq!(sampled_lse, lse[(prompt + at - 1) as usize * heads..][..heads]);
                }
            }
        }
    }
}
