//! The memory that a program's slots are bound to, whichever device it lies on.

use std::ops::Range;
use std::sync::Arc;

use crate::cpu::storage::Storage as CpuStorage;
#[cfg(feature = "gpu")]
use crate::gpu::storage::Storage as GpuStorage;
use crate::quant::Quant;
use crate::types::Element;

/// Memory of a device: a frozen weight, f32 values, a cache or ids. Cheap to clone; clones are
/// the same memory. It belongs to the device that made it.
#[derive(Clone)]
pub struct Buffer {
    rows: usize,
    cols: usize,
    storage: Storage,
}

/// Whose memory it is.
#[derive(Clone)]
pub(crate) enum Storage {
    Cpu(Arc<CpuStorage>),
    #[cfg(feature = "gpu")]
    Gpu(Arc<GpuStorage>),
}

impl Buffer {
    pub(crate) fn new(rows: usize, cols: usize, storage: Storage) -> Buffer {
        Buffer { rows, cols, storage }
    }

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
        match &self.storage {
            Storage::Cpu(storage) => storage.bytes(),
            #[cfg(feature = "gpu")]
            Storage::Gpu(storage) => storage.bytes(),
        }
    }

    /// What one element is.
    pub(crate) fn element(&self) -> Element {
        match &self.storage {
            Storage::Cpu(storage) => storage.element(),
            #[cfg(feature = "gpu")]
            Storage::Gpu(storage) => storage.element(),
        }
    }

    /// The elements of a row of f32 values.
    pub(crate) fn row(&self, row: usize) -> Range<usize> {
        assert_eq!(self.element(), Element::Value(Quant::F32), "only f32 values are searched");
        assert!(row < self.rows, "row {row} of {}", self.rows);
        row * self.cols..(row + 1) * self.cols
    }

    pub(crate) fn is_same_memory(&self, other: &Buffer) -> bool {
        match (&self.storage, &other.storage) {
            (Storage::Cpu(a), Storage::Cpu(b)) => Arc::ptr_eq(a, b),
            #[cfg(feature = "gpu")]
            (Storage::Gpu(a), Storage::Gpu(b)) => Arc::ptr_eq(a, b),
            #[cfg(feature = "gpu")]
            _ => false,
        }
    }

    /// The memory of a buffer that the CPU made.
    pub(crate) fn on_cpu(&self) -> &Arc<CpuStorage> {
        match &self.storage {
            Storage::Cpu(storage) => storage,
            #[cfg(feature = "gpu")]
            Storage::Gpu(_) => panic!("a buffer of the GPU is used on the CPU"),
        }
    }

    /// The memory of a buffer that the GPU made.
    #[cfg(feature = "gpu")]
    pub(crate) fn on_gpu(&self) -> &Arc<GpuStorage> {
        match &self.storage {
            Storage::Gpu(storage) => storage,
            Storage::Cpu(_) => panic!("a buffer of the CPU is used on the GPU"),
        }
    }
}
