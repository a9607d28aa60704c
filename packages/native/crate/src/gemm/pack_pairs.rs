//! Packing to pairs of bfloat16 with the processor's own conversion: the operands of `vdpbf16ps`.
//!
//! Rounds to nearest even, as `pack` does; numbers below the smallest normal one become 0, as they would in the product.

use super::kernel::Format;
use super::pack::{pack_avx512, Source};
use std::arch::x86_64::*;

/// Lanes that a vector holds.
const LANES: usize = 16;

/// Steps that rows are asked for ahead of their use, where lanes lie side by side.
const AHEAD: usize = 32;

/// # Safety
/// See `pack::pack_avx512`; the format is `Pairs`, and the processor has AVX-512 F, BW, VL, DQ and BF16.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub unsafe fn pack_pairs(source: &Source, format: Format, out: *mut u8) {
    debug_assert!(format == Format::Pairs && source.padded.is_multiple_of(2));
    // SAFETY: by the caller's promise.
    unsafe {
        if source.lane_stride == 1 || source.lanes == 1 {
            adjacent_lanes(source, out.cast());
        } else if source.k_stride == 1 {
            adjacent_steps(source, out.cast());
        } else {
            pack_avx512(source, format, out);
        }
    }
}

/// The lowest `count` of 16 lanes.
fn first(count: usize) -> __mmask16 {
    ((1u32 << count.min(LANES)) - 1) as __mmask16
}

/// Writes a vector of pairs at lane `lane` of step `pair`. What of it lies beyond the panel's width belongs to the next step, which is written
/// later; the last step of all is written exactly.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store(out: *mut i32, source: &Source, pair: usize, lane: usize, row: __m512i) {
    let (width, pairs) = (source.width, source.padded / 2);
    let at = pair * width + lane;
    // SAFETY: the panel holds `pairs * width` pairs.
    unsafe {
        if at + LANES <= pairs * width {
            _mm512_storeu_si512(out.add(at).cast(), row);
        } else {
            _mm512_mask_storeu_epi32(out.add(at), first(width - lane), row);
        }
    }
}

/// Lanes lie side by side: two steps are joined to pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn adjacent_lanes(source: &Source, out: *mut i32) {
    let Source { data, k_stride, lanes, width, k, padded, .. } = *source;
    // Words of the even step and of the odd one, in turn.
    let turn = _mm512_or_si512(
        _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
        _mm512_slli_epi32::<16>(_mm512_set_epi32(
            31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16,
        )),
    );
    for pair in 0..padded / 2 {
        for lane in (0..width).step_by(LANES) {
            let here = first(lanes.saturating_sub(lane));
            let load = |step: usize| {
                let next = data.wrapping_add((step + AHEAD) * k_stride + lane);
                _mm_prefetch::<_MM_HINT_T1>(next.cast());
                let mask = if step < k { here } else { 0 };
                // SAFETY: only lanes and steps that exist are read; the address itself may point past them.
                unsafe { _mm512_maskz_loadu_ps(mask, data.wrapping_add(step * k_stride + lane)) }
            };
            let both = _mm512_cvtne2ps_pbh(load(2 * pair + 1), load(2 * pair));
            // SAFETY: vectors of the same size; the step and the lane exist in the panel.
            unsafe {
                let both = std::mem::transmute::<__m512bh, __m512i>(both);
                store(out, source, pair, lane, _mm512_permutexvar_epi16(turn, both));
            }
        }
    }
}

/// Steps lie side by side: 16 lanes by 16 pairs are rounded, and transposed.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn adjacent_steps(source: &Source, out: *mut i32) {
    let Source { data, lane_stride, lanes, width, k, padded, .. } = *source;
    for start in (0..padded).step_by(2 * LANES) {
        let low = first(k.saturating_sub(start));
        let high = first(k.saturating_sub(start + LANES));
        for lane in (0..width).step_by(LANES) {
            let mut rows = [_mm512_setzero_si512(); LANES];
            for (index, row) in rows.iter_mut().enumerate() {
                if lane + index < lanes {
                    let from = data.wrapping_add((lane + index) * lane_stride + start);
                    let next = from.wrapping_add(width * lane_stride); // of the next panel
                    _mm_prefetch::<_MM_HINT_T1>(next.cast());
                    _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(LANES).cast());
                    // SAFETY: only steps of the lane that exist are read; vectors of the same size.
                    *row = unsafe {
                        let (a, b) = (
                            _mm512_maskz_loadu_ps(low, from),
                            _mm512_maskz_loadu_ps(high, from.wrapping_add(LANES)),
                        );
                        std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(b, a))
                    };
                }
            }
            let pairs = (padded - start).div_ceil(2).min(LANES);
            for (index, row) in transpose(rows).into_iter().enumerate().take(pairs) {
                // SAFETY: the step and the lane exist in the panel.
                unsafe { store(out, source, start / 2 + index, lane, row) };
            }
        }
    }
}

/// Sixteen vectors become their transpose.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut a = rows;
    // Inside blocks of 4 × 4 first, then the blocks.
    let mut b = a;
    for i in (0..16).step_by(2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for i in (0..16).step_by(4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    // a[4 g + c] holds columns c, 4 + c, 8 + c, 12 + c of the rows 4 g .. 4 g + 4.
    for c in 0..4 {
        b[c] = _mm512_shuffle_i32x4::<0x88>(a[c], a[4 + c]); // columns c and 8 + c of rows 0 .. 8
        b[4 + c] = _mm512_shuffle_i32x4::<0xdd>(a[c], a[4 + c]); // columns 4 + c and 12 + c
        b[8 + c] = _mm512_shuffle_i32x4::<0x88>(a[8 + c], a[12 + c]); // of rows 8 .. 16
        b[12 + c] = _mm512_shuffle_i32x4::<0xdd>(a[8 + c], a[12 + c]);
    }
    for c in 0..4 {
        a[c] = _mm512_shuffle_i32x4::<0x88>(b[c], b[8 + c]);
        a[8 + c] = _mm512_shuffle_i32x4::<0xdd>(b[c], b[8 + c]);
        a[4 + c] = _mm512_shuffle_i32x4::<0x88>(b[4 + c], b[12 + c]);
        a[12 + c] = _mm512_shuffle_i32x4::<0xdd>(b[4 + c], b[12 + c]);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::processor;
    use crate::gemm::choice::noise;

    /// Both packers give the same bits, and write nothing outside of the panel.
    #[test]
    fn pairs_are_those_of_the_general_packer() {
        if !processor().avx512_bf16 {
            return; // nothing to compare: the kernel that uses this is not chosen either
        }
        let data = noise(5, 40 * 80);
        for width in [12usize, 32] {
            for lanes in [1, 2, 7, 11, 12, 16, 17, 31, 32].into_iter().filter(|&lanes| lanes <= width) {
                for k in [1usize, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65] {
                    for (lane_stride, k_stride) in [(80, 1), (1, 40), (2, 41)] {
                        if (lanes - 1) * lane_stride + (k - 1) * k_stride >= data.len() {
                            continue;
                        }
                        for padded in [k.next_multiple_of(2), k.next_multiple_of(32)] {
                            let source = Source {
                                data: data.as_ptr(),
                                lane_stride,
                                k_stride,
                                lanes,
                                width,
                                k,
                                padded,
                            };
                            let mut found = vec![0xaaaa_5555u32; padded / 2 * width + 16];
                            let mut expected = found.clone();
                            // SAFETY: the source lies inside `data`, the results are long enough, the processor was asked.
                            unsafe {
                                pack_pairs(&source, Format::Pairs, found.as_mut_ptr().cast());
                                pack_avx512(&source, Format::Pairs, expected.as_mut_ptr().cast());
                            }
                            assert!(found == expected, "{lanes} of {width} lanes, {k} of {padded} steps, strides {lane_stride}, {k_stride}");
                        }
                    }
                }
            }
        }
    }
}
