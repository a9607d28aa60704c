//! The forward pass.

use super::{by_columns, by_rows, rows_of, whole};
use crate::attention::forward::{divide, weigh_row};
use crate::attention::stored::{Part, Stored};
use crate::attention::tiles::{seen, Scratch, TILE};
use crate::attention::{Heads, Queries, Span};
use crate::gemm::{Small, SmallProducts, Steps};
use crate::pool::SharedMut;
use crate::vectorised;

vectorised! {
    /// All query heads of key head `kv_head`, for some queries of a sequence that stand one after another.
    pub(in crate::attention) fn forward_block<V>(q: &[f32], k: Stored, v: Stored, shape: &Heads, span: &Span, kv_head: usize, queries: &Queries, o: &SharedMut<f32>, lse: &SharedMut<f32>) {
        let products = SmallProducts::in_bf16();
        let (dim, padded, group) = (shape.dim, shape.padded(), shape.group());
        let Queries { row: first_row, position: first, rows } = *queries;
        let (q_stride, k_stride) = (shape.heads * dim, shape.kv_heads * dim);
        let (all, most) = (rows * group, products.rows());
        let q_len = products.left_len(rows, dim);
        let sizes = [q_len * group, products.right_len(TILE, dim), products.right_len(dim, TILE), products.left_len(most, TILE), TILE * padded, most * TILE, all * padded, all, all];
        let mut scratch = Scratch::borrow(&sizes);
        let [qs, ks, vs, ps, flat, scores, sums, tops, totals] = scratch.pieces(sizes);
        sums.fill(0.0);
        tops.fill(f32::NEG_INFINITY);
        totals.fill(0.0);
        let heads: Vec<Small> = qs
            .chunks_exact_mut(q_len)
            .enumerate()
            .map(|(g, room)| products.left(by_rows((&q[first_row * q_stride + (kv_head * group + g) * dim..], q_stride), rows, dim), room))
            .collect();
        let end = first + rows;
        let mut from = shape.first_seen(first) / TILE * TILE;
        while from < end {
            let count = TILE.min(end - from);
            let part = Part { span, from, count, stride: k_stride, head: kv_head, dim };
            let keys = products.right(by_rows(rows_of::<V>(k, &part, padded, flat), count, dim), ks);
            let values = products.right(by_columns(rows_of::<V>(v, &part, padded, flat), count, dim), vs);
            // Queries before this one are earlier than every key of this tile.
            let lowest = from.saturating_sub(first).min(rows);
            for (g, &queries) in heads.iter().enumerate() {
                for panel in lowest / most..rows.div_ceil(most) {
                    let start = panel * most;
                    let some = most.min(rows - start);
                    let last = seen(shape, first + start + some - 1, from, count).1; // what the last of these rows sees
                    products.multiply(queries, panel, keys, 0..whole(&products, last), Steps::first(dim), scores, TILE, false);
                    for (i, row) in scores.chunks_exact_mut(TILE).take(some).enumerate() {
                        let r = g * rows + start + i;
                        let columns = seen(shape, first + start + i, from, count);
                        weigh_row::<V>(row, columns, shape.scale, (&mut tops[r], &mut totals[r]), &mut sums[r * padded..(r + 1) * padded]);
                    }
                    let weights = products.left(by_rows((scores, TILE), some, last), ps);
                    products.multiply(weights, 0, values, 0..padded, Steps::first(last), &mut sums[(g * rows + start) * padded..], padded, true);
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
