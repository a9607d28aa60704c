//! What a micro-kernel is: the shape of its tile, the layout of its packed operands, and its code.

use super::int8;

/// Layout of a packed operand. A panel is `width` rows of A (or columns of B) by all of K, K padded to the unit of the
/// kernel with zeros; panels follow one another, and inside a panel K runs outermost, so that a block of K is
/// contiguous and step `k` begins at `bytes(k * width)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `[k][width]` fp32.
    Float,
    /// `[k][width]` fp32, rounded to bfloat16 values.
    Rounded,
    /// `[k][width / 2][2]` bfloat16, lane `i` beside lane `i + width / 2`: widened by a shift and a mask, which leave the multipliers free.
    Halves,
    /// `[k / 2][width][2]` bfloat16: the operand of `vdpbf16ps`.
    Pairs,
    /// `[k / 32][width / 16][16 rows][32]` bfloat16: the left operand of `tdpbf16ps`.
    TilesA,
    /// `[k / 32][width / 16][16 pairs][16 columns][2]` bfloat16: the right operand of `tdpbf16ps`.
    TilesB,
    /// Groups of 32 steps: `[k / 4][width][4]` signed bytes, the scales `[width]` in fp32, and `[width]` integers: see `int8`.
    BytesA,
    /// Groups of 32 steps: `[k / 4][width][4]` unsigned bytes, and the scales `[width]` in fp32.
    BytesB,
}

impl Format {
    /// Bytes of so many elements: whole steps, and whole groups of them where the format has groups.
    pub const fn bytes(self, elements: usize) -> usize {
        match self {
            Format::Float | Format::Rounded => 4 * elements,
            Format::BytesA => elements + elements / int8::GROUP * 8,
            Format::BytesB => elements + elements / int8::GROUP * 4,
            _ => 2 * elements,
        }
    }
}

/// One call of a micro-kernel: C[rows, cols] = or += A[rows, k] · B[k, cols].
#[derive(Clone, Copy)]
pub struct Tile {
    /// Steps of K, a multiple of the kernel's unit.
    pub k: usize,
    /// Block of a packed panel of A, `k * mr` elements.
    pub a: *const u8,
    /// Block of a packed panel of B, `k * nr` elements.
    pub b: *const u8,
    /// Memory that will be read soon, as much as B's block: a kernel asks for it while it computes. Any address will do; B's own where there is nothing to ask for.
    pub soon: *const u8,
    /// C is not read soon: it may be written past the caches. `leave` makes it visible.
    pub far: bool,
    /// Upper left element of C; rows are `ldc` apart, columns adjacent.
    pub c: *mut f32,
    pub ldc: usize,
    /// At most `mr`, at least 1.
    pub rows: usize,
    /// At most `nr`, at least 1.
    pub cols: usize,
    /// Add to C instead of overwriting it.
    pub add: bool,
}

/// How a product is cut into strips of rows.
pub struct Strips {
    /// Most bytes of a packed strip: a part of the second-level cache.
    pub bytes: usize,
    /// So many a thread where there are enough rows: none shall wait long for the last, and each reads all columns again.
    pub per_thread: usize,
    /// Whether what is packed next is asked for while tiles are computed.
    pub ask: bool,
}

impl Strips {
    /// For kernels that multiply vectors.
    pub const VECTORS: Self = Self { bytes: 384 << 10, per_thread: 6, ask: true };
    /// For kernels that multiply tiles, several times as fast, so that columns count more.
    pub const TILES: Self = Self { bytes: 1 << 20, per_thread: 2, ask: false };
}

/// A micro-kernel. Each element of its tile is a sum over k that begins with 0 or with c, or such a sum and c, in an order that depends on `k`
/// alone: not on `rows`, `cols` or the element's place. That makes a row's result independent of its batch.
pub struct Kernel {
    pub name: &'static str,
    /// Rows of the tile.
    pub mr: usize,
    /// Columns of the tile.
    pub nr: usize,
    /// K is padded to a multiple of this.
    pub unit: usize,
    /// Longest block of K, so that a block of a B panel stays in the first-level cache, or where it comes from the second one as fast, so that C is written once.
    pub kc: usize,
    /// Rows and columns of C that a task computes where there is enough of them: the blocks of A, B and C that belong
    /// to it stay in the second-level cache, and each panel of B serves as many rows as its way there is worth.
    pub task: (usize, usize),
    pub strips: Strips,
    pub format_a: Format,
    pub format_b: Format,
    /// Whether the processor multiplies bfloat16 itself.
    pub bf16: bool,
    /// Packs a panel; see `pack::Source`.
    pub pack: unsafe fn(&super::pack::Source, Format, *mut u8),
    /// Prepares the thread for `run`, and ends it.
    pub enter: fn(),
    pub leave: fn(),
    /// # Safety
    /// The processor has the instructions, `enter` was called on this thread, and the pointers of the tile are valid
    /// for the sizes that it and the kernel state.
    pub run: unsafe fn(&Tile),
}

impl Kernel {
    pub fn padded_k(&self, k: usize) -> usize {
        k.next_multiple_of(self.unit)
    }

    /// Length of the blocks that K is cut into: of about the same size, so that no short one remains.
    pub fn block_k(&self, k: usize) -> usize {
        let padded = self.padded_k(k).max(1);
        let blocks = padded.div_ceil(self.kc);
        padded.div_ceil(blocks).next_multiple_of(self.unit.max(8))
    }
}

pub fn nothing() {}

/// `x * y + z`, fused where the target does that in one instruction.
#[inline(always)]
pub fn multiply_add(x: f32, y: f32, z: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        x.mul_add(y, z)
    } else {
        x * y + z
    }
}

const MR: usize = 4;
const NR: usize = 16;

/// Plain Rust that compilers turn into the vector instructions of the target (NEON on aarch64).
unsafe fn run_portable(tile: &Tile) {
    // SAFETY: the tile's panels hold `k * MR` and `k * NR` floats.
    let (a, b) = unsafe {
        (
            std::slice::from_raw_parts(tile.a.cast::<[f32; MR]>(), tile.k),
            std::slice::from_raw_parts(tile.b.cast::<[f32; NR]>(), tile.k),
        )
    };
    let mut sums = [[0f32; NR]; MR];
    for (a, b) in a.iter().zip(b) {
        for (sums, &a) in sums.iter_mut().zip(a) {
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum = multiply_add(a, b, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate().take(tile.rows) {
        // SAFETY: row and columns lie inside the tile.
        let c = unsafe { std::slice::from_raw_parts_mut(tile.c.add(row * tile.ldc), tile.cols) };
        for (c, &sum) in c.iter_mut().zip(sums) {
            *c = if tile.add { *c + sum } else { sum };
        }
    }
}

pub static PORTABLE: Kernel = Kernel {
    name: "portable",
    mr: MR,
    nr: NR,
    unit: 1,
    kc: 320,
    task: (96, 256),
    strips: Strips::VECTORS,
    format_a: Format::Float,
    format_b: Format::Float,
    bf16: false,
    pack: super::pack::pack_portable,
    enter: nothing,
    leave: nothing,
    run: run_portable,
};

/// The same on operands that are rounded while they are packed.
pub static PORTABLE_ROUNDED: Kernel = Kernel {
    name: "portable-rounded",
    mr: MR,
    nr: NR,
    unit: 1,
    kc: 320,
    task: (96, 256),
    strips: Strips::VECTORS,
    format_a: Format::Rounded,
    format_b: Format::Rounded,
    bf16: false,
    pack: super::pack::pack_portable,
    enter: nothing,
    leave: nothing,
    run: run_portable,
};
