//! A stand-in for AMX in tests on other processors: a kernel of its sizes and layouts, in plain Rust. `ESPALIER_GEMM_KERNEL=tiles-in-rust cargo test` runs all tests with it.

use super::kernel::{nothing, Format, Kernel, Strips, Tile};
use crate::dtype::bf16_value;

const SIDE: usize = 32;

/// Where lane `lane` of step `k` stands in a panel.
fn place(format: Format, lane: usize, k: usize) -> usize {
    let tile = (k / 32 * (SIDE / 16) + lane / 16) * 512;
    match format {
        Format::TilesA => tile + lane % 16 * 32 + k % 32,
        _ => tile + k % 32 / 2 * 32 + lane % 16 * 2 + k % 2,
    }
}

unsafe fn run(tile: &Tile) {
    // SAFETY: the panels hold `k * SIDE` numbers of two bytes each, in memory that is aligned for them.
    let [a, b] = [tile.a, tile.b]
        .map(|panel| unsafe { std::slice::from_raw_parts(panel.cast::<u16>(), tile.k * SIDE) });
    for row in 0..tile.rows {
        for column in 0..tile.cols {
            // SAFETY: row and column lie inside the tile.
            let c = unsafe { &mut *tile.c.add(row * tile.ldc + column) };
            let start = if tile.add { *c } else { 0.0 };
            *c = (0..tile.k).fold(start, |sum, k| {
                let [x, y] = [a[place(Format::TilesA, row, k)], b[place(Format::TilesB, column, k)]];
                sum + bf16_value(x) * bf16_value(y)
            });
        }
    }
}

pub static TILES_IN_RUST: Kernel = Kernel {
    name: "tiles-in-rust",
    mr: SIDE,
    nr: SIDE,
    unit: 32,
    kc: 1536,
    task: (256, 256),
    strips: Strips::TILES,
    format_a: Format::TilesA,
    format_b: Format::TilesB,
    bf16: true,
    pack: super::pack::pack_portable,
    enter: nothing,
    leave: nothing,
    run,
};
