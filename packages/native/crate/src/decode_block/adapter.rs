//! Low-rank adapters of a block's layers, for a step of decoding.

use super::{room, Linear};
use crate::gemm::rows::{multiply_rows, PackedRows, Product};
use crate::gemm::PackedB;
use crate::memory::Floats;
use crate::pool::SharedMut;

/// A low-rank update of a layer: `y += (scale · x · Aᵀ) · Bᵀ`.
#[derive(Clone, Copy)]
pub struct Adapter<'a> {
    /// `[r, K]`
    pub a: &'a PackedB,
    /// `[N, r]`
    pub b: &'a PackedB,
    pub scale: f32,
}

/// Room for what lies between the two products of adapters, used again from call to call.
#[derive(Default)]
pub struct AdapterScratch {
    rows: PackedRows,
    inner: Option<Floats>,
}

impl AdapterScratch {
    /// `y = rows · weight + bias` for each layer, then its adapter's update where it has one, as `adapted_linear` computes it.
    pub fn multiply<'a>(&mut self, rows: &PackedRows, m: usize, layers: &[(Linear<'a>, SharedMut<'a, f32>)]) {
        let Self { rows: inner_rows, inner } = self;
        let ranks: usize = layers.iter().filter_map(|(layer, _)| layer.adapter).map(|it| it.a.n()).sum();
        let mut rest = room(inner, m * ranks);
        let mut products: Vec<[Product; 1]> = layers.iter().map(|&(layer, y)| [layer.to(y)]).collect();
        let mut adapted = vec![];
        for &(layer, y) in layers {
            let Some(adapter) = layer.adapter else { continue };
            let (own, others) = rest.split_at_mut(m * adapter.a.n());
            rest = others;
            let own = SharedMut::new(own); // [m, r]
            products.push([Product { weight: adapter.a, bias: None, y: own, accumulate: false }]);
            adapted.push((adapter, own, y));
        }
        let groups: Vec<&[Product]> = products.iter().map(|product| &product[..]).collect();
        multiply_rows(rows, &groups, |_, _| ());
        for (Adapter { a, b, scale }, inner, y) in adapted {
            let r = a.n();
            inner_rows.pack(b, m, r, |range| {
                // SAFETY: rows are disjoint, and each range is asked for once.
                let h = unsafe { inner.slice(range.start * r, range.len() * r) };
                h.iter_mut().for_each(|h| *h *= scale);
                h
            });
            multiply_rows(
                inner_rows,
                &[&[Product { weight: b, bias: None, y, accumulate: true }]],
                |_, _| (),
            );
        }
    }
}
