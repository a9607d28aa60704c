//! A vector of floats as wide as the processor has, and functions compiled once for each width.
//!
//! Every lane is computed alike, and the ends of rows go through the same code in a padded buffer, so that a number's value depends neither on where
//! in a buffer it stands nor on how the work was divided.

use std::sync::OnceLock;

/// Floats that a thread takes at a time in element-wise kernels: 64 KiB of each operand.
pub const GRAIN: usize = 16_384;

/// What the processor offers, best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// The level in use, found once: the best that the processor offers and that agrees with plain Rust on a set of probes.
/// `ESPALIER_VECTORS` (`portable`, `avx2`) asks for a lower one.
#[inline]
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let wanted = std::env::var("ESPALIER_VECTORS").unwrap_or_default();
        #[cfg(target_arch = "x86_64")]
        if wanted != "portable" {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            // SAFETY: the features were just found.
            if avx512 && wanted != "avx2" && unsafe { probe_avx512() } {
                return Level::Avx512;
            }
            // SAFETY: as above.
            if avx2 && unsafe { probe_avx2() } {
                return Level::Avx2;
            }
        }
        let _ = wanted;
        Level::Portable
    })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
fn probe_avx512() -> bool {
    agree(probe::<Avx512>(), probe::<Portable>())
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn probe_avx2() -> bool {
    agree(probe::<Avx2>(), probe::<Portable>())
}

/// What every operation gives on numbers of all kinds.
#[inline(always)]
fn probe<V: Vector>() -> [[f32; 16]; 16] {
    const X: [f32; 16] = [
        0.0,
        -1.0,
        1.5,
        2.5,
        -86.0,
        -90.0,
        88.0,
        90.0,
        0.3,
        -0.7,
        3.5,
        -2.5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        12.25,
        -30.0,
    ];
    const Y: [f32; 16] =
        [1.0, 2.0, -3.0, 0.5, 4.0, -90.5, 2.0, 90.0, -0.3, 0.7, 3.0, 2.5, 1.0, 2.0, -12.0, 7.0];
    let mut out = [[0.0; 16]; 16];
    let mut i = 0;
    while i < 16 {
        // SAFETY: i + LANES <= 16, because LANES divides 16.
        unsafe {
            let (x, y) = (V::load(X.as_ptr().add(i)), V::load(Y.as_ptr().add(i)));
            let small = V::splat(100.0).min(V::splat(-100.0).max(x.round()));
            x.add(y).store(out[0].as_mut_ptr().add(i));
            x.sub(y).store(out[1].as_mut_ptr().add(i));
            x.mul(y).store(out[2].as_mut_ptr().add(i));
            x.div(y).store(out[3].as_mut_ptr().add(i));
            x.fma(y, V::splat(0.25)).store(out[4].as_mut_ptr().add(i));
            x.max(y).store(out[5].as_mut_ptr().add(i));
            x.min(y).store(out[6].as_mut_ptr().add(i));
            y.mul(y).sqrt().store(out[7].as_mut_ptr().add(i));
            x.round().store(out[8].as_mut_ptr().add(i));
            small.pow2().store(out[9].as_mut_ptr().add(i));
            V::splat(1.0).zero_where_below(x, y).store(out[10].as_mut_ptr().add(i));
            x.exp().store(out[11].as_mut_ptr().add(i));
            x.sigmoid().store(out[12].as_mut_ptr().add(i));
            V::load_part(Y.as_ptr().add(i), 5).store_part(out[13].as_mut_ptr().add(i), 7);
            // Small integers: their sums are exact in any order.
            let whole = y.round();
            for lane in 0..V::LANES {
                out[14][0] += whole.lanes()[lane];
                out[15][0] = if lane == 0 && i == 0 { y.lanes()[0] } else { out[15][0].max(y.lanes()[lane]) };
            }
            out[14][2] += whole.sum();
            out[15][2] = if i == 0 { y.top() } else { out[15][2].max(y.top()) };
        }
        i += V::LANES;
    }
    // Two vectors of 8 lanes write twice where one of 16 writes once: only the first half is comparable.
    out[13][8..].fill(0.0);
    out
}

fn agree(a: [[f32; 16]; 16], b: [[f32; 16]; 16]) -> bool {
    let same = |a: f32, b: f32| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 * b.abs();
    let rows = a.iter().zip(&b).all(|(a, b)| a.iter().zip(b).all(|(&a, &b)| same(a, b)));
    rows && a[14][0] == a[14][2] && a[15][0] == a[15][2]
}

/// Declares a function whose body is compiled for every [`Level`] and chosen at run time. In the body, `V` is the [`Vector`] of the level.
#[macro_export]
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$v:ident>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::extra_unused_type_parameters)]
            fn body<$v: $crate::vector::Vector>($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? { body::<$crate::vector::Avx512>($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? { body::<$crate::vector::Avx2>($($arg),*) }
            match $crate::vector::level() {
                // SAFETY: `level` answers Avx512 only where the processor has these features.
                #[cfg(target_arch = "x86_64")]
                $crate::vector::Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above, for AVX2 and FMA.
                #[cfg(target_arch = "x86_64")]
                $crate::vector::Level::Avx2 => unsafe { avx2($($arg),*) },
                $crate::vector::Level::Portable => body::<$crate::vector::Portable>($($arg),*),
            }
        }
    };
}

/// A vector of `LANES` floats. The types of x86-64 are used only inside [`vectorised!`] functions, which check the processor first.
pub trait Vector: Copy {
    const LANES: usize;
    fn splat(x: f32) -> Self;
    /// # Safety
    /// `p` must be readable for `LANES` floats.
    unsafe fn load(p: *const f32) -> Self;
    /// # Safety
    /// `p` must be writable for `LANES` floats.
    unsafe fn store(self, p: *mut f32);
    fn add(self, o: Self) -> Self;
    fn sub(self, o: Self) -> Self;
    fn mul(self, o: Self) -> Self;
    fn div(self, o: Self) -> Self;
    /// `self * a + b`, fused where the processor can.
    fn fma(self, a: Self, b: Self) -> Self;
    /// The larger; `o` where either is NaN.
    fn max(self, o: Self) -> Self;
    /// The smaller; `o` where either is NaN.
    fn min(self, o: Self) -> Self;
    fn sqrt(self) -> Self;
    /// To the nearest integer, ties to even.
    fn round(self) -> Self;
    /// `2^self` for an integer in [-126, 127].
    fn pow2(self) -> Self;
    /// `self` where not `key < bound`, else 0.
    fn zero_where_below(self, key: Self, bound: Self) -> Self;

    /// The first `count < LANES` lanes, the rest zero.
    ///
    /// # Safety
    /// `p` must be readable for `count` floats.
    #[inline(always)]
    unsafe fn load_part(p: *const f32, count: usize) -> Self {
        let mut buffer = [0.0f32; 16];
        // SAFETY: the caller's promise; no vector is wider than the buffer.
        unsafe {
            std::ptr::copy_nonoverlapping(p, buffer.as_mut_ptr(), count.min(16));
            Self::load(buffer.as_ptr())
        }
    }
    /// The first `count < LANES` lanes go to `p`.
    ///
    /// # Safety
    /// `p` must be writable for `count` floats.
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, count: usize) {
        let lanes = self.lanes();
        // SAFETY: the caller's promise; the array holds 16 floats.
        unsafe { std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, count.min(16)) }
    }
    /// The lanes as an array on the stack, the rest zero.
    #[inline(always)]
    fn lanes(self) -> [f32; 16] {
        let mut out = [0.0; 16];
        // SAFETY: no vector here is wider than 16 lanes.
        unsafe { self.store(out.as_mut_ptr()) };
        out
    }
    /// The sum of the lanes, pairwise in a fixed order.
    #[inline(always)]
    fn sum(self) -> f32 {
        let mut l = self.lanes();
        let mut n = Self::LANES;
        while n > 1 {
            n /= 2;
            for i in 0..n {
                l[i] += l[i + n];
            }
        }
        l[0]
    }
    /// The largest lane.
    #[inline(always)]
    fn top(self) -> f32 {
        let l = self.lanes();
        l[1..Self::LANES].iter().fold(l[0], |a, &b| if a > b { a } else { b })
    }
    /// `e^self`, within 2 units in the last place; 0 below -86.9, +inf above 88.7 (through overflow of the product), NaN for NaN.
    #[inline(always)]
    fn exp(self) -> Self {
        let low = Self::splat(-86.9);
        let x = Self::splat(88.73).min(low.max(self));
        let k = x.mul(Self::splat(std::f32::consts::LOG2_E)).round();
        let r = k.fma(Self::splat(-0.693_359_4), x);
        let r = k.fma(Self::splat(2.121_944_4e-4), r);
        let mut p = Self::splat(1.987_569_1e-4);
        p = p.fma(r, Self::splat(1.398_199_9e-3));
        p = p.fma(r, Self::splat(8.333_452e-3));
        p = p.fma(r, Self::splat(4.166_579_6e-2));
        p = p.fma(r, Self::splat(1.666_666_5e-1));
        p = p.fma(r, Self::splat(0.5));
        let y = p.fma(r.mul(r), r).add(Self::splat(1.0));
        // In two steps, because 2^128 is not a float: k - 1 is within reach.
        y.mul(k.sub(Self::splat(1.0)).pow2()).mul(Self::splat(2.0)).zero_where_below(self, low)
    }
    /// `1 / (1 + e^-self)`.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let one = Self::splat(1.0);
        one.div(one.add(Self::splat(0.0).sub(self).exp()))
    }
}

/// Eight floats in plain Rust.
#[derive(Clone, Copy)]
pub struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, o: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = self.0;
        for (a, b) in out.iter_mut().zip(o.0) {
            *a = f(*a, b);
        }
        Self(out)
    }
}

impl Vector for Portable {
    const LANES: usize = 8;
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; 8])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { std::ptr::read_unaligned(p.cast()) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
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
    fn div(self, o: Self) -> Self {
        self.zip(o, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self, b: Self) -> Self {
        self.mul(a).add(b)
    }
    #[inline(always)]
    fn max(self, o: Self) -> Self {
        self.zip(o, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, o: Self) -> Self {
        self.zip(o, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.map(f32::sqrt))
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(self.0.map(f32::round_ties_even))
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        Self(self.0.map(|k| f32::from_bits(((k as i32 + 127) as u32) << 23)))
    }
    #[inline(always)]
    fn zero_where_below(self, key: Self, bound: Self) -> Self {
        let mut out = self;
        for i in 0..8 {
            if key.0[i] < bound.0[i] {
                out.0[i] = 0.0;
            }
        }
        out
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Vector;
    use std::arch::x86_64::*;

    /// Eight floats in a `ymm` register.
    #[derive(Clone, Copy)]
    pub struct Avx2(__m256);
    /// Sixteen floats in a `zmm` register.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    macro_rules! simple {
        ($($name:ident($($arg:ident),*) => $intrinsic:ident),* $(,)?) => {
            $(#[inline(always)]
            fn $name(self $(, $arg: Self)*) -> Self {
                // SAFETY: this type is used only where the processor was checked (see `vectorised!`).
                Self(unsafe { $intrinsic(self.0 $(, $arg.0)*) })
            })*
        };
    }

    impl Vector for Avx2 {
        const LANES: usize = 8;
        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: the processor was checked (see `vectorised!`).
            Self(unsafe { _mm256_set1_ps(x) })
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            // SAFETY: the caller's promise, and the processor was checked.
            Self(unsafe { _mm256_loadu_ps(p) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            // SAFETY: the caller's promise, and the processor was checked.
            unsafe { _mm256_storeu_ps(p, self.0) }
        }
        simple! {
            add(o) => _mm256_add_ps, sub(o) => _mm256_sub_ps, mul(o) => _mm256_mul_ps, div(o) => _mm256_div_ps,
            fma(a, b) => _mm256_fmadd_ps, max(o) => _mm256_max_ps, min(o) => _mm256_min_ps, sqrt() => _mm256_sqrt_ps,
        }
        #[inline(always)]
        fn sum(self) -> f32 {
            // SAFETY: the processor was checked (see `vectorised!`). Lane i is added to lane i + half, as in the general form.
            unsafe {
                let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
            }
        }
        #[inline(always)]
        fn top(self) -> f32 {
            // SAFETY: as above.
            unsafe {
                let four = _mm_max_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
                let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
            }
        }
        #[inline(always)]
        fn round(self) -> Self {
            // SAFETY: the processor was checked (see `vectorised!`).
            Self(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
        }
        #[inline(always)]
        fn pow2(self) -> Self {
            // SAFETY: the processor was checked (see `vectorised!`).
            Self(unsafe {
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(
                    _mm256_cvtps_epi32(self.0),
                    _mm256_set1_epi32(127),
                )))
            })
        }
        #[inline(always)]
        fn zero_where_below(self, key: Self, bound: Self) -> Self {
            // SAFETY: the processor was checked (see `vectorised!`).
            Self(unsafe { _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(key.0, bound.0), self.0) })
        }
    }

    impl Avx512 {
        #[inline(always)]
        fn halves(self) -> [Avx2; 2] {
            // SAFETY: the processor was checked (see `vectorised!`); a level with AVX-512 has AVX2.
            unsafe { [Avx2(_mm512_castps512_ps256(self.0)), Avx2(_mm512_extractf32x8_ps::<1>(self.0))] }
        }
    }

    impl Vector for Avx512 {
        const LANES: usize = 16;
        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: the processor was checked (see `vectorised!`).
            Self(unsafe { _mm512_set1_ps(x) })
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            // SAFETY: the caller's promise, and the processor was checked.
            Self(unsafe { _mm512_loadu_ps(p) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            // SAFETY: the caller's promise, and the processor was checked.
            unsafe { _mm512_storeu_ps(p, self.0) }
        }
        simple! {
            add(o) => _mm512_add_ps, sub(o) => _mm512_sub_ps, mul(o) => _mm512_mul_ps, div(o) => _mm512_div_ps,
            fma(a, b) => _mm512_fmadd_ps, max(o) => _mm512_max_ps, min(o) => _mm512_min_ps, sqrt() => _mm512_sqrt_ps,
        }
        #[inline(always)]
        fn sum(self) -> f32 {
            let [low, high] = self.halves();
            low.add(high).sum()
        }
        #[inline(always)]
        fn top(self) -> f32 {
            let [low, high] = self.halves();
            low.max(high).top()
        }
        #[inline(always)]
        fn round(self) -> Self {
            // SAFETY: the processor was checked (see `vectorised!`).
            Self(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
        }
        #[inline(always)]
        fn pow2(self) -> Self {
            // SAFETY: the processor was checked (see `vectorised!`).
            Self(unsafe {
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(
                    _mm512_cvtps_epi32(self.0),
                    _mm512_set1_epi32(127),
                )))
            })
        }
        #[inline(always)]
        fn zero_where_below(self, key: Self, bound: Self) -> Self {
            // SAFETY: the processor was checked (see `vectorised!`).
            Self(unsafe { _mm512_maskz_mov_ps(!_mm512_cmp_ps_mask::<_CMP_LT_OQ>(key.0, bound.0), self.0) })
        }
    }
}

/// Computes whole vectors of `n` floats: `map!(V, n, [x: input, …] => [output, …], [value, …])`; the last, partial vector goes through padded buffers.
///
/// A macro and not a function of closures: the compiler does not give a closure the processor features of the function that it stands in, and one that it
/// leaves out of line runs a hundred times slower.
///
/// Used in `unsafe`: every pointer must be valid for `n` floats; an output may equal an input, but may not overlap one otherwise.
#[macro_export]
macro_rules! map {
    ($v:ident, $n:expr, [$($x:ident: $input:expr),+ $(,)?] => [$($output:expr),+ $(,)?], $body:expr) => {{
        let n: usize = $n;
        let outputs = [$($output),+];
        let whole = n / $v::LANES * $v::LANES;
        let mut i = 0;
        while i < whole {
            $(let $x = $v::load(($input).add(i));)+
            let results = $body;
            let mut k = 0;
            while k < results.len() {
                results[k].store(outputs[k].add(i));
                k += 1;
            }
            i += $v::LANES;
        }
        let rest = n - whole;
        if rest > 0 {
            $(let $x = $v::load_part(($input).add(whole), rest);)+
            let results = $body;
            let mut k = 0;
            while k < results.len() {
                results[k].store_part(outputs[k].add(whole), rest);
                k += 1;
            }
        }
    }};
}

/// Sums over `n` floats: `fold!(V, n, [x: input, …], sum, next sum)`. Four vectors of partial sums, then across the lanes; the order depends on `n` alone.
/// Zeros in all inputs must leave the sum as it is.
///
/// Used in `unsafe`: every pointer must be readable for `n` floats.
#[macro_export]
macro_rules! fold {
    ($v:ident, $n:expr, [$($x:ident: $input:expr),+ $(,)?], $sum:ident, $body:expr) => {{
        let n: usize = $n;
        let mut sums = [$v::splat(0.0); 4];
        let step = 4 * $v::LANES;
        let mut i = 0;
        while i + step <= n {
            let mut k = 0;
            while k < 4 {
                $(let $x = $v::load(($input).add(i + k * $v::LANES));)+
                let $sum = sums[k];
                sums[k] = $body;
                k += 1;
            }
            i += step;
        }
        while i + $v::LANES <= n {
            $(let $x = $v::load(($input).add(i));)+
            let $sum = sums[0];
            sums[0] = $body;
            i += $v::LANES;
        }
        if i < n {
            $(let $x = $v::load_part(($input).add(i), n - i);)+
            let $sum = sums[1];
            sums[1] = $body;
        }
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum()
    }};
}

#[cfg(test)]
mod tests {
    vectorised! {
        fn exps<V>(x: &[f32], y: &mut [f32]) {
            assert_eq!(x.len(), y.len());
            // SAFETY: both slices hold x.len() floats.
            unsafe { map!(V, x.len(), [v: x.as_ptr()] => [y.as_mut_ptr()], [v.exp()]) }
        }
    }

    #[test]
    fn every_level_of_this_processor_agrees_with_plain_rust() {
        #[cfg(target_arch = "x86_64")]
        {
            use super::*;
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the features were just found.
                assert!(unsafe { probe_avx2() });
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                // SAFETY: as above.
                assert!(unsafe { probe_avx512() });
            }
        }
        let mut wrong = super::probe::<super::Portable>();
        wrong[4][3] += 1.0;
        assert!(!super::agree(wrong, super::probe::<super::Portable>()));
    }

    #[test]
    fn exp_is_accurate_and_keeps_special_values() {
        let mut x: Vec<f32> = (-8700..8860).map(|i| i as f32 * 0.01).collect();
        x.extend([f32::NEG_INFINITY, -200.0, 89.0, f32::INFINITY, f32::NAN]);
        let mut y = vec![0.0; x.len()];
        exps(&x, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let exact = f64::from(*x).exp();
            if x.is_nan() {
                assert!(y.is_nan());
            } else if *x < -86.9 {
                assert_eq!(*y, 0.0);
            } else if *x > 88.72 {
                assert_eq!(*y, f32::INFINITY);
            } else {
                assert!((f64::from(*y) - exact).abs() <= 3e-7 * exact, "{x}: {y} {exact}");
            }
        }
    }
}
