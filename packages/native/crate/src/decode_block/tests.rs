use super::kept::ARRAYS;
use super::*;
use crate::adapted_linear;
use crate::attention::Left;
use crate::cached_attention::parse_ranges;
use crate::dtype::{round_bf16, Precision};
use crate::gemm::choice::noise;
use crate::gemm::{multiply, Output, Right, View};
use crate::swiglu::swiglu_forward;

/// A block's sizes and what is optional in it.
struct Case {
    m: usize,
    d: usize,
    inner: usize,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    window: usize,
    biases: bool,
    head_norms: bool,
    half: usize,
    /// Layers with an adapter, a bit each.
    adapted: u32,
}

/// Its numbers.
struct Numbers {
    weights: Vec<Vec<f32>>,
    packed: Vec<PackedB>,
    biases: Vec<Option<Vec<f32>>>,
    adapters: Vec<Option<LowRank>>,
    norms: [Vec<f32>; 4],
    inv_freq: Vec<f32>,
    positions: Vec<i32>,
    cache_rows: Vec<i32>,
    ranges: Vec<i32>,
    x: Vec<f32>,
    cache: [Vec<f32>; 2],
}

/// An adapter of a layer: A `[r, K]`, B `[N, r]`.
struct LowRank {
    a: Vec<f32>,
    b: Vec<f32>,
    packed: [PackedB; 2],
    rank: usize,
}

const SCALE: f32 = 1.7;

const CAPACITY: usize = 300;

impl Case {
    fn shape(&self) -> Heads {
        let &Case { heads, kv_heads, dim, window, .. } = self;
        Heads { heads, kv_heads, dim, scale: 0.3, window }
    }

    /// Outputs and inputs of the layers.
    fn layers(&self) -> [(usize, usize); 7] {
        let (d, inner, width, kv) = (self.d, self.inner, self.heads * self.dim, self.kv_heads * self.dim);
        [(width, d), (kv, d), (kv, d), (d, width), (inner, d), (inner, d), (d, inner)]
    }

    fn numbers(&self, precision: Precision) -> Numbers {
        let layers = self.layers();
        let weights: Vec<Vec<f32>> = (0..7)
            .map(|i| {
                let (n, k) = layers[i];
                noise(i as u32 + 1, n * k).iter().map(|w| w / (k as f32).sqrt()).collect()
            })
            .collect();
        let packed = |w: &[f32], n: usize, k: usize| match PackedB::new(View::row_major(w, n, k), precision) {
            Some(packed) => packed,
            None => panic!("memory"),
        };
        let pack = |i: usize| packed(&weights[i], layers[i].0, layers[i].1);
        let adapter = |i: usize| {
            let ((n, k), rank) = (layers[i], [1, 3, 17, 8, 33, 16, 4][i]);
            let a: Vec<f32> = noise(i as u32 + 70, rank * k).iter().map(|a| a / (k as f32).sqrt()).collect();
            let b: Vec<f32> =
                noise(i as u32 + 80, n * rank).iter().map(|b| b / (rank as f32).sqrt()).collect();
            let pair = [packed(&a, rank, k), packed(&b, n, rank)];
            (self.adapted >> i & 1 == 1).then_some(LowRank { a, b, packed: pair, rank })
        };
        let kv = self.kv_heads * self.dim;
        Numbers {
            packed: (0..7).map(pack).collect(),
            biases: (0..7).map(|i| self.biases.then(|| noise(i as u32 + 20, layers[i].0))).collect(),
            adapters: (0..7).map(adapter).collect(),
            norms: [self.d, self.d, self.dim, self.dim].map(|n| noise(n as u32 + 40, n)),
            inv_freq: (0..self.half).map(|i| 10f32.powf(-(i as f32) / 4.0)).collect(),
            positions: (0..self.m).map(|b| 17 + b as i32 % 3).collect(),
            cache_rows: (0..self.m).map(|b| 290 - b as i32).collect(),
            // A prefix that all share, and rows of each one's own, the new one alone here.
            ranges: (0..self.m).flat_map(|b| [3, 150 + b as i32 % 5, 290 - b as i32, 1]).collect(),
            x: noise(60, self.m * self.d),
            cache: [61, 62].map(|seed| noise(seed, CAPACITY * kv)),
            weights,
        }
    }
}

impl Numbers {
    fn layer(&self, i: usize) -> Linear<'_> {
        let adapter = self.adapters[i].as_ref();
        let adapter = adapter.map(|it| Adapter { a: &it.packed[0], b: &it.packed[1], scale: SCALE });
        Linear { weight: &self.packed[i], bias: self.biases[i].as_deref(), adapter }
    }

    fn bias(&self, i: usize, column: usize) -> f64 {
        self.biases[i].as_ref().map_or(0.0, |bias| f64::from(bias[column]))
    }
}

/// The block by the functions of the separate kernels, and both caches after it as floats (with `rounded`, those of bfloat16); and what it keeps.
fn separately(
    case: &Case,
    numbers: &Numbers,
    ranges: &[Span],
    precision: Precision,
    rounded: bool,
) -> ([Vec<f32>; 3], [Vec<f32>; ARRAYS]) {
    let shape = case.shape();
    let times = |x: &[f32], packed: &PackedB, bias: Option<&[f32]>| -> Vec<f32> {
        let mut y = vec![0f32; case.m * packed.n()];
        let output = Output { data: &mut y, stride: packed.n(), accumulate: false, far: false, bias };
        let x = View::row_major(x, case.m, packed.k());
        multiply(output, x, Right::Packed(packed.columns()), precision);
        y
    };
    let project = |x: &[f32], i: usize| -> Vec<f32> {
        let (weight, bias) = (&numbers.packed[i], numbers.biases[i].as_deref());
        let Some(LowRank { a, b, rank, .. }) = &numbers.adapters[i] else { return times(x, weight, bias) };
        let (mut y, mut h) = (vec![0f32; case.m * weight.n()], vec![0f32; case.m * rank]);
        let layer = adapted_linear::Forward {
            n: weight.n(),
            r: *rank,
            weight: Right::Packed(weight.columns()),
            bias,
            adapter: adapted_linear::LowRank { a, b, scale: SCALE },
            y: &mut y,
        };
        adapted_linear::forward((case.m, weight.k()), x, vec![layer], &mut h, precision);
        y
    };
    let norm = |x: &[f32], weight: &[f32]| -> Vec<f32> {
        let mut y = vec![0f32; x.len()];
        rms_norm_forward(x, weight, 1e-5, &mut y);
        y
    };
    let turn = |x: Vec<f32>, weight: &[f32], heads: usize| -> Vec<f32> {
        let x = if case.head_norms { norm(&x, weight) } else { x };
        let mut y = vec![0f32; x.len()];
        rotary_forward(&x, &numbers.positions, &numbers.inv_freq, 1.1, false, heads, case.dim, &mut y);
        y
    };
    let add = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<f32>>();
    let kv = case.kv_heads * case.dim;
    let h = norm(&numbers.x, &numbers.norms[0]);
    let [plain_q, plain_k, v] = [0, 1, 2].map(|i| project(&h, i));
    let q = turn(plain_q.clone(), &numbers.norms[2], case.heads);
    let k = turn(plain_k.clone(), &numbers.norms[3], case.kv_heads);
    let [mut cache_k, mut cache_v] = numbers.cache.clone();
    for (b, &row) in numbers.cache_rows.iter().enumerate() {
        let to = row as usize * kv;
        cache_k[to..to + kv].copy_from_slice(&k[b * kv..(b + 1) * kv]);
        cache_v[to..to + kv].copy_from_slice(&v[b * kv..(b + 1) * kv]);
    }
    let (mut mixed, mut lse) = (vec![0f32; q.len()], vec![0f32; case.m * case.heads]);
    let format = if rounded { Format::Rounded } else { Format::Floats };
    let (keys, values) = (Stored::new(&cache_k, format), Stored::new(&cache_v, format));
    let own_rows: Vec<i32> = (0..case.m as i32).collect();
    let mut again = mixed.clone();
    let left = Left { rows: &own_rows, o: SharedMut::new(&mut again), lse: SharedMut::new(&mut lse) };
    forward_last(&q, keys, values, &shape, ranges, &mut mixed, Some(&left));
    if rounded {
        [&mut cache_k, &mut cache_v].into_iter().flatten().for_each(|x| *x = round_bf16(*x));
    }
    let o = project(&mixed, 3);
    let middle = add(&numbers.x, &o);
    let g = norm(&middle, &numbers.norms[1]);
    let (gate, up) = (project(&g, 4), project(&g, 5));
    let mut inside = vec![0f32; gate.len()];
    swiglu_forward(&gate, &up, &mut inside);
    let down = project(&inside, 6);
    let y = add(&middle, &down);
    ([y, cache_k, cache_v], [plain_q, plain_k, v, mixed, lse, o, gate, up, down])
}

/// Numbers as a cache of that format has them in memory.
fn stored(numbers: &[f32], format: Format) -> Vec<f32> {
    if format != Format::Halves {
        return numbers.to_vec();
    }
    let mut memory = vec![0f32; numbers.len() / 2];
    write_rows(&mut memory, format, numbers, numbers.len(), &[0]);
    memory
}

/// The block for row `b` by plain loops in float64; `cache_k`, `cache_v` hold the new tokens.
fn plainly(case: &Case, numbers: &Numbers, b: usize, cache_k: &[f32], cache_v: &[f32]) -> Vec<f64> {
    let Case { d, heads, kv_heads, dim, .. } = *case;
    let project = |x: &[f64], i: usize| -> Vec<f64> {
        let (n, k) = case.layers()[i];
        let dot = |j: usize| (0..k).map(|t| x[t] * f64::from(numbers.weights[i][j * k + t])).sum::<f64>();
        let plain = (0..n).map(|j| dot(j) + numbers.bias(i, j));
        let Some(LowRank { a, b, rank, .. }) = &numbers.adapters[i] else { return plain.collect() };
        let inside = |r: usize| (0..k).map(|t| x[t] * f64::from(a[r * k + t])).sum::<f64>();
        let inside: Vec<f64> = (0..*rank).map(inside).collect();
        let update = |j: usize| {
            let products = inside.iter().zip(&b[j * rank..]).map(|(x, b)| x * f64::from(*b));
            f64::from(SCALE) * products.sum::<f64>()
        };
        plain.enumerate().map(|(j, y)| y + update(j)).collect()
    };
    let norm = |x: &[f64], weight: &[f32]| -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        x.iter().zip(weight).map(|(x, w)| x / (mean + 1e-5).sqrt() * f64::from(*w)).collect()
    };
    let turn = |x: &[f64]| -> Vec<f64> {
        let mut y = x.to_vec();
        for i in 0..case.half {
            let (sin, cos) = (f64::from(numbers.positions[b]) * f64::from(numbers.inv_freq[i])).sin_cos();
            let (low, high) = (x[i], x[i + case.half]);
            y[i] = (low * cos - high * sin) * 1.1;
            y[i + case.half] = (high * cos + low * sin) * 1.1;
        }
        y
    };
    let x: Vec<f64> = numbers.x[b * d..(b + 1) * d].iter().map(|&x| f64::from(x)).collect();
    let q = project(&norm(&x, &numbers.norms[0]), 0);
    let range = &numbers.ranges[4 * b..4 * b + 4];
    let mut seen: Vec<usize> = (range[0]..range[0] + range[1]).map(|row| row as usize).collect();
    seen.extend((range[2]..range[2] + range[3]).map(|row| row as usize));
    if case.window > 0 {
        seen.drain(..seen.len().saturating_sub(case.window));
    }
    let mut mixed = vec![];
    for head in 0..heads {
        let own = &q[head * dim..(head + 1) * dim];
        let own = turn(&if case.head_norms { norm(own, &numbers.norms[2]) } else { own.to_vec() });
        let at = |row: usize| (row * kv_heads + head / (heads / kv_heads)) * dim;
        let score = |row: usize| (0..dim).map(|t| own[t] * f64::from(cache_k[at(row) + t])).sum::<f64>();
        let weights: Vec<f64> = seen.iter().map(|&row| (score(row) * 0.3).exp()).collect();
        let total: f64 = weights.iter().sum();
        mixed.extend((0..dim).map(|t| {
            let sum: f64 =
                seen.iter().zip(&weights).map(|(&row, w)| w * f64::from(cache_v[at(row) + t])).sum();
            sum / total
        }));
    }
    let middle: Vec<f64> = x.iter().zip(project(&mixed, 3)).map(|(x, y)| x + y).collect();
    let g = norm(&middle, &numbers.norms[1]);
    let inside: Vec<f64> =
        project(&g, 4).iter().zip(project(&g, 5)).map(|(g, up)| g / (1.0 + (-g).exp()) * up).collect();
    middle.iter().zip(project(&inside, 6)).map(|(x, y)| x + y).collect()
}

#[test]
fn a_block_is_its_separate_kernels_to_the_bit_and_plain_loops_nearly() {
    let base = Case {
        m: 1,
        d: 24,
        inner: 40,
        heads: 4,
        kv_heads: 2,
        dim: 6,
        window: 0,
        biases: false,
        head_norms: false,
        half: 3,
        adapted: 0,
    };
    let cases = [
        Case { m: 3, ..base },
        Case { m: 8, d: 37, inner: 101, heads: 3, kv_heads: 1, dim: 5, half: 2, biases: true, ..base },
        Case { m: 13, d: 64, inner: 96, heads: 2, kv_heads: 2, dim: 32, half: 16, head_norms: true, ..base },
        Case { m: 40, d: 33, window: 20, biases: true, head_norms: true, ..base },
        Case { m: 3, adapted: 0b111_1111, biases: true, ..base },
        Case { m: 9, d: 65, inner: 97, adapted: 0b000_0101, ..base }, // q and v
        Case { m: 17, adapted: 0b110_1010, head_norms: true, ..base },
        base,
    ];
    let mut scratch = Scratch::default();
    for case in &cases {
        let in_bf16 = if case.dim % 2 == 0 { Format::Halves } else { Format::Rounded };
        for (precision, format) in [(Precision::Fp32, Format::Floats), (Precision::Bf16, in_bf16)] {
            let numbers = case.numbers(precision);
            let ranges = match parse_ranges("test", &numbers.ranges, CAPACITY) {
                Ok(ranges) => ranges,
                Err(error) => panic!("{error}"),
            };
            let head_norm = |i: usize| case.head_norms.then(|| &numbers.norms[i][..]);
            let block = DecodeBlock {
                shape: case.shape(),
                format,
                eps: 1e-5,
                attention_norm: &numbers.norms[0],
                mlp_norm: &numbers.norms[1],
                q_norm: head_norm(2),
                k_norm: head_norm(3),
                q: numbers.layer(0),
                k: numbers.layer(1),
                v: numbers.layer(2),
                o: numbers.layer(3),
                gate: numbers.layer(4),
                up: numbers.layer(5),
                down: numbers.layer(6),
                positions: &numbers.positions,
                inv_freq: &numbers.inv_freq,
                rotary_scaling: 1.1,
                cache_rows: &numbers.cache_rows,
                ranges: &ranges,
            };
            let mut x = numbers.x.clone();
            let [mut cache_k, mut cache_v] = numbers.cache.each_ref().map(|cache| stored(cache, format));
            let rounded = format != Format::Floats;
            let ([y, keys, values], outputs) = separately(case, &numbers, &ranges, precision, rounded);
            // Rows in another order, with one that nobody writes, and every third token not kept.
            let kept_rows: Vec<i32> =
                (0..case.m as i32).map(|b| if b % 3 == 1 { -1 } else { case.m as i32 - b }).collect();
            let mut kept =
                outputs.each_ref().map(|output| vec![f32::NAN; output.len() / case.m * (case.m + 1)]);
            {
                let [q, k, v, mixed, lse, o, gate, up, down] = kept.each_mut().map(|all| SharedMut::new(all));
                let kept = Kept { rows: &kept_rows, q, k, v, mixed, lse, o, gate, up, down };
                block.run(&mut x, &mut cache_k, &mut cache_v, Some(&kept), &mut scratch);
            }
            for (array, output) in kept.iter().zip(&outputs) {
                let width = output.len() / case.m;
                for place in 0..=case.m as i32 {
                    let found = &array[place as usize * width..][..width];
                    match kept_rows.iter().position(|&row| row == place) {
                        Some(b) => {
                            assert_eq!(found, &output[b * width..][..width], "token {b} of {}", case.m)
                        }
                        None => assert!(found.iter().all(|x| x.is_nan()), "row {place} was written to"),
                    }
                }
            }
            let mut again = numbers.x.clone();
            let [mut again_k, mut again_v] = numbers.cache.each_ref().map(|cache| stored(cache, format));
            block.run(&mut again, &mut again_k, &mut again_v, None, &mut scratch);
            assert!(again == x && again_k == cache_k && again_v == cache_v, "keeping changes nothing");
            let same = |cache: &[f32], expected: &[f32]| match format {
                Format::Rounded => cache.iter().map(|&x| round_bf16(x)).eq(expected.iter().copied()),
                _ => cache == stored(expected, format),
            };
            assert!(
                x == y && same(&cache_k, &keys) && same(&cache_v, &values),
                "{} rows, {precision:?}",
                case.m
            );
            if precision == Precision::Fp32 {
                for b in 0..case.m {
                    for (i, expected) in
                        plainly(case, &numbers, b, &cache_k, &cache_v).into_iter().enumerate()
                    {
                        let got = f64::from(x[b * case.d + i]);
                        assert!((got - expected).abs() < 1e-4, "row {b} of {}: {got} {expected}", case.m);
                    }
                }
            }
        }
    }
}
