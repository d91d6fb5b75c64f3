//! Log-probabilities of targets and their gradient, streamed over shards of the vocabulary.

use super::emit::{Emit, Panel, Work, each};
use super::linear::Product;
use crate::gpu::dispatch::Operand;
use crate::gpu::exec::LINE;
use crate::gpu::shader::{Kernel, Products};
use crate::op::Step;
use crate::types::Slot;

/// Rows of the head whose logits exist at a time.
const SHARD: usize = 4096;

/// Work space: statistics, and the logits of a shard.
pub(super) fn work_len(tokens: usize, rows: usize) -> usize {
    (4 * tokens).next_multiple_of(LINE) + (tokens * rows.min(SHARD)).next_multiple_of(LINE)
}

/// The head's work space during a step.
#[derive(Clone, Copy)]
struct Space {
    statistics: Operand,
    logits: Operand,
    /// Columns of the logits.
    stride: usize,
}

/// Some rows of one page of the head.
#[derive(Clone, Copy)]
struct Shard {
    panel: Panel,
    /// First row within the page, and rows.
    rows: [usize; 2],
}

impl Shard {
    /// The first word of the vocabulary, and how many.
    fn words(&self) -> [u32; 2] {
        [(self.panel.first_row + self.rows[0]) as u32, self.rows[1] as u32]
    }
}

impl Emit<'_> {
    pub(super) fn head_logp(&mut self, step: &Step, work: Work) {
        let space = self.statistics(step, work);
        let operands = [step.inputs[2], step.outputs[0]].map(|slot| self.operand(slot));
        let operands = [operands[0], space.statistics, operands[1]];
        let tokens = self.tokens();
        self.call(Kernel::HeadLogp, &operands, &[tokens as u32], each(tokens));
    }

    pub(super) fn head_logp_grad(&mut self, step: &Step, work: Work) {
        let space = self.statistics(step, work);
        let [x, w, targets, dlogp] = [0, 1, 2, 3].map(|i| step.inputs[i]);
        let (dx, tokens) = (self.operand(step.outputs[0]), self.tokens());
        for shard in self.shards(w) {
            self.shard_logits(x, w, &shard, &space);
            let operands =
                [self.operand(targets), space.logits, space.statistics, self.operand(dlogp)];
            let [first, count] = shard.words();
            let words = [first, count, space.stride as u32, tokens as u32];
            self.call(Kernel::HeadSlopes, &operands, &words, each(tokens * shard.rows[1]));
            let product =
                Product { from: space.logits, to: dx, ..self.logits(x, w, &shard, &space) };
            self.back(&product, first > 0);
        }
    }

    /// Maximum and sum of exponentials of every token's logits, and its target's logit.
    fn statistics(&mut self, step: &Step, mut work: Work) -> Space {
        let [x, w, targets] = [0, 1, 2].map(|i| step.inputs[i]);
        let tokens = self.tokens();
        let stride = self.rows(w).min(SHARD);
        let statistics = work.take(4 * tokens);
        let space = Space { statistics, logits: work.take(tokens * stride), stride };
        for shard in self.shards(w) {
            self.shard_logits(x, w, &shard, &space);
            let operands = [self.operand(targets), space.logits, space.statistics];
            let [first, count] = shard.words();
            let words = [first, count, stride as u32];
            self.call(Kernel::HeadShard, &operands, &words, [tokens as u32, 1, 1]);
        }
        space
    }

    fn shard_logits(&mut self, x: Slot, w: Slot, shard: &Shard, space: &Space) {
        self.product(&self.logits(x, w, shard, space), None);
    }

    /// The product of which a shard's logits come out.
    fn logits(&self, x: Slot, w: Slot, shard: &Shard, space: &Space) -> Product {
        Product {
            quant: self.quant(w),
            panel: shard.panel,
            rows: shard.rows,
            from: self.operand(x),
            to: space.logits,
            column: 0,
            columns: space.stride,
            tokens: self.tokens(),
            pair: None,
            // A likelihood decides something.
            products: Products::F32,
        }
    }

    fn shards(&self, w: Slot) -> Vec<Shard> {
        let of = |panel: Panel| {
            let firsts = (0..panel.rows).step_by(SHARD);
            firsts.map(move |first| Shard { panel, rows: [first, SHARD.min(panel.rows - first)] })
        };
        self.panels(w).into_iter().flat_map(of).collect()
    }
}
