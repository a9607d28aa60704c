//! The generalised Jensen-Shannon divergence between the next-token distributions of two LM heads over one vocabulary, without
//! logits `[A, V]` in memory (2306.13649, equation 1, with TRL's weights).
//!
//! With p and q the softmax of the student's and of the teacher's logits / temperature, and m = (1 - β) p + β q:
//! KL(q ‖ p) for β = 0, KL(p ‖ q) for β = 1, else β KL(q ‖ m) + (1 - β) KL(p ‖ m).
//!
//! m needs both normalisers before a first term can be added, so the forward pass holds whole rows of logits, for as many
//! positions at once as `LOGITS` permits. The backward pass knows the normalisers: it takes the vocabulary in blocks of `COLUMNS`,
//! computes both logits again, and writes each block of the weight's gradient once a block of positions. Sums run in float64 from
//! block to block, in an order that does not depend on A.

use crate::border::{disjoint, fail, floats, floats_mut, guard, place, product};
use crate::gemm::{multiply, Output, PackedA, PackedB, Right, View};
use crate::linear::PackedWeight;
use crate::memory::Floats;
use crate::pool::{parallel_chunks_mut, parallel_for, SharedMut};
use crate::token_outputs::{head, reduce, Head, Row, COLUMNS, GRAIN, PAD, ROWS};
use crate::vector::Vector;
use crate::vectorised;
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Logits of one head that are held at once: 32 MB.
const LOGITS: usize = 8 << 20;
/// Log-probabilities below this are taken as this: 0 · -inf would be NaN.
const FLOOR: f32 = -1e4;

/// Which divergence: its ends are not limits of the formula between them.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// β = 0: m is p.
    Forward,
    /// β = 1: m is q.
    Reverse,
    /// ln (1 - β) and ln β.
    Mixed(f32, f32),
}

impl Kind {
    fn of(beta: f64) -> Self {
        if beta == 0.0 {
            Kind::Forward
        } else if beta == 1.0 {
            Kind::Reverse
        } else {
            Kind::Mixed((-beta).ln_1p() as f32, beta.ln() as f32)
        }
    }
}

/// `ln (1 + u)` for u in [0, 1], by the series of atanh.
#[inline(always)]
fn ln_1p<V: Vector>(u: V) -> V {
    let s = u.div(u.add(V::splat(2.0)));
    let square = s.mul(s);
    let mut p = V::splat(1.0 / 13.0);
    p = p.fma(square, V::splat(1.0 / 11.0));
    p = p.fma(square, V::splat(1.0 / 9.0));
    p = p.fma(square, V::splat(1.0 / 7.0));
    p = p.fma(square, V::splat(1.0 / 5.0));
    p = p.fma(square, V::splat(1.0 / 3.0));
    p = p.fma(square, V::splat(1.0));
    s.add(s).mul(p)
}

/// `ln m - ln p` where `ln q - ln p` is `delta`.
#[inline(always)]
fn mixture<V: Vector>(delta: V, kind: Kind) -> V {
    match kind {
        Kind::Forward => V::splat(0.0),
        Kind::Reverse => delta,
        Kind::Mixed(own, other) => {
            let (a, b) = (V::splat(own), delta.add(V::splat(other)));
            let apart = a.sub(b).min(b.sub(a)); // minus the distance
            a.max(b).add(ln_1p(apart.exp()))
        }
    }
}

vectorised! {
    /// Shares of KL(q ‖ m) and of KL(p ‖ m) in some columns of a row: logits of the student and of the teacher, and their normalisers.
    fn divergences<V>(z: &[f32], t: &[f32], scale: f32, lse: f32, teacher_lse: f32, kind: Kind) -> [f32; 2] {
        assert_eq!(z.len(), t.len());
        let (factor, floor) = (V::splat(scale), V::splat(FLOOR));
        let (own, other) = (V::splat(-lse), V::splat(-teacher_lse));
        let mut sums = [V::splat(0.0); 2];
        for index in (0..z.len()).step_by(V::LANES) {
            let (x, y) = if index + V::LANES <= z.len() {
                // SAFETY: whole vectors of z and t.
                unsafe { (V::load(z.as_ptr().add(index)), V::load(t.as_ptr().add(index))) }
            } else {
                let mut tails = [[PAD; 16]; 2];
                let rest = z.len() - index;
                tails[0][..rest].copy_from_slice(&z[index..]);
                tails[1][..rest].copy_from_slice(&t[index..]);
                // SAFETY: no vector is wider than a buffer.
                unsafe { (V::load(tails[0].as_ptr()), V::load(tails[1].as_ptr())) }
            };
            let (log_p, log_q) = (x.fma(factor, own).max(floor), y.fma(factor, other).max(floor));
            let delta = log_q.sub(log_p);
            let to_m = mixture(delta, kind);
            sums[0] = log_q.exp().fma(delta.sub(to_m), sums[0]);
            sums[1] = log_p.exp().fma(V::splat(0.0).sub(to_m), sums[1]);
        }
        sums.map(Vector::sum)
    }
}

/// What is known of a position in the backward pass.
#[derive(Clone, Copy)]
struct Known {
    lse: f32,
    teacher_lse: f32,
    student_kl: f32,
    /// Times the temperature's and β's share.
    gradient: f32,
}

vectorised! {
    /// The student's logits become their gradients: `gradient · (p - q)` for β = 0, else `gradient · p (ln p/m - KL(p ‖ m))`.
    fn differentiate<V>(z: &mut [f32], t: &[f32], scale: f32, known: &Known, kind: Kind) {
        assert_eq!(z.len(), t.len());
        let Known { lse, teacher_lse, student_kl, gradient } = *known;
        let (factor, floor, gradient) = (V::splat(scale), V::splat(FLOOR), V::splat(gradient));
        let (own, other, kl) = (V::splat(-lse), V::splat(-teacher_lse), V::splat(-student_kl));
        for index in (0..z.len()).step_by(V::LANES) {
            let rest = z.len() - index;
            let mut tails = [[PAD; 16]; 2];
            let (x, y) = if rest >= V::LANES {
                // SAFETY: whole vectors of z and t.
                unsafe { (V::load(z.as_ptr().add(index)), V::load(t.as_ptr().add(index))) }
            } else {
                tails[0][..rest].copy_from_slice(&z[index..]);
                tails[1][..rest].copy_from_slice(&t[index..]);
                // SAFETY: no vector is wider than a buffer.
                unsafe { (V::load(tails[0].as_ptr()), V::load(tails[1].as_ptr())) }
            };
            let (log_p, log_q) = (x.fma(factor, own).max(floor), y.fma(factor, other).max(floor));
            let p = log_p.exp();
            let slope = match kind {
                Kind::Forward => p.sub(log_q.exp()),
                _ => p.mul(kl.sub(mixture(log_q.sub(log_p), kind))),
            };
            let result = slope.mul(gradient);
            if rest >= V::LANES {
                // SAFETY: a whole vector of z.
                unsafe { result.store(z.as_mut_ptr().add(index)) };
            } else {
                // SAFETY: no vector is wider than the buffer.
                unsafe { result.store(tails[0].as_mut_ptr()) };
                z[index..].copy_from_slice(&tails[0][..rest]);
            }
        }
    }
}

/// What the forward pass writes, one number a position.
pub struct Outputs<'a> {
    pub divergence: &'a mut [f32],
    pub lse: &'a mut [f32],
    pub teacher_lse: &'a mut [f32],
    pub student_kl: &'a mut [f32],
}

/// A head and the hidden states that it takes.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    pub hidden: View<'a>,
    pub head: Head<'a>,
}

/// Positions whose logits are held at once.
fn rows_at_once(v: usize) -> usize {
    (LOGITS / v.max(1)).clamp(16, ROWS)
}

/// Both heads have one vocabulary and one temperature; slices have A elements.
pub fn forward(student: Side, teacher: Side, beta: f64, outputs: Outputs) {
    let (a, v) = (student.hidden.rows(), student.head.v);
    let (scale, kind, at_once) = (1.0 / student.head.temperature, Kind::of(beta), rows_at_once(v));
    let mut buffers = [(); 2].map(|()| Floats::uninit(a.min(at_once) * v));
    for first in (0..a).step_by(at_once) {
        let rows = at_once.min(a - first);
        // Block after block of columns, each row-major.
        for (side, buffer) in [student, teacher].iter().zip(&mut buffers) {
            let packed = PackedA::new(side.hidden.row_range(first..first + rows), side.head.precision);
            for start in (0..v).step_by(COLUMNS) {
                let width = COLUMNS.min(v - start);
                side.head.logits(
                    (&packed).into(),
                    start,
                    width,
                    &mut buffer[rows * start..rows * (start + width)],
                );
            }
        }
        let [z, t] = &buffers;
        let mut results = vec![[0f32; 4]; rows];
        parallel_chunks_mut(&mut results, GRAIN, |chunk, results| {
            for (index, result) in results.iter_mut().enumerate() {
                let row = chunk * GRAIN + index;
                let blocks = (0..v).step_by(COLUMNS).map(|start| {
                    let width = COLUMNS.min(v - start);
                    let at = rows * start + row * width;
                    (&z[at..at + width], &t[at..at + width])
                });
                let mut states = [Row::EMPTY; 2];
                for (z, t) in blocks.clone() {
                    for (state, logits) in states.iter_mut().zip([z, t]) {
                        let (max, sums) = reduce(logits, scale);
                        state.join(max, sums);
                    }
                }
                let [lse, teacher_lse] = states.map(|state| state.lse() as f32);
                let (mut of_teacher, mut of_student) = (0f64, 0f64);
                for (z, t) in blocks {
                    let [q, p] = divergences(z, t, scale, lse, teacher_lse, kind);
                    of_teacher += f64::from(q);
                    of_student += f64::from(p);
                }
                let divergence = match kind {
                    _ if lse.is_nan() || teacher_lse.is_nan() => f64::NAN,
                    Kind::Forward => of_teacher,
                    Kind::Reverse => of_student,
                    Kind::Mixed(..) => beta * of_teacher + (1.0 - beta) * of_student,
                };
                *result = [divergence as f32, lse, teacher_lse, of_student as f32];
            }
        });
        for (index, [divergence, lse, teacher_lse, student_kl]) in results.into_iter().enumerate() {
            let row = first + index;
            outputs.divergence[row] = divergence;
            outputs.lse[row] = lse;
            outputs.teacher_lse[row] = teacher_lse;
            outputs.student_kl[row] = student_kl;
        }
    }
}

/// What the backward pass reads, one number a position.
pub struct Saved<'a> {
    pub lse: &'a [f32],
    pub teacher_lse: &'a [f32],
    pub student_kl: &'a [f32],
    pub ddivergence: &'a [f32],
}

/// `dhidden [A, D]` and `dw [V, D]` are overwritten. The student's head has its `w`.
pub fn backward(student: Side, teacher: Side, beta: f64, saved: &Saved, dhidden: &mut [f32], dw: &mut [f32]) {
    let (a, v, d) = (student.hidden.rows(), student.head.v, student.hidden.columns());
    let (scale, kind) = (1.0 / student.head.temperature, Kind::of(beta));
    let share = scale * if let Kind::Mixed(..) = kind { (1.0 - beta) as f32 } else { 1.0 };
    let precision = student.head.precision;
    if a == 0 {
        dw.fill(0.0);
    }
    let mut buffers = [(); 2].map(|()| Floats::uninit(a.min(ROWS) * v.min(COLUMNS)));
    for first in (0..a).step_by(ROWS) {
        let rows = ROWS.min(a - first);
        let part = student.hidden.row_range(first..first + rows);
        let left = [student, teacher]
            .map(|side| PackedA::new(side.hidden.row_range(first..first + rows), side.head.precision));
        let right = PackedB::new(part.transposed(), precision).expect("memory for a block of positions");
        for start in (0..v).step_by(COLUMNS) {
            let width = COLUMNS.min(v - start);
            for ((side, left), buffer) in [student, teacher].iter().zip(&left).zip(&mut buffers) {
                side.head.logits(left.into(), start, width, &mut buffer[..rows * width]);
            }
            let [z, t] = &mut buffers;
            let (shared, t) = (SharedMut::new(&mut z[..rows * width]), &t[..rows * width]);
            parallel_for(rows.div_ceil(GRAIN), |chunk| {
                for row in chunk * GRAIN..((chunk + 1) * GRAIN).min(rows) {
                    // SAFETY: each row is one task's.
                    let x = unsafe { shared.slice(row * width, width) };
                    let known = Known {
                        lse: saved.lse[first + row],
                        teacher_lse: saved.teacher_lse[first + row],
                        student_kl: saved.student_kl[first + row],
                        gradient: saved.ddivergence[first + row] * share,
                    };
                    differentiate(x, &t[row * width..(row + 1) * width], scale, &known, kind);
                }
            });
            let dlogits = View::row_major(&buffers[0][..rows * width], rows, width);
            let w = student.head.w.expect("the student's weight").row_range(start..start + width);
            let data = &mut dhidden[first * d..(first + rows) * d];
            let output = Output { data, stride: d, accumulate: start > 0, bias: None };
            multiply(output, dlogits, Right::Lanes(w.transposed()), precision);
            let data = &mut dw[start * d..(start + width) * d];
            let output = Output { data, stride: d, accumulate: first > 0, bias: None };
            multiply(output, dlogits.transposed(), Right::Packed(right.columns()), precision);
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Precision;
    use crate::gemm::choice::noise;

    const BETAS: [f64; 4] = [0.0, 0.3, 0.5, 1.0];

    struct Case {
        a: usize,
        v: usize,
        widths: [usize; 2],
        hidden: [Vec<f32>; 2],
        w: [Vec<f32>; 2],
        temperature: f32,
    }

    impl Case {
        fn new(a: usize, v: usize, widths: [usize; 2], temperature: f32) -> Self {
            let scaled = |seed, len| noise(seed, len).iter().map(|x| x * 1.5).collect();
            let hidden = [scaled(1, a * widths[0]), scaled(3, a * widths[1])];
            Case {
                a,
                v,
                widths,
                hidden,
                w: [scaled(2, v * widths[0]), scaled(4, v * widths[1])],
                temperature,
            }
        }

        fn side<'a>(&'a self, which: usize, packed: Option<&'a PackedB>) -> Side<'a> {
            let d = self.widths[which];
            let head = Head {
                w: Some(View::row_major(&self.w[which], self.v, d)),
                packed,
                bias: None,
                v: self.v,
                temperature: self.temperature,
                precision: Precision::Fp32,
            };
            Side { hidden: View::row_major(&self.hidden[which], self.a, d), head }
        }

        /// Log-probabilities of a position, by the definition in float64.
        fn log_probabilities(&self, which: usize, row: usize) -> Vec<f64> {
            let d = self.widths[which];
            let logits: Vec<f64> = (0..self.v)
                .map(|column| {
                    let products = (0..d).map(|i| {
                        f64::from(self.hidden[which][row * d + i]) * f64::from(self.w[which][column * d + i])
                    });
                    products.sum::<f64>() / f64::from(self.temperature)
                })
                .collect();
            let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lse = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
            logits.iter().map(|x| x - lse).collect()
        }

        /// Divergence, KL(p ‖ m), and the gradient by the student's logits, by the definition.
        fn expected(&self, row: usize, beta: f64) -> (f64, f64, Vec<f64>) {
            let (p, q) = (self.log_probabilities(0, row), self.log_probabilities(1, row));
            let m: Vec<f64> =
                p.iter().zip(&q).map(|(p, q)| ((1.0 - beta) * p.exp() + beta * q.exp()).ln()).collect();
            let kl = |x: &[f64], m: &[f64]| x.iter().zip(m).map(|(x, m)| x.exp() * (x - m)).sum::<f64>();
            let (of_teacher, of_student) = (kl(&q, &m), kl(&p, &m));
            let share = if beta < 1.0 { 1.0 - beta } else { 1.0 };
            let gradient = |i: usize| match beta {
                0.0 => p[i].exp() - q[i].exp(),
                _ => share * p[i].exp() * (p[i] - m[i] - of_student),
            };
            let divergence = match beta {
                0.0 => of_teacher,
                1.0 => of_student,
                _ => beta * of_teacher + (1.0 - beta) * of_student,
            };
            let scale = f64::from(self.temperature);
            (divergence, of_student, (0..self.v).map(|i| gradient(i) / scale).collect())
        }

        fn run(&self, beta: f64, packed: [Option<&PackedB>; 2]) -> [Vec<f32>; 4] {
            let mut out = [(); 4].map(|()| vec![f32::NAN; self.a]);
            let [divergence, lse, teacher_lse, student_kl] = &mut out;
            let outputs = Outputs { divergence, lse, teacher_lse, student_kl };
            forward(self.side(0, packed[0]), self.side(1, packed[1]), beta, outputs);
            out
        }
    }

    fn close(got: f32, expected: f64, limit: f64, what: &str) {
        assert!(
            (f64::from(got) - expected).abs() <= limit * (1.0 + expected.abs()),
            "{what}: {got}, not {expected}"
        );
    }

    #[test]
    fn divergences_are_those_of_the_definition() {
        for (a, v, widths, temperature) in
            [(1, 1, [1, 1], 1.0), (3, 5, [7, 2], 0.5), (20, 1500, [20, 33], 1.0), (5, 3001, [9, 16], 1.7)]
        {
            let case = Case::new(a, v, widths, temperature);
            let packed = [0, 1].map(|which| {
                let w = View::row_major(&case.w[which], v, widths[which]);
                PackedB::new(w, Precision::Fp32).expect("memory")
            });
            for beta in BETAS {
                let found = case.run(beta, [None, None]);
                for (row, (&divergence, &student_kl)) in found[0].iter().zip(&found[3]).enumerate() {
                    let (expected, of_student, _) = case.expected(row, beta);
                    close(divergence, expected, 5e-6, "divergence");
                    close(student_kl, of_student, 5e-6, "KL(p ‖ m)");
                }
                assert_eq!(case.run(beta, [Some(&packed[0]), Some(&packed[1])]), found, "packed or not");
            }
        }
    }

    #[test]
    fn a_position_is_the_same_to_the_bit_in_any_batch() {
        let case = Case::new(40, 2100, [24, 8], 1.0);
        let whole = case.run(0.4, [None, None]);
        for row in [0, 17, 39] {
            let mut one = Case::new(1, 2100, [24, 8], 1.0);
            for which in [0, 1] {
                let d = case.widths[which];
                one.hidden[which].copy_from_slice(&case.hidden[which][row * d..(row + 1) * d]);
            }
            assert_eq!(one.run(0.4, [None, None]), [0, 1, 2, 3].map(|i| vec![whole[i][row]]));
        }
    }

    #[test]
    fn gradients_are_those_of_the_definition() {
        for (a, v, widths, temperature) in
            [(1, 3, [2, 2], 1.0), (6, 1100, [9, 5], 0.8), (ROWS + 5, 20, [4, 6], 1.3)]
        {
            let case = Case::new(a, v, widths, temperature);
            let d = widths[0];
            let ddivergence = noise(11, a);
            for beta in BETAS {
                let [_, lse, teacher_lse, student_kl] = case.run(beta, [None, None]);
                let saved = Saved {
                    lse: &lse,
                    teacher_lse: &teacher_lse,
                    student_kl: &student_kl,
                    ddivergence: &ddivergence,
                };
                let (mut dhidden, mut dw) = (vec![f32::NAN; a * d], vec![f32::NAN; v * d]);
                backward(case.side(0, None), case.side(1, None), beta, &saved, &mut dhidden, &mut dw);
                let mut expected_w = vec![0f64; v * d];
                for row in 0..a {
                    let (_, _, gradient) = case.expected(row, beta);
                    let mut expected = vec![0f64; d];
                    for (column, gradient) in gradient.iter().enumerate() {
                        let gradient = gradient * f64::from(ddivergence[row]);
                        for i in 0..d {
                            expected[i] += gradient * f64::from(case.w[0][column * d + i]);
                            expected_w[column * d + i] += gradient * f64::from(case.hidden[0][row * d + i]);
                        }
                    }
                    for i in 0..d {
                        close(dhidden[row * d + i], expected[i], 5e-6, "dhidden");
                    }
                }
                dw.iter().zip(&expected_w).for_each(|(&got, &expected)| close(got, expected, 2e-5, "dw"));
            }
        }
    }

    #[test]
    fn equals_do_not_diverge_and_extremes_stay_finite() {
        let mut case = Case::new(3, 700, [8, 8], 1.0);
        case.hidden[1] = case.hidden[0].clone();
        case.w[1] = case.w[0].clone();
        for beta in BETAS {
            case.run(beta, [None, None])[0].iter().for_each(|&x| close(x, 0.0, 1e-6, "divergence of equals"));
        }
        let mut far = Case::new(3, 700, [8, 8], 1.0);
        far.hidden[1].iter_mut().for_each(|x| *x *= 1e3);
        for beta in BETAS {
            let found = far.run(beta, [None, None]);
            assert!(found.iter().flatten().all(|x| x.is_finite()), "beta {beta}: {found:?}");
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let mut case = Case::new(3, 40, [4, 4], 1.0);
        case.hidden[1][5] = f32::NAN;
        for beta in BETAS {
            let [divergence, ..] = case.run(beta, [None, None]);
            assert_eq!(divergence.iter().map(|x| x.is_nan()).collect::<Vec<_>>(), [false, true, false]);
        }
    }
}
