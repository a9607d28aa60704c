use super::*;

fn wave(n: usize, seed: f32) -> Vec<f32> {
    (0..n).map(|i| ((i as f32 + seed) * 1.7).sin() + 0.1 * seed.cos()).collect()
}

/// Σ y * probe in float64, for numeric derivatives.
fn rms_reference(x: &[f64], w: &[f64], eps: f64, probe: &[f64]) -> f64 {
    let d = w.len();
    let mut sum = 0.0;
    for (x, probe) in x.chunks(d).zip(probe.chunks(d)) {
        let inv = 1.0 / (x.iter().map(|v| v * v).sum::<f64>() / d as f64 + eps).sqrt();
        for i in 0..d {
            sum += x[i] * inv * w[i] * probe[i];
        }
    }
    sum
}

fn layer_reference(x: &[f64], w: &[f64], b: &[f64], eps: f64, probe: &[f64]) -> f64 {
    let d = w.len();
    let mut sum = 0.0;
    for (x, probe) in x.chunks(d).zip(probe.chunks(d)) {
        let mean = x.iter().sum::<f64>() / d as f64;
        let var = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / d as f64;
        for i in 0..d {
            sum += ((x[i] - mean) / (var + eps).sqrt() * w[i] + b[i]) * probe[i];
        }
    }
    sum
}

fn numeric(values: &[f32], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let base: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
    (0..values.len())
        .map(|i| {
            let mut at = base.clone();
            at[i] += 1e-5;
            let up = f(&at);
            at[i] -= 2e-5;
            (up - f(&at)) / 2e-5
        })
        .collect()
}

fn close(a: &[f32], b: &[f64]) {
    for (a, b) in a.iter().zip(b) {
        assert!((f64::from(*a) - b).abs() <= 2e-5 * (1.0 + b.abs()), "{a} {b}");
    }
}

#[test]
fn gradients_are_the_derivatives() {
    let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    for (rows, d) in [(1, 1), (3, 5), (40, 7), (2, 33), (70, 16)] {
        let (x, w, b, dy) = (wave(rows * d, 1.0), wave(d, 2.0), wave(d, 3.0), wave(rows * d, 4.0));
        let eps = 1e-2f32;
        let (mut dx, mut dw, mut db) = (vec![9.0; rows * d], vec![9.0; d], vec![9.0; d]);
        rms_norm_backward(&dy, &x, &w, eps, (&mut dx, false), &mut dw);
        let (mut added, mut again) = (vec![3.0; dx.len()], vec![0.0; dw.len()]);
        rms_norm_backward(&dy, &x, &w, eps, (&mut added, true), &mut again);
        assert!(again == dw && added.iter().zip(&dx).all(|(sum, dx)| *sum == 3.0 + dx));
        close(&dx, &numeric(&x, |x| rms_reference(x, &wide(&w), f64::from(eps), &wide(&dy))));
        close(&dw, &numeric(&w, |w| rms_reference(&wide(&x), w, f64::from(eps), &wide(&dy))));
        layer_norm_backward(&dy, &x, &w, eps, &mut dx, &mut dw, &mut db);
        close(&dx, &numeric(&x, |x| layer_reference(x, &wide(&w), &wide(&b), f64::from(eps), &wide(&dy))));
        close(&dw, &numeric(&w, |w| layer_reference(&wide(&x), w, &wide(&b), f64::from(eps), &wide(&dy))));
        close(&db, &numeric(&b, |b| layer_reference(&wide(&x), &wide(&w), b, f64::from(eps), &wide(&dy))));
    }
}

#[test]
fn a_row_does_not_depend_on_its_company() {
    let (x, w, b) = (wave(67 * 19, 1.0), wave(19, 2.0), wave(19, 5.0));
    let (mut all, mut one) = (vec![0.0; 67 * 19], vec![0.0; 19]);
    rms_norm_forward(&x, &w, 1e-5, &mut all);
    rms_norm_forward(&x[19 * 30..19 * 31], &w, 1e-5, &mut one);
    assert_eq!(all[19 * 30..19 * 31], one);
    layer_norm_forward(&x, &w, &b, 1e-5, &mut all);
    layer_norm_forward(&x[19 * 30..19 * 31], &w, &b, 1e-5, &mut one);
    assert_eq!(all[19 * 30..19 * 31], one);
}
