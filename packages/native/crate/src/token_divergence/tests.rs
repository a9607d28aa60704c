use super::*;
use crate::dtype::Precision;
use crate::gemm::choice::noise;

const BETAS: [f64; 4] = [0.0, 0.3, 0.5, 1.0];

struct Case {
    a: usize,
    v: usize,
    widths: [usize; 2],
    hidden: [Vec<f32>; 2],
    w: [Vec<f32>; 2],
    temperature: f32,
}

impl Case {
    fn new(a: usize, v: usize, widths: [usize; 2], temperature: f32) -> Self {
        let scaled = |seed, len| noise(seed, len).iter().map(|x| x * 1.5).collect();
        let hidden = [scaled(1, a * widths[0]), scaled(3, a * widths[1])];
        Case { a, v, widths, hidden, w: [scaled(2, v * widths[0]), scaled(4, v * widths[1])], temperature }
    }

    fn side<'a>(&'a self, which: usize, packed: Option<&'a PackedB>) -> Side<'a> {
        let d = self.widths[which];
        let head = Head {
            w: Some(View::row_major(&self.w[which], self.v, d)),
            packed,
            bias: None,
            v: self.v,
            temperature: self.temperature,
            precision: Precision::Fp32,
        };
        Side { hidden: View::row_major(&self.hidden[which], self.a, d), head }
    }

    /// Log-probabilities of a position, by the definition in float64.
    fn log_probabilities(&self, which: usize, row: usize) -> Vec<f64> {
        let d = self.widths[which];
        let logits: Vec<f64> = (0..self.v)
            .map(|column| {
                let products = (0..d).map(|i| {
                    f64::from(self.hidden[which][row * d + i]) * f64::from(self.w[which][column * d + i])
                });
                products.sum::<f64>() / f64::from(self.temperature)
            })
            .collect();
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
        logits.iter().map(|x| x - lse).collect()
    }

    /// Divergence, KL(p ‖ m), and the gradient by the student's logits, by the definition.
    fn expected(&self, row: usize, beta: f64) -> (f64, f64, Vec<f64>) {
        let (p, q) = (self.log_probabilities(0, row), self.log_probabilities(1, row));
        let m: Vec<f64> =
            p.iter().zip(&q).map(|(p, q)| ((1.0 - beta) * p.exp() + beta * q.exp()).ln()).collect();
        let kl = |x: &[f64], m: &[f64]| x.iter().zip(m).map(|(x, m)| x.exp() * (x - m)).sum::<f64>();
        let (of_teacher, of_student) = (kl(&q, &m), kl(&p, &m));
        let share = if beta < 1.0 { 1.0 - beta } else { 1.0 };
        let gradient = |i: usize| match beta {
            0.0 => p[i].exp() - q[i].exp(),
            _ => share * p[i].exp() * (p[i] - m[i] - of_student),
        };
        let divergence = match beta {
            0.0 => of_teacher,
            1.0 => of_student,
            _ => beta * of_teacher + (1.0 - beta) * of_student,
        };
        let scale = f64::from(self.temperature);
        (divergence, of_student, (0..self.v).map(|i| gradient(i) / scale).collect())
    }

    fn run(&self, beta: f64, packed: [Option<&PackedB>; 2]) -> [Vec<f32>; 4] {
        let mut out = [(); 4].map(|()| vec![f32::NAN; self.a]);
        let [divergence, lse, teacher_lse, student_kl] = &mut out;
        let outputs = Outputs { divergence, lse, teacher_lse, student_kl };
        forward(self.side(0, packed[0]), self.side(1, packed[1]), beta, outputs);
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
fn divergences_are_those_of_the_definition() {
    for (a, v, widths, temperature) in
        [(1, 1, [1, 1], 1.0), (3, 5, [7, 2], 0.5), (20, 1500, [20, 33], 1.0), (5, 3001, [9, 16], 1.7)]
    {
        let case = Case::new(a, v, widths, temperature);
        let packed = [0, 1].map(|which| {
            let w = View::row_major(&case.w[which], v, widths[which]);
            PackedB::new(w, Precision::Fp32).expect("memory")
        });
        for beta in BETAS {
            let found = case.run(beta, [None, None]);
            for (row, (&divergence, &student_kl)) in found[0].iter().zip(&found[3]).enumerate() {
                let (expected, of_student, _) = case.expected(row, beta);
                close(divergence, expected, 5e-6, "divergence");
                close(student_kl, of_student, 5e-6, "KL(p ‖ m)");
            }
            assert_eq!(case.run(beta, [Some(&packed[0]), Some(&packed[1])]), found, "packed or not");
        }
    }
}

#[test]
fn a_position_is_the_same_to_the_bit_in_any_batch() {
    let case = Case::new(40, 2100, [24, 8], 1.0);
    let whole = case.run(0.4, [None, None]);
    for row in [0, 17, 39] {
        let mut one = Case::new(1, 2100, [24, 8], 1.0);
        for which in [0, 1] {
            let d = case.widths[which];
            one.hidden[which].copy_from_slice(&case.hidden[which][row * d..(row + 1) * d]);
        }
        assert_eq!(one.run(0.4, [None, None]), [0, 1, 2, 3].map(|i| vec![whole[i][row]]));
    }
}

#[test]
fn gradients_are_those_of_the_definition() {
    for (a, v, widths, temperature) in
        [(1, 3, [2, 2], 1.0), (6, 1100, [9, 5], 0.8), (ROWS + 5, 20, [4, 6], 1.3)]
    {
        let case = Case::new(a, v, widths, temperature);
        let d = widths[0];
        let ddivergence = noise(11, a);
        for beta in BETAS {
            let [_, lse, teacher_lse, student_kl] = case.run(beta, [None, None]);
            let saved = Saved {
                lse: &lse,
                teacher_lse: &teacher_lse,
                student_kl: &student_kl,
                ddivergence: &ddivergence,
            };
            let (mut dhidden, mut dw) = (vec![f32::NAN; a * d], vec![f32::NAN; v * d]);
            backward(case.side(0, None), case.side(1, None), beta, &saved, &mut dhidden, &mut dw);
            let mut expected_w = vec![0f64; v * d];
            for row in 0..a {
                let (_, _, gradient) = case.expected(row, beta);
                let mut expected = vec![0f64; d];
                for (column, gradient) in gradient.iter().enumerate() {
                    let gradient = gradient * f64::from(ddivergence[row]);
                    for i in 0..d {
                        expected[i] += gradient * f64::from(case.w[0][column * d + i]);
                        expected_w[column * d + i] += gradient * f64::from(case.hidden[0][row * d + i]);
                    }
                }
                for i in 0..d {
                    close(dhidden[row * d + i], expected[i], 5e-6, "dhidden");
                }
            }
            dw.iter().zip(&expected_w).for_each(|(&got, &expected)| close(got, expected, 2e-5, "dw"));
        }
    }
}

#[test]
fn equals_do_not_diverge_and_extremes_stay_finite() {
    let mut case = Case::new(3, 700, [8, 8], 1.0);
    case.hidden[1] = case.hidden[0].clone();
    case.w[1] = case.w[0].clone();
    for beta in BETAS {
        case.run(beta, [None, None])[0].iter().for_each(|&x| close(x, 0.0, 1e-6, "divergence of equals"));
    }
    let mut far = Case::new(3, 700, [8, 8], 1.0);
    far.hidden[1].iter_mut().for_each(|x| *x *= 1e3);
    for beta in BETAS {
        let found = far.run(beta, [None, None]);
        assert!(found.iter().flatten().all(|x| x.is_finite()), "beta {beta}: {found:?}");
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    let mut case = Case::new(3, 40, [4, 4], 1.0);
    case.hidden[1][5] = f32::NAN;
    for beta in BETAS {
        let [divergence, ..] = case.run(beta, [None, None]);
        assert_eq!(divergence.iter().map(|x| x.is_nan()).collect::<Vec<_>>(), [false, true, false]);
    }
}
