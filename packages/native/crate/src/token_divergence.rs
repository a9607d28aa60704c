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

use crate::gemm::{multiply, Output, PackedA, PackedB, Right, View};
use crate::memory::Floats;
use crate::pool::{parallel_chunks_mut, parallel_for, SharedMut};
use crate::token_outputs::{reduce, Head, Row, COLUMNS, GRAIN, PAD, ROWS};
use crate::vector::Vector;
use crate::vectorised;

pub mod call;
#[cfg(test)]
mod tests;

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
                        let (max, sums) = reduce(logits, scale, &mut []);
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
            let output = Output { data, stride: d, accumulate: start > 0, far: false, bias: None };
            multiply(output, dlogits, Right::Lanes(w.transposed()), precision);
            let data = &mut dw[start * d..(start + width) * d];
            let output = Output { data, stride: d, accumulate: first > 0, far: false, bias: None };
            multiply(output, dlogits.transposed(), Right::Packed(right.columns()), precision);
        }
    }
}
