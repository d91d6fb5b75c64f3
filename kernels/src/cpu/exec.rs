//! A compiled program: what is bound, and where intermediate values lie.

use std::sync::Arc;

use super::fuse::{Task, fuse, unfused};
use super::layout::{layout, len};
use super::memory::Scratch;
use super::run::Run;
use super::storage::write;
use super::{Cx, Storage};
use crate::device::{Buffer, Cursor};
use crate::program::{Program, Role, Rows, Slot};

/// A program compiled for the CPU.
pub(crate) struct Exec {
    pub(super) program: Program,
    pub(crate) max_tokens: usize,
    /// Slots that a run binds, in order.
    pub(super) bound: Vec<Slot>,
    /// By slot.
    pub(super) places: Vec<Place>,
    tasks: Vec<Planned>,
    arena_len: usize,
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
    tokens: usize,
    /// Rows of the smallest cache.
    capacity: usize,
}

impl Exec {
    /// `fused` is off only in tests.
    pub(crate) fn new(program: &Program, max_tokens: usize, threads: usize, fused: bool) -> Exec {
        assert!(max_tokens > 0, "a run has at least one token");
        let is_bound = |slot: &Slot| {
            program.desc(*slot).role != Role::Scratch || program.outputs().contains(slot)
        };
        let bound: Vec<Slot> = program.slots().filter(is_bound).collect();
        let tasks = if fused { fuse(program) } else { unfused(program) };
        let layout = layout(program, &tasks, max_tokens, threads);
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
        let name = |slot: Slot| &self.program.desc(slot).name;
        for &(slot, _) in buffers {
            assert!(self.bound.contains(&slot), "{} is not to be bound", name(slot));
        }
        let (mut tokens, mut capacity) = (usize::MAX, usize::MAX);
        let mut storages: Vec<Arc<Storage>> = Vec::with_capacity(self.bound.len());
        let mut numbers = Vec::with_capacity(self.bound.len());
        for &slot in &self.bound {
            let mut given = buffers.iter().filter(|(bound, _)| *bound == slot);
            let (Some((_, buffer)), None) = (given.next(), given.next()) else {
                panic!("{} is to be bound once", name(slot));
            };
            let desc = self.program.desc(slot);
            assert_eq!(buffer.storage.element(), desc.element, "{}: element", desc.name);
            assert_eq!(buffer.cols(), desc.cols, "{}: columns", desc.name);
            match desc.rows {
                Rows::Fixed(rows) => assert_eq!(buffer.rows(), rows, "{}: rows", desc.name),
                Rows::Tokens => tokens = tokens.min(buffer.rows()),
                Rows::Bound => capacity = capacity.min(buffer.rows()),
            }
            let known = storages.iter().position(|storage| Arc::ptr_eq(storage, &buffer.storage));
            assert!(
                known.is_none() || desc.role != Role::State,
                "{}: a cache is bound to one slot",
                desc.name
            );
            numbers.push(known.unwrap_or(storages.len()));
            if known.is_none() {
                storages.push(buffer.storage.clone());
            }
        }
        Bindings { storages, numbers, tokens, capacity }
    }

    pub(super) fn run(&self, cx: &Cx<'_>, scratch: &mut Scratch, bindings: &Bindings) {
        let Cursor { pos, tokens } = cx.cursor;
        let most = self.max_tokens.min(bindings.tokens);
        assert!(0 < tokens && tokens <= most, "{tokens} tokens, at most {most}");
        assert!(pos + tokens <= bindings.capacity, "the cache ends before {}", pos + tokens);
        assert_eq!(bindings.numbers.len(), self.bound.len(), "bindings of another program");
        let (arena, tables) = scratch.split(self.arena_len);
        let mut run = Run::new(self, cx, bindings);
        for planned in &self.tasks {
            run.task(planned, arena, tables);
        }
        // Inputs are no longer held: an output may go where an input came from.
        drop(run);
        for &slot in self.program.outputs() {
            let Place::Arena(offset) = self.places[slot.index()] else {
                unreachable!("an output is made by a task")
            };
            let number = bindings.numbers[self.number(slot)];
            let Storage::F32(to) = &*bindings.storages[number] else {
                unreachable!("checked when bound")
            };
            let len = len(&self.program, slot, tokens);
            write(to)[..len].copy_from_slice(&arena[offset..offset + len]);
        }
    }

    /// Number of a bound slot.
    fn number(&self, slot: Slot) -> usize {
        self.bound.partition_point(|&bound| bound < slot)
    }
}
