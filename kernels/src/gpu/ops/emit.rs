//! The kernel calls of a run, as they are collected: what every op's file builds on.

use crate::gpu::context::Context;
use crate::gpu::dispatch::{Dispatch, Operand, Operands, Words};
use crate::gpu::exec::{Bindings, Exec, LINE};
use crate::gpu::pack;
use crate::gpu::recorder::Recorder;
use crate::gpu::shader::{IMMEDIATE_BYTES, Kernel};
use crate::layout::len;
use crate::op::Rope;
use crate::program::Program;
use crate::quant::Quant;
use crate::types::{Cursor, Element, Slot};

/// The kernel calls of a run, as they are collected.
pub(in crate::gpu) struct Emit<'a> {
    pub(super) exec: &'a Exec,
    pub(super) bindings: &'a Bindings,
    pub(super) cursor: Cursor,
    pub(super) context: &'a Context,
    pub(super) recorder: &'a mut Recorder,
    pub dispatches: Vec<Dispatch>,
    /// The ropes of the run, with their factors, and their tables.
    pub turns: Vec<(Rope, Option<Slot>, Operand)>,
    /// What the last piece has left for the next.
    pub(super) left: Option<Left>,
    /// Whether the cache has the keys and values of the attention that comes.
    pub(super) appended: bool,
}

/// Partial sums of `x aᵀ` for the LoRA pairs of the next fused kernel, one per workgroup of this one.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub parts: Operand,
    /// Workgroups.
    pub count: usize,
}

/// Work space of a step, handed out piece by piece.
pub(super) struct Work(pub usize);

impl Work {
    pub fn take(&mut self, len: usize) -> Operand {
        let offset = self.0;
        self.0 += len.next_multiple_of(LINE);
        Operand::Arena { offset, len }
    }
}

/// A panel of a weight as kernels see it.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    pub operand: Operand,
    pub first_row: usize,
    pub rows: usize,
    pub cols: usize,
}

impl Panel {
    /// `page_rows`, `page_cols`, `page_units`.
    pub fn sizes(&self) -> [u32; 3] {
        [self.rows as u32, self.cols as u32, pack::units(self.cols) as u32]
    }
}

impl<'a> Emit<'a> {
    pub fn new(
        exec: &'a Exec,
        bindings: &'a Bindings,
        cursor: Cursor,
        context: &'a Context,
        recorder: &'a mut Recorder,
    ) -> Emit<'a> {
        recorder.tables.trim();
        Emit {
            exec,
            bindings,
            cursor,
            context,
            recorder,
            dispatches: Vec::new(),
            turns: Vec::new(),
            left: None,
            appended: false,
        }
    }

    pub(super) fn call(
        &mut self,
        kernel: Kernel,
        operands: &[Operand],
        words: &[u32],
        grid: [u32; 3],
    ) {
        let mut all = Operands::default();
        all[..operands.len()].copy_from_slice(operands);
        let mut sizes: Words = [0; IMMEDIATE_BYTES as usize / 4];
        sizes[..words.len()].copy_from_slice(words);
        self.dispatches.push(Dispatch { kernel, operands: all, words: sizes, pos: None, grid });
    }

    /// Says which word of the last call is the run's first position.
    pub(super) fn position_is(&mut self, word: usize) {
        let last = self.dispatches.last_mut().expect("after a call");
        assert_eq!(last.words[word], self.cursor.pos as u32);
        last.pos = Some(word);
    }

    pub(super) fn tokens(&self) -> usize {
        self.cursor.tokens
    }

    pub(super) fn operand(&self, slot: Slot) -> Operand {
        self.exec.operand(self.bindings, slot)
    }

    pub(super) fn cols(&self, slot: Slot) -> usize {
        self.exec.program.cols(slot)
    }

    /// Values of a slot in this run.
    pub(super) fn len(&self, slot: Slot) -> usize {
        len(&self.exec.program, slot, self.tokens())
    }

    /// Rows of a slot in this run.
    pub(super) fn rows(&self, slot: Slot) -> usize {
        self.len(slot) / self.cols(slot)
    }

    pub(super) fn quant(&self, slot: Slot) -> Quant {
        quant(&self.exec.program, slot)
    }

    /// The panels of a weight.
    pub(super) fn panels(&self, slot: Slot) -> Vec<Panel> {
        let Operand::Bound { number, .. } = self.operand(slot) else {
            unreachable!("a weight is bound")
        };
        let cols = self.cols(slot);
        let panels = self.bindings.storages[number].panels.iter().enumerate();
        panels
            .map(|(panel, held)| Panel {
                operand: Operand::Bound { number, panel },
                first_row: held.first_row,
                rows: held.rows,
                cols,
            })
            .collect()
    }
}

/// A grid of at least `groups` workgroups, folded where one dimension is too short.
pub(super) fn fold(groups: usize) -> [u32; 3] {
    const WIDE: usize = 32_768;
    if groups <= WIDE {
        return [groups as u32, 1, 1];
    }
    [WIDE as u32, groups.div_ceil(WIDE) as u32, 1]
}

/// Workgroups of 64 for one invocation per element.
pub(super) fn each(elements: usize) -> [u32; 3] {
    fold(elements.div_ceil(64))
}

pub(super) fn quant(program: &Program, slot: Slot) -> Quant {
    match program.desc(slot).element {
        Element::Value(quant) => quant,
        Element::Id => unreachable!("ids are no weight"),
    }
}
