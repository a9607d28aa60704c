//! Several products at once: of the same rows, which are packed once, or summed, so that a tile of C is completed while it is in the cache.

use super::kernel::Kernel;
use super::strips::{Rows, Strips, Sum};
use super::{choice, multiply_with, Left, Output, Right};
use crate::dtype::Precision;

/// The kernel for operands of which some may come packed. Panics when they are packed for several.
pub fn kernel_of(sums: &[Sum], precision: Precision) -> &'static Kernel {
    let mut packed = sums.iter().flat_map(|sum| &sum.terms).filter_map(|(_, right)| match right {
        Right::Packed(part) => Some(part.packed.kernel),
        Right::Lanes(_) => None,
    });
    let kernel = packed.next().unwrap_or_else(|| choice::kernel(precision));
    assert!(packed.all(|other| std::ptr::eq(other, kernel)), "all operands are packed for one kernel");
    kernel
}

/// Computes the sums, all of which have as many rows as the left operands. An element is to the bit what `multiply` gives for the first term, with the bias, and then for
/// each other one when it accumulates. Panics when sizes do not fit.
pub fn multiply_sums(lefts: &[Left], sums: Vec<Sum>, precision: Precision) {
    let kernel = kernel_of(&sums, precision);
    let m = lefts.first().map_or(0, |left| left.size().0);
    if let Some(strips) = Strips::new(kernel, lefts.iter().map(|&left| Rows::from(left)).collect(), m) {
        return strips.multiply(sums, &|strip| strip.pack_views());
    }
    for Sum { output: Output { data, stride, accumulate, far, bias }, terms } in sums {
        let far = far && terms.len() == 1;
        for (place, (left, right)) in terms.into_iter().enumerate() {
            let output = Output {
                data: &mut *data,
                stride,
                accumulate: accumulate || place > 0,
                far,
                bias: bias.filter(|_| place == 0),
            };
            multiply_with(kernel, output, lefts[left], right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::choice::noise;
    use crate::gemm::{multiply, PackedA, PackedB, View};

    /// Two sums of the rows `x` and of others, packed and not, few rows and many.
    #[test]
    fn sums_are_products_one_after_another_to_the_bit() {
        for precision in [Precision::Fp32, Precision::Bf16, Precision::Int8] {
            for (m, widths, k, r) in [
                (1, [1, 3], 1, 1),
                (3, [33, 2], 17, 2),
                (97, [70, 64], 600, 16),
                (200, [300, 31], 33, 5),
                (1100, [40, 70], 50, 48),
            ] {
                let (x, h) = (noise(1, m * k), noise(3, m * r));
                let (vx, vh) = (View::row_major(&x, m, k), View::row_major(&h, m, r));
                let (ax, ah) = (PackedA::new(vx, precision), PackedA::new(vh, precision));
                let weights = widths.map(|n| (noise(2, n * k), noise(4, n * r), noise(5, n), n));
                let expected = weights.each_ref().map(|(w, b, bias, n)| {
                    let mut sum = noise(6, m * n);
                    for (x, w, k, bias) in [(vx, w, k, Some(&bias[..])), (vh, b, r, None)] {
                        let output =
                            Output { data: &mut sum, stride: *n, accumulate: true, far: false, bias };
                        multiply(output, x, Right::Lanes(View::row_major(w, *n, k)), precision);
                    }
                    sum
                });
                let packed = weights
                    .each_ref()
                    .map(|(w, _, _, n)| PackedB::transient(View::row_major(w, *n, k), precision));
                for (lefts, prepared) in [
                    ([Left::View(vx), Left::View(vh)], false),
                    ([Left::View(vx), Left::Packed(&ah)], true),
                    ([Left::Packed(&ax), Left::Packed(&ah)], false),
                ] {
                    let mut found = widths.map(|n| noise(6, m * n));
                    let sums = found.iter_mut().zip(&weights).zip(&packed).map(|((data, given), packed)| {
                        let (w, b, bias, n) = given;
                        let output =
                            Output { data, stride: *n, accumulate: true, far: false, bias: Some(bias) };
                        let first = if prepared {
                            Right::Packed(packed.columns())
                        } else {
                            Right::Lanes(View::row_major(w, *n, k))
                        };
                        Sum { output, terms: vec![(0, first), (1, Right::Lanes(View::row_major(b, *n, r)))] }
                    });
                    multiply_sums(&lefts, sums.collect(), precision);
                    assert!(found == expected, "{m}x{widths:?}x{k}+{r} {precision:?}");
                }
            }
        }
    }
}
