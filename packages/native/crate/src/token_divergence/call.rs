//! What JavaScript calls.

use super::{backward, forward, Outputs, Saved, Side};
use crate::border::{disjoint, fail, floats, floats_mut, guard, place, product};
use crate::gemm::View;
use crate::linear::PackedWeight;
use crate::token_outputs::head;
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Checked sizes and settings of a call.
struct Call {
    a: usize,
    v: usize,
    /// Widths of the student's and of the teacher's hidden states.
    widths: [usize; 2],
    beta: f64,
}

impl Call {
    fn new(a: u32, v: u32, d: u32, e: u32, beta: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&beta) {
            return Err(fail(format!("tokenDivergence: beta {beta} is outside of 0 .. 1")));
        }
        Ok(Call { a: a as usize, v: v as usize, widths: [d as usize, e as usize], beta })
    }
}

#[napi]
#[allow(clippy::too_many_arguments)]
pub fn token_divergence(
    hidden: Float32ArraySlice,
    w: Float32ArraySlice,
    packed: Option<&PackedWeight>,
    teacher_hidden: Float32ArraySlice,
    teacher_w: Float32ArraySlice,
    teacher_packed: Option<&PackedWeight>,
    a: u32,
    v: u32,
    d: u32,
    e: u32,
    beta: f64,
    temperature: f64,
    precision: String,
    mut divergence: Float32ArraySlice,
    mut lse: Float32ArraySlice,
    mut teacher_lse: Float32ArraySlice,
    mut student_kl: Float32ArraySlice,
) -> Result<()> {
    guard(|| {
        let Call { a, v, widths: [d, e], beta } = Call::new(a, v, d, e, beta)?;
        disjoint(
            "tokenDivergence",
            &[place(&divergence), place(&lse), place(&teacher_lse), place(&student_kl)],
            &[place(&hidden), place(&w), place(&teacher_hidden), place(&teacher_w)],
        )?;
        let student = side("", &hidden, &w, packed, [a, v, d], temperature, &precision)?;
        let teacher = side(
            "teacher's ",
            &teacher_hidden,
            &teacher_w,
            teacher_packed,
            [a, v, e],
            temperature,
            &precision,
        )?;
        let outputs = Outputs {
            divergence: floats_mut(&mut divergence, "tokenDivergence: divergence", a)?,
            lse: floats_mut(&mut lse, "tokenDivergence: lse", a)?,
            teacher_lse: floats_mut(&mut teacher_lse, "tokenDivergence: teacherLse", a)?,
            student_kl: floats_mut(&mut student_kl, "tokenDivergence: studentKl", a)?,
        };
        forward(student, teacher, beta, outputs);
        Ok(())
    })
}

#[napi]
#[allow(clippy::too_many_arguments)]
pub fn token_divergence_backward(
    hidden: Float32ArraySlice,
    w: Float32ArraySlice,
    packed: Option<&PackedWeight>,
    teacher_hidden: Float32ArraySlice,
    teacher_w: Float32ArraySlice,
    teacher_packed: Option<&PackedWeight>,
    a: u32,
    v: u32,
    d: u32,
    e: u32,
    beta: f64,
    temperature: f64,
    precision: String,
    lse: Float32ArraySlice,
    teacher_lse: Float32ArraySlice,
    student_kl: Float32ArraySlice,
    ddivergence: Float32ArraySlice,
    mut dhidden: Float32ArraySlice,
    mut dw: Float32ArraySlice,
) -> Result<()> {
    guard(|| {
        let Call { a, v, widths: [d, e], beta } = Call::new(a, v, d, e, beta)?;
        let saved = [&lse, &teacher_lse, &student_kl, &ddivergence];
        let mut reads = vec![place(&hidden), place(&w), place(&teacher_hidden), place(&teacher_w)];
        reads.extend(saved.map(|data| place(data)));
        disjoint("tokenDivergenceBackward", &[place(&dhidden), place(&dw)], &reads)?;
        let student = side("", &hidden, &w, packed, [a, v, d], temperature, &precision)?;
        let teacher = side(
            "teacher's ",
            &teacher_hidden,
            &teacher_w,
            teacher_packed,
            [a, v, e],
            temperature,
            &precision,
        )?;
        let saved = Saved {
            lse: floats(&lse, "tokenDivergence: lse", a)?,
            teacher_lse: floats(&teacher_lse, "tokenDivergence: teacherLse", a)?,
            student_kl: floats(&student_kl, "tokenDivergence: studentKl", a)?,
            ddivergence: floats(&ddivergence, "tokenDivergence: ddivergence", a)?,
        };
        let dhidden = floats_mut(&mut dhidden, "tokenDivergence: dhidden", a * d)?;
        let dw = floats_mut(&mut dw, "tokenDivergence: dw", v * d)?;
        backward(student, teacher, beta, &saved, dhidden, dw);
        Ok(())
    })
}

/// One head and its hidden states from JavaScript's arguments.
fn side<'a>(
    whose: &str,
    hidden: &'a Float32ArraySlice,
    w: &'a Float32ArraySlice,
    packed: Option<&'a PackedWeight>,
    [a, v, d]: [usize; 3],
    temperature: f64,
    precision: &str,
) -> Result<Side<'a>> {
    let kernel = "tokenDivergence";
    let hidden = floats(hidden, &format!("{kernel}: {whose}hidden"), product(kernel, &[a, d])?)?;
    let w = floats(w, &format!("{kernel}: {whose}w"), product(kernel, &[v, d])?)?;
    let head = head(kernel, Some(w), packed, None, v, d, temperature, precision)?;
    Ok(Side { hidden: View::row_major(hidden, a, d), head })
}
