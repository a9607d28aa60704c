//! Products in eight bits: integers with a scale for each [`GROUP`] steps of a lane.
//!
//! **Operands.** For a group of a lane, `scale = max |x| / 127` and `q = x · 127 / max |x|`, to nearest even. A number that is not finite makes the scale NaN,
//! and so every result that the group belongs to.
//!
//! **Product.** `Σ_groups (Σ qa qb) · (scale_a · scale_b)`. The inner sum is exact, and the outer one runs over the groups in their order, with every operation
//! rounded: all kernels give the same bits, whatever the processor.
//!
//! B is stored as `q + 128`, because `vpdpbusd` multiplies unsigned bytes by signed ones: `Σ (qb + 128) qa - 128 Σ qa`. What is taken off is packed with A.

use super::kernel::{nothing, Format, Kernel, Strips, Tile};
use super::pack::{Source, STEP};

#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "x86_64")]
pub use x86::{AVX2_BYTES, AVX512_VNNI};

/// Steps of K that share a scale.
pub const GROUP: usize = STEP;
/// Longest block of K: one for all kernels, so that they sum alike.
const BLOCK: usize = 512;
/// Steps whose products are summed by one instruction.
const QUAD: usize = 4;
/// Added to a number of less than 2²², it leaves the nearest integer in the lowest bits.
const MAGIC: f32 = 12_582_912.0;
/// A group of numbers that are all smaller counts as zeros: its inverse would be infinite.
const SMALLEST: f32 = 1e-35;

/// A group of a lane in eight bits.
struct Quantised {
    bytes: [i8; GROUP],
    scale: f32,
    sum: i32,
}

#[inline(always)]
fn quantise(x: &[f32; GROUP]) -> Quantised {
    // As bits, numbers without a sign are in the order of their values, and what is not finite is above them all: a maximum of integers needs no order of its own.
    let top = f32::from_bits(x.iter().fold(0, |top, x| top.max(x.to_bits() & 0x7fff_ffff)));
    let scale = if !top.is_finite() {
        f32::NAN
    } else if top > SMALLEST {
        top / 127.0
    } else {
        0.0
    };
    let inverse = if top > SMALLEST { 127.0 / top } else { 0.0 };
    let bytes = x.map(|x| (x * inverse + MAGIC).to_bits() as i8);
    Quantised { bytes, scale, sum: bytes.iter().map(|&q| i32::from(q)).sum() }
}

/// The group that begins with step `start`, to its place in a panel.
///
/// # Safety
/// See `pack`; `out` is the group's.
#[inline(always)]
pub(super) unsafe fn pack_group(source: &Source, start: usize, format: Format, out: &mut [u8]) {
    let Source { data, lane_stride, k_stride, lanes, width, k, .. } = *source;
    let steps = k.saturating_sub(start).min(GROUP);
    let right = format == Format::BytesB;
    if lanes < width {
        out.fill(0); // no scale: whatever the bytes stand for, they come to nothing
    }
    let (bytes, rest) = out.split_at_mut(GROUP * width);
    let (scales, starts) = rest.split_at_mut(4 * width);
    for lane in 0..lanes {
        let mut x = [0.0; GROUP];
        let from = data.wrapping_add(lane * lane_stride + start * k_stride);
        // SAFETY: the source has these steps of this lane.
        unsafe {
            if k_stride == 1 && steps == GROUP {
                x = from.cast::<[f32; GROUP]>().read_unaligned();
            } else {
                x[..steps].iter_mut().enumerate().for_each(|(step, x)| *x = *from.add(step * k_stride));
            }
        }
        let found = quantise(&x);
        let flip = if right { 0x8080_8080 } else { 0 };
        for (quad, bytes) in
            found.bytes.as_chunks::<QUAD>().0.iter().zip(bytes.chunks_exact_mut(QUAD * width))
        {
            let word = u32::from_le_bytes(quad.map(|q| q as u8)) ^ flip;
            bytes[QUAD * lane..][..QUAD].copy_from_slice(&word.to_le_bytes());
        }
        scales[4 * lane..][..4].copy_from_slice(&found.scale.to_ne_bytes());
        if !right {
            starts[4 * lane..][..4].copy_from_slice(&(-128 * found.sum).to_ne_bytes());
        }
    }
}

/// What a lane is after packing, by the definition.
pub(super) fn dequantised(lane: &[f32]) -> Vec<f64> {
    let group = |group: &[f32]| {
        let top = group.iter().fold(0f32, |top, x| top.max(x.abs()));
        let scale = f64::from(top / 127.0);
        let whole = |x: f32| f64::from((x * (127.0 / top)).round_ties_even()) * scale;
        group.iter().map(|&x| if top > 0.0 { whole(x) } else { 0.0 }).collect::<Vec<_>>()
    };
    lane.chunks(GROUP).flat_map(group).collect()
}

/// The group of a panel at `at`: its bytes, scales and, of A, where sums start.
///
/// # Safety
/// The panel has such a group of `W` lanes; `starts` of B is not read.
#[inline(always)]
unsafe fn group<const W: usize>(at: *const u8) -> (*const u8, *const f32, *const i32) {
    // SAFETY: by the caller's promise; all sizes are multiples of four bytes.
    unsafe { (at, at.add(GROUP * W).cast(), at.add((GROUP + 4) * W).cast()) }
}

/// The sums of a row to C.
///
/// # Safety
/// The tile is valid, and has this row.
#[inline(always)]
unsafe fn write(tile: &Tile, row: usize, totals: &[f32]) {
    // SAFETY: by the caller's promise.
    let c = unsafe { std::slice::from_raw_parts_mut(tile.c.add(row * tile.ldc), tile.cols) };
    for (c, &total) in c.iter_mut().zip(totals) {
        *c = if tile.add { *c + total } else { total };
    }
}

const MR: usize = 4;
const NR: usize = 16;

/// Plain Rust.
unsafe fn run_portable(tile: &Tile) {
    let mut totals = [[0f32; NR]; MR];
    for index in 0..tile.k / GROUP {
        // SAFETY: the panels hold this group, of `MR` and of `NR` lanes.
        let ((a, scales_a, starts), (b, scales_b, _)) = unsafe {
            let at = |format: Format, width: usize| format.bytes(index * GROUP * width);
            (group::<MR>(tile.a.add(at(Format::BytesA, MR))), group::<NR>(tile.b.add(at(Format::BytesB, NR))))
        };
        // SAFETY: as above.
        let (scales_a, starts, scales_b) = unsafe {
            (*scales_a.cast::<[f32; MR]>(), *starts.cast::<[i32; MR]>(), *scales_b.cast::<[f32; NR]>())
        };
        // SAFETY: as above.
        let (a, b) = unsafe {
            (
                std::slice::from_raw_parts(a.cast::<[[i8; QUAD]; MR]>(), GROUP / QUAD),
                std::slice::from_raw_parts(b.cast::<[[u8; QUAD]; NR]>(), GROUP / QUAD),
            )
        };
        let mut sums = starts.map(|start| [start; NR]);
        for (a, b) in a.iter().zip(b) {
            for (sums, a) in sums.iter_mut().zip(a) {
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum += (0..QUAD).map(|i| i32::from(a[i]) * i32::from(b[i])).sum::<i32>();
                }
            }
        }
        for ((totals, sums), scale) in totals.iter_mut().zip(sums).zip(scales_a) {
            for ((total, sum), scale_b) in totals.iter_mut().zip(sums).zip(scales_b) {
                *total += sum as f32 * (scale * scale_b);
            }
        }
    }
    for (row, totals) in totals.iter().enumerate().take(tile.rows) {
        // SAFETY: the row exists.
        unsafe { write(tile, row, totals) };
    }
}

pub static PORTABLE_BYTES: Kernel = Kernel {
    name: "portable-int8",
    mr: MR,
    nr: NR,
    unit: GROUP,
    kc: BLOCK,
    task: (96, 256),
    strips: Strips::VECTORS,
    format_a: Format::BytesA,
    format_b: Format::BytesB,
    bf16: false,
    pack: super::pack::pack_portable,
    enter: nothing,
    leave: nothing,
    run: run_portable,
};

#[cfg(test)]
mod tests;
