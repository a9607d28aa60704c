//! Causal attention over packed ragged sequences with shared prefixes, grouped-query heads and an optional sliding window, forward and backward.
//! Tiled with a running softmax (Dao et al. 2022): scores are never whole in memory.
//!
//! Keys are taken in tiles of [`TILE`] logical positions, counted from the start of the prefix, and every score is a sum over the head in one order. So a
//! query's result depends on its own context alone: not on its batch, on how rows were divided, nor on whether its context is a shared prefix or its own.
//! Where products are in bfloat16, keys and values are rounded to it: so a cache keeps them in half the memory, and training computes with what sampling finds there.
//! Backward, each (sequence, query head) adds up its own part of dk and dv; the parts are then added in the order of sequences and heads.

mod backward;
mod forward;
mod last;
mod packed;
mod stored;
#[cfg(test)]
mod tests;
mod tiles;

pub use backward::{backward, Backward};
pub use forward::forward;
pub use last::{forward_last, Left};
pub use stored::{write_rows, Format, Stored};

use crate::border::{disjoint, fail, floats, floats_mut, guard, ints, place, product};
use napi::bindgen_prelude::*;
use napi_derive::napi;
use tiles::TILE;

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
    /// Whether the rows of these positions lie one after another.
    fn is_whole(&self, from: usize, count: usize) -> bool {
        from >= self.prefix_len || from + count <= self.prefix_len
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

/// Keys and values as training reads them.
fn rounded_or_not(rounded: bool) -> Format {
    if rounded {
        Format::Rounded
    } else {
        Format::Floats
    }
}

/// `q [T, heads, dim]`, `k`, `v [T, kvHeads, dim]`, `offsets [S + 1]`, `prefixOf [S]` → `o [T, heads, dim]`, `lse [T, heads]`; `rounded`: keys and values to bfloat16.
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
    rounded: bool,
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
        let format = rounded_or_not(rounded);
        let (k, v) = (Stored::new(floats(&k, "k", m)?, format), Stored::new(floats(&v, "v", m)?, format));
        forward(floats(&q, "q", n)?, k, v, &shape, &spans, o, lse);
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
    rounded: bool,
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
            k: Stored::new(floats(&k, "k", m)?, rounded_or_not(rounded)),
            v: Stored::new(floats(&v, "v", m)?, rounded_or_not(rounded)),
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
