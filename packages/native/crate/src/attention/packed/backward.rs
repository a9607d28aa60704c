//! The backward pass.

use super::{by_columns, by_rows, rows_of, whole};
use crate::attention::backward::{derive_row, Backward};
use crate::attention::stored::Part;
use crate::attention::tiles::{seen, Scratch, TILE};
use crate::attention::{Heads, Span};
use crate::gemm::{Lanes, Small, SmallProducts, Steps};
use crate::pool::SharedMut;
use crate::{fold, vectorised};
use std::slice::ChunksExactMut;

/// Queries that are taken together: whole panels of every kernel, and whole units of its steps.
const CHUNK: usize = 96;

/// So many queries and what comes in for them, packed as rows, and as what the gradients of keys and values are summed over.
struct Chunk<'a> {
    rows: usize,
    queries: Small<'a>,
    dys: Small<'a>,
    over_queries: Small<'a>,
    over_dys: Small<'a>,
}

/// Packs `n` queries of a head, the first of which stands at `first` in rows of `stride`, into rooms for their chunks: of queries and of `dy` as left operands, then as right ones.
fn pack_chunks<'a>(
    products: &SmallProducts,
    x: &Backward,
    (stride, first): (usize, usize),
    (n, dim): (usize, usize),
    rooms: [ChunksExactMut<'a, f32>; 4],
) -> Vec<Chunk<'a>> {
    let [q_left, dy_left, q_right, dy_right] = rooms;
    let rooms = q_left.zip(dy_left).zip(q_right.zip(dy_right));
    rooms
        .enumerate()
        .map(|(chunk, ((q_left, dy_left), (q_right, dy_right)))| {
            let rows = CHUNK.min(n - chunk * CHUNK);
            let at = chunk * CHUNK * stride + first;
            let (q, dy) = ((&x.q[at..], stride), (&x.dy[at..], stride));
            Chunk {
                rows,
                queries: products.left(by_rows(q, rows, dim), q_left),
                dys: products.left(by_rows(dy, rows, dim), dy_left),
                over_queries: products.right(by_columns(q, rows, dim), q_right),
                over_dys: products.right(by_columns(dy, rows, dim), dy_right),
            }
        })
        .collect()
}

vectorised! {
    /// One query head of one sequence: its rows of dq, and its part of dk and dv, `[context, dim]` each.
    pub(in crate::attention) fn backward_head<V>(x: &Backward, shape: &Heads, span: &Span, head: usize, dq: &SharedMut<f32>, dk: &mut [f32], dv: &mut [f32]) {
        let products = SmallProducts::in_bf16();
        let (dim, padded, n) = (shape.dim, shape.padded(), span.len);
        let (most, unit) = (products.rows(), products.unit());
        let (q_stride, k_stride, kv_head) = (shape.heads * dim, shape.kv_heads * dim, head / shape.group());
        let (left, right, count) = (products.left_len(CHUNK, dim), products.right_len(dim, CHUNK), n.div_ceil(CHUNK));
        let sizes = [
            count * left, count * left, count * right, count * right, products.right_len(TILE, dim), products.right_len(TILE, dim), products.right_len(dim, TILE),
            products.left_len(most, TILE), products.left_len(TILE, CHUNK), n * padded, n, TILE * padded, CHUNK * TILE, CHUNK * TILE, TILE * padded, TILE * padded,
        ];
        let mut scratch = Scratch::borrow(&sizes);
        let [q_left, dy_left, q_right, dy_right, ks, vs, over_ks, ds_left, turned, dqs, deltas, flat, probs, ds, dks, dvs] = scratch.pieces(sizes);
        let rooms = [q_left.chunks_exact_mut(left), dy_left.chunks_exact_mut(left), q_right.chunks_exact_mut(right), dy_right.chunks_exact_mut(right)];
        let chunks = pack_chunks(&products, x, (q_stride, span.start * q_stride + head * dim), (n, dim), rooms);
        dqs.fill(0.0);
        for (i, delta) in deltas.iter_mut().enumerate() {
            let at = (span.start + i) * q_stride + head * dim;
            let (dy, o) = (&x.dy[at..at + dim], &x.o[at..at + dim]);
            // Of dy as the products have it, so that what is to cancel out does. SAFETY: both hold dim floats.
            *delta = unsafe { fold!(V, dim, [dy: dy.as_ptr(), o: o.as_ptr()], sum, dy.rounded_half().fma(o, sum)) };
        }
        for from in (0..span.context()).step_by(TILE) {
            let count = TILE.min(span.context() - from);
            let part = Part { span, from, count, stride: k_stride, head: kv_head, dim };
            let rows = rows_of::<V>(x.k, &part, padded, flat);
            let keys = products.right(by_rows(rows, count, dim), ks);
            let over_keys = products.right(by_columns(rows, count, dim), over_ks);
            let values = products.right(by_rows(rows_of::<V>(x.v, &part, padded, flat), count, dim), vs);
            dks.fill(0.0);
            dvs.fill(0.0);
            // The queries that see a key of this tile: not before its first key, and with a window not too long after its last.
            let begin = from.saturating_sub(span.prefix_len);
            let end = if shape.window == 0 { n } else { (from + count - 1 + shape.window).saturating_sub(span.prefix_len).min(n) };
            for (index, chunk) in chunks.iter().enumerate() {
                let first = index * CHUNK;
                if first + chunk.rows <= begin || first >= end {
                    continue;
                }
                let panels = begin.saturating_sub(first) / most..(end - first).min(chunk.rows).div_ceil(most);
                for panel in panels.clone() {
                    let start = panel * most;
                    let some = most.min(chunk.rows - start);
                    let (probs, ds) = (&mut probs[start * TILE..(start + some) * TILE], &mut ds[start * TILE..(start + some) * TILE]);
                    let last = seen(shape, span.prefix_len + first + start + some - 1, from, count).1; // what the last of these rows sees
                    products.multiply(chunk.queries, panel, keys, 0..whole(&products, last), Steps::first(dim), probs, TILE, false);
                    products.multiply(chunk.dys, panel, values, 0..whole(&products, last), Steps::first(dim), ds, TILE, false);
                    for (i, (p, d)) in probs.chunks_exact_mut(TILE).zip(ds.chunks_exact_mut(TILE)).enumerate() {
                        let row = first + start + i;
                        derive_row::<V>(p, d, seen(shape, span.prefix_len + row, from, count), shape.scale, x.lse[(span.start + row) * shape.heads + head], deltas[row]);
                    }
                    let weights = products.left(by_rows((ds, TILE), some, last), ds_left);
                    products.multiply(weights, 0, over_keys, 0..padded, Steps::first(last), &mut dqs[(first + start) * padded..], padded, true);
                }
                // Gradients of keys and values are sums over these queries, which begin where the steps of a product may.
                let begun = panels.start * most / unit * unit;
                let ended = (panels.end * most).min(chunk.rows);
                for rows in [&mut *probs, &mut *ds] {
                    rows[begun * TILE..panels.start * most * TILE].fill(0.0);
                }
                for (rows, over, sums) in [(&*probs, chunk.over_dys, &mut *dvs), (&*ds, chunk.over_queries, &mut *dks)] {
                    let by_key = products.left(Lanes { data: &rows[begun * TILE..], lane_stride: 1, k_stride: TILE, lanes: count, k: ended - begun }, turned);
                    for panel in 0..count.div_ceil(most) {
                        // Queries before this one see none of these keys.
                        let skipped = (from + panel * most).saturating_sub(span.prefix_len + first + begun) / unit * unit;
                        if begun + skipped < ended {
                            let steps = Steps { left: skipped, right: begun + skipped, count: ended - begun - skipped };
                            products.multiply(by_key, panel, over, 0..padded, steps, &mut sums[panel * most * padded..], padded, true);
                        }
                    }
                }
            }
            for j in 0..count {
                dk[(from + j) * dim..(from + j + 1) * dim].copy_from_slice(&dks[j * padded..j * padded + dim]);
                dv[(from + j) * dim..(from + j + 1) * dim].copy_from_slice(&dvs[j * padded..j * padded + dim]);
            }
        }
        for i in 0..n {
            // SAFETY: this head of this sequence alone writes these rows.
            unsafe { dq.slice((span.start + i) * q_stride + head * dim, dim) }.copy_from_slice(&dqs[i * padded..i * padded + dim]);
        }
    }
}
