use super::*;
use crate::dtype::Precision;
use crate::gemm::choice::{candidates, noise, stored};
use crate::gemm::{multiply_with, PackedA, PackedB};
use crate::memory::Floats;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Every kernel, rows and columns adjacent or apart, packed columns or not: in strips and in the other way to the bit.
#[test]
fn strips_are_the_product() {
    for precision in [Precision::Fp32, Precision::Bf16, Precision::Int8] {
        for kernel in candidates(precision) {
            let most = kernel.mr * 2 * FEWEST * num_threads();
            for (m, n, k) in [(most, 33, 17), (most + 1, 1, 70), (most * 3 + 5, 130, 600), (most, 40, 1)] {
                let (a, b, bias) = (noise(1, m * k), noise(2, n * k), noise(3, n));
                let (rows, columns) = (View::row_major(&a, m, k), View::row_major(&b, n, k));
                assert!(Strips::new(kernel, vec![Rows::View(rows)], m).is_some());
                let product = |left: Left, right: Right, accumulate: bool| {
                    let mut c = noise(4, m * (n + 3));
                    let data = &mut c[..];
                    let output = Output { data, stride: n + 3, accumulate, far: false, bias: Some(&bias) };
                    multiply_with(kernel, output, left, right);
                    c
                };
                // Rows at a time, too few for strips.
                let mut expected = noise(4, m * (n + 3));
                for (row, c) in expected.chunks_mut(n + 3).enumerate() {
                    let output =
                        Output { data: c, stride: n + 3, accumulate: true, far: false, bias: Some(&bias) };
                    let left = Left::View(rows.row_range(row..row + 1));
                    multiply_with(kernel, output, left, Right::Lanes(columns));
                }
                assert!(
                    product(rows.into(), Right::Lanes(columns), true) == expected,
                    "{} {m}x{n}x{k}",
                    kernel.name
                );
                let turn = |data: &[f32], lanes: usize| -> Vec<f32> {
                    (0..k * lanes).map(|at| data[at % lanes * k + at / lanes]).collect()
                };
                let (a_turned, b_turned) = (turn(&a, m), turn(&b, n));
                let turned = |data, lanes| View::row_major(data, k, lanes).transposed();
                let found = product(turned(&a_turned, m).into(), Right::Lanes(turned(&b_turned, n)), true);
                assert!(found == expected, "{} {m}x{n}x{k}, turned", kernel.name);
                if std::ptr::eq(kernel, crate::gemm::choice::kernel(precision)) {
                    let packed = PackedB::transient(columns, precision);
                    let found = product(rows.into(), Right::Packed(packed.columns()), true);
                    assert!(found == expected, "{} {m}x{n}x{k}, packed columns", kernel.name);
                    let rows = PackedA::new(rows, precision);
                    let found = product((&rows).into(), Right::Lanes(columns), true);
                    assert!(found == expected, "{} {m}x{n}x{k}, packed rows", kernel.name);
                }
                // Against the definition, at one place, without what was there.
                let [x, y] = [&a[(m - 1) * k..], &b[(n - 1) * k..]].map(|lane| stored(kernel.format_a, lane));
                let sum = x.iter().zip(&y).map(|(x, y)| x * y).sum::<f64>() + f64::from(bias[n - 1]);
                let found = product(rows.into(), Right::Lanes(columns), false)[(m - 1) * (n + 3) + n - 1];
                assert!((f64::from(found) - sum).abs() < 2e-6 * (1.0 + k as f64).sqrt(), "{found} {sum}");
            }
        }
    }
}

/// Rows and columns that end inside of a tile, whole tiles only, and rows that are not aligned.
#[test]
fn results_past_the_caches_are_the_same() {
    for (m, n, k, stride) in [(645, 448, 100, 448), (640, 437, 64, 448), (645, 437, 33, 441)] {
        let (a, b) = (noise(1, m * k), noise(2, n * k));
        for precision in [Precision::Fp32, Precision::Bf16, Precision::Int8] {
            for kernel in candidates(precision) {
                let product = |far: bool| {
                    let mut c = Floats::uninit(m * stride);
                    assert!(4 * c.len() >= FAR_FROM);
                    c.fill(7.0);
                    let output = Output { data: &mut c, stride, accumulate: false, far, bias: None };
                    let (a, b) = (View::row_major(&a, m, k), View::row_major(&b, n, k));
                    multiply_with(kernel, output, a.into(), Right::Lanes(b));
                    c
                };
                assert!(product(true)[..] == product(false)[..], "{} {m}x{n}x{k}", kernel.name);
            }
        }
    }
}

/// Two sums, one of them of a left operand that is made strip by strip besides: in many passes, in each of which strips are made once more, as in one.
#[test]
fn columns_in_several_passes_are_the_same() {
    for precision in [Precision::Fp32, Precision::Bf16] {
        for kernel in candidates(precision) {
            let (m, k, steps) = (kernel.mr * 2 * FEWEST * num_threads() + 1, 70, 33);
            let widths = [5 * kernel.nr + 3, 11 * kernel.nr];
            let (x, made, bias) = (noise(1, m * k), noise(2, m * steps), noise(3, widths[0]));
            let weights = widths.map(|n| (noise(4, n * k), noise(5, n * steps)));
            let compute = |pass_bytes: usize| {
                let lefts = vec![Rows::View(View::row_major(&x, m, k)), Rows::Made(steps)];
                let strips = Strips { pass_bytes, ..Strips::with_made(kernel, lefts, m) };
                let mut results = widths.map(|n| vec![7f32; m * n]);
                let [first, second] = &mut results;
                let [one, two] = [&weights[0], &weights[1]];
                let right = |w, n, k| Right::Lanes(View::row_major(w, n, k));
                let output =
                    |data, stride, bias| Output { data, stride, accumulate: false, far: false, bias };
                let sums = vec![
                    Sum {
                        output: output(first, widths[0], Some(&bias[..])),
                        terms: vec![(0, right(&one.0, widths[0], k)), (1, right(&one.1, widths[0], steps))],
                    },
                    Sum {
                        output: output(second, widths[1], None),
                        terms: vec![(1, right(&two.1, widths[1], steps))],
                    },
                ];
                let calls = AtomicUsize::new(0);
                strips.multiply(sums, &|strip| {
                    calls.fetch_add(1, Ordering::Relaxed);
                    strip.pack_views();
                    strip.pack(1, View::row_major(&made, m, steps).row_range(strip.rows()));
                });
                (results, calls.into_inner() / strips.count)
            };
            let (expected, passes) = compute(SLICE_BYTES);
            assert_eq!(passes, 1);
            let (found, passes) = compute(1);
            assert_eq!(passes, 2 + 3, "{}", kernel.name); // 6 and 11 panels, four at a time
            assert!(found == expected, "{}", kernel.name);
            // Against the definition, at one place.
            let lane = |data: &[f32], row: usize, k: usize| stored(kernel.format_a, &data[row * k..][..k]);
            let dot = |a: &[f32], b: &[f32], n: usize, k: usize| -> f64 {
                lane(a, m - 1, k).iter().zip(&lane(b, n - 1, k)).map(|(x, y)| x * y).sum()
            };
            let n = widths[0];
            let sum =
                dot(&x, &weights[0].0, n, k) + dot(&made, &weights[0].1, n, steps) + f64::from(bias[n - 1]);
            assert!((f64::from(found[0][m * n - 1]) - sum).abs() < 2e-5, "{} {sum}", found[0][m * n - 1]);
        }
    }
}
