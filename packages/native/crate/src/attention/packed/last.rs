//! The last query of each of many contexts, to the bit what the forward pass gives there.

use super::{by_columns, by_rows, rows_of, whole};
use crate::attention::forward::weigh_row;
use crate::attention::last::{put_results, Left};
use crate::attention::stored::{Part, Soon, Stored};
use crate::attention::tiles::{Scratch, TILE};
use crate::attention::{Heads, Span};
use crate::gemm::{Small, SmallProducts, Steps};
use crate::pool::SharedMut;
use crate::vectorised;
use std::ops::Range;

vectorised! {
    /// The query heads of the key heads `kv_heads`, for one row; `following`: what is likely to come after it on this thread.
    pub(in crate::attention) fn last_query<V>(q: &[f32], k: Stored, v: Stored, shape: &Heads, span: &Span, following: Option<&Span>, kv_heads: Range<usize>, row: usize, o: &SharedMut<f32>, left: Option<&Left>) {
        let products = SmallProducts::in_bf16();
        let (dim, padded, group) = (shape.dim, shape.padded(), shape.group());
        let (q_stride, k_stride) = (shape.heads * dim, shape.kv_heads * dim);
        let heads = kv_heads.len() * group;
        let most = products.rows();
        let q_len = products.left_len(group, dim);
        let sizes = [kv_heads.len() * q_len, products.right_len(TILE, dim), products.right_len(dim, TILE), products.left_len(group, TILE), TILE * padded, group * TILE, heads * padded, heads, heads];
        let mut scratch = Scratch::borrow(&sizes);
        let [qs, ks, vs, ps, flat, scores, sums, tops, totals] = scratch.pieces(sizes);
        let queries: Vec<Small> = qs
            .chunks_exact_mut(q_len)
            .zip(kv_heads.clone())
            .map(|(room, kv_head)| products.left(by_rows((&q[row * q_stride + kv_head * group * dim..], dim), group, dim), room))
            .collect();
        sums.fill(0.0);
        tops.fill(f32::NEG_INFINITY);
        totals.fill(0.0);
        let end = span.context();
        let first = shape.first_seen(end - 1);
        let mut from = first / TILE * TILE;
        let columns = kv_heads.start * dim..kv_heads.end * dim;
        // Again, where the row before has asked for it: not everything that is asked for comes.
        Soon { span, from, end }.ask([k, v], k_stride, columns.clone(), 0..TILE);
        while from < end {
            let count = TILE.min(end - from);
            let low = first.saturating_sub(from).min(count);
            let next = match following {
                _ if from + TILE < end => Some(Soon { span, from: from + TILE, end }),
                Some(span) => Some(Soon { span, from: 0, end: span.context() }),
                None => None,
            };
            for (index, kv_head) in kv_heads.clone().enumerate() {
                let part = Part { span, from, count, stride: k_stride, head: kv_head, dim };
                let ask = |places: Range<usize>| {
                    // All heads of some of the next tile's rows, because they lie side by side.
                    let share = |place: usize| (index * TILE + place * TILE / count) / kv_heads.len();
                    let Some(next) = &next else { return };
                    next.ask([k, v], k_stride, columns.clone(), share(places.start)..share(places.end));
                };
                let keys = match k {
                    Stored::Halves(k) if products.packs_halves(dim) => products.right_of_halves::<V>(|j| &k[part.at(j)..][..dim], count, dim, ks, ask),
                    _ => {
                        ask(0..count);
                        products.right(by_rows(rows_of::<V>(k, &part, padded, flat), count, dim), ks)
                    }
                };
                let values = match v {
                    Stored::Halves(v) if products.packs_halves(dim) => products.right_over_halves::<V>(|j| &v[part.at(j)..][..dim], count, dim, vs),
                    _ => products.right(by_columns(rows_of::<V>(v, &part, padded, flat), count, dim), vs),
                };
                for panel in 0..group.div_ceil(most) {
                    products.multiply(queries[index], panel, keys, 0..whole(&products, count), Steps::first(dim), &mut scores[panel * most * TILE..], TILE, false);
                }
                for (g, row) in scores.chunks_exact_mut(TILE).enumerate() {
                    let r = index * group + g;
                    weigh_row::<V>(row, (low, count), shape.scale, (&mut tops[r], &mut totals[r]), &mut sums[r * padded..(r + 1) * padded]);
                }
                let weights = products.left(by_rows((scores, TILE), group, count), ps);
                for panel in 0..group.div_ceil(most) {
                    products.multiply(weights, panel, values, 0..padded, Steps::first(count), &mut sums[(index * group + panel * most) * padded..], padded, true);
                }
            }
            from += TILE;
        }
        put_results(shape, (row, kv_heads), (sums, tops, totals), o, left);
    }
}
