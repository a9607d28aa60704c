//! Keys and values as they are stored, and tiles of them copied out for products.

use super::tiles::{columns_of, TILE};
use super::Span;
use crate::border::fail;
use crate::dtype::{bf16_bits, bf16_value, round_bf16};
use crate::memory::ask_second;
use crate::vector::Vector;
use crate::vectorised;
use napi::Result;
use std::ops::Range;

/// Keys or values: rows that hold all heads side by side.
#[derive(Clone, Copy)]
pub enum Stored<'a> {
    Floats(&'a [f32]),
    /// Floats that are rounded to bfloat16 as they are read: what [`Stored::Halves`] holds already.
    Rounded(&'a [f32]),
    /// In bfloat16.
    Halves(&'a [u16]),
}

/// What [`Stored`] is made of, in the memory of an array that JavaScript knows as one of floats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Floats,
    Rounded,
    /// Two numbers in the place of a float.
    Halves,
}

impl Format {
    /// From JavaScript: `'fp32'`, `'rounded'` or `'bf16'`.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "fp32" => Ok(Self::Floats),
            "rounded" => Ok(Self::Rounded),
            "bf16" => Ok(Self::Halves),
            other => Err(fail(format!(
                "keys and values are '{other}', which is none of 'fp32', 'rounded' and 'bf16'"
            ))),
        }
    }

    /// So many floats of memory hold a row of `width` numbers. An error where a head of `dim` numbers would end in the middle of one.
    pub fn floats_of(self, width: usize, dim: usize) -> Result<usize> {
        match self {
            Self::Floats | Self::Rounded => Ok(width),
            Self::Halves if dim.is_multiple_of(2) => Ok(width / 2),
            Self::Halves => Err(fail(format!(
                "keys and values of {dim} numbers a head cannot be in bfloat16: the number is odd"
            ))),
        }
    }
}

/// The same memory as numbers of bfloat16.
fn as_halves(memory: &[f32]) -> &[u16] {
    // SAFETY: a float is two u16, which want less alignment and may have any bits.
    unsafe { std::slice::from_raw_parts(memory.as_ptr().cast(), 2 * memory.len()) }
}

/// Writes rows of keys or values of `width` numbers each to the rows `places` of a cache, in order. The places were checked.
pub fn write_rows(cache: &mut [f32], format: Format, rows: &[f32], width: usize, places: &[i32]) {
    for (row, &place) in rows.chunks_exact(width.max(1)).zip(places) {
        let place = place as usize;
        if format == Format::Halves {
            to_halves(row, &mut cache[place * width / 2..(place + 1) * width / 2]);
        } else {
            cache[place * width..(place + 1) * width].copy_from_slice(row);
        }
    }
}

vectorised! {
    /// To bfloat16, two numbers in each float of `out`.
    fn to_halves<V>(x: &[f32], out: &mut [f32]) {
        assert!(x.len() == 2 * out.len());
        let whole = x.len() / V::LANES * V::LANES;
        for i in (0..whole).step_by(V::LANES) {
            // SAFETY: `out` has room for two numbers of bfloat16 where it has a float, so for i + LANES of them.
            unsafe { V::load(x.as_ptr().add(i)).store_half(out.as_mut_ptr().cast::<u16>().add(i)) };
        }
        for (i, &x) in x.iter().enumerate().skip(whole) {
            // SAFETY: as above.
            unsafe { *out.as_mut_ptr().cast::<u16>().add(i) = bf16_bits(x) };
        }
    }
}

impl<'a> Stored<'a> {
    pub fn new(memory: &'a [f32], format: Format) -> Self {
        match format {
            Format::Floats => Self::Floats(memory),
            Format::Rounded => Self::Rounded(memory),
            Format::Halves => Self::Halves(as_halves(memory)),
        }
    }

    /// Asks for `len` numbers from this place on.
    #[inline(always)]
    fn ask(self, at: usize, len: usize) {
        let (start, size) = match self {
            Self::Floats(x) | Self::Rounded(x) => (x.as_ptr().wrapping_add(at).cast::<u8>(), 4 * len),
            Self::Halves(x) => (x.as_ptr().wrapping_add(at).cast::<u8>(), 2 * len),
        };
        (0..size).step_by(64).for_each(|byte| ask_second(start.wrapping_add(byte)));
    }
}

/// Which rows of a head are wanted: logical positions `from .. from + count` of a sequence.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub span: &'a Span,
    pub from: usize,
    pub count: usize,
    /// Numbers from row to row.
    pub stride: usize,
    pub head: usize,
    pub dim: usize,
}

impl Part<'_> {
    /// Where the head stands in the row of position `from + j`.
    #[inline(always)]
    pub(super) fn at(&self, j: usize) -> usize {
        self.span.row(self.from + j) * self.stride + self.head * self.dim
    }
}

/// A tile that will be computed soon.
pub(super) struct Soon<'a> {
    pub span: &'a Span,
    /// The first position of the tile, and the end of all.
    pub from: usize,
    pub end: usize,
}

impl Soon<'_> {
    /// Asks for these columns of the keys and values of some of the tile's positions, into the second-level cache: the first level is too small for them, and keeps
    /// fewer lines waiting.
    #[inline(always)]
    pub(super) fn ask(
        &self,
        stored: [Stored; 2],
        stride: usize,
        columns: Range<usize>,
        places: Range<usize>,
    ) {
        for position in (self.from + places.start)..(self.from + places.end).min(self.end) {
            let at = self.span.row(position) * stride + columns.start;
            stored.into_iter().for_each(|x| x.ask(at, columns.len()));
        }
    }
}

/// Copies a part as floats `[dim, TILE]`, zeros after it up to [`columns_of`] `count`. Between its steps `each` is called with parts of `0..TILE`, one after
/// another: it may ask for memory that is needed next.
#[inline(always)]
pub(super) fn pack_transposed<V: Vector>(
    x: Stored,
    part: &Part,
    out: &mut [f32],
    each: impl Fn(Range<usize>),
) {
    let Part { count, dim, .. } = *part;
    let out = &mut out[..dim * TILE];
    match x {
        Stored::Floats(x) | Stored::Rounded(x) => {
            let row = |j: usize| &x[part.at(j)..][..dim];
            let (rows, columns) = (count / 8 * 8, dim / 8 * 8);
            for j in (0..rows).step_by(8) {
                each(j * TILE / rows..(j + 8) * TILE / rows);
                let eight: [&[f32]; 8] = std::array::from_fn(|i| row(j + i));
                for d in (0..columns).step_by(8) {
                    // SAFETY: each row holds 8 floats from `d` on, and `out` 8 from `j` on at each of these columns: j + 8 <= TILE.
                    unsafe {
                        V::transpose(
                            eight.map(|row| row.as_ptr().add(d)),
                            out.as_mut_ptr().add(d * TILE + j),
                            TILE,
                        )
                    };
                }
                for d in columns..dim {
                    for (i, row) in eight.iter().enumerate() {
                        out[d * TILE + j + i] = row[d];
                    }
                }
            }
            for j in rows..count {
                for (d, &value) in row(j).iter().enumerate() {
                    out[d * TILE + j] = value;
                }
            }
        }
        Stored::Halves(x) => transpose_halves::<V>(x, part, out, each),
    }
    let end = columns_of(count);
    if count < end {
        for row in out.chunks_exact_mut(TILE) {
            row[count..end].fill(0.0);
        }
    }
    if matches!(x, Stored::Rounded(_)) {
        for row in out.chunks_exact_mut(TILE) {
            round::<V>(&mut row[..end]);
        }
    }
}

/// The same from bfloat16. Pairs of numbers are transposed as if each were one float, to every other row, and then taken apart.
#[inline(always)]
fn transpose_halves<V: Vector>(x: &[u16], part: &Part, out: &mut [f32], each: impl Fn(Range<usize>)) {
    let Part { count, dim, .. } = *part;
    let row = |j: usize| &x[part.at(j)..][..dim];
    let (rows, columns) = (count / 8 * 8, dim / 16 * 16);
    for j in (0..rows).step_by(8) {
        each(j * TILE / rows..(j + 8) * TILE / rows);
        let eight: [&[u16]; 8] = std::array::from_fn(|i| row(j + i));
        for d in (0..columns).step_by(16) {
            // SAFETY: each row holds 8 pairs from `d` on, and `out` 8 floats from `j` on in every other row from `d` on: j + 8 <= TILE, d + 16 <= dim.
            unsafe {
                let pairs = eight.map(|row| row.as_ptr().add(d).cast::<f32>());
                V::transpose(pairs, out.as_mut_ptr().add(d * TILE + j), 2 * TILE);
            }
        }
        for d in columns..dim {
            for (i, row) in eight.iter().enumerate() {
                out[d * TILE + j + i] = bf16_value(row[d]);
            }
        }
    }
    for pair in out[..columns * TILE].chunks_exact_mut(2 * TILE) {
        for c in (0..rows).step_by(V::LANES) {
            // SAFETY: both rows of the pair hold TILE floats, and c + LANES <= TILE because LANES divides it.
            unsafe {
                let at = pair.as_mut_ptr().add(c);
                let [low, high] = V::load(at).halves_apart();
                low.store(at);
                high.store(at.add(TILE));
            }
        }
    }
    for j in rows..count {
        for (d, &value) in row(j).iter().enumerate() {
            out[d * TILE + j] = bf16_value(value);
        }
    }
}

/// Copies a part as floats `[count, padded]`, zeros after each row.
#[inline(always)]
pub(super) fn pack_rows<V: Vector>(x: Stored, part: &Part, padded: usize, out: &mut [f32]) {
    let Part { count, dim, .. } = *part;
    for (j, row) in out[..count * padded].chunks_exact_mut(padded).enumerate() {
        let at = part.at(j);
        match x {
            Stored::Floats(x) => row[..dim].copy_from_slice(&x[at..at + dim]),
            Stored::Rounded(x) => {
                row[..dim].copy_from_slice(&x[at..at + dim]);
                round::<V>(&mut row[..dim]);
            }
            Stored::Halves(x) => {
                let halves = &x[at..at + dim];
                let whole = dim / V::LANES * V::LANES;
                for d in (0..whole).step_by(V::LANES) {
                    // SAFETY: d + LANES <= dim, which both hold.
                    unsafe { V::load_half(halves.as_ptr().add(d)).store(row.as_mut_ptr().add(d)) };
                }
                for (value, &half) in row[whole..dim].iter_mut().zip(&halves[whole..]) {
                    *value = bf16_value(half);
                }
            }
        }
        row[dim..].fill(0.0);
    }
}

/// To bfloat16's numbers, in place.
#[inline(always)]
fn round<V: Vector>(x: &mut [f32]) {
    let whole = x.len() / V::LANES * V::LANES;
    for i in (0..whole).step_by(V::LANES) {
        // SAFETY: i + LANES <= x.len().
        unsafe {
            let at = x.as_mut_ptr().add(i);
            V::load(at).rounded_half().store(at);
        }
    }
    x[whole..].iter_mut().for_each(|x| *x = round_bf16(*x));
}
