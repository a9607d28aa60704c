//! The products of linear layers, and the general one, as JavaScript calls them.

use crate::border::{disjoint, fail, floats, floats_mut, guard, place, place_of, product};
use crate::dtype::Precision;
use crate::gemm::{multiply, Output, PackedB, Right, View};
use crate::pool::{num_threads, parallel_for, SharedMut};
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// A weight packed for `linear`. See `PackedWeight` in `binding.ts`.
#[napi]
pub struct PackedWeight {
    packed: Option<PackedB>,
    n: usize,
    k: usize,
    precision: Precision,
    transposed: bool,
}

#[napi]
impl PackedWeight {
    #[napi(getter)]
    pub fn n(&self) -> f64 {
        self.n as f64
    }

    #[napi(getter)]
    pub fn k(&self) -> f64 {
        self.k as f64
    }

    #[napi(getter)]
    pub fn precision(&self) -> &'static str {
        self.precision.name()
    }

    #[napi(getter)]
    pub fn bytes(&self) -> f64 {
        self.packed.as_ref().map_or(0.0, |packed| packed.bytes() as f64)
    }
}

impl PackedWeight {
    pub fn get(&self) -> Result<&PackedB> {
        self.packed.as_ref().ok_or_else(|| fail("the packed weight was released"))
    }

    pub fn precision_of(&self) -> Precision {
        self.precision
    }

    /// The weight, if it is one of these sizes and this precision.
    pub fn fitting(&self, kernel: &str, n: usize, k: usize, precision: Precision) -> Result<&PackedB> {
        if (self.n, self.k, self.precision) != (n, k, precision) {
            let (found, wanted) = (self.precision.name(), precision.name());
            let (found_n, found_k) = (self.n, self.k);
            return Err(fail(format!(
                "{kernel}: the packed weight is {found_n} x {found_k} ({found}), not {n} x {k} ({wanted})"
            )));
        }
        self.get()
    }
}

/// The lanes of a weight: element (n, k).
fn lanes(w: &[f32], n: usize, k: usize, transposed: bool) -> View<'_> {
    if transposed {
        View::row_major(w, k, n).transposed()
    } else {
        View::row_major(w, n, k)
    }
}

#[napi]
pub fn pack_weight(
    w: Float32ArraySlice,
    n: u32,
    k: u32,
    precision: String,
    transposed: Option<bool>,
) -> Result<PackedWeight> {
    guard(|| {
        let (n, k, transposed) = (n as usize, k as usize, transposed.unwrap_or(false));
        let precision = Precision::parse_weight(&precision)?;
        let w = floats(&w, "packWeight: w", product("packWeight", &[n, k])?)?;
        let packed = PackedB::new(lanes(w, n, k, transposed), precision)
            .ok_or_else(|| fail(format!("packWeight: no memory for a weight of {n} x {k}")))?;
        Ok(PackedWeight { packed: Some(packed), n, k, precision, transposed })
    })
}

#[napi]
pub fn repack_weight(packed: &mut PackedWeight, w: Float32ArraySlice) -> Result<()> {
    guard(|| {
        let w = floats(&w, "repackWeight: w", packed.n * packed.k)?;
        let lanes = lanes(w, packed.n, packed.k, packed.transposed);
        packed.packed.as_mut().ok_or_else(|| fail("the packed weight was released"))?.repack(lanes);
        Ok(())
    })
}

#[napi]
pub fn release_weight(packed: &mut PackedWeight) {
    packed.packed = None;
}

#[napi]
pub fn linear(
    mut y: Float32ArraySlice,
    x: Float32ArraySlice,
    packed: &PackedWeight,
    bias: Option<Float32ArraySlice>,
    m: u32,
) -> Result<()> {
    guard(|| {
        let (m, n, k) = (m as usize, packed.n, packed.k);
        disjoint("linear", &[place(&y)], &[place(&x), place_of(&bias)])?;
        let x = View::row_major(floats(&x, "linear: x", product("linear", &[m, k])?)?, m, k);
        let bias = bias.as_ref().map(|bias| floats(bias, "linear: bias", n)).transpose()?;
        let data = floats_mut(&mut y, "linear: y", product("linear", &[m, n])?)?;
        let output = Output { data, stride: n, accumulate: false, far: true, bias };
        multiply(output, x, Right::Packed(packed.get()?.columns()), packed.precision);
        Ok(())
    })
}

#[napi]
#[allow(clippy::too_many_arguments)]
pub fn linear_unpacked(
    mut y: Float32ArraySlice,
    x: Float32ArraySlice,
    w: Float32ArraySlice,
    bias: Option<Float32ArraySlice>,
    m: u32,
    n: u32,
    k: u32,
    precision: String,
) -> Result<()> {
    guard(|| {
        let (m, n, k) = (m as usize, n as usize, k as usize);
        disjoint("linear", &[place(&y)], &[place(&x), place(&w), place_of(&bias)])?;
        let x = View::row_major(floats(&x, "linear: x", product("linear", &[m, k])?)?, m, k);
        let w = View::row_major(floats(&w, "linear: w", product("linear", &[n, k])?)?, n, k);
        let bias = bias.as_ref().map(|bias| floats(bias, "linear: bias", n)).transpose()?;
        let data = floats_mut(&mut y, "linear: y", product("linear", &[m, n])?)?;
        let output = Output { data, stride: n, accumulate: false, far: true, bias };
        multiply(output, x, Right::Lanes(w), Precision::parse(&precision)?);
        Ok(())
    })
}

/// `sums[n] (+)= Σm data[m, n]`, rows added one by one, so that the order is that of the rows.
pub fn add_columns(sums: &mut [f32], data: &[f32], n: usize, accumulate: bool) {
    if n == 0 {
        return;
    }
    let grain = n.div_ceil(num_threads()).next_multiple_of(16);
    let sums = SharedMut::new(&mut sums[..n]);
    parallel_for(n.div_ceil(grain), |chunk| {
        let start = chunk * grain;
        let len = grain.min(n - start);
        // SAFETY: chunks are disjoint.
        let sums = unsafe { sums.slice(start, len) };
        if !accumulate {
            sums.fill(0.0);
        }
        for row in data.chunks_exact(n) {
            sums.iter_mut().zip(&row[start..start + len]).for_each(|(sum, &x)| *sum += x);
        }
    });
}

#[napi]
pub fn column_sums(
    mut db: Float32ArraySlice,
    dy: Float32ArraySlice,
    m: u32,
    n: u32,
    accumulate: bool,
) -> Result<()> {
    guard(|| {
        let (m, n) = (m as usize, n as usize);
        disjoint("columnSums", &[place(&db)], &[place(&dy)])?;
        let dy = floats(&dy, "columnSums: dy", product("columnSums", &[m, n])?)?;
        add_columns(floats_mut(&mut db, "columnSums: db", n)?, dy, n, accumulate);
        Ok(())
    })
}

/// See `Strides` in `binding.ts`.
#[napi(object)]
pub struct Strides {
    pub offset: Option<u32>,
    pub batch: u32,
    pub row: u32,
    pub column: u32,
}

impl Strides {
    /// The matrices of an operand, one a batch; all of them inside `data`.
    fn views<'a>(
        &self,
        data: &'a [f32],
        name: &str,
        batch: usize,
        rows: usize,
        columns: usize,
    ) -> Result<Vec<View<'a>>> {
        let (row, column) = (self.row as usize, self.column as usize);
        (0..batch)
            .map(|index| {
                let start =
                    index.checked_mul(self.batch as usize)?.checked_add(self.offset.unwrap_or(0) as usize)?;
                let data = if rows == 0 || columns == 0 { &[] } else { data.get(start..)? };
                View::new(data, rows, columns, row, column)
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| fail(format!("matmul: {name} is too short for its sizes and strides")))
    }
}

#[napi]
#[allow(clippy::too_many_arguments)]
pub fn matmul(
    mut c: Float32ArraySlice,
    a: Float32ArraySlice,
    a_strides: Strides,
    b: Float32ArraySlice,
    b_strides: Strides,
    batch: u32,
    m: u32,
    n: u32,
    k: u32,
    precision: String,
    accumulate: bool,
) -> Result<()> {
    guard(|| {
        let (batch, m, n, k) = (batch as usize, m as usize, n as usize, k as usize);
        disjoint("matmul", &[place(&c)], &[place(&a), place(&b)])?;
        let precision = Precision::parse(&precision)?;
        let size = product("matmul", &[m, n])?;
        let c = floats_mut(&mut c, "matmul: c", product("matmul", &[batch, size])?)?;
        if c.is_empty() {
            return Ok(());
        }
        let a = a_strides.views(&a, "a", batch, m, k)?;
        let b = b_strides.views(&b, "b", batch, k, n)?;
        multiply_batch(c, &a, &b, precision, accumulate);
        Ok(())
    })
}

/// `c[i] (+)= a[i] · b[i]`: many small products run side by side, few large ones each on all threads.
pub fn multiply_batch(c: &mut [f32], a: &[View], b: &[View], precision: Precision, accumulate: bool) {
    let batch = a.len();
    let (size, n) = (c.len() / batch, b[0].columns());
    let shared = SharedMut::new(c);
    let one = |index: usize| {
        // SAFETY: each index has its own part.
        let data = unsafe { shared.slice(index * size, size) };
        let output = Output { data, stride: n, accumulate, far: false, bias: None };
        multiply(output, a[index], Right::Lanes(b[index].transposed()), precision);
    };
    if batch >= 2 * num_threads() {
        parallel_for(batch, one);
    } else {
        (0..batch).for_each(one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::choice::noise;

    #[test]
    fn batches_equal_single_products() {
        for (batch, m, n, k) in [(1, 3, 4, 5), (3, 40, 33, 65), (17, 7, 20, 12)] {
            let (a, b) = (noise(1, batch * m * k), noise(2, batch * k * n));
            fn views(data: &[f32], rows: usize, columns: usize) -> Vec<View<'_>> {
                data.chunks_exact(rows * columns).map(|data| View::row_major(data, rows, columns)).collect()
            }
            let (views_a, views_b) = (views(&a, m, k), views(&b, k, n));
            let mut all = vec![0f32; batch * m * n];
            multiply_batch(&mut all, &views_a, &views_b, Precision::Fp32, false);
            for i in 0..batch {
                let mut one = vec![0f32; m * n];
                multiply_batch(&mut one, &views_a[i..=i], &views_b[i..=i], Precision::Fp32, false);
                assert_eq!(one, all[i * m * n..(i + 1) * m * n]);
            }
        }
    }

    #[test]
    fn columns_are_summed_in_the_order_of_rows() {
        let (m, n) = (50, 37);
        let data = noise(3, m * n);
        let mut sums = vec![1f32; n];
        add_columns(&mut sums, &data, n, false);
        for column in 0..n {
            let expected = (0..m).fold(0f32, |sum, row| sum + data[row * n + column]);
            assert_eq!(sums[column], expected);
        }
        let before = sums.clone();
        add_columns(&mut sums, &data[..n], n, true);
        assert!((0..n).all(|i| sums[i] == before[i] + data[i]));
    }
}
