//! A compiled program: what is bound, where it runs.

use std::sync::Arc;

use crate::cpu::Storage;
use crate::device::{Buffer, Cursor};
use crate::program::{Program, Role, Rows, Slot};

/// A program compiled for the CPU.
pub(crate) struct Exec {
    program: Program,
    pub(crate) max_tokens: usize,
    /// Slots that a run binds, in order.
    bound: Vec<Slot>,
}

/// Checked buffers of a run.
pub(crate) struct Bindings {
    /// One per slot of [`Exec::bound`].
    storages: Vec<Arc<Storage>>,
    /// The most tokens that every buffer over tokens has room for.
    tokens: usize,
    /// Rows of the smallest cache.
    capacity: usize,
}

impl Exec {
    pub(crate) fn new(program: &Program, max_tokens: usize) -> Exec {
        assert!(max_tokens > 0, "a run has at least one token");
        let is_bound = |slot: &Slot| {
            program.desc(*slot).role != Role::Scratch || program.outputs().contains(slot)
        };
        let bound = program.slots().filter(is_bound).collect();
        Exec { program: program.clone(), max_tokens, bound }
    }

    pub(crate) fn peak_bytes(&self) -> usize {
        0
    }

    pub(crate) fn bind(&self, buffers: &[(Slot, &Buffer)]) -> Bindings {
        let name = |slot: Slot| &self.program.desc(slot).name;
        for &(slot, _) in buffers {
            assert!(self.bound.contains(&slot), "{} is not to be bound", name(slot));
        }
        let (mut tokens, mut capacity) = (usize::MAX, usize::MAX);
        let mut storages = Vec::with_capacity(self.bound.len());
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
            storages.push(buffer.storage.clone());
        }
        Bindings { storages, tokens, capacity }
    }

    pub(crate) fn run(&self, bindings: &Bindings, cursor: Cursor) {
        let Cursor { pos, tokens } = cursor;
        let most = self.max_tokens.min(bindings.tokens);
        assert!(0 < tokens && tokens <= most, "{tokens} tokens, at most {most}");
        assert!(pos + tokens <= bindings.capacity, "the cache ends before {}", pos + tokens);
        panic!("{} buffers bound: kernels are not in yet", bindings.storages.len());
    }
}
