//! Element by element: binary operations with simple broadcasts, and accumulation in place.

use crate::border::{disjoint, fail, floats, floats_mut, guard, place, product};
use crate::pool::{parallel_ranges, SharedMut};
use crate::vector::GRAIN;
use crate::{map, vectorised};
use napi::bindgen_prelude::*;
use napi_derive::napi;

#[derive(Clone, Copy)]
enum Operation {
    Add,
    Sub,
    Mul,
    Div,
}

impl Operation {
    fn parse(code: u32) -> Result<Self> {
        Ok(match code {
            0 => Self::Add,
            1 => Self::Sub,
            2 => Self::Mul,
            3 => Self::Div,
            other => return Err(fail(format!("binary: unknown operation {other}"))),
        })
    }
}

/// How an operand lies against the output `[rows, width]`.
#[derive(Clone, Copy, PartialEq)]
enum Spread {
    /// `[rows, width]`
    Whole,
    /// `[width]`, the same for every row
    Row,
    /// `[rows]`, one number for a row
    Column,
    /// one number
    Scalar,
}

impl Spread {
    fn parse(code: u32) -> Result<Self> {
        Ok(match code {
            0 => Self::Whole,
            1 => Self::Row,
            2 => Self::Column,
            3 => Self::Scalar,
            other => return Err(fail(format!("binary: unknown spread {other}"))),
        })
    }
    fn len(self, rows: usize, width: usize) -> usize {
        match self {
            Self::Whole => rows * width,
            Self::Row => width,
            Self::Column => rows,
            Self::Scalar => 1,
        }
    }
}

vectorised! {
    /// `y = a ∘ b`; an operand of one float is spread.
    fn apply<V>(operation: Operation, a: &[f32], b: &[f32], y: &mut [f32]) {
        let n = y.len();
        assert!((a.len() == n || a.len() == 1) && (b.len() == n || b.len() == 1));
        let (a_one, b_one) = (a.len() != n, b.len() != n);
        macro_rules! run {
            ($method:ident) => {
                // SAFETY: every operand that is not spread holds n floats, and y does.
                unsafe {
                    match (a_one, b_one) {
                        (false, false) => map!(V, n, [a: a.as_ptr(), b: b.as_ptr()] => [y.as_mut_ptr()], [a.$method(b)]),
                        (false, true) => {
                            let b = V::splat(b[0]);
                            map!(V, n, [a: a.as_ptr()] => [y.as_mut_ptr()], [a.$method(b)]);
                        }
                        (true, false) => {
                            let a = V::splat(a[0]);
                            map!(V, n, [b: b.as_ptr()] => [y.as_mut_ptr()], [a.$method(b)]);
                        }
                        (true, true) => {
                            let value = V::splat(a[0]).$method(V::splat(b[0])).lanes()[0];
                            y.fill(value);
                        }
                    }
                }
            };
        }
        match operation {
            Operation::Add => run!(add),
            Operation::Sub => run!(sub),
            Operation::Mul => run!(mul),
            Operation::Div => run!(div),
        }
    }
}

vectorised! {
    /// `target += scale * value`, on this thread.
    pub fn axpy_part<V>(value: &[f32], scale: f32, target: &mut [f32]) {
        let n = target.len();
        assert_eq!(value.len(), n);
        let s = V::splat(scale);
        // SAFETY: both hold n floats; target is input and output at the same place.
        unsafe {
            if scale == 1.0 {
                map!(V, n, [v: value.as_ptr(), t: target.as_ptr()] => [target.as_mut_ptr()], [t.add(v)]);
            } else {
                map!(V, n, [v: value.as_ptr(), t: target.as_ptr()] => [target.as_mut_ptr()], [v.fma(s, t)]);
            }
        }
    }
}

/// `target += scale * value`.
pub fn accumulate(value: &[f32], scale: f32, target: &mut [f32]) {
    let (n, target) = (target.len(), SharedMut::new(target));
    parallel_ranges(n, GRAIN, |r| {
        // SAFETY: ranges are disjoint.
        axpy_part(&value[r.clone()], scale, unsafe { target.slice(r.start, r.len()) });
    });
}

fn spread_binary(
    operation: Operation,
    (a, a_spread): (&[f32], Spread),
    (b, b_spread): (&[f32], Spread),
    rows: usize,
    width: usize,
    y: &mut [f32],
) {
    let flat = |spread: Spread| matches!(spread, Spread::Whole | Spread::Scalar);
    if flat(a_spread) && flat(b_spread) {
        let (n, y) = (y.len(), SharedMut::new(y));
        let part = |x, spread, r: std::ops::Range<usize>| -> &[f32] {
            let x: &[f32] = x;
            if spread == Spread::Whole {
                &x[r]
            } else {
                &x[..1]
            }
        };
        return parallel_ranges(n, GRAIN, |r| {
            // SAFETY: ranges are disjoint.
            apply(operation, part(a, a_spread, r.clone()), part(b, b_spread, r.clone()), unsafe {
                y.slice(r.start, r.len())
            });
        });
    }
    let y = SharedMut::new(y);
    parallel_ranges(rows, (GRAIN / width.max(1)).max(1), |range| {
        for row in range {
            let part = |x, spread| -> &[f32] {
                let x: &[f32] = x;
                match spread {
                    Spread::Whole => &x[row * width..(row + 1) * width],
                    Spread::Row => &x[..width],
                    Spread::Column => &x[row..row + 1],
                    Spread::Scalar => &x[..1],
                }
            };
            // SAFETY: rows are disjoint.
            apply(operation, part(a, a_spread), part(b, b_spread), unsafe { y.slice(row * width, width) });
        }
    });
}

/// `y [rows, width] = a ∘ b` with `∘` add (0), subtract (1), multiply (2) or divide (3); a spread says what an operand is:
/// `[rows, width]` (0), `[width]` (1), `[rows]` (2) or `[]` (3).
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn binary(
    operation: u32,
    a: Float32ArraySlice,
    a_spread: u32,
    b: Float32ArraySlice,
    b_spread: u32,
    mut y: Float32ArraySlice,
    rows: u32,
    width: u32,
) -> Result<()> {
    guard(|| {
        let (rows, width) = (rows as usize, width as usize);
        let (operation, a_spread, b_spread) =
            (Operation::parse(operation)?, Spread::parse(a_spread)?, Spread::parse(b_spread)?);
        let n = product("binary", &[rows, width])?;
        disjoint("binary", &[place(&y)], &[place(&a), place(&b)])?;
        let (a, b) =
            (floats(&a, "a", a_spread.len(rows, width))?, floats(&b, "b", b_spread.len(rows, width))?);
        spread_binary(operation, (a, a_spread), (b, b_spread), rows, width, floats_mut(&mut y, "y", n)?);
        Ok(())
    })
}

/// `target += scale * value`, as long as `target` is.
#[napi]
pub fn add_in_place(mut target: Float32ArraySlice, value: Float32ArraySlice, scale: f64) -> Result<()> {
    guard(|| {
        let n = target.len();
        disjoint("addInPlace", &[place(&target)], &[place(&value)])?;
        accumulate(floats(&value, "value", n)?, scale as f32, floats_mut(&mut target, "target", n)?);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spread_of_every_operation() {
        let (rows, width) = (7, 37);
        let values = |n: usize, k: f32| (0..n).map(|i| (i as f32 * k).sin() + 1.5).collect::<Vec<f32>>();
        let spreads = [Spread::Whole, Spread::Row, Spread::Column, Spread::Scalar];
        let at = |x: &[f32], spread, r: usize, c: usize| match spread {
            Spread::Whole => x[r * width + c],
            Spread::Row => x[c],
            Spread::Column => x[r],
            Spread::Scalar => x[0],
        };
        for a_spread in spreads {
            for b_spread in spreads {
                let (a, b) = (values(a_spread.len(rows, width), 0.7), values(b_spread.len(rows, width), 1.1));
                for operation in [Operation::Add, Operation::Sub, Operation::Mul, Operation::Div] {
                    let mut y = vec![0.0; rows * width];
                    spread_binary(operation, (&a, a_spread), (&b, b_spread), rows, width, &mut y);
                    for r in 0..rows {
                        for c in 0..width {
                            let (a, b) = (at(&a, a_spread, r, c), at(&b, b_spread, r, c));
                            let expected = match operation {
                                Operation::Add => a + b,
                                Operation::Sub => a - b,
                                Operation::Mul => a * b,
                                Operation::Div => a / b,
                            };
                            assert_eq!(y[r * width + c], expected);
                        }
                    }
                }
            }
        }
    }
}
