//! Sums of outer products over rows: the gradients of low-rank matrices. As products they would have so few rows that packing the other operand, which no other product needs
//! in that form, would take longer than multiplying: it is read as it lies, some columns at a time, by all threads.

use super::choice;
use super::view::View;
use crate::dtype::Precision;
use crate::features::processor;
use crate::pool::{parallel_for, SharedMut};
use crate::vectorised;

/// Columns of a task, and rows that it takes at a time: what they read and sum stays in the first-level cache.
const COLUMNS: usize = 48;
const ROWS: usize = 64;

/// `out = Σᵢ s(i, ·)ᵀ x(i, ·)`, `s [rows, r]` with columns side by side, `x [rows, n]`; `out [r, n]`, or `[n, r]` where it is `turned`.
pub struct Outer<'a> {
    pub s: View<'a>,
    pub x: &'a [f32],
    pub out: &'a mut [f32],
    pub turned: bool,
}

/// What the tasks of one sum read, and where it goes.
struct Job<'a> {
    s: View<'a>,
    /// `s` as pairs of rows, `[rows / 2][r]`, where these are multiplied.
    pairs: Option<Vec<i32>>,
    x: &'a [f32],
    n: usize,
    out: SharedMut<'a, f32>,
    turned: bool,
}

/// Whether pairs of numbers in bfloat16 are multiplied: the kernel of products says what is wanted, the processor what it has.
fn in_pairs(precision: Precision) -> bool {
    precision == Precision::Bf16 && choice::kernel(precision).bf16 && processor().avx512_bf16
}

/// Computes all of them. Where the processor multiplies bfloat16 itself and `precision` asks for it, both operands are rounded to it; else nothing is. A number depends on its
/// row of `s` and its column of `x` alone, and not on the number of threads. Panics when sizes do not fit, or something is empty.
pub fn outer(sums: Vec<Outer>, precision: Precision) {
    let pairs = in_pairs(precision);
    let jobs = sums.into_iter().map(|Outer { s, x, out, turned }| {
        let n = x.len() / s.rows;
        let fits = s.column_stride == 1 && x.len() == s.rows * n && out.len() == s.columns * n;
        assert!(fits && !out.is_empty(), "sizes do not fit");
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the instructions.
        let pairs = pairs.then(|| unsafe { pairs::pack(s) });
        #[cfg(not(target_arch = "x86_64"))]
        let pairs = pairs.then(Vec::new);
        Job { s, pairs, x, n, out: SharedMut::new(out), turned }
    });
    let jobs: Vec<Job> = jobs.collect();
    let tasks: Vec<(usize, usize)> = (0..jobs.len())
        .flat_map(|job| (0..jobs[job].n).step_by(COLUMNS).map(move |first| (job, first)))
        .collect();
    parallel_for(tasks.len(), |task| {
        let (job, first) = tasks[task];
        jobs[job].columns(first);
    });
}

impl Job<'_> {
    /// The columns of a task, from `first` on.
    fn columns(&self, first: usize) {
        let Self { s, n, out, .. } = self;
        let (r, columns) = (s.columns, COLUMNS.min(n - first));
        let mut sums = vec![0.0; r * COLUMNS];
        for start in (0..s.rows).step_by(ROWS) {
            let block = Block { start, rows: ROWS.min(s.rows - start), first, columns };
            match &self.pairs {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as where they were packed.
                Some(pairs) => unsafe { pairs::add(pairs, r, self.x, *n, block, &mut sums) },
                _ => add_floats(s, self.x, *n, block, &mut sums),
            }
        }
        for (row, sums) in sums.chunks_exact(COLUMNS).enumerate() {
            // SAFETY: these columns are this task's.
            unsafe {
                if self.turned {
                    let out = out.slice(first * r, columns * r);
                    sums[..columns].iter().enumerate().for_each(|(column, sum)| out[column * r + row] = *sum);
                } else {
                    out.slice(row * n + first, columns).copy_from_slice(&sums[..columns]);
                }
            }
        }
    }
}

/// Some rows of the columns of a task.
#[derive(Clone, Copy)]
struct Block {
    start: usize,
    rows: usize,
    first: usize,
    columns: usize,
}

/// Computes `$body` for runs of R of `$r` numbers, R being one of these powers of two.
macro_rules! in_blocks {
    ($r:expr, [$($most:literal),*], |$first:ident, $count:ident| $body:expr) => {
        let mut $first = 0;
        $(while $r - $first >= $most {
            const $count: usize = $most;
            $body;
            $first += $most;
        })*
    };
}

vectorised! {
    /// Adds a block to `sums [r][COLUMNS]`.
    fn add_floats<V>(s: &View, x: &[f32], n: usize, block: Block, sums: &mut [f32]) {
        let Block { start, rows, first, columns } = block;
        for column in (0..columns).step_by(V::LANES) {
            let lanes = V::LANES.min(columns - column);
            in_blocks!(s.columns, [8, 4, 2, 1], |begin, R| {
                let mut here: [V; R] = std::array::from_fn(|i| {
                    // SAFETY: a row of sums has `COLUMNS`, a multiple of every vector's lanes.
                    unsafe { V::load(sums[(begin + i) * COLUMNS + column..][..V::LANES].as_ptr()) }
                });
                for row in start..start + rows {
                    let x = &x[row * n + first + column..][..lanes];
                    // SAFETY: so many floats are there.
                    let x = unsafe {
                        if lanes == V::LANES { V::load(x.as_ptr()) } else { V::load_part(x.as_ptr(), lanes) }
                    };
                    let s = &s.data[row * s.row_stride + begin..][..R];
                    here.iter_mut().zip(s).for_each(|(sum, &s)| *sum = x.fma(V::splat(s), *sum));
                }
                for (i, sum) in here.into_iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { sum.store(sums[(begin + i) * COLUMNS + column..][..V::LANES].as_mut_ptr()) };
                }
            });
        }
    }
}

/// With `vdpbf16ps`: two rows at a time.
#[cfg(target_arch = "x86_64")]
mod pairs {
    use super::{Block, View, COLUMNS, ROWS};
    use crate::gemm::kernel::Format;
    use crate::gemm::pack::Source;
    use crate::gemm::pack_pairs::{first, join, pack_pairs, words, TURN};
    use crate::memory::ask_second;
    use std::arch::x86_64::*;

    const LANES: usize = 16;

    /// `s [rows, r]` as `[rows / 2][r]` pairs of rows.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW, VL, DQ and BF16; the columns of `s` lie side by side.
    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    pub unsafe fn pack(s: View) -> Vec<i32> {
        let (rows, r) = (s.rows, s.columns);
        let mut packed = vec![0i32; rows.div_ceil(2) * r];
        let source = Source {
            data: s.data.as_ptr(),
            lane_stride: 1,
            k_stride: s.row_stride,
            lanes: r,
            width: r,
            k: rows,
            padded: rows.next_multiple_of(2),
        };
        // SAFETY: the source lies inside of `s`, and there is room for all pairs.
        unsafe { pack_pairs(&source, Format::Pairs, packed.as_mut_ptr().cast()) };
        packed
    }

    /// Adds a block to `sums [r][COLUMNS]`, and asks for the rows of the next one.
    ///
    /// # Safety
    /// As for `pack`, of which `s` is the result; the block lies inside of `x [rows, n]`, `n` its columns, and begins at an even row.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub unsafe fn add(s: &[i32], r: usize, x: &[f32], n: usize, block: Block, sums: &mut [f32]) {
        let Block { start, rows, first: column, columns } = block;
        assert!(start.is_multiple_of(2) && sums.len() == r * COLUMNS, "sizes do not fit");
        let s = &s[start / 2 * r..][..rows.div_ceil(2) * r];
        let x = &x[start * n + column..][..(rows - 1) * n + columns];
        for column in (0..columns).step_by(LANES) {
            in_blocks!(r, [16, 8, 4, 2, 1], |begin, R| {
                let ask = begin == 0;
                let (x, sums) = (&x[column..], &mut sums[begin * COLUMNS + column..]);
                // SAFETY: by the caller's promise; the numbers `begin .. begin + R` exist.
                unsafe { add_columns::<R>(&s[begin..], r, x, n, rows, columns - column, sums, ask) };
            });
        }
    }

    /// Up to 16 columns, of `left` that there are, by `R` numbers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    #[allow(clippy::too_many_arguments)]
    unsafe fn add_columns<const R: usize>(
        s: &[i32],
        r: usize,
        x: &[f32],
        n: usize,
        rows: usize,
        left: usize,
        sums: &mut [f32],
        ask: bool,
    ) {
        let (here, turn, s, x) = (first(left), words(&TURN[0]), s.as_ptr(), x.as_ptr());
        assert!(sums.len() >= (R - 1) * COLUMNS + LANES);
        // SAFETY: so many sums are there.
        let mut values: [__m512; R] =
            std::array::from_fn(|i| unsafe { _mm512_loadu_ps(sums.as_ptr().add(i * COLUMNS)) });
        for pair in 0..rows.div_ceil(2) {
            // SAFETY: only rows and columns that exist are read.
            let x = unsafe {
                let even = x.add(2 * pair * n);
                let odd = even.wrapping_add(n);
                if ask {
                    ask_second(even.wrapping_add(ROWS * n).cast());
                    ask_second(odd.wrapping_add(ROWS * n).cast());
                }
                let exists = if 2 * pair + 1 < rows { here } else { 0 };
                join(_mm512_maskz_loadu_ps(here, even), _mm512_maskz_loadu_ps(exists, odd))
            };
            let x = _mm512_permutexvar_epi16(turn, x);
            for (i, sum) in values.iter_mut().enumerate() {
                // SAFETY: so many pairs exist; a vector of integers and one of bfloat16 pairs have the same bits.
                *sum = unsafe {
                    let s = _mm512_set1_epi32(*s.add(pair * r + i));
                    _mm512_dpbf16_ps(
                        *sum,
                        std::mem::transmute::<__m512i, __m512bh>(s),
                        std::mem::transmute::<__m512i, __m512bh>(x),
                    )
                };
            }
        }
        for (i, sum) in values.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr().add(i * COLUMNS), sum) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::round_bf16;
    use crate::gemm::choice::noise;

    #[test]
    fn sums_of_outer_products() {
        let cases = [(1, 1, 1, 1), (3, 5, 7, 17), (48, 16, 16, 33), (131, 48, 50, 40), (2, 31, 31, 149)];
        for precision in [Precision::Fp32, Precision::Bf16] {
            let rounds = in_pairs(precision);
            let value = |x: f32| f64::from(if rounds { round_bf16(x) } else { x });
            for (rows, r, stride, n) in cases {
                let (s, x, other) = (noise(1, rows * stride), noise(2, rows * n), noise(3, rows * 3));
                let Some(s_view) = View::new(&s, rows, r, stride, 1) else { panic!("inside") };
                let [mut plain, mut turned, mut third] = [r * n, r * n, 3 * r].map(|len| vec![7.0; len]);
                let sums = vec![
                    Outer { s: s_view, x: &x, out: &mut plain, turned: false },
                    Outer { s: s_view, x: &x, out: &mut turned, turned: true },
                    Outer { s: s_view, x: &other, out: &mut third, turned: false },
                ];
                outer(sums, precision);
                for (x, n, found) in [(&x, n, &plain), (&other, 3, &third)] {
                    for (at, &found) in found.iter().enumerate() {
                        let (j, c) = (at / n, at % n);
                        let terms = (0..rows).map(|i| value(s[i * stride + j]) * value(x[i * n + c]));
                        let expected: f64 = terms.sum();
                        assert!(
                            (f64::from(found) - expected).abs() < 1e-5,
                            "{rows} {r} {n}: {found} {expected}"
                        );
                    }
                }
                assert!((0..r * n).all(|at| turned[at % n * r + at / n] == plain[at]));
            }
        }
    }
}
