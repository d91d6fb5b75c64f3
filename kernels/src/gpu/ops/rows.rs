//! Ops that work on rows or on single elements.

use super::emit::{Emit, each};
use crate::gpu::dispatch::Operand;
use crate::gpu::pack;
use crate::gpu::shader::Kernel;
use crate::op::{Activation, Rope, RopeStyle, Step};
use crate::types::Slot;

impl Emit<'_> {
    pub(super) fn embed(&mut self, step: &Step, scale: f32) {
        let [ids, table] = [step.inputs[0], step.inputs[1]];
        let (tokens, y) = (self.tokens(), self.operand(step.outputs[0]));
        for panel in self.panels(table) {
            let operands = [panel.operand, self.operand(ids), y];
            let [rows, cols, units] = panel.sizes();
            let words = [rows, cols, units, panel.first_row as u32, tokens as u32, scale.to_bits()];
            let parts = tokens * pack::units(panel.cols) * 4;
            self.call(Kernel::Embed(self.quant(table)), &operands, &words, each(parts));
        }
    }

    pub(super) fn rms_norm(&mut self, step: &Step, eps: f32) {
        let (words, grid) = self.groups(step, eps);
        let operands = self.operands(step);
        self.call(Kernel::RmsNorm, &operands, &words, grid);
    }

    pub(super) fn rms_norm_grad(&mut self, step: &Step, eps: f32) {
        let (words, grid) = self.groups(step, eps);
        let operands = self.operands(step);
        self.call(Kernel::RmsNormGrad, &operands, &words, grid);
    }

    /// One workgroup per row and group of columns.
    fn groups(&self, step: &Step, eps: f32) -> ([u32; 3], [u32; 3]) {
        let [x, w] = [step.inputs[0], step.inputs[1]];
        let (cols, len) = (self.cols(x), self.cols(w));
        let grid = [(cols / len) as u32, self.rows(x) as u32, 1];
        ([cols as u32, len as u32, eps.to_bits()], grid)
    }

    pub(super) fn rope(&mut self, step: &Step, rope: Rope) {
        let turns = self.turns(rope, step.inputs.get(1).copied());
        let x = step.inputs[0];
        let (tokens, cols) = (self.tokens(), self.cols(x));
        let width = cols / rope.heads;
        let operands = [turns, self.operand(x), self.operand(step.outputs[0])];
        let interleaved = rope.style == RopeStyle::Interleaved;
        let sign: f32 = if rope.inverse { -1.0 } else { 1.0 };
        let sizes = [tokens, cols, width, rope.dims].map(|size| size as u32);
        let [tokens_word, cols_word, width_word, dims] = sizes;
        let words =
            [tokens_word, cols_word, width_word, dims, u32::from(interleaved), sign.to_bits()];
        let work = tokens * rope.heads * (width - rope.dims / 2);
        self.call(Kernel::Rope, &operands, &words, each(work));
    }

    /// The table of a rope's angles in this run.
    pub(in crate::gpu) fn turns(&mut self, rope: Rope, factors: Option<Slot>) -> Operand {
        let (context, cursor) = (self.context, self.cursor);
        let values = factors.map(|slot| {
            let Operand::Bound { number, .. } = self.operand(slot) else {
                unreachable!("factors are a weight")
            };
            self.bindings.storages[number].values(context, || {
                self.recorder.submit(context);
            })
        });
        let found = self.recorder.tables.find(rope, values.as_ref(), cursor);
        let table = Operand::Table(found.unwrap_or_else(|| {
            // What was recorded before still reads the old table.
            self.recorder.submit(context);
            self.recorder.tables.fill(context, rope, values.as_ref(), cursor)
        }));
        if !self.turns.contains(&(rope, factors, table)) {
            self.turns.push((rope, factors, table));
        }
        table
    }

    pub(super) fn glu(&mut self, step: &Step, activation: Activation) {
        let len = self.len(step.inputs[0]);
        let operands = self.operands(step);
        self.call(Kernel::Glu, &operands, &[len as u32, number(activation)], each(len));
    }

    pub(super) fn glu_grad(&mut self, step: &Step, activation: Activation) {
        let len = self.len(step.inputs[0]);
        let operands = self.operands(step);
        self.call(Kernel::GluGrad, &operands, &[len as u32, number(activation)], each(len));
    }

    pub(super) fn add(&mut self, step: &Step) {
        let len = self.len(step.inputs[0]);
        let operands = self.operands(step);
        self.call(Kernel::Add, &operands, &[len as u32], each(len));
    }

    /// A step's operands and results, in their order.
    fn operands(&self, step: &Step) -> Vec<Operand> {
        let slots = step.inputs.iter().chain(&step.outputs);
        slots.map(|&slot| self.operand(slot)).collect()
    }
}

pub(super) fn number(activation: Activation) -> u32 {
    match activation {
        Activation::Silu => 0,
        Activation::GeluTanh => 1,
    }
}
