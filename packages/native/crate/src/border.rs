//! The border to JavaScript: lengths, overlaps and panics become JavaScript errors.
//!
//! Kernels take `Float32ArraySlice` (no reference is created for it, unlike `Float32Array`), and obtain slices here:
//! `floats(&x, "x", len)?` for what is read, `floats_mut(&mut y, "y", len)?` for what is written. Nothing is ever
//! written through a `&[f32]`. A kernel that writes calls `disjoint` first, with all the memory that it uses.

use napi::bindgen_prelude::*;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// An error for wrong arguments.
pub fn fail(message: impl Into<String>) -> Error {
    Error::new(Status::InvalidArg, message.into())
}

/// Runs a kernel's body; a panic becomes an error that names it instead of ending the process.
pub fn guard<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("unknown panic");
        Err(Error::new(Status::GenericFailure, format!("native kernel failed: {text}")))
    })
}

/// `a * b` as a length, or an error.
pub fn product(name: &str, factors: &[usize]) -> Result<usize> {
    let total = factors.iter().try_fold(1usize, |total, &factor| total.checked_mul(factor));
    total
        .filter(|&n| n <= isize::MAX as usize / 4)
        .ok_or_else(|| fail(format!("{name}: sizes {factors:?} overflow")))
}

/// The first `len` elements of a typed array that is read.
pub fn part<'a, T>(data: &'a [T], name: &str, len: usize) -> Result<&'a [T]> {
    data.get(..len).ok_or_else(|| fail(format!("{name} has {} elements, {len} are needed", data.len())))
}

/// The first `len` floats of an array that is read.
pub fn floats<'a>(data: &'a Float32ArraySlice<'_>, name: &str, len: usize) -> Result<&'a [f32]> {
    part(data.as_ref(), name, len)
}

/// The first `len` integers of an array that is read.
pub fn ints<'a>(data: &'a Int32ArraySlice<'_>, name: &str, len: usize) -> Result<&'a [i32]> {
    part(data.as_ref(), name, len)
}

/// The first `len` floats of an array that is written. `disjoint` must have been called before.
pub fn floats_mut<'a>(data: &'a mut Float32ArraySlice<'_>, name: &str, len: usize) -> Result<&'a mut [f32]> {
    let found = data.len();
    // SAFETY: JavaScript runs no code during a kernel, and `disjoint` has excluded overlaps with other arguments.
    let all = unsafe { data.as_mut() };
    all.get_mut(..len).ok_or_else(|| fail(format!("{name} has {found} elements, {len} are needed")))
}

/// The first `len` integers of an array that is written. `disjoint` must have been called before.
pub fn ints_mut<'a>(data: &'a mut Int32ArraySlice<'_>, name: &str, len: usize) -> Result<&'a mut [i32]> {
    let found = data.len();
    // SAFETY: as in `floats_mut`.
    let all = unsafe { data.as_mut() };
    all.get_mut(..len).ok_or_else(|| fail(format!("{name} has {found} elements, {len} are needed")))
}

/// The place of a typed array in memory.
#[derive(Clone, Copy)]
pub struct Place {
    start: usize,
    end: usize,
}

/// Where `data` lies.
pub fn place<T>(data: &[T]) -> Place {
    let range = data.as_ptr_range();
    Place { start: range.start as usize, end: range.end as usize }
}

/// Where each of the arrays lies.
pub fn places<'a>(arrays: &'a [Float32ArraySlice<'_>]) -> impl Iterator<Item = Place> + 'a {
    arrays.iter().map(|array| place(array))
}

/// Where `data` lies, if it is given.
pub fn place_of<'a, T: 'a, D: AsRef<[T]>>(data: &'a Option<D>) -> Place {
    data.as_ref().map_or(Place { start: 0, end: 0 }, |data| place(data.as_ref()))
}

/// An error when one of the `written` overlaps another or one of the `read`.
pub fn disjoint(kernel: &str, written: &[Place], read: &[Place]) -> Result<()> {
    let shared =
        |output: usize| fail(format!("{kernel}: output {output} shares memory with another argument"));
    let mut sorted: Vec<(Place, usize)> =
        written.iter().copied().zip(0..).filter(|(place, _)| place.start < place.end).collect();
    sorted.sort_unstable_by_key(|(place, _)| place.start);
    if let Some(pair) = sorted.windows(2).find(|pair| pair[1].0.start < pair[0].0.end) {
        return Err(shared(pair[1].1));
    }
    for place in read.iter().filter(|place| place.start < place.end) {
        // The outputs do not overlap, so that the last one which begins before the end is the one that could reach into it.
        let before = sorted.partition_point(|(output, _)| output.start < place.end);
        if let Some((_, output)) = sorted[..before].last().filter(|(output, _)| place.start < output.end) {
            return Err(shared(*output));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_found() {
        let data = [0f32; 10];
        let (a, b, c) = (place(&data[..5]), place(&data[5..]), place(&data[4..6]));
        assert!(disjoint("t", &[a], &[b]).is_ok());
        assert!(disjoint("t", &[a], &[c]).is_err());
        assert!(disjoint("t", &[a, c], &[]).is_err());
        assert!(disjoint("t", &[a], &[place::<f32>(&[])]).is_ok());
        assert!(disjoint("t", &[a, place::<f32>(&[]), b], &[]).is_ok());
        assert!(disjoint("t", &[b, a], &[place(&data[9..])]).is_err());
        assert!(disjoint("t", &[place(&data[..2]), place(&data[6..])], &[place(&data[2..6])]).is_ok());
        assert!(disjoint("t", &[place(&data[2..3]), place(&data[6..7])], &[place(&data)]).is_err());
    }

    #[test]
    fn products_overflow_to_errors() {
        assert_eq!(product("t", &[3, 4]).ok(), Some(12));
        assert!(product("t", &[usize::MAX, 2]).is_err());
    }
}
