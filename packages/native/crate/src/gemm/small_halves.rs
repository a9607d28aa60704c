//! Right operands of [`SmallProducts`] from rows that are in bfloat16 already.

use super::kernel::Format;
use super::small::{Small, SmallProducts};
use crate::vector::Vector;
use std::ops::Range;

/// Lanes of a panel of the kernels that this serves.
const NR: usize = 32;
/// So many rows are turned together.
const EIGHT: usize = 8;

impl SmallProducts {
    /// Whether rows of `dim` numbers can be packed by [`Self::right_of_halves`] and [`Self::right_over_halves`].
    pub fn packs_halves(&self, dim: usize) -> bool {
        dim.is_multiple_of(NR)
            && self.kernel.nr == NR
            && matches!(self.kernel.format_b, Format::Pairs | Format::TilesB)
    }

    /// Where lane `lane` of step `2 * pair` stands in a panel, in pairs; what follows it are the next lanes, up to a multiple of 16.
    #[inline(always)]
    fn place(&self, pair: usize, lane: usize) -> usize {
        match self.kernel.format_b {
            Format::TilesB => (pair / 16 * (NR / 16) + lane / 16) * 256 + pair % 16 * 16 + lane % 16,
            _ => pair * NR + lane,
        }
    }

    /// Rows as lanes, summed over their `dim` numbers. Columns of results beyond `rows` are arbitrary. Between its steps `each` is called with parts of `0..rows`, as in
    /// `pack_transposed`.
    #[inline(always)]
    pub fn right_of_halves<'a, 'b, V: Vector>(
        &self,
        row: impl Fn(usize) -> &'b [u16],
        rows: usize,
        dim: usize,
        room: &'a mut [f32],
        each: impl Fn(Range<usize>),
    ) -> Small<'a> {
        let panel = self.panel_words(dim);
        assert!(self.packs_halves(dim) && rows > 0 && room.len() >= rows.div_ceil(NR) * panel);
        for first in (0..rows).step_by(EIGHT) {
            each(first..(first + EIGHT).min(rows));
            // Beyond the last row: that one again, for a column that nobody looks at.
            let eight: [*const f32; EIGHT] = std::array::from_fn(|i| {
                let row = row((first + i).min(rows - 1));
                assert!(row.len() >= dim);
                row.as_ptr().cast()
            });
            for pair in (0..dim / 2).step_by(EIGHT) {
                let at = first / NR * panel + self.place(pair, first % NR);
                let stride = self.place(1, 0);
                assert!(at + (EIGHT - 1) * stride + EIGHT <= room.len());
                // SAFETY: each row holds `dim / 2` pairs, which are moved as if they were floats; bounds of `room` were checked. Eight pairs from a multiple of eight on, and eight
                // lanes, are in one tile.
                unsafe { V::transpose(eight.map(|row| row.add(pair)), room.as_mut_ptr().add(at), stride) };
            }
        }
        self.packed_small(room, rows, dim, panel)
    }

    /// Numbers of the rows as lanes, summed over the rows.
    #[inline(always)]
    pub fn right_over_halves<'a, 'b, V: Vector>(
        &self,
        row: impl Fn(usize) -> &'b [u16],
        rows: usize,
        dim: usize,
        room: &'a mut [f32],
    ) -> Small<'a> {
        let panel = self.panel_words(rows);
        assert!(self.packs_halves(dim) && rows > 0 && room.len() >= dim / NR * panel);
        let zeros = [0u16; 16]; // as many as any vector has lanes
        for pair in 0..self.kernel.padded_k(rows) / 2 {
            let [low, high] =
                [2 * pair, 2 * pair + 1].map(|j| if j < rows { Some(&row(j)[..dim]) } else { None });
            for first in (0..dim).step_by(NR) {
                for lane in (0..NR).step_by(V::LANES) {
                    let at = first / NR * panel + self.place(pair, lane);
                    let out = &mut room[at..at + V::LANES];
                    let [low, high] = [low, high].map(|row| {
                        row.map_or(zeros.as_ptr(), |row| row[first + lane..][..V::LANES].as_ptr())
                    });
                    // SAFETY: all three hold as many numbers as a vector has lanes.
                    unsafe { V::join_halves(low, high).store(out.as_mut_ptr()) };
                }
            }
        }
        self.packed_small(room, dim, rows, panel)
    }
}
