//! The plain types that programs, devices and buffers share.

use std::ops::Range;
use std::sync::Arc;

use crate::quant::Quant;

/// Index of a slot in its [`Program`](crate::Program).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub(crate) u32);

impl Slot {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a slot's contents come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Bound for a run: activations or token ids.
    Input,
    /// Bound, frozen, possibly quantized; never differentiated.
    Weight,
    /// Bound, trainable, f32.
    Param,
    /// Bound and updated in place by the run (a key-value cache).
    State,
    /// Made by a step.
    Scratch,
}

/// Number of rows of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// As many as the run has tokens.
    Tokens,
    /// Known when the program is built.
    Fixed(usize),
    /// As many as the bound buffer has (the capacity of a cache).
    Bound,
}

/// What one element of a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// A value; every slot that steps make is f32.
    Value(Quant),
    /// A token id.
    Id,
}

/// Description of a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Desc {
    /// For messages; the op's name where a step makes the slot.
    pub name: String,
    /// Where the contents come from.
    pub role: Role,
    /// Number of rows.
    pub rows: Rows,
    /// Number of columns.
    pub cols: usize,
    /// What an element is.
    pub element: Element,
}

/// Bytes that somebody keeps alive: a mapped file, a static array, a vector.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A frozen weight, where it is.
#[derive(Clone)]
pub struct WeightSource {
    /// What it is a part of.
    pub bytes: SharedBytes,
    /// Exactly its blocks.
    pub range: Range<usize>,
    /// Rows and columns.
    pub shape: (usize, usize),
    /// Its block type.
    pub quant: Quant,
}

/// Where a run stands in its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Position of the run's first token; rows before it are in the cache.
    pub pos: usize,
    /// T: tokens of this run, at least 1.
    pub tokens: usize,
}
