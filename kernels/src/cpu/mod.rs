//! The CPU device.
//!
//! Layers, each knowing only those before it: [`simd`] (f32 vectors as token-carrying types) and
//! [`isa`] (their choice at run time), [`pool`] (threads), the kernels (one file per family of
//! ops), and the programs' executor.

mod attention;
mod dot;
mod embed;
mod exec;
mod fuse;
pub mod gemm;
mod glu;
mod head;
pub mod isa;
mod lanes;
mod layout;
pub mod linear;
mod memory;
mod norm;
pub mod pool;
mod product;
mod rope;
mod run;
pub mod simd;
mod storage;

pub(crate) use exec::{Bindings, Exec};
pub use isa::Isa;
pub use storage::Storage;

use std::sync::{Mutex, PoisonError};

use crate::device::Cursor;
use crate::program::Program;
use gemm::Engine;
use memory::Scratch;
use pool::{Part, Pool, Split, Worker};

/// The processor: its compute threads and the scratch memory that its programs share.
pub struct Cpu {
    pool: Pool,
    isa: Isa,
    /// Held during a run: runs take turns.
    scratch: Mutex<Scratch>,
}

/// More threads than this gain nothing on the matrices of small models.
const THREADS_MAX: usize = 48;

impl Cpu {
    /// `threads` defaults to the number of cores.
    pub fn new(threads: Option<usize>, isa: Isa) -> Cpu {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let pool = Pool::new(threads.unwrap_or_else(cores).clamp(1, THREADS_MAX));
        Cpu { pool, isa, scratch: Mutex::default() }
    }

    /// Number of compute threads, the caller's own among them.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn compile(&self, program: &Program, max_tokens: usize, fused: bool) -> Exec {
        Exec::new(program, max_tokens, self.threads(), fused)
    }

    pub(crate) fn run(&self, exec: &Exec, bindings: &Bindings, cursor: Cursor) {
        // A run that panicked left numbers behind, nothing else.
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = Engine { pool: &self.pool, isa: self.isa };
        exec.run(&Cx { engine, cursor }, &mut scratch, bindings);
    }
}

/// What every kernel is told: where it runs, and for which tokens.
pub(crate) struct Cx<'a> {
    engine: Engine<'a>,
    cursor: Cursor,
}

/// Fewer values than this are not worth waking threads for.
const PARALLEL_MIN: usize = 8192;

impl Cx<'_> {
    fn tokens(&self) -> usize {
        self.cursor.tokens
    }

    fn threads(&self) -> usize {
        self.engine.pool.threads()
    }

    /// Parts into which `rows` rows with `values` values in all are worth cutting.
    fn parts(&self, values: usize, rows: usize) -> usize {
        if values < PARALLEL_MIN { 1 } else { self.threads().min(rows).max(1) }
    }

    /// Calls `body` with every part's number, each on its own thread.
    fn each_part(&self, parts: usize, body: impl Fn(usize) + Sync) {
        if parts == 1 {
            return body(0);
        }
        self.engine.pool.run(|worker: &Worker<'_>| {
            if worker.index() < parts {
                body(worker.index());
            }
        });
    }

    /// Divides the rows of `y` among the threads.
    fn rows(&self, y: &mut [f32], cols: usize, body: impl Fn(&mut Part<'_, f32>) + Sync) {
        let parts = self.parts(y.len(), y.len() / cols);
        let split = Split::rows(y, cols, parts);
        self.each_part(parts, |i| body(&mut split.part(i)));
    }
}

/// [`linear::linear_floats`] for up to `tokens` tokens: few take another way than many.
fn linear_floats(threads: usize, tokens: usize, cols: usize, ranks: usize) -> usize {
    let floats = |tokens| linear::linear_floats(threads, tokens, cols, ranks);
    floats(tokens).max(floats(tokens.min(linear::FEW)))
}
