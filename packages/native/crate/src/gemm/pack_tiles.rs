//! Packing to tiles of bfloat16 with the processor's own conversion: the operands of `tdpbf16ps`.
//!
//! A tile of A is sixteen lanes by 32 steps as they lie, one of B sixteen pairs of steps by sixteen lanes. Rounds to nearest even, as `pack` does;
//! numbers below the smallest normal one become 0, as they would in the product.

use super::kernel::Format;
use super::pack::{pack_avx512, Source};
use super::pack_pairs::{first, join, transpose, words, TURN};
use crate::memory::ask_second;
use std::arch::x86_64::*;

/// Lanes of a tile.
const LANES: usize = 16;
/// Steps of a tile.
const STEPS: usize = 32;
/// Steps that rows are asked for ahead of their use, where lanes lie side by side.
const AHEAD: usize = 32;

/// # Safety
/// See `pack::pack_avx512`; the format is one of tiles, and the processor has AVX-512 F, BW, VL, DQ and BF16.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub unsafe fn pack_tiles(source: &Source, format: Format, out: *mut u8) {
    debug_assert!(matches!(format, Format::TilesA | Format::TilesB) && source.padded.is_multiple_of(STEPS));
    let lanes_adjacent = source.lane_stride == 1 || source.lanes == 1;
    if !lanes_adjacent && source.k_stride != 1 {
        // SAFETY: by the caller's promise.
        return unsafe { pack_avx512(source, format, out) };
    }
    let out = out.cast::<u16>();
    for start in (0..source.padded).step_by(STEPS) {
        for first in (0..source.width).step_by(LANES) {
            let lanes = source.lanes.saturating_sub(first).min(LANES);
            if lanes == 0 && format == Format::TilesA {
                break; // the kernel does not read it
            }
            let part = Part {
                data: source.data.wrapping_add(first * source.lane_stride + start * source.k_stride),
                stride: if lanes_adjacent { source.k_stride } else { source.lane_stride },
                lanes,
                steps: source.k.saturating_sub(start).min(STEPS),
            };
            let way = (format == Format::TilesA, lanes_adjacent);
            // SAFETY: the panel holds `padded * width` numbers; a whole tile has all lanes and steps.
            unsafe {
                let out = out.add(start * source.width + first * STEPS);
                match part.lanes == LANES && part.steps == STEPS {
                    true => tile::<true>(&part, way, out),
                    false => tile::<false>(&part, way, out),
                }
            }
        }
    }
}

/// What a tile is made of: at most sixteen lanes and 32 steps.
struct Part {
    data: *const f32,
    /// From a step to the next where lanes are adjacent, else from a lane to the next.
    stride: usize,
    lanes: usize,
    steps: usize,
}

/// The 32 steps of a lane. `WHOLE`: all lanes and steps exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn by_lane<const WHOLE: bool>(part: &Part, lane: usize) -> __m512i {
    let Part { data, stride, lanes, steps } = *part;
    let from = data.wrapping_add(lane * stride);
    // SAFETY: only steps that exist are read; the address itself may point past them.
    unsafe {
        if WHOLE {
            return join(_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(LANES)));
        }
        let steps = if lane < lanes { steps } else { 0 };
        let high = _mm512_maskz_loadu_ps(first(steps.saturating_sub(LANES)), from.wrapping_add(LANES));
        join(_mm512_maskz_loadu_ps(first(steps), from), high)
    }
}

/// A pair of steps of all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn by_pair<const WHOLE: bool>(part: &Part, pair: usize) -> __m512i {
    let Part { data, stride, lanes, steps } = *part;
    let load = |step: usize| {
        let from = data.wrapping_add(step * stride);
        ask_second(from.wrapping_add(AHEAD * stride).cast());
        // SAFETY: only lanes and steps that exist are read; the address itself may point past them.
        unsafe {
            match WHOLE {
                true => _mm512_loadu_ps(from),
                false => _mm512_maskz_loadu_ps(if step < steps { first(lanes) } else { 0 }, from),
            }
        }
    };
    _mm512_permutexvar_epi16(words(&TURN[0]), join(load(2 * pair), load(2 * pair + 1)))
}

/// A tile of sixteen vectors: `(of A, lanes adjacent)` says which way.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn tile<const WHOLE: bool>(part: &Part, way: (bool, bool), out: *mut u16) {
    // SAFETY: by the caller's promise: the tile holds sixteen vectors, and only lanes and steps that exist are read.
    unsafe {
        match way {
            (true, false) => (0..LANES).for_each(|at| store(out, at, by_lane::<WHOLE>(part, at))),
            (false, true) => (0..LANES).for_each(|at| store(out, at, by_pair::<WHOLE>(part, at))),
            (true, true) => all(out, transpose(std::array::from_fn(|at| by_pair::<WHOLE>(part, at)))),
            (false, false) => all(out, transpose(std::array::from_fn(|at| by_lane::<WHOLE>(part, at)))),
        }
    }
}

/// Vector `at` of a tile.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store(out: *mut u16, at: usize, row: __m512i) {
    // SAFETY: the tile holds sixteen vectors.
    unsafe { _mm512_storeu_si512(out.add(32 * at).cast(), row) };
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn all(out: *mut u16, rows: [__m512i; LANES]) {
    for (at, row) in rows.into_iter().enumerate() {
        // SAFETY: as in `store`.
        unsafe { store(out, at, row) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::processor;
    use crate::gemm::choice::noise;

    /// Both packers give the same bits, and write nothing outside of the panel.
    #[test]
    fn tiles_are_those_of_the_general_packer() {
        if !processor().avx512_bf16 {
            return; // nothing to compare: the kernel that uses this is not chosen either
        }
        let data = noise(5, 40 * 120);
        for format in [Format::TilesA, Format::TilesB] {
            for lanes in [1, 2, 7, 15, 16, 17, 31, 32] {
                for k in [1usize, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100] {
                    for (lane_stride, k_stride) in [(120, 1), (1, 40), (2, 41)] {
                        if (lanes - 1) * lane_stride + (k - 1) * k_stride >= data.len() {
                            continue;
                        }
                        let padded = k.next_multiple_of(32);
                        let source = Source {
                            data: data.as_ptr(),
                            lane_stride,
                            k_stride,
                            lanes,
                            width: 32,
                            k,
                            padded,
                        };
                        let mut found = vec![0xaaaa_5555u32; padded / 2 * 32 + 16];
                        let mut expected = found.clone();
                        // SAFETY: the source lies inside `data`, the results are long enough, the processor was asked.
                        unsafe {
                            pack_tiles(&source, format, found.as_mut_ptr().cast());
                            pack_avx512(&source, format, expected.as_mut_ptr().cast());
                        }
                        // A tile of A without any lane is not read.
                        let read = |at: usize| {
                            format == Format::TilesB || lanes > 16 || (at / 256).is_multiple_of(2)
                        };
                        let differs =
                            |at: usize| found[at] != expected[at] && (read(at) || at >= padded / 2 * 32);
                        assert!(
                            !(0..found.len()).any(differs),
                            "{format:?}: {lanes} lanes, {k} steps, strides {lane_stride}, {k_stride}"
                        );
                    }
                }
            }
        }
    }
}
