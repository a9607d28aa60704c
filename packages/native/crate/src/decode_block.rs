//! One block of a Llama-like decoder for one new token a row: what a step of decoding does in each layer, in one call.
//!
//! It is made of the functions of the separate kernels, so that it gives what they give, to the bit. What it saves is the way back to JavaScript
//! between them, packing the same rows for several products, and passes over memory: what follows a product element by element is done while
//! its columns are in the cache.

use crate::attention::{forward_last, Span};
use crate::attention::{heads, Heads};
use crate::border::{disjoint, fail, floats_mut, guard, ints, part, place, place_of, product};
use crate::cached_attention::parse_ranges;
use crate::gemm::rows::{multiply_rows, PackedRows, Product};
use crate::gemm::PackedB;
use crate::linear::PackedWeight;
use crate::memory::Floats;
use crate::norms::{rms_norm_forward, rms_rows};
use crate::pool::SharedMut;
use crate::rotary::rotary_forward;
use crate::swiglu::swiglu_in_place;
use napi::bindgen_prelude::*;
use napi_derive::napi;
use std::cell::RefCell;

mod adapter;

pub use adapter::{Adapter, AdapterScratch};

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
    /// `x [B, D]` becomes what the block makes of it; keys and values of its tokens go to the cache.
    pub fn run(&self, x: &mut [f32], cache_k: &mut [f32], cache_v: &mut [f32], scratch: &mut Scratch) {
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
            let q = [self.q.to(SharedMut::new(q), for_q)];
            let k = [self.k.to(SharedMut::new(k), for_k)];
            let v = [self.v.to(SharedMut::new(v), for_v)];
            multiply_rows(rows, &[&q, &k, &v], |_, _| ());
        }
        self.turn(q, self.q_norm, heads, wide);
        self.turn(k, self.k_norm, kv_heads, wide);
        for (b, &row) in self.cache_rows.iter().enumerate() {
            let (from, to) = (b * kv_width..(b + 1) * kv_width, row as usize * kv_width);
            cache_k[to..to + kv_width].copy_from_slice(&k[from.clone()]);
            cache_v[to..to + kv_width].copy_from_slice(&v[from]);
        }
        let mixed = &mut wide[..m * width];
        forward_last(q, cache_k, cache_v, &self.shape, self.ranges, mixed);
        rows.pack(self.o.weight, m, width, |range| &mixed[range.start * width..range.end * width]);
        add_product(rows, self.o, m, d, y, x, adapters);

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
                (0..m).for_each(|row| join(row * inner + columns.start, columns.len()))
            });
        }
        rows.pack(self.down.weight, m, inner, |range| &gate[range.start * inner..range.end * inner]);
        add_product(rows, self.down, m, d, y, x, adapters);
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

/// `x += rows · weight + bias`, and the adapter's update, the sum complete before it is added.
fn add_product(
    rows: &PackedRows,
    layer: Linear,
    m: usize,
    d: usize,
    y: &mut [f32],
    x: &mut [f32],
    adapters: &mut AdapterScratch,
) {
    let (x, y) = (SharedMut::new(x), SharedMut::new(y));
    let [inner] = adapters.inner(rows, m, [layer]);
    multiply_rows(rows, &[&[layer.to(y, inner)]], |_, columns| {
        for row in 0..m {
            let at = row * d + columns.start;
            // SAFETY: these columns are this call's alone.
            let (x, y) = unsafe { (x.slice(at, columns.len()), y.slice(at, columns.len())) };
            x.iter_mut().zip(y).for_each(|(x, y)| *x += *y);
        }
    });
}

/// See `DecodeBlockShape` in `kernel-functions.ts`.
#[napi(object)]
pub struct DecodeBlockShape {
    pub heads: u32,
    pub kv_heads: u32,
    pub dim: u32,
    pub eps: f64,
    pub scale: f64,
    pub window: u32,
    pub rotary_scaling: f64,
}

/// See `DecodeBlockAdapter` in `kernel-functions.ts`.
#[napi(object)]
pub struct DecodeBlockAdapter {
    pub layer: u32,
    pub scale: f64,
}

const KERNEL: &str = "decodeBlock";

/// The names of the layers, in the order in which they are given.
const LAYERS: [&str; 7] = ["q", "k", "v", "o", "gate", "up", "down"];

/// A layer of `n` outputs and `k` inputs, packed for the kernel that all of the block's weights are packed for.
fn linear<'a>(
    index: usize,
    weights: &'a [ClassInstance<'_, PackedWeight>],
    biases: &'a [Option<Float32ArraySlice<'_>>],
    n: usize,
    k: usize,
) -> Result<Linear<'a>> {
    let (weight, first) = (weights[index].get()?, weights[0].get()?);
    if weight.n() != n || weight.k() != k || !weight.alike(first) {
        let (found_n, found_k) = (weight.n(), weight.k());
        return Err(fail(format!(
            "{KERNEL}: the weight of {} is {found_n} x {found_k} (precision {}), not {n} x {k} (precision {})",
            LAYERS[index],
            weights[index].precision_of().name(),
            weights[0].precision_of().name()
        )));
    }
    let bias = biases[index].as_ref().map(|bias| part(bias.as_ref(), "bias", n)).transpose()?;
    Ok(Linear { weight, bias, adapter: None })
}

/// The adapters of the layers: `pairs` has A and B of each of `adapted`, packed for the kernel of the block's weights.
fn adapters<'a>(
    adapted: &[DecodeBlockAdapter],
    pairs: &'a [ClassInstance<'_, PackedWeight>],
    weights: &'a [ClassInstance<'_, PackedWeight>],
) -> Result<[Option<Adapter<'a>>; LAYERS.len()]> {
    if pairs.len() != 2 * adapted.len() {
        return Err(fail(format!("{KERNEL}: {} adapters came with {} matrices", adapted.len(), pairs.len())));
    }
    let mut found = [None; LAYERS.len()];
    for (&DecodeBlockAdapter { layer, scale }, pair) in adapted.iter().zip(pairs.chunks_exact(2)) {
        let index = layer as usize;
        let Some(place) = found.get_mut(index) else {
            return Err(fail(format!("{KERNEL}: there is no layer {layer} to adapt")));
        };
        let (weight, a, b) = (weights[index].get()?, pair[0].get()?, pair[1].get()?);
        if a.k() != weight.k() || b.n() != weight.n() || a.n() != b.k() || a.n() == 0 {
            return Err(fail(format!(
                "{KERNEL}: an adapter of {} x {} and {} x {} for {}, which is {} x {}",
                a.n(),
                a.k(),
                b.n(),
                b.k(),
                LAYERS[index],
                weight.n(),
                weight.k()
            )));
        }
        if !a.alike(weight) || !b.alike(weight) {
            return Err(fail(format!("{KERNEL}: the adapter of {} has another precision", LAYERS[index])));
        }
        *place = Some(Adapter { a, b, scale: scale as f32 });
    }
    Ok(found)
}

/// One block on `x [B, D]`, in place. See `decodeBlock` in `kernel-functions.ts`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn decode_block(
    mut x: Float32ArraySlice,
    norms: Vec<Option<Float32ArraySlice>>,
    weights: Vec<ClassInstance<PackedWeight>>,
    biases: Vec<Option<Float32ArraySlice>>,
    positions: Int32ArraySlice,
    inv_freq: Float32ArraySlice,
    mut cache_k: Float32ArraySlice,
    mut cache_v: Float32ArraySlice,
    cache_rows: Int32ArraySlice,
    ranges: Int32ArraySlice,
    shape: DecodeBlockShape,
    adapted: Vec<DecodeBlockAdapter>,
    pairs: Vec<ClassInstance<PackedWeight>>,
) -> Result<()> {
    guard(|| {
        if norms.len() != 4 || weights.len() != LAYERS.len() || biases.len() != LAYERS.len() {
            return Err(fail(format!("{KERNEL}: 4 norms, 7 weights and 7 biases are wanted")));
        }
        let DecodeBlockShape { heads: query_heads, kv_heads, dim, eps, scale, window, rotary_scaling } =
            shape;
        let shape = heads(query_heads, kv_heads, dim, scale, window)?;
        let (m, d, inner) = (positions.len(), weights[0].get()?.k(), weights[4].get()?.n());
        let width = product(KERNEL, &[shape.heads, shape.dim])?;
        let kv_width = product(KERNEL, &[shape.kv_heads, shape.dim])?;
        if m == 0 || d == 0 || inner == 0 {
            return Err(fail(format!("{KERNEL}: {m} rows of {d}, {inner} inside: nothing to compute")));
        }
        if inv_freq.is_empty() || 2 * inv_freq.len() > shape.dim {
            return Err(fail(format!("{KERNEL}: {} frequencies for heads of {}", inv_freq.len(), shape.dim)));
        }
        for sizes in [[m, d], [m, 2 * inner], [m, width]] {
            product(KERNEL, &sizes)?;
        }
        let mut read = vec![place(&positions), place(&inv_freq), place(&cache_rows), place(&ranges)];
        read.extend(norms.iter().chain(&biases).map(place_of));
        disjoint(KERNEL, &[place(&x), place(&cache_k), place(&cache_v)], &read)?;

        let capacity = (cache_k.len() / kv_width).min(cache_v.len() / kv_width);
        let cache_rows = ints(&cache_rows, "cacheRows", m)?;
        if let Some(row) = cache_rows.iter().find(|&&row| row < 0 || row as usize >= capacity) {
            return Err(fail(format!("{KERNEL}: row {row} is outside a cache of {capacity} rows")));
        }
        let ranges = parse_ranges(KERNEL, ints(&ranges, "ranges", 4 * m)?, capacity)?;
        let norm = |index: usize, len: usize| {
            norms[index].as_ref().map(|norm| part(norm.as_ref(), "norm", len)).transpose()
        };
        let missing = || fail(format!("{KERNEL}: the norms before attention and MLP are missing"));
        let adapters = adapters(&adapted, &pairs, &weights)?;
        for adapter in adapters.iter().flatten() {
            product(KERNEL, &[m, LAYERS.len(), adapter.a.n().max(adapter.b.n())])?;
        }
        let layer = |index: usize, n: usize, k: usize| {
            linear(index, &weights, &biases, n, k).map(|layer| Linear { adapter: adapters[index], ..layer })
        };
        let block = DecodeBlock {
            shape,
            eps: eps as f32,
            attention_norm: norm(0, d)?.ok_or_else(missing)?,
            mlp_norm: norm(1, d)?.ok_or_else(missing)?,
            q_norm: norm(2, shape.dim)?,
            k_norm: norm(3, shape.dim)?,
            q: layer(0, width, d)?,
            k: layer(1, kv_width, d)?,
            v: layer(2, kv_width, d)?,
            o: layer(3, d, width)?,
            gate: layer(4, inner, d)?,
            up: layer(5, inner, d)?,
            down: layer(6, d, inner)?,
            positions: ints(&positions, "positions", m)?,
            inv_freq: part(inv_freq.as_ref(), "invFreq", inv_freq.len())?,
            rotary_scaling,
            cache_rows,
            ranges: &ranges,
        };
        let x = floats_mut(&mut x, "x", m * d)?;
        let (rows_k, rows_v) = (capacity * kv_width, capacity * kv_width);
        let (cache_k, cache_v) =
            (floats_mut(&mut cache_k, "cacheK", rows_k)?, floats_mut(&mut cache_v, "cacheV", rows_v)?);
        thread_local! {
            static SCRATCH: RefCell<Scratch> = RefCell::default();
        }
        SCRATCH.with(|scratch| block.run(x, cache_k, cache_v, &mut scratch.borrow_mut()));
        Ok(())
    })
}

#[cfg(test)]
mod tests;
