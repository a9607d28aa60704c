//! Where a step of decoding spends its time: `cargo run --release --example decode [int8] [fp32] [kept] [BATCH …]`, `fp32`: the cache; `kept`: the outputs of layers are kept for training, in other rows each time. A model of SmolLM2-135M's shape, contexts of 96 tokens.
//! Each number is the median of many steps; parts are measured alone, with weights that have left the caches.

use espalier_native::attention::{forward_last, Format, Heads, Span, Stored};
use espalier_native::decode_block::{DecodeBlock, Kept, Linear, Scratch};
use espalier_native::dtype::Precision;
use espalier_native::gemm::rows::{multiply_rows, PackedRows, Product};
use espalier_native::gemm::{PackedB, View};
use espalier_native::memory::Floats;
use espalier_native::pool::{num_threads, parallel_for, SharedMut};
use espalier_native::sampling::{sample_row, Row};
use std::hint::black_box;
use std::time::Instant;

const LAYERS: usize = 30;
const SHAPE: Heads = Heads { heads: 9, kv_heads: 3, dim: 64, scale: 0.125, window: 0 };
const D: usize = 576;
const WIDTH: usize = SHAPE.heads * SHAPE.dim;
const KV_WIDTH: usize = SHAPE.kv_heads * SHAPE.dim;
const INNER: usize = 1536;
const VOCAB: usize = 49152;
const CONTEXT: usize = 96;
/// Tokens of a sample that are kept.
const KEPT_TOKENS: usize = 64;

fn random(len: usize) -> Floats {
    let mut floats = Floats::uninit(len);
    let mut state = len as u32 | 1;
    for x in floats.iter_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *x = ((state >> 8) as f32 / 8_388_608.0 - 1.0) * 0.05;
    }
    floats
}

/// The median of many runs, in milliseconds.
fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..41)
        .map(|_| {
            let begin = Instant::now();
            run();
            begin.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[20] * 1e3
}

/// Reading memory from start to end on all threads: GB/s.
fn bandwidth() -> f64 {
    let data = random(64 << 20);
    let parts = 16 * num_threads();
    let len = data.len() / parts;
    let milliseconds = median(|| {
        parallel_for(parts, |part| {
            let mut sums = [0f32; 64];
            for chunk in data[part * len..(part + 1) * len].chunks_exact(64) {
                sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum += x);
            }
            black_box(sums);
        })
    });
    (data.len() * 4) as f64 / milliseconds / 1e6
}

fn pack(n: usize, k: usize) -> PackedB {
    let precision =
        if std::env::args().any(|argument| argument == "int8") { Precision::Int8 } else { Precision::Bf16 };
    match PackedB::new(View::row_major(&random(n * k), n, k), precision) {
        Some(packed) => packed,
        None => panic!("no memory"),
    }
}

fn main() {
    let memory = bandwidth();
    let sizes = [(WIDTH, D), (KV_WIDTH, D), (KV_WIDTH, D), (D, WIDTH), (INNER, D), (INNER, D), (D, INNER)];
    let layers: Vec<[PackedB; 7]> = (0..LAYERS).map(|_| sizes.map(|(n, k)| pack(n, k))).collect();
    let head = pack(VOCAB, D);
    let bytes: usize = layers.iter().flatten().map(PackedB::bytes).sum();
    println!(
        "{} threads, {memory:.1} GB/s; weights {:.0} MB: at least {:.2} ms a step",
        num_threads(),
        (bytes + head.bytes()) as f64 / 1e6,
        (bytes + head.bytes()) as f64 / memory / 1e6
    );
    let norm = random(D);
    let inv_freq: Vec<f32> = (0..SHAPE.dim / 2).map(|i| 1e4f32.powf(-(i as f32) / 32.0)).collect();
    let asked: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let format =
        if std::env::args().any(|argument| argument == "fp32") { Format::Floats } else { Format::Halves };
    for m in if asked.is_empty() { vec![1, 8, 32] } else { asked } {
        let rows = m * 128;
        let mut caches: Vec<[Floats; 2]> = (0..LAYERS)
            .map(|_| [random((rows * KV_WIDTH).max(1 << 20)), random((rows * KV_WIDTH).max(1 << 20))])
            .collect();
        let ranges: Vec<Span> =
            (0..m).map(|b| Span::of_ranges([b * 128, 64], [b * 128 + 64, CONTEXT - 64])).collect();
        let cache_rows: Vec<i32> = (0..m).map(|b| (b * 128 + CONTEXT - 1) as i32).collect();
        let positions = vec![CONTEXT as i32 - 1; m];
        let keeping = std::env::args().any(|argument| argument == "kept");
        let widths = [WIDTH, KV_WIDTH, KV_WIDTH, WIDTH, SHAPE.heads, D, INNER, INNER, D];
        let mut outputs: Vec<[Floats; 9]> = (0..if keeping { LAYERS } else { 0 })
            .map(|_| widths.map(|width| random(m * KEPT_TOKENS * width)))
            .collect();
        let mut step = 0;
        let x0 = random(m * D);
        let mut x = random(m * D);
        let mut scratch = Scratch::default();
        let blocks = median(|| {
            x.copy_from_slice(&x0);
            step = (step + 1) % KEPT_TOKENS;
            let kept_rows: Vec<i32> = (0..m).map(|b| (b * KEPT_TOKENS + step) as i32).collect();
            let mut outputs = outputs.iter_mut();
            for (weights, [k, v]) in layers.iter().zip(&mut caches) {
                let kept = outputs.next().map(|arrays| {
                    let [q, k, v, mixed, lse, o, gate, up, down] =
                        arrays.each_mut().map(|array| SharedMut::new(array));
                    Kept { rows: &kept_rows, q, k, v, mixed, lse, o, gate, up, down }
                });
                let [wq, wk, wv, wo, gate, up, down] =
                    weights.each_ref().map(|weight| Linear { weight, bias: None, adapter: None });
                let block = DecodeBlock {
                    shape: SHAPE,
                    format,
                    eps: 1e-5,
                    attention_norm: &norm,
                    q: wq,
                    k: wk,
                    v: wv,
                    q_norm: None,
                    k_norm: None,
                    o: wo,
                    mlp_norm: &norm,
                    gate,
                    up,
                    down,
                    positions: &positions,
                    inv_freq: &inv_freq,
                    rotary_scaling: 1.0,
                    cache_rows: &cache_rows,
                    ranges: &ranges,
                };
                block.run(&mut x, k, v, kept.as_ref(), &mut scratch);
            }
        });
        let (q, mut o) = (random(m * WIDTH), random(m * WIDTH));
        let attention = median(|| {
            for [k, v] in &caches {
                let (k, v) = (Stored::new(k, format), Stored::new(v, format));
                forward_last(&q, k, v, &SHAPE, &ranges, &mut o, None);
            }
        });
        let mut packed = PackedRows::default();
        let (narrow, wide) = (random(m * D), random(m * INNER));
        let mut y = random(m * VOCAB);
        let y = SharedMut::new(&mut y);
        let linear = median(|| {
            for weights in &layers {
                packed.pack(&weights[0], m, D, |range| &narrow[range.start * D..range.end * D]);
                for group in [&weights[0..3], &weights[3..4], &weights[4..6]] {
                    let products: Vec<[Product; 1]> = group
                        .iter()
                        .map(|weight| [Product { weight, bias: None, y, update: None }])
                        .collect();
                    let groups: Vec<&[Product]> = products.iter().map(|product| &product[..]).collect();
                    multiply_rows(&packed, &groups, |_, _| ());
                }
                packed.pack(&weights[6], m, INNER, |range| &wide[range.start * INNER..range.end * INNER]);
                multiply_rows(
                    &packed,
                    &[&[Product { weight: &weights[6], bias: None, y, update: None }]],
                    |_, _| (),
                );
            }
        });
        let lm_head = median(|| {
            packed.pack(&head, m, D, |range| &narrow[range.start * D..range.end * D]);
            multiply_rows(&packed, &[&[Product { weight: &head, bias: None, y, update: None }]], |_, _| ());
        });
        // SAFETY: nobody writes it any more.
        let logits: &[f32] = unsafe { y.slice(0, m * VOCAB) };
        let sampling = median(|| {
            parallel_for(m, |row| {
                thread_local! { static SCRATCH: std::cell::RefCell<espalier_native::sampling::Scratch> = std::cell::RefCell::default(); }
                let how = Row {
                    seed: [1, 2],
                    sample: row as u32,
                    position: 7,
                    temperature: 1.0,
                    top_k: 0,
                    top_p: 1.0,
                    min_p: 0.0,
                    penalty: 1.0,
                    history: &[],
                };
                SCRATCH.with(|scratch| {
                    black_box(sample_row(
                        &logits[row * VOCAB..(row + 1) * VOCAB],
                        &how,
                        &mut scratch.borrow_mut(),
                    ))
                });
            })
        });
        let rate = |milliseconds: f64, bytes: usize| {
            format!("{milliseconds:.2} ms ({:.0} %)", 100.0 * bytes as f64 / milliseconds / 1e6 / memory)
        };
        println!(
            "batch {m}: blocks {}, of which products {}, attention {attention:.2} ms; LM head {}; sampling {sampling:.2} ms; {:.0} tokens/s, {:.0} % of the limit",
            rate(blocks, bytes), rate(linear, bytes), rate(lm_head, head.bytes()),
            1e3 * m as f64 / (blocks + lm_head + sampling),
            100.0 * (bytes + head.bytes()) as f64 / memory / 1e6 / (blocks + lm_head + sampling)
        );
    }
}
