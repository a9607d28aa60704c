//! AMX: tiles of 32 × 32 from eight registers: four of sums, two of A, two of B, 32 steps of K at a time.
//!
//! The instructions are written as inline assembly, because their intrinsics are not stable. The compiler never uses
//! tile registers, so they keep their values between two blocks and need no mention as clobbered.

use super::kernel::{Format, Kernel, Strips, Tile};
use std::arch::asm;
use std::arch::x86_64::{_mm512_load_ps, _mm512_stream_ps, _mm_sfence};

const SIDE: usize = 32;
/// Steps of K of an instruction.
const STEPS: usize = 32;

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
    // What went past the caches is there for other threads. SAFETY: every such processor has the instruction.
    unsafe { _mm_sfence() };
}

/// A tile of C that lacks rows or columns, or that goes past the caches, is computed here.
#[repr(C, align(64))]
struct Sums([f32; SIDE * SIDE]);

/// Lines of assembly.
macro_rules! lines {
    ($($line:expr),* $(,)?) => { concat!($($line, "\n"),*) };
}

/// The sums from zero or from C, all steps of K, and the sums to C, of which the rows are `$row` bytes apart. `$ask` asks for memory at `{next}` in each step, and goes on.
macro_rules! sums {
    ($tile:ident, $c:ident, $row:ident, $next:expr, [$($from:expr),*], [$($step:expr),*], [$($ask:expr),*], [$($to:expr),*]) => {
        asm!(
            lines!($($from),*),
            "2:",
            lines!($($step),*),
            lines!($($ask),*),
            "add {a}, 2048",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 2b",
            lines!($($to),*),
            "/* {low} */",
            a = inout(reg) $tile.a => _,
            b = inout(reg) $tile.b => _,
            next = inout(reg) $next => _,
            steps = inout(reg) $tile.k / STEPS => _,
            line = in(reg) 64usize,
            row = in(reg) $row,
            c = in(reg) $c,
            low = in(reg) $c.wrapping_byte_add(16 * $row),
            options(nostack),
        )
    };
}

/// `sums!` for 17 to 32 rows.
macro_rules! four {
    ($tile:ident, $c:ident, $row:ident, $next:expr, $from:tt, $ask:tt) => {
        sums!(
            $tile,
            $c,
            $row,
            $next,
            $from,
            [
                "tileloadd tmm4, [{a} + {line}*1]",
                "tileloadd tmm6, [{b} + {line}*1]",
                "tileloadd tmm5, [{a} + {line}*1 + 1024]",
                "tileloadd tmm7, [{b} + {line}*1 + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7"
            ],
            $ask,
            [
                "tilestored [{c} + {row}*1], tmm0",
                "tilestored [{c} + {row}*1 + 64], tmm1",
                "tilestored [{low} + {row}*1], tmm2",
                "tilestored [{low} + {row}*1 + 64], tmm3"
            ]
        )
    };
}

/// `sums!` for at most 16 rows.
macro_rules! two {
    ($tile:ident, $c:ident, $row:ident, $next:expr, $from:tt, $ask:tt) => {
        sums!(
            $tile,
            $c,
            $row,
            $next,
            $from,
            [
                "tileloadd tmm4, [{a} + {line}*1]",
                "tileloadd tmm6, [{b} + {line}*1]",
                "tileloadd tmm7, [{b} + {line}*1 + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7"
            ],
            $ask,
            ["tilestored [{c} + {row}*1], tmm0", "tilestored [{c} + {row}*1 + 64], tmm1"]
        )
    };
}

/// How many rows, and where the sums come from.
macro_rules! by_rows {
    ($tile:ident, $c:ident, $row:ident, $next:expr, $ask:tt) => {
        match ($tile.rows > SIDE / 2, $tile.add) {
            (true, false) => four!(
                $tile,
                $c,
                $row,
                $next,
                ["tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3"],
                $ask
            ),
            (true, true) => four!(
                $tile,
                $c,
                $row,
                $next,
                [
                    "tileloadd tmm0, [{c} + {row}*1]",
                    "tileloadd tmm1, [{c} + {row}*1 + 64]",
                    "tileloadd tmm2, [{low} + {row}*1]",
                    "tileloadd tmm3, [{low} + {row}*1 + 64]"
                ],
                $ask
            ),
            (false, false) => two!($tile, $c, $row, $next, ["tilezero tmm0", "tilezero tmm1"], $ask),
            (false, true) => two!(
                $tile,
                $c,
                $row,
                $next,
                ["tileloadd tmm0, [{c} + {row}*1]", "tileloadd tmm1, [{c} + {row}*1 + 64]"],
                $ask
            ),
        }
    };
}

#[target_feature(enable = "avx512f")]
unsafe fn run(tile: &Tile) {
    if tile.k == 0 {
        return;
    }
    let mut sums = std::mem::MaybeUninit::<Sums>::uninit();
    let whole = tile.cols == SIDE && (tile.rows == SIDE || tile.rows == SIDE / 2);
    let far = tile.far
        && !tile.add
        && tile.cols == SIDE
        && tile.ldc.is_multiple_of(16)
        && tile.c.addr().is_multiple_of(64);
    let (c, row) =
        if whole && !far { (tile.c, 4 * tile.ldc) } else { (sums.as_mut_ptr().cast::<f32>(), 4 * SIDE) };
    if !whole && tile.add {
        for row in 0..tile.rows {
            // SAFETY: the row exists in C with `cols` columns, and in `sums`, of which other rows and columns may hold anything.
            unsafe {
                std::ptr::copy_nonoverlapping(tile.c.add(row * tile.ldc), c.add(row * SIDE), tile.cols)
            };
        }
    }
    // SAFETY: reads the steps of both panels (of A's the first 16 rows of each step where there are no more), and reads and writes as many rows of C
    // or of `sums`; asking for memory reads nothing.
    unsafe {
        if tile.soon == tile.b {
            // The tile of the next columns, which will be written when this panel of B has met the other rows.
            let next = c.wrapping_add(if whole && !far { SIDE } else { 0 });
            by_rows!(
                tile,
                c,
                row,
                next,
                [
                    "prefetchw [{next}]",
                    "prefetchw [{next} + 64]",
                    "prefetchw [{next} + {row}*1]",
                    "prefetchw [{next} + {row}*1 + 64]",
                    "lea {next}, [{next} + {row}*2]"
                ]
            );
        } else {
            by_rows!(
                tile,
                c,
                row,
                tile.soon,
                [
                    ".irp off,0,64,128,192,256,320,384,448,512,576,640,704,768,832,896,960",
                    "prefetcht0 [{next} + \\off]",
                    "prefetcht0 [{next} + \\off + 1024]",
                    ".endr",
                    "add {next}, 2048"
                ]
            );
        }
    }
    for row in 0..tile.rows {
        // SAFETY: as above; the rows were written, and C is aligned where it is `far`.
        unsafe {
            let (from, to) = (c.add(row * SIDE), tile.c.add(row * tile.ldc));
            if far {
                _mm512_stream_ps(to, _mm512_load_ps(from));
                _mm512_stream_ps(to.add(16), _mm512_load_ps(from.add(16)));
            } else if !whole {
                std::ptr::copy_nonoverlapping(from, to, tile.cols);
            }
        }
    }
}

pub static AMX: Kernel = Kernel {
    name: "amx",
    mr: SIDE,
    nr: SIDE,
    unit: 32,
    kc: 1536, // tiles from the second-level cache cost less than reading C once more
    task: (256, 256),
    strips: Strips::TILES,
    format_a: Format::TilesA,
    format_b: Format::TilesB,
    bf16: true,
    pack: super::pack_tiles::pack_tiles,
    enter,
    leave,
    run,
};
