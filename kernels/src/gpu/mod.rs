//! The GPU device, through wgpu: Vulkan, Metal, Direct3D 12, OpenGL.
//!
//! The same programs as on the CPU, forward and backward. [`context`] chooses the adapter,
//! [`shader`] puts the kernels together from the `.wgsl` files, [`pipeline`] compiles them,
//! [`cache`] keeps them, [`selftest`] tries them, [`page`], [`pack`] and [`storage`] hold the
//! buffers, [`fuse`] says what is one kernel for one token and [`ops`] which kernels an op is,
//! [`compile`] plans a program, [`run`] runs it, [`recorder`] takes its commands to the GPU and
//! [`reading`] brings results back.
//!
//! A run only records; the GPU works when the host reads or chooses a token, or has recorded much.
//! Whatever fails ([`DeviceError`]) is kept: from then on nothing is computed, and the caller
//! learns it from [`Device::fault`](crate::Device::fault).

mod blocklist;
mod cache;
mod compile;
mod context;
mod dispatch;
mod exec;
mod fuse;
mod ops;
mod pack;
mod page;
mod pipeline;
mod reading;
mod recorder;
mod run;
pub(crate) mod selftest;
pub mod shader;
pub(crate) mod storage;
mod tables;
pub(crate) mod top;
mod tried;

pub use context::GpuChoice;
pub(crate) use exec::{Bindings, Exec};
pub use shader::{Products, Sharing};

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::fault::DeviceError;
use crate::program::Program;
use crate::types::{Cursor, Element, WeightSource};
use context::Context;
use pipeline::Pipelines;
use recorder::Recorder;
use storage::Storage;
use tried::Tried;

/// A GPU: its adapter, its compiled kernels, and the memory that its programs share.
pub struct Gpu {
    context: Context,
    pipelines: Pipelines,
    tried: Tried,
    /// Held while commands are recorded: runs take turns.
    recorder: Mutex<Recorder>,
    found: Mutex<Found>,
    reads: AtomicU64,
}

/// Where kernels leave words for the host, and for how many there is room.
type Found = Option<(usize, Arc<Storage>)>;

impl Gpu {
    /// Opens the adapter that `choice` leads to.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn new(choice: &GpuChoice) -> Result<Gpu, DeviceError> {
        let context = Context::open(choice)?;
        let recorder = Mutex::new(Recorder::new(&context));
        let gpu = Gpu {
            context,
            pipelines: Pipelines::default(),
            tried: Tried::default(),
            recorder,
            found: Mutex::default(),
            reads: AtomicU64::default(),
        };
        gpu.fault().map_or(Ok(gpu), Err)
    }

    /// What computes, in words.
    pub fn describe(&self) -> String {
        self.context.describe()
    }

    /// Kernel calls so far.
    pub fn dispatches(&self) -> u64 {
        self.recorder().dispatches
    }

    /// Times that the host has asked for results so far: at each of them it waits for the GPU.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Kernels that the self-test has tried so far, and the time that it took.
    pub fn tried(&self) -> (usize, Duration) {
        self.tried.cost()
    }

    /// Bytes of all memory that is held for buffers and programs.
    pub fn bytes(&self) -> u64 {
        self.context.held.load(Ordering::Relaxed)
    }

    /// The most that [`Gpu::bytes`] ever was.
    pub fn peak_bytes(&self) -> u64 {
        self.context.held_most.load(Ordering::Relaxed)
    }

    /// Why the device has stopped, if it has.
    pub fn fault(&self) -> Option<DeviceError> {
        self.context.fault()
    }

    /// Bytes that the driver has given, by its own account; `None` where there is none.
    pub fn driver_bytes(&self) -> Option<u64> {
        let report = self.context.device.generate_allocator_report()?;
        Some(report.total_allocated_bytes)
    }

    /// Gives the adapter up, as if its driver had reset it: to show what follows.
    pub fn lose(&self) {
        self.context.device.destroy();
        self.context.fail(DeviceError::Lost { why: "given up".into() });
    }

    pub(crate) fn weights(&self, sources: Vec<WeightSource>) -> Vec<Arc<Storage>> {
        Storage::weights(&self.context, sources).into_iter().map(Arc::new).collect()
    }

    pub(crate) fn zeroed(&self, shapes: &[(usize, usize)], element: Element) -> Vec<Arc<Storage>> {
        Storage::zeroed(&self.context, shapes, element).into_iter().map(Arc::new).collect()
    }

    pub(crate) fn write(&self, storage: &Storage, offset: usize, values: &[f32]) {
        self.submit();
        storage.write(&self.context, offset, values);
    }

    pub(crate) fn write_ids(&self, storage: &Storage, offset: usize, ids: &[u32]) {
        self.submit();
        storage.write_ids(&self.context, offset, ids);
    }

    pub(crate) fn read(&self, storage: &Storage, offset: usize, values: &mut [f32]) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.submit();
        storage.read(&self.context, offset, values);
    }

    pub(crate) fn read_ids(&self, storage: &Storage, offset: usize, ids: &mut [u32]) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.submit();
        storage.read_ids(&self.context, offset, ids);
    }

    pub(crate) fn copy(&self, from: &Storage, range: Range<usize>, to: &Storage, at: usize) {
        let (from, to) = (from.values_at(range.start), to.written_at(at));
        self.recorder().copy(&self.context, from, to, 4 * range.len());
    }

    pub(crate) fn compile(&self, program: &Program, max_tokens: usize, fused: bool) -> Exec {
        let exec = Exec::new(&self.context, program, max_tokens, fused);
        self.pipelines.prepare(&self.context, &exec.kernels());
        exec
    }

    pub(crate) fn run(&self, exec: &Exec, bindings: &Bindings, cursor: Cursor) {
        exec.run(&self.context, &self.pipelines, &mut self.recorder(), bindings, cursor);
    }

    fn submit(&self) {
        self.recorder().submit(&self.context);
    }

    /// What a panicking run left recorded is whole commands.
    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
