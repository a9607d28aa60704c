//! Kernels for training and decoding language models on a CPU.
//!
//! Each module keeps its arithmetic in functions over slices, which `cargo test` checks against naive references,
//! and ends with the `#[napi]` functions that JavaScript calls. Those check every length and every overlap first
//! (`border`), so that wrong arguments become JavaScript errors and never undefined behaviour.

pub mod adamw;
pub mod adapted_linear;
pub mod arena;
pub mod border;
pub mod dtype;
pub mod features;
pub mod gemm;
pub mod lent;
pub mod linear;
pub mod linears;
pub mod memory;
pub mod pool;
pub mod token_divergence;
pub mod token_outputs;

pub mod attention;
pub mod cached_attention;
pub mod decode_block;
pub mod elementwise;
pub mod embedding;
pub mod gelu;
pub mod layout;
pub mod norms;
pub mod reduce;
pub mod rotary;
pub mod sampling;
pub mod swiglu;
pub mod vector;
