//! AMX: tiles of 32 × 32 from eight registers: four of sums, two of A, two of B, 32 steps of K at a time.
//!
//! The instructions are written as inline assembly, because their intrinsics are not stable. The compiler never uses
//! tile registers, so they keep their values between two blocks and need no mention as clobbered.

use super::avx512::write_row;
use super::kernel::{Format, Kernel, Tile};
use std::arch::asm;
use std::arch::x86_64::*;

const SIDE: usize = 32;

/// The operand of `ldtilecfg`: palette 1, eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    columns: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: Config = Config {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    columns: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

fn enter() {
    // SAFETY: the kernel is chosen only where the processor has AMX and the system permits it; the operand is valid.
    unsafe { asm!("ldtilecfg [{0}]", in(reg) &CONFIG, options(nostack, preserves_flags)) };
}

fn leave() {
    // SAFETY: as in `enter`.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags)) };
}

/// Sums of a tile before they are added to C.
#[repr(C, align(64))]
struct Sums([f32; SIDE * SIDE]);

#[target_feature(enable = "avx512f")]
unsafe fn run(tile: &Tile) {
    let mut sums = std::mem::MaybeUninit::<Sums>::uninit();
    let out: *mut f32 = sums.as_mut_ptr().cast();
    let steps = tile.k / 32;
    if steps == 0 {
        return;
    }
    if tile.rows > 16 {
        // SAFETY: reads `steps` times 2 KB of each panel, writes the 4 KB of `sums`.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{a} + {line}*1]",
                "tileloadd tmm6, [{b} + {line}*1]",
                "tileloadd tmm7, [{b} + {line}*1 + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{a} + {line}*1 + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a}, 2048",
                "add {b}, 2048",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{out} + {row}*1], tmm0",
                "tilestored [{out} + {row}*1 + 64], tmm1",
                "tilestored [{out} + {row}*1 + 2048], tmm2",
                "tilestored [{out} + {row}*1 + 2112], tmm3",
                a = inout(reg) tile.a => _,
                b = inout(reg) tile.b => _,
                steps = inout(reg) steps => _,
                line = in(reg) 64usize,
                row = in(reg) SIDE * 4,
                out = in(reg) out,
                options(nostack),
            );
        }
    } else {
        // SAFETY: reads `steps` times 1 KB (every other) of A's panel and 2 KB of B's, writes 2 KB of `sums`.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "2:",
                "tileloadd tmm4, [{a} + {line}*1]",
                "tileloadd tmm6, [{b} + {line}*1]",
                "tileloadd tmm7, [{b} + {line}*1 + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "add {a}, 2048",
                "add {b}, 2048",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{out} + {row}*1], tmm0",
                "tilestored [{out} + {row}*1 + 64], tmm1",
                a = inout(reg) tile.a => _,
                b = inout(reg) tile.b => _,
                steps = inout(reg) steps => _,
                line = in(reg) 64usize,
                row = in(reg) SIDE * 4,
                out = in(reg) out,
                options(nostack),
            );
        }
    }
    for row in 0..tile.rows {
        // SAFETY: rows up to `rows` of `sums` were written (32 or 16 of them), and the row exists in C with `cols` columns.
        unsafe {
            let from = out.add(row * SIDE);
            let sums = [_mm512_load_ps(from), _mm512_load_ps(from.add(16))];
            write_row(tile.c.add(row * tile.ldc), sums, tile.cols, tile.add);
        }
    }
}

pub static AMX: Kernel = Kernel {
    name: "amx",
    mr: SIDE,
    nr: SIDE,
    unit: 32,
    kc: 320, // a block of A and one of B, 20 KB each, share the first-level cache of 48 KB
    task: (256, 256),
    format_a: Format::TilesA,
    format_b: Format::TilesB,
    bf16: true,
    pack: super::pack::pack_avx512,
    enter,
    leave,
    run,
};
