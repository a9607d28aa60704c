//! Which micro-kernel serves which precision: the best that the processor has and that passes its test.
//!
//! Each candidate multiplies a small matrix before its first use and is compared with the definition. One that
//! disagrees is left out and named by `features()`: a wrong result must not depend on what machine a user has.

use super::kernel::{self, Format, Kernel};
use super::{multiply_with, Output, Right, View};
use crate::dtype::{round_bf16, Precision};
use crate::features::processor;
use std::sync::OnceLock;

/// Kernels for a precision, best first, that this processor can run.
pub(super) fn candidates(precision: Precision) -> Vec<&'static Kernel> {
    let mut list: Vec<&'static Kernel> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use super::{amx::AMX, avx2, avx512, int8};
        let found = processor();
        let all: [(bool, Precision, &'static Kernel); 8] = [
            (found.amx_bf16, Precision::Bf16, &AMX),
            (found.avx512_bf16, Precision::Bf16, &avx512::AVX512_BF16),
            (found.avx512, Precision::Bf16, &avx512::AVX512_ROUNDED),
            (found.avx512, Precision::Fp32, &avx512::AVX512),
            (found.avx2, Precision::Bf16, &avx2::AVX2_ROUNDED),
            (found.avx2, Precision::Fp32, &avx2::AVX2),
            (found.avx512_vnni, Precision::Int8, &int8::AVX512_VNNI),
            (found.avx2, Precision::Int8, &int8::AVX2_BYTES),
        ];
        list.extend(
            all.into_iter().filter(|(here, of, _)| *here && *of == precision).map(|(_, _, kernel)| kernel),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = processor;
    list.push(match precision {
        Precision::Fp32 => &kernel::PORTABLE,
        Precision::Bf16 => &kernel::PORTABLE_ROUNDED,
        Precision::Int8 => &super::int8::PORTABLE_BYTES,
    });
    #[cfg(test)]
    if precision == Precision::Bf16 {
        list.push(&super::tiles_in_rust::TILES_IN_RUST);
    }
    list
}

struct Choice {
    kernel: &'static Kernel,
    refused: Vec<&'static str>,
}

fn choose(precision: Precision) -> Choice {
    let wanted = std::env::var("ESPALIER_GEMM_KERNEL").ok();
    let mut refused = Vec::new();
    let list = candidates(precision);
    let named = wanted.and_then(|name| list.iter().copied().find(|kernel| kernel.name == name));
    for kernel in named.into_iter().chain(list) {
        if passes(kernel) {
            return Choice { kernel, refused };
        }
        refused.push(kernel.name);
    }
    unreachable!("the portable kernel computes the definition")
}

fn choice(precision: Precision) -> &'static Choice {
    static CHOICES: [OnceLock<Choice>; 3] = [const { OnceLock::new() }; 3];
    CHOICES[precision as usize].get_or_init(|| choose(precision))
}

/// The kernel for a precision; tested and chosen at the first call.
pub fn kernel(precision: Precision) -> &'static Kernel {
    choice(precision).kernel
}

/// Kernels that gave wrong results on this processor and are not used.
pub fn refused(precision: Precision) -> &'static [&'static str] {
    &choice(precision).refused
}

/// Numbers between -1 and 1 that depend on the seed alone.
pub(crate) fn noise(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// What a packed lane stands for.
pub(super) fn stored(format: Format, lane: &[f32]) -> Vec<f64> {
    match format {
        Format::Float => lane.iter().map(|&x| f64::from(x)).collect(),
        Format::BytesA | Format::BytesB => super::int8::dequantised(lane),
        _ => lane.iter().map(|&x| f64::from(round_bf16(x))).collect(),
    }
}

/// Multiplies small matrices, with full and partial tiles, and compares with the definition.
pub(crate) fn passes(kernel: &'static Kernel) -> bool {
    [1, kernel.mr + 3].into_iter().all(|m| agrees(kernel, m, kernel.nr + 5, 67))
}

/// One shape, both operands stored with K adjacent and with K apart.
pub(crate) fn agrees(kernel: &'static Kernel, m: usize, n: usize, k: usize) -> bool {
    let (a, b, c) = (noise(1, m * k), noise(2, n * k), noise(3, m * n));
    let [rows, columns] = [&a, &b].map(|data| -> Vec<f64> {
        data.chunks_exact(k).flat_map(|lane| stored(kernel.format_a, lane)).collect()
    });
    let agrees = |turned: bool| -> bool {
        // The same matrices, stored with either side adjacent.
        let view = |data: &[f32], lanes: usize| -> Vec<f32> {
            if !turned {
                return data.to_vec();
            }
            (0..k).flat_map(|step| (0..lanes).map(move |lane| data[lane * k + step])).collect()
        };
        let (stored_a, stored_b) = (view(&a, m), view(&b, n));
        let lanes = |data, lanes| {
            if turned {
                View::row_major(data, k, lanes).transposed()
            } else {
                View::row_major(data, lanes, k)
            }
        };
        let mut got = c.clone();
        let output = Output { data: &mut got, stride: n, accumulate: true, far: false, bias: None };
        multiply_with(kernel, output, lanes(&stored_a, m).into(), Right::Lanes(lanes(&stored_b, n)));
        got.iter().enumerate().all(|(index, &got)| {
            let (row, column) = (index / n, index % n);
            let products = (0..k).map(|step| rows[row * k + step] * columns[column * k + step]);
            let expected = products.sum::<f64>() + f64::from(c[index]);
            (f64::from(got) - expected).abs() < 2e-6 * (1.0 + k as f64).sqrt()
        })
    };
    agrees(false) && agrees(true)
}
