//! Eight-bit products with `vpdpbusd` (AVX512-VNNI) and with AVX2.

use super::{group, write, BLOCK, GROUP, QUAD};
use crate::gemm::avx512::write_row;
use crate::gemm::kernel::{nothing, Format, Kernel, Strips, Tile};
use crate::memory::{ask, ask_second};
use std::arch::x86_64::*;

const MR: usize = 12;
const NR: usize = 32;

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn rows<const R: usize>(tile: &Tile) {
    let mut totals = [[_mm512_setzero_ps(); 2]; R];
    let (size_a, size_b) = (Format::BytesA.bytes(GROUP * MR), Format::BytesB.bytes(GROUP * NR));
    for index in 0..tile.k / GROUP {
        // SAFETY: the panels hold this group, of `MR` and of `NR` lanes.
        let ((a, scales_a, starts), (b, scales_b, _)) =
            unsafe { (group::<MR>(tile.a.add(index * size_a)), group::<NR>(tile.b.add(index * size_b))) };
        let (a, b, soon) = (a.cast::<i32>(), b.cast::<i32>(), tile.soon.wrapping_add(index * size_b));
        let mut sums = [[_mm512_setzero_si512(); 2]; R];
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `row < MR`.
            *sums = [_mm512_set1_epi32(unsafe { *starts.add(row) }); 2];
        }
        for quad in 0..GROUP / QUAD {
            for line in (0..QUAD * NR).step_by(64) {
                let line = soon.wrapping_add(quad * QUAD * NR + line);
                // A block, half of one in bfloat16, fits into the first-level cache beside the one in use. A few rows are done with it before it would be there.
                if R > 2 {
                    ask(line);
                } else {
                    ask_second(line);
                }
            }
            // SAFETY: the group has this quad of 32 lanes.
            let b: [__m512i; 2] = unsafe {
                let from = b.add(NR * quad);
                [_mm512_loadu_si512(from.cast()), _mm512_loadu_si512(from.add(16).cast())]
            };
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above, and `row < MR`.
                let a = _mm512_set1_epi32(unsafe { *a.add(quad * MR + row) });
                sums[0] = _mm512_dpbusd_epi32(sums[0], b[0], a);
                sums[1] = _mm512_dpbusd_epi32(sums[1], b[1], a);
            }
        }
        // SAFETY: a group has a scale for each lane.
        let scales_b = unsafe { [_mm512_loadu_ps(scales_b), _mm512_loadu_ps(scales_b.add(16))] };
        for (row, (totals, sums)) in totals.iter_mut().zip(&sums).enumerate() {
            // SAFETY: `row < MR`.
            let scale = _mm512_set1_ps(unsafe { *scales_a.add(row) });
            for ((total, &sum), scale_b) in totals.iter_mut().zip(sums).zip(scales_b) {
                let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(scale, scale_b));
                *total = _mm512_add_ps(*total, product);
            }
        }
    }
    for (row, &totals) in totals.iter().enumerate() {
        // SAFETY: the row exists in C, with `cols` columns.
        unsafe { write_row(tile.c.add(row * tile.ldc), totals, tile.cols, tile.add) };
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn run(tile: &Tile) {
    // SAFETY: by the caller's promise; rows are 1 to MR.
    unsafe {
        match tile.rows {
            1 => rows::<1>(tile),
            2 => rows::<2>(tile),
            3 => rows::<3>(tile),
            4 => rows::<4>(tile),
            5 => rows::<5>(tile),
            6 => rows::<6>(tile),
            7 => rows::<7>(tile),
            8 => rows::<8>(tile),
            9 => rows::<9>(tile),
            10 => rows::<10>(tile),
            11 => rows::<11>(tile),
            _ => rows::<12>(tile),
        }
    }
}

pub static AVX512_VNNI: Kernel = Kernel {
    name: "avx512-vnni",
    mr: MR,
    nr: NR,
    unit: GROUP,
    kc: BLOCK,
    task: (96, 256),
    strips: Strips::VECTORS,
    format_a: Format::BytesA,
    format_b: Format::BytesB,
    bf16: false,
    pack: crate::gemm::pack::pack_avx512,
    enter: nothing,
    leave: nothing,
    run,
};

const NARROW_MR: usize = 4;
const NARROW_NR: usize = 16;

/// `vpmaddubsw` adds two products in sixteen bits and saturates: with |a| and the sign of a given to b, both up to 127, a sum is at most 32,258. So nothing
/// is to be taken off for B's 128.
#[target_feature(enable = "avx2")]
unsafe fn run_narrow(tile: &Tile) {
    const R: usize = NARROW_MR;
    let mut totals = [[_mm256_setzero_ps(); 2]; R];
    let (size_a, size_b) = (Format::BytesA.bytes(GROUP * R), Format::BytesB.bytes(GROUP * NARROW_NR));
    let (ones, flip) = (_mm256_set1_epi16(1), _mm256_set1_epi8(-128));
    for index in 0..tile.k / GROUP {
        // SAFETY: the panels hold this group, of `R` and of `NARROW_NR` lanes.
        let ((a, scales_a, _), (b, scales_b, _)) = unsafe {
            (group::<R>(tile.a.add(index * size_a)), group::<NARROW_NR>(tile.b.add(index * size_b)))
        };
        let (a, b) = (a.cast::<i32>(), b.cast::<__m256i>());
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for quad in 0..GROUP / QUAD {
            // SAFETY: the group has this quad of 16 lanes.
            let b = unsafe { [_mm256_loadu_si256(b.add(2 * quad)), _mm256_loadu_si256(b.add(2 * quad + 1))] };
            let b = b.map(|b| _mm256_xor_si256(b, flip));
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above, and `row < R`.
                let a = _mm256_set1_epi32(unsafe { *a.add(quad * R + row) });
                let size = _mm256_abs_epi8(a);
                for (sum, b) in sums.iter_mut().zip(b) {
                    let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(b, a));
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                }
            }
        }
        // SAFETY: a group has a scale for each lane.
        let scales_b = unsafe { [_mm256_loadu_ps(scales_b), _mm256_loadu_ps(scales_b.add(8))] };
        for (row, (totals, sums)) in totals.iter_mut().zip(&sums).enumerate() {
            // SAFETY: `row < R`.
            let scale = _mm256_set1_ps(unsafe { *scales_a.add(row) });
            for ((total, &sum), scale_b) in totals.iter_mut().zip(sums).zip(scales_b) {
                let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(scale, scale_b));
                *total = _mm256_add_ps(*total, product);
            }
        }
    }
    for (row, totals) in totals.iter().enumerate().take(tile.rows) {
        let mut values = [0f32; NARROW_NR];
        // SAFETY: the array holds both vectors, and the row exists.
        unsafe {
            _mm256_storeu_ps(values.as_mut_ptr(), totals[0]);
            _mm256_storeu_ps(values.as_mut_ptr().add(8), totals[1]);
            write(tile, row, &values);
        }
    }
}

pub static AVX2_BYTES: Kernel = Kernel {
    name: "avx2-int8",
    mr: NARROW_MR,
    nr: NARROW_NR,
    unit: GROUP,
    kc: BLOCK,
    task: (96, 256),
    strips: Strips::VECTORS,
    format_a: Format::BytesA,
    format_b: Format::BytesB,
    bf16: false,
    pack: crate::gemm::pack::pack_avx2,
    enter: nothing,
    leave: nothing,
    run: run_narrow,
};
