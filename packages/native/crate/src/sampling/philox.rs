//! The counter-based generator.

/// Philox4x32-10 (Salmon et al. 2011).
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
    }
    counter
}

/// A number in (0, 1): the generator's first two words `x0`, `x1` give `((x0 >> 6) * 2^26 + (x1 >> 6) + 0.5) * 2^-52`.
/// Key: the seed's low and high word; counter: `[position, sample, 0, 0]`.
pub fn uniform(seed: [u32; 2], sample: u32, position: u32) -> f64 {
    let words = philox([position, sample, 0, 0], seed);
    (f64::from(words[0] >> 6) * 67_108_864.0 + f64::from(words[1] >> 6) + 0.5) / 4_503_599_627_370_496.0
}
