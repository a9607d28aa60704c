//! Vectors of x86-64's registers.

use super::{eight, Vector};
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
    type Doubles = eight::Avx2;
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
    #[inline(always)]
    unsafe fn load_half(p: *const u16) -> Self {
        // SAFETY: the caller's promise, and the processor was checked.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits)))
        }
    }
    #[inline(always)]
    unsafe fn join_halves(low: *const u16, high: *const u16) -> Self {
        // SAFETY: the caller's promise, and the processor was checked.
        unsafe {
            let [low, high] = [low, high].map(|p| _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast())));
            Self(_mm256_castsi256_ps(_mm256_or_si256(low, _mm256_slli_epi32::<16>(high))))
        }
    }
    #[inline(always)]
    fn halves_apart(self) -> [Self; 2] {
        // SAFETY: the processor was checked (see `vectorised!`).
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let high = _mm256_and_si256(bits, _mm256_set1_epi32(0xffff_0000_u32 as i32));
            [_mm256_slli_epi32::<16>(bits), high].map(|half| Self(_mm256_castsi256_ps(half)))
        }
    }
    simple! {
        add(o) => _mm256_add_ps, sub(o) => _mm256_sub_ps, mul(o) => _mm256_mul_ps, div(o) => _mm256_div_ps,
        fma(a, b) => _mm256_fmadd_ps, max(o) => _mm256_max_ps, min(o) => _mm256_min_ps, sqrt() => _mm256_sqrt_ps,
    }
    #[inline(always)]
    unsafe fn transpose(rows: [*const f32; 8], out: *mut f32, stride: usize) {
        // SAFETY: the caller's promise, and the processor was checked.
        unsafe {
            for d in [0, 4] {
                // Four columns of row i, and of row i + 4.
                let mut halves = [_mm256_setzero_ps(); 4];
                for (i, half) in halves.iter_mut().enumerate() {
                    let low = _mm256_castps128_ps256(_mm_loadu_ps(rows[i].add(d)));
                    *half = _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(rows[i + 4].add(d)));
                }
                let [a, b, c, e] = halves;
                let (ab, ba) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (ce, ec) = (_mm256_unpacklo_ps(c, e), _mm256_unpackhi_ps(c, e));
                let out = out.add(d * stride);
                _mm256_storeu_ps(out, _mm256_shuffle_ps::<0x44>(ab, ce));
                _mm256_storeu_ps(out.add(stride), _mm256_shuffle_ps::<0xee>(ab, ce));
                _mm256_storeu_ps(out.add(2 * stride), _mm256_shuffle_ps::<0x44>(ba, ec));
                _mm256_storeu_ps(out.add(3 * stride), _mm256_shuffle_ps::<0xee>(ba, ec));
            }
        }
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
    type Doubles = eight::Avx512;
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
    #[inline(always)]
    unsafe fn store_half(self, p: *mut u16) {
        // SAFETY: the caller's promise; AVX-512 F is there.
        unsafe {
            let high = _mm512_srli_epi32::<16>(_mm512_castps_si512(self.rounded_half().0));
            _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(high));
        }
    }
    #[inline(always)]
    fn rounded_half(self) -> Self {
        // SAFETY: the processor was checked (see `vectorised!`).
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            let rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x40_0000));
            Self(_mm512_castsi512_ps(_mm512_and_si512(rounded, _mm512_set1_epi32(0xffff_0000_u32 as i32))))
        }
    }
    #[inline(always)]
    fn halves_apart(self) -> [Self; 2] {
        // SAFETY: the processor was checked (see `vectorised!`).
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let high = _mm512_and_si512(bits, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            [_mm512_slli_epi32::<16>(bits), high].map(|half| Self(_mm512_castsi512_ps(half)))
        }
    }
    #[inline(always)]
    unsafe fn load_half(p: *const u16) -> Self {
        // SAFETY: the caller's promise; AVX-512 F is there.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits)))
        }
    }
    #[inline(always)]
    unsafe fn join_halves(low: *const u16, high: *const u16) -> Self {
        // SAFETY: the caller's promise; AVX-512 F is there.
        unsafe {
            let low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(low.cast()));
            let high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(high.cast()));
            Avx512(_mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32::<16>(high))))
        }
    }
    simple! {
        add(o) => _mm512_add_ps, sub(o) => _mm512_sub_ps, mul(o) => _mm512_mul_ps, div(o) => _mm512_div_ps,
        fma(a, b) => _mm512_fmadd_ps, max(o) => _mm512_max_ps, min(o) => _mm512_min_ps, sqrt() => _mm512_sqrt_ps,
    }
    #[inline(always)]
    unsafe fn transpose(rows: [*const f32; 8], out: *mut f32, stride: usize) {
        // SAFETY: by the caller's promise; a level with AVX-512 has AVX2.
        unsafe { Avx2::transpose(rows, out, stride) }
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
