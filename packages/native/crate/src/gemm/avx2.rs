//! AVX2 + FMA: tiles of 6 × 16, twelve accumulators, two loads and six broadcasts a step.

use super::kernel::{nothing, Format, Kernel, Strips, Tile};
use crate::memory::ask_second;
use std::arch::x86_64::*;

const MR: usize = 6;
const NR: usize = 16;

/// Two vectors of B at step `k`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load_b<const HALVES: bool>(b: *const u8, k: usize) -> [__m256; 2] {
    // SAFETY: the panel holds 16 elements at step `k`.
    unsafe {
        if HALVES {
            let both = _mm256_loadu_si256(b.cast::<__m256i>().add(k));
            let high = _mm256_and_si256(both, _mm256_set1_epi32(!0xffff));
            [_mm256_slli_epi32::<16>(both), high].map(|half| _mm256_castsi256_ps(half))
        } else {
            let from = b.cast::<f32>().add(NR * k);
            [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))]
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn rows<const R: usize, const HALVES: bool>(tile: &Tile) {
    let a = tile.a.cast::<f32>();
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    for k in 0..tile.k {
        // SAFETY: step `k` of both panels exists.
        let b = unsafe { load_b::<HALVES>(tile.b, k) };
        ask_second(tile.soon.wrapping_add(k * NR * if HALVES { 2 } else { 4 }));
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above, and `row < MR`.
            let a = unsafe { _mm256_broadcast_ss(&*a.add(k * MR + row)) };
            sums[0] = _mm256_fmadd_ps(a, b[0], sums[0]);
            sums[1] = _mm256_fmadd_ps(a, b[1], sums[1]);
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: the row exists in C, with `cols` columns.
        unsafe {
            let c = tile.c.add(row * tile.ldc);
            if tile.cols == NR {
                for (half, &sum) in sums.iter().enumerate() {
                    let c = c.add(half * 8);
                    let sum = if tile.add { _mm256_add_ps(_mm256_loadu_ps(c), sum) } else { sum };
                    _mm256_storeu_ps(c, sum);
                }
            } else {
                let mut values = [0f32; NR];
                _mm256_storeu_ps(values.as_mut_ptr(), sums[0]);
                _mm256_storeu_ps(values.as_mut_ptr().add(8), sums[1]);
                for (column, &value) in values.iter().enumerate().take(tile.cols) {
                    let c = c.add(column);
                    *c = if tile.add { *c + value } else { value };
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn run<const HALVES: bool>(tile: &Tile) {
    // SAFETY: by the caller's promise; rows are 1 to MR.
    unsafe {
        match tile.rows {
            1 => rows::<1, HALVES>(tile),
            2 => rows::<2, HALVES>(tile),
            3 => rows::<3, HALVES>(tile),
            4 => rows::<4, HALVES>(tile),
            5 => rows::<5, HALVES>(tile),
            _ => rows::<6, HALVES>(tile),
        }
    }
}

pub static AVX2: Kernel = Kernel {
    name: "avx2",
    mr: MR,
    nr: NR,
    unit: 1,
    kc: 320,
    task: (96, 256),
    strips: Strips::VECTORS,
    format_a: Format::Float,
    format_b: Format::Float,
    bf16: false,
    pack: super::pack::pack_avx2,
    enter: nothing,
    leave: nothing,
    run: run::<false>,
};

/// Operands rounded to bfloat16, B kept in two bytes and widened on the way to the multiplier.
pub static AVX2_ROUNDED: Kernel = Kernel {
    name: "avx2-rounded",
    mr: MR,
    nr: NR,
    unit: 1,
    kc: 320,
    task: (96, 256),
    strips: Strips::VECTORS,
    format_a: Format::Rounded,
    format_b: Format::Halves,
    bf16: false,
    pack: super::pack::pack_avx2,
    enter: nothing,
    leave: nothing,
    run: run::<true>,
};
