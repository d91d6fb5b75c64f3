//! Devices, the buffers they hold and the programs compiled for them.
//!
//! A device takes a whole program: how it fuses the steps and where it keeps intermediate values
//! is its private affair.

use std::ops::Range;
use std::sync::Arc;

use crate::buffer::{Buffer, Storage};
use crate::cpu::storage::Storage as CpuStorage;
use crate::cpu::{self, Cpu, Isa};
use crate::fault::DeviceError;
#[cfg(feature = "gpu")]
use crate::gpu::{self, Gpu, GpuChoice};
use crate::program::Program;
use crate::quant::Quant;
use crate::top::TOP_MAX;
use crate::types::{Cursor, Element, SharedBytes, Slot, WeightSource};

/// Something that runs programs. Cheap to clone; clones share the threads and the scratch memory.
#[derive(Clone)]
#[non_exhaustive]
pub enum Device {
    /// The processor, with a pool of compute threads.
    Cpu(Arc<Cpu>),
    /// A graphics processor.
    #[cfg(feature = "gpu")]
    Gpu(Arc<Gpu>),
}

/// A program compiled for a device.
pub struct Exec(ExecOf);

enum ExecOf {
    Cpu(cpu::Exec),
    #[cfg(feature = "gpu")]
    Gpu(gpu::Exec),
}

impl Exec {
    /// Bytes of scratch memory that a run with the most tokens needs: intermediate values and the
    /// kernels' own work space. Execs of one device share their scratch: it takes the largest.
    pub fn peak_bytes(&self) -> usize {
        match &self.0 {
            ExecOf::Cpu(exec) => exec.peak_bytes(),
            #[cfg(feature = "gpu")]
            ExecOf::Gpu(exec) => exec.peak_bytes(),
        }
    }

    /// Binds a buffer to every input, weight, parameter, state and output of the program.
    ///
    /// # Panics
    /// If a slot is missing, bound twice, not to be bound, or a buffer does not fit its slot. Rows
    /// of a slot over tokens may be fewer than `max_tokens`: a run then takes at most as many.
    pub fn bind(&self, buffers: &[(Slot, &Buffer)]) -> Bindings {
        Bindings(match &self.0 {
            ExecOf::Cpu(exec) => BindingsOf::Cpu(exec.bind(buffers)),
            #[cfg(feature = "gpu")]
            ExecOf::Gpu(exec) => BindingsOf::Gpu(exec.bind(buffers)),
        })
    }
}

/// The buffers of one run, checked against the program's shapes once, when made.
pub struct Bindings(BindingsOf);

enum BindingsOf {
    Cpu(cpu::Bindings),
    #[cfg(feature = "gpu")]
    Gpu(gpu::Bindings),
}

/// A token that a device has chosen, and may still be computing: see [`Device::argmax_into`].
pub struct Chosen(ChosenOf);

enum ChosenOf {
    Cpu((u32, f32)),
    #[cfg(feature = "gpu")]
    Gpu(gpu::top::Chosen),
}

impl Chosen {
    /// Its id and its logit. Waits until they are there, not for what the device was given since.
    pub fn wait(self) -> (u32, f32) {
        match self.0 {
            ChosenOf::Cpu(chosen) => chosen,
            #[cfg(feature = "gpu")]
            ChosenOf::Gpu(chosen) => chosen.wait(),
        }
    }
}

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

    /// The graphics processor that `choice` leads to.
    ///
    /// # Errors
    /// [`DeviceError`] if there is none that we can use.
    #[cfg(feature = "gpu")]
    pub fn gpu(choice: &GpuChoice) -> Result<Device, DeviceError> {
        Ok(Device::Gpu(Arc::new(Gpu::new(choice)?)))
    }

    /// Whether it is a graphics processor.
    pub fn is_gpu(&self) -> bool {
        match self {
            Device::Cpu(_) => false,
            #[cfg(feature = "gpu")]
            Device::Gpu(_) => true,
        }
    }

    /// What computes, in words.
    pub fn describe(&self) -> String {
        match self {
            Device::Cpu(cpu) => format!("cpu, {}, {} threads", cpu.isa().name(), cpu.threads()),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.describe(),
        }
    }

    /// Threads of the processor that a run keeps busy.
    pub fn threads(&self) -> usize {
        match self {
            Device::Cpu(cpu) => cpu.threads(),
            // The one that gives it its commands.
            #[cfg(feature = "gpu")]
            Device::Gpu(_) => 1,
        }
    }

    /// Kernels that were started so far, on a GPU.
    pub fn dispatches(&self) -> Option<u64> {
        match self {
            Device::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => Some(gpu.dispatches()),
        }
    }

    /// Why the device has stopped computing, if it has. What was read since the last time that it
    /// had not may be zeros in place of results.
    pub fn fault(&self) -> Option<DeviceError> {
        match self {
            Device::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.fault(),
        }
    }

    /// A frozen weight `(rows, cols)` over `bytes[range]`: on the CPU without a copy, on the GPU
    /// packed anew in its own memory.
    ///
    /// # Panics
    /// If the range is not exactly the weight's bytes.
    pub fn weight(
        &self,
        bytes: SharedBytes,
        range: Range<usize>,
        shape: (usize, usize),
        quant: Quant,
    ) -> Buffer {
        self.weights(vec![WeightSource { bytes, range, shape, quant }]).remove(0)
    }

    /// As [`Device::weight`], for weights that are used together, as those of a layer are. On the
    /// GPU they share pages, which lets more steps become one kernel. The memory is given back with
    /// the last of them.
    ///
    /// # Panics
    /// If a range is not exactly its weight's bytes.
    pub fn weights(&self, weights: Vec<WeightSource>) -> Vec<Buffer> {
        let mut shapes = Vec::with_capacity(weights.len());
        for &WeightSource { ref range, shape: (rows, cols), quant, .. } in &weights {
            let expected = quant.row_bytes(cols).and_then(|row| row.checked_mul(rows));
            assert_eq!(Some(range.len()), expected, "bytes of ({rows}, {cols}) of {quant:?}");
            shapes.push((rows, cols));
        }
        let storages: Vec<Storage> = match self {
            Device::Cpu(_) => {
                let weight = |WeightSource { bytes, range, shape, quant }| {
                    Storage::Cpu(Arc::new(CpuStorage::weight(bytes, range, shape, quant)))
                };
                weights.into_iter().map(weight).collect()
            }
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.weights(weights).into_iter().map(Storage::Gpu).collect(),
        };
        let buffers = shapes.into_iter().zip(storages);
        buffers.map(|((rows, cols), storage)| Buffer::new(rows, cols, storage)).collect()
    }

    /// f32 zeros: inputs, outputs and parameters, or a small weight made by the host.
    pub fn zeros(&self, rows: usize, cols: usize) -> Buffer {
        self.buffer(rows, cols, Element::Value(Quant::F32))
    }

    /// As [`Device::zeros`], for buffers that are used together, as an adapter's parameters of a
    /// layer are, or a layer's norms: see [`Device::weights`].
    pub fn zeros_together(&self, shapes: &[(usize, usize)]) -> Vec<Buffer> {
        self.buffers(shapes, Element::Value(Quant::F32))
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
        assert!(matches!(quant, Quant::F32 | Quant::F16), "a state is F32 or F16, not {quant:?}");
        self.buffer(rows, cols, Element::Value(quant))
    }

    /// Token ids or targets, zeroed.
    pub fn ids(&self, rows: usize) -> Buffer {
        self.buffer(rows, 1, Element::Id)
    }

    fn buffer(&self, rows: usize, cols: usize, element: Element) -> Buffer {
        self.buffers(&[(rows, cols)], element).remove(0)
    }

    fn buffers(&self, shapes: &[(usize, usize)], element: Element) -> Vec<Buffer> {
        let storages: Vec<Storage> = match self {
            Device::Cpu(_) => {
                let zeroed = |&(rows, cols): &(usize, usize)| {
                    Storage::Cpu(Arc::new(CpuStorage::zeroed(rows * cols, element)))
                };
                shapes.iter().map(zeroed).collect()
            }
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.zeroed(shapes, element).into_iter().map(Storage::Gpu).collect(),
        };
        let buffers = shapes.iter().zip(storages);
        buffers.map(|(&(rows, cols), storage)| Buffer::new(rows, cols, storage)).collect()
    }

    /// Copies `values` into a buffer of values or a cache, from element `offset` on.
    ///
    /// # Panics
    /// If they do not fit, or the buffer is a weight over shared bytes or holds ids.
    pub fn write(&self, buffer: &Buffer, offset: usize, values: &[f32]) {
        match self {
            Device::Cpu(_) => buffer.on_cpu().write(offset, values),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.write(buffer.on_gpu(), offset, values),
        }
    }

    /// Copies ids into a buffer of ids, from element `offset` on.
    ///
    /// # Panics
    /// If they do not fit, or the buffer does not hold ids.
    pub fn write_ids(&self, buffer: &Buffer, offset: usize, ids: &[u32]) {
        match self {
            Device::Cpu(_) => buffer.on_cpu().write_ids(offset, ids),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.write_ids(buffer.on_gpu(), offset, ids),
        }
    }

    /// Copies values out of a buffer, from element `offset` on. A weight is read in whole rows,
    /// dequantized.
    ///
    /// # Panics
    /// If the range is outside the buffer or it holds ids.
    pub fn read(&self, buffer: &Buffer, offset: usize, values: &mut [f32]) {
        match self {
            Device::Cpu(_) => buffer.on_cpu().read(buffer.cols(), offset, values),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.read(buffer.on_gpu(), offset, values),
        }
    }

    /// Copies ids out of a buffer of ids, from element `offset` on.
    ///
    /// # Panics
    /// If the range is outside the buffer, or it does not hold ids.
    pub fn read_ids(&self, buffer: &Buffer, offset: usize, ids: &mut [u32]) {
        match self {
            Device::Cpu(_) => buffer.on_cpu().read_ids(offset, ids),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.read_ids(buffer.on_gpu(), offset, ids),
        }
    }

    /// Copies `len` values from one buffer of f32 to another, or within one, where they may
    /// overlap. They stay on the device.
    ///
    /// # Panics
    /// If they are outside their buffers, or a buffer is a frozen weight, a cache of halves or of
    /// ids.
    pub fn copy(&self, from: &Buffer, offset: usize, to: &Buffer, to_offset: usize, len: usize) {
        let f32 = Element::Value(Quant::F32);
        assert!(from.element() == f32 && to.element() == f32, "only f32 values are copied");
        let fits = |buffer: &Buffer, at: usize| at + len <= buffer.rows() * buffer.cols();
        assert!(fits(from, offset) && fits(to, to_offset), "{len} values do not fit");
        match self {
            Device::Cpu(_) => {
                from.on_cpu().copy(offset..offset + len, to.on_cpu(), to_offset);
            }
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => {
                gpu.copy(from.on_gpu(), offset..offset + len, to.on_gpu(), to_offset);
            }
        }
    }

    /// The `k` largest logits of a row with their ids: descending, of equal ones the lower id first;
    /// fewer if the row is shorter. Infinities are ordered as they are, the two zeros are equal, and
    /// what is no number comes last. Only these are read from a GPU, not the row.
    ///
    /// # Panics
    /// If the row is outside the buffer, `k` is more than 64, or it holds no f32 values.
    pub fn top(&self, logits: &Buffer, row: usize, k: usize) -> Vec<(u32, f32)> {
        let (range, k) = (logits.row(row), k.min(logits.cols()));
        assert!(k <= TOP_MAX, "at most {TOP_MAX} logits are looked for, not {k}");
        if k == 0 {
            return Vec::new();
        }
        match self {
            Device::Cpu(_) => logits.on_cpu().top(range, k),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.top(logits.on_gpu(), range.start, logits.cols(), k),
        }
    }

    /// Writes the id of a row's largest logit, the first that [`Device::top`] gives, to element `at`
    /// of `ids`: the next token is embedded without the host, which may ask for it later. A GPU
    /// begins with all that it was given so far.
    ///
    /// # Panics
    /// If the row or the element is outside its buffer, or one does not hold what it should.
    pub fn argmax_into(&self, logits: &Buffer, row: usize, ids: &Buffer, at: usize) -> Chosen {
        let range = logits.row(row);
        assert!(at < ids.rows() && ids.element() == Element::Id, "element {at} of ids");
        Chosen(match self {
            Device::Cpu(_) => {
                let first = logits.on_cpu().top(range, 1)[0];
                ids.on_cpu().write_ids(at, &[first.0]);
                ChosenOf::Cpu(first)
            }
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => {
                let (first, len) = (range.start, logits.cols());
                ChosenOf::Gpu(gpu.argmax_into(logits.on_gpu(), first, len, ids.on_gpu(), at))
            }
        })
    }

    /// Compiles a program for runs of at most `max_tokens` tokens. Steps that no output and no
    /// state depends on are dropped. A GPU tries the kernels that it has not tried yet; one that
    /// computes wrongly is its [`fault`](Device::fault).
    pub fn compile(&self, program: &Program, max_tokens: usize) -> Exec {
        self.compile_as(program, max_tokens, true)
    }

    /// As [`Device::compile`], but every step is run as it stands: the definition that fused
    /// programs are tested against.
    pub fn compile_unfused(&self, program: &Program, max_tokens: usize) -> Exec {
        self.compile_as(program, max_tokens, false)
    }

    fn compile_as(&self, program: &Program, max_tokens: usize, fused: bool) -> Exec {
        Exec(match self {
            Device::Cpu(cpu) => ExecOf::Cpu(cpu.compile(program, max_tokens, fused)),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => {
                let exec = gpu.compile(program, max_tokens, fused);
                gpu::selftest::try_kernels(gpu, &exec.kernels());
                ExecOf::Gpu(exec)
            }
        })
    }

    /// Runs a compiled program. Runs on one device take turns.
    ///
    /// # Panics
    /// If the cursor's tokens exceed what was compiled or bound, or its end the cache's capacity.
    pub fn run(&self, exec: &Exec, bindings: &Bindings, cursor: Cursor) {
        match (self, &exec.0, &bindings.0) {
            (Device::Cpu(cpu), ExecOf::Cpu(exec), BindingsOf::Cpu(bindings)) => {
                cpu.run(exec, bindings, cursor);
            }
            #[cfg(feature = "gpu")]
            (Device::Gpu(gpu), ExecOf::Gpu(exec), BindingsOf::Gpu(bindings)) => {
                gpu.run(exec, bindings, cursor);
            }
            #[cfg(feature = "gpu")]
            _ => panic!("a program compiled for another device"),
        }
    }
}
