//! Number formats: bfloat16, and the precision of a matrix product.

use crate::border::fail;
use napi::Result;

/// In which format the operands of a matrix product are. Sums are always fp32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    Fp32,
    /// Both operands rounded to bfloat16, to nearest even.
    Bf16,
    /// Both operands in eight bits, with a scale for each 32 numbers of a row: see `gemm::int8`.
    Int8,
}

impl Precision {
    /// From JavaScript: `'fp32'` or `'bf16'`.
    pub fn parse(text: &str) -> Result<Self> {
        match Self::parse_weight(text) {
            Ok(precision @ (Self::Fp32 | Self::Bf16)) => Ok(precision),
            _ => Err(fail(format!("precision '{text}' is neither 'fp32' nor 'bf16'"))),
        }
    }

    /// The same for a product that may be inexact: `'int8'` too.
    pub fn parse_weight(text: &str) -> Result<Self> {
        match text {
            "fp32" => Ok(Self::Fp32),
            "bf16" => Ok(Self::Bf16),
            "int8" => Ok(Self::Int8),
            other => Err(fail(format!("precision '{other}' is none of 'fp32', 'bf16' and 'int8'"))),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

/// To bfloat16, to nearest even; NaN stays NaN (quiet), overflow becomes infinity.
#[inline(always)]
pub fn bf16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    (if x.is_nan() { quiet } else { rounded }) as u16
}

/// From bfloat16.
#[inline(always)]
pub fn bf16_value(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// The nearest bfloat16 value.
#[inline(always)]
pub fn round_bf16(x: f32) -> f32 {
    bf16_value(bf16_bits(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_nearest_even() {
        assert_eq!(round_bf16(1.0), 1.0);
        assert_eq!(round_bf16(1.0 + 1.0 / 256.0), 1.0); // halfway, to even
        assert_eq!(round_bf16(1.0 + 3.0 / 256.0), 1.0 + 4.0 / 256.0); // halfway, to even
        assert_eq!(round_bf16(1.0 + 1.1 / 256.0), 1.0 + 2.0 / 256.0);
        assert_eq!(round_bf16(-0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!(round_bf16(f32::MAX), f32::INFINITY);
        assert_eq!(round_bf16(f32::NEG_INFINITY), f32::NEG_INFINITY);
        assert!(round_bf16(f32::NAN).is_nan());
        assert!(round_bf16(f32::from_bits(0x7f80_0001)).is_nan());
    }
}
