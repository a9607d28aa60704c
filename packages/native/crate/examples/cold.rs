//! The products of a training step with operands that left the caches since their last use, as in a step:
//! `cargo run --release --example cold [head | SETS] [fp32]`, `ESPALIER_NUM_THREADS=1` where other programs run beside it.
//! A call's time is its minimum over the rounds; a row is the mean of these minima over the sets of operands.

use espalier_native::dtype::Precision;
use espalier_native::gemm::{multiply, Output, PackedB, Right, View};
use espalier_native::memory::Floats;
use espalier_native::pool::{num_threads, parallel_for};
use espalier_native::token_outputs::{backward, forward, Gradients, Head, Outputs, Saved};
use std::time::Instant;

fn random(len: usize) -> Floats {
    let mut floats = Floats::uninit(len);
    let mut state = 1u32;
    for x in floats.iter_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *x = (state >> 8) as f32 / 8_388_608.0 - 1.0;
    }
    floats
}

/// Multiply-adds from registers alone, on all threads, in GFLOP/s: what the processor gives at this moment, by `vdpbf16ps` or in fp32. NaN where it has no AVX-512.
fn peak(precision: Precision) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::*;
        use std::hint::black_box;
        const ROUNDS: usize = 20_000;
        #[target_feature(enable = "avx512f,avx512bf16")]
        fn pairs() -> f32 {
            let mut sums = [_mm512_set1_ps(0.5); 12];
            let x = black_box(_mm512_set1_epi32(0x3f80_3f80));
            // SAFETY: vectors of the same size.
            let x = unsafe { std::mem::transmute::<__m512i, __m512bh>(x) };
            for _ in 0..ROUNDS {
                sums.iter_mut().for_each(|sum| *sum = _mm512_dpbf16_ps(*sum, x, x));
            }
            sums.iter().map(|&sum| _mm512_cvtss_f32(sum)).sum()
        }
        #[target_feature(enable = "avx512f")]
        fn floats() -> f32 {
            let mut sums = [_mm512_set1_ps(0.5); 12];
            let x = black_box(_mm512_set1_ps(0.5));
            for _ in 0..ROUNDS {
                sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(*sum, x, x));
            }
            sums.iter().map(|&sum| _mm512_cvtss_f32(sum)).sum()
        }
        let in_pairs = precision == Precision::Bf16 && is_x86_feature_detected!("avx512bf16");
        if is_x86_feature_detected!("avx512f") {
            let begin = Instant::now();
            // SAFETY: the processor has the instructions.
            parallel_for(num_threads(), |_| unsafe {
                black_box(if in_pairs { pairs() } else { floats() });
            });
            let operations = if in_pairs { 64 } else { 32 };
            return (num_threads() * ROUNDS * 12 * operations) as f64 / begin.elapsed().as_secs_f64() / 1e9;
        }
    }
    f64::NAN
}

/// Mean over the sets of the shortest time of `run(set)`, in seconds.
fn rounds(precision: Precision, sets: usize, mut run: impl FnMut(usize)) -> [f64; 2] {
    let mut top = vec![0f64; sets];
    let mut best = vec![f64::MAX; sets];
    for _ in 0..(if sets == 1 { 6 } else { 12 }) {
        for (set, best) in best.iter_mut().enumerate() {
            let begin = Instant::now();
            run(set);
            *best = best.min(begin.elapsed().as_secs_f64());
            top[set] = top[set].max(peak(precision));
        }
    }
    [best.iter().sum::<f64>() / sets as f64, top.iter().sum::<f64>() / sets as f64]
}

fn main() {
    let fp32 = std::env::args().any(|argument| argument == "fp32");
    let precision = if fp32 { Precision::Fp32 } else { Precision::Bf16 };
    if std::env::args().any(|argument| argument == "head") {
        return head(precision);
    }
    for (m, n, k) in
        [(1024, 576, 576), (1024, 192, 576), (1024, 1536, 576), (1024, 576, 1536), (1016, 1024, 576)]
    {
        let sets = (160 << 20) / (4 * (m * n + m * k + n * k)) + 2;
        let sets = std::env::args().nth(1).and_then(|sets| sets.parse().ok()).unwrap_or(sets);
        let xs: Vec<_> = (0..sets).map(|_| random(m * k)).collect();
        let ws: Vec<_> = (0..sets).map(|_| random(n * k)).collect();
        let mut ys: Vec<_> = (0..sets).map(|_| random(m * n)).collect();
        let packed: Vec<_> =
            ws.iter().filter_map(|w| PackedB::new(View::row_major(w, n, k), precision)).collect();
        fn out(data: &mut [f32], stride: usize) -> Output<'_> {
            Output { data, stride, accumulate: false, far: true, bias: None }
        }
        let x = |set: usize| View::row_major(&xs[set], m, k);
        let w = |set: usize| View::row_major(&ws[set], n, k);
        let mut dx: Vec<_> = (0..sets).map(|_| random(m * k)).collect();
        let mut dw: Vec<_> = (0..sets).map(|_| random(n * k)).collect();
        let times = [
            (
                "packed",
                rounds(precision, sets, |set| {
                    multiply(out(&mut ys[set], n), x(set), Right::Packed(packed[set].columns()), precision)
                }),
            ),
            (
                "forward",
                rounds(precision, sets, |set| {
                    multiply(out(&mut ys[set], n), x(set), Right::Lanes(w(set)), precision)
                }),
            ),
            (
                "dx",
                rounds(precision, sets, |set| {
                    multiply(
                        out(&mut dx[set], k),
                        View::row_major(&ys[set], m, n),
                        Right::Lanes(w(set).transposed()),
                        precision,
                    )
                }),
            ),
            (
                "dw",
                rounds(precision, sets, |set| {
                    multiply(
                        out(&mut dw[set], k),
                        View::row_major(&ys[set], m, n).transposed(),
                        Right::Lanes(x(set).transposed()),
                        precision,
                    )
                }),
            ),
        ];
        let flops = 2.0 * (m * n * k) as f64 / 1e9;
        print!("{m}x{n}x{k} ({sets} sets):");
        for (name, [seconds, peak]) in times {
            print!("  {name} {:.0} of {peak:.0} ({:.0} %)", flops / seconds, 100.0 * flops / seconds / peak);
        }
        println!();
    }
}

/// The LM head of a small model.
fn head(precision: Precision) {
    let (a, v, d) = (1016, 49152, 576);
    let (hidden, mut w) = (random(a * d), random(v * d));
    w.iter_mut().for_each(|w| *w *= 0.03);
    let head =
        Head { w: Some(View::row_major(&w, v, d)), packed: None, bias: None, v, temperature: 1.0, precision };
    let targets: Vec<i32> = (0..a as i32).collect();
    let (mut logps, mut lse, ones) = (vec![0f32; a], vec![0f32; a], vec![1e-3f32; a]);
    let view = View::row_major(&hidden, a, d);
    let [forward_seconds, _] = rounds(precision, 1, |_| {
        forward(
            view,
            &head,
            &targets,
            Outputs { logps: &mut logps, entropy: None, sum_squares: None, lse: &mut lse, kept: None },
        )
    });
    let (mut dhidden, mut dw) = (random(a * d), random(v * d));
    let saved = Saved {
        lse: &lse,
        entropy: None,
        sum_squares: None,
        dlogps: Some(&ones),
        dentropy: None,
        dsum_squares: None,
        kept: None,
    };
    let [backward_seconds, _] = rounds(precision, 1, |_| {
        backward(
            view,
            &head,
            &targets,
            &saved,
            Gradients { dhidden: Some(&mut dhidden), dw: Some(&mut dw), dbias: None, accumulate: false },
        )
    });
    let flops = 2.0 * (a * v * d) as f64 / 1e9;
    println!(
        "LM head: forward {:.0} ms, {:.0} GFLOP/s; backward {:.0} ms, {:.0} GFLOP/s",
        forward_seconds * 1e3,
        flops / forward_seconds,
        backward_seconds * 1e3,
        3.0 * flops / backward_seconds
    );
}
