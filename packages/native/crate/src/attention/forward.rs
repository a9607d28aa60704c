//! The forward pass of whole sequences.

use super::stored::{pack_rows, pack_transposed, Part, Stored};
use super::tiles::{columns_of, multiply, seen, Scratch, ROWS, TILE};
use super::{packed, Heads, Queries, Span};
use crate::pool::{parallel_for, SharedMut};
use crate::vector::Vector;
use crate::vectorised;

/// One step of the running softmax: a row of scores of a tile becomes weights against the new maximum; gives what earlier weights are to be multiplied by.
///
/// # Safety
/// `row` must be readable and writable for `width` floats, a multiple of every vector's width.
#[inline(always)]
unsafe fn weigh<V: Vector>(row: *mut f32, width: usize, scale: f32, top: &mut f32, total: &mut f32) -> f32 {
    let scale = V::splat(scale);
    let mut highest = V::splat(f32::NEG_INFINITY);
    for c in (0..width).step_by(V::LANES) {
        // SAFETY: by the caller's promise.
        let s = unsafe { V::load(row.add(c)) }.mul(scale);
        // SAFETY: as above.
        unsafe { s.store(row.add(c)) };
        highest = highest.max(s);
    }
    let new_top = highest.top().max(*top);
    let shift = V::splat(new_top);
    let mut sum = V::splat(0.0);
    for c in (0..width).step_by(V::LANES) {
        // SAFETY: as above.
        let e = unsafe { V::load(row.add(c)) }.sub(shift).exp();
        // SAFETY: as above.
        unsafe { e.store(row.add(c)) };
        sum = sum.add(e);
    }
    let decay = V::splat(*top - new_top).exp().lanes()[0];
    *total = *total * decay + sum.sum();
    *top = new_top;
    decay
}

/// `sums *= decay`.
///
/// # Safety
/// `sums` must be readable and writable for `padded` floats, a multiple of every vector's width.
#[inline(always)]
unsafe fn shrink<V: Vector>(decay: f32, sums: *mut f32, padded: usize) {
    if decay != 1.0 {
        for c in (0..padded).step_by(V::LANES) {
            // SAFETY: by the caller's promise.
            unsafe { V::load(sums.add(c)).mul(V::splat(decay)).store(sums.add(c)) };
        }
    }
}

/// A row of scores of a tile becomes weights: those of the columns `low .. high`, which are seen, and 0. What earlier tiles gave, in `sums`, shrinks as the maximum grows.
#[inline(always)]
pub(super) fn weigh_row<V: Vector>(
    row: &mut [f32],
    (low, high): (usize, usize),
    scale: f32,
    (top, total): (&mut f32, &mut f32),
    sums: &mut [f32],
) {
    assert!(row.len() == TILE && sums.len().is_multiple_of(16));
    if low >= high {
        row.fill(0.0);
        return;
    }
    let width = columns_of(high);
    row[..low].fill(f32::NEG_INFINITY);
    row[high..width].fill(f32::NEG_INFINITY);
    row[width..].fill(0.0);
    // SAFETY: the row holds `width` floats and more, and both lengths are multiples of every vector's.
    unsafe {
        let decay = weigh::<V>(row.as_mut_ptr(), width, scale, top, total);
        shrink::<V>(decay, sums.as_mut_ptr(), sums.len());
    }
}

/// What a head gives for a query: the sum of its weighted values over that of its weights.
pub(super) fn divide(out: &mut [f32], sums: &[f32], total: f32) {
    let inverse = 1.0 / total;
    for (target, sum) in out.iter_mut().zip(sums) {
        *target = sum * inverse;
    }
}

vectorised! {
    /// All query heads of key head `kv_head`, for some queries of a sequence that stand one after another.
    fn forward_block<V>(q: &[f32], k: Stored, v: Stored, shape: &Heads, span: &Span, kv_head: usize, queries: &Queries, o: &SharedMut<f32>, lse: &SharedMut<f32>) {
        let (dim, padded, group) = (shape.dim, shape.padded(), shape.group());
        let Queries { row: first_row, position: first, rows } = *queries;
        let (q_stride, k_stride) = (shape.heads * dim, shape.kv_heads * dim);
        let all = rows * group;
        let sizes = [dim * TILE, TILE * padded, TILE * TILE, all * padded, all, all];
        let mut scratch = Scratch::borrow(&sizes);
        let [kt, vp, scores, sums, tops, totals] = scratch.pieces(sizes);
            sums.fill(0.0);
            tops.fill(f32::NEG_INFINITY);
            totals.fill(0.0);
            let end = first + rows;
            let mut from = shape.first_seen(first) / TILE * TILE;
            while from < end {
                let count = TILE.min(end - from);
                let part = Part { span, from, count, stride: k_stride, head: kv_head, dim };
                pack_transposed::<V>(k, &part, kt, |_| ());
                pack_rows::<V>(v, &part, padded, vp);
                // Queries before `lowest` are earlier than every key of this tile.
                let lowest = from.saturating_sub(first).min(rows);
                for g in 0..group {
                    let head = kv_head * group + g;
                    let queries = &q[(first_row + lowest) * q_stride + head * dim..];
                    let active = rows - lowest;
                    assert!(queries.len() >= (active - 1) * q_stride + dim);
                    let out = &mut sums[(g * rows + lowest) * padded..(g + 1) * rows * padded];
                    for start in (0..active).step_by(ROWS) {
                        let some = ROWS.min(active - start);
                        let keys = seen(shape, first + lowest + start + some - 1, from, count).1; // what the last of these rows sees
                        let scores = &mut scores[start * TILE..(start + some) * TILE];
                        // SAFETY: queries holds `active` rows of `dim` in steps of q_stride, kt is [dim, TILE], scores [some, TILE], and keys <= count <= TILE.
                        unsafe { multiply::<V, _>((some, columns_of(keys), dim), queries.as_ptr().add(start * q_stride), (q_stride, 1), kt.as_ptr(), TILE, scores.as_mut_ptr(), TILE, false) };
                        for (i, row) in scores.chunks_exact_mut(TILE).enumerate() {
                            let r = g * rows + lowest + start + i;
                            let columns = seen(shape, first + lowest + start + i, from, count);
                            weigh_row::<V>(row, columns, shape.scale, (&mut tops[r], &mut totals[r]), &mut out[(start + i) * padded..][..padded]);
                        }
                        // SAFETY: scores is [some, TILE] with keys <= TILE, vp [count, padded], out [active, padded].
                        unsafe { multiply::<V, _>((some, padded, keys), scores.as_ptr(), (TILE, 1), vp.as_ptr(), padded, out.as_mut_ptr().add(start * padded), padded, true) };
                    }
                }
                from += TILE;
            }
            for g in 0..group {
                let head = kv_head * group + g;
                for i in 0..rows {
                    let (r, row) = (g * rows + i, first_row + i);
                    // SAFETY: this block alone writes these rows of these heads.
                    let out = unsafe { o.slice(row * q_stride + head * dim, dim) };
                    divide(out, &sums[r * padded..], totals[r]);
                    // SAFETY: as above.
                    unsafe { lse.slice(row * shape.heads + head, 1)[0] = tops[r] + totals[r].ln() };
                }
            }
    }
}

/// `q [T, heads, dim]`, `k`, `v [T, kv_heads, dim]` → `o [T, heads, dim]`, `lse [T, heads]`.
pub fn forward(
    q: &[f32],
    k: Stored,
    v: Stored,
    shape: &Heads,
    spans: &[Span],
    o: &mut [f32],
    lse: &mut [f32],
) {
    let mut tasks = Vec::new();
    for (s, span) in spans.iter().enumerate() {
        for first in (0..span.len).step_by(TILE) {
            for kv_head in 0..shape.kv_heads {
                tasks.push((span.prefix_len + first, s, first, kv_head));
            }
        }
    }
    tasks.sort_by_key(|task| std::cmp::Reverse(task.0)); // the longest contexts first, for balance
    let (o, lse) = (SharedMut::new(o), SharedMut::new(lse));
    let block = if packed::serves(k) { packed::forward_block } else { forward_block };
    parallel_for(tasks.len(), |task| {
        let (_, s, first, kv_head) = tasks[task];
        let span = &spans[s];
        let queries = Queries {
            row: span.start + first,
            position: span.prefix_len + first,
            rows: TILE.min(span.len - first),
        };
        block(q, k, v, shape, span, kv_head, &queries, &o, &lse);
    });
}
