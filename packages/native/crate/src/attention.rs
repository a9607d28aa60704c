//! Causal attention over packed ragged sequences with shared prefixes, grouped-query heads and an optional sliding window, forward and backward.
//! Tiled with a running softmax (Dao et al. 2022): scores are never whole in memory.
//!
//! Keys are taken in tiles of [`TILE`] logical positions, counted from the start of the prefix, and every score is a sum over the head in one order. So a
//! query's result depends on its own context alone: not on its batch, on how rows were divided, nor on whether its context is a shared prefix or its own.
//! Backward, each (sequence, query head) adds up its own part of dk and dv; the parts are then added in the order of sequences and heads.

use crate::border::{disjoint, fail, floats, floats_mut, guard, ints, place, product};
use crate::memory::Floats;
use crate::pool::{parallel_for, parallel_ranges, SharedMut};
use crate::vector::Vector;
use crate::{fold, vectorised};
use napi::bindgen_prelude::*;
use napi_derive::napi;
use std::cell::Cell;
use std::sync::Mutex;

/// Keys a tile, and queries a block.
const TILE: usize = 64;
/// Floats that the parts of dk and dv may take at once; more heads than fit go in another wave.
const PARTS_BUDGET: usize = 16 << 20;
/// Floats of scratch that a thread keeps between calls.
const SCRATCH_KEPT: usize = 2 << 20;

/// Sizes of the heads, and what scores are made of.
#[derive(Clone, Copy)]
pub struct Heads {
    pub heads: usize,
    pub kv_heads: usize,
    pub dim: usize,
    pub scale: f32,
    /// 0: none.
    pub window: usize,
}

impl Heads {
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
    /// The head's size rounded up to whole vectors.
    fn padded(&self) -> usize {
        self.dim.next_multiple_of(16)
    }
    /// The positions that a query at `position` sees: `from .. position + 1`.
    fn first_seen(&self, position: usize) -> usize {
        if self.window == 0 {
            0
        } else {
            (position + 1).saturating_sub(self.window)
        }
    }
}

/// A sequence: rows `start .. start + len`, after the prefix's rows.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    start: usize,
    len: usize,
    prefix_start: usize,
    prefix_len: usize,
}

/// Queries that a block takes at once.
struct Queries {
    /// Where the first stands among the rows of `q` and `o`.
    row: usize,
    /// Its logical position, counted from the start of the prefix.
    position: usize,
    rows: usize,
}

impl Span {
    /// From `[start, length]` of a prefix and of what is its own.
    pub fn of_ranges(prefix: [usize; 2], own: [usize; 2]) -> Self {
        Self { start: own[0], len: own[1], prefix_start: prefix[0], prefix_len: prefix[1] }
    }
    fn context(&self) -> usize {
        self.prefix_len + self.len
    }
    /// The row of a logical position.
    #[inline(always)]
    fn row(&self, position: usize) -> usize {
        if position < self.prefix_len {
            self.prefix_start + position
        } else {
            self.start + position - self.prefix_len
        }
    }
    fn cost(&self) -> usize {
        self.len * (self.prefix_len + self.len / 2 + TILE)
    }
}

/// Checks a layout and turns it into spans.
pub fn spans(offsets: &[i32], prefix_of: &[i32], tokens: usize) -> Result<Vec<Span>> {
    if offsets.len() != prefix_of.len() + 1 {
        return Err(fail(format!("attention: {} offsets for {} sequences", offsets.len(), prefix_of.len())));
    }
    if offsets[0] != 0
        || offsets[prefix_of.len()] as usize != tokens
        || offsets.windows(2).any(|pair| pair[0] > pair[1])
    {
        return Err(fail(format!("attention: offsets must rise from 0 to {tokens}")));
    }
    let mut spans: Vec<Span> = Vec::with_capacity(prefix_of.len());
    for (s, &prefix) in prefix_of.iter().enumerate() {
        let (start, len) = (offsets[s] as usize, (offsets[s + 1] - offsets[s]) as usize);
        let (prefix_start, prefix_len) = match prefix {
            -1 => (0, 0),
            p if p >= 0 && (p as usize) < s && spans[p as usize].prefix_len == 0 => {
                (spans[p as usize].start, spans[p as usize].len)
            }
            p => {
                return Err(fail(format!(
                "attention: sequence {s} continues {p}, which must come before it and have no prefix itself"
            )))
            }
        };
        spans.push(Span { start, len, prefix_start, prefix_len });
    }
    Ok(spans)
}

/// `c [M, N vectors] (+)= a [M, k] · b [k, N vectors]`.
///
/// # Safety
/// `a` must be readable at `i * a_row + p * a_col`, `b` at rows of `b_row` floats, `c` writable at rows of `c_row`, for N vectors each.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn block<V: Vector, const M: usize, const N: usize>(
    k: usize,
    a: *const f32,
    a_row: usize,
    a_col: usize,
    b: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
) {
    let mut sums = [[V::splat(0.0); N]; M];
    for p in 0..k {
        // SAFETY: p < k, and the caller's promise.
        unsafe {
            let mut row = [V::splat(0.0); N];
            for (j, value) in row.iter_mut().enumerate() {
                *value = V::load(b.add(p * b_row + j * V::LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = V::splat(*a.add(i * a_row + p * a_col));
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum = x.fma(value, *sum);
                }
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (j, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let place = c.add(i * c_row + j * V::LANES);
                let value = if accumulate { V::load(place).add(*sum) } else { *sum };
                value.store(place);
            }
        }
    }
}

/// `c [m, n] (+)= a [m, k] · b [k, n]`; `n` is a multiple of 16. Every element is one sum over `k` in order, whatever `m` is.
///
/// # Safety
/// `a` must be readable at `i * a_row + p * a_col`, `b` as `[k, n]` in rows of `b_row`, `c` writable as `[m, n]` in rows of `c_row`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn multiply<V: Vector>(
    (m, n, k): (usize, usize, usize),
    a: *const f32,
    (a_row, a_col): (usize, usize),
    b: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
) {
    let pair = 2 * V::LANES;
    let mut j = 0;
    while j < n {
        let two = j + pair <= n;
        let mut i = 0;
        while i < m {
            // SAFETY: i < m and j < n, and the caller's promise.
            unsafe {
                let (a, b, c) = (a.add(i * a_row), b.add(j), c.add(i * c_row + j));
                macro_rules! run {
                    ($m:literal) => {
                        if two {
                            block::<V, $m, 2>(k, a, a_row, a_col, b, b_row, c, c_row, accumulate)
                        } else {
                            block::<V, $m, 1>(k, a, a_row, a_col, b, b_row, c, c_row, accumulate)
                        }
                    };
                }
                match m - i {
                    1 => run!(1),
                    2 => run!(2),
                    3 => run!(3),
                    4 => run!(4),
                    5 => run!(5),
                    _ => run!(6),
                }
            }
            i += 6;
        }
        j += if two { pair } else { V::LANES };
    }
}

/// Copies head `head` of the rows of logical positions `from .. from + count` as `[dim, TILE]`, the rest zero.
#[allow(clippy::too_many_arguments)]
fn pack_transposed(
    x: &[f32],
    span: &Span,
    from: usize,
    count: usize,
    stride: usize,
    head: usize,
    dim: usize,
    out: &mut [f32],
) {
    for j in 0..count {
        let at = span.row(from + j) * stride + head * dim;
        for (d, &value) in x[at..at + dim].iter().enumerate() {
            out[d * TILE + j] = value;
        }
    }
    if count < TILE {
        for row in out[..dim * TILE].chunks_exact_mut(TILE) {
            row[count..].fill(0.0);
        }
    }
}

/// The same as `[count, padded]`.
#[allow(clippy::too_many_arguments)]
fn pack_rows(
    x: &[f32],
    span: &Span,
    from: usize,
    count: usize,
    stride: usize,
    head: usize,
    dim: usize,
    padded: usize,
    out: &mut [f32],
) {
    for (j, row) in out[..count * padded].chunks_exact_mut(padded).enumerate() {
        let at = span.row(from + j) * stride + head * dim;
        row[..dim].copy_from_slice(&x[at..at + dim]);
        row[dim..].fill(0.0);
    }
}

/// Which columns of the tile from `from` the query at `position` sees.
#[inline(always)]
fn seen(shape: &Heads, position: usize, from: usize, count: usize) -> (usize, usize) {
    (
        shape.first_seen(position).saturating_sub(from).min(count),
        (position + 1).saturating_sub(from).min(count),
    )
}

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// A thread's scratch, on loan. Not handed to a closure, because closures lose the processor features of the function that they stand in.
struct Scratch(Vec<f32>);

impl Scratch {
    /// Room for pieces of these sizes, each rounded up to 16 floats, so that it may be read in whole vectors.
    fn borrow(sizes: &[usize]) -> Self {
        let mut room = SCRATCH.take();
        let total: usize = sizes.iter().map(|n| n.next_multiple_of(16)).sum();
        if room.len() < total {
            room.resize(total, 0.0);
        }
        Self(room)
    }
    /// The pieces; contents arbitrary.
    fn pieces<const N: usize>(&mut self, sizes: [usize; N]) -> [&mut [f32]; N] {
        let mut rest = &mut self.0[..];
        sizes.map(|n| {
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(n.next_multiple_of(16));
            rest = after;
            &mut piece[..n]
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.len() <= SCRATCH_KEPT {
            SCRATCH.set(std::mem::take(&mut self.0));
        }
    }
}

vectorised! {
    /// All query heads of key head `kv_head`, for some queries of a sequence that stand one after another.
    fn forward_block<V>(q: &[f32], k: &[f32], v: &[f32], shape: &Heads, span: &Span, kv_head: usize, queries: &Queries, o: &SharedMut<f32>, lse: Option<&SharedMut<f32>>) {
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
                pack_transposed(k, span, from, count, k_stride, kv_head, dim, kt);
                pack_rows(v, span, from, count, k_stride, kv_head, dim, padded, vp);
                // Queries before `lowest` are earlier than every key of this tile.
                let lowest = from.saturating_sub(first).min(rows);
                for g in 0..group {
                    let head = kv_head * group + g;
                    let queries = &q[(first_row + lowest) * q_stride + head * dim..];
                    let active = rows - lowest;
                    assert!(queries.len() >= (active - 1) * q_stride + dim);
                    // SAFETY: queries holds `active` rows of `dim` in steps of q_stride, kt is [dim, TILE], scores [TILE, TILE] and active <= TILE.
                    unsafe { multiply::<V>((active, TILE, dim), queries.as_ptr(), (q_stride, 1), kt.as_ptr(), TILE, scores.as_mut_ptr(), TILE, false) };
                    for i in 0..active {
                        let (low, high) = seen(shape, first + lowest + i, from, count);
                        let row = &mut scores[i * TILE..(i + 1) * TILE];
                        let r = g * rows + lowest + i;
                        if low >= high {
                            row.fill(0.0);
                            continue;
                        }
                        row[..low].fill(f32::NEG_INFINITY);
                        row[high..].fill(f32::NEG_INFINITY);
                        // SAFETY: row holds TILE floats, a multiple of every vector's width; sums holds `all` rows of `padded`.
                        unsafe {
                            let p = row.as_mut_ptr();
                            let scale = V::splat(shape.scale);
                            let mut top = V::splat(f32::NEG_INFINITY);
                            for c in (0..TILE).step_by(V::LANES) {
                                let s = V::load(p.add(c)).mul(scale);
                                s.store(p.add(c));
                                top = top.max(s);
                            }
                            let new_top = top.top().max(tops[r]);
                            let shift = V::splat(new_top);
                            let mut total = V::splat(0.0);
                            for c in (0..TILE).step_by(V::LANES) {
                                let e = V::load(p.add(c)).sub(shift).exp();
                                e.store(p.add(c));
                                total = total.add(e);
                            }
                            let decay = V::splat(tops[r] - new_top).exp();
                            let decay_one = decay.lanes()[0];
                            totals[r] = totals[r] * decay_one + total.sum();
                            tops[r] = new_top;
                            if decay_one != 1.0 {
                                let out = sums.as_mut_ptr().add(r * padded);
                                for c in (0..padded).step_by(V::LANES) {
                                    V::load(out.add(c)).mul(decay).store(out.add(c));
                                }
                            }
                        }
                    }
                    let out = &mut sums[(g * rows + lowest) * padded..(g + 1) * rows * padded];
                    // SAFETY: scores is [active, TILE] with count <= TILE, vp [count, padded], out [active, padded].
                    unsafe { multiply::<V>((active, padded, count), scores.as_ptr(), (TILE, 1), vp.as_ptr(), padded, out.as_mut_ptr(), padded, true) };
                }
                from += TILE;
            }
            for g in 0..group {
                let head = kv_head * group + g;
                for i in 0..rows {
                    let (r, row) = (g * rows + i, first_row + i);
                    // SAFETY: this block alone writes these rows of these heads.
                    let out = unsafe { o.slice(row * q_stride + head * dim, dim) };
                    let inverse = 1.0 / totals[r];
                    for (target, sum) in out.iter_mut().zip(&sums[r * padded..]) {
                        *target = sum * inverse;
                    }
                    if let Some(lse) = lse {
                        // SAFETY: as above.
                        unsafe { lse.slice(row * shape.heads + head, 1)[0] = tops[r] + totals[r].ln() };
                    }
                }
            }
    }
}

/// `q [T, heads, dim]`, `k`, `v [T, kv_heads, dim]` → `o [T, heads, dim]`, `lse [T, heads]`.
pub fn forward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
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
    parallel_for(tasks.len(), |task| {
        let (_, s, first, kv_head) = tasks[task];
        let span = &spans[s];
        let queries = Queries { row: span.start + first, position: span.prefix_len + first, rows: TILE.min(span.len - first) };
        forward_block(q, k, v, shape, span, kv_head, &queries, &o, Some(&lse));
    });
}

/// One query a sequence, the last of its context: `q [sequences, heads, dim]` → `o` of the same shape; `k`, `v` hold the rows of the spans. Gives what [`forward`] gives there.
pub fn forward_last(q: &[f32], k: &[f32], v: &[f32], shape: &Heads, spans: &[Span], o: &mut [f32]) {
    let o = SharedMut::new(o);
    parallel_for(spans.len() * shape.kv_heads, |task| {
        let (row, kv_head) = (task / shape.kv_heads, task % shape.kv_heads);
        let queries = Queries { row, position: spans[row].context() - 1, rows: 1 };
        forward_block(q, k, v, shape, &spans[row], kv_head, &queries, &o, None);
    });
}

/// What the backward pass reads.
pub struct Backward<'a> {
    pub dy: &'a [f32],
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub o: &'a [f32],
    pub lse: &'a [f32],
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
            pack_rows(x.q, &own, 0, n, q_stride, head, dim, padded, qs);
            pack_rows(x.dy, &own, 0, n, q_stride, head, dim, padded, dys);
            dqs.fill(0.0);
            for (i, delta) in deltas.iter_mut().enumerate() {
                let at = (span.start + i) * q_stride + head * dim;
                let (dy, o) = (&x.dy[at..at + dim], &x.o[at..at + dim]);
                // SAFETY: both hold dim floats.
                *delta = unsafe { fold!(V, dim, [dy: dy.as_ptr(), o: o.as_ptr()], sum, dy.fma(o, sum)) };
            }
            for from in (0..span.context()).step_by(TILE) {
                let count = TILE.min(span.context() - from);
                pack_transposed(x.k, span, from, count, k_stride, kv_head, dim, kt);
                pack_transposed(x.v, span, from, count, k_stride, kv_head, dim, vt);
                pack_rows(x.k, span, from, count, k_stride, kv_head, dim, padded, kp);
                dks.fill(0.0);
                dvs.fill(0.0);
                // The queries that see a key of this tile: not before its first key, and with a window not too long after its last.
                let begin = from.saturating_sub(span.prefix_len) / TILE * TILE;
                let end = if shape.window == 0 { n } else { (from + count - 1 + shape.window).saturating_sub(span.prefix_len).min(n) };
                for first in (begin..end).step_by(TILE) {
                    let rows = TILE.min(n - first);
                    let (qb, dyb) = (&qs[first * padded..], &dys[first * padded..]);
                    // SAFETY: qb and dyb hold `rows` rows of `padded`, kt and vt are [dim, TILE], probs and ds [TILE, TILE].
                    unsafe {
                        multiply::<V>((rows, TILE, dim), qb.as_ptr(), (padded, 1), kt.as_ptr(), TILE, probs.as_mut_ptr(), TILE, false);
                        multiply::<V>((rows, TILE, dim), dyb.as_ptr(), (padded, 1), vt.as_ptr(), TILE, ds.as_mut_ptr(), TILE, false);
                    }
                    for i in 0..rows {
                        let (low, high) = seen(shape, span.prefix_len + first + i, from, count);
                        let (p, d) = (&mut probs[i * TILE..(i + 1) * TILE], &mut ds[i * TILE..(i + 1) * TILE]);
                        if low >= high {
                            p.fill(0.0);
                            d.fill(0.0);
                            continue;
                        }
                        let scale = V::splat(shape.scale);
                        let lse = V::splat(-x.lse[(span.start + first + i) * shape.heads + head]);
                        let delta = V::splat(deltas[first + i]);
                        for c in (0..TILE).step_by(V::LANES) {
                            // SAFETY: both rows hold TILE floats, a multiple of every vector's width.
                            unsafe {
                                let (p, d) = (p.as_mut_ptr().add(c), d.as_mut_ptr().add(c));
                                let prob = V::load(p).fma(scale, lse).exp();
                                prob.store(p);
                                prob.mul(V::load(d).sub(delta)).mul(scale).store(d);
                            }
                        }
                        p[..low].fill(0.0);
                        p[high..].fill(0.0);
                        d[..low].fill(0.0);
                        d[high..].fill(0.0);
                    }
                    // SAFETY: probs and ds are [rows, TILE] with count <= TILE columns used, read transposed; dks and dvs [TILE, padded]; kp [count, padded]; dqs [n, padded].
                    unsafe {
                        multiply::<V>((count, padded, rows), probs.as_ptr(), (1, TILE), dyb.as_ptr(), padded, dvs.as_mut_ptr(), padded, true);
                        multiply::<V>((count, padded, rows), ds.as_ptr(), (1, TILE), qb.as_ptr(), padded, dks.as_mut_ptr(), padded, true);
                        multiply::<V>((rows, padded, count), ds.as_ptr(), (TILE, 1), kp.as_ptr(), padded, dqs.as_mut_ptr().add(first * padded), padded, true);
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
            backward_head(x, shape, &spans[s], first * group + h, &dq, dk, dv);
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

/// Checks sizes; the number of tokens is that of `q`.
pub fn heads(heads: u32, kv_heads: u32, dim: u32, scale: f64, window: u32) -> Result<Heads> {
    if heads == 0
        || kv_heads == 0
        || dim == 0
        || !heads.is_multiple_of(kv_heads)
        || !(scale > 0.0 && scale.is_finite())
    {
        return Err(fail(format!(
            "attention: {heads} query heads over {kv_heads} key heads of {dim}, scale {scale}"
        )));
    }
    Ok(Heads {
        heads: heads as usize,
        kv_heads: kv_heads as usize,
        dim: dim as usize,
        scale: scale as f32,
        window: window as usize,
    })
}

fn last(offsets: &[i32]) -> Result<usize> {
    match offsets.last() {
        Some(&n) if n >= 0 => Ok(n as usize),
        _ => Err(fail("attention: offsets are empty or negative")),
    }
}

/// `q [T, heads, dim]`, `k`, `v [T, kvHeads, dim]`, `offsets [S + 1]`, `prefixOf [S]` → `o [T, heads, dim]`, `lse [T, heads]`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn causal_attention(
    q: Float32ArraySlice,
    k: Float32ArraySlice,
    v: Float32ArraySlice,
    offsets: Int32ArraySlice,
    prefix_of: Int32ArraySlice,
    mut o: Float32ArraySlice,
    mut lse: Float32ArraySlice,
    query_heads: u32,
    kv_heads: u32,
    dim: u32,
    scale: f64,
    window: u32,
) -> Result<()> {
    guard(|| {
        let shape = heads(query_heads, kv_heads, dim, scale, window)?;
        let tokens = last(&offsets)?;
        let spans = spans(&offsets, ints(&prefix_of, "prefixOf", offsets.len() - 1)?, tokens)?;
        let (n, m) = (
            product("causalAttention", &[tokens, shape.heads, shape.dim])?,
            product("causalAttention", &[tokens, shape.kv_heads, shape.dim])?,
        );
        disjoint(
            "causalAttention",
            &[place(&o), place(&lse)],
            &[place(&q), place(&k), place(&v), place(&offsets), place(&prefix_of)],
        )?;
        let (o, lse) = (floats_mut(&mut o, "o", n)?, floats_mut(&mut lse, "lse", tokens * shape.heads)?);
        forward(floats(&q, "q", n)?, floats(&k, "k", m)?, floats(&v, "v", m)?, &shape, &spans, o, lse);
        Ok(())
    })
}

/// The inputs and outputs of `causalAttention`, and `dy [T, heads, dim]` → `dq [T, heads, dim]`, `dk`, `dv [T, kvHeads, dim]`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn causal_attention_grad(
    dy: Float32ArraySlice,
    q: Float32ArraySlice,
    k: Float32ArraySlice,
    v: Float32ArraySlice,
    o: Float32ArraySlice,
    lse: Float32ArraySlice,
    offsets: Int32ArraySlice,
    prefix_of: Int32ArraySlice,
    mut dq: Float32ArraySlice,
    mut dk: Float32ArraySlice,
    mut dv: Float32ArraySlice,
    query_heads: u32,
    kv_heads: u32,
    dim: u32,
    scale: f64,
    window: u32,
) -> Result<()> {
    guard(|| {
        let shape = heads(query_heads, kv_heads, dim, scale, window)?;
        let tokens = last(&offsets)?;
        let spans = spans(&offsets, ints(&prefix_of, "prefixOf", offsets.len() - 1)?, tokens)?;
        let (n, m) = (
            product("causalAttention", &[tokens, shape.heads, shape.dim])?,
            product("causalAttention", &[tokens, shape.kv_heads, shape.dim])?,
        );
        let read = [
            place(&dy),
            place(&q),
            place(&k),
            place(&v),
            place(&o),
            place(&lse),
            place(&offsets),
            place(&prefix_of),
        ];
        disjoint("causalAttentionGrad", &[place(&dq), place(&dk), place(&dv)], &read)?;
        let x = Backward {
            dy: floats(&dy, "dy", n)?,
            q: floats(&q, "q", n)?,
            k: floats(&k, "k", m)?,
            v: floats(&v, "v", m)?,
            o: floats(&o, "o", n)?,
            lse: floats(&lse, "lse", tokens * shape.heads)?,
        };
        backward(
            &x,
            &shape,
            &spans,
            floats_mut(&mut dq, "dq", n)?,
            floats_mut(&mut dk, "dk", m)?,
            floats_mut(&mut dv, "dv", m)?,
        );
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, seed: u32) -> Vec<f32> {
        (0..n).map(|i| crate::sampling::uniform([seed, 3], i as u32, 0) as f32 * 2.0 - 1.0).collect()
    }

    /// Σ o * probe in float64 from whole score matrices; also the outputs.
    fn reference(q: &[f64], k: &[f64], v: &[f64], shape: &Heads, spans: &[Span]) -> Vec<f64> {
        let (dim, group) = (shape.dim, shape.group());
        let mut o = vec![0.0; q.len()];
        for span in spans {
            for i in 0..span.len {
                let position = span.prefix_len + i;
                for head in 0..shape.heads {
                    let at = ((span.start + i) * shape.heads + head) * dim;
                    let key = |p: usize| (span.row(p) * shape.kv_heads + head / group) * dim;
                    let range = shape.first_seen(position)..position + 1;
                    let scores: Vec<f64> = range
                        .clone()
                        .map(|p| {
                            (0..dim).map(|d| q[at + d] * k[key(p) + d]).sum::<f64>() * f64::from(shape.scale)
                        })
                        .collect();
                    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                    for (p, s) in range.zip(&scores) {
                        for d in 0..dim {
                            o[at + d] += (s - top).exp() / total * v[key(p) + d];
                        }
                    }
                }
            }
        }
        o
    }

    fn wide(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| f64::from(x)).collect()
    }

    const LAYOUTS: [(&[i32], &[i32]); 5] = [
        (&[0, 1], &[-1]),
        (&[0, 5, 9, 12], &[-1, 0, 0]),
        (&[0, 70, 75, 210, 210, 211], &[-1, 0, -1, 0, 2]),
        (&[0, 3, 3, 7], &[-1, -1, 1]),
        (&[0, 64, 130, 140], &[-1, 0, 0]),
    ];

    #[test]
    fn values_agree_with_whole_matrices() {
        for (offsets, prefix_of) in LAYOUTS {
            let tokens = *offsets.last().unwrap() as usize;
            let spans = spans(offsets, prefix_of, tokens).unwrap();
            for (heads, kv_heads, dim, window) in [(4, 2, 8, 0), (3, 1, 5, 7), (2, 2, 24, 66), (6, 2, 64, 0)]
            {
                let shape = Heads { heads, kv_heads, dim, scale: 0.7, window };
                let (q, k, v) = (
                    wave(tokens * heads * dim, 1),
                    wave(tokens * kv_heads * dim, 2),
                    wave(tokens * kv_heads * dim, 3),
                );
                let (mut o, mut lse) = (vec![9.0; q.len()], vec![9.0; tokens * heads]);
                forward(&q, &k, &v, &shape, &spans, &mut o, &mut lse);
                for (a, b) in o.iter().zip(reference(&wide(&q), &wide(&k), &wide(&v), &shape, &spans)) {
                    assert!((f64::from(*a) - b).abs() < 2e-6, "{offsets:?} {heads} {dim} {window}: {a} {b}");
                }
            }
        }
    }

    #[test]
    fn gradients_are_the_derivatives() {
        for (offsets, prefix_of) in
            [LAYOUTS[0], LAYOUTS[1], LAYOUTS[3], (&[0, 66, 69, 72][..], &[-1, 0, 0][..])]
        {
            let tokens = *offsets.last().unwrap() as usize;
            let spans = spans(offsets, prefix_of, tokens).unwrap();
            for (heads, kv_heads, dim, window) in [(4, 2, 3, 0), (2, 2, 2, 5)] {
                let shape = Heads { heads, kv_heads, dim, scale: 0.9, window };
                let (q, k, v) = (
                    wave(tokens * heads * dim, 1),
                    wave(tokens * kv_heads * dim, 2),
                    wave(tokens * kv_heads * dim, 3),
                );
                let dy = wave(q.len(), 4);
                let (mut o, mut lse) = (vec![0.0; q.len()], vec![0.0; tokens * heads]);
                forward(&q, &k, &v, &shape, &spans, &mut o, &mut lse);
                let (mut dq, mut dk, mut dv) = (vec![9.0; q.len()], vec![9.0; k.len()], vec![9.0; v.len()]);
                let x = Backward { dy: &dy, q: &q, k: &k, v: &v, o: &o, lse: &lse };
                backward(&x, &shape, &spans, &mut dq, &mut dk, &mut dv);
                let loss = |q: &[f64], k: &[f64], v: &[f64]| {
                    reference(q, k, v, &shape, &spans)
                        .iter()
                        .zip(&dy)
                        .map(|(o, d)| o * f64::from(*d))
                        .sum::<f64>()
                };
                let base = [wide(&q), wide(&k), wide(&v)];
                for (which, gradient) in [&dq, &dk, &dv].into_iter().enumerate() {
                    for i in (0..gradient.len()).step_by(1 + gradient.len() / 40) {
                        let moved = |step: f64| {
                            let mut at = base.clone();
                            at[which][i] += step;
                            loss(&at[0], &at[1], &at[2])
                        };
                        let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                        assert!(
                            (f64::from(gradient[i]) - numeric).abs() < 2e-5 * (1.0 + numeric.abs()),
                            "{offsets:?} {which} {i}: {} {numeric}",
                            gradient[i]
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_query_depends_on_its_context_alone() {
        // The same context, as a sequence of its own and as a prefix with a continuation, among others.
        let (heads, kv_heads, dim) = (6, 2, 20);
        let shape = Heads { heads, kv_heads, dim, scale: 0.3, window: 0 };
        let (q, k, v) =
            (wave(200 * heads * dim, 1), wave(200 * kv_heads * dim, 2), wave(200 * kv_heads * dim, 3));
        let run = |q: &[f32], k: &[f32], v: &[f32], offsets: &[i32], prefix_of: &[i32]| {
            let tokens = *offsets.last().unwrap() as usize;
            let (mut o, mut lse) = (vec![0.0; tokens * heads * dim], vec![0.0; tokens * heads]);
            forward(q, k, v, &shape, &spans(offsets, prefix_of, tokens).unwrap(), &mut o, &mut lse);
            o
        };
        let shared = run(&q, &k, &v, &[0, 90, 110, 200], &[-1, 0, 0]);
        let take = |x: &[f32], width: usize| [&x[..90 * width], &x[110 * width..]].concat();
        let alone = run(
            &take(&q, heads * dim),
            &take(&k, kv_heads * dim),
            &take(&v, kv_heads * dim),
            &[0, 180],
            &[-1],
        );
        assert_eq!(take(&shared, heads * dim), alone);
    }

    #[test]
    fn bad_layouts_are_refused() {
        assert!(spans(&[0, 3], &[0], 3).is_err());
        assert!(spans(&[0, 3, 2], &[-1, -1], 2).is_err());
        assert!(spans(&[0, 3, 5, 6], &[-1, 0, 1], 6).is_err());
        assert!(spans(&[0, 3], &[-1], 4).is_err());
        assert!(spans(&[1, 3], &[-1], 3).is_err());
    }
}
