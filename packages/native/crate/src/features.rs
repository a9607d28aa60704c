//! What the processor can do, and which kernels are used because of it.

use crate::border::guard;
use crate::dtype::Precision;
use crate::gemm::choice;
use crate::pool;
use napi::Result;
use napi_derive::napi;

/// Instruction sets that have kernels here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Processor {
    pub avx2: bool,
    pub avx512: bool,
    pub avx512_bf16: bool,
    pub avx512_vnni: bool,
    pub amx_bf16: bool,
}

/// What the processor offers, the system permits and `ESPALIER_CPU` does not rule out: `avx2` stands for a processor without AVX-512, `baseline` for a
/// plain one of its architecture.
pub fn processor() -> Processor {
    use std::sync::OnceLock;
    static FOUND: OnceLock<Processor> = OnceLock::new();
    *FOUND.get_or_init(|| detect().as_if(std::env::var("ESPALIER_CPU").as_deref().unwrap_or_default()))
}

impl Processor {
    /// This processor without what the one of that name lacks.
    fn as_if(self, name: &str) -> Self {
        match name {
            "baseline" => Self::default(),
            "avx2" => Self { avx2: self.avx2, ..Self::default() },
            _ => self,
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Processor {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq");
    let avx512_bf16 = avx512 && is_x86_feature_detected!("avx512bf16");
    let avx512_vnni = avx512 && is_x86_feature_detected!("avx512vnni");
    let amx_bf16 = avx512_bf16 && amx_offered() && amx_permitted();
    Processor { avx2, avx512, avx512_bf16, avx512_vnni, amx_bf16 }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Processor {
    Processor::default()
}

/// CPUID leaf 7: AMX-BF16 (EDX bit 22) and AMX-TILE (bit 24); XGETBV: the system saves tile state (bits 17 and 18).
#[cfg(target_arch = "x86_64")]
fn amx_offered() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    #[target_feature(enable = "xsave")]
    fn enabled_state() -> u64 {
        // SAFETY: register 0 always exists where XSAVE does.
        unsafe { std::arch::x86_64::_xgetbv(0) }
    }
    // SAFETY: every x86-64 processor has CPUID (newer compilers know, so that the block is unused there).
    #[allow(unused_unsafe)]
    let (leaves, leaf7) = unsafe { (__cpuid(0).eax, __cpuid_count(7, 0).edx) };
    if leaves < 7 || !is_x86_feature_detected!("xsave") {
        return false;
    }
    let wanted = (1 << 22) | (1 << 24);
    // SAFETY: XSAVE was just detected, which means that the system has enabled it.
    leaf7 & wanted == wanted && unsafe { enabled_state() } & (3 << 17) == 3 << 17
}

/// Linux gives tile data to a process that asks (`ARCH_REQ_XCOMP_PERM`, component 18), for all its threads.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn amx_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call changes nothing but the process's permission.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn amx_permitted() -> bool {
    false
}

/// See `NativeFeatures` in `binding.ts`.
#[napi(object)]
pub struct Features {
    pub arch: String,
    pub threads: u32,
    pub avx2: bool,
    pub avx512: bool,
    pub avx512_bf16: bool,
    pub avx512_vnni: bool,
    pub amx_bf16: bool,
    pub fp32_kernel: String,
    pub bf16_kernel: String,
    pub int8_kernel: String,
    pub native_bf16: bool,
    pub refused_kernels: Vec<String>,
}

/// What the processor offers, and what the kernels make of it.
#[napi]
pub fn features() -> Result<Features> {
    guard(|| Ok(describe()))
}

fn describe() -> Features {
    let found = processor();
    Features {
        arch: std::env::consts::ARCH.to_string(),
        threads: pool::num_threads() as u32,
        avx2: found.avx2,
        avx512: found.avx512,
        avx512_bf16: found.avx512_bf16,
        avx512_vnni: found.avx512_vnni,
        amx_bf16: found.amx_bf16,
        fp32_kernel: choice::kernel(Precision::Fp32).name.to_string(),
        bf16_kernel: choice::kernel(Precision::Bf16).name.to_string(),
        int8_kernel: choice::kernel(Precision::Int8).name.to_string(),
        native_bf16: choice::kernel(Precision::Bf16).bf16,
        refused_kernels: [Precision::Fp32, Precision::Bf16, Precision::Int8]
            .iter()
            .flat_map(|&precision| choice::refused(precision))
            .map(|name| name.to_string())
            .collect(),
    }
}
