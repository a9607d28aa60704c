//! Eight doubles, for arithmetic that other languages repeat to the bit: nothing here is fused.

/// Eight float64 numbers. The types of x86-64 are used only inside `vectorised!` functions, which check the processor first.
pub trait Eight: Copy {
    fn splat(x: f64) -> Self;
    /// # Safety
    /// `p` must be readable for 8 numbers.
    unsafe fn load(p: *const f64) -> Self;
    /// Eight floats, widened.
    ///
    /// # Safety
    /// `p` must be readable for 8 numbers.
    unsafe fn widen(p: *const f32) -> Self;
    /// # Safety
    /// `p` must be writable for 8 numbers.
    unsafe fn store(self, p: *mut f64);
    fn add(self, o: Self) -> Self;
    fn sub(self, o: Self) -> Self;
    fn mul(self, o: Self) -> Self;
    /// `bound` where the number is below it.
    fn at_least(self, bound: Self) -> Self;
    /// 0 where `key < bound`.
    fn zero_where_below(self, key: Self, bound: Self) -> Self;
    /// `2^k`, where `self` is `k + 1.5 * 2^52`, and k in [-1022, 1023].
    fn pow2_of_rounded(self) -> Self;

    /// The numbers as an array.
    #[inline(always)]
    fn lanes(self) -> [f64; 8] {
        let mut out = [0.0; 8];
        // SAFETY: the array holds 8 numbers.
        unsafe { self.store(out.as_mut_ptr()) };
        out
    }
}

/// 1.5 * 2^52: adding and subtracting it rounds to the nearest integer, ties to even.
pub const ROUND: f64 = 6_755_399_441_055_744.0;

/// In plain Rust.
#[derive(Clone, Copy)]
pub struct Portable([f64; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, o: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self(std::array::from_fn(|l| f(self.0[l], o.0[l])))
    }
}

impl Eight for Portable {
    #[inline(always)]
    fn splat(x: f64) -> Self {
        Self([x; 8])
    }
    #[inline(always)]
    unsafe fn load(p: *const f64) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { std::ptr::read_unaligned(p.cast()) })
    }
    #[inline(always)]
    unsafe fn widen(p: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { std::ptr::read_unaligned(p.cast::<[f32; 8]>()) }.map(f64::from))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f64) {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::write_unaligned(p.cast(), self.0) }
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        self.zip(o, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        self.zip(o, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        self.zip(o, |a, b| a * b)
    }
    #[inline(always)]
    fn at_least(self, bound: Self) -> Self {
        self.zip(bound, |x, bound| if x < bound { bound } else { x })
    }
    #[inline(always)]
    fn zero_where_below(self, key: Self, bound: Self) -> Self {
        Self(std::array::from_fn(|l| if key.0[l] < bound.0[l] { 0.0 } else { self.0[l] }))
    }
    #[inline(always)]
    fn pow2_of_rounded(self) -> Self {
        Self(
            self.0.map(|x| {
                f64::from_bits((x.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(1023)) << 52)
            }),
        )
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Eight, ROUND};
    use std::arch::x86_64::*;

    /// In two `ymm` registers.
    #[derive(Clone, Copy)]
    pub struct Avx2([__m256d; 2]);
    /// In a `zmm` register.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512d);

    macro_rules! both {
        ($a:expr, $b:expr, $intrinsic:ident) => {{
            let ([a, b], [c, d]) = ($a.0, $b.0);
            // SAFETY: this type is used only where the processor was checked (see `vectorised!`).
            Self(unsafe { [$intrinsic(a, c), $intrinsic(b, d)] })
        }};
    }

    impl Eight for Avx2 {
        #[inline(always)]
        fn splat(x: f64) -> Self {
            // SAFETY: the processor was checked (see `vectorised!`).
            Self(unsafe { [_mm256_set1_pd(x); 2] })
        }
        #[inline(always)]
        unsafe fn load(p: *const f64) -> Self {
            // SAFETY: the caller's promise, and the processor was checked.
            Self(unsafe { [_mm256_loadu_pd(p), _mm256_loadu_pd(p.add(4))] })
        }
        #[inline(always)]
        unsafe fn widen(p: *const f32) -> Self {
            // SAFETY: the caller's promise, and the processor was checked.
            Self(unsafe { [_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p.add(4)))] })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f64) {
            // SAFETY: the caller's promise, and the processor was checked.
            unsafe {
                _mm256_storeu_pd(p, self.0[0]);
                _mm256_storeu_pd(p.add(4), self.0[1]);
            }
        }
        #[inline(always)]
        fn add(self, o: Self) -> Self {
            both!(self, o, _mm256_add_pd)
        }
        #[inline(always)]
        fn sub(self, o: Self) -> Self {
            both!(self, o, _mm256_sub_pd)
        }
        #[inline(always)]
        fn mul(self, o: Self) -> Self {
            both!(self, o, _mm256_mul_pd)
        }
        #[inline(always)]
        fn at_least(self, bound: Self) -> Self {
            both!(bound, self, _mm256_max_pd) // the second operand where either is NaN
        }
        #[inline(always)]
        fn zero_where_below(self, key: Self, bound: Self) -> Self {
            let mut out = self;
            for ((out, key), bound) in out.0.iter_mut().zip(key.0).zip(bound.0) {
                // SAFETY: the processor was checked (see `vectorised!`).
                *out = unsafe { _mm256_andnot_pd(_mm256_cmp_pd::<_CMP_LT_OQ>(key, bound), *out) };
            }
            out
        }
        #[inline(always)]
        fn pow2_of_rounded(self) -> Self {
            let mut out = self;
            for half in &mut out.0 {
                // SAFETY: the processor was checked (see `vectorised!`).
                *half = unsafe {
                    let shift = _mm256_set1_epi64x(1023_i64.wrapping_sub(ROUND.to_bits() as i64));
                    let exponent = _mm256_add_epi64(_mm256_castpd_si256(*half), shift);
                    _mm256_castsi256_pd(_mm256_slli_epi64::<52>(exponent))
                };
            }
            out
        }
    }

    macro_rules! one {
        ($a:expr, $b:expr, $intrinsic:ident) => {
            // SAFETY: this type is used only where the processor was checked (see `vectorised!`).
            Self(unsafe { $intrinsic($a.0, $b.0) })
        };
    }

    impl Eight for Avx512 {
        #[inline(always)]
        fn splat(x: f64) -> Self {
            // SAFETY: the processor was checked (see `vectorised!`).
            Self(unsafe { _mm512_set1_pd(x) })
        }
        #[inline(always)]
        unsafe fn load(p: *const f64) -> Self {
            // SAFETY: the caller's promise, and the processor was checked.
            Self(unsafe { _mm512_loadu_pd(p) })
        }
        #[inline(always)]
        unsafe fn widen(p: *const f32) -> Self {
            // SAFETY: the caller's promise, and the processor was checked.
            Self(unsafe { _mm512_cvtps_pd(_mm256_loadu_ps(p)) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f64) {
            // SAFETY: the caller's promise, and the processor was checked.
            unsafe { _mm512_storeu_pd(p, self.0) }
        }
        #[inline(always)]
        fn add(self, o: Self) -> Self {
            one!(self, o, _mm512_add_pd)
        }
        #[inline(always)]
        fn sub(self, o: Self) -> Self {
            one!(self, o, _mm512_sub_pd)
        }
        #[inline(always)]
        fn mul(self, o: Self) -> Self {
            one!(self, o, _mm512_mul_pd)
        }
        #[inline(always)]
        fn at_least(self, bound: Self) -> Self {
            one!(bound, self, _mm512_max_pd) // the second operand where either is NaN
        }
        #[inline(always)]
        fn zero_where_below(self, key: Self, bound: Self) -> Self {
            // SAFETY: the processor was checked (see `vectorised!`).
            Self(unsafe { _mm512_maskz_mov_pd(!_mm512_cmp_pd_mask::<_CMP_LT_OQ>(key.0, bound.0), self.0) })
        }
        #[inline(always)]
        fn pow2_of_rounded(self) -> Self {
            // SAFETY: the processor was checked (see `vectorised!`).
            Self(unsafe {
                let shift = _mm512_set1_epi64(1023_i64.wrapping_sub(ROUND.to_bits() as i64));
                let exponent = _mm512_add_epi64(_mm512_castpd_si512(self.0), shift);
                _mm512_castsi512_pd(_mm512_slli_epi64::<52>(exponent))
            })
        }
    }
}
