//! The last query of each of many contexts: what a step of decoding asks for, to the bit what [`super::forward()`] gives there.

use super::forward::{divide, weigh_row};
use super::stored::{pack_rows, pack_transposed, Part, Soon, Stored};
use super::tiles::{columns_of, multiply, Scratch, TILE};
use super::{packed, Heads, Span};
use crate::memory::far;
use crate::pool::{num_threads, parallel_runs, SharedMut};
use crate::vectorised;
use std::ops::Range;

/// Where the results go besides, for the backward pass of their tokens.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    /// The row of each token there, none twice; negative: none.
    pub rows: &'a [i32],
    /// `[T, heads, dim]`
    pub o: SharedMut<'a, f32>,
    /// The logarithm of the sum of the exponentials of the scores `[T, heads]`.
    pub lse: SharedMut<'a, f32>,
}

impl Left<'_> {
    /// What one head gave for a token. Called once for each.
    fn put(&self, token: usize, heads: usize, head: usize, o: &[f32], lse: f32) {
        let Ok(row) = usize::try_from(self.rows[token]) else { return };
        let at = row * heads + head;
        // SAFETY: tokens have rows of their own, and this call alone writes these heads of it.
        unsafe {
            far::copy(self.o.slice(at * o.len(), o.len()), o);
            self.lse.slice(at, 1)[0] = lse;
        }
    }
}

/// What the query heads of the key heads `kv_heads` gave for `row`: rows of `padded` sums, their maxima and the sums of their weights.
pub(super) fn put_results(
    shape: &Heads,
    (row, kv_heads): (usize, Range<usize>),
    (sums, tops, totals): (&[f32], &[f32], &[f32]),
    o: &SharedMut<f32>,
    left: Option<&Left>,
) {
    let first = (row * shape.heads) + kv_heads.start * shape.group();
    for (r, sums) in sums.chunks_exact(shape.padded()).enumerate() {
        // SAFETY: the caller alone writes these heads of this row.
        let out = unsafe { o.slice((first + r) * shape.dim, shape.dim) };
        divide(out, sums, totals[r]);
        if let Some(left) = left {
            left.put(row, shape.heads, kv_heads.start * shape.group() + r, out, tops[r] + totals[r].ln());
        }
    }
    if left.is_some() {
        far::fence();
    }
}

vectorised! {
    /// The query heads of the key heads `kv_heads`, for one row; `following`: what is likely to come after it on this thread.
    fn last_query<V>(q: &[f32], k: Stored, v: Stored, shape: &Heads, span: &Span, following: Option<&Span>, kv_heads: Range<usize>, row: usize, o: &SharedMut<f32>, left: Option<&Left>) {
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
        let columns = kv_heads.start * dim..kv_heads.end * dim;
        // Again, where the row before has asked for it: not everything that is asked for comes.
        Soon { span, from, end }.ask([k, v], k_stride, columns.clone(), 0..TILE);
        while from < end {
            let count = TILE.min(end - from);
            let low = first.saturating_sub(from).min(count);
            let whole = padded == dim && span.is_whole(from, count);
            let next = match following {
                _ if from + TILE < end => Some(Soon { span, from: from + TILE, end }),
                Some(span) => Some(Soon { span, from: 0, end: span.context() }),
                None => None,
            };
            for (index, kv_head) in kv_heads.clone().enumerate() {
                let part = Part { span, from, count, stride: k_stride, head: kv_head, dim };
                pack_transposed::<V>(k, &part, kt, |places| {
                    // All heads of some of the next tile's rows, because they lie side by side.
                    let share = |place: usize| (index * TILE + place) / kv_heads.len();
                    let Some(next) = &next else { return };
                    next.ask([k, v], k_stride, columns.clone(), share(places.start)..share(places.end));
                });
                let queries = &q[row * q_stride + kv_head * group * dim..][..group * dim];
                // SAFETY: queries is [group, dim], kt [dim, TILE], scores [group, TILE].
                unsafe { multiply::<V, _>((group, columns_of(count), dim), queries.as_ptr(), (dim, 1), kt.as_ptr(), TILE, scores.as_mut_ptr(), TILE, false) };
                for g in 0..group {
                    let r = index * group + g;
                    let row = &mut scores[g * TILE..(g + 1) * TILE];
                    weigh_row::<V>(row, (low, count), shape.scale, (&mut tops[r], &mut totals[r]), &mut sums[r * padded..(r + 1) * padded]);
                }
                let out = &mut sums[index * group * padded..(index + 1) * group * padded];
                macro_rules! add_values {
                    ($values:expr, $stride:expr) => {
                        // SAFETY: scores is [group, TILE] with count <= TILE, out [group, padded]. Rows of a whole part follow one another in steps of k_stride and
                        // end inside of the slice; vp is [count, padded].
                        unsafe { multiply::<V, _>((group, padded, count), scores.as_ptr(), (TILE, 1), $values, $stride, out.as_mut_ptr(), padded, true) }
                    };
                }
                match v {
                    Stored::Floats(v) if whole => add_values!(v[part.at(0)..][..(count - 1) * k_stride + dim].as_ptr(), k_stride),
                    Stored::Halves(v) if whole => add_values!(v[part.at(0)..][..(count - 1) * k_stride + dim].as_ptr(), k_stride),
                    _ => {
                        pack_rows::<V>(v, &part, padded, vp);
                        add_values!(vp.as_ptr(), padded);
                    }
                }
            }
            from += TILE;
        }
        put_results(shape, (row, kv_heads), (sums, tops, totals), o, left);
    }
}

/// `q [sequences, heads, dim]` → `o` of the same shape, `left` in other places besides; `k`, `v` hold the rows of the spans.
pub fn forward_last(
    q: &[f32],
    k: Stored,
    v: Stored,
    shape: &Heads,
    spans: &[Span],
    o: &mut [f32],
    left: Option<&Left>,
) {
    let o = SharedMut::new(o);
    // Rows of the cache hold all heads side by side: a task reads them whole where there are tasks enough.
    let heads = if spans.len() >= 2 * num_threads() { shape.kv_heads } else { 1 };
    let parts = shape.kv_heads.div_ceil(heads);
    let query = if packed::serves(k) { packed::last_query } else { last_query };
    parallel_runs(spans.len() * parts, |task| {
        let (row, first) = (task / parts, task % parts * heads);
        query(
            q,
            k,
            v,
            shape,
            &spans[row],
            spans.get(row + 1),
            first..(first + heads).min(shape.kv_heads),
            row,
            &o,
            left,
        );
    });
}
