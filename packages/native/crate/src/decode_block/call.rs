//! The blocks of a decoder, as JavaScript calls them: all in one call, because the way there and back costs as much as a small block, and the threads fall
//! asleep on it.

use super::kept::ARRAYS;
use super::{Adapter, DecodeBlock, Kept, Linear, Scratch};
use crate::attention::{heads, Format};
use crate::border::{disjoint, fail, floats_mut, guard, ints, part, place, place_of, product};
use crate::cached_attention::parse_ranges;
use crate::linear::PackedWeight;
use crate::pool::SharedMut;
use napi::bindgen_prelude::*;
use napi_derive::napi;
use std::cell::RefCell;

/// See `DecodeBlocksShape` in `kernel-functions.ts`.
#[napi(object)]
pub struct DecodeBlocksShape {
    pub heads: u32,
    pub kv_heads: u32,
    pub dim: u32,
    pub eps: f64,
    pub scale: f64,
    pub rotary_scaling: f64,
    pub format: String,
}

/// See `DecodeBlocksAdapter` in `kernel-functions.ts`.
#[napi(object)]
pub struct DecodeBlocksAdapter {
    pub weight: u32,
    pub scale: f64,
}

const KERNEL: &str = "decodeBlocks";

/// The layers of a block, in the order in which their weights are given.
const LAYERS: [&str; 7] = ["q", "k", "v", "o", "gate", "up", "down"];
/// Norms of a block.
const NORMS: usize = 4;

/// The adapter of each of `weights`: `pairs` has A and B of each of `adapted`, packed for the kernel of their weight.
fn adapters<'a>(
    adapted: &[DecodeBlocksAdapter],
    pairs: &'a [ClassInstance<'_, PackedWeight>],
    weights: &'a [ClassInstance<'_, PackedWeight>],
    m: usize,
) -> Result<Vec<Option<Adapter<'a>>>> {
    if pairs.len() != 2 * adapted.len() {
        return Err(fail(format!("{KERNEL}: {} adapters came with {} matrices", adapted.len(), pairs.len())));
    }
    let mut found = vec![None; weights.len()];
    for (adapter, pair) in adapted.iter().zip(pairs.chunks_exact(2)) {
        let index = adapter.weight as usize;
        let Some(place) = found.get_mut(index) else {
            return Err(fail(format!("{KERNEL}: there is no weight {index} to adapt")));
        };
        let (weight, a, b) = (weights[index].get()?, pair[0].get()?, pair[1].get()?);
        let name = LAYERS[index % LAYERS.len()];
        if a.k() != weight.k() || b.n() != weight.n() || a.n() != b.k() || a.n() == 0 {
            let ([na, ka], [nb, kb], [n, k]) = ([a.n(), a.k()], [b.n(), b.k()], [weight.n(), weight.k()]);
            return Err(fail(format!(
                "{KERNEL}: an adapter of {na} x {ka} and {nb} x {kb} for {name}, which is {n} x {k}"
            )));
        }
        if !a.alike(weight) || !b.alike(weight) {
            return Err(fail(format!("{KERNEL}: the adapter of {name} has another precision")));
        }
        product(KERNEL, &[m, LAYERS.len(), a.n().max(b.n())])?;
        *place = Some(Adapter { a, b, scale: adapter.scale as f32 });
    }
    Ok(found)
}

/// What one block is given.
struct Given<'a> {
    norms: &'a [Option<Float32ArraySlice<'a>>],
    weights: &'a [ClassInstance<'a, PackedWeight>],
    biases: &'a [Option<Float32ArraySlice<'a>>],
    adapters: &'a [Option<Adapter<'a>>],
}

impl<'a> Given<'a> {
    /// A layer of `n` outputs and `k` inputs, packed for the kernel that all of the block's weights are packed for.
    fn linear(&self, index: usize, n: usize, k: usize) -> Result<Linear<'a>> {
        let (weight, first) = (self.weights[index].get()?, self.weights[0].get()?);
        if weight.n() != n || weight.k() != k || !weight.alike(first) {
            let (found_n, found_k) = (weight.n(), weight.k());
            return Err(fail(format!(
                "{KERNEL}: the weight of {} is {found_n} x {found_k} (precision {}), not {n} x {k} (precision {})",
                LAYERS[index],
                self.weights[index].precision_of().name(),
                self.weights[0].precision_of().name()
            )));
        }
        let bias = self.biases[index].as_ref().map(|bias| part(bias.as_ref(), "bias", n)).transpose()?;
        Ok(Linear { weight, bias, adapter: self.adapters[index] })
    }

    fn norm(&self, index: usize, len: usize) -> Result<Option<&'a [f32]>> {
        self.norms[index].as_ref().map(|norm| part(norm.as_ref(), "norm", len)).transpose()
    }

    /// A norm that every block has.
    fn needed(&self, index: usize, len: usize) -> Result<&'a [f32]> {
        self.norm(index, len)?
            .ok_or_else(|| fail(format!("{KERNEL}: the norms before attention and MLP are missing")))
    }
}

/// A row that two tokens have: threads write those of different tokens at once.
fn twice(rows: &[i32]) -> Option<i32> {
    let mut sorted: Vec<i32> = rows.iter().copied().filter(|&row| row >= 0).collect();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// The arrays that one block keeps rows of so many numbers in. An error where a row is outside of one.
fn keep<'a>(
    arrays: &'a mut [Float32ArraySlice<'_>],
    rows: &'a [i32],
    widths: [usize; ARRAYS],
) -> Result<Kept<'a>> {
    let most = rows.iter().copied().max().unwrap_or(-1);
    let count = usize::try_from(i64::from(most) + 1).unwrap_or(0);
    let mut places = arrays.iter_mut().zip(widths).map(|(array, width)| {
        Ok(SharedMut::new(floats_mut(array, "kept", product(KERNEL, &[count, width])?)?))
    });
    let mut next = || {
        places.next().unwrap_or_else(|| Err(fail(format!("{KERNEL}: {ARRAYS} arrays to keep are wanted"))))
    };
    Ok(Kept {
        rows,
        q: next()?,
        k: next()?,
        v: next()?,
        mixed: next()?,
        lse: next()?,
        o: next()?,
        gate: next()?,
        up: next()?,
        down: next()?,
    })
}

/// Blocks one after another on `x [B, D]`, in place. See `decodeBlocks` in `kernel-functions.ts`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn decode_blocks(
    mut x: Float32ArraySlice,
    norms: Vec<Option<Float32ArraySlice>>,
    weights: Vec<ClassInstance<PackedWeight>>,
    biases: Vec<Option<Float32ArraySlice>>,
    positions: Int32ArraySlice,
    inv_freq: Float32ArraySlice,
    mut caches: Vec<Float32ArraySlice>,
    cache_rows: Int32ArraySlice,
    ranges: Int32ArraySlice,
    windows: Uint32ArraySlice,
    shape: DecodeBlocksShape,
    adapted: Vec<DecodeBlocksAdapter>,
    pairs: Vec<ClassInstance<PackedWeight>>,
    mut kept: Vec<Float32ArraySlice>,
    kept_rows: Int32ArraySlice,
) -> Result<()> {
    guard(|| {
        let blocks = windows.len();
        let layers = blocks * LAYERS.len();
        if blocks == 0
            || norms.len() != blocks * NORMS
            || weights.len() != layers
            || biases.len() != layers
            || caches.len() != 2 * blocks
        {
            return Err(fail(format!(
                "{KERNEL}: {blocks} windows; for each block 4 norms, 7 weights, 7 biases and 2 caches are wanted"
            )));
        }
        let DecodeBlocksShape { heads: query_heads, kv_heads, dim, eps, scale, rotary_scaling, format } =
            shape;
        let format = Format::parse(&format)?;
        let all = heads(query_heads, kv_heads, dim, scale, 0)?;
        let (m, d) = (positions.len(), weights[0].get()?.k());
        let width = product(KERNEL, &[all.heads, all.dim])?;
        let kv_width = product(KERNEL, &[all.kv_heads, all.dim])?;
        let cache_row = format.floats_of(kv_width, all.dim)?;
        for sizes in [[m, d], [m, width]] {
            product(KERNEL, &sizes)?;
        }
        if inv_freq.is_empty() || 2 * inv_freq.len() > all.dim {
            return Err(fail(format!("{KERNEL}: {} frequencies for heads of {}", inv_freq.len(), all.dim)));
        }
        let mut read =
            vec![place(&positions), place(&inv_freq), place(&cache_rows), place(&ranges), place(&kept_rows)];
        read.extend(norms.iter().chain(&biases).map(place_of));
        let written: Vec<_> =
            std::iter::once(place(&x)).chain(caches.iter().chain(&kept).map(|array| place(array))).collect();
        disjoint(KERNEL, &written, &read)?;

        let capacity = caches.iter().map(|cache| cache.len() / cache_row).min().unwrap_or(0);
        let cache_rows = ints(&cache_rows, "cacheRows", m)?;
        if let Some(row) = cache_rows.iter().find(|&&row| row < 0 || row as usize >= capacity) {
            return Err(fail(format!("{KERNEL}: row {row} is outside a cache of {capacity} rows")));
        }
        let ranges = parse_ranges(KERNEL, ints(&ranges, "ranges", 4 * m)?, capacity)?;
        let adapters = adapters(&adapted, &pairs, &weights, m)?;
        let positions = ints(&positions, "positions", m)?;
        let inv_freq: &[f32] = inv_freq.as_ref();
        let block = |index: usize| -> Result<DecodeBlock> {
            let own = |each: usize| index * each..(index + 1) * each;
            let given = Given {
                norms: &norms[own(NORMS)],
                weights: &weights[own(LAYERS.len())],
                biases: &biases[own(LAYERS.len())],
                adapters: &adapters[own(LAYERS.len())],
            };
            let inner = given.weights[4].get()?.n();
            if m == 0 || d == 0 || inner == 0 {
                return Err(fail(format!("{KERNEL}: {m} rows of {d}, {inner} inside: nothing to compute")));
            }
            product(KERNEL, &[m, 2, inner])?;
            Ok(DecodeBlock {
                shape: heads(query_heads, kv_heads, dim, scale, windows[index])?,
                format,
                eps: eps as f32,
                attention_norm: given.needed(0, d)?,
                mlp_norm: given.needed(1, d)?,
                q_norm: given.norm(2, all.dim)?,
                k_norm: given.norm(3, all.dim)?,
                q: given.linear(0, width, d)?,
                k: given.linear(1, kv_width, d)?,
                v: given.linear(2, kv_width, d)?,
                o: given.linear(3, d, width)?,
                gate: given.linear(4, inner, d)?,
                up: given.linear(5, inner, d)?,
                down: given.linear(6, d, inner)?,
                positions,
                inv_freq,
                rotary_scaling,
                cache_rows,
                ranges: &ranges,
            })
        };
        let inner = weights[4].get()?.n();
        let kept_rows = ints(&kept_rows, "keptRows", if kept.is_empty() { 0 } else { m })?;
        if let Some(row) = twice(kept_rows) {
            return Err(fail(format!("{KERNEL}: two tokens are to be kept in row {row}")));
        }
        let mut kept = match kept.len() {
            0 => vec![],
            n if n == blocks * ARRAYS => kept
                .chunks_exact_mut(ARRAYS)
                .map(|arrays| {
                    keep(arrays, kept_rows, [width, kv_width, kv_width, width, all.heads, d, inner, inner, d])
                })
                .collect::<Result<Vec<_>>>()?,
            n => {
                return Err(fail(format!(
                    "{KERNEL}: {n} arrays to keep for {blocks} blocks, {ARRAYS} each are wanted"
                )))
            }
        }
        .into_iter();
        // All are checked before the first one runs.
        let parsed = (0..blocks).map(block).collect::<Result<Vec<_>>>()?;
        let x = floats_mut(&mut x, "x", m * d)?;
        thread_local! {
            static SCRATCH: RefCell<Scratch> = RefCell::default();
        }
        SCRATCH.with(|scratch| {
            let scratch = &mut scratch.borrow_mut();
            for (block, pair) in parsed.iter().zip(caches.chunks_exact_mut(2)) {
                let [k, v] = pair else { continue }; // chunks of two are pairs
                let rows = capacity * cache_row;
                let (k, v) = (floats_mut(k, "cacheK", rows)?, floats_mut(v, "cacheV", rows)?);
                block.run(x, k, v, kept.next().as_ref(), scratch);
            }
            Ok(())
        })
    })
}
