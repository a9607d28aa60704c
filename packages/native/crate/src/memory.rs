//! Memory for tensors: aligned to cache lines, not zeroed, in huge pages where it is large.
//!
//! V8's own typed arrays are neither aligned nor in huge pages; aligned operands make an AMX product three times as
//! fast. JavaScript sees such memory as an ordinary `ArrayBuffer`.

use crate::border::{fail, guard};
use napi::bindgen_prelude::*;
use napi_derive::napi;
use std::alloc::{alloc, dealloc, handle_alloc_error, Layout};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

/// Alignment of every allocation: a cache line, and a row of an AMX tile.
pub const ALIGNMENT: usize = 64;
/// From this size on, memory is asked for in huge pages.
pub const HUGE_FROM: usize = 2 << 20;
const HUGE_PAGE: usize = 2 << 20;
/// Mappings are multiples of this, and so of every size of page up to 64 KB.
#[cfg(target_os = "linux")]
const PAGE: usize = 64 << 10;

/// From this size on, memory is mapped by itself and goes back to the system when it is freed. The allocator would keep it: glibc raises the size from
/// which it maps to that of the largest block ever freed, and holds on to what is smaller.
#[cfg(target_os = "linux")]
const MAPPED_FROM: usize = 256 << 10;

/// Asks for the cache line at an address, which may be any: nothing is read, and a processor without such an instruction does nothing.
#[inline(always)]
fn prefetch<const HINT: i32>(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<HINT>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for a line into the first-level cache.
#[inline(always)]
pub fn ask(address: *const u8) {
    prefetch::<3>(address); // _MM_HINT_T0
}

/// Asks for a line into the second-level cache.
#[inline(always)]
pub fn ask_second(address: *const u8) {
    prefetch::<2>(address); // _MM_HINT_T1
}

/// Bytes held at the moment by `Block`s.
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

/// An aligned block of memory with arbitrary contents, freed on drop.
pub struct Block {
    data: *mut u8,
    layout: Layout,
}

// SAFETY: a block is plain memory that it owns.
unsafe impl Send for Block {}
// SAFETY: shared access gives only `&[T]`.
unsafe impl Sync for Block {}

impl Block {
    /// `None` when the size is impossible or memory is exhausted.
    pub fn try_new(bytes: usize) -> Option<Self> {
        let align = if bytes >= HUGE_FROM { HUGE_PAGE } else { ALIGNMENT };
        #[cfg(target_os = "linux")]
        let bytes = if bytes >= MAPPED_FROM { bytes.checked_next_multiple_of(PAGE)? } else { bytes };
        let layout = Layout::from_size_align(bytes.max(ALIGNMENT), align).ok()?;
        let data = Self::take(layout)?;
        #[cfg(target_os = "linux")]
        if bytes >= HUGE_FROM {
            // SAFETY: the range is ours; the advice changes no contents, and its failure changes nothing at all.
            unsafe { libc::madvise(data.cast(), bytes / HUGE_PAGE * HUGE_PAGE, libc::MADV_HUGEPAGE) };
        }
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        Some(Self { data, layout })
    }

    fn take(layout: Layout) -> Option<*mut u8> {
        #[cfg(target_os = "linux")]
        if layout.size() >= MAPPED_FROM {
            return map(layout);
        }
        // SAFETY: the layout's size is at least `ALIGNMENT`, so not zero.
        let data = unsafe { alloc(layout) };
        (!data.is_null()).then_some(data)
    }

    /// Aborts when memory is exhausted, as `Vec` does.
    pub fn new(bytes: usize) -> Self {
        Self::try_new(bytes).unwrap_or_else(|| {
            handle_alloc_error(Layout::from_size_align(bytes, ALIGNMENT).unwrap_or(Layout::new::<u8>()))
        })
    }

    pub fn bytes(&self) -> usize {
        self.layout.size()
    }

    /// Whether a new block of this size comes from the system as pages, which are zeros until something is written.
    fn is_fresh(&self) -> bool {
        cfg!(target_os = "linux") && self.layout.size() >= MAPPED_FROM
    }

    pub fn as_ptr(&self) -> *mut u8 {
        self.data
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        ALLOCATED.fetch_sub(self.layout.size(), Ordering::Relaxed);
        #[cfg(target_os = "linux")]
        if self.layout.size() >= MAPPED_FROM {
            // SAFETY: `map` left exactly this range mapped, and it is unmapped once.
            unsafe { libc::munmap(self.data.cast(), self.layout.size()) };
            return;
        }
        // SAFETY: allocated with this layout, and freed once.
        unsafe { dealloc(self.data, self.layout) };
    }
}

/// Pages of the system's, aligned as the layout says.
#[cfg(target_os = "linux")]
fn map(layout: Layout) -> Option<*mut u8> {
    let spare = if layout.align() > PAGE { layout.align() } else { 0 };
    let total = layout.size().checked_add(spare)?;
    // SAFETY: a new private mapping without a file touches nothing that exists.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            total,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return None;
    }
    let start = start.cast::<u8>();
    let before = start.align_offset(layout.align());
    // SAFETY: both ends lie inside the mapping, on page boundaries, and nobody uses them.
    unsafe {
        let data = start.add(before);
        if before > 0 {
            libc::munmap(start.cast(), before);
        }
        if spare > before {
            libc::munmap(data.add(layout.size()).cast(), spare - before);
        }
        Some(data)
    }
}

/// Floats in a `Block`, zeroed at creation only when asked for.
pub struct Floats {
    block: Block,
    len: usize,
}

impl Floats {
    /// `len` floats of arbitrary finite or non-finite value.
    pub fn uninit(len: usize) -> Self {
        Self { block: Block::new(len.checked_mul(4).expect("size fits")), len }
    }

    pub fn zeroed(len: usize) -> Self {
        let mut floats = Self::uninit(len);
        floats.fill(0.0);
        floats
    }
}

impl std::ops::Deref for Floats {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: the block holds `len` floats and is aligned; the allocator's memory is opaque to the compiler and
        // each bit pattern is a float.
        unsafe { std::slice::from_raw_parts(self.block.data.cast(), self.len) }
    }
}

impl std::ops::DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.block.data.cast(), self.len) }
    }
}

/// Blocks that JavaScript holds, by address, so that `release` can free one before the collector comes to it.
static HELD: Mutex<Option<HashMap<usize, (u64, Block)>>> = Mutex::new(None);
static SERIAL: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Takes the block out of `HELD`: by its serial number, because a freed address may have been handed out again.
fn take_held(address: usize, serial: Option<u64>) -> Option<Block> {
    let mut held = HELD.lock().ok()?;
    let map = held.as_mut()?;
    let (found, _) = map.get(&address)?;
    if serial.is_some_and(|serial| serial != *found) {
        return None;
    }
    map.remove(&address).map(|(_, block)| block)
}

/// An `ArrayBuffer` of `bytes` bytes, aligned to 64, with arbitrary contents. Freed when collected or `release`d.
#[napi]
pub fn allocate(env: &Env, bytes: f64) -> Result<ArrayBuffer<'_>> {
    lend(env, block_of(bytes)?, bytes as usize)
}

/// The same, of zeros.
#[napi]
pub fn allocate_zeros(env: &Env, bytes: f64) -> Result<ArrayBuffer<'_>> {
    let block = block_of(bytes)?;
    if !block.is_fresh() {
        // SAFETY: the block holds so many bytes, and nobody else knows it yet.
        unsafe { std::ptr::write_bytes(block.as_ptr(), 0, block.bytes()) };
    }
    lend(env, block, bytes as usize)
}

fn block_of(bytes: f64) -> Result<Block> {
    if !(bytes.fract() == 0.0 && (1.0..=1e15).contains(&bytes)) {
        return Err(fail(format!("allocate: {bytes} is not a size in bytes")));
    }
    Block::try_new(bytes as usize).ok_or_else(|| fail(format!("allocate: no memory for {bytes} bytes")))
}

/// Gives the first `size` bytes of a block to JavaScript.
fn lend(env: &Env, block: Block, size: usize) -> Result<ArrayBuffer<'_>> {
    let (data, serial) = (block.as_ptr(), SERIAL.fetch_add(1, Ordering::Relaxed));
    match HELD.lock() {
        Ok(mut held) => held.get_or_insert_with(HashMap::new).insert(data as usize, (serial, block)),
        Err(_) => return Err(fail("allocate: the table of buffers is poisoned")),
    };
    let address = data as usize;
    let free = move |_env: Env, _hint: ()| drop(take_held(address, Some(serial)));
    // SAFETY: `data` is valid for `size` bytes until `take_held` removes the block, which happens in the finalizer or
    // in `release`, which detaches the buffer first.
    unsafe { ArrayBuffer::from_external(env, data, size, (), free) }
}

/// Frees a buffer of `allocate` at once and detaches it: views of it have length 0 from now on.
/// False (and nothing done) when the buffer is not one of `allocate`, or already released.
#[napi]
pub fn release(buffer: ArrayBuffer) -> Result<bool> {
    guard(move || {
        if buffer.is_empty() {
            return Ok(false);
        }
        let address = buffer.as_ptr() as usize;
        let known = HELD.lock().ok().and_then(|held| held.as_ref().map(|map| map.contains_key(&address)));
        if known != Some(true) {
            return Ok(false);
        }
        buffer.detach()?;
        Ok(take_held(address, None).is_some())
    })
}

/// Bytes that kernels hold at the moment: buffers of `allocate`, packed weights and workspaces.
#[napi]
pub fn allocated_bytes() -> f64 {
    ALLOCATED.load(Ordering::Relaxed) as f64
}

/// Writing past the caches, which are left to what is used soon. [`fence`](far::fence) comes before another thread may look at it.
pub mod far {
    /// Copies; of equal length.
    #[cfg(target_arch = "x86_64")]
    pub fn copy(to: &mut [f32], from: &[f32]) {
        use std::arch::x86_64::{_mm_loadu_ps, _mm_stream_ps};
        assert_eq!(to.len(), from.len());
        let head = to.as_ptr().align_offset(16).min(to.len());
        let whole = head + (to.len() - head) / 4 * 4;
        for at in (head..whole).step_by(4) {
            // SAFETY: `at + 4 <= whole <= len` of both; the place is aligned to 16 bytes; every x86-64 has SSE.
            unsafe { _mm_stream_ps(to.as_mut_ptr().add(at), _mm_loadu_ps(from.as_ptr().add(at))) };
        }
        to[..head].copy_from_slice(&from[..head]);
        to[whole..].copy_from_slice(&from[whole..]);
    }

    /// Lets other threads see what was copied.
    #[cfg(target_arch = "x86_64")]
    pub fn fence() {
        // SAFETY: every x86-64 has SSE.
        unsafe { std::arch::x86_64::_mm_sfence() };
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn copy(to: &mut [f32], from: &[f32]) {
        to.copy_from_slice(from);
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn fence() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_past_the_caches_begin_and_end_anywhere() {
        let from: Vec<f32> = (0..100).map(|i| i as f32).collect();
        for first in 0..9 {
            for len in [0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 64, 90] {
                let mut to = vec![-1.0; 110];
                far::copy(&mut to[first..first + len], &from[3..3 + len]);
                far::fence();
                let inside = |i: usize| (first..first + len).contains(&i);
                let expected = |i: usize| if inside(i) { from[3 + i - first] } else { -1.0 };
                assert!(to.iter().enumerate().all(|(i, &x)| x == expected(i)), "{len} from {first}");
            }
        }
    }

    #[test]
    fn blocks_are_aligned_and_counted() {
        for bytes in [0, 1, 63, 64, 1000, 256 << 10, (256 << 10) + 1, HUGE_FROM, HUGE_FROM + 100] {
            let block = Block::new(bytes);
            assert_eq!(block.as_ptr() as usize % ALIGNMENT, 0);
            assert!(block.bytes() >= bytes);
            // SAFETY: the block owns this many bytes.
            unsafe { std::ptr::write_bytes(block.as_ptr(), 1, block.bytes()) };
        }
        assert!(Block::try_new(usize::MAX / 2).is_none());
    }

    #[test]
    fn floats_keep_values() {
        let mut floats = Floats::zeroed(1000);
        assert!(floats.iter().all(|&x| x == 0.0));
        floats[999] = 3.0;
        assert_eq!(floats[999], 3.0);
    }
}
