use super::*;
use crate::dtype::{bf16_value, round_bf16};

fn wave(n: usize, seed: u32) -> Vec<f32> {
    (0..n).map(|i| crate::sampling::uniform([seed, 3], i as u32, 0) as f32 * 2.0 - 1.0).collect()
}

/// Σ o * probe in float64 from whole score matrices; also the outputs.
fn reference(q: &[f64], k: &[f64], v: &[f64], shape: &Heads, spans: &[Span]) -> Vec<f64> {
    let (dim, group) = (shape.dim, shape.group());
    let mut o = vec![0.0; q.len()];
    for span in spans {
        for i in 0..span.len {
            let position = span.prefix_len + i;
            for head in 0..shape.heads {
                let at = ((span.start + i) * shape.heads + head) * dim;
                let key = |p: usize| (span.row(p) * shape.kv_heads + head / group) * dim;
                let range = shape.first_seen(position)..position + 1;
                let scores: Vec<f64> = range
                    .clone()
                    .map(|p| {
                        (0..dim).map(|d| q[at + d] * k[key(p) + d]).sum::<f64>() * f64::from(shape.scale)
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                for (p, s) in range.zip(&scores) {
                    for d in 0..dim {
                        o[at + d] += (s - top).exp() / total * v[key(p) + d];
                    }
                }
            }
        }
    }
    o
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

const LAYOUTS: [(&[i32], &[i32]); 5] = [
    (&[0, 1], &[-1]),
    (&[0, 5, 9, 12], &[-1, 0, 0]),
    (&[0, 70, 75, 210, 210, 211], &[-1, 0, -1, 0, 2]),
    (&[0, 3, 3, 7], &[-1, -1, 1]),
    (&[0, 64, 130, 140], &[-1, 0, 0]),
];

#[test]
fn values_agree_with_whole_matrices() {
    for (offsets, prefix_of) in LAYOUTS {
        let tokens = *offsets.last().unwrap() as usize;
        let spans = spans(offsets, prefix_of, tokens).unwrap();
        for (heads, kv_heads, dim, window) in [(4, 2, 8, 0), (3, 1, 5, 7), (2, 2, 24, 66), (6, 2, 64, 0)] {
            let shape = Heads { heads, kv_heads, dim, scale: 0.7, window };
            let (q, k, v) = (
                wave(tokens * heads * dim, 1),
                wave(tokens * kv_heads * dim, 2),
                wave(tokens * kv_heads * dim, 3),
            );
            let (mut o, mut lse) = (vec![9.0; q.len()], vec![9.0; tokens * heads]);
            forward(&q, Stored::Floats(&k), Stored::Floats(&v), &shape, &spans, &mut o, &mut lse);
            for (a, b) in o.iter().zip(reference(&wide(&q), &wide(&k), &wide(&v), &shape, &spans)) {
                assert!((f64::from(*a) - b).abs() < 2e-6, "{offsets:?} {heads} {dim} {window}: {a} {b}");
            }
        }
    }
}

#[test]
fn gradients_are_the_derivatives() {
    for (offsets, prefix_of) in [LAYOUTS[0], LAYOUTS[1], LAYOUTS[3], (&[0, 66, 69, 72][..], &[-1, 0, 0][..])]
    {
        let tokens = *offsets.last().unwrap() as usize;
        let spans = spans(offsets, prefix_of, tokens).unwrap();
        for (heads, kv_heads, dim, window) in [(4, 2, 3, 0), (2, 2, 2, 5)] {
            let shape = Heads { heads, kv_heads, dim, scale: 0.9, window };
            let (q, k, v) = (
                wave(tokens * heads * dim, 1),
                wave(tokens * kv_heads * dim, 2),
                wave(tokens * kv_heads * dim, 3),
            );
            let dy = wave(q.len(), 4);
            let (mut o, mut lse) = (vec![0.0; q.len()], vec![0.0; tokens * heads]);
            forward(&q, Stored::Floats(&k), Stored::Floats(&v), &shape, &spans, &mut o, &mut lse);
            let (mut dq, mut dk, mut dv) = (vec![9.0; q.len()], vec![9.0; k.len()], vec![9.0; v.len()]);
            let (keys, values) = (Stored::Floats(&k), Stored::Floats(&v));
            let x = Backward { dy: &dy, q: &q, k: keys, v: values, o: &o, lse: &lse };
            backward(&x, &shape, &spans, &mut dq, &mut dk, &mut dv);
            let loss = |q: &[f64], k: &[f64], v: &[f64]| {
                reference(q, k, v, &shape, &spans)
                    .iter()
                    .zip(&dy)
                    .map(|(o, d)| o * f64::from(*d))
                    .sum::<f64>()
            };
            let base = [wide(&q), wide(&k), wide(&v)];
            for (which, gradient) in [&dq, &dk, &dv].into_iter().enumerate() {
                for i in (0..gradient.len()).step_by(1 + gradient.len() / 40) {
                    let moved = |step: f64| {
                        let mut at = base.clone();
                        at[which][i] += step;
                        loss(&at[0], &at[1], &at[2])
                    };
                    let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!(
                        (f64::from(gradient[i]) - numeric).abs() < 2e-5 * (1.0 + numeric.abs()),
                        "{offsets:?} {which} {i}: {} {numeric}",
                        gradient[i]
                    );
                }
            }
        }
    }
}

#[test]
fn rounding_keys_and_values_is_what_rounded_ones_give() {
    for (offsets, prefix_of) in LAYOUTS {
        let tokens = *offsets.last().unwrap() as usize;
        let spans = spans(offsets, prefix_of, tokens).unwrap();
        for (heads, kv_heads, dim, window) in [(4, 2, 8, 0), (3, 1, 5, 7), (2, 2, 24, 66), (6, 2, 64, 0)] {
            let shape = Heads { heads, kv_heads, dim, scale: 0.7, window };
            let (q, dy) = (wave(tokens * heads * dim, 1), wave(tokens * heads * dim, 4));
            let [k, v] = [2, 3].map(|seed| wave(tokens * kv_heads * dim, seed));
            let run = |k: Stored, v: Stored| {
                let (mut o, mut lse) = (vec![9.0; q.len()], vec![9.0; tokens * heads]);
                forward(&q, k, v, &shape, &spans, &mut o, &mut lse);
                let (mut dq, [mut dk, mut dv]) =
                    (o.clone(), [2, 3].map(|_| vec![9.0; tokens * kv_heads * dim]));
                let x = Backward { dy: &dy, q: &q, k, v, o: &o, lse: &lse };
                backward(&x, &shape, &spans, &mut dq, &mut dk, &mut dv);
                [o, lse, dq, dk, dv]
            };
            let rounded = [&k, &v].map(|x| x.iter().map(|&x| round_bf16(x)).collect::<Vec<f32>>());
            let expected = run(Stored::Floats(&rounded[0]), Stored::Floats(&rounded[1]));
            let found = run(Stored::Rounded(&k), Stored::Rounded(&v));
            assert_ne!(run(Stored::Floats(&k), Stored::Floats(&v)), expected);
            if !packed::serves(Stored::Rounded(&k)) {
                assert_eq!(found, expected);
                continue;
            }
            // Queries, weights and gradients are rounded too.
            for (name, (found, expected)) in
                ["o", "lse", "dq", "dk", "dv"].into_iter().zip(found.iter().zip(&expected))
            {
                let square = |x: f32| f64::from(x).powi(2);
                let error: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
                let size: f64 = expected.iter().map(|&x| square(x)).sum();
                // Where a context is a single token, dq and dk are nothing but what is left of a difference.
                let bound = 0.006 * size.sqrt() + 1e-6 * (found.len() as f64).sqrt();
                assert!(
                    error.sqrt() < bound,
                    "{name} of {offsets:?}, {heads} {kv_heads} {dim} {window}: {} of {}",
                    error.sqrt(),
                    size.sqrt()
                );
            }
        }
    }
}

#[test]
fn rows_of_a_cache_are_written_where_they_belong() {
    let special = [f32::NAN, f32::INFINITY, -0.0, f32::MAX, 1e-40];
    for width in [2, 6, 34, 70] {
        let mut rows = wave(3 * width, 5);
        rows[..2].copy_from_slice(&special[..2]);
        rows[width..width + 2].copy_from_slice(&special[2..4]);
        rows[2 * width] = special[4];
        let places = [2, 0, 2]; // the last one wins
        for format in [Format::Floats, Format::Halves] {
            let row = format.floats_of(width, 2).unwrap();
            let mut cache = vec![7.0; 4 * row];
            let untouched = cache[row..2 * row].to_vec();
            write_rows(&mut cache, format, &rows, width, &places);
            let read = |place: usize, i: usize| match Stored::new(&cache, format) {
                Stored::Halves(x) => bf16_value(x[place * width + i]).to_bits(),
                Stored::Floats(x) | Stored::Rounded(x) => x[place * width + i].to_bits(),
            };
            for i in 0..width {
                for (place, from) in [(0, 1), (2, 2)] {
                    let number = rows[from * width + i];
                    let expected = if format == Format::Halves { round_bf16(number) } else { number };
                    assert_eq!(read(place, i), expected.to_bits());
                }
            }
            assert!(cache[row..2 * row] == untouched && cache[3 * row..] == untouched);
        }
    }
    assert!(Format::Halves.floats_of(15, 5).is_err());
    assert!(Format::parse("fp16").is_err());
}

#[test]
fn a_query_depends_on_its_context_alone() {
    // The same context, as a sequence of its own and as a prefix with a continuation, among others.
    let (heads, kv_heads, dim) = (6, 2, 20);
    let shape = Heads { heads, kv_heads, dim, scale: 0.3, window: 0 };
    let (q, k, v) =
        (wave(200 * heads * dim, 1), wave(200 * kv_heads * dim, 2), wave(200 * kv_heads * dim, 3));
    for format in [Format::Floats, Format::Rounded] {
        let run = |q: &[f32], k: &[f32], v: &[f32], offsets: &[i32], prefix_of: &[i32]| {
            let tokens = *offsets.last().unwrap() as usize;
            let (mut o, mut lse) = (vec![0.0; tokens * heads * dim], vec![0.0; tokens * heads]);
            let layout = spans(offsets, prefix_of, tokens).unwrap();
            let (k, v) = (Stored::new(k, format), Stored::new(v, format));
            forward(q, k, v, &shape, &layout, &mut o, &mut lse);
            o
        };
        let shared = run(&q, &k, &v, &[0, 90, 110, 200], &[-1, 0, 0]);
        let take = |x: &[f32], width: usize| [&x[..90 * width], &x[110 * width..]].concat();
        let [k, v] = [&k, &v].map(|x| take(x, kv_heads * dim));
        let alone = run(&take(&q, heads * dim), &k, &v, &[0, 180], &[-1]);
        assert_eq!(take(&shared, heads * dim), alone, "{format:?}");
    }
}

#[test]
fn bad_layouts_are_refused() {
    assert!(spans(&[0, 3], &[0], 3).is_err());
    assert!(spans(&[0, 3, 2], &[-1, -1], 2).is_err());
    assert!(spans(&[0, 3, 5, 6], &[-1, 0, 1], 6).is_err());
    assert!(spans(&[0, 3], &[-1], 4).is_err());
    assert!(spans(&[1, 3], &[-1], 3).is_err());
}
