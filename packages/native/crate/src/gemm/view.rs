//! A matrix in memory.

use std::ops::Range;

/// A matrix inside a slice, with any strides.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> View<'a> {
    /// `None` when an element would lie outside of `data`.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, row: usize, column: usize) -> Option<Self> {
        if rows > 0 && columns > 0 {
            let last = (rows - 1).checked_mul(row)?.checked_add((columns - 1).checked_mul(column)?)?;
            if last >= data.len() {
                return None;
            }
        }
        Some(Self { data, rows, columns, row_stride: row, column_stride: column })
    }

    /// A row-major matrix. Panics when `data` is too short.
    pub fn row_major(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::new(data, rows, columns, columns, 1).expect("the matrix lies inside its slice")
    }

    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Some of the rows.
    pub fn row_range(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows);
        let data = if range.is_empty() || self.columns == 0 {
            &[]
        } else {
            &self.data[range.start * self.row_stride..]
        };
        Self { data, rows: range.len(), ..*self }
    }
}
