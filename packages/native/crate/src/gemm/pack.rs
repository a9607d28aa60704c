//! Packing: from any strides to the panels that a micro-kernel reads from start to end.
//!
//! Two stages. First the elements come into the order `[k][width]` as fp32, by copying where the panel's rows are
//! adjacent in memory, by transposing 8 × 8 blocks where K is. Then, for the bfloat16 formats, they are rounded and
//! rearranged, 32 steps of K at a time, in a buffer that stays in the first-level cache. Eight bits are made of a lane at a time: see `int8`.

use super::int8::{pack_group, GROUP};
use super::kernel::Format;
use crate::dtype::{bf16_bits, round_bf16};

/// Widest panel.
pub const MAX_WIDTH: usize = 32;
/// Steps of K that pass through the buffer at a time; K blocks handed to `pack` start at multiples of it.
pub const STEP: usize = 32;

/// A part of an operand: `lanes` rows of A (or columns of B) by `k` steps. Element (lane, k) is `data[lane * lane_stride + k * k_stride]`.
#[derive(Clone, Copy)]
pub struct Source {
    pub data: *const f32,
    pub lane_stride: usize,
    pub k_stride: usize,
    /// Lanes that exist; the rest of the panel is zero.
    pub lanes: usize,
    /// Lanes of the panel.
    pub width: usize,
    /// Steps that exist; up to `padded` the panel is zero.
    pub k: usize,
    pub padded: usize,
}

impl Source {
    /// The steps `start .. start + k`, of which the part beyond the end is padding.
    fn steps(&self, start: usize, k: usize) -> Source {
        Source {
            // SAFETY: only offset here; where `k` below is 0 it is not read, elsewhere it lies inside the operand.
            data: if start < self.k { unsafe { self.data.add(start * self.k_stride) } } else { self.data },
            k: self.k.saturating_sub(start).min(k),
            padded: k,
            ..*self
        }
    }
}

/// First stage: fp32 in the order `[k][width]`.
///
/// # Safety
/// The source is valid as described, `out` for `padded * width` floats.
#[inline(always)]
unsafe fn gather(source: &Source, out: *mut f32, transpose: unsafe fn(&Source, *mut f32) -> usize) {
    let Source { data, lane_stride, k_stride, lanes, width, k, padded } = *source;
    let mut done = 0;
    // SAFETY: indices stay below `k` and `lanes` for the source, and below `padded * width` for `out`.
    unsafe {
        if lane_stride == 1 || lanes == 1 {
            if lanes == width {
                match width {
                    6 => copy_rows::<6>(source, out),
                    12 => copy_rows::<12>(source, out),
                    16 => copy_rows::<16>(source, out),
                    32 => copy_rows::<32>(source, out),
                    _ => (0..k).for_each(|step| {
                        std::ptr::copy_nonoverlapping(data.add(step * k_stride), out.add(step * width), width)
                    }),
                }
            } else {
                for step in 0..k {
                    let row = out.add(step * width);
                    std::ptr::copy_nonoverlapping(data.add(step * k_stride), row, lanes);
                    std::ptr::write_bytes(row.add(lanes), 0, width - lanes);
                }
            }
            done = k;
        } else if k_stride == 1 {
            done = transpose(source, out);
        }
        for step in done..k {
            for lane in 0..width {
                *out.add(step * width + lane) =
                    if lane < lanes { *data.add(lane * lane_stride + step * k_stride) } else { 0.0 };
            }
        }
        std::ptr::write_bytes(out.add(k * width), 0, (padded - k) * width);
    }
}

#[inline(always)]
unsafe fn copy_rows<const W: usize>(source: &Source, out: *mut f32) {
    for step in 0..source.k {
        // SAFETY: as in `gather`; `[f32; W]` has the alignment of f32.
        unsafe {
            *out.cast::<[f32; W]>().add(step) = *source.data.add(step * source.k_stride).cast::<[f32; W]>()
        };
    }
}

/// Both stages.
///
/// # Safety
/// The source is valid as described; `out` for `padded * width` elements of the format; `padded` suits the format.
#[inline(always)]
unsafe fn pack(
    source: &Source,
    format: Format,
    out: *mut u8,
    transpose: unsafe fn(&Source, *mut f32) -> usize,
) {
    let width = source.width;
    debug_assert!(width <= MAX_WIDTH && source.lanes <= width && source.k <= source.padded);
    if format == Format::Float || format == Format::Rounded {
        // SAFETY: by the caller's promise.
        unsafe { gather(source, out.cast(), transpose) };
        if format == Format::Rounded {
            // SAFETY: just initialised.
            let all = unsafe { std::slice::from_raw_parts_mut(out.cast::<f32>(), source.padded * width) };
            all.iter_mut().for_each(|x| *x = round_bf16(*x));
        }
        return;
    }
    if format == Format::BytesA || format == Format::BytesB {
        let size = format.bytes(GROUP * width);
        for start in (0..source.padded).step_by(GROUP) {
            // SAFETY: `out` has room for each group.
            unsafe {
                let out = std::slice::from_raw_parts_mut(out.add(start / GROUP * size), size);
                pack_group(source, start, format, out);
            }
        }
        return;
    }
    let mut buffer = std::mem::MaybeUninit::<[f32; STEP * MAX_WIDTH]>::uninit();
    let buffer: *mut f32 = buffer.as_mut_ptr().cast();
    for start in (0..source.padded).step_by(STEP) {
        let steps = STEP.min(source.padded - start);
        let part = source.steps(start, steps);
        // SAFETY: `out` has room for all steps; each is `width` elements of 2 bytes.
        let out = unsafe { out.cast::<u16>().add(start * width) };
        // SAFETY: the buffer holds `STEP * MAX_WIDTH` floats, and `out` `steps * width` elements.
        unsafe {
            gather(&part, buffer, transpose);
            let rows = std::slice::from_raw_parts(buffer, steps * width);
            // An even width or number of steps: elements come in pairs.
            let out = std::slice::from_raw_parts_mut(out.cast::<u32>(), steps * width / 2);
            match format {
                Format::Halves => halves(rows, width, out),
                Format::TilesB => {
                    for (tile, out) in out.chunks_exact_mut(256).enumerate() {
                        pairs(rows, width, tile * 16, 16, out);
                    }
                }
                Format::TilesA => {
                    for (tile, out) in out.chunks_exact_mut(256).enumerate() {
                        let mut turned = [0u32; 256]; // [16 pairs][16 rows]
                        pairs(rows, width, tile * 16, 16, &mut turned);
                        // Pairs are moved as if they were floats: only their bits count.
                        let data = turned.as_ptr().cast::<f32>();
                        let turned = Source {
                            data,
                            lane_stride: 16,
                            k_stride: 1,
                            lanes: 16,
                            width: 16,
                            k: 16,
                            padded: 16,
                        };
                        gather(&turned, out.as_mut_ptr().cast(), transpose);
                    }
                }
                _ => pairs(rows, width, 0, width, out),
            }
        }
    }
}

/// `[k][width]` fp32, lanes `first .. first + lanes` → `[k / 2][lanes]` pairs of bfloat16, the even step in the low half.
#[inline(always)]
fn pairs(rows: &[f32], width: usize, first: usize, lanes: usize, out: &mut [u32]) {
    for (two, out) in rows.chunks_exact(2 * width).zip(out.chunks_exact_mut(lanes)) {
        let (even, odd) = (&two[first..first + lanes], &two[width + first..width + first + lanes]);
        for ((pair, &even), &odd) in out.iter_mut().zip(even).zip(odd) {
            *pair = pair_bits(even, odd);
        }
    }
}

/// `[k][width]` fp32 → `[k][width / 2]` pairs of bfloat16, the first half of the lanes in the low halves.
#[inline(always)]
fn halves(rows: &[f32], width: usize, out: &mut [u32]) {
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(width / 2)) {
        let (low, high) = row.split_at(width / 2);
        for ((pair, &low), &high) in out.iter_mut().zip(low).zip(high) {
            *pair = pair_bits(low, high);
        }
    }
}

#[inline(always)]
fn pair_bits(low: f32, high: f32) -> u32 {
    bf16_bits(low) as u32 | (bf16_bits(high) as u32) << 16
}

unsafe fn no_transpose(_: &Source, _: *mut f32) -> usize {
    0
}

/// # Safety
/// See `pack`.
pub unsafe fn pack_portable(source: &Source, format: Format, out: *mut u8) {
    // SAFETY: by the caller's promise.
    unsafe { pack(source, format, out, no_transpose) }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{pack_avx2, pack_avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{pack, Source};
    use crate::gemm::kernel::Format;
    use std::arch::x86_64::*;

    /// # Safety
    /// See `pack`; the processor has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn pack_avx2(source: &Source, format: Format, out: *mut u8) {
        // SAFETY: by the caller's promise.
        unsafe { pack(source, format, out, transpose) }
    }

    /// # Safety
    /// See `pack`; the processor has AVX-512 F, BW, VL and DQ.
    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq")]
    pub unsafe fn pack_avx512(source: &Source, format: Format, out: *mut u8) {
        // SAFETY: by the caller's promise.
        unsafe { pack(source, format, out, transpose) }
    }

    /// Eight vectors become their transpose.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn transpose8(rows: [__m256; 8]) -> [__m256; 8] {
        let [a, b, c, d, e, f, g, h] = rows;
        let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        let (ef_low, ef_high) = (_mm256_unpacklo_ps(e, f), _mm256_unpackhi_ps(e, f));
        let (gh_low, gh_high) = (_mm256_unpacklo_ps(g, h), _mm256_unpackhi_ps(g, h));
        let abcd = [
            _mm256_shuffle_ps::<0x44>(ab_low, cd_low),
            _mm256_shuffle_ps::<0xee>(ab_low, cd_low),
            _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
            _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
        ];
        let efgh = [
            _mm256_shuffle_ps::<0x44>(ef_low, gh_low),
            _mm256_shuffle_ps::<0xee>(ef_low, gh_low),
            _mm256_shuffle_ps::<0x44>(ef_high, gh_high),
            _mm256_shuffle_ps::<0xee>(ef_high, gh_high),
        ];
        [
            _mm256_permute2f128_ps::<0x20>(abcd[0], efgh[0]),
            _mm256_permute2f128_ps::<0x20>(abcd[1], efgh[1]),
            _mm256_permute2f128_ps::<0x20>(abcd[2], efgh[2]),
            _mm256_permute2f128_ps::<0x20>(abcd[3], efgh[3]),
            _mm256_permute2f128_ps::<0x31>(abcd[0], efgh[0]),
            _mm256_permute2f128_ps::<0x31>(abcd[1], efgh[1]),
            _mm256_permute2f128_ps::<0x31>(abcd[2], efgh[2]),
            _mm256_permute2f128_ps::<0x31>(abcd[3], efgh[3]),
        ]
    }

    /// Packs the whole groups of 8 steps of a source with adjacent K, and says how many steps that were.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn transpose(source: &Source, out: *mut f32) -> usize {
        let Source { data, lane_stride, lanes, width, k, .. } = *source;
        let steps = k / 8 * 8;
        let zero = _mm256_setzero_ps();
        for start in (0..steps).step_by(8) {
            for first in (0..width).step_by(8) {
                let mut rows = [zero; 8];
                for (lane, row) in rows.iter_mut().enumerate() {
                    if first + lane < lanes {
                        // SAFETY: the lane exists and has `start + 8 <= k` adjacent steps.
                        *row = unsafe { _mm256_loadu_ps(data.add((first + lane) * lane_stride + start)) };
                    }
                }
                let used = (width - first).min(8);
                for (step, row) in transpose8(rows).into_iter().enumerate() {
                    // SAFETY: `used` floats are written inside row `start + step` of `out`.
                    unsafe { store(out.add((start + step) * width + first), row, used) };
                }
            }
        }
        steps
    }

    /// Stores the first `used` lanes: 8, 6 or 4.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn store(out: *mut f32, row: __m256, used: usize) {
        // SAFETY: `out` holds `used` floats.
        unsafe {
            match used {
                8 => _mm256_storeu_ps(out, row),
                6 => {
                    _mm_storeu_ps(out, _mm256_castps256_ps128(row));
                    _mm_storel_pd(out.add(4).cast(), _mm_castps_pd(_mm256_extractf128_ps::<1>(row)));
                }
                4 => _mm_storeu_ps(out, _mm256_castps256_ps128(row)),
                _ => {
                    let mut lanes = [0f32; 8];
                    _mm256_storeu_ps(lanes.as_mut_ptr(), row);
                    std::ptr::copy_nonoverlapping(lanes.as_ptr(), out, used);
                }
            }
        }
    }
}
