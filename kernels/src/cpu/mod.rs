//! The CPU device.
//!
//! Layers, each knowing only those before it: [`simd`] (f32 vectors as token-carrying types) and
//! [`isa`] (their choice at run time), [`pool`] (threads), the kernels (one file per family of
//! ops), and the programs' executor.

mod attention;
mod cx;
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
pub(crate) mod storage;
pub mod weight;

pub(crate) use exec::{Bindings, Exec};
pub use isa::Isa;

use std::sync::{Mutex, PoisonError};

use crate::program::Program;
use crate::types::Cursor;
use cx::Cx;
use gemm::Engine;
use memory::Scratch;
use pool::Pool;

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
