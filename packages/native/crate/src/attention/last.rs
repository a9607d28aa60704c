//! The last query of each of many contexts: what a step of decoding asks for, to the bit what [`super::forward()`] gives there.

use super::tiles::{columns_of, multiply, pack_rows, pack_transposed, Scratch, Soon, TILE};
use super::{Heads, Span};
use crate::pool::{num_threads, parallel_runs, SharedMut};
use crate::vectorised;
use std::ops::Range;

vectorised! {
    /// The query heads of the key heads `kv_heads`, for one row; `following`: what is likely to come after it on this thread.
    fn last_query<V>(q: &[f32], k: &[f32], v: &[f32], shape: &Heads, span: &Span, following: Option<&Span>, kv_heads: Range<usize>, row: usize, o: &SharedMut<f32>) {
        let (dim, padded, group) = (shape.dim, shape.padded(), shape.group());
        let (q_stride, k_stride) = (shape.heads * dim, shape.kv_heads * dim);
        let heads = kv_heads.len() * group;
        let sizes = [dim * TILE, TILE * padded, group * TILE, heads * padded, heads, heads];
        let mut scratch = Scratch::borrow(&sizes);
        let [kt, vp, scores, sums, tops, totals] = scratch.pieces(sizes);
        sums.fill(0.0);
        tops.fill(f32::NEG_INFINITY);
        totals.fill(0.0);
        let end = span.context();
        let first = shape.first_seen(end - 1);
        let mut from = first / TILE * TILE;
        while from < end {
            let count = TILE.min(end - from);
            let low = first.saturating_sub(from).min(count);
            let whole = padded == dim && span.is_whole(from, count);
            for (index, kv_head) in kv_heads.clone().enumerate() {
                let (first_head, last_head) = (kv_heads.start, kv_head + 1 == kv_heads.end);
                let soon = match following {
                    _ if !last_head => Some(Soon { span, from, end, head: kv_head + 1 }),
                    _ if from + TILE < end => Some(Soon { span, from: from + TILE, end, head: first_head }),
                    Some(span) => Some(Soon { span, from: 0, end: span.context(), head: first_head }),
                    None => None,
                };
                pack_transposed::<V>(k, span, from, count, k_stride, kv_head, dim, kt, |part| {
                    let Some(soon) = &soon else { return };
                    soon.ask(k, v, k_stride, dim, part);
                });
                let (values, v_stride) = if whole {
                    (&v[span.row(from) * k_stride + kv_head * dim..], k_stride)
                } else {
                    pack_rows(v, span, from, count, k_stride, kv_head, dim, padded, vp);
                    (&vp[..], padded)
                };
                assert!(values.len() >= (count - 1) * v_stride + padded);
                let queries = &q[row * q_stride + kv_head * group * dim..][..group * dim];
                // SAFETY: queries is [group, dim], kt [dim, TILE], scores [group, TILE].
                unsafe { multiply::<V>((group, columns_of(count), dim), queries.as_ptr(), (dim, 1), kt.as_ptr(), TILE, scores.as_mut_ptr(), TILE, false) };
                for g in 0..group {
                    let r = index * group + g;
                    let row = &mut scores[g * TILE..(g + 1) * TILE];
                    row[..low].fill(f32::NEG_INFINITY);
                    let width = columns_of(count);
                    row[count..width].fill(f32::NEG_INFINITY);
                    // SAFETY: row holds TILE floats, and width is a multiple of every vector's; sums holds `heads` rows of `padded`.
                    unsafe {
                        let decay = super::forward::weigh::<V>(row.as_mut_ptr(), width, shape.scale, &mut tops[r], &mut totals[r]);
                        super::forward::shrink::<V>(decay, sums.as_mut_ptr().add(r * padded), padded);
                    }
                }
                let out = &mut sums[index * group * padded..(index + 1) * group * padded];
                // SAFETY: scores is [group, TILE] with count <= TILE, values `count` rows of `padded` in steps of v_stride, out [group, padded].
                unsafe { multiply::<V>((group, padded, count), scores.as_ptr(), (TILE, 1), values.as_ptr(), v_stride, out.as_mut_ptr(), padded, true) };
            }
            from += TILE;
        }
        for r in 0..heads {
            let head = kv_heads.start * group + r;
            // SAFETY: this call alone writes these heads of this row.
            let out = unsafe { o.slice(row * q_stride + head * dim, dim) };
            let inverse = 1.0 / totals[r];
            for (target, sum) in out.iter_mut().zip(&sums[r * padded..]) {
                *target = sum * inverse;
            }
        }
    }
}

/// `q [sequences, heads, dim]` → `o` of the same shape; `k`, `v` hold the rows of the spans.
pub fn forward_last(q: &[f32], k: &[f32], v: &[f32], shape: &Heads, spans: &[Span], o: &mut [f32]) {
    let o = SharedMut::new(o);
    // Rows of the cache hold all heads side by side: a task reads them whole where there are tasks enough.
    let heads = if spans.len() >= 2 * num_threads() { shape.kv_heads } else { 1 };
    let parts = shape.kv_heads.div_ceil(heads);
    parallel_runs(spans.len() * parts, |task| {
        let (row, first) = (task / parts, task % parts * heads);
        last_query(
            q,
            k,
            v,
            shape,
            &spans[row],
            spans.get(row + 1),
            first..(first + heads).min(shape.kv_heads),
            row,
            &o,
        );
    });
}
