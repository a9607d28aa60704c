//! One block of a Llama-like decoder for one new token a row: what a step of decoding does in each layer.
//!
//! It is made of the functions of the separate kernels, so that it gives what they give, to the bit. What it saves is the way back to JavaScript
//! between them, packing the same rows for several products, and passes over memory: what follows a product element by element is done while
//! its columns are in the cache.

use crate::attention::{forward_last, write_rows, Format, Heads, Span, Stored};
use crate::gemm::rows::{multiply_rows, PackedRows, Product};
use crate::gemm::PackedB;
use crate::memory::Floats;
use crate::norms::{rms_norm_forward, rms_rows};
use crate::pool::SharedMut;
use crate::rotary::rotary_forward;
use crate::swiglu::swiglu_in_place;

mod adapter;
pub mod call;
mod kept;

pub use adapter::{Adapter, AdapterScratch};
pub use kept::Kept;

/// A linear layer.
#[derive(Clone, Copy)]
pub struct Linear<'a> {
    pub weight: &'a PackedB,
    pub bias: Option<&'a [f32]>,
    pub adapter: Option<Adapter<'a>>,
}

impl<'a> Linear<'a> {
    /// Its product to `y`; `inner`: the rows of its adapter's update.
    fn to(self, y: SharedMut<'a, f32>, inner: Option<&'a PackedRows>) -> Product<'a> {
        let update = self.adapter.and_then(|adapter| Some((inner?, adapter.b)));
        Product { weight: self.weight, bias: self.bias, y, update }
    }
}

/// Parameters of a block, and where its rows stand. Sizes were checked.
pub struct DecodeBlock<'a> {
    pub shape: Heads,
    /// Of the caches.
    pub format: Format,
    pub eps: f32,
    pub attention_norm: &'a [f32],
    pub q: Linear<'a>,
    pub k: Linear<'a>,
    pub v: Linear<'a>,
    pub q_norm: Option<&'a [f32]>,
    pub k_norm: Option<&'a [f32]>,
    pub o: Linear<'a>,
    pub mlp_norm: &'a [f32],
    pub gate: Linear<'a>,
    pub up: Linear<'a>,
    pub down: Linear<'a>,
    pub positions: &'a [i32],
    pub inv_freq: &'a [f32],
    pub rotary_scaling: f64,
    pub cache_rows: &'a [i32],
    pub ranges: &'a [Span],
}

/// Room for what lies between the parts of a block, used again from call to call.
#[derive(Default)]
pub struct Scratch {
    rows: PackedRows,
    floats: [Option<Floats>; 6],
    adapters: AdapterScratch,
}

/// The first `len` floats of a buffer that grows; their contents are arbitrary.
fn room(buffer: &mut Option<Floats>, len: usize) -> &mut [f32] {
    if buffer.as_ref().is_none_or(|floats| floats.len() < len) {
        *buffer = None; // free first
    }
    &mut buffer.get_or_insert_with(|| Floats::uninit(len))[..len]
}

impl DecodeBlock<'_> {
    /// `x [B, D]` becomes what the block makes of it; keys and values of its tokens go to the cache, and what is `kept` to its place.
    pub fn run(
        &self,
        x: &mut [f32],
        cache_k: &mut [f32],
        cache_v: &mut [f32],
        kept: Option<&Kept>,
        scratch: &mut Scratch,
    ) {
        let (m, d) = (self.positions.len(), self.attention_norm.len());
        let Heads { heads, kv_heads, dim, .. } = self.shape;
        let (width, kv_width, inner) = (heads * dim, kv_heads * dim, self.gate.weight.n());
        let Scratch { rows, floats: [one, two, three, four, five, six], adapters } = scratch;
        let normed = room(one, m * d);
        let y = room(two, m * d);
        let (q, k, v) = (room(three, m * width), room(four, m * kv_width), room(five, m * kv_width));
        let wide = room(six, m * width.max(2 * inner));

        normalise(rows, self.q.weight, x, self.attention_norm, self.eps, normed);
        {
            let [for_q, for_k, for_v] = adapters.inner(rows, m, [self.q, self.k, self.v]);
            let [q, k, v] = [&mut *q, &mut *k, &mut *v].map(SharedMut::new);
            multiply_rows(
                rows,
                &[&[self.q.to(q, for_q)], &[self.k.to(k, for_k)], &[self.v.to(v, for_v)]],
                |layer, columns| {
                    let Some(kept) = kept else { return };
                    let (into, from) = [(kept.q, q), (kept.k, k), (kept.v, v)][layer];
                    let width = if layer == 0 { width } else { kv_width };
                    // SAFETY: these columns are this call's alone.
                    unsafe { kept.put(into, from, width, &columns) };
                },
            );
        }
        self.turn(q, self.q_norm, heads, wide);
        self.turn(k, self.k_norm, kv_heads, wide);
        write_rows(cache_k, self.format, k, kv_width, self.cache_rows);
        write_rows(cache_v, self.format, v, kv_width, self.cache_rows);
        let mixed = &mut wide[..m * width];
        let (k, v) = (Stored::new(cache_k, self.format), Stored::new(cache_v, self.format));
        let left = kept.map(Kept::of_attention);
        forward_last(q, k, v, &self.shape, self.ranges, mixed, left.as_ref());
        rows.pack(self.o.weight, m, width, |range| &mixed[range.start * width..range.end * width]);
        add_product(rows, self.o, (m, d), y, x, kept.map(|kept| (kept, kept.o)), adapters);

        normalise(rows, self.gate.weight, x, self.mlp_norm, self.eps, normed);
        let (gate, up) = wide[..2 * m * inner].split_at_mut(m * inner);
        {
            let (gate, up) = (SharedMut::new(gate), SharedMut::new(up));
            let join = |at: usize, len: usize| {
                // SAFETY: this part is the caller's alone.
                let (gate, up) = unsafe { (gate.slice(at, len), up.slice(at, len)) };
                swiglu_in_place(gate, up);
            };
            let [for_gate, for_up] = adapters.inner(rows, m, [self.gate, self.up]);
            multiply_rows(rows, &[&[self.gate.to(gate, for_gate), self.up.to(up, for_up)]], |_, columns| {
                if let Some(kept) = kept {
                    // SAFETY: these columns are this call's alone.
                    unsafe {
                        kept.put(kept.gate, gate, inner, &columns);
                        kept.put(kept.up, up, inner, &columns);
                    }
                }
                (0..m).for_each(|row| join(row * inner + columns.start, columns.len()))
            });
        }
        rows.pack(self.down.weight, m, inner, |range| &gate[range.start * inner..range.end * inner]);
        add_product(rows, self.down, (m, d), y, x, kept.map(|kept| (kept, kept.down)), adapters);
    }

    /// Norm (where there is one) and rotation of heads, in place; `other` is room for as much.
    fn turn(&self, x: &mut [f32], norm: Option<&[f32]>, heads: usize, other: &mut [f32]) {
        let (dim, other) = (self.shape.dim, &mut other[..x.len()]);
        match norm {
            Some(weight) => rms_norm_forward(x, weight, self.eps, other),
            None => other.copy_from_slice(x),
        }
        rotary_forward(other, self.positions, self.inv_freq, self.rotary_scaling, false, heads, dim, x);
    }
}

/// RMSNorm of `x`, packed as the left operand of `weight`.
fn normalise(rows: &mut PackedRows, weight: &PackedB, x: &[f32], norm: &[f32], eps: f32, normed: &mut [f32]) {
    let d = norm.len();
    let normed = SharedMut::new(normed);
    rows.pack(weight, x.len() / d, d, |range| {
        // SAFETY: rows are disjoint.
        let y = unsafe { normed.slice(range.start * d, range.len() * d) };
        rms_rows(&x[range.start * d..range.end * d], norm, eps, y);
        y
    });
}

/// `x += rows · weight + bias`, and the adapter's update, the sum complete before it is added, and kept where that is asked for.
fn add_product(
    rows: &PackedRows,
    layer: Linear,
    (m, d): (usize, usize),
    y: &mut [f32],
    x: &mut [f32],
    keeping: Option<(&Kept, SharedMut<f32>)>,
    adapters: &mut AdapterScratch,
) {
    let (x, y) = (SharedMut::new(x), SharedMut::new(y));
    let [inner] = adapters.inner(rows, m, [layer]);
    multiply_rows(rows, &[&[layer.to(y, inner)]], |_, columns| {
        if let Some((kept, into)) = keeping {
            // SAFETY: these columns are this call's alone.
            unsafe { kept.put(into, y, d, &columns) };
        }
        for row in 0..m {
            let at = row * d + columns.start;
            // SAFETY: these columns are this call's alone.
            let (x, y) = unsafe { (x.slice(at, columns.len()), y.slice(at, columns.len())) };
            x.iter_mut().zip(y).for_each(|(x, y)| *x += *y);
        }
    });
}

#[cfg(test)]
mod tests;
