//! Linear layers with adapters against the same without, in turns: `cargo run --release --example adapted [ROWS]`.
//! For each group of layers, milliseconds of the forward and of the backward pass, the shortest of many calls, operands having left the second-level cache.

use espalier_native::adapted_linear::{backward, forward, Backward, Forward, LowRank};
use espalier_native::dtype::Precision;
use espalier_native::gemm::{multiply_sums, outer, Left, Outer, Output, Right, Sum, View};
use espalier_native::memory::Floats;
use std::time::Instant;

const R: usize = 16;

/// In huge pages where it is large, as tensors are.
fn noise(len: usize) -> Floats {
    let mut floats = Floats::uninit(len);
    floats.iter_mut().enumerate().for_each(|(i, x)| *x = ((i * 7919 % 1009) as f32 - 504.0) / 504.0);
    floats
}

fn main() {
    let m = std::env::args().nth(1).and_then(|rows| rows.parse().ok()).unwrap_or(1024);
    let precision = Precision::Bf16;
    println!("{m} rows, rank {R}: ms without, with, forward; without, with, backward");
    let flush = noise(16 << 20);
    for (name, k, outputs) in [
        ("q, k, v", 576, vec![576, 192, 192]),
        ("o", 576, vec![576]),
        ("gate, up", 576, vec![1536, 1536]),
        ("down", 1536, vec![576]),
    ] {
        let x = noise(m * k);
        let mut dx = noise(m * k);
        let ws: Vec<Floats> = outputs.iter().map(|n| noise(n * k)).collect();
        let a: Vec<Floats> = outputs.iter().map(|_| noise(R * k)).collect();
        let b: Vec<Floats> = outputs.iter().map(|n| noise(R * n)).collect();
        let mut das: Vec<Floats> = outputs.iter().map(|_| noise(R * k)).collect();
        let mut dbs: Vec<Floats> = outputs.iter().map(|n| noise(R * n)).collect();
        let mut ys: Vec<Floats> = outputs.iter().map(|n| noise(m * n)).collect();
        let dys: Vec<Floats> = outputs.iter().map(|n| noise(m * n)).collect();
        let mut h = noise(m * R * outputs.len());
        let vx = View::row_major(&x, m, k);
        let mut best = [f64::INFINITY; 5];
        for _ in 0..60 {
            for (which, best) in best.iter_mut().enumerate() {
                std::hint::black_box(flush.iter().sum::<f32>());
                let start = Instant::now();
                match which {
                    0 => {
                        let sums = ys.iter_mut().zip(&ws).zip(&outputs).map(|((y, w), &n)| Sum {
                            output: Output { data: y, stride: n, accumulate: false, far: false, bias: None },
                            terms: vec![(0, Right::Lanes(View::row_major(w, n, k)))],
                        });
                        multiply_sums(&[Left::View(vx)], sums.collect(), precision);
                    }
                    1 => {
                        let layers = ys.iter_mut().zip(&ws).zip(&outputs).zip(a.iter().zip(&b));
                        let layers = layers.map(|(((y, w), &n), (a, b))| Forward {
                            n,
                            r: R,
                            weight: Right::Lanes(View::row_major(w, n, k)),
                            bias: None,
                            adapter: LowRank { a, b, scale: 2.0 },
                            y,
                        });
                        forward((m, k), &x, layers.collect(), &mut h, precision);
                    }
                    2 => {
                        let lefts: Vec<Left> = dys
                            .iter()
                            .zip(&outputs)
                            .map(|(dy, &n)| Left::View(View::row_major(dy, m, n)))
                            .collect();
                        let terms = ws
                            .iter()
                            .zip(&outputs)
                            .enumerate()
                            .map(|(i, (w, &n))| (i, Right::Lanes(View::row_major(w, n, k).transposed())));
                        let output =
                            Output { data: &mut dx, stride: k, accumulate: false, far: false, bias: None };
                        multiply_sums(&lefts, vec![Sum { output, terms: terms.collect() }], precision);
                    }
                    3 => {
                        let layers = dys
                            .iter()
                            .zip(&ws)
                            .zip(&outputs)
                            .zip(a.iter().zip(&b))
                            .zip(das.iter_mut().zip(&mut dbs));
                        let layers = layers.map(|((((dy, w), &n), (a, b)), (da, db))| Backward {
                            n,
                            r: R,
                            dy,
                            w,
                            adapter: LowRank { a, b, scale: 2.0 },
                            da,
                            db,
                        });
                        backward((m, k), &x, &h, layers.collect(), &mut dx, precision);
                    }
                    _ => {
                        let sums = dys.iter().zip(dbs.iter_mut()).map(|(dy, db)| {
                            let s = View::new(&h, m, R, R * outputs.len(), 1).expect("inside");
                            Outer { s, x: dy, out: db, turned: true }
                        });
                        outer(sums.collect(), precision);
                    }
                }
                *best = best.min(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        let n: usize = outputs.iter().sum();
        println!(
            "{name:10} {:.2} {:.2}   {:.2} {:.2}   db alone {:.3} ({:.0} GFLOP/s)",
            best[0],
            best[1],
            best[2],
            best[3],
            best[4],
            2.0 * (m * n * R) as f64 / best[4] / 1e6
        );
    }
}
