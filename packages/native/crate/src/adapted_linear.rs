//! A linear layer with a low-rank adapter (Hu et al. 2021, "LoRA"): `y = x wᵀ + bias + h bᵀ`, `h = scale · x aᵀ`; forward, and backward with `w` and `bias` frozen.
//! What several of its products need is packed once, and the update is added to a tile of `y` while that is in the cache.

use crate::border::{disjoint, fail, floats, floats_mut, guard, place, place_of, product};
use crate::dtype::Precision;
use crate::gemm::{multiply, multiply_terms, BothWays, Output, PackedA, PackedB, Right, Term, View};
use crate::linear::PackedWeight;
use crate::pool::parallel_for;
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Rows, outputs, inputs, and the rank of the adapter.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub r: usize,
}

/// The adapter: `a [r, K]`, `b [N, r]`.
#[derive(Clone, Copy)]
pub struct LowRank<'a> {
    pub a: &'a [f32],
    pub b: &'a [f32],
    pub scale: f32,
}

fn plain(data: &mut [f32], stride: usize) -> Output<'_> {
    Output { data, stride, accumulate: false, far: false, bias: None }
}

/// `x [m, K]` → `y [m, N]`, `h [m, r]`.
pub fn forward(
    Sizes { m, n, k, r }: Sizes,
    x: &[f32],
    weight: Right,
    bias: Option<&[f32]>,
    LowRank { a, b, scale }: LowRank,
    precision: Precision,
    (y, h): (&mut [f32], &mut [f32]),
) {
    let rows = PackedA::new(View::row_major(x, m, k), precision);
    multiply(plain(h, r), &rows, Right::Lanes(View::row_major(a, r, k)), precision);
    h.iter_mut().for_each(|h| *h *= scale);
    let inner = PackedA::new(View::row_major(h, m, r), precision);
    let b = PackedB::transient(View::row_major(b, n, r), precision);
    let output = Output { data: y, stride: n, accumulate: false, far: false, bias };
    multiply_terms(output, &rows, weight, &[Term { a: &inner, b: &b }]);
}

/// What the backward pass reads: `dy [m, N]`, `x [m, K]`, `h [m, r]` of the forward pass, `w [N, K]`.
#[derive(Clone, Copy)]
pub struct Backward<'a> {
    pub dy: &'a [f32],
    pub x: &'a [f32],
    pub h: &'a [f32],
    pub w: &'a [f32],
}

/// → `dx [m, K]`, `da [r, K]`, `db [N, r]`.
pub fn backward(
    Sizes { m, n, k, r }: Sizes,
    Backward { dy, x, h, w }: Backward,
    LowRank { a, b, scale }: LowRank,
    precision: Precision,
    (dx, da, db): (&mut [f32], &mut [f32], &mut [f32]),
) {
    let both = BothWays::new(m, n, [true, true], precision);
    let step = both.step();
    parallel_for(m.div_ceil(step), |part| {
        let range = part * step..((part + 1) * step).min(m);
        // SAFETY: ranges are disjoint, and nothing reads them before all are packed.
        unsafe { both.pack(range.clone(), &dy[range.start * n..range.end * n]) };
    });
    let (Some(rows), Some(columns)) = (both.rows(), both.columns()) else { return };
    multiply(plain(db, r), columns, Right::Lanes(View::row_major(h, m, r).transposed()), precision);
    let mut g = vec![0.0; m * r]; // the gradient of x aᵀ
    multiply(plain(&mut g, r), rows, Right::Lanes(View::row_major(b, n, r).transposed()), precision);
    g.iter_mut().for_each(|g| *g *= scale);
    let g = View::row_major(&g, m, r);
    multiply(plain(da, k), g.transposed(), Right::Lanes(View::row_major(x, m, k).transposed()), precision);
    let inner = PackedA::new(g, precision);
    let w = Right::Lanes(View::row_major(w, n, k).transposed());
    let a = PackedB::transient(View::row_major(a, r, k).transposed(), precision);
    multiply_terms(plain(dx, k), rows, w, &[Term { a: &inner, b: &a }]);
}

const FORWARD: &str = "adaptedLinear";
const BACKWARD: &str = "adaptedLinearGrad";

/// Sizes of which none is zero.
fn sizes(kernel: &str, m: u32, n: usize, k: usize, r: u32) -> Result<Sizes> {
    let sizes = Sizes { m: m as usize, n, k, r: r as usize };
    for pair in [[sizes.m, n], [sizes.m, k], [sizes.m, sizes.r], [n, k], [n, sizes.r], [sizes.r, k]] {
        if product(kernel, &pair)? == 0 {
            return Err(fail(format!(
                "{kernel}: {m} rows, {n} outputs, {k} inputs, rank {r}: nothing to compute"
            )));
        }
    }
    Ok(sizes)
}

/// See `adaptedLinear` in `binding.ts`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn adapted_linear(
    mut y: Float32ArraySlice,
    mut h: Float32ArraySlice,
    x: Float32ArraySlice,
    w: Float32ArraySlice,
    packed: Option<&PackedWeight>,
    bias: Option<Float32ArraySlice>,
    a: Float32ArraySlice,
    b: Float32ArraySlice,
    scale: f64,
    m: u32,
    n: u32,
    k: u32,
    r: u32,
    precision: String,
) -> Result<()> {
    guard(|| {
        let sizes = sizes(FORWARD, m, n as usize, k as usize, r)?;
        let Sizes { m, n, k, r } = sizes;
        let read = [place(&x), place(&w), place_of(&bias), place(&a), place(&b)];
        disjoint(FORWARD, &[place(&y), place(&h)], &read)?;
        let low_rank =
            LowRank { a: floats(&a, "a", r * k)?, b: floats(&b, "b", n * r)?, scale: scale as f32 };
        let bias = bias.as_ref().map(|bias| floats(bias, "bias", n)).transpose()?;
        let outputs = (floats_mut(&mut y, "y", m * n)?, floats_mut(&mut h, "h", m * r)?);
        let precision = Precision::parse_weight(&precision)?;
        let w = View::row_major(floats(&w, "w", n * k)?, n, k);
        let weight = match packed {
            Some(packed) => Right::Packed(packed.fitting(FORWARD, n, k, precision)?.columns()),
            None => Right::Lanes(w),
        };
        forward(sizes, floats(&x, "x", m * k)?, weight, bias, low_rank, precision, outputs);
        Ok(())
    })
}

/// See `adaptedLinearGrad` in `binding.ts`.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn adapted_linear_grad(
    mut dx: Float32ArraySlice,
    mut da: Float32ArraySlice,
    mut db: Float32ArraySlice,
    dy: Float32ArraySlice,
    x: Float32ArraySlice,
    h: Float32ArraySlice,
    w: Float32ArraySlice,
    a: Float32ArraySlice,
    b: Float32ArraySlice,
    scale: f64,
    m: u32,
    n: u32,
    k: u32,
    r: u32,
    precision: String,
) -> Result<()> {
    guard(|| {
        let sizes = sizes(BACKWARD, m, n as usize, k as usize, r)?;
        let Sizes { m, n, k, r } = sizes;
        let read = [place(&dy), place(&x), place(&h), place(&w), place(&a), place(&b)];
        disjoint(BACKWARD, &[place(&dx), place(&da), place(&db)], &read)?;
        let low_rank =
            LowRank { a: floats(&a, "a", r * k)?, b: floats(&b, "b", n * r)?, scale: scale as f32 };
        let read = Backward {
            dy: floats(&dy, "dy", m * n)?,
            x: floats(&x, "x", m * k)?,
            h: floats(&h, "h", m * r)?,
            w: floats(&w, "w", n * k)?,
        };
        let outputs = (
            floats_mut(&mut dx, "dx", m * k)?,
            floats_mut(&mut da, "da", r * k)?,
            floats_mut(&mut db, "db", n * r)?,
        );
        backward(sizes, read, low_rank, Precision::parse(&precision)?, outputs);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::choice::noise;

    /// `Σ a(i) b(i)` for `i` in `0..len`, in float64.
    fn dot(len: usize, a: impl Fn(usize) -> f32, b: impl Fn(usize) -> f32) -> f64 {
        (0..len).map(|i| f64::from(a(i)) * f64::from(b(i))).sum()
    }

    #[test]
    fn both_passes_agree_with_their_definitions() {
        let scale = 0.7f32;
        for (m, n, k, r) in [(1, 1, 1, 1), (3, 17, 33, 2), (31, 40, 70, 16), (130, 33, 65, 3)] {
            let sizes = Sizes { m, n, k, r };
            let (x, w, bias, a, b, dy) = (
                noise(1, m * k),
                noise(2, n * k),
                noise(3, n),
                noise(4, r * k),
                noise(5, n * r),
                noise(6, m * n),
            );
            let inner = |i: usize, j: usize| f64::from(scale) * dot(k, |c| x[i * k + c], |c| a[j * k + c]);
            let back = |i: usize, j: usize| f64::from(scale) * dot(n, |c| dy[i * n + c], |c| b[c * r + j]);
            for (precision, tolerance) in [(Precision::Fp32, 1e-5), (Precision::Bf16, 0.03)] {
                let near = |found: f32, expected: f64, terms: usize| {
                    let bound = tolerance * (1.0 + terms as f64).sqrt();
                    assert!(
                        (f64::from(found) - expected).abs() < bound,
                        "{m} {n} {k} {r}: {found} {expected}"
                    );
                };
                let packed = PackedB::transient(View::row_major(&w, n, k), precision);
                let low_rank = LowRank { a: &a, b: &b, scale };
                let (mut y, mut h) = (vec![9.0; m * n], vec![9.0; m * r]);
                forward(
                    sizes,
                    &x,
                    Right::Packed(packed.columns()),
                    Some(&bias),
                    low_rank,
                    precision,
                    (&mut y, &mut h),
                );
                for i in 0..m {
                    (0..r).for_each(|j| near(h[i * r + j], inner(i, j), k));
                    for j in 0..n {
                        let update: f64 = (0..r).map(|c| inner(i, c) * f64::from(b[j * r + c])).sum();
                        let whole = dot(k, |c| x[i * k + c], |c| w[j * k + c]) + f64::from(bias[j]);
                        near(y[i * n + j], whole + update, k * (1 + r));
                    }
                }
                let (mut dx, mut da, mut db) = (vec![9.0; m * k], vec![9.0; r * k], vec![9.0; n * r]);
                let read = Backward { dy: &dy, x: &x, h: &h, w: &w };
                backward(sizes, read, low_rank, precision, (&mut dx, &mut da, &mut db));
                for i in 0..m {
                    for c in 0..k {
                        let update: f64 = (0..r).map(|j| back(i, j) * f64::from(a[j * k + c])).sum();
                        near(
                            dx[i * k + c],
                            dot(n, |j| dy[i * n + j], |j| w[j * k + c]) + update,
                            n * (1 + r),
                        );
                    }
                }
                for j in 0..r {
                    for c in 0..k {
                        let expected: f64 = (0..m).map(|i| back(i, j) * f64::from(x[i * k + c])).sum();
                        near(da[j * k + c], expected, m * n);
                    }
                    for c in 0..n {
                        let expected: f64 = (0..m).map(|i| f64::from(dy[i * n + c]) * inner(i, j)).sum();
                        near(db[c * r + j], expected, m * k);
                    }
                }
            }
        }
    }
}
