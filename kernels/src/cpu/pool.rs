//! The compute pool: a few threads that run one closure together.
//!
//! [`Pool::run`] calls a closure once on every thread, the caller's included, and returns when
//! all have ended. Work is divided statically, by [`Worker::index`]: the same threads do the same
//! part every time, so that results depend on the number of threads at most, never on timing.
//! Inside a run, [`Worker::barrier`] separates phases: a fused step costs one wake-up and a few
//! barriers. Waiting threads spin for some microseconds, then sleep.
//!
//! There is no global pool and no queue: a device owns its pool, runs are one at a time, and
//! dropping the pool joins its threads. This file holds the only code that stretches a lifetime:
//! see [`Pool::run`].

mod split;

pub use split::{Part, Split, share};

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Turns of the spin loop before a waiting thread sleeps: some tens of microseconds, longer than
/// the gap between two runs of a decoding step.
const SPINS: usize = 2_000;

/// Threads that run closures together. See the module's documentation.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Held during a run: runs from several threads take turns.
    turn: Mutex<()>,
}

/// One thread's view of a run.
pub struct Worker<'a> {
    index: usize,
    count: usize,
    shared: &'a Shared,
}

struct Shared {
    /// Threads of a run; fixed before the first one.
    count: AtomicUsize,
    /// Written by the caller before `epoch` moves on, read by workers after: never both at once.
    job: UnsafeCell<Option<Job>>,
    /// Counts the runs; a change starts one.
    epoch: AtomicUsize,
    /// Workers (without the caller) still in the run.
    running: AtomicUsize,
    arrived: AtomicUsize,
    /// Counts the barriers passed.
    phase: AtomicUsize,
    /// A thread panicked: nobody waits at a barrier any more.
    failed: AtomicBool,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    gate: Gate,
}

/// The closure of a run with its lifetime erased.
#[derive(Clone, Copy)]
struct Job(*const (dyn Fn(&Worker<'_>) + Sync + 'static));

// SAFETY: `job` is written only by the thread that holds `turn`, while `running` is 0 and every
// worker waits for `epoch` to change; workers read it only after they saw the change (SeqCst, so
// the write happens before) and before they count themselves out of `running`.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is to a `Sync` closure, and `run` keeps it alive while it is used.
unsafe impl Send for Shared {}

/// What threads that stopped spinning sleep on.
#[derive(Default)]
struct Gate {
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Gate {
    /// Returns when `ready` holds. Whoever makes it hold calls [`Gate::notify`] afterwards.
    fn wait_until(&self, ready: impl Fn() -> bool) {
        for _ in 0..SPINS {
            if ready() {
                return;
            }
            std::hint::spin_loop();
        }
        // Either the notifier sees this count and then takes the lock, or its change came before
        // the count in the one order of SeqCst operations and `ready` sees it.
        self.sleepers.fetch_add(1, SeqCst);
        let mut guard = lock(&self.lock);
        while !ready() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleepers.fetch_sub(1, SeqCst);
    }

    fn notify(&self) {
        if self.sleepers.load(SeqCst) > 0 {
            drop(lock(&self.lock));
            self.wake.notify_all();
        }
    }
}

/// No code panics while holding one of the pool's locks on data that could be left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a thread unwinds with when another one panicked: not the panic to report.
struct Abandoned;

impl Pool {
    /// A pool of `threads` threads, the caller of [`Pool::run`] counted; of fewer, if the system
    /// gives no more.
    ///
    /// # Panics
    /// If `threads` is 0.
    pub fn new(threads: usize) -> Pool {
        assert!(threads > 0, "a pool has at least the caller's thread");
        let shared = Arc::new(Shared {
            count: AtomicUsize::new(1),
            job: UnsafeCell::new(None),
            epoch: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            arrived: AtomicUsize::new(0),
            phase: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
            gate: Gate::default(),
        });
        let spawn = |index| {
            let shared = Arc::clone(&shared);
            let builder = std::thread::Builder::new().name(format!("sapwood-{index}"));
            builder.spawn(move || shared.work(index)).ok()
        };
        let threads: Vec<_> = (1..threads).map_while(spawn).collect();
        shared.count.store(1 + threads.len(), SeqCst);
        Pool { shared, threads, turn: Mutex::new(()) }
    }

    /// Threads of a run, the caller counted.
    pub fn threads(&self) -> usize {
        self.shared.count.load(SeqCst)
    }

    /// Calls `body` once on every thread and returns when all have ended. Calls from several
    /// threads take turns; a call from inside `body` would wait for itself.
    ///
    /// # Panics
    /// With the panic of `body`, if it panics on any thread.
    pub fn run(&self, body: impl Fn(&Worker<'_>) + Sync) {
        let _turn = lock(&self.turn);
        let shared = &*self.shared;
        let erased: *const (dyn Fn(&Worker<'_>) + Sync + '_) = &body;
        // SAFETY: only the lifetime changes. No thread uses the pointer after `running` is 0, and
        // this function neither returns nor unwinds before that: between the change of `epoch`
        // and the wait below nothing can panic, because `guarded` catches.
        let job = Job(unsafe {
            std::mem::transmute::<
                *const (dyn Fn(&Worker<'_>) + Sync + '_),
                *const (dyn Fn(&Worker<'_>) + Sync + 'static),
            >(erased)
        });
        // SAFETY: this thread holds `turn` and the last run has ended, so every worker waits.
        unsafe { *shared.job.get() = Some(job) };
        shared.arrived.store(0, SeqCst);
        shared.failed.store(false, SeqCst);
        shared.running.store(self.threads.len(), SeqCst);
        shared.epoch.fetch_add(1, SeqCst);
        shared.gate.notify();
        shared.guarded(0, &body);
        shared.gate.wait_until(|| shared.running.load(SeqCst) == 0);
        if let Some(panic) = lock(&shared.panic).take() {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.shared.epoch.fetch_add(1, SeqCst);
        self.shared.gate.notify();
        for thread in self.threads.drain(..) {
            // A worker catches the panics of its jobs, so it ends well.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// A worker thread's life.
    fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            self.gate.wait_until(|| self.epoch.load(SeqCst) != seen);
            seen = seen.wrapping_add(1);
            if self.stop.load(SeqCst) {
                return;
            }
            // SAFETY: the epoch changed, so the caller has written the job; it writes no other
            // before this thread has counted itself out of `running`.
            let job = unsafe { *self.job.get() };
            if let Some(Job(body)) = job {
                // SAFETY: `run` keeps the closure alive until `running` is 0.
                self.guarded(index, unsafe { &*body });
            }
            if self.running.fetch_sub(1, SeqCst) == 1 {
                self.gate.notify();
            }
        }
    }

    /// Runs `body` and keeps the first panic for the caller.
    fn guarded(&self, index: usize, body: &(dyn Fn(&Worker<'_>) + Sync)) {
        let worker = Worker { index, count: self.count.load(SeqCst), shared: self };
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&worker))) else { return };
        if !panic.is::<Abandoned>() {
            lock(&self.panic).get_or_insert(panic);
        }
        self.failed.store(true, SeqCst);
        self.gate.notify();
    }
}

impl Worker<'_> {
    /// 0 for the caller's thread, then 1, 2, …
    pub fn index(&self) -> usize {
        self.index
    }

    /// Threads of the run.
    pub fn count(&self) -> usize {
        self.count
    }

    /// This worker's share of `len` items: contiguous, in whole multiples of `align` (but for the
    /// last), as even as that allows.
    pub fn range(&self, len: usize, align: usize) -> Range<usize> {
        share(len, align, self.index, self.count)
    }

    /// Waits until every thread of the run is here: what they wrote before can be read after.
    pub fn barrier(&self) {
        let shared = self.shared;
        let phase = shared.phase.load(SeqCst);
        if shared.arrived.fetch_add(1, SeqCst) + 1 == self.count {
            shared.arrived.store(0, SeqCst);
            shared.phase.fetch_add(1, SeqCst);
            shared.gate.notify();
        } else {
            let passed = || shared.phase.load(SeqCst) != phase;
            shared.gate.wait_until(|| passed() || shared.failed.load(SeqCst));
            if !passed() {
                resume_unwind(Box::new(Abandoned));
            }
        }
    }
}

#[cfg(test)]
mod tests;
