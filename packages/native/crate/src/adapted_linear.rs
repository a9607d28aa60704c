//! Linear layers of one input with low-rank adapters (Hu et al. 2021, "LoRA"): `yᵢ = x wᵢᵀ + biasᵢ + hᵢ bᵢᵀ`, `hᵢ = scaleᵢ · x aᵢᵀ`; forward, and backward with `wᵢ` and `biasᵢ` frozen.
//!
//! Both passes go over strips of rows: what an adapter needs of a strip is computed while its rows are in the cache, and the update is added to a tile of the result likewise.

pub mod border;
#[cfg(test)]
mod tests;

use crate::dtype::Precision;
use crate::gemm::{kernel_of, outer, Outer, Output, PackedB, Right, Rows, Strips, Sum, View};
use crate::pool::SharedMut;

/// An adapter: `a [r, K]`, `b [N, r]`.
#[derive(Clone, Copy)]
pub struct LowRank<'a> {
    pub a: &'a [f32],
    pub b: &'a [f32],
    pub scale: f32,
}

/// A layer in the forward pass: `weight` has `n` columns.
pub struct Forward<'a> {
    pub n: usize,
    pub r: usize,
    pub weight: Right<'a>,
    pub bias: Option<&'a [f32]>,
    pub adapter: LowRank<'a>,
    pub y: &'a mut [f32],
}

/// A layer in the backward pass: `dy [m, n]`, `w [n, K]` → `da [r, K]`, `db [n, r]`.
pub struct Backward<'a> {
    pub n: usize,
    pub r: usize,
    pub dy: &'a [f32],
    pub w: &'a [f32],
    pub adapter: LowRank<'a>,
    pub da: &'a mut [f32],
    pub db: &'a mut [f32],
}

/// The rows `a` of all adapters, one under another: `[Σ r, K]`; and where each begins.
fn stacked<'a>(adapters: impl Iterator<Item = (usize, LowRank<'a>)>) -> (Vec<f32>, Vec<usize>) {
    let (mut rows, mut starts, mut next) = (vec![], vec![], 0);
    for (r, adapter) in adapters {
        rows.extend_from_slice(adapter.a);
        starts.push(next);
        next += r;
    }
    (rows, starts)
}

/// Multiplies some columns of rows.
fn scale_columns(rows: &mut [f32], stride: usize, first: usize, columns: usize, scale: f32) {
    for row in rows.chunks_mut(stride) {
        row[first..first + columns].iter_mut().for_each(|x| *x *= scale);
    }
}

/// The columns `first .. first + columns` of rows of `stride`.
fn columns_of(rows: &[f32], stride: usize, first: usize, columns: usize) -> View<'_> {
    View::new(&rows[first..], rows.len() / stride, columns, stride, 1)
        .expect("the columns lie inside the rows")
}

/// `x [m, K]` → the layers' `y [m, n]`, and `h [m, Σ r]`: those of all layers side by side. Nothing may be empty.
pub fn forward((m, k): (usize, usize), x: &[f32], layers: Vec<Forward>, h: &mut [f32], precision: Precision) {
    let (a, starts) = stacked(layers.iter().map(|layer| (layer.r, layer.adapter)));
    let ranks = a.len() / k;
    let facts: Vec<(usize, f32)> = layers.iter().map(|layer| (layer.r, layer.adapter.scale)).collect();
    let sums: Vec<Sum> = layers
        .into_iter()
        .enumerate()
        .map(|(i, Forward { n, r, weight, bias, adapter, y })| Sum {
            output: Output { data: y, stride: n, accumulate: false, far: false, bias },
            terms: vec![(0, weight), (1 + i, Right::Lanes(View::row_major(adapter.b, n, r)))],
        })
        .collect();
    let kernel = kernel_of(&sums, precision);
    let a = PackedB::transient(View::row_major(&a, ranks, k), precision);
    let mut lefts = vec![Rows::View(View::row_major(x, m, k))];
    lefts.extend(facts.iter().map(|(r, _)| Rows::Made(*r)));
    let h = SharedMut::new(&mut h[..m * ranks]);
    Strips::with_made(kernel, lefts, m).multiply(sums, &|strip| {
        strip.pack_views();
        let rows = strip.rows();
        // SAFETY: the strip's rows are its own.
        let h = unsafe { h.slice(rows.start * ranks, rows.len() * ranks) };
        strip.product(0, &a, h, ranks);
        for (i, (&(r, scale), &start)) in facts.iter().zip(&starts).enumerate() {
            scale_columns(h, ranks, start, r, scale);
            strip.pack(1 + i, columns_of(h, ranks, start, r));
        }
    });
}

/// `x [m, K]`, `h [m, Σ r]` of the forward pass → `dx [m, K]`, and the layers' `da` and `db`. Nothing may be empty.
pub fn backward(
    (m, k): (usize, usize),
    x: &[f32],
    h: &[f32],
    layers: Vec<Backward>,
    dx: &mut [f32],
    precision: Precision,
) {
    let (a, starts) = stacked(layers.iter().map(|layer| (layer.r, layer.adapter)));
    let (ranks, count) = (a.len() / k, layers.len());
    let columns = layers.iter().map(|layer| View::row_major(layer.adapter.b, layer.n, layer.r).transposed());
    let packed: Vec<PackedB> = columns.map(|columns| PackedB::transient(columns, precision)).collect();
    // The products of `dy` with the weights, and at last the update.
    let mut lefts: Vec<Rows> =
        layers.iter().map(|layer| Rows::View(View::row_major(layer.dy, m, layer.n))).collect();
    lefts.push(Rows::Made(ranks));
    let lanes = |w, n| Right::Lanes(View::row_major(w, n, k).transposed());
    let mut terms: Vec<(usize, Right)> =
        layers.iter().enumerate().map(|(i, layer)| (i, lanes(layer.w, layer.n))).collect();
    terms.push((count, lanes(&a, ranks)));
    let output = Output { data: dx, stride: k, accumulate: false, far: false, bias: None };
    let sums = vec![Sum { output, terms }];
    let mut g = vec![0.0; m * ranks]; // the gradients of x aᵀ, side by side
    let shared = SharedMut::new(&mut g);
    Strips::with_made(kernel_of(&sums, precision), lefts, m).multiply(sums, &|strip| {
        strip.pack_views();
        let rows = strip.rows();
        // SAFETY: the strip's rows are its own.
        let g = unsafe { shared.slice(rows.start * ranks, rows.len() * ranks) };
        for (i, (layer, b)) in layers.iter().zip(&packed).enumerate() {
            strip.product(i, b, &mut g[starts[i]..], ranks);
            scale_columns(g, ranks, starts[i], layer.r, layer.adapter.scale);
        }
        strip.pack(count, View::row_major(g, rows.len(), ranks));
    });
    let mut sums = vec![];
    for (layer, start) in layers.into_iter().zip(starts) {
        let [h, g] = [h, &g].map(|rows| columns_of(&rows[..m * ranks], ranks, start, layer.r));
        sums.push(Outer { s: h, x: layer.dy, out: layer.db, turned: true });
        sums.push(Outer { s: g, x, out: layer.da, turned: false });
    }
    outer(sums, precision);
}
