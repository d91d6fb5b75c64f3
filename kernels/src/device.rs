//! Devices, the buffers they hold and the programs compiled for them.
//!
//! A device takes a whole program: how it fuses the steps and where it keeps intermediate values
//! is its private affair.

use std::ops::Range;
use std::sync::Arc;

use crate::cpu::{self, Cpu, Isa};
use crate::program::{Program, Slot};
use crate::quant::Quant;

/// Bytes that somebody keeps alive: a mapped file, a static array, a vector.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Where a run stands in its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Position of the run's first token; rows before it are in the cache.
    pub pos: usize,
    /// T: tokens of this run, at least 1.
    pub tokens: usize,
}

/// Something that runs programs. Cheap to clone; clones share the threads and the scratch memory.
#[derive(Clone)]
pub enum Device {
    /// The processor, with a pool of compute threads.
    Cpu(Arc<Cpu>),
}

/// Memory of a device: a frozen weight, f32 values, a cache or ids. Cheap to clone; clones are
/// the same memory.
#[derive(Clone)]
pub struct Buffer {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) storage: Arc<cpu::Storage>,
}

impl Buffer {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of memory, for a frozen weight those of its file.
    pub fn bytes(&self) -> usize {
        self.storage.bytes()
    }
}

/// A program compiled for a device.
pub struct Exec(pub(crate) cpu::Exec);

impl Exec {
    /// Bytes of scratch memory that a run with the most tokens needs: intermediate values and the
    /// kernels' own work space. Execs of one device share their scratch: it takes the largest.
    pub fn peak_bytes(&self) -> usize {
        self.0.peak_bytes()
    }

    /// The most tokens of one run.
    pub fn max_tokens(&self) -> usize {
        self.0.max_tokens
    }

    /// Binds a buffer to every input, weight, parameter, state and output of the program.
    ///
    /// # Panics
    /// If a slot is missing, bound twice, not to be bound, or a buffer does not fit its slot. Rows
    /// of a slot over tokens may be fewer than `max_tokens`: a run then takes at most as many.
    pub fn bind(&self, buffers: &[(Slot, &Buffer)]) -> Bindings {
        Bindings(self.0.bind(buffers))
    }
}

/// The buffers of one run, checked against the program's shapes once, when made.
pub struct Bindings(pub(crate) cpu::Bindings);

impl Device {
    /// The processor with the fastest instruction set it has; `threads` defaults to the number of
    /// cores.
    pub fn cpu(threads: Option<usize>) -> Device {
        Device::cpu_with(threads, Isa::best())
    }

    /// As [`Device::cpu`], with a given instruction set: for tests of parity.
    pub fn cpu_with(threads: Option<usize>, isa: Isa) -> Device {
        Device::Cpu(Arc::new(Cpu::new(threads, isa)))
    }

    /// What computes, in words.
    pub fn describe(&self) -> String {
        let Device::Cpu(cpu) = self;
        format!("cpu, {}, {} threads", cpu.isa().name(), cpu.threads())
    }

    /// A frozen weight `(rows, cols)` over `bytes[range]`, without a copy.
    ///
    /// # Panics
    /// If the range is not exactly the weight's bytes.
    pub fn weight(
        &self,
        bytes: SharedBytes,
        range: Range<usize>,
        (rows, cols): (usize, usize),
        quant: Quant,
    ) -> Buffer {
        let Device::Cpu(_) = self;
        let storage = Arc::new(cpu::Storage::weight(bytes, range, (rows, cols), quant));
        Buffer { rows, cols, storage }
    }

    /// f32 zeros: inputs, outputs and parameters, or a small weight made by the host.
    pub fn zeros(&self, rows: usize, cols: usize) -> Buffer {
        let Device::Cpu(_) = self;
        Buffer { rows, cols, storage: Arc::new(cpu::Storage::zeros(rows * cols)) }
    }

    /// f32 values given by the host, row by row.
    pub fn values(&self, rows: usize, cols: usize, values: &[f32]) -> Buffer {
        assert_eq!(rows * cols, values.len(), "number of values");
        let buffer = self.zeros(rows, cols);
        self.write(&buffer, 0, values);
        buffer
    }

    /// A zeroed cache of F32 or F16 for a [`Program::state`]; `rows` is its capacity in positions.
    pub fn state(&self, rows: usize, cols: usize, quant: Quant) -> Buffer {
        let Device::Cpu(_) = self;
        Buffer { rows, cols, storage: Arc::new(cpu::Storage::state(rows * cols, quant)) }
    }

    /// Token ids or targets, zeroed.
    pub fn ids(&self, rows: usize) -> Buffer {
        let Device::Cpu(_) = self;
        Buffer { rows, cols: 1, storage: Arc::new(cpu::Storage::ids(rows)) }
    }

    /// Copies `values` into a buffer of values or a cache, from element `offset` on.
    ///
    /// # Panics
    /// If they do not fit, or the buffer is a weight over shared bytes or holds ids.
    pub fn write(&self, buffer: &Buffer, offset: usize, values: &[f32]) {
        let Device::Cpu(_) = self;
        buffer.storage.write(offset, values);
    }

    /// Copies ids into a buffer of ids, from element `offset` on.
    ///
    /// # Panics
    /// If they do not fit, or the buffer does not hold ids.
    pub fn write_ids(&self, buffer: &Buffer, offset: usize, ids: &[u32]) {
        let Device::Cpu(_) = self;
        buffer.storage.write_ids(offset, ids);
    }

    /// Copies values out of a buffer, from element `offset` on. A weight is read in whole rows,
    /// dequantized.
    ///
    /// # Panics
    /// If the range is outside the buffer or it holds ids.
    pub fn read(&self, buffer: &Buffer, offset: usize, values: &mut [f32]) {
        let Device::Cpu(_) = self;
        buffer.storage.read(buffer.cols, offset, values);
    }

    /// Compiles a program for runs of at most `max_tokens` tokens. Steps that no output and no
    /// state depends on are dropped.
    pub fn compile(&self, program: &Program, max_tokens: usize) -> Exec {
        let Device::Cpu(cpu) = self;
        Exec(cpu.compile(program, max_tokens, true))
    }

    /// As [`Device::compile`], but every step is run as it stands: the definition that fused
    /// programs are tested against.
    pub fn compile_unfused(&self, program: &Program, max_tokens: usize) -> Exec {
        let Device::Cpu(cpu) = self;
        Exec(cpu.compile(program, max_tokens, false))
    }

    /// Runs a compiled program. Runs on one device take turns.
    ///
    /// # Panics
    /// If the cursor's tokens exceed what was compiled or bound, or its end the cache's capacity.
    pub fn run(&self, exec: &Exec, bindings: &Bindings, cursor: Cursor) {
        let Device::Cpu(cpu) = self;
        cpu.run(&exec.0, &bindings.0, cursor);
    }
}
