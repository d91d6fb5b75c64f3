//! A compiled program: what is bound, and where intermediate values lie.

use std::sync::Arc;

use super::fuse::{Task, fuse, unfused};
use super::layout::work_len;
use super::storage::Storage;
use crate::bind::Checked;
use crate::buffer::Buffer;
use crate::layout::{Piece, layout};
use crate::plan::LINE;
use crate::program::Program;
use crate::types::Slot;

/// A program compiled for the CPU.
pub(crate) struct Exec {
    pub(super) program: Program,
    pub(crate) max_tokens: usize,
    /// Slots that a run binds, in order.
    pub(super) bound: Vec<Slot>,
    /// By slot.
    pub(super) places: Vec<Place>,
    pub(super) tasks: Vec<Planned>,
    pub(super) arena_len: usize,
}

/// Where a slot's values are during a run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Nowhere: no task makes them.
    Unused,
    /// In the arena, from this offset on.
    Arena(usize),
    /// In the bound buffer of this number.
    Bound(usize),
}

/// A task and its work space in the arena.
pub(super) struct Planned {
    pub task: Task,
    pub work: usize,
    pub work_len: usize,
}

/// Checked buffers of a run.
pub(crate) struct Bindings {
    /// Every buffer once.
    pub(super) storages: Vec<Arc<Storage>>,
    /// For every slot of [`Exec::bound`], its buffer's number.
    pub(super) numbers: Vec<usize>,
    /// The most tokens that every buffer over tokens has room for.
    pub(super) tokens: usize,
    /// Rows of the smallest cache.
    pub(super) capacity: usize,
}

impl Exec {
    /// `fused` is off only in tests.
    pub(crate) fn new(program: &Program, max_tokens: usize, threads: usize, fused: bool) -> Exec {
        assert!(max_tokens > 0, "a run has at least one token");
        let bound = program.bound();
        let tasks = if fused { fuse(program) } else { unfused(program) };
        let piece = |task| {
            let work = work_len(program, task, max_tokens, threads);
            Piece { steps: Task::steps(task), work, left: 0 }
        };
        let pieces: Vec<Piece<'_>> = tasks.iter().map(piece).collect();
        let layout = layout(program, &pieces, max_tokens, LINE);
        let mut places = vec![Place::Unused; program.slots().count()];
        for (number, slot) in bound.iter().enumerate() {
            places[slot.index()] = Place::Bound(number);
        }
        for (slot, offset) in layout.slots {
            places[slot.index()] = Place::Arena(offset);
        }
        let planned = tasks.into_iter().zip(layout.works);
        let tasks = planned.map(|(task, (work, work_len))| Planned { task, work, work_len });
        Exec {
            program: program.clone(),
            max_tokens,
            bound,
            places,
            tasks: tasks.collect(),
            arena_len: layout.len,
        }
    }

    pub(crate) fn peak_bytes(&self) -> usize {
        self.arena_len * size_of::<f32>()
    }

    pub(crate) fn bind(&self, buffers: &[(Slot, &Buffer)]) -> Bindings {
        let Checked { buffers, numbers, tokens, capacity } =
            Checked::new(&self.program, &self.bound, buffers);
        let storages = buffers.into_iter().map(|buffer| buffer.on_cpu().clone()).collect();
        Bindings { storages, numbers, tokens, capacity }
    }

    /// Number of a bound slot.
    pub(super) fn number(&self, slot: Slot) -> usize {
        self.bound.partition_point(|&bound| bound < slot)
    }
}
