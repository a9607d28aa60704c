use super::weights::exp_lanes;
use super::*;
use crate::vector::eight::{Eight, Portable};
use crate::vectorised;

fn exp(x: f64) -> f64 {
    exp_lanes(Portable::splat(x)).lanes()[3]
}

vectorised! {
    fn exp_here<V>(x: [f64; 8]) -> [f64; 8] {
        // SAFETY: the array holds eight numbers.
        exp_lanes(unsafe { V::Doubles::load(x.as_ptr()) }).lanes()
    }
}

#[test]
fn exp_is_the_same_to_the_bit_in_all_registers() {
    for i in 0..20_000 {
        let x: [f64; 8] = std::array::from_fn(|l| -f64::from(8 * i + l as u32) * 0.0047);
        assert_eq!(exp_here(x), x.map(exp));
    }
    for x in [0.0, -0.0, -708.0, -708.1, f64::NEG_INFINITY] {
        assert_eq!(exp_here([x; 8]), [exp(x); 8]);
    }
    assert!(exp_here([f64::NAN; 8])[0].is_nan() && exp(f64::NAN).is_nan());
}

#[test]
fn philox_gives_the_published_answers() {
    // Known answers of Random123 (kat_vectors, philox4x32 10).
    assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    assert_eq!(
        philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
    );
}

#[test]
fn exp_is_accurate() {
    for i in 0..100_000 {
        let x = -f64::from(i) * 0.007;
        let exact = x.exp();
        assert!((exp(x) - exact).abs() <= 4e-16 * exact, "{x}");
    }
    assert_eq!(exp(0.0), 1.0);
    assert_eq!(exp(f64::NEG_INFINITY), 0.0);
}

#[test]
fn draws_the_first_id_whose_running_sum_exceeds_the_goal() {
    let mut scratch = Scratch::default();
    for n in [1usize, 7, 8, 63, 64, 65, 200, 1000] {
        let logits: Vec<f32> =
            (0..n as u32).map(|i| uniform([9, n as u32], i, 0) as f32 * 20.0 - 10.0).collect();
        let top = logits.iter().fold(f64::NEG_INFINITY, |top, &z| top.max(f64::from(z)));
        let w: Vec<f64> = logits.iter().map(|&z| exp((f64::from(z) - top) * 1.25)).collect();
        for position in 0..50 {
            let sum = w.iter().fold(0.0, |sum, w| sum + w);
            let goal = uniform([1, 2], 3, position) * sum;
            let mut running = 0.0;
            let expected = w.iter().position(|w| {
                running += w;
                running > goal
            });
            let row = Row {
                seed: [1, 2],
                sample: 3,
                position,
                temperature: 0.8,
                top_k: 0,
                top_p: 1.0,
                min_p: 0.0,
                penalty: 1.0,
                history: &[],
            };
            let Some((token, logp)) = sample_row(&logits, &row, &mut scratch) else { panic!("finite") };
            assert_eq!(Some(token), expected, "{n} ids, position {position}");
            let exact = (f64::from(logits[token]) - top) * 1.25 - lanes(&w).ln();
            assert_eq!(logp, exact as f32);
            // A filter that removes nothing takes the other way to the same token.
            let filtered = Row { min_p: 1e-300, ..row };
            assert_eq!(sample_row(&logits, &filtered, &mut scratch), Some((token, logp)));
        }
    }
    for bad in [f32::NAN, f32::INFINITY] {
        let mut logits = vec![0f32; 40];
        logits[33] = bad;
        assert_eq!(largest(&logits).is_nan(), bad.is_nan());
        let row = Row {
            seed: [0, 0],
            sample: 0,
            position: 0,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            penalty: 1.0,
            history: &[],
        };
        assert_eq!(sample_row(&logits, &row, &mut scratch), None);
    }
    assert_eq!(draw(&[0.5, 0.0, 0.25, 0.0], &[0.75], 1.0), 2); // rounding has left none
}

#[test]
fn nucleus_equals_a_full_sort() {
    let mut state = 1u32;
    for case in 0..200 {
        let y: Vec<f64> = (0..97)
            .map(|i| {
                state = philox([state, i, case, 7], [1, 2])[0];
                // Coarse steps, so that there are ties.
                -f64::from(state % 64) / 4.0
            })
            .collect();
        let top = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let w: Vec<f64> = y.iter().map(|v| exp((v - top) * 1.3)).collect();
        let goal = (f64::from(case) + 1.0) / 201.0 * lanes(&w);
        let mut order: Vec<usize> = (0..y.len()).collect();
        order.sort_by(|&a, &b| y[b].total_cmp(&y[a]).then(a.cmp(&b)));
        let mut expected = vec![0.0; w.len()];
        let mut mass = 0.0;
        for &i in &order {
            if mass < goal {
                expected[i] = w[i];
                mass += w[i];
            } else {
                break;
            }
        }
        let mut actual = w.clone();
        nucleus(&y, &mut actual, goal, &mut Vec::new());
        assert_eq!(actual, expected, "case {case}");
    }
}
