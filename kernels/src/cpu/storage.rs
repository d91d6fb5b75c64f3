//! What a [`Buffer`](crate::Buffer) holds on the CPU.

use std::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use crate::quant::Quant;
use crate::top::top;
use crate::types::{Element, SharedBytes};

/// Memory of one buffer. Frozen weights need no lock; the rest is locked for the length of a run,
/// or of one copy.
pub enum Storage {
    /// Rows of blocks inside bytes that somebody keeps alive.
    Weight(Weight),
    /// Values.
    F32(RwLock<Vec<f32>>),
    /// A cache of halves.
    F16(RwLock<Vec<f16>>),
    /// Token ids.
    Ids(RwLock<Vec<u32>>),
}

/// A frozen weight.
pub struct Weight {
    bytes: SharedBytes,
    range: Range<usize>,
    pub(super) quant: Quant,
}

impl Weight {
    /// All rows.
    pub fn bytes(&self) -> &[u8] {
        &(*self.bytes).as_ref()[self.range.clone()]
    }
}

impl Storage {
    /// See [`Device::weight`](crate::Device::weight).
    pub fn weight(
        bytes: SharedBytes,
        range: Range<usize>,
        (rows, cols): (usize, usize),
        quant: Quant,
    ) -> Storage {
        let slice = &(*bytes).as_ref()[range.clone()];
        if quant == Quant::F32 && bytemuck::try_cast_slice::<u8, f32>(slice).is_err() {
            // Values are read in place, so they must be aligned: files align them, slices may not.
            let mut values = vec![0.0; rows * cols];
            quant.dequantize(slice, &mut values);
            return Storage::F32(RwLock::new(values));
        }
        Storage::Weight(Weight { bytes, range, quant })
    }

    /// Zeros: values, a cache, or ids.
    pub fn zeroed(len: usize, element: Element) -> Storage {
        match element {
            Element::Id => Storage::Ids(RwLock::new(vec![0; len])),
            Element::Value(Quant::F16) => Storage::F16(RwLock::new(vec![f16::ZERO; len])),
            Element::Value(_) => Storage::F32(RwLock::new(vec![0.0; len])),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match self {
            Storage::Weight(weight) => weight.range.len(),
            Storage::F32(values) => read(values).len() * size_of::<f32>(),
            Storage::F16(values) => read(values).len() * size_of::<f16>(),
            Storage::Ids(ids) => read(ids).len() * size_of::<u32>(),
        }
    }

    /// What one element is.
    pub fn element(&self) -> Element {
        match self {
            Storage::Weight(weight) => Element::Value(weight.quant),
            Storage::F32(_) => Element::Value(Quant::F32),
            Storage::F16(_) => Element::Value(Quant::F16),
            Storage::Ids(_) => Element::Id,
        }
    }

    /// See [`Device::write`](crate::Device::write).
    pub fn write(&self, offset: usize, values: &[f32]) {
        let range = offset..offset + values.len();
        match self {
            Storage::F32(held) => write(held)[range].copy_from_slice(values),
            Storage::F16(held) => write(held)[range].convert_from_f32_slice(values),
            Storage::Weight(_) => panic!("a frozen weight is not written"),
            Storage::Ids(_) => panic!("ids are written by write_ids"),
        }
    }

    /// See [`Device::write_ids`](crate::Device::write_ids).
    pub fn write_ids(&self, offset: usize, ids: &[u32]) {
        match self {
            Storage::Ids(held) => {
                write(held)[offset..offset + ids.len()].copy_from_slice(ids);
            }
            _ => panic!("the buffer does not hold ids"),
        }
    }

    /// See [`Device::read_ids`](crate::Device::read_ids).
    pub fn read_ids(&self, offset: usize, ids: &mut [u32]) {
        match self {
            Storage::Ids(held) => ids.copy_from_slice(&read(held)[offset..offset + ids.len()]),
            _ => panic!("the buffer does not hold ids"),
        }
    }

    /// See [`Device::copy`](crate::Device::copy).
    pub fn copy(&self, range: Range<usize>, to: &Storage, at: usize) {
        let (Storage::F32(from), Storage::F32(into)) = (self, to) else {
            panic!("a frozen weight is not copied")
        };
        if std::ptr::eq(self, to) {
            return write(into).copy_within(range, at);
        }
        // Never both locks at once: another copy may go the other way.
        let values = read(from)[range].to_vec();
        write(into)[at..at + values.len()].copy_from_slice(&values);
    }

    /// See [`Device::top`](crate::Device::top).
    pub fn top(&self, range: Range<usize>, k: usize) -> Vec<(u32, f32)> {
        match self {
            Storage::F32(held) => top(&read(held)[range], k),
            _ => panic!("only f32 values are searched"),
        }
    }

    /// See [`Device::read`](crate::Device::read).
    pub fn read(&self, cols: usize, offset: usize, values: &mut [f32]) {
        let range = offset..offset + values.len();
        match self {
            Storage::F32(held) => values.copy_from_slice(&read(held)[range]),
            Storage::F16(held) => read(held)[range].convert_to_f32_slice(values),
            Storage::Weight(weight) => {
                assert!(
                    offset.is_multiple_of(cols) && values.len().is_multiple_of(cols),
                    "a weight is read in whole rows"
                );
                let row_bytes = weight.quant.row_bytes(cols).expect("checked when made");
                let bytes = range.start / cols * row_bytes..range.end / cols * row_bytes;
                weight.quant.dequantize(&weight.bytes()[bytes], values);
            }
            Storage::Ids(_) => panic!("the buffer holds ids"),
        }
    }
}

/// A lock is only ever held around copies and runs; what a panicking run left is still valid
/// numbers, so poison is ignored.
pub fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// See [`read`].
pub fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
