//! A compiled program: what is bound, and where intermediate values lie.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::dispatch::{Dispatch, Operand, Operands};
use super::fuse::Piece;
use super::pipeline::Pipeline;
use super::shader::{Kernel, Products};
use super::storage::Storage;
use crate::bind::Checked;
use crate::buffer::Buffer;
use crate::layout::len;
use crate::op::Rope;
use crate::program::Program;
use crate::types::Slot;

/// Stretches of the arena begin at multiples of this many f32: no adapter asks for more than 256
/// bytes.
pub(super) const LINE: usize = 64;

/// A program compiled for the GPU.
pub(crate) struct Exec {
    pub(super) program: Program,
    pub(crate) max_tokens: usize,
    pub(super) bound: Vec<Slot>,
    /// By slot.
    pub(super) places: Vec<Place>,
    pub(super) pieces: Vec<Planned>,
    pub(super) arena_len: usize,
    pub(super) products: Products,
}

/// Where a slot's values are during a run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Nowhere: no step makes them.
    Unused,
    /// In the arena, from this f32 on.
    Arena(usize),
    /// In the bound buffer of this number.
    Bound(usize),
}

/// A piece, its work space in the arena, and what it leaves there for the next piece.
pub(super) struct Planned {
    pub piece: Piece,
    pub work: usize,
    pub left: usize,
}

/// Checked buffers of a run.
pub(crate) struct Bindings {
    /// Every buffer once.
    pub(super) storages: Vec<Arc<Storage>>,
    /// For every bound slot, its buffer's number.
    pub(super) numbers: Vec<usize>,
    pub(super) tokens: usize,
    pub(super) capacity: usize,
    /// Whether a bound slot shares its buffer with no other.
    pub(super) sole: Vec<bool>,
    pub(super) kept: Mutex<Kept>,
}

/// What earlier runs with these buffers have left.
#[derive(Default)]
pub(super) struct Kept {
    /// Number of the arena that the bind groups refer to.
    pub arena: u64,
    pub groups: HashMap<(Kernel, Operands), wgpu::BindGroup>,
    pub calls: Calls,
}

/// The kernel calls of the last run. One of as many tokens differs in its position alone.
#[derive(Default)]
pub(super) struct Calls {
    pub tokens: usize,
    /// Ropes with their factors, and the tables that the calls refer to.
    pub turns: Vec<(Rope, Option<Slot>, Operand)>,
    pub all: Vec<Call>,
}

/// A kernel call, ready to be recorded.
pub(super) struct Call {
    pub pipeline: Arc<Pipeline>,
    pub group: wgpu::BindGroup,
    pub dispatch: Dispatch,
}

impl Exec {
    pub(crate) fn peak_bytes(&self) -> usize {
        self.arena_len * size_of::<f32>()
    }

    pub(crate) fn bind(&self, buffers: &[(Slot, &Buffer)]) -> Bindings {
        let Checked { buffers, numbers, tokens, capacity } =
            Checked::new(&self.program, &self.bound, buffers);
        let storages = buffers.into_iter().map(|buffer| buffer.on_gpu().clone()).collect();
        let once = |number| numbers.iter().filter(|&other| other == number).count() == 1;
        let sole = numbers.iter().map(once).collect();
        Bindings { storages, numbers, tokens, capacity, sole, kept: Mutex::default() }
    }

    /// Where a slot is, as an operand; of a bound buffer the first panel.
    pub(super) fn operand(&self, bindings: &Bindings, slot: Slot) -> Operand {
        match self.places[slot.index()] {
            Place::Unused => unreachable!("no step makes it"),
            Place::Arena(offset) => match self.handed_out(bindings, slot) {
                Some(number) => Operand::Bound { number, panel: 0 },
                None => Operand::Arena { offset, len: len(&self.program, slot, self.max_tokens) },
            },
            Place::Bound(number) => Operand::Bound { number: bindings.numbers[number], panel: 0 },
        }
    }

    /// The buffer of an output that can be written at once, since nothing else is bound there.
    fn handed_out(&self, bindings: &Bindings, slot: Slot) -> Option<usize> {
        let number = self.program.outputs().contains(&slot).then(|| self.number(slot))?;
        bindings.sole[number].then(|| bindings.numbers[number])
    }

    /// Number of a bound slot.
    pub(super) fn number(&self, slot: Slot) -> usize {
        self.bound.partition_point(|&bound| bound < slot)
    }
}
