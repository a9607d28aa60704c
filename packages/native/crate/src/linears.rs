//! Linear layers of one input: its rows are packed once for all of them, and their gradients for it are one sum.

use crate::border::{
    disjoint, fail, floats, floats_mut, guard, part, place, place_of, places, product, Place,
};
use crate::dtype::Precision;
use crate::gemm::{multiply, multiply_sums, Left, Output, PackedB, Right, Sum, View};
use crate::linear::PackedWeight;
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// The rows of each `[n, k]` among `weights`, and an error unless there are `count` of them and none is empty.
fn outputs(
    kernel: &str,
    weights: &[Float32ArraySlice<'_>],
    (m, k): (usize, usize),
    count: usize,
) -> Result<Vec<usize>> {
    if weights.len() != count || count == 0 {
        return Err(fail(format!("{kernel}: {count} layers, {} weights", weights.len())));
    }
    let rows = weights.iter().map(|w| {
        let n = w.len().checked_div(k).filter(|n| *n > 0 && n * k == w.len());
        let n = n.ok_or_else(|| fail(format!("{kernel}: a weight of {} numbers for {k} inputs", w.len())))?;
        product(kernel, &[m, n]).map(|_| n)
    });
    let rows = rows.collect::<Result<Vec<usize>>>()?;
    if product(kernel, &[m, k])? == 0 {
        return Err(fail(format!("{kernel}: {m} rows, {k} inputs: nothing to compute")));
    }
    Ok(rows)
}

/// See `linears` in `linears-functions.ts`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn linears(
    mut y: Vec<Float32ArraySlice>,
    x: Float32ArraySlice,
    w: Vec<Float32ArraySlice>,
    packed: Vec<Option<ClassInstance<PackedWeight>>>,
    bias: Vec<Option<Float32ArraySlice>>,
    m: u32,
    k: u32,
    precision: String,
) -> Result<()> {
    const KERNEL: &str = "linears";
    guard(|| {
        let (m, k) = (m as usize, k as usize);
        let outputs = outputs(KERNEL, &w, (m, k), y.len())?;
        if packed.len() != y.len() || bias.len() != y.len() {
            let (layers, packed, bias) = (y.len(), packed.len(), bias.len());
            return Err(fail(format!("{KERNEL}: {layers} layers, {packed} packed weights, {bias} biases")));
        }
        let written: Vec<Place> = places(&y).collect();
        let read: Vec<Place> = places(&w).chain(bias.iter().map(place_of)).chain([place(&x)]).collect();
        disjoint(KERNEL, &written, &read)?;
        let precision = Precision::parse_weight(&precision)?;
        let x = View::row_major(floats(&x, "x", m * k)?, m, k);
        let mut sums = vec![];
        for ((((n, y), w), packed), bias) in outputs.into_iter().zip(&mut y).zip(&w).zip(&packed).zip(&bias) {
            let right = match packed {
                Some(packed) => Right::Packed(packed.fitting(KERNEL, n, k, precision)?.columns()),
                None => Right::Lanes(View::row_major(w, n, k)),
            };
            let bias = bias.as_ref().map(|bias| part(bias.as_ref(), "bias", n)).transpose()?;
            let data = floats_mut(y, "y", m * n)?;
            let output = Output { data, stride: n, accumulate: false, far: true, bias };
            sums.push(Sum { output, terms: vec![(0, right)] });
        }
        multiply_sums(&[Left::View(x)], sums, precision);
        Ok(())
    })
}

/// `dx = Σ dyᵢ wᵢ`.
fn sum_dx(
    dx: &mut Float32ArraySlice<'_>,
    dy: &[Float32ArraySlice<'_>],
    w: &[Float32ArraySlice<'_>],
    outputs: &[usize],
    (m, k): (usize, usize),
    precision: Precision,
) -> Result<()> {
    let mut lefts = vec![];
    let mut terms = vec![];
    for (place, ((&n, dy), w)) in outputs.iter().zip(dy).zip(w).enumerate() {
        lefts.push(Left::View(View::row_major(floats(dy, "dy", m * n)?, m, n)));
        terms.push((place, Right::Lanes(View::row_major(w, n, k).transposed())));
    }
    let data = floats_mut(dx, "dx", m * k)?;
    let output = Output { data, stride: k, accumulate: false, far: true, bias: None };
    multiply_sums(&lefts, vec![Sum { output, terms }], precision);
    Ok(())
}

/// See `linearsDx` in `linears-functions.ts`.
#[napi]
pub fn linears_dx(
    mut dx: Float32ArraySlice,
    dy: Vec<Float32ArraySlice>,
    w: Vec<Float32ArraySlice>,
    m: u32,
    k: u32,
    precision: String,
) -> Result<()> {
    const KERNEL: &str = "linearsDx";
    guard(|| {
        let (m, k) = (m as usize, k as usize);
        let outputs = outputs(KERNEL, &w, (m, k), dy.len())?;
        let read: Vec<Place> = places(&dy).chain(places(&w)).collect();
        disjoint(KERNEL, &[place(&dx)], &read)?;
        sum_dx(&mut dx, &dy, &w, &outputs, (m, k), Precision::parse(&precision)?)
    })
}

/// See `linearsGrad` in `linears-functions.ts`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn linears_grad(
    mut dx: Float32ArraySlice,
    mut dw: Vec<Float32ArraySlice>,
    dy: Vec<Float32ArraySlice>,
    x: Float32ArraySlice,
    w: Vec<Float32ArraySlice>,
    m: u32,
    k: u32,
    precision: String,
) -> Result<()> {
    const KERNEL: &str = "linearsGrad";
    guard(|| {
        let (m, k) = (m as usize, k as usize);
        let outputs = outputs(KERNEL, &w, (m, k), dy.len())?;
        if dw.len() != dy.len() {
            return Err(fail(format!("{KERNEL}: {} gradients of {} weights", dw.len(), w.len())));
        }
        let written: Vec<Place> = places(&dw).chain([place(&dx)]).collect();
        let read: Vec<Place> = places(&dy).chain(places(&w)).chain([place(&x)]).collect();
        disjoint(KERNEL, &written, &read)?;
        let precision = Precision::parse(&precision)?;
        sum_dx(&mut dx, &dy, &w, &outputs, (m, k), precision)?;
        let x = View::row_major(floats(&x, "x", m * k)?, m, k).transposed();
        let packed = (dy.len() > 1).then(|| PackedB::transient(x, precision));
        for ((n, dw), dy) in outputs.into_iter().zip(&mut dw).zip(&dy) {
            let dy = View::row_major(floats(dy, "dy", m * n)?, m, n).transposed();
            let data = floats_mut(dw, "dw", n * k)?;
            let output = Output { data, stride: k, accumulate: false, far: true, bias: None };
            let right = packed.as_ref().map_or(Right::Lanes(x), |packed| Right::Packed(packed.columns()));
            multiply(output, dy, right, precision);
        }
        Ok(())
    })
}
