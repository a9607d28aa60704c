//! Low-rank adapters of a block's layers, for a step of decoding.

use super::{room, Linear};
use crate::gemm::rows::{multiply_rows, PackedRows, Product};
use crate::gemm::PackedB;
use crate::memory::Floats;
use crate::pool::SharedMut;

/// A low-rank update of a layer: `y += (scale · x · Aᵀ) · Bᵀ`, as `adapted_linear` computes it.
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
    rows: [PackedRows; 3],
    inner: Option<Floats>,
}

impl AdapterScratch {
    /// `scale · rows · Aᵀ [m, r]` of each layer that has an adapter, packed: the rows of its update. All layers have the same inputs.
    pub fn inner<const N: usize>(
        &mut self,
        rows: &PackedRows,
        m: usize,
        layers: [Linear; N],
    ) -> [Option<&PackedRows>; N] {
        assert!(N <= self.rows.len(), "there is room for {} layers", self.rows.len());
        let ranks: usize = layers.iter().filter_map(|layer| layer.adapter).map(|it| it.a.n()).sum();
        if ranks == 0 {
            return [None; N];
        }
        let mut rest = room(&mut self.inner, m * ranks);
        let mut products = vec![];
        for adapter in layers.iter().filter_map(|layer| layer.adapter) {
            let (own, others) = rest.split_at_mut(m * adapter.a.n());
            rest = others;
            products.push([Product { weight: adapter.a, bias: None, y: SharedMut::new(own), update: None }]);
        }
        let groups: Vec<&[Product]> = products.iter().map(|product| &product[..]).collect();
        multiply_rows(rows, &groups, |_, _| ());
        let mut computed = products.iter().map(|[product]| product.y);
        for (layer, packed) in layers.iter().zip(&mut self.rows) {
            let Some((Adapter { a, b, scale }, h)) =
                layer.adapter.and_then(|it| Some((it, computed.next()?)))
            else {
                continue;
            };
            let r = a.n();
            packed.pack(b, m, r, |range| {
                // SAFETY: rows are disjoint, and each range is asked for once.
                let h = unsafe { h.slice(range.start * r, range.len() * r) };
                h.iter_mut().for_each(|h| *h *= scale);
                h
            });
        }
        let packed = &self.rows;
        std::array::from_fn(|i| layers[i].adapter.map(|_| &packed[i]))
    }
}
