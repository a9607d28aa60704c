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
pub(super) fn first(count: usize) -> __mmask16 {
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
    // SAFETY: the panel is full, and steps of which all exist are taken.
    let done = unsafe {
        match width {
            12 if lanes == 12 => lanes_12(source, out),
            32 if lanes == 32 => lanes_32(source, out),
            _ => 0,
        }
    };
    let turn = words(&TURN[0]);
    for pair in done / 2..padded / 2 {
        for lane in (0..width).step_by(LANES) {
            let here = first(lanes.saturating_sub(lane));
            let load = |step: usize| {
                let mask = if step < k { here } else { 0 };
                // SAFETY: only lanes and steps that exist are read; the address itself may point past them.
                unsafe { _mm512_maskz_loadu_ps(mask, data.wrapping_add(step * k_stride + lane)) }
            };
            let both = join(load(2 * pair), load(2 * pair + 1));
            // SAFETY: the step and the lane exist in the panel.
            unsafe { store(out, source, pair, lane, _mm512_permutexvar_epi16(turn, both)) };
        }
    }
}

/// Two vectors, rounded: the first one's words, then the second one's.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn join(even: __m512, odd: __m512) -> __m512i {
    // SAFETY: vectors of the same size.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(odd, even)) }
}

/// Words for `permutexvar` and `permutex2var`. `TURN[0]`: words of an even step and of an odd one, joined by `join`, in turn. The others make three
/// vectors of four pairs of twelve lanes, each of two pairs that follow one another.
pub(super) const TURN: [[u16; 32]; 4] = {
    let mut turn = [[0; 32]; 4];
    let mut at = 0;
    while at < 32 {
        let half = 16 * (at % 2);
        turn[0][at] = (at / 2 + half) as u16;
        let mut part = 0;
        while part < 3 {
            let place = 16 * part + at / 2; // of the 48
            let (pair, lane) = (place / 12, place % 12);
            turn[1 + part][at] = (32 * (pair - part) + lane + half) as u16;
            part += 1;
        }
        at += 1;
    }
    turn
};

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn words(turn: &[u16; 32]) -> __m512i {
    // SAFETY: as many bytes.
    unsafe { _mm512_loadu_si512(turn.as_ptr().cast()) }
}

/// The steps of a full panel of 32 lanes, but for an odd one: so many are done.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn lanes_32(source: &Source, out: *mut i32) -> usize {
    let Source { data, k_stride, k, .. } = *source;
    let turn = words(&TURN[0]);
    for pair in 0..k / 2 {
        // SAFETY: both steps exist, with 32 lanes, and so does the pair in the panel.
        unsafe {
            let even = data.add(2 * pair * k_stride);
            let odd = even.add(k_stride);
            for lane in [0, LANES] {
                soon(even.wrapping_add(AHEAD * k_stride + lane));
                soon(odd.wrapping_add(AHEAD * k_stride + lane));
                let both = join(_mm512_loadu_ps(even.add(lane)), _mm512_loadu_ps(odd.add(lane)));
                _mm512_storeu_si512(out.add(pair * 32 + lane).cast(), _mm512_permutexvar_epi16(turn, both));
            }
        }
    }
    k / 2 * 2
}

/// The steps of a full panel of 12 lanes, by eights: so many are done.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn lanes_12(source: &Source, out: *mut i32) -> usize {
    let Source { data, k_stride, k, .. } = *source;
    let turn: [__m512i; 3] = std::array::from_fn(|part| words(&TURN[1 + part]));
    for eight in 0..k / 8 {
        let data = data.wrapping_add(8 * eight * k_stride);
        // SAFETY: only the 12 lanes of steps that exist are read.
        let load = |step: usize| unsafe {
            let at = data.wrapping_add(step * k_stride);
            soon(at.wrapping_add(AHEAD * k_stride));
            _mm512_maskz_loadu_ps(0xfff, at)
        };
        let pairs =
            [join(load(0), load(1)), join(load(2), load(3)), join(load(4), load(5)), join(load(6), load(7))];
        for (part, &turn) in turn.iter().enumerate() {
            let row = _mm512_permutex2var_epi16(pairs[part], turn, pairs[part + 1]);
            // SAFETY: four pairs of the panel are 48 numbers.
            unsafe { _mm512_storeu_si512(out.add(48 * eight + 16 * part).cast(), row) };
        }
    }
    k / 8 * 8
}

#[inline(always)]
fn soon(address: *const f32) {
    // SAFETY: a prefetch reads nothing.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) };
}

/// Steps lie side by side: 16 lanes by 16 pairs are rounded, and transposed.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn adjacent_steps(source: &Source, out: *mut i32) {
    let Source { data, lane_stride, lanes, width, k, padded, .. } = *source;
    for start in (0..padded).step_by(2 * LANES) {
        let (data, out_here) = (data.wrapping_add(start), out.wrapping_add(start / 2 * width));
        if start + 2 * LANES <= k && lanes == width && (width == 12 || width == 32) {
            // SAFETY: the panel is full, and 32 steps exist; so do their pairs in the panel.
            unsafe {
                if width == 12 {
                    steps_12(data, lane_stride, out_here);
                } else {
                    steps_16(data, lane_stride, out_here);
                    steps_16(data.add(LANES * lane_stride), lane_stride, out_here.add(LANES));
                }
            }
            continue;
        }
        let low = first(k.saturating_sub(start));
        let high = first(k.saturating_sub(start + LANES));
        for lane in (0..width).step_by(LANES) {
            let mut rows = [_mm512_setzero_si512(); LANES];
            for (index, row) in rows.iter_mut().enumerate() {
                if lane + index < lanes {
                    let from = data.wrapping_add((lane + index) * lane_stride);
                    // SAFETY: only steps of the lane that exist are read.
                    *row = unsafe {
                        join(
                            _mm512_maskz_loadu_ps(low, from),
                            _mm512_maskz_loadu_ps(high, from.wrapping_add(LANES)),
                        )
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

/// 32 steps of the lane at `from`, rounded.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn lane_steps(from: *const f32) -> __m512i {
    // SAFETY: by the caller's promise.
    unsafe { join(_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(LANES))) }
}

/// 16 lanes by 32 steps, into a panel of 32 lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn steps_16(data: *const f32, lane_stride: usize, out: *mut i32) {
    let rows: [__m512i; 16] = std::array::from_fn(|lane| {
        // SAFETY: the lane has so many steps.
        unsafe { lane_steps(data.add(lane * lane_stride)) }
    });
    for (pair, row) in transpose(rows).into_iter().enumerate() {
        // SAFETY: the pair exists in the panel.
        unsafe { _mm512_storeu_si512(out.add(32 * pair).cast(), row) };
    }
}

/// 12 lanes by 32 steps, into a panel of 12 lanes: twelve whole vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn steps_12(data: *const f32, lane_stride: usize, out: *mut i32) {
    let rows: [__m512i; 12] = std::array::from_fn(|lane| {
        // SAFETY: the lane has so many steps.
        unsafe { lane_steps(data.add(lane * lane_stride)) }
    });
    // In its quarter `q`, `turned[4 g + c]` holds pair 4 q + c of the lanes 4 g .. 4 g + 4.
    let turned: [__m512i; 12] = {
        let four = |g: usize| fours([rows[4 * g], rows[4 * g + 1], rows[4 * g + 2], rows[4 * g + 3]]);
        let [a, b, c] = [four(0), four(1), four(2)];
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3]]
    };
    // The quarters follow one another in the panel by pair, and by lane inside of a pair.
    for part in 0..3 {
        let [s0, s1, s2, s3]: [__m512i; 4] = std::array::from_fn(|i| {
            let chunk = 4 * part + i;
            turned[4 * (chunk % 3) + chunk / 3]
        });
        let (low, high) = (_mm512_shuffle_i32x4::<0x44>(s0, s1), _mm512_shuffle_i32x4::<0xee>(s0, s1));
        let (low2, high2) = (_mm512_shuffle_i32x4::<0x44>(s2, s3), _mm512_shuffle_i32x4::<0xee>(s2, s3));
        let quarters = [
            _mm512_shuffle_i32x4::<0x88>(low, low2),
            _mm512_shuffle_i32x4::<0xdd>(low, low2),
            _mm512_shuffle_i32x4::<0x88>(high, high2),
            _mm512_shuffle_i32x4::<0xdd>(high, high2),
        ];
        for (quarter, row) in quarters.into_iter().enumerate() {
            // SAFETY: sixteen pairs of the panel are 192 numbers.
            unsafe { _mm512_storeu_si512(out.add(48 * quarter + 16 * part).cast(), row) };
        }
    }
}

/// In each quarter of four vectors, blocks of 4 × 4 become their transpose.
#[inline]
#[target_feature(enable = "avx512f")]
fn fours([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// Sixteen vectors become their transpose.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
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
