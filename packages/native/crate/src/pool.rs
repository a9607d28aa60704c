//! A thread pool for short kernels: workers spin for a moment after a job, then park.
//!
//! `parallel_for(chunks, f)` calls `f(0) … f(chunks - 1)`, each once, on the calling thread and on as many workers
//! as arrive in time. A worker that is late finds the job closed and is not waited for, so an oversubscribed machine
//! costs speed and not latency. Which thread runs a chunk is not determined; a kernel is deterministic when its
//! chunks write to disjoint places and its chunk boundaries do not depend on the number of threads.
//!
//! `parallel_runs` does the same for chunks that read memory one after another: each thread begins with a share of its
//! own and walks through it, and takes from the end of another's when it is done.

use std::any::Any;
use std::cell::Cell;
use std::ops::Range;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::Thread;

/// How often a worker looks for a new job before it parks: some tens of microseconds.
const SPINS_BEFORE_PARK: u32 = 2_000;

/// The low half of `state` counts the workers inside the open job; bit 32 says that it is open; above is its number.
const OPEN: u64 = 1 << 32;
const NUMBER: u64 = 1 << 33;

type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// The job being run. Written only while the job is closed and no worker is inside.
struct Job {
    task: Cell<Option<&'static Task<'static>>>,
    chunks: Cell<usize>,
    /// Chunks are taken from `shares`, and else from `next`.
    runs: Cell<bool>,
}

/// What is left of a thread's share: its first chunk in the high half, its end in the low one. In cache lines of its own.
#[repr(align(128))]
struct Share(AtomicU64);

impl Share {
    fn set(&self, range: Range<usize>) {
        self.0.store((range.start as u64) << 32 | range.end as u64, Ordering::Relaxed);
    }
    /// The first chunk that is left, or the last one.
    fn take(&self, first: bool) -> Option<usize> {
        let after = |left: u64| {
            let (start, end) = (left >> 32, left & u64::from(u32::MAX));
            (start < end).then(|| if first { (start + 1) << 32 | end } else { start << 32 | (end - 1) })
        };
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).ok()?;
        Some(if first { left >> 32 } else { (left & u64::from(u32::MAX)) - 1 } as usize)
    }
}

struct Worker {
    thread: OnceLock<Thread>,
    parked: AtomicBool,
}

struct Pool {
    state: AtomicU64,
    next: AtomicUsize,
    /// The caller's share, then those of the workers.
    shares: Vec<Share>,
    job: Job,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Held by the thread whose job runs.
    owner: Mutex<()>,
    workers: Vec<Worker>,
}

// SAFETY: the cells of `job` are written only by the holder of `owner`, while the job is closed and no worker is
// inside it; workers read them only after they entered an open job, by an acquiring exchange on `state`.
unsafe impl Sync for Pool {}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

static POOL: OnceLock<&'static Pool> = OnceLock::new();

/// Number of threads that kernels run on, the calling one included: `ESPALIER_NUM_THREADS`, or the available cores.
pub fn num_threads() -> usize {
    pool().workers.len() + 1
}

fn wanted_threads() -> usize {
    let asked = std::env::var("ESPALIER_NUM_THREADS").ok().and_then(|text| text.trim().parse::<usize>().ok());
    match asked {
        Some(n) if n >= 1 => n.min(1024),
        _ => std::thread::available_parallelism().map_or(1, |n| n.get()),
    }
}

fn pool() -> &'static Pool {
    POOL.get_or_init(|| {
        let worker = || Worker { thread: OnceLock::new(), parked: AtomicBool::new(false) };
        let threads = wanted_threads();
        let pool: &'static Pool = Box::leak(Box::new(Pool {
            state: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            shares: (0..threads).map(|_| Share(AtomicU64::new(0))).collect(),
            job: Job { task: Cell::new(None), chunks: Cell::new(0), runs: Cell::new(false) },
            panic: Mutex::new(None),
            owner: Mutex::new(()),
            workers: (1..threads).map(|_| worker()).collect(),
        }));
        for index in 0..pool.workers.len() {
            let name = format!("espalier-{}", index + 1);
            // A machine that refuses threads still computes: a worker that never enters is never waited for.
            if let Ok(handle) = std::thread::Builder::new().name(name).spawn(move || work(pool, index)) {
                let _ = pool.workers[index].thread.set(handle.thread().clone());
            }
        }
        pool
    })
}

/// The life of a worker: wait for a job, enter it, take chunks until none is left.
fn work(pool: &'static Pool, index: usize) {
    INSIDE.with(|inside| inside.set(true));
    let me = &pool.workers[index];
    let mut done = 0; // number of the last job seen
    loop {
        let mut spins = 0;
        let seen = loop {
            let state = pool.state.load(Ordering::Acquire);
            if state & OPEN != 0 && state / NUMBER != done {
                break state;
            }
            spins += 1;
            if spins < SPINS_BEFORE_PARK {
                std::hint::spin_loop();
                continue;
            }
            spins = 0;
            me.parked.store(true, Ordering::SeqCst);
            let state = pool.state.load(Ordering::SeqCst);
            if !(state & OPEN != 0 && state / NUMBER != done) {
                std::thread::park();
            }
            me.parked.store(false, Ordering::SeqCst);
        };
        if pool.state.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            done = seen / NUMBER;
            take_chunks(pool, index + 1);
            pool.state.fetch_sub(1, Ordering::Release);
        }
    }
}

impl Pool {
    /// The next chunk for thread `own`.
    fn chunk(&self, own: usize) -> Option<usize> {
        if !self.job.runs.get() {
            let chunk = self.next.fetch_add(1, Ordering::Relaxed);
            return (chunk < self.job.chunks.get()).then_some(chunk);
        }
        let others = (1..self.shares.len()).map(|i| &self.shares[(own + i) % self.shares.len()]);
        self.shares[own].take(true).or_else(|| others.into_iter().find_map(|share| share.take(false)))
    }
}

fn take_chunks(pool: &Pool, own: usize) {
    let Some(task) = pool.job.task.get() else { return };
    let run = AssertUnwindSafe(|| {
        while let Some(chunk) = pool.chunk(own) {
            task(chunk);
        }
    });
    if let Err(payload) = catch_unwind(run) {
        pool.next.store(pool.job.chunks.get(), Ordering::Relaxed); // the rest is not worth computing
        pool.shares.iter().for_each(|share| share.set(0..0));
        if let Ok(mut slot) = pool.panic.lock() {
            slot.get_or_insert(payload);
        }
    }
}

/// Calls `task(0) … task(chunks - 1)`, in parallel where that is possible, and returns when all have returned.
/// Called from inside a task, or while another thread's job runs, it runs on the calling thread alone.
/// A panic of a task is resumed here, after all threads have left the job.
pub fn parallel_for(chunks: usize, task: impl Fn(usize) + Sync) {
    run(chunks, false, &task);
}

/// The same, each thread taking chunks that follow one another, as far as all are done at the same time.
pub fn parallel_runs(chunks: usize, task: impl Fn(usize) + Sync) {
    run(chunks, chunks <= u32::MAX as usize, &task);
}

fn run(chunks: usize, runs: bool, task: &Task) {
    let serial = || (0..chunks).for_each(task);
    if chunks <= 1 || INSIDE.with(Cell::get) {
        return serial();
    }
    let pool = pool();
    if pool.workers.is_empty() {
        return serial();
    }
    let Ok(_owner) = pool.owner.try_lock() else { return serial() };

    // SAFETY: only the lifetime is changed; workers use `task` only inside the job, and we return (or unwind) only
    // after the job is closed and the count of workers inside is zero.
    let task: &'static Task<'static> = unsafe { std::mem::transmute(task) };
    pool.job.task.set(Some(task));
    pool.job.chunks.set(chunks);
    pool.job.runs.set(runs);
    pool.next.store(0, Ordering::Relaxed);
    if runs {
        let threads = pool.shares.len();
        let start = |thread: usize| chunks * thread / threads;
        pool.shares.iter().enumerate().for_each(|(i, share)| share.set(start(i)..start(i + 1)));
    }
    let number = pool.state.load(Ordering::Relaxed) / NUMBER + 1;
    pool.state.store(number * NUMBER + OPEN, Ordering::SeqCst);
    for worker in pool.workers.iter().take(chunks - 1) {
        if worker.parked.load(Ordering::SeqCst) {
            if let Some(thread) = worker.thread.get() {
                thread.unpark();
            }
        }
    }
    INSIDE.with(|inside| inside.set(true));
    take_chunks(pool, 0);
    INSIDE.with(|inside| inside.set(false));
    pool.state.fetch_and(!OPEN, Ordering::AcqRel);
    let mut spins = 0u32;
    while pool.state.load(Ordering::Acquire) & (OPEN - 1) != 0 {
        spins += 1;
        if spins < 10_000 {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now(); // the worker that holds a chunk may have lost its core
        }
    }
    pool.job.task.set(None);
    let payload = pool.panic.lock().ok().and_then(|mut slot| slot.take());
    drop(_owner);
    if let Some(payload) = payload {
        resume_unwind(payload);
    }
}

/// Splits `0..len` into chunks of `grain` (the last one shorter) and calls `task(range)` for each, in parallel.
pub fn parallel_ranges(len: usize, grain: usize, task: impl Fn(Range<usize>) + Sync) {
    let grain = grain.max(1);
    parallel_runs(len.div_ceil(grain), |chunk| task(chunk * grain..((chunk + 1) * grain).min(len)));
}

/// Splits a slice into chunks of `chunk_len` (the last one shorter) and calls `task(index, chunk)` for each, in parallel.
pub fn parallel_chunks_mut<T: Send>(data: &mut [T], chunk_len: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    let (len, chunk_len) = (data.len(), chunk_len.max(1));
    let data = SharedMut::new(data);
    parallel_runs(len.div_ceil(chunk_len), |chunk| {
        let start = chunk * chunk_len;
        // SAFETY: chunks are disjoint and lie inside the slice; each index is handed out once.
        task(chunk, unsafe { data.slice(start, chunk_len.min(len - start)) })
    });
}

/// A mutable slice that several threads write to, each at places of its own.
#[derive(Clone, Copy)]
pub struct SharedMut<'a, T> {
    data: *mut T,
    len: usize,
    _life: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `slice`, whose caller promises that no two threads hold overlapping parts.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub fn new(data: &'a mut [T]) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len(), _life: std::marker::PhantomData }
    }

    /// The part `start..start + len`; bounds are checked.
    ///
    /// # Safety
    /// Nobody else may hold an overlapping part while this one lives.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start <= self.len && len <= self.len - start, "part {start}+{len} of {}", self.len);
        // SAFETY: in bounds by the assertion; unaliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), len) }
    }

    pub fn as_ptr(&self) -> *mut T {
        self.data
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chunk_runs_once() {
        for chunks in [0, 1, 2, 3, 17, 1000] {
            let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..200 {
                parallel_for(chunks, |i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                parallel_runs(chunks, |i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 400));
        }
    }

    #[test]
    fn nested_and_concurrent_calls_complete() {
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        parallel_for(8, |_| {
                            parallel_for(4, |_| {
                                total.fetch_add(1, Ordering::Relaxed);
                            })
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 4 * 100 * 8 * 4);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        for run in [|task: &Task| parallel_for(64, task), |task: &Task| parallel_runs(64, task)] {
            let result = catch_unwind(|| run(&|i| assert!(i != 40, "chunk forty")));
            assert!(result.is_err());
        }
        let mut data = vec![0usize; 100];
        parallel_chunks_mut(&mut data, 7, |index, chunk| chunk.fill(index));
        assert!(data.iter().enumerate().all(|(i, &value)| value == i / 7));
    }
}
