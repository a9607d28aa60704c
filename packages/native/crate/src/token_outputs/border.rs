//! The LM head's outputs and their gradients, as JavaScript calls them.

use super::{backward, forward, kept_floats, Gradients, Head, Kept, Outputs, Saved};
use crate::border::{disjoint, fail, floats, floats_mut, guard, ints, place, place_of, product};
use crate::dtype::Precision;
use crate::gemm::View;
use crate::linear::PackedWeight;
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// The head from JavaScript's arguments. `kernel` names the caller in messages.
#[allow(clippy::too_many_arguments)]
pub(crate) fn head<'a>(
    kernel: &str,
    w: Option<&'a [f32]>,
    packed: Option<&'a PackedWeight>,
    bias: Option<&'a [f32]>,
    v: usize,
    d: usize,
    temperature: f64,
    precision: &str,
) -> Result<Head<'a>> {
    if !(temperature > 0.0 && temperature.is_finite()) {
        return Err(fail(format!("{kernel}: temperature {temperature} is not a positive number")));
    }
    let mut precision = Precision::parse(precision)?;
    if let Some(packed) = packed {
        let found = packed.get()?;
        if (found.n(), found.k()) != (v, d) {
            let (n, k) = (found.n(), found.k());
            return Err(fail(format!("{kernel}: the packed weight is {n} x {k}, not {v} x {d}")));
        }
        precision = packed.precision_of();
    } else if w.is_none() {
        return Err(fail(format!("{kernel}: neither w nor packed is given")));
    }
    Ok(Head {
        w: w.map(|w| View::row_major(w, v, d)),
        packed: packed.map(PackedWeight::get).transpose()?,
        bias,
        v,
        temperature: temperature as f32,
        precision,
    })
}

fn check_targets<'a>(targets: &'a Int32ArraySlice, a: usize, v: usize) -> Result<&'a [i32]> {
    let targets = ints(targets, "tokenOutputs: targets", a)?;
    match targets.iter().position(|&target| target < 0 || target as usize >= v) {
        Some(index) => {
            Err(fail(format!("tokenOutputs: target {index} is {}, outside of 0 .. {v}", targets[index])))
        }
        None => Ok(targets),
    }
}

/// A typed array that may be absent.
type Maybe<'a> = Option<Float32ArraySlice<'a>>;

fn read<'a>(data: &'a Maybe, name: &str, len: usize) -> Result<Option<&'a [f32]>> {
    data.as_ref().map(|data| floats(data, &format!("tokenOutputs: {name}"), len)).transpose()
}

fn write<'a>(data: &'a mut Maybe, name: &str, len: usize) -> Result<Option<&'a mut [f32]>> {
    data.as_mut().map(|data| floats_mut(data, &format!("tokenOutputs: {name}"), len)).transpose()
}

/// See `keptLogits` in `binding.ts`.
#[napi]
pub fn kept_logits(a: u32, v: u32, room: f64, precision: String) -> Result<f64> {
    let (precision, room) = (Precision::parse(&precision)?, if room > 0.0 { room as usize } else { 0 });
    Ok(kept_floats(precision, a as usize, v as usize, room) as f64)
}

/// The length, if it is one of `kept_logits`.
fn whole_blocks(precision: Precision, len: usize, a: usize, v: usize) -> Result<usize> {
    if kept_floats(precision, a, v, len) != len {
        return Err(fail(format!(
            "tokenOutputs: kept has {len} floats, which are not whole blocks of a vocabulary of {v} for {a} positions"
        )));
    }
    Ok(len)
}

#[napi]
#[allow(clippy::too_many_arguments)]
pub fn token_outputs(
    hidden: Float32ArraySlice,
    w: Option<Float32ArraySlice>,
    packed: Option<&PackedWeight>,
    bias: Option<Float32ArraySlice>,
    targets: Int32ArraySlice,
    a: u32,
    v: u32,
    d: u32,
    temperature: f64,
    precision: String,
    mut logps: Float32ArraySlice,
    mut entropy: Option<Float32ArraySlice>,
    mut sum_squares: Option<Float32ArraySlice>,
    mut lse: Float32ArraySlice,
    mut kept: Option<Float32ArraySlice>,
) -> Result<()> {
    guard(|| {
        let (a, v, d) = (a as usize, v as usize, d as usize);
        disjoint(
            "tokenOutputs",
            &[place(&logps), place_of(&entropy), place_of(&sum_squares), place(&lse), place_of(&kept)],
            &[place(&hidden), place_of(&w), place_of(&bias), place(&targets)],
        )?;
        let hidden = floats(&hidden, "tokenOutputs: hidden", product("tokenOutputs", &[a, d])?)?;
        let targets = check_targets(&targets, a, v)?;
        let w = read(&w, "w", product("tokenOutputs", &[v, d])?)?;
        let bias = read(&bias, "bias", v)?;
        let head = head("tokenOutputs", w, packed, bias, v, d, temperature, &precision)?;
        let outputs = Outputs {
            logps: floats_mut(&mut logps, "tokenOutputs: logps", a)?,
            entropy: write(&mut entropy, "entropy", a)?,
            sum_squares: write(&mut sum_squares, "sumSquares", a)?,
            lse: floats_mut(&mut lse, "tokenOutputs: lse", a)?,
            kept: match &mut kept {
                Some(kept) => {
                    let len = whole_blocks(head.precision, kept.len(), a, v)?;
                    Some(Kept::new(head.precision, a, floats_mut(kept, "tokenOutputs: kept", len)?))
                }
                None => None,
            },
        };
        forward(View::row_major(hidden, a, d), &head, targets, outputs);
        Ok(())
    })
}

#[napi]
#[allow(clippy::too_many_arguments)]
pub fn token_outputs_backward(
    hidden: Float32ArraySlice,
    w: Float32ArraySlice,
    packed: Option<&PackedWeight>,
    bias: Option<Float32ArraySlice>,
    targets: Int32ArraySlice,
    a: u32,
    v: u32,
    d: u32,
    temperature: f64,
    precision: String,
    lse: Float32ArraySlice,
    entropy: Option<Float32ArraySlice>,
    sum_squares: Option<Float32ArraySlice>,
    dlogps: Option<Float32ArraySlice>,
    dentropy: Option<Float32ArraySlice>,
    dsum_squares: Option<Float32ArraySlice>,
    mut kept: Option<Float32ArraySlice>,
    logps: Option<Float32ArraySlice>,
    mut dhidden: Option<Float32ArraySlice>,
    mut dw: Option<Float32ArraySlice>,
    mut dbias: Option<Float32ArraySlice>,
    accumulate: bool,
) -> Result<()> {
    guard(|| {
        let (a, v, d) = (a as usize, v as usize, d as usize);
        let inputs = [&bias, &entropy, &sum_squares, &dlogps, &dentropy, &dsum_squares, &kept, &logps];
        let mut reads = vec![place(&hidden), place(&w), place(&targets), place(&lse)];
        reads.extend(inputs.map(place_of));
        disjoint("tokenOutputsBackward", &[place_of(&dhidden), place_of(&dw), place_of(&dbias)], &reads)?;
        let hidden = floats(&hidden, "tokenOutputs: hidden", product("tokenOutputs", &[a, d])?)?;
        let targets = check_targets(&targets, a, v)?;
        let weight = product("tokenOutputs", &[v, d])?;
        let w = floats(&w, "tokenOutputs: w", weight)?;
        let bias = read(&bias, "bias", v)?;
        let head = head("tokenOutputs", Some(w), packed, bias, v, d, temperature, &precision)?;
        if (dentropy.is_some() && entropy.is_none()) || (dsum_squares.is_some() && sum_squares.is_none()) {
            return Err(fail(
                "tokenOutputsBackward: a gradient is given without the output that it belongs to",
            ));
        }
        let saved = Saved {
            lse: floats(&lse, "tokenOutputs: lse", a)?,
            entropy: read(&entropy, "entropy", a)?,
            sum_squares: read(&sum_squares, "sumSquares", a)?,
            dlogps: read(&dlogps, "dlogps", a)?,
            dentropy: read(&dentropy, "dentropy", a)?,
            dsum_squares: read(&dsum_squares, "dsumSquares", a)?,
            kept: match (&mut kept, read(&logps, "logps", a)?) {
                (Some(kept), Some(logps)) => {
                    let len = whole_blocks(head.precision, kept.len(), a, v)?;
                    Some((Kept::new(head.precision, a, floats_mut(kept, "tokenOutputs: kept", len)?), logps))
                }
                (Some(_), None) => return Err(fail("tokenOutputsBackward: kept is given without logps")),
                (None, _) => None,
            },
        };
        let gradients = Gradients {
            dhidden: write(&mut dhidden, "dhidden", a * d)?,
            dw: write(&mut dw, "dw", weight)?,
            dbias: write(&mut dbias, "dbias", v)?,
            accumulate,
        };
        backward(View::row_major(hidden, a, d), &head, targets, &saved, gradients);
        Ok(())
    })
}
