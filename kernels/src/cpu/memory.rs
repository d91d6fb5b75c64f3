//! The memory that a run works in: the arena, and the buffers that it holds locked.

use std::ops::Range;
use std::sync::{RwLockReadGuard, RwLockWriteGuard};

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use super::attention::Rows;
use super::rope::Tables;
use super::storage::{Storage, Weight, read, write};

/// What the programs of a device share, one at a time.
#[derive(Default)]
pub(super) struct Scratch {
    arena: Vec<f32>,
    pub tables: Tables,
}

/// f32 per cache line: the arena starts at one.
const LINE: usize = 16;

impl Scratch {
    /// At least `len` values, at a cache line, and the rope tables.
    pub fn split(&mut self, len: usize) -> (&mut [f32], &mut Tables) {
        if self.arena.len() < len + LINE {
            // The old one goes first: both together would be a peak that nobody planned.
            self.arena = Vec::new();
            self.arena = vec![0.0; len + LINE];
        }
        let start = self.arena.as_ptr().align_offset(64).min(LINE);
        (&mut self.arena[start..start + len], &mut self.tables)
    }
}

/// The arena during one step: some ranges are written, the rest is read.
pub(super) struct Views<'a, const N: usize> {
    writes: [Option<&'a mut [f32]>; N],
    /// What lies between the written ranges, with its offset.
    gaps: [(usize, &'a [f32]); N],
    tail: (usize, &'a [f32]),
}

impl<'a, const N: usize> Views<'a, N> {
    /// # Panics
    /// If the ranges to write overlap: the plan says they do not.
    pub fn new(arena: &'a mut [f32], ranges: &[Range<usize>; N]) -> Views<'a, N> {
        let mut order: [usize; N] = std::array::from_fn(|i| i);
        order.sort_unstable_by_key(|&i| ranges[i].start);
        let mut writes = [const { None }; N];
        let mut gaps: [(usize, &[f32]); N] = [(0, &[]); N];
        let (mut rest, mut at) = (arena, 0);
        for (gap, i) in gaps.iter_mut().zip(order) {
            let (before, after) = rest.split_at_mut(ranges[i].start - at);
            let (mine, after) = after.split_at_mut(ranges[i].len());
            *gap = (at, before);
            writes[i] = Some(mine);
            (rest, at) = (after, ranges[i].end);
        }
        Views { writes, gaps, tail: (at, rest) }
    }

    pub fn write(&mut self, i: usize) -> &'a mut [f32] {
        self.writes[i].take().expect("a range is written by one operand")
    }

    /// A range that no operand writes.
    pub fn read(&self, range: Range<usize>) -> &'a [f32] {
        let holds =
            |&&(at, gap): &&(usize, &[f32])| at <= range.start && range.end <= at + gap.len();
        let (at, gap) = self
            .gaps
            .iter()
            .chain([&self.tail])
            .find(holds)
            .expect("the plan keeps what a step reads apart from what it writes");
        &gap[range.start - at..range.end - at]
    }
}

/// A buffer during a run.
pub(super) enum Held<'a> {
    Weight(&'a Weight),
    F32(RwLockReadGuard<'a, Vec<f32>>),
    Ids(RwLockReadGuard<'a, Vec<u32>>),
    /// A cache, or a buffer that only the end of the run writes.
    None,
}

/// A cache during a run.
pub(super) enum HeldState<'a> {
    F32(RwLockWriteGuard<'a, Vec<f32>>),
    F16(RwLockWriteGuard<'a, Vec<f16>>),
}

impl Storage {
    pub(super) fn hold(&self) -> Held<'_> {
        match self {
            Storage::Weight(weight) => Held::Weight(weight),
            Storage::F32(values) => Held::F32(read(values)),
            Storage::Ids(ids) => Held::Ids(read(ids)),
            Storage::F16(_) => Held::None,
        }
    }

    pub(super) fn hold_state(&self) -> HeldState<'_> {
        match self {
            Storage::F32(values) => HeldState::F32(write(values)),
            Storage::F16(values) => HeldState::F16(write(values)),
            _ => unreachable!("checked when bound"),
        }
    }
}

impl HeldState<'_> {
    /// Copies rows into the cache from element `at` on.
    pub fn append(&mut self, at: usize, rows: &[f32]) {
        match self {
            HeldState::F32(values) => values[at..at + rows.len()].copy_from_slice(rows),
            HeldState::F16(values) => {
                values[at..at + rows.len()].convert_from_f32_slice(rows);
            }
        }
    }

    pub fn rows(&self) -> Rows<'_> {
        match self {
            HeldState::F32(values) => Rows::F32(values),
            HeldState::F16(values) => Rows::F16(values),
        }
    }
}
