//! How fast the products are here, against what the processor could do at best: `cargo run --release --example speed`.
//! The best of several short runs is shown, because other programs disturb.

use espalier_native::dtype::Precision;
use espalier_native::gemm::{choice, multiply, Output, PackedB, Right, View};
use espalier_native::memory::Floats;
use espalier_native::pool::{num_threads, parallel_for};
use std::hint::black_box;
use std::time::Instant;

/// Shortest time of `run` in seconds.
fn best(mut run: impl FnMut()) -> f64 {
    let (start, mut best) = (Instant::now(), f64::MAX);
    let mut rounds = 0;
    while rounds < 3 || (start.elapsed().as_secs_f64() < 0.4 && rounds < 2000) {
        let begin = Instant::now();
        run();
        best = best.min(begin.elapsed().as_secs_f64());
        rounds += 1;
    }
    best
}

fn random(len: usize) -> Floats {
    let mut floats = Floats::uninit(len);
    let mut state = 1u32;
    for x in floats.iter_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *x = (state >> 8) as f32 / 8_388_608.0 - 1.0;
    }
    floats
}

/// fp32 multiply-adds from registers alone, on all threads: GFLOP/s.
fn peak() -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::*;
        #[target_feature(enable = "avx2,fma")]
        fn avx2(rounds: usize) -> f32 {
            let mut sums = [_mm256_set1_ps(0.5); 12];
            let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = _mm256_fmadd_ps(*sum, a, b);
                }
            }
            sums.iter().map(|&sum| _mm256_cvtss_f32(sum)).sum()
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            let rounds = 20_000;
            let seconds = best(|| {
                parallel_for(num_threads(), |_| {
                    // SAFETY: the features were just detected.
                    black_box(unsafe { avx2(rounds) });
                })
            });
            return (num_threads() * rounds * 12 * 16) as f64 / seconds / 1e9;
        }
    }
    f64::NAN
}

/// Reading memory from start to end on all threads: GB/s.
fn bandwidth(data: &[f32]) -> f64 {
    let parts = 16 * num_threads();
    let len = data.len() / parts;
    let seconds = best(|| {
        parallel_for(parts, |part| {
            let mut sums = [0f32; 64];
            for chunk in data[part * len..(part + 1) * len].chunks_exact(64) {
                sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum += x);
            }
            black_box(sums);
        })
    });
    (data.len() * 4) as f64 / seconds / 1e9
}

fn main() {
    let peak = peak();
    let memory = random(32 << 20);
    let bandwidth = bandwidth(&memory);
    println!("{} threads, {peak:.0} GFLOP/s fp32 with AVX2, {bandwidth:.1} GB/s", num_threads());
    let only_decoding = std::env::args().any(|argument| argument == "--decode");
    for precision in [Precision::Fp32, Precision::Bf16] {
        println!("{precision:?} ({})", choice::kernel(precision).name);
        for (m, n, k) in
            [(1024, 576, 576), (1024, 1536, 576), (1024, 576, 1536), (1024, 4096, 576), (2048, 2048, 2048)]
        {
            if only_decoding {
                break;
            }
            let (x, w, dy) = (random(m * k), random(n * k), random(m * n));
            let (mut y, mut dx, mut dw) =
                (Floats::zeroed(m * n), Floats::zeroed(m * k), Floats::zeroed(n * k));
            let (vx, vw, vdy) =
                (View::row_major(&x, m, k), View::row_major(&w, n, k), View::row_major(&dy, m, n));
            let Some(packed) = PackedB::new(vw, precision) else { return };
            fn out(data: &mut [f32], stride: usize) -> Output<'_> {
                Output { data, stride, accumulate: false, far: false, bias: None }
            }
            let flops = 2.0 * (m * n * k) as f64 / 1e9;
            let rates = [
                best(|| multiply(out(&mut y, n), vx, Right::Packed(packed.columns()), precision)),
                best(|| multiply(out(&mut y, n), vx, Right::Lanes(vw), precision)),
                best(|| multiply(out(&mut dx, k), vdy, Right::Lanes(vw.transposed()), precision)),
                best(|| {
                    multiply(out(&mut dw, k), vdy.transposed(), Right::Lanes(vx.transposed()), precision)
                }),
            ]
            .map(|seconds| flops / seconds);
            print!("  {m}x{n}x{k}:");
            for (name, rate) in ["packed", "forward", "dx", "dw"].iter().zip(rates) {
                print!("  {name} {rate:.0} GFLOP/s ({:.0} %)", 100.0 * rate / peak);
            }
            println!();
        }
        let (n, k) = (49152, 576);
        let w = random(n * k);
        let Some(packed) = PackedB::new(View::row_major(&w, n, k), precision) else { return };
        for m in [1, 2, 4, 8, 16, 32, 64] {
            let (x, mut y) = (random(m * k), Floats::zeroed(m * n));
            let seconds = best(|| {
                let output = Output { data: &mut y, stride: n, accumulate: false, far: false, bias: None };
                multiply(output, View::row_major(&x, m, k), Right::Packed(packed.columns()), precision)
            });
            let rate = packed.bytes() as f64 / seconds / 1e9;
            let flops = 2.0 * (m * n * k) as f64 / seconds / 1e9;
            println!(
                "  LM head, M = {m}: {rate:.1} GB/s of weights ({:.0} %), {flops:.0} GFLOP/s",
                100.0 * rate / bandwidth
            );
        }
    }
}
