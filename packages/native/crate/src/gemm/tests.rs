use super::choice::noise;
use super::kernel::{Format, Kernel, PORTABLE, PORTABLE_ROUNDED};
use super::*;
use crate::dtype::round_bf16;

/// Every kernel that this processor can run.
fn kernels() -> Vec<&'static Kernel> {
    #[allow(unused_mut)]
    let mut list: Vec<&'static Kernel> = vec![&PORTABLE, &PORTABLE_ROUNDED, &int8::PORTABLE_BYTES];
    #[cfg(target_arch = "x86_64")]
    {
        let found = crate::features::processor();
        let all: [(bool, &'static Kernel); 8] = [
            (found.avx2, &avx2::AVX2),
            (found.avx2, &avx2::AVX2_ROUNDED),
            (found.avx512, &avx512::AVX512),
            (found.avx512, &avx512::AVX512_ROUNDED),
            (found.avx512_bf16, &avx512::AVX512_BF16),
            (found.amx_bf16, &amx::AMX),
            (found.avx512_vnni, &int8::AVX512_VNNI),
            (found.avx2, &int8::AVX2_BYTES),
        ];
        list.extend(all.into_iter().filter(|(here, _)| *here).map(|(_, kernel)| kernel));
    }
    list
}

/// The definition, in float64.
fn naive(
    kernel: &Kernel,
    a: View,
    b: View,
    c: &[f32],
    stride: usize,
    accumulate: bool,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let lanes = |view: &View| -> Vec<Vec<f64>> {
        let lane = |i: usize| {
            (0..view.columns).map(move |j| view.data[i * view.row_stride + j * view.column_stride])
        };
        (0..view.rows).map(|i| choice::stored(kernel.format_a, &lane(i).collect::<Vec<_>>())).collect()
    };
    let (left, right) = (lanes(&a), lanes(&b));
    let mut out = c.to_vec();
    for i in 0..a.rows {
        for j in 0..b.rows {
            let sum: f64 = left[i].iter().zip(&right[j]).map(|(a, b)| a * b).sum();
            let before = if accumulate { f64::from(c[i * stride + j]) } else { 0.0 };
            out[i * stride + j] = (before + sum + bias.map_or(0.0, |bias| f64::from(bias[j]))) as f32;
        }
    }
    out
}

fn close(got: &[f32], expected: &[f32], k: usize, what: &str) {
    assert_eq!(got.len(), expected.len());
    let limit = 2e-6 * (k as f32 + 1.0).sqrt();
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            (got - expected).abs() <= limit * (1.0 + expected.abs()),
            "{what}: element {i} is {got}, not {expected}"
        );
    }
}

#[test]
fn every_kernel_multiplies_odd_shapes_with_any_strides() {
    let shapes = [
        (1, 1, 1),
        (1, 17, 5),
        (2, 16, 8),
        (5, 33, 31),
        (6, 16, 64),
        (7, 40, 333),
        (13, 70, 641),
        (33, 65, 100),
        (97, 257, 37),
        (200, 48, 321),
    ];
    for kernel in kernels() {
        for (case, &(m, n, k)) in shapes.iter().enumerate() {
            let seed = case as u32 * 10 + 1;
            let (a, b, c, bias) = (
                noise(seed, m * k * 3),
                noise(seed + 1, n * k * 3),
                noise(seed + 2, m * (n + 3)),
                noise(seed + 3, n),
            );
            // Rows adjacent, columns adjacent, neither.
            let views = |data, lanes| {
                [
                    View::new(data, lanes, k, k, 1),
                    View::new(data, lanes, k, 1, lanes),
                    View::new(data, lanes, k, 2 * k + 1, 2),
                ]
            };
            for (way_a, way_b) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (0, 2), (2, 1)] {
                let (Some(a), Some(b)) = (views(&a, m)[way_a], views(&b, n)[way_b]) else {
                    panic!("views fit")
                };
                for accumulate in [false, true] {
                    let bias = (case % 2 == 0).then_some(&bias[..]);
                    let mut got = c.clone();
                    let output = Output { data: &mut got, stride: n + 3, accumulate, far: false, bias };
                    multiply_with(kernel, output, a.into(), Right::Lanes(b));
                    let expected = naive(kernel, a, b, &c, n + 3, accumulate, bias);
                    close(
                        &got,
                        &expected,
                        k,
                        &format!("{} {m}x{n}x{k} {way_a}{way_b} {accumulate}", kernel.name),
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_is_the_same_to_the_bit_in_any_batch_packed_or_not() {
    for precision in [Precision::Fp32, Precision::Bf16, Precision::Int8] {
        for (n, k) in [(50, 576), (33, 1000), (64, 37)] {
            let (x, w) = (noise(7, 300 * k), noise(8, n * k));
            let w = View::row_major(&w, n, k);
            let Some(packed) = PackedB::new(w, precision) else { panic!("memory") };
            let mut whole = vec![0f32; 300 * n];
            let output = Output { data: &mut whole, stride: n, accumulate: false, far: false, bias: None };
            multiply(output, View::row_major(&x, 300, k), Right::Lanes(w), precision);
            for (start, m) in [(0, 1), (17, 1), (3, 2), (100, 5), (200, 64), (150, 97), (1, 299)] {
                let mut part = vec![0f32; m * n];
                let output = Output { data: &mut part, stride: n, accumulate: false, far: false, bias: None };
                multiply(
                    output,
                    View::row_major(&x[start * k..], m, k),
                    Right::Packed(packed.columns()),
                    precision,
                );
                assert!(
                    part == whole[start * n..(start + m) * n],
                    "rows {start}+{m} of {n}x{k} {precision:?}"
                );
            }
        }
    }
}

#[test]
fn some_columns_of_a_packed_operand() {
    let (m, n, k) = (9, 150, 70);
    let (x, w) = (noise(1, m * k), noise(2, n * k));
    let w = View::row_major(&w, n, k);
    let Some(packed) = PackedB::new(w, Precision::Fp32) else { panic!("memory") };
    let mut whole = vec![0f32; m * n];
    let output = Output { data: &mut whole, stride: n, accumulate: false, far: false, bias: None };
    multiply(output, View::row_major(&x, m, k), Right::Packed(packed.columns()), Precision::Fp32);
    let mut part = vec![0f32; m * 54];
    let output = Output { data: &mut part, stride: 54, accumulate: false, far: false, bias: None };
    multiply(output, View::row_major(&x, m, k), Right::Packed(packed.column_range(96..150)), Precision::Fp32);
    for row in 0..m {
        assert_eq!(part[row * 54..(row + 1) * 54], whole[row * n + 96..(row + 1) * n]);
    }
}

#[test]
fn slices_of_large_operands_and_empty_sums() {
    // Long enough in K that a slice holds few panels.
    let (m, n, k) = (150, 140, 70_000);
    let (a, b) = (noise(1, m * k), noise(2, n * k));
    let (a, b) = (View::row_major(&a, m, k), View::row_major(&b, n, k));
    let mut got = vec![0f32; m * n];
    let output = Output { data: &mut got, stride: n, accumulate: false, far: false, bias: None };
    multiply(output, a, Right::Lanes(b), Precision::Fp32);
    for (i, j) in [(0, 0), (149, 139), (73, 70), (24, 64), (140, 3)] {
        let expected: f64 = (0..k).map(|t| f64::from(a.data[i * k + t]) * f64::from(b.data[j * k + t])).sum();
        assert!((f64::from(got[i * n + j]) - expected).abs() < 2e-3, "{} {expected}", got[i * n + j]);
    }

    let mut c = vec![1f32; 6];
    let output =
        Output { data: &mut c, stride: 3, accumulate: false, far: false, bias: Some(&[1.0, 2.0, 3.0]) };
    multiply(output, View::row_major(&[], 2, 0), Right::Lanes(View::row_major(&[], 3, 0)), Precision::Fp32);
    assert_eq!(c, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
}

#[test]
fn kernels_pass_their_own_test_and_none_is_refused() {
    let (good, bad): (Vec<_>, Vec<_>) = kernels().into_iter().partition(|kernel| choice::passes(kernel));
    let names = |list: Vec<&Kernel>| list.iter().map(|kernel| kernel.name).collect::<Vec<_>>();
    println!("pass: {:?}", names(good)); // `--nocapture` shows what this processor tests
    assert_eq!(names(bad), [""; 0]);
    for precision in [Precision::Fp32, Precision::Bf16, Precision::Int8] {
        assert_eq!(choice::refused(precision), [""; 0]);
    }
}

#[test]
fn every_kernel_sums_long_rows() {
    let shapes =
        |mr: usize| [(1, 20, 576), (2, 37, 1000), (mr / 2 + 1, 32, 320), (mr, 65, 33), (2 * mr + 1, 33, 700)];
    let wrong: Vec<_> = kernels()
        .into_iter()
        .flat_map(|kernel| shapes(kernel.mr).map(|shape| (kernel, shape)))
        .filter(|&(kernel, (m, n, k))| !choice::agrees(kernel, m, n, k))
        .map(|(kernel, shape)| (kernel.name, shape))
        .collect();
    assert_eq!(wrong, []);
}

/// Where the definition of a format puts element (lane, k), in elements.
fn place(format: Format, width: usize, lane: usize, k: usize) -> usize {
    match format {
        Format::Float | Format::Rounded => k * width + lane,
        Format::Halves => k * width + lane % (width / 2) * 2 + lane / (width / 2),
        Format::Pairs => k / 2 * 2 * width + lane * 2 + k % 2,
        Format::TilesA => k / 32 * 32 * width + lane / 16 * 512 + lane % 16 * 32 + k % 32,
        Format::TilesB => k / 32 * 32 * width + lane / 16 * 512 + k % 32 / 2 * 32 + lane % 16 * 2 + k % 2,
        Format::BytesA | Format::BytesB => unreachable!("int8/tests.rs has tests of their own"),
    }
}

#[test]
fn panels_lie_as_their_format_says() {
    use crate::dtype::bf16_bits;
    type Pack = unsafe fn(&pack::Source, Format, *mut u8);
    #[allow(unused_mut)]
    let mut ways: Vec<(&str, Pack)> = vec![("portable", pack::pack_portable)];
    #[cfg(target_arch = "x86_64")]
    {
        let found = crate::features::processor();
        ways.extend(found.avx2.then_some(("avx2", pack::pack_avx2 as Pack)));
        ways.extend(found.avx512.then_some(("avx512", pack::pack_avx512 as Pack)));
    }
    let formats =
        [Format::Float, Format::Rounded, Format::Halves, Format::Pairs, Format::TilesA, Format::TilesB];
    for (name, pack) in ways {
        for (format, widths, unit) in formats.map(|format| match format {
            Format::TilesA | Format::TilesB => (format, &[32usize][..], 32),
            _ => (format, &[4, 6, 12, 16, 32][..], 2),
        }) {
            for &width in widths {
                for (lanes, k) in [(width, 100usize), (1, 96), (width - 1, 33), (width, 64), (3, 7)] {
                    let padded = k.next_multiple_of(unit);
                    let data = noise(5, 100 * 40 * 2);
                    for (lane_stride, k_stride) in [(100, 1), (1, 40), (200, 2)] {
                        let data_ptr = data.as_ptr();
                        let source =
                            pack::Source { data: data_ptr, lane_stride, k_stride, lanes, width, k, padded };
                        let bytes = format.bytes(padded * width);
                        let block = Block::new(bytes);
                        // SAFETY: all elements lie inside `data`, and the block has room for the panel.
                        let out = unsafe {
                            pack(&source, format, block.as_ptr());
                            std::slice::from_raw_parts(block.as_ptr(), bytes)
                        };
                        let stored = if format == Format::TilesA {
                            lanes.next_multiple_of(16).min(width)
                        } else {
                            width
                        };
                        for lane in 0..stored {
                            for step in 0..padded {
                                let inside = lane < lanes && step < k;
                                let value =
                                    if inside { data[lane * lane_stride + step * k_stride] } else { 0.0 };
                                let at = format.bytes(place(format, width, lane, step));
                                let what = || {
                                    format!("{name} {format:?} {width} lanes {lanes} k {k} ({lane}, {step})")
                                };
                                if format.bytes(1) == 2 {
                                    assert_eq!(
                                        u16::from_ne_bytes([out[at], out[at + 1]]),
                                        bf16_bits(value),
                                        "{}",
                                        what()
                                    );
                                } else {
                                    let expected =
                                        if format == Format::Rounded { round_bf16(value) } else { value };
                                    let got =
                                        f32::from_ne_bytes([out[at], out[at + 1], out[at + 2], out[at + 3]]);
                                    assert_eq!(got, expected, "{}", what());
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn views_stay_inside_their_slice() {
    let data = [0f32; 12];
    assert!(View::new(&data, 3, 4, 4, 1).is_some());
    assert!(View::new(&data, 3, 4, 4, 2).is_none());
    assert!(View::new(&data, 4, 4, 4, 1).is_none());
    assert!(View::new(&data, usize::MAX, 4, usize::MAX, 1).is_none());
    assert!(View::new(&[], 0, 4, 4, 1).is_some());
}
