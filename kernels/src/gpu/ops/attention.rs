//! Attention and its gradient.

use super::emit::{Emit, Work, each, fold};
use crate::gpu::shader::Kernel;
use crate::op::{Attention, Step};
use crate::quant::Quant;
use crate::types::Slot;

impl Emit<'_> {
    pub(super) fn attention(&mut self, step: &Step, attributes: &Attention) {
        let [q, k, v] = [0, 1, 2].map(|i| step.inputs[i]);
        let [o, lse] = [0, 1].map(|i| self.operand(step.outputs[i]));
        let kv_cols = self.cols(k);
        let (quant, kv, pos, stride) = match step.inputs[..] {
            [_, _, _, keys, values] => {
                let quant = self.quant(keys);
                self.append(quant, [k, v], [keys, values]);
                // Rows of halves are padded to whole words.
                let stride =
                    if quant == Quant::F16 { kv_cols.next_multiple_of(2) } else { kv_cols };
                (quant, [keys, values], self.cursor.pos, stride)
            }
            _ => (Quant::F32, [k, v], 0, kv_cols),
        };
        let words = self.attention_words(attributes, q, pos, stride);
        let operands = [self.operand(q), self.operand(kv[0]), self.operand(kv[1]), o, lse];
        let queries = self.tokens() * (attributes.heads / attributes.kv_heads);
        let kernel = Kernel::Attention(quant);
        let grid = self.attention_grid(kernel, attributes, q, queries);
        self.call(kernel, &operands, &words, grid);
        if step.inputs.len() == 5 {
            self.position_is(1);
        }
    }

    pub(super) fn append(&mut self, quant: Quant, rows: [Slot; 2], caches: [Slot; 2]) {
        let (tokens, cols) = (self.tokens(), self.cols(rows[0]));
        let operands = [rows[0], rows[1], caches[0], caches[1]].map(|slot| self.operand(slot));
        let words = [tokens as u32, self.cursor.pos as u32, cols as u32];
        self.call(Kernel::Append(quant), &operands, &words, each(tokens * cols));
        self.position_is(1);
    }

    pub(super) fn attention_grad(&mut self, step: &Step, attributes: &Attention, mut work: Work) {
        let tokens = self.tokens();
        let [q, k, v, o, lse, dy] = [0, 1, 2, 3, 4, 5].map(|i| self.operand(step.inputs[i]));
        let [dq, dk, dv] = [0, 1, 2].map(|i| self.operand(step.outputs[i]));
        let q_slot = step.inputs[0];
        let heads = tokens * attributes.heads;
        let delta = work.take(heads);
        let width = self.cols(q_slot) / attributes.heads;
        let grid = fold(heads.div_ceil(8));
        self.call(Kernel::AttentionDelta, &[o, dy, delta], &[heads as u32, width as u32], grid);
        let words = self.attention_words(attributes, q_slot, 0, self.cols(step.inputs[1]));
        let queries = tokens * (attributes.heads / attributes.kv_heads);
        let grid = self.attention_grid(Kernel::AttentionGradQ, attributes, q_slot, queries);
        self.call(Kernel::AttentionGradQ, &[q, k, v, dy, lse, delta, dq], &words, grid);
        let grid = self.attention_grid(Kernel::AttentionGradKv, attributes, q_slot, tokens);
        let operands = [q, k, v, dy, lse, delta, dk, dv];
        self.call(Kernel::AttentionGradKv, &operands, &words, grid);
    }

    fn attention_words(
        &self,
        &Attention { heads, kv_heads, scale, window }: &Attention,
        q: Slot,
        pos: usize,
        kv_stride: usize,
    ) -> [u32; 8] {
        let width = self.cols(q) / heads;
        let window = window.map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX));
        let sizes = [self.tokens(), pos, heads, kv_heads, width].map(|size| size as u32);
        let [tokens, pos, heads, kv_heads, width] = sizes;
        [tokens, pos, heads, kv_heads, width, window, kv_stride as u32, scale.to_bits()]
    }

    fn attention_grid(
        &self,
        kernel: Kernel,
        attributes: &Attention,
        q: Slot,
        rows: usize,
    ) -> [u32; 3] {
        let width = self.cols(q) / attributes.heads;
        let [tile, slice] = kernel.tile(self.context.sharing);
        [rows.div_ceil(tile), attributes.kv_heads, width.div_ceil(slice)].map(|n| n as u32)
    }
}
