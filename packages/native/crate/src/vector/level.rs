//! Which vectors this processor has, and whether they compute as plain Rust does.

#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512};
#[cfg(any(target_arch = "x86_64", test))]
use super::{Portable, Vector};
#[cfg(target_arch = "x86_64")]
use crate::features::processor;
use std::sync::OnceLock;

/// What the processor offers, best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// The level in use, found once: the best that the processor offers (see `features::processor`) and that agrees with plain Rust on a set of probes.
#[inline]
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            let found = processor();
            // SAFETY: the features were just found.
            if found.avx512 && unsafe { probe_avx512() } {
                return Level::Avx512;
            }
            // SAFETY: as above.
            if found.avx2 && unsafe { probe_avx2() } {
                return Level::Avx2;
            }
        }
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
#[cfg(any(target_arch = "x86_64", test))]
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

#[cfg(any(target_arch = "x86_64", test))]
fn agree(a: [[f32; 16]; 16], b: [[f32; 16]; 16]) -> bool {
    let same = |a: f32, b: f32| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 * b.abs();
    let rows = a.iter().zip(&b).all(|(a, b)| a.iter().zip(b).all(|(&a, &b)| same(a, b)));
    rows && a[14][0] == a[14][2] && a[15][0] == a[15][2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_of_this_processor_agrees_with_plain_rust() {
        #[cfg(target_arch = "x86_64")]
        {
            let found = processor();
            if found.avx2 {
                // SAFETY: the features were just found.
                assert!(unsafe { probe_avx2() });
            }
            if found.avx512 {
                // SAFETY: as above.
                assert!(unsafe { probe_avx512() });
            }
        }
        let mut wrong = probe::<Portable>();
        wrong[4][3] += 1.0;
        assert!(!agree(wrong, probe::<Portable>()));
    }
}
