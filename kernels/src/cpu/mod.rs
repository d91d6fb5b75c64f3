//! The CPU device.
//!
//! Layers, each knowing only those before it: [`simd`] (f32 vectors as token-carrying types) and
//! [`isa`] (their choice at run time), [`pool`] (threads), the kernels, and the programs' executor.

mod exec;
pub mod isa;
pub mod pool;
pub mod simd;
mod storage;

pub(crate) use exec::{Bindings, Exec};
pub use storage::Storage;

use crate::device::Cursor;
use crate::program::Program;

/// The processor: its compute threads and the scratch memory that its programs share.
pub struct Cpu {
    threads: usize,
}

impl Cpu {
    /// `threads` defaults to the number of cores.
    pub fn new(threads: Option<usize>) -> Cpu {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Cpu { threads: threads.unwrap_or_else(cores).max(1) }
    }

    /// Number of compute threads, the caller's own among them.
    pub fn threads(&self) -> usize {
        self.threads
    }

    pub(crate) fn compile(&self, program: &Program, max_tokens: usize) -> Exec {
        Exec::new(program, max_tokens)
    }

    pub(crate) fn run(&self, exec: &Exec, bindings: &Bindings, cursor: Cursor) {
        exec.run(bindings, cursor);
    }
}
