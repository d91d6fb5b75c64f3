//! The CPU device.
//!
//! Layers, each knowing only those before it: [`simd`] (f32 vectors as token-carrying types) and
//! [`isa`] (their choice at run time), [`pool`] (threads), the kernels (one file per family of
//! ops), and the programs' executor.

mod attention;
mod dot;
mod embed;
mod exec;
pub mod gemm;
mod glu;
mod head;
pub mod isa;
mod lanes;
pub mod linear;
mod lora;
mod memory;
mod norm;
pub mod pool;
mod rope;
pub mod simd;
mod simple;
mod storage;

pub(crate) use exec::{Bindings, Exec};
pub use isa::Isa;
pub use storage::Storage;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::device::Cursor;
use crate::program::Program;
use crate::quant::Quant;
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

    pub(crate) fn compile(&self, program: &Program, max_tokens: usize) -> Exec {
        Exec::new(program, max_tokens)
    }

    pub(crate) fn run(&self, exec: &Exec, bindings: &Bindings, cursor: Cursor) {
        // A run that panicked left numbers behind, nothing else.
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        exec.run(&Cx { pool: &self.pool, isa: self.isa, cursor }, &mut scratch, bindings);
    }
}

/// What every kernel is told: where it runs, and for which tokens.
pub(crate) struct Cx<'a> {
    pool: &'a Pool,
    isa: Isa,
    cursor: Cursor,
}

/// Fewer values than this are not worth waking threads for.
const PARALLEL_MIN: usize = 8192;

impl Cx<'_> {
    fn tokens(&self) -> usize {
        self.cursor.tokens
    }

    fn threads(&self) -> usize {
        self.pool.threads()
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
        self.pool.run(|worker: &Worker<'_>| {
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

/// A weight as a kernel sees it: whole rows of blocks.
#[derive(Clone, Copy)]
pub(crate) struct WeightView<'a> {
    pub bytes: &'a [u8],
    pub quant: Quant,
    pub rows: usize,
    pub cols: usize,
}

impl<'a> WeightView<'a> {
    fn row_bytes(&self) -> usize {
        self.bytes.len() / self.rows
    }

    /// Some of its rows.
    fn part(&self, rows: Range<usize>) -> WeightView<'a> {
        let row_bytes = self.row_bytes();
        let bytes = &self.bytes[rows.start * row_bytes..rows.end * row_bytes];
        WeightView { bytes, rows: rows.len(), ..*self }
    }

    fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        let row_bytes = self.row_bytes();
        self.quant.dequantize(&self.bytes[row * row_bytes..][..row_bytes], out);
    }
}
