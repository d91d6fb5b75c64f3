//! Linears: the forward product, the gradient of its input, and those of the LoRA pair.

use super::{Emit, Operand, Panel, Work, each, fold};
use crate::gpu::exec::LINE;
use crate::gpu::shader::{FEW, Kernel};
use crate::grad::LinearOperands;
use crate::op::{Lora, Step};
use crate::program::Slot;
use crate::quant::Quant;

/// A product `c(m,n) = scale * sum over k of a(m,k) b(k,n)` with few columns n.
struct Thin {
    /// m, n, k.
    sizes: [usize; 3],
    a: Operand,
    /// Elements from one m to the next, and from one k to the next.
    a_strides: [usize; 2],
    b: Operand,
    /// Elements from one k to the next, and from one n to the next.
    b_strides: [usize; 2],
    c: Operand,
    /// Elements from one m to the next, and from one n to the next.
    c_strides: [usize; 2],
    scale: f32,
}

/// Terms of a sum that one workgroup adds up; a multiple of the kernel's tile.
const PART: usize = 256;
const PARTS_MAX: usize = 16;

/// Into how many parts a sum of `k` terms is split, and how long they are. It does not depend on
/// the tokens of a run, so neither do the results.
fn split(k: usize) -> (usize, usize) {
    let parts = k.div_ceil(PART).min(PARTS_MAX);
    let part = k.div_ceil(parts).next_multiple_of(32);
    (k.div_ceil(part), part)
}

fn parts_len([m, n, k]: [usize; 3]) -> usize {
    (split(k).0 * m * n).next_multiple_of(LINE)
}

/// Work space of `x aᵀ` for one pair: the parts, then the product.
pub(super) fn thin_len(tokens: usize, rank: usize, k: usize) -> usize {
    parts_len([tokens, rank, k]) + (tokens * rank).next_multiple_of(LINE)
}

/// Work space of the pair's gradients.
pub(super) fn lora_grad_len(tokens: usize, [inputs, outputs, rank]: [usize; 3]) -> usize {
    let [down, up] = [[tokens, rank, outputs], [tokens, rank, inputs]].map(parts_len);
    // The sums over tokens have the more parts the more tokens there are.
    let long = parts_len([inputs.max(outputs), rank, tokens]);
    down.max(up).max(long) + (tokens * rank).next_multiple_of(LINE)
}

/// What comes out of `x Wᵀ`, and where.
pub(super) struct Product {
    pub x: Operand,
    pub quant: Quant,
    pub panel: Panel,
    /// First row of the panel and number of rows that are multiplied.
    pub rows: [usize; 2],
    pub y: Operand,
    /// Column of `y` that the first row makes, and columns of `y`.
    pub column: usize,
    pub y_cols: usize,
}

/// What is added to a product: a bias, and `scale (x aᵀ) bᵀ`.
#[derive(Default)]
pub(super) struct Extra {
    pub bias: Option<Operand>,
    /// `x aᵀ`, `b`, the rank and the scale.
    pub pair: Option<(Operand, Operand, usize, f32)>,
}

impl Emit<'_> {
    pub(super) fn linear(&mut self, step: &Step, work: Work) {
        let LinearOperands { x, w, bias, lora } = LinearOperands::of(step);
        let extra = Extra {
            bias: bias.map(|bias| self.operand(bias)),
            pair: lora.map(|pair| self.down(x, &pair, work)),
        };
        let y = step.outputs[0];
        for panel in self.panels(w) {
            let product = Product {
                x: self.operand(x),
                quant: self.quant(w),
                panel,
                rows: [0, panel.rows],
                y: self.operand(y),
                column: panel.first_row,
                y_cols: self.cols(y),
            };
            // Not the run's tokens: a linear may be over a fixed number of rows.
            self.product(&product, &extra, self.rows(x));
        }
    }

    /// `x aᵀ`.
    fn down(
        &mut self,
        x: Slot,
        &Lora { a, b, scale }: &Lora,
        mut work: Work,
    ) -> (Operand, Operand, usize, f32) {
        let (tokens, cols, rank) = (self.rows(x), self.cols(x), self.cols(b));
        let parts = work.take(parts_len([tokens, rank, cols]));
        let c = work.take(tokens * rank);
        let thin = Thin {
            sizes: [tokens, rank, cols],
            a: self.operand(x),
            a_strides: [cols, 1],
            b: self.operand(a),
            b_strides: [1, cols],
            c,
            c_strides: [rank, 1],
            scale: 1.0,
        };
        self.thin(&thin, parts);
        (c, self.operand(b), rank, scale)
    }

    /// One dispatch of `x Wᵀ`.
    pub(super) fn product(&mut self, product: &Product, extra: &Extra, tokens: usize) {
        let [first, count] = product.rows;
        let (thin, lora_b, rank, scale) =
            extra.pair.unwrap_or((Operand::None, Operand::None, 0, 0.0));
        let bias = extra.bias.unwrap_or(Operand::None);
        let operands = [product.panel.operand, product.x, product.y, bias, thin, lora_b];
        let [page_rows, page_cols, page_units] = product.panel.sizes();
        let words = [
            page_rows,
            page_cols,
            page_units,
            tokens as u32,
            first as u32,
            count as u32,
            product.column as u32,
            product.y_cols as u32,
            u32::from(extra.bias.is_some()),
            rank as u32,
            scale.to_bits(),
        ];
        if tokens <= FEW {
            let grid = fold(count.div_ceil(4));
            self.call(Kernel::LinearFew(product.quant), &operands, &words, grid);
        } else {
            let grid = [count.div_ceil(64) as u32, tokens.div_ceil(64) as u32, 1];
            self.call(Kernel::Linear(product.quant), &operands, &words, grid);
        }
    }

    pub(super) fn linear_grad(&mut self, step: &Step, lora: Option<f32>, mut work: Work) {
        let [dy, w] = [step.inputs[0], step.inputs[1]];
        let (tokens, outputs) = (self.rows(dy), self.cols(dy));
        let pair = lora.map(|scale| {
            let [a, b] = [step.inputs[2], step.inputs[3]];
            let rank = self.cols(b);
            let parts = work.take(parts_len([tokens, rank, outputs]));
            let c = work.take(tokens * rank);
            self.through_b(dy, b, c, parts, 1.0);
            (c, self.operand(a), rank, scale)
        });
        for panel in self.panels(w) {
            let last = panel.first_row + panel.rows == outputs;
            // The pair is added once.
            let pair = pair.filter(|_| last);
            let (dy, dx) = (self.operand(dy), self.operand(step.outputs[0]));
            let rows = [0, panel.rows];
            let from = (dy, panel.first_row, outputs);
            let add = panel.first_row > 0;
            self.back(&panel, self.quant(w), rows, from, (dx, add), pair, tokens);
        }
    }

    /// One dispatch of `dy W`: `from` is `dy`, its column of the first row, and its columns; `to`
    /// is `dx`, and whether it is added to.
    #[allow(clippy::too_many_arguments, reason = "one call site of its own per argument")]
    pub(super) fn back(
        &mut self,
        panel: &Panel,
        quant: Quant,
        [first, count]: [usize; 2],
        (dy, column, dy_cols): (Operand, usize, usize),
        (dx, add): (Operand, bool),
        pair: Option<(Operand, Operand, usize, f32)>,
        tokens: usize,
    ) {
        let (thin, lora_a, rank, scale) = pair.unwrap_or((Operand::None, Operand::None, 0, 0.0));
        let operands = [panel.operand, dy, dx, thin, lora_a];
        let [page_rows, page_cols, page_units] = panel.sizes();
        let words = [
            page_rows,
            page_cols,
            page_units,
            tokens as u32,
            first as u32,
            count as u32,
            column as u32,
            dy_cols as u32,
            u32::from(add),
            rank as u32,
            scale.to_bits(),
        ];
        let grid = [panel.cols.div_ceil(64) as u32, tokens.div_ceil(64) as u32, 1];
        self.call(Kernel::LinearGrad(quant), &operands, &words, grid);
    }

    /// `dy b`.
    fn through_b(&mut self, dy: Slot, b: Slot, c: Operand, parts: Operand, scale: f32) {
        let (tokens, outputs, rank) = (self.rows(dy), self.cols(dy), self.cols(b));
        let thin = Thin {
            sizes: [tokens, rank, outputs],
            a: self.operand(dy),
            a_strides: [outputs, 1],
            b: self.operand(b),
            b_strides: [rank, 1],
            c,
            c_strides: [rank, 1],
            scale,
        };
        self.thin(&thin, parts);
    }

    /// `da (R,I) = scale (dy b)ᵀ x` and `db (O,R) = scale dyᵀ (x aᵀ)`.
    pub(super) fn lora_grad(&mut self, step: &Step, scale: f32, mut work: Work) {
        let [x, dy, a, b] = [0, 1, 2, 3].map(|i| step.inputs[i]);
        let (tokens, inputs, outputs) = (self.rows(x), self.cols(x), self.cols(dy));
        let rank = self.cols(b);
        let all = lora_grad_len(tokens, [inputs, outputs, rank]);
        let product = (tokens * rank).next_multiple_of(LINE);
        let parts = work.take(all - product);
        let thin = work.take(tokens * rank);
        self.through_b(dy, b, thin, parts, scale);
        let da = Thin {
            sizes: [inputs, rank, tokens],
            a: self.operand(x),
            a_strides: [1, inputs],
            b: thin,
            b_strides: [rank, 1],
            c: self.operand(step.outputs[0]),
            c_strides: [1, inputs],
            scale: 1.0,
        };
        self.thin(&da, parts);
        let down = Thin {
            sizes: [tokens, rank, inputs],
            a: self.operand(x),
            a_strides: [inputs, 1],
            b: self.operand(a),
            b_strides: [1, inputs],
            c: thin,
            c_strides: [rank, 1],
            scale,
        };
        self.thin(&down, parts);
        let db = Thin {
            sizes: [outputs, rank, tokens],
            a: self.operand(dy),
            a_strides: [1, outputs],
            b: thin,
            b_strides: [rank, 1],
            c: self.operand(step.outputs[1]),
            c_strides: [rank, 1],
            scale: 1.0,
        };
        self.thin(&db, parts);
    }

    fn thin(&mut self, thin: &Thin, parts: Operand) {
        let [m, n, k] = thin.sizes;
        let (count, part) = split(k);
        let words = [m, n, k, thin.a_strides[0], thin.a_strides[1]];
        let rest = [thin.b_strides[0], thin.b_strides[1], part];
        let words: Vec<u32> = words.into_iter().chain(rest).map(|word| word as u32).collect();
        let grid = [m.div_ceil(64) as u32, n.div_ceil(16) as u32, count as u32];
        self.call(Kernel::Thin, &[thin.a, thin.b, parts], &words, grid);
        let [c_m, c_n] = thin.c_strides;
        let mut words = [m, n, c_m, c_n, count, 0].map(|word| word as u32);
        words[5] = thin.scale.to_bits();
        self.call(Kernel::Sum, &[parts, thin.c], &words, each(m * n));
    }
}
