//! The backward pass.

use super::stored::{pack_rows, pack_transposed, Part, Stored};
use super::tiles::{columns_of, multiply, seen, Scratch, ROWS, TILE};
use super::{packed, Heads, Span};
use crate::memory::Floats;
use crate::pool::{parallel_for, parallel_ranges, SharedMut};
use crate::vector::Vector;
use crate::{fold, vectorised};
use std::sync::Mutex;

/// Floats that the parts of dk and dv may take at once; more heads than fit go in another wave.
const PARTS_BUDGET: usize = 16 << 20;

/// What the backward pass reads.
pub struct Backward<'a> {
    pub dy: &'a [f32],
    pub q: &'a [f32],
    pub k: Stored<'a>,
    pub v: Stored<'a>,
    pub o: &'a [f32],
    pub lse: &'a [f32],
}

/// A row of scores of a tile and of `dy · v` become weights and the derivatives of the scores; both are 0 outside of the columns `low .. high`, which are seen.
#[inline(always)]
pub(super) fn derive_row<V: Vector>(
    probs: &mut [f32],
    ds: &mut [f32],
    (low, high): (usize, usize),
    scale: f32,
    lse: f32,
    delta: f32,
) {
    assert!(probs.len() == TILE && ds.len() == TILE);
    if low >= high {
        probs.fill(0.0);
        ds.fill(0.0);
        return;
    }
    let (scale, lse, delta) = (V::splat(scale), V::splat(-lse), V::splat(delta));
    for c in (0..columns_of(high)).step_by(V::LANES) {
        // SAFETY: both rows hold TILE floats, a multiple of every vector's width.
        unsafe {
            let (p, d) = (probs.as_mut_ptr().add(c), ds.as_mut_ptr().add(c));
            let prob = V::load(p).fma(scale, lse).exp();
            prob.store(p);
            prob.mul(V::load(d).sub(delta)).mul(scale).store(d);
        }
    }
    for row in [probs, ds] {
        row[..low].fill(0.0);
        row[high..].fill(0.0);
    }
}

vectorised! {
    /// One query head of one sequence: its rows of dq, and its part of dk and dv, `[context, dim]` each.
    fn backward_head<V>(x: &Backward, shape: &Heads, span: &Span, head: usize, dq: &SharedMut<f32>, dk: &mut [f32], dv: &mut [f32]) {
        let (dim, padded, n) = (shape.dim, shape.padded(), span.len);
        let (q_stride, k_stride, kv_head) = (shape.heads * dim, shape.kv_heads * dim, head / shape.group());
        let own = Span { prefix_len: 0, prefix_start: 0, ..*span };
        let sizes = [n * padded, n * padded, n * padded, n, dim * TILE, dim * TILE, TILE * padded, TILE * TILE, TILE * TILE, TILE * padded, TILE * padded];
        let mut scratch = Scratch::borrow(&sizes);
        let [qs, dys, dqs, deltas, kt, vt, kp, probs, ds, dks, dvs] = scratch.pieces(sizes);
            let queries = Part { span: &own, from: 0, count: n, stride: q_stride, head, dim };
            pack_rows::<V>(Stored::Floats(x.q), &queries, padded, qs);
            pack_rows::<V>(Stored::Floats(x.dy), &queries, padded, dys);
            dqs.fill(0.0);
            for (i, delta) in deltas.iter_mut().enumerate() {
                let at = (span.start + i) * q_stride + head * dim;
                let (dy, o) = (&x.dy[at..at + dim], &x.o[at..at + dim]);
                // SAFETY: both hold dim floats.
                *delta = unsafe { fold!(V, dim, [dy: dy.as_ptr(), o: o.as_ptr()], sum, dy.fma(o, sum)) };
            }
            for from in (0..span.context()).step_by(TILE) {
                let count = TILE.min(span.context() - from);
                let part = Part { span, from, count, stride: k_stride, head: kv_head, dim };
                pack_transposed::<V>(x.k, &part, kt, |_| ());
                pack_transposed::<V>(x.v, &part, vt, |_| ());
                pack_rows::<V>(x.k, &part, padded, kp);
                dks.fill(0.0);
                dvs.fill(0.0);
                // The queries that see a key of this tile: not before its first key, and with a window not too long after its last.
                let begin = from.saturating_sub(span.prefix_len) / TILE * TILE;
                let end = if shape.window == 0 { n } else { (from + count - 1 + shape.window).saturating_sub(span.prefix_len).min(n) };
                for first in (begin..end).step_by(TILE) {
                    let rows = TILE.min(n - first);
                    let (qb, dyb) = (&qs[first * padded..], &dys[first * padded..]);
                    for start in (0..rows).step_by(ROWS) {
                        let some = ROWS.min(rows - start);
                        let keys = seen(shape, span.prefix_len + first + start + some - 1, from, count).1; // what the last of these rows sees
                        let (probs, ds) = (&mut probs[start * TILE..], &mut ds[start * TILE..]);
                        // SAFETY: qb and dyb hold `rows` rows of `padded`, kt and vt are [dim, TILE], probs and ds [rows - start, TILE], and keys <= count <= TILE.
                        unsafe {
                            multiply::<V, _>((some, columns_of(keys), dim), qb.as_ptr().add(start * padded), (padded, 1), kt.as_ptr(), TILE, probs.as_mut_ptr(), TILE, false);
                            multiply::<V, _>((some, columns_of(keys), dim), dyb.as_ptr().add(start * padded), (padded, 1), vt.as_ptr(), TILE, ds.as_mut_ptr(), TILE, false);
                        }
                        for i in 0..some {
                            let row = first + start + i;
                            let (p, d) = (&mut probs[i * TILE..(i + 1) * TILE], &mut ds[i * TILE..(i + 1) * TILE]);
                            derive_row::<V>(p, d, seen(shape, span.prefix_len + row, from, count), shape.scale, x.lse[(span.start + row) * shape.heads + head], deltas[row]);
                        }
                        // SAFETY: ds is [some, TILE] with keys <= count columns used; kp [count, padded]; dqs [n, padded].
                        unsafe { multiply::<V, _>((some, padded, keys), ds.as_ptr(), (TILE, 1), kp.as_ptr(), padded, dqs.as_mut_ptr().add((first + start) * padded), padded, true) };
                    }
                    for start in (0..count).step_by(ROWS) {
                        let some = ROWS.min(count - start);
                        // Queries before this one see none of these keys.
                        let begin = (from + start).saturating_sub(span.prefix_len + first).min(rows);
                        let (at, rest) = (begin * TILE + start, rows - begin);
                        // SAFETY: probs and ds are [rows, TILE], read transposed from query `begin` and key `start` on; dks and dvs [TILE, padded].
                        unsafe {
                            multiply::<V, _>((some, padded, rest), probs.as_ptr().add(at), (1, TILE), dyb.as_ptr().add(begin * padded), padded, dvs.as_mut_ptr().add(start * padded), padded, true);
                            multiply::<V, _>((some, padded, rest), ds.as_ptr().add(at), (1, TILE), qb.as_ptr().add(begin * padded), padded, dks.as_mut_ptr().add(start * padded), padded, true);
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

/// Room for the parts of dk and dv, kept from call to call.
static PARTS: Mutex<Option<Floats>> = Mutex::new(None);

/// → `dq [T, heads, dim]`, `dk`, `dv [T, kv_heads, dim]`.
pub fn backward(x: &Backward, shape: &Heads, spans: &[Span], dq: &mut [f32], dk: &mut [f32], dv: &mut [f32]) {
    let (dim, group) = (shape.dim, shape.group());
    // For one query head: where the part of each sequence starts.
    let mut starts = Vec::with_capacity(spans.len() + 1);
    let mut per_head = 0;
    for span in spans {
        starts.push(per_head);
        per_head += span.context() * dim;
    }
    // Who adds to the rows of a sequence: itself, then those that continue it, in order.
    let mut users: Vec<Vec<usize>> = (0..spans.len()).map(|s| vec![s]).collect();
    for (s, span) in spans.iter().enumerate() {
        if span.prefix_len > 0 {
            if let Some(prefix) =
                spans.iter().position(|p| p.start == span.prefix_start && p.len == span.prefix_len)
            {
                users[prefix].push(s);
            }
        }
    }
    let heads_at_once = (PARTS_BUDGET / (2 * per_head * group).max(1)).clamp(1, shape.kv_heads);
    let wanted = 2 * per_head * group * heads_at_once;
    let kept = PARTS.lock().ok().and_then(|mut kept| kept.take());
    let mut parts = match kept {
        Some(found) if found.len() >= wanted => found,
        _ => Floats::uninit(wanted),
    };
    let (dq, dk, dv) = (SharedMut::new(dq), SharedMut::new(dk), SharedMut::new(dv));
    let mut order: Vec<usize> = (0..spans.len()).filter(|&s| spans[s].len > 0).collect();
    order.sort_by_key(|&s| std::cmp::Reverse(spans[s].cost()));

    let one_head = if packed::serves(x.k) { packed::backward_head } else { backward_head };
    for first in (0..shape.kv_heads).step_by(heads_at_once) {
        let kv_count = heads_at_once.min(shape.kv_heads - first);
        let head_count = kv_count * group;
        let (dk_parts, dv_parts) = parts.split_at_mut(per_head * head_count);
        let (dk_shared, dv_shared) = (SharedMut::new(dk_parts), SharedMut::new(dv_parts));
        parallel_for(order.len() * head_count, |task| {
            let (s, h) = (order[task / head_count], task % head_count);
            let (at, len) = (h * per_head + starts[s], spans[s].context() * dim);
            // SAFETY: each (sequence, head) has a part of its own.
            let (dk, dv) = unsafe { (dk_shared.slice(at, len), dv_shared.slice(at, len)) };
            one_head(x, shape, &spans[s], first * group + h, &dq, dk, dv);
        });
        let (dk_parts, dv_parts) = parts.split_at(per_head * head_count);
        for (s, span) in spans.iter().enumerate() {
            parallel_ranges(span.len, (4096 / (dim * kv_count)).max(1), |rows| {
                for i in rows {
                    for kv in 0..kv_count {
                        let at = ((span.start + i) * shape.kv_heads + first + kv) * dim;
                        // SAFETY: rows are disjoint.
                        let (dk, dv) = unsafe { (dk.slice(at, dim), dv.slice(at, dim)) };
                        dk.fill(0.0);
                        dv.fill(0.0);
                        for &user in &users[s] {
                            if spans[user].len == 0 {
                                continue; // it has no queries, so it wrote no part
                            }
                            let position = if user == s { span.prefix_len + i } else { i };
                            for g in 0..group {
                                let part = (kv * group + g) * per_head + starts[user] + position * dim;
                                for (sum, value) in dk.iter_mut().zip(&dk_parts[part..part + dim]) {
                                    *sum += value;
                                }
                                for (sum, value) in dv.iter_mut().zip(&dv_parts[part..part + dim]) {
                                    *sum += value;
                                }
                            }
                        }
                    }
                }
            });
        }
    }
    if parts.len() <= PARTS_BUDGET {
        if let Ok(mut kept) = PARTS.lock() {
            *kept = Some(parts);
        }
    }
}
