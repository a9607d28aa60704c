use super::*;
use crate::dtype::Precision;
use crate::gemm::choice::{candidates, noise};
use crate::gemm::{multiply, multiply_with, Output, PackedB, Right, View};

fn product(kernel: &'static Kernel, x: &[f32], w: &[f32], m: usize, n: usize, k: usize) -> Vec<f32> {
    let mut y = vec![0f32; m * n];
    let output = Output { data: &mut y, stride: n, accumulate: false, far: false, bias: None };
    multiply_with(kernel, output, View::row_major(x, m, k).into(), Right::Lanes(View::row_major(w, n, k)));
    y
}

#[test]
fn every_kernel_gives_the_same_bits() {
    for (m, n, k) in [(1, 1, 1), (3, 33, 64), (8, 96, 576), (13, 17, 65), (37, 70, 1536), (130, 31, 200)] {
        let (x, w) = (noise(1, m * k), noise(2, n * k));
        let expected = product(&PORTABLE_BYTES, &x, &w, m, n, k);
        for kernel in candidates(Precision::Int8) {
            assert!(product(kernel, &x, &w, m, n, k) == expected, "{} {m}x{n}x{k}", kernel.name);
        }
    }
}

#[test]
fn the_error_is_that_of_eight_bits() {
    let (m, n, k) = (9, 40, 576);
    let (x, w) = (noise(3, m * k), noise(4, n * k));
    let Some(packed) = PackedB::new(View::row_major(&w, n, k), Precision::Int8) else { panic!("memory") };
    let mut y = vec![0f32; m * n];
    let output = Output { data: &mut y, stride: n, accumulate: false, far: false, bias: None };
    multiply(output, View::row_major(&x, m, k), Right::Packed(packed.columns()), Precision::Int8);
    let (mut error, mut size) = (0.0, 0.0);
    for (index, &y) in y.iter().enumerate() {
        let (row, column) = (index / n, index % n);
        let exact: f64 = (0..k).map(|t| f64::from(x[row * k + t]) * f64::from(w[column * k + t])).sum();
        error += (f64::from(y) - exact).powi(2);
        size += exact.powi(2);
    }
    // Two roundings to steps of max / 127, each of a variance of a twelfth of a step squared, on numbers of a variance of max² / 3.
    let expected = (2.0 * 3.0 / 12.0f64).sqrt() / 127.0;
    let found = (error / size).sqrt();
    assert!(found < 1.5 * expected && found > 0.5 * expected, "{found} {expected}");
    // A byte and an eighth a number, with the lanes that fill the last panel.
    assert!(packed.bytes() <= n.next_multiple_of(32) * k * 9 / 8, "{}", packed.bytes());
}

#[test]
fn what_is_not_finite_is_seen_and_extremes_are_not_in_the_way() {
    let (m, n, k) = (3, 5, 130);
    let (w, mut x) = (noise(6, n * k), noise(5, m * k));
    x[k + 70] = f32::NAN;
    x[2 * k + 129] = f32::INFINITY;
    for kernel in candidates(Precision::Int8) {
        let y = product(kernel, &x, &w, m, n, k);
        assert!(y[..n].iter().all(|y| y.is_finite()), "{}", kernel.name);
        assert!(y[n..].iter().all(|y| y.is_nan()), "{}", kernel.name);
    }
    for size in [0.0, 1e-44, 1e-36, 1e18] {
        let x: Vec<f32> = noise(7, m * k).iter().map(|x| x * size).collect();
        let (y, whole) = (
            product(&PORTABLE_BYTES, &x, &w, m, n, k),
            product(&PORTABLE_BYTES, &noise(7, m * k), &w, m, n, k),
        );
        for (y, whole) in y.iter().zip(whole) {
            let expected = if size < 1e-30 { 0.0 } else { whole * size };
            assert!((y - expected).abs() <= 0.01 * expected.abs() + 2e-34, "{size}: {y} {expected}");
        }
    }
}
