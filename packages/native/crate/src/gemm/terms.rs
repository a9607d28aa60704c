//! Sums of products: `C = Σ Aᵢ · Bᵢ (+ bias)`, each tile of C completed while it is in the cache.

use super::blocks::Blocks;
use super::operand::{PackedA, PackedB};
use super::strips::Strips;
use super::{Left, Output, Right};

/// `a · b`, both packed for one kernel.
pub struct Term<'a> {
    pub a: &'a PackedA,
    pub b: &'a PackedB,
}

/// The product of `a` and `b`, which is packed as it is needed where it is not, and then the terms in their order; the bias is added after the product. An element is to the
/// bit what `multiply` gives for the product, and then for each term when it accumulates. Panics when sizes do not fit.
pub fn multiply_terms(output: Output, a: &PackedA, b: Right, terms: &[Term]) {
    let Output { data, stride, accumulate, far, bias } = output;
    let (m, n, kernel) = (a.m, b.lanes(), a.kernel);
    if m == 0 || n == 0 {
        return;
    }
    assert!(stride >= n && data.len() >= (m - 1) * stride + n, "C is too small");
    assert!(bias.is_none_or(|bias| bias.len() >= n), "the bias is too short");
    assert!(a.k == b.steps() && a.k > 0, "inner sizes differ");
    if let Right::Packed(part) = &b {
        assert!(std::ptr::eq(part.packed.kernel, kernel), "all operands are packed for one kernel");
    }
    let blocks: Vec<Blocks> = terms
        .iter()
        .map(|Term { a, b }| {
            assert!(a.m == m && b.n == n && a.k == b.k && a.k > 0, "sizes of a term differ");
            assert!(
                std::ptr::eq(a.kernel, kernel) && std::ptr::eq(b.kernel, kernel),
                "all operands are packed for one kernel"
            );
            Blocks {
                kernel,
                m,
                n,
                k: a.k,
                a: a.block.as_ptr(),
                b: b.block.as_ptr(),
                c: data.as_mut_ptr(),
                stride,
                accumulate: true,
                far: false,
                bias: None,
            }
        })
        .collect();
    match Strips::new(kernel, Left::Packed(a)) {
        Some(strips) => strips.multiply(Output { data, stride, accumulate, far, bias }, &b, n, &blocks),
        None => {
            super::multiply_with(kernel, Output { data, stride, accumulate, far, bias }, Left::Packed(a), b);
            blocks.iter().for_each(Blocks::run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Precision;
    use crate::gemm::choice::noise;
    use crate::gemm::{multiply, Right, View};

    #[test]
    fn terms_are_products_one_after_another_to_the_bit() {
        for precision in [Precision::Fp32, Precision::Bf16, Precision::Int8] {
            for (m, n, k, r) in [(1, 1, 1, 1), (3, 33, 17, 2), (97, 70, 600, 16), (200, 300, 33, 5)] {
                let (x, w, h, b, bias) =
                    (noise(1, m * k), noise(2, n * k), noise(3, m * r), noise(4, n * r), noise(5, n));
                let (vx, vw, vh, vb) = (
                    View::row_major(&x, m, k),
                    View::row_major(&w, n, k),
                    View::row_major(&h, m, r),
                    View::row_major(&b, n, r),
                );
                let [mut found, mut expected] = [vec![0f32; m * n], vec![0f32; m * n]];
                let (ax, ah) = (PackedA::new(vx, precision), PackedA::new(vh, precision));
                let (bw, bb) = (PackedB::transient(vw, precision), PackedB::transient(vb, precision));
                let first = Output {
                    data: &mut expected,
                    stride: n,
                    accumulate: false,
                    far: false,
                    bias: Some(&bias),
                };
                multiply(first, vx, Right::Lanes(vw), precision);
                let second =
                    Output { data: &mut expected, stride: n, accumulate: true, far: false, bias: None };
                multiply(second, vh, Right::Lanes(vb), precision);
                for b in [Right::Packed(bw.columns()), Right::Lanes(vw)] {
                    let output = Output {
                        data: &mut found,
                        stride: n,
                        accumulate: false,
                        far: false,
                        bias: Some(&bias),
                    };
                    multiply_terms(output, &ax, b, &[Term { a: &ah, b: &bb }]);
                    assert_eq!(found, expected, "{m}x{n}x{k}+{r} {precision:?}");
                }
            }
        }
    }
}
