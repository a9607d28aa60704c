use super::*;
use crate::gemm::choice::noise;

struct Case {
    a: usize,
    v: usize,
    d: usize,
    hidden: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    targets: Vec<i32>,
    temperature: f32,
}

impl Case {
    fn new(a: usize, v: usize, d: usize, temperature: f32) -> Self {
        let targets = (0..a).map(|i| ((i * 7919 + 13) % v) as i32).collect();
        let scaled = |seed, len| noise(seed, len).iter().map(|x| x * 1.5).collect();
        Case {
            a,
            v,
            d,
            hidden: scaled(1, a * d),
            w: scaled(2, v * d),
            bias: noise(3, v),
            targets,
            temperature,
        }
    }

    fn head<'a>(&'a self, packed: Option<&'a PackedB>) -> Head<'a> {
        Head {
            w: Some(View::row_major(&self.w, self.v, self.d)),
            packed,
            bias: Some(&self.bias),
            v: self.v,
            temperature: self.temperature,
            precision: Precision::Fp32,
        }
    }

    /// Probabilities of a position, by the definition in float64.
    fn probabilities(&self, row: usize) -> (Vec<f64>, f64) {
        let logits: Vec<f64> = (0..self.v)
            .map(|column| {
                let products = (0..self.d).map(|i| {
                    f64::from(self.hidden[row * self.d + i]) * f64::from(self.w[column * self.d + i])
                });
                (products.sum::<f64>() + f64::from(self.bias[column])) / f64::from(self.temperature)
            })
            .collect();
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
        (logits.iter().map(|x| (x - lse).exp()).collect(), lse)
    }

    fn run(&self, packed: Option<&PackedB>) -> [Vec<f32>; 4] {
        let mut out = [(); 4].map(|()| vec![f32::NAN; self.a]);
        let [logps, entropy, sum_squares, lse] = &mut out;
        let outputs =
            Outputs { logps, entropy: Some(entropy), sum_squares: Some(sum_squares), lse, kept: None };
        forward(View::row_major(&self.hidden, self.a, self.d), &self.head(packed), &self.targets, outputs);
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
fn outputs_are_those_of_the_definition() {
    for (a, v, d, temperature) in [(1, 1, 1, 1.0), (3, 5, 7, 0.5), (9, 1500, 20, 1.0), (5, 3001, 33, 1.7)] {
        let case = Case::new(a, v, d, temperature);
        let [logps, entropy, sum_squares, lse] = case.run(None);
        for row in 0..a {
            let (p, expected) = case.probabilities(row);
            close(lse[row], expected, 2e-6, "lse");
            close(logps[row], p[case.targets[row] as usize].ln(), 4e-6, "logps");
            close(
                entropy[row],
                p.iter().map(|p| if *p > 0.0 { -p * p.ln() } else { 0.0 }).sum(),
                4e-6,
                "entropy",
            );
            close(sum_squares[row], p.iter().map(|p| p * p).sum(), 4e-6, "sum of squares");
        }
        let Some(packed) = PackedB::new(View::row_major(&case.w, v, d), Precision::Fp32) else {
            panic!("memory")
        };
        assert_eq!(case.run(Some(&packed)), [logps, entropy, sum_squares, lse], "packed or not");
    }
}

#[test]
fn a_position_is_the_same_to_the_bit_in_any_batch() {
    let case = Case::new(40, 2100, 24, 1.0);
    let whole = case.run(None);
    for row in [0, 17, 39] {
        let mut one = Case::new(1, 2100, 24, 1.0);
        one.hidden.copy_from_slice(&case.hidden[row * 24..(row + 1) * 24]);
        one.targets[0] = case.targets[row];
        assert_eq!(one.run(None), [0, 1, 2, 3].map(|i| vec![whole[i][row]]));
    }
}

#[test]
fn gradients_are_those_of_the_definition() {
    for (a, v, d, temperature) in [(1, 3, 2, 1.0), (6, 1100, 9, 0.8), (ROWS + 5, 20, 4, 1.3)] {
        let case = Case::new(a, v, d, temperature);
        let [_, entropy, sum_squares, lse] = case.run(None);
        let (dlogps, dentropy, dsum_squares) = (noise(11, a), noise(12, a), noise(13, a));
        let (mut dhidden, mut dw, mut dbias) = (vec![f32::NAN; a * d], vec![0.25; v * d], vec![0.5; v]);
        let saved = Saved {
            lse: &lse,
            entropy: Some(&entropy),
            sum_squares: Some(&sum_squares),
            dlogps: Some(&dlogps),
            dentropy: Some(&dentropy),
            dsum_squares: Some(&dsum_squares),
            kept: None,
        };
        let gradients = Gradients {
            dhidden: Some(&mut dhidden),
            dw: Some(&mut dw),
            dbias: Some(&mut dbias),
            accumulate: true,
        };
        backward(View::row_major(&case.hidden, a, d), &case.head(None), &case.targets, &saved, gradients);
        let (mut expected_w, mut expected_bias) = (vec![0.25f64; v * d], vec![0.5f64; v]);
        for row in 0..a {
            let (p, _) = case.probabilities(row);
            let entropy: f64 = p.iter().map(|p| if *p > 0.0 { -p * p.ln() } else { 0.0 }).sum();
            let squares: f64 = p.iter().map(|p| p * p).sum();
            let mut expected = vec![0f64; d];
            for (column, &p) in p.iter().enumerate() {
                let hit = if case.targets[row] as usize == column { 1.0 } else { 0.0 };
                let mut gradient = f64::from(dlogps[row]) * (hit - p);
                gradient -= f64::from(dentropy[row]) * p * (p.max(1e-300).ln() + entropy);
                gradient += f64::from(dsum_squares[row]) * 2.0 * p * (p - squares);
                gradient /= f64::from(temperature);
                expected_bias[column] += gradient;
                for i in 0..d {
                    expected[i] += gradient * f64::from(case.w[column * d + i]);
                    expected_w[column * d + i] += gradient * f64::from(case.hidden[row * d + i]);
                }
            }
            for i in 0..d {
                close(dhidden[row * d + i], expected[i], 5e-6, "dhidden");
            }
        }
        dw.iter().zip(&expected_w).for_each(|(&got, &expected)| close(got, expected, 2e-5, "dw"));
        dbias.iter().zip(&expected_bias).for_each(|(&got, &expected)| close(got, expected, 2e-5, "dbias"));
    }
}

#[test]
fn forbidden_tokens_have_no_share() {
    let mut case = Case::new(2, 40, 3, 1.0);
    case.bias[7] = f32::NEG_INFINITY;
    case.targets = vec![1, 2];
    let [logps, entropy, sum_squares, lse] = case.run(None);
    assert!([&logps, &entropy, &sum_squares, &lse].iter().all(|values| values.iter().all(|x| x.is_finite())));
    let mut dw = vec![f32::NAN; 40 * 3];
    let ones = [1.0, 1.0];
    let saved = Saved {
        lse: &lse,
        entropy: Some(&entropy),
        sum_squares: None,
        dlogps: Some(&ones),
        dentropy: Some(&ones),
        dsum_squares: None,
        kept: None,
    };
    let gradients = Gradients { dhidden: None, dw: Some(&mut dw), dbias: None, accumulate: false };
    backward(View::row_major(&case.hidden, 2, 3), &case.head(None), &case.targets, &saved, gradients);
    assert!(dw.iter().all(|x| x.is_finite()) && dw[21..24] == [0.0; 3]);
}

/// What is kept gives the gradients that computing the logits again gives, up to bfloat16's rounding, and exactly where a target is nearly certain.
#[test]
fn kept_exponentials_give_the_same_gradients() {
    let floats = |a, room| kept_floats(Precision::Bf16, a, 3000, room);
    assert_eq!(floats(7, usize::MAX), 3 * 7 * 513);
    assert_eq!(floats(7, 2 * 7 * 513 + 100), 2 * 7 * 513);
    assert_eq!((floats(0, 1000), floats(7, 7 * 513 - 1)), (0, 0));
    for (a, v, d, room) in [
        (1, 3, 2, usize::MAX),
        (13, 2500, 24, usize::MAX),
        (13, 2500, 24, 13 * 513),
        (ROWS + 3, 70, 4, usize::MAX),
    ] {
        for temperature in [1.0, 0.6] {
            let mut case = Case::new(a, v, d, temperature);
            // The probability of the first target is nearly 1.
            let norm = case.hidden[..d].iter().map(|x| x * x).sum::<f32>();
            for i in 0..d {
                case.w[case.targets[0] as usize * d + i] = 12.0 / norm * case.hidden[i];
            }
            let view = View::row_major(&case.hidden, a, d);
            let mut data = vec![f32::NAN; kept_floats(Precision::Bf16, a, v, room)];
            let mut out = [(); 3].map(|()| vec![f32::NAN; a]);
            let [logps, entropy, lse] = &mut out;
            let kept = Some(Kept::new(Precision::Bf16, a, &mut data));
            let outputs = Outputs { logps, entropy: Some(entropy), sum_squares: None, lse, kept };
            forward(view, &case.head(None), &case.targets, outputs);
            let [logps, entropy, lse] = &out;
            let [expected, ..] = case.run(None);
            assert_eq!(*logps, expected, "keeping changes nothing");
            let dlogps = noise(11, a);
            let gradients = |kept: Option<(Kept, &[f32])>, dentropy: &[f32]| {
                let (mut dhidden, mut dw, mut dbias) =
                    (vec![f32::NAN; a * d], vec![0f32; v * d], vec![f32::NAN; v]);
                let saved = Saved {
                    lse,
                    entropy: Some(entropy),
                    sum_squares: None,
                    dlogps: Some(&dlogps),
                    dentropy: Some(dentropy),
                    dsum_squares: None,
                    kept,
                };
                let wanted = Gradients {
                    dhidden: Some(&mut dhidden),
                    dw: Some(&mut dw),
                    dbias: Some(&mut dbias),
                    accumulate: false,
                };
                backward(view, &case.head(None), &case.targets, &saved, wanted);
                [dhidden, dw, dbias]
            };
            let (zeros, ones) = (vec![0f32; a], vec![1f32; a]);
            let again = gradients(None, &zeros);
            let found = gradients(Some((Kept::new(Precision::Bf16, a, &mut data), logps)), &zeros);
            // Each p is off by half a unit of bfloat16's last place at most, and those of a row add up to 1 - p(target) beside the target.
            let largest = |values: &[f32]| values.iter().fold(0f32, |size, x| size.max(x.abs()));
            let weights: f32 =
                dlogps.iter().zip(logps).map(|(d, logp)| d.abs() * -logp.exp_m1()).sum::<f32>() / temperature;
            for ((found, again), factor) in
                found.iter().zip(&again).zip([largest(&case.w), largest(&case.hidden), 1.0])
            {
                for (&found, &again) in found.iter().zip(again) {
                    let off = (found - again).abs();
                    assert!(off <= weights * factor / 256.0 + 1e-6 * factor, "{found}, not {again}");
                }
            }
            // The bias of the certain target sees its gradient alone, which is far below what rounding p itself would leave.
            if a == 1 {
                let target = case.targets[0] as usize;
                close(found[2][target], f64::from(again[2][target]), 1e-6, "a target that is nearly certain");
            }
            assert_ne!(found, again, "what was kept is used");
            let kept = Some((Kept::new(Precision::Bf16, a, &mut data), &logps[..]));
            assert_eq!(
                gradients(kept, &ones),
                gradients(None, &ones),
                "the entropy's derivative needs the logits"
            );
        }
    }
}

/// In fp32 the logits themselves are kept, which changes no bit, whatever is asked of them.
#[test]
fn kept_logits_give_the_same_gradients() {
    let fp32 = Precision::Fp32;
    assert_eq!(kept_floats(fp32, 7, 3000, 2 * 7 * COLUMNS + 100), 2 * 7 * COLUMNS);
    for (a, v, d, room) in [
        (1, 3, 2, usize::MAX),
        (13, 2500, 24, usize::MAX),
        (13, 2500, 24, 13 * COLUMNS),
        (ROWS + 3, 70, 4, usize::MAX),
    ] {
        let case = Case::new(a, v, d, 0.6);
        let view = View::row_major(&case.hidden, a, d);
        let mut data = vec![f32::NAN; kept_floats(fp32, a, v, room)];
        let mut out = [(); 4].map(|()| vec![f32::NAN; a]);
        let [logps, entropy, sum_squares, lse] = &mut out;
        let kept = Some(Kept::new(fp32, a, &mut data));
        let outputs = Outputs { logps, entropy: Some(entropy), sum_squares: Some(sum_squares), lse, kept };
        forward(view, &case.head(None), &case.targets, outputs);
        assert_eq!(out, case.run(None), "keeping changes nothing");
        let [logps, entropy, sum_squares, lse] = &out;
        let wanted = [11, 12, 13].map(|seed| noise(seed, a));
        let gradients = |kept: Option<(Kept, &[f32])>| {
            let (mut dhidden, mut dw, mut dbias) =
                (vec![f32::NAN; a * d], vec![0f32; v * d], vec![f32::NAN; v]);
            let saved = Saved {
                lse,
                entropy: Some(entropy),
                sum_squares: Some(sum_squares),
                dlogps: Some(&wanted[0]),
                dentropy: Some(&wanted[1]),
                dsum_squares: Some(&wanted[2]),
                kept,
            };
            let into = Gradients {
                dhidden: Some(&mut dhidden),
                dw: Some(&mut dw),
                dbias: Some(&mut dbias),
                accumulate: false,
            };
            backward(view, &case.head(None), &case.targets, &saved, into);
            [dhidden, dw, dbias]
        };
        let again = gradients(None);
        assert_eq!(gradients(Some((Kept::new(fp32, a, &mut data), logps))), again);
        data.fill(0.0);
        assert_ne!(gradients(Some((Kept::new(fp32, a, &mut data), logps))), again, "what was kept is used");
    }
}
