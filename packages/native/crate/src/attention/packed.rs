//! Attention on processors that multiply bfloat16 themselves, where products are in it: queries, weights and gradients are rounded to it as keys and values are, and tiles are packed for
//! the micro-kernel of matrix products. Tiles, order and masks are those of the passes beside it, and so is the promise: a query's result depends on its own context alone.

mod backward;
mod forward;
mod last;

pub(super) use backward::backward_head;
pub(super) use forward::forward_block;
pub(super) use last::last_query;

use super::stored::{pack_rows, Part, Stored};
use super::tiles::TILE;
use crate::gemm::{Lanes, SmallProducts};
use crate::vector::Vector;

/// Whether attention to these keys and values is computed here.
pub(super) fn serves(keys: Stored) -> bool {
    !matches!(keys, Stored::Floats(_)) && SmallProducts::pay()
}

/// The rows of a tile, as they lie where they follow one another in fp32, else copied to `flat`: and how far apart they are.
#[inline(always)]
fn rows_of<'a, V: Vector>(
    x: Stored<'a>,
    part: &Part,
    padded: usize,
    flat: &'a mut [f32],
) -> (&'a [f32], usize) {
    match x {
        Stored::Floats(x) | Stored::Rounded(x) if part.span.is_whole(part.from, part.count) => {
            (&x[part.at(0)..], part.stride)
        }
        _ => {
            pack_rows::<V>(x, part, padded, flat);
            (flat, padded)
        }
    }
}

/// Rows of a tile as lanes, summed over the head.
fn by_rows((data, stride): (&[f32], usize), rows: usize, dim: usize) -> Lanes<'_> {
    Lanes { data, lane_stride: stride, k_stride: 1, lanes: rows, k: dim }
}

/// Numbers of the head as lanes, summed over the rows of a tile.
fn by_columns((data, stride): (&[f32], usize), rows: usize, dim: usize) -> Lanes<'_> {
    Lanes { data, lane_stride: 1, k_stride: stride, lanes: dim, k: rows }
}

/// So many columns of scores are computed where `keys` are seen: whole panels.
fn whole(products: &SmallProducts, keys: usize) -> usize {
    keys.next_multiple_of(products.columns()).min(TILE)
}
