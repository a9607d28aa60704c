//! A vector of floats as wide as the processor has, and functions compiled once for each width.
//!
//! Every lane is computed alike, and the ends of rows go through the same code in a padded buffer, so that a number's value depends neither on where
//! in a buffer it stands nor on how the work was divided.

/// Floats that a thread takes at a time in element-wise kernels: 64 KiB of each operand.
pub const GRAIN: usize = 16_384;

use crate::dtype::{bf16_bits, bf16_value, round_bf16};

pub mod eight;
mod level;
pub use level::{level, Level};

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
    /// Doubles, in the same processor's registers.
    type Doubles: eight::Eight;
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
    /// Rounds to bfloat16, as `bf16_bits` does.
    ///
    /// # Safety
    /// `p` must be writable for `LANES` of them.
    #[inline(always)]
    unsafe fn store_half(self, p: *mut u16) {
        let lanes = self.lanes();
        for (i, &x) in lanes[..Self::LANES].iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { *p.add(i) = bf16_bits(x) };
        }
    }
    /// From bfloat16.
    ///
    /// # Safety
    /// `p` must be readable for `LANES` of them.
    #[inline(always)]
    unsafe fn load_half(p: *const u16) -> Self {
        let mut buffer = [0.0f32; 16];
        for (i, x) in buffer[..Self::LANES].iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *x = bf16_value(unsafe { *p.add(i) });
        }
        // SAFETY: no vector is wider than the buffer.
        unsafe { Self::load(buffer.as_ptr()) }
    }
    /// Pairs of numbers of bfloat16, each in the place of a float: the first ones from `low`, the second ones from `high`.
    ///
    /// # Safety
    /// Both must be readable for `LANES` of them.
    #[inline(always)]
    unsafe fn join_halves(low: *const u16, high: *const u16) -> Self {
        let mut buffer = [0.0f32; 16];
        for (i, pair) in buffer[..Self::LANES].iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let [low, high] = unsafe { [*low.add(i), *high.add(i)] };
            *pair = f32::from_bits(u32::from(low) | u32::from(high) << 16);
        }
        // SAFETY: no vector is wider than the buffer.
        unsafe { Self::load(buffer.as_ptr()) }
    }
    /// Each lane to the nearest number of bfloat16, as `round_bf16` does.
    #[inline(always)]
    fn rounded_half(self) -> Self {
        let lanes = self.lanes().map(round_bf16);
        // SAFETY: no vector is wider than the array.
        unsafe { Self::load(lanes.as_ptr()) }
    }
    /// Each lane as two numbers of bfloat16: the first ones of all lanes, and the second ones.
    #[inline(always)]
    fn halves_apart(self) -> [Self; 2] {
        let lanes = self.lanes();
        let [low, high] = [lanes.map(|x| x.to_bits() << 16), lanes.map(|x| x.to_bits() & 0xffff_0000)];
        // SAFETY: no vector is wider than the arrays.
        [low, high].map(|bits| unsafe { Self::load(bits.map(f32::from_bits).as_ptr()) })
    }
    /// `out[d * stride + i] = rows[i][d]` for 8 rows and 8 columns.
    ///
    /// # Safety
    /// Each row must be readable for 8 floats, `out` writable for 8 at each multiple of the stride.
    #[inline(always)]
    unsafe fn transpose(rows: [*const f32; 8], out: *mut f32, stride: usize) {
        for (i, row) in rows.into_iter().enumerate() {
            for d in 0..8 {
                // SAFETY: by the caller's promise.
                unsafe { *out.add(d * stride + i) = *row.add(d) };
            }
        }
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
    type Doubles = eight::Portable;
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
mod x86;

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
mod tests;
