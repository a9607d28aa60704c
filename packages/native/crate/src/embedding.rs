//! Rows of a table by id, and the gradient: rows added up by id. Tfjs's gather is the first of the two.

use crate::border::{disjoint, fail, floats, floats_mut, guard, ints, place, product};
use crate::pool::{parallel_for, parallel_ranges, SharedMut};
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Parts of the table that threads take. A constant is not needed for the sums (each row belongs to one part), only for balance.
const PARTS: usize = 32;

/// `out[i] = table[ids[i]]`; the ids were checked.
pub fn gather(table: &[f32], ids: &[i32], d: usize, out: &mut [f32]) {
    let out = SharedMut::new(out);
    parallel_ranges(ids.len(), (16_384 / d.max(1)).max(1), |range| {
        for i in range {
            let id = ids[i] as usize;
            // SAFETY: rows of the output are disjoint.
            unsafe { out.slice(i * d, d) }.copy_from_slice(&table[id * d..(id + 1) * d]);
        }
    });
}

/// `table[ids[i]] += rows[i]` in the order of `i`; the table is zeroed first when `zero`.
pub fn scatter_add(rows: &[f32], ids: &[i32], d: usize, zero: bool, table: &mut [f32]) {
    let vocab = table.len() / d.max(1);
    let per_part = vocab.div_ceil(PARTS).max(1);
    let table = SharedMut::new(table);
    parallel_for(vocab.div_ceil(per_part), |part| {
        let first = part * per_part;
        let count = per_part.min(vocab - first);
        // SAFETY: parts are disjoint.
        let own = unsafe { table.slice(first * d, count * d) };
        if zero {
            own.fill(0.0);
        }
        for (i, &id) in ids.iter().enumerate() {
            let id = id as usize;
            if id >= first && id < first + count {
                let target = &mut own[(id - first) * d..(id - first + 1) * d];
                for (a, b) in target.iter_mut().zip(&rows[i * d..(i + 1) * d]) {
                    *a += b;
                }
            }
        }
    });
}

pub fn check_ids(kernel: &str, ids: &[i32], rows: usize) -> Result<()> {
    match ids.iter().find(|&&id| id < 0 || id as usize >= rows) {
        Some(id) => Err(fail(format!("{kernel}: id {id} is outside a table of {rows} rows"))),
        None => Ok(()),
    }
}

/// `table [rows, d]`, `ids [T]` → `out [T, d]`.
#[napi]
pub fn gather_rows(
    table: Float32ArraySlice,
    ids: Int32ArraySlice,
    mut out: Float32ArraySlice,
    rows: u32,
    d: u32,
) -> Result<()> {
    guard(|| {
        let (rows, d, count) = (rows as usize, d as usize, ids.len());
        let (size, n) = (product("gatherRows", &[rows, d])?, product("gatherRows", &[count, d])?);
        disjoint("gatherRows", &[place(&out)], &[place(&table), place(&ids)])?;
        check_ids("gatherRows", &ids, rows)?;
        gather(floats(&table, "table", size)?, ints(&ids, "ids", count)?, d, floats_mut(&mut out, "out", n)?);
        Ok(())
    })
}

/// `values [T, d]`, `ids [T]` → `table [rows, d]`: zeroed when `zero`, then rows added in order.
#[napi]
pub fn scatter_add_rows(
    values: Float32ArraySlice,
    ids: Int32ArraySlice,
    mut table: Float32ArraySlice,
    rows: u32,
    d: u32,
    zero: bool,
) -> Result<()> {
    guard(|| {
        let (rows, d, count) = (rows as usize, d as usize, ids.len());
        let (size, n) = (product("scatterAddRows", &[rows, d])?, product("scatterAddRows", &[count, d])?);
        disjoint("scatterAddRows", &[place(&table)], &[place(&values), place(&ids)])?;
        check_ids("scatterAddRows", &ids, rows)?;
        scatter_add(
            floats(&values, "values", n)?,
            ints(&ids, "ids", count)?,
            d,
            zero,
            floats_mut(&mut table, "table", size)?,
        );
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gather_then_scatter() {
        let (rows, d) = (70, 5);
        let table: Vec<f32> = (0..rows * d).map(|i| i as f32).collect();
        let ids: Vec<i32> = (0..200).map(|i| i * 37 % 70).collect();
        let mut out = vec![0.0; ids.len() * d];
        gather(&table, &ids, d, &mut out);
        assert!(ids
            .iter()
            .enumerate()
            .all(|(i, &id)| out[i * d..(i + 1) * d] == table[id as usize * d..(id as usize + 1) * d]));
        let mut back = vec![7.0; rows * d];
        scatter_add(&out, &ids, d, true, &mut back);
        for r in 0..rows {
            let count = ids.iter().filter(|&&id| id as usize == r).count() as f32;
            assert!((0..d).all(|j| back[r * d + j] == count * table[r * d + j]));
        }
    }
}
