//! AVX-512: tiles of 12 × 32, twenty-four accumulators; in fp32, on rounded operands, and with `vdpbf16ps`.

use super::kernel::{nothing, Format, Kernel, Strips, Tile};
use crate::memory::{ask, ask_second, far};
use std::arch::x86_64::*;

const MR: usize = 12;
const NR: usize = 32;

/// Whether C takes whole lines past the caches.
#[inline]
fn in_lines(tile: &Tile) -> bool {
    tile.far
        && !tile.add
        && tile.cols == NR
        && tile.ldc.is_multiple_of(16)
        && tile.c.addr().is_multiple_of(64)
}

/// Writes the sums of one row to C, which has whole lines, past the caches.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn write_far<const V: usize>(c: *mut f32, sums: [__m512; V]) {
    for (half, sum) in sums.into_iter().enumerate() {
        // SAFETY: by the caller's promise.
        unsafe { _mm512_stream_ps(c.add(half * 16), sum) };
    }
}

/// Writes the sums of one row to C: columns beyond `cols` are masked out.
#[inline]
#[target_feature(enable = "avx512f")]
pub unsafe fn write_row<const V: usize>(c: *mut f32, sums: [__m512; V], cols: usize, add: bool) {
    for (half, sum) in sums.into_iter().enumerate() {
        let used = cols.saturating_sub(half * 16).min(16);
        let mask = ((1u32 << used) - 1) as __mmask16;
        // SAFETY: only the columns of the mask are touched; the address itself may point past them.
        unsafe {
            let c = c.wrapping_add(half * 16);
            let sum = if add { _mm512_add_ps(_mm512_maskz_loadu_ps(mask, c), sum) } else { sum };
            _mm512_mask_storeu_ps(c, mask, sum);
        }
    }
}

/// Asks for the `BYTES` of step `k` of memory that will be read soon: the processor's own prefetching ends with each page. Into the second-level cache: a block of B
/// fills the first one, which has few places for lines on their way.
#[inline]
fn ask_step<const BYTES: usize>(soon: *const u8, k: usize) {
    (0..BYTES).step_by(64).for_each(|line| ask_second(soon.wrapping_add(k * BYTES + line)));
}

/// Where nothing else is to be asked for: brings a later step of a panel of B from the second-level cache to the first one, which has no room for a whole one beside A.
#[inline]
fn near_step<const BYTES: usize>(b: *const u8, k: usize) {
    (0..BYTES).step_by(64).for_each(|line| ask(b.wrapping_add((k + 8) * BYTES + line)));
}

/// The first `V` vectors of B at step `k`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_b<const V: usize, const HALVES: bool>(b: *const u8, k: usize) -> [__m512; V] {
    if HALVES {
        // SAFETY: the panel holds 32 elements at step `k`.
        let both = unsafe { _mm512_loadu_si512(b.cast::<__m512i>().add(k)) };
        return std::array::from_fn(|v| {
            _mm512_castsi512_ps(match v {
                0 => _mm512_slli_epi32::<16>(both),
                _ => _mm512_and_si512(both, _mm512_set1_epi32(!0xffff)),
            })
        });
    }
    // SAFETY: as above.
    std::array::from_fn(|v| unsafe { _mm512_loadu_ps(b.cast::<f32>().add(NR * k + 16 * v)) })
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn rows<const R: usize, const V: usize, const HALVES: bool>(tile: &Tile) {
    let a = tile.a.cast::<f32>();
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    let alone = tile.soon == tile.b;
    for k in 0..tile.k {
        match (alone, HALVES) {
            (true, true) => near_step::<64>(tile.b, k),
            (true, false) => near_step::<128>(tile.b, k),
            (false, true) => ask_step::<64>(tile.soon, k),
            (false, false) => ask_step::<128>(tile.soon, k),
        }
        // SAFETY: step `k` of both panels exists.
        let b = unsafe { load_b::<V, HALVES>(tile.b, k) };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above, and `row < MR`.
            let a = _mm512_set1_ps(unsafe { *a.add(k * MR + row) });
            for (sum, &b) in sums.iter_mut().zip(&b) {
                *sum = _mm512_fmadd_ps(a, b, *sum);
            }
        }
    }
    let far = in_lines(tile);
    for (row, &sums) in sums.iter().enumerate() {
        // SAFETY: the row exists in C, with `cols` columns, and in whole lines where it is `far`.
        unsafe {
            let c = tile.c.add(row * tile.ldc);
            if far {
                write_far(c, sums);
            } else {
                write_row(c, sums, tile.cols, tile.add);
            }
        }
    }
}

/// The same with pairs of bfloat16: `tile.k / 2` steps.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn rows_pairs<const R: usize, const V: usize>(tile: &Tile) {
    let (a, b) = (tile.a.cast::<i32>(), tile.b.cast::<i32>());
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    for k in 0..tile.k / 2 {
        ask_step::<128>(tile.soon, k);
        // SAFETY: pair `k` of both panels exists; a vector of integers and one of bfloat16 pairs have the same bits.
        let b: [__m512bh; V] = std::array::from_fn(|v| unsafe {
            std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.add(NR * k + 16 * v).cast()))
        });
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above, and `row < MR`.
            let a =
                unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(*a.add(k * MR + row))) };
            for (sum, &b) in sums.iter_mut().zip(&b) {
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
    }
    let far = in_lines(tile);
    for (row, &sums) in sums.iter().enumerate() {
        // SAFETY: the row exists in C, with `cols` columns, and in whole lines where it is `far`.
        unsafe {
            let c = tile.c.add(row * tile.ldc);
            if far {
                write_far(c, sums);
            } else {
                write_row(c, sums, tile.cols, tile.add);
            }
        }
    }
}

/// The function for so many rows; where the columns fill one vector at most, the other is left out.
macro_rules! by_rows {
    ($tile:ident, $function:ident $(, $halves:ident)?) => {
        if $tile.cols > 16 {
            by_rows!(@ $tile, $function, 2 $(, $halves)?)
        } else {
            by_rows!(@ $tile, $function, 1 $(, $halves)?)
        }
    };
    (@ $tile:ident, $function:ident, $vectors:literal $(, $halves:ident)?) => {
        match $tile.rows {
            1 => $function::<1, $vectors $(, $halves)?>($tile),
            2 => $function::<2, $vectors $(, $halves)?>($tile),
            3 => $function::<3, $vectors $(, $halves)?>($tile),
            4 => $function::<4, $vectors $(, $halves)?>($tile),
            5 => $function::<5, $vectors $(, $halves)?>($tile),
            6 => $function::<6, $vectors $(, $halves)?>($tile),
            7 => $function::<7, $vectors $(, $halves)?>($tile),
            8 => $function::<8, $vectors $(, $halves)?>($tile),
            9 => $function::<9, $vectors $(, $halves)?>($tile),
            10 => $function::<10, $vectors $(, $halves)?>($tile),
            11 => $function::<11, $vectors $(, $halves)?>($tile),
            _ => $function::<12, $vectors $(, $halves)?>($tile),
        }
    };
}

#[target_feature(enable = "avx512f")]
unsafe fn run<const HALVES: bool>(tile: &Tile) {
    // SAFETY: by the caller's promise; rows are 1 to MR.
    unsafe { by_rows!(tile, rows, HALVES) }
}

#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn run_pairs(tile: &Tile) {
    // SAFETY: by the caller's promise; rows are 1 to MR.
    unsafe { by_rows!(tile, rows_pairs) }
}

pub static AVX512: Kernel = Kernel {
    name: "avx512",
    mr: MR,
    nr: NR,
    unit: 1,
    kc: 640, // see `near_step`
    task: (96, 256),
    strips: Strips::VECTORS,
    format_a: Format::Float,
    format_b: Format::Float,
    bf16: false,
    pack: super::pack::pack_avx512,
    enter: nothing,
    leave: far::fence,
    run: run::<false>,
};

/// Operands rounded to bfloat16, multiplied as fp32: for processors without bfloat16 instructions.
pub static AVX512_ROUNDED: Kernel = Kernel {
    name: "avx512-rounded",
    mr: MR,
    nr: NR,
    unit: 1,
    kc: 640, // see `near_step`
    task: (96, 256),
    strips: Strips::VECTORS,
    format_a: Format::Rounded,
    format_b: Format::Halves,
    bf16: false,
    pack: super::pack::pack_avx512,
    enter: nothing,
    leave: far::fence,
    run: run::<true>,
};

pub static AVX512_BF16: Kernel = Kernel {
    name: "avx512-bf16",
    mr: MR,
    nr: NR,
    unit: 2,
    kc: 512,
    task: (96, 256),
    strips: Strips::VECTORS,
    format_a: Format::Pairs,
    format_b: Format::Pairs,
    bf16: true,
    pack: super::pack_pairs::pack_pairs,
    enter: nothing,
    leave: far::fence,
    run: run_pairs,
};
