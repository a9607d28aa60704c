//! The layers as JavaScript calls them.

use super::{Backward, Forward, LowRank};
use crate::border::{
    disjoint, fail, floats, floats_mut, guard, part, place, place_of, places, product, Place,
};
use crate::dtype::Precision;
use crate::gemm::{Right, View};
use crate::linear::PackedWeight;
use napi::bindgen_prelude::*;
use napi_derive::napi;

const FORWARD: &str = "adaptedLinears";
const BACKWARD: &str = "adaptedLinearsGrad";

/// The number of outputs, the rank, and the adapter of each layer, from the lengths of its matrices. None is zero.
fn adapters<'a>(
    kernel: &str,
    a: &'a [Float32ArraySlice<'_>],
    b: &'a [Float32ArraySlice<'_>],
    scales: &[f64],
    (m, k): (usize, usize),
) -> Result<Vec<(usize, usize, LowRank<'a>)>> {
    if a.is_empty() || a.len() != b.len() || a.len() != scales.len() {
        let (a, b, scales) = (a.len(), b.len(), scales.len());
        return Err(fail(format!("{kernel}: {a} matrices a, {b} matrices b, {scales} scales")));
    }
    let mut ranks = 0;
    let mut found = vec![];
    for ((a, b), &scale) in a.iter().zip(b).zip(scales) {
        let r = a.len().checked_div(k).filter(|r| *r > 0 && r * k == a.len());
        let n = r.and_then(|r| Some(b.len() / r).filter(|n| *n > 0 && n * r == b.len()));
        let (Some(r), Some(n)) = (r, n) else {
            let (a, b) = (a.len(), b.len());
            return Err(fail(format!("{kernel}: an adapter of {a} and {b} numbers for {k} inputs")));
        };
        ranks += r;
        for sizes in [[m, n], [n, k], [m, ranks], [ranks, k]] {
            product(kernel, &sizes)?;
        }
        found.push((n, r, LowRank { a, b, scale: scale as f32 }));
    }
    if product(kernel, &[m, k])? == 0 {
        return Err(fail(format!("{kernel}: {m} rows, {k} inputs: nothing to compute")));
    }
    Ok(found)
}

/// As many as there are layers.
fn each<T>(kernel: &str, name: &str, given: &[T], layers: usize) -> Result<()> {
    if given.len() != layers {
        return Err(fail(format!("{kernel}: {} of {name} for {layers} layers", given.len())));
    }
    Ok(())
}

/// See `adaptedLinears` in `linears-functions.ts`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn adapted_linears(
    mut y: Vec<Float32ArraySlice>,
    mut h: Float32ArraySlice,
    x: Float32ArraySlice,
    w: Vec<Float32ArraySlice>,
    packed: Vec<Option<ClassInstance<PackedWeight>>>,
    bias: Vec<Option<Float32ArraySlice>>,
    a: Vec<Float32ArraySlice>,
    b: Vec<Float32ArraySlice>,
    scales: Float64ArraySlice,
    m: u32,
    k: u32,
    precision: String,
) -> Result<()> {
    guard(|| {
        let (m, k) = (m as usize, k as usize);
        let adapters = adapters(FORWARD, &a, &b, &scales, (m, k))?;
        let count = adapters.len();
        each(FORWARD, "y", &y, count)?;
        each(FORWARD, "w", &w, count)?;
        each(FORWARD, "packed", &packed, count)?;
        each(FORWARD, "bias", &bias, count)?;
        let written: Vec<Place> = places(&y).chain([place(&h)]).collect();
        let read = [&w, &a, &b].into_iter().flat_map(|arrays| places(arrays));
        let read: Vec<Place> = read.chain(bias.iter().map(place_of)).chain([place(&x)]).collect();
        disjoint(FORWARD, &written, &read)?;
        let precision = Precision::parse_weight(&precision)?;
        let ranks: usize = adapters.iter().map(|(_, r, _)| r).sum();
        let mut layers = vec![];
        let given = adapters.into_iter().zip(&mut y).zip(&w).zip(&packed).zip(&bias);
        for (((((n, r, adapter), y), w), packed), bias) in given {
            let w = View::row_major(floats(w, "w", n * k)?, n, k);
            let weight = match packed {
                Some(packed) => Right::Packed(packed.fitting(FORWARD, n, k, precision)?.columns()),
                None => Right::Lanes(w),
            };
            let bias = bias.as_ref().map(|bias| part(bias.as_ref(), "bias", n)).transpose()?;
            layers.push(Forward { n, r, weight, bias, adapter, y: floats_mut(y, "y", m * n)? });
        }
        let h = floats_mut(&mut h, "h", m * ranks)?;
        super::forward((m, k), floats(&x, "x", m * k)?, layers, h, precision);
        Ok(())
    })
}

/// See `adaptedLinearsGrad` in `linears-functions.ts`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn adapted_linears_grad(
    mut dx: Float32ArraySlice,
    mut da: Vec<Float32ArraySlice>,
    mut db: Vec<Float32ArraySlice>,
    dy: Vec<Float32ArraySlice>,
    x: Float32ArraySlice,
    h: Float32ArraySlice,
    w: Vec<Float32ArraySlice>,
    a: Vec<Float32ArraySlice>,
    b: Vec<Float32ArraySlice>,
    scales: Float64ArraySlice,
    m: u32,
    k: u32,
    precision: String,
) -> Result<()> {
    guard(|| {
        let (m, k) = (m as usize, k as usize);
        let adapters = adapters(BACKWARD, &a, &b, &scales, (m, k))?;
        let count = adapters.len();
        each(BACKWARD, "da", &da, count)?;
        each(BACKWARD, "db", &db, count)?;
        each(BACKWARD, "dy", &dy, count)?;
        each(BACKWARD, "w", &w, count)?;
        let written: Vec<Place> = places(&da).chain(places(&db)).chain([place(&dx)]).collect();
        let read = [&dy, &w, &a, &b].into_iter().flat_map(|arrays| places(arrays));
        let read: Vec<Place> = read.chain([place(&x), place(&h)]).collect();
        disjoint(BACKWARD, &written, &read)?;
        let ranks: usize = adapters.iter().map(|(_, r, _)| r).sum();
        let mut layers = vec![];
        for (((((n, r, adapter), da), db), dy), w) in
            adapters.into_iter().zip(&mut da).zip(&mut db).zip(&dy).zip(&w)
        {
            layers.push(Backward {
                n,
                r,
                dy: floats(dy, "dy", m * n)?,
                w: floats(w, "w", n * k)?,
                adapter,
                da: floats_mut(da, "da", r * k)?,
                db: floats_mut(db, "db", n * r)?,
            });
        }
        let (x, h) = (floats(&x, "x", m * k)?, floats(&h, "h", m * ranks)?);
        let dx = floats_mut(&mut dx, "dx", m * k)?;
        super::backward((m, k), x, h, layers, dx, Precision::parse(&precision)?);
        Ok(())
    })
}
