use super::*;
use crate::gemm::choice::noise;

/// `Σ a(i) b(i)` for `i` in `0..len`, in float64.
fn dot(len: usize, a: impl Fn(usize) -> f32, b: impl Fn(usize) -> f32) -> f64 {
    (0..len).map(|i| f64::from(a(i)) * f64::from(b(i))).sum()
}

/// What a layer has, and what is computed for it.
struct Case {
    n: usize,
    r: usize,
    scale: f32,
    w: Vec<f32>,
    bias: Vec<f32>,
    a: Vec<f32>,
    b: Vec<f32>,
    dy: Vec<f32>,
    y: Vec<f32>,
    da: Vec<f32>,
    db: Vec<f32>,
}

impl Case {
    fn new(m: usize, k: usize, n: usize, r: usize, seed: u32) -> Self {
        let noise = |at: u32, len| noise(seed + at, len);
        let scale = 0.7 + seed as f32 / 100.0;
        let (w, bias, a, b) = (noise(1, n * k), noise(2, n), noise(3, r * k), noise(4, n * r));
        let (y, da, db) = (vec![9.0; m * n], vec![9.0; r * k], vec![9.0; n * r]);
        Self { n, r, scale, w, bias, a, b, dy: noise(5, m * n), y, da, db }
    }
}

#[test]
fn both_passes_agree_with_their_definitions() {
    for (m, k, layers) in [
        (1, 1, vec![(1, 1)]),
        (3, 33, vec![(17, 2), (5, 3)]),
        (31, 70, vec![(40, 16)]),
        (130, 65, vec![(33, 3), (70, 16), (12, 1)]),
        (300, 40, vec![(50, 16), (50, 20)]),
    ] {
        let x = noise(1, m * k);
        let mut cases: Vec<Case> =
            layers.iter().zip(1..).map(|(&(n, r), seed)| Case::new(m, k, n, r, 10 * seed)).collect();
        let ranks: usize = layers.iter().map(|(_, r)| r).sum();
        for (precision, tolerance) in [(Precision::Fp32, 1e-5), (Precision::Bf16, 0.03)] {
            let near = |found: f32, expected: f64, terms: usize| {
                let bound = tolerance * (1.0 + terms as f64).sqrt();
                let difference = (f64::from(found) - expected).abs();
                assert!(difference < bound, "{m} {k} {layers:?} {precision:?}: {found} {expected}");
            };
            let packed = PackedB::transient(View::row_major(&cases[0].w, cases[0].n, k), precision);
            let mut h = vec![9.0; m * ranks];
            let mut forwards = vec![];
            for (i, Case { n, r, scale, w, bias, a, b, y, .. }) in cases.iter_mut().enumerate() {
                let weight = if i == 0 {
                    Right::Packed(packed.columns())
                } else {
                    Right::Lanes(View::row_major(w, *n, k))
                };
                let adapter = LowRank { a, b, scale: *scale };
                forwards.push(Forward { n: *n, r: *r, weight, bias: Some(bias), adapter, y });
            }
            forward((m, k), &x, forwards, &mut h, precision);
            let mut dx = vec![9.0; m * k];
            let mut backwards = vec![];
            for Case { n, r, scale, w, a, b, dy, da, db, .. } in &mut cases {
                let adapter = LowRank { a, b, scale: *scale };
                backwards.push(Backward { n: *n, r: *r, dy, w, adapter, da, db });
            }
            backward((m, k), &x, &h, backwards, &mut dx, precision);

            let (mut first, mut all_dx, mut terms) = (0, vec![0.0; m * k], 1);
            for Case { n, r, scale, w, bias, a, b, dy, y, da, db } in &cases {
                let (n, r) = (*n, *r);
                let inner =
                    |i: usize, j: usize| f64::from(*scale) * dot(k, |c| x[i * k + c], |c| a[j * k + c]);
                let back =
                    |i: usize, j: usize| f64::from(*scale) * dot(n, |c| dy[i * n + c], |c| b[c * r + j]);
                for i in 0..m {
                    (0..r).for_each(|j| near(h[i * ranks + first + j], inner(i, j), k));
                    for j in 0..n {
                        let update: f64 = (0..r).map(|c| inner(i, c) * f64::from(b[j * r + c])).sum();
                        let whole = dot(k, |c| x[i * k + c], |c| w[j * k + c]) + f64::from(bias[j]);
                        near(y[i * n + j], whole + update, k * (1 + r));
                    }
                    for c in 0..k {
                        let update: f64 = (0..r).map(|j| back(i, j) * f64::from(a[j * k + c])).sum();
                        all_dx[i * k + c] += dot(n, |j| dy[i * n + j], |j| w[j * k + c]) + update;
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
                first += r;
                terms += n * (1 + r);
            }
            dx.iter().zip(&all_dx).for_each(|(&found, &expected)| near(found, expected, terms));
        }
    }
}
