//! Linears: the forward product, the gradient of its input, and those of the LoRA pair.

use super::emit::{Emit, Panel, Work, each, fold};
use crate::gpu::dispatch::Operand;
use crate::gpu::exec::LINE;
use crate::gpu::pack;
use crate::gpu::shader::{FEW, Kernel, Products};
use crate::grad::LinearOperands;
use crate::op::{Lora, Step};
use crate::program::Program;
use crate::quant::Quant;
use crate::types::Slot;

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

/// Words that the kernel `round` makes of a unit.
const ROUNDED: usize = 10;

/// Work space of rounded activations.
pub(super) fn rounded_len(tokens: usize, cols: usize) -> usize {
    (tokens * pack::units(cols) * ROUNDED).next_multiple_of(LINE)
}

/// How a program's linears over these weights are computed, on a GPU where they usually are so.
pub(super) fn products(usual: Products, program: &Program, quant: Quant) -> Products {
    match usual {
        _ if program.exact => Products::F32,
        Products::Int8 if quant.block_len() == 1 => Products::F32,
        usual => usual,
    }
}

/// A product with some rows of a panel: `x Wᵀ`, or `dy W`.
pub(super) struct Product {
    pub quant: Quant,
    pub panel: Panel,
    /// First row of the panel and number of rows that are multiplied.
    pub rows: [usize; 2],
    /// `x`, or `dy`.
    pub from: Operand,
    /// `y`, or `dx`.
    pub to: Operand,
    /// Of `y` or `dy`: the column of the first row, and all columns.
    pub column: usize,
    pub columns: usize,
    pub tokens: usize,
    pub pair: Option<Pair>,
    pub products: Products,
}

/// The LoRA pair beside a weight, half applied.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    /// `x aᵀ`, or `dy b`.
    thin: Operand,
    /// `b`, or `a`.
    other: Operand,
    rank: usize,
    scale: f32,
}

/// The kernel of `x Wᵀ` for many tokens.
pub(super) fn forward(products: Products, quant: Quant) -> Kernel {
    match products {
        Products::F32 => Kernel::Linear(quant),
        Products::F16 => Kernel::LinearF16(quant),
        Products::Int8 => Kernel::LinearInt8(quant),
    }
}

/// The kernel of `dy W`: along it, a weight's scales don't stay the same.
pub(super) fn back(products: Products, quant: Quant) -> Kernel {
    match products {
        Products::F32 | Products::Int8 => Kernel::LinearGrad(quant),
        Products::F16 => Kernel::LinearGradF16(quant),
    }
}

impl Product {
    /// As `wgsl/linear_sizes.wgsl` has them; `add` says that the product is added to something.
    fn words(&self, add: bool) -> [u32; 11] {
        let [page_rows, page_cols, page_units] = self.panel.sizes();
        let (rank, scale) = self.pair.map_or((0, 0.0), |pair| (pair.rank, pair.scale));
        [
            page_rows,
            page_cols,
            page_units,
            self.tokens as u32,
            self.rows[0] as u32,
            self.rows[1] as u32,
            self.column as u32,
            self.columns as u32,
            u32::from(add),
            rank as u32,
            scale.to_bits(),
        ]
    }

    /// The first five; the sixth is the bias.
    fn operands(&self) -> [Operand; 5] {
        let pair = self.pair.map(|pair| [pair.thin, pair.other]);
        let [thin, other] = pair.unwrap_or([Operand::None; 2]);
        [self.panel.operand, self.from, self.to, thin, other]
    }
}

impl Emit<'_> {
    /// How linears over a weight are computed.
    fn products(&self, w: Slot) -> Products {
        products(self.context.products, &self.exec.program, self.quant(w))
    }

    pub(super) fn linear(&mut self, step: &Step, mut work: Work) {
        let LinearOperands { x, w, bias, lora } = LinearOperands::of(step);
        // Not the run's tokens: a linear may be over a fixed number of rows.
        let tokens = self.rows(x);
        let pair = lora.map(|Lora { a, b, scale }| {
            let rank = self.cols(b);
            let parts = work.take(parts_len([tokens, rank, self.cols(x)]));
            let thin = work.take(tokens * rank);
            self.down(x, a, thin, parts, 1.0);
            Pair { thin, other: self.operand(b), rank, scale }
        });
        let bias = bias.map(|bias| self.operand(bias));
        let (y, products) = (step.outputs[0], self.products(w));
        let mut from = self.operand(x);
        if products == Products::Int8 && tokens > FEW {
            from = self.round(x, work.take(rounded_len(tokens, self.cols(x))));
        }
        for panel in self.panels(w) {
            let product = Product {
                quant: self.quant(w),
                panel,
                rows: [0, panel.rows],
                from,
                to: self.operand(y),
                column: panel.first_row,
                columns: self.cols(y),
                tokens,
                pair,
                products,
            };
            self.product(&product, bias);
        }
    }

    /// One dispatch of `x Wᵀ`.
    pub(super) fn product(&mut self, product: &Product, bias: Option<Operand>) {
        let [panel, from, to, thin, other] = product.operands();
        let operands = [panel, from, to, thin, other, bias.unwrap_or(Operand::None)];
        let words = product.words(bias.is_some());
        let (rows, tokens) = (product.rows[1], product.tokens);
        if tokens <= FEW {
            let kernel = Kernel::LinearFew(product.quant);
            let grid = fold(rows.div_ceil(kernel.tile(self.context.sharing)[1]));
            self.call(kernel, &operands, &words, grid);
        } else {
            let kernel = forward(product.products, product.quant);
            let grid = self.tiles(kernel, tokens, rows);
            self.call(kernel, &operands, &words, grid);
        }
    }

    fn tiles(&self, kernel: Kernel, tokens: usize, results: usize) -> [u32; 3] {
        let [rows, cols] = kernel.tile(self.context.sharing);
        [results.div_ceil(cols) as u32, tokens.div_ceil(rows) as u32, 1]
    }

    /// Rounds `x` to bytes.
    fn round(&mut self, x: Slot, to: Operand) -> Operand {
        let (rows, cols) = (self.rows(x), self.cols(x));
        let grid = each(rows * pack::units(cols));
        self.call(Kernel::Round, &[self.operand(x), to], &[rows as u32, cols as u32], grid);
        to
    }

    pub(super) fn linear_grad(&mut self, step: &Step, lora: Option<f32>, mut work: Work) {
        let [dy, w] = [step.inputs[0], step.inputs[1]];
        let (tokens, outputs) = (self.rows(dy), self.cols(dy));
        let pair = lora.map(|scale| {
            let [a, b] = [step.inputs[2], step.inputs[3]];
            let rank = self.cols(b);
            let parts = work.take(parts_len([tokens, rank, outputs]));
            let thin = work.take(tokens * rank);
            self.through_b(dy, b, thin, parts, 1.0);
            Pair { thin, other: self.operand(a), rank, scale }
        });
        for panel in self.panels(w) {
            let last = panel.first_row + panel.rows == outputs;
            let product = Product {
                quant: self.quant(w),
                panel,
                rows: [0, panel.rows],
                from: self.operand(dy),
                to: self.operand(step.outputs[0]),
                column: panel.first_row,
                columns: outputs,
                tokens,
                // The pair is added once.
                pair: pair.filter(|_| last),
                products: self.products(w),
            };
            self.back(&product, panel.first_row > 0);
        }
    }

    /// One dispatch of `dy W`; `add` to what is there already.
    pub(super) fn back(&mut self, product: &Product, add: bool) {
        let (cols, tokens) = (product.panel.cols, product.tokens);
        let kernel = back(product.products, product.quant);
        let grid = self.tiles(kernel, tokens, cols);
        self.call(kernel, &product.operands(), &product.words(add), grid);
    }

    /// `scale x aᵀ`.
    fn down(&mut self, x: Slot, a: Slot, c: Operand, parts: Operand, scale: f32) {
        let (tokens, inputs, rank) = (self.rows(x), self.cols(x), self.rows(a));
        let thin = Thin {
            sizes: [tokens, rank, inputs],
            a: self.operand(x),
            a_strides: [inputs, 1],
            b: self.operand(a),
            b_strides: [1, inputs],
            c,
            c_strides: [rank, 1],
            scale,
        };
        self.thin(&thin, parts);
    }

    /// `scale dy b`.
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
        self.down(x, a, thin, parts, scale);
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
        let [tile_m, tile_n] = Kernel::Thin.tile(self.context.sharing);
        let grid = [m.div_ceil(tile_m), n.div_ceil(tile_n), count].map(|size| size as u32);
        self.call(Kernel::Thin, &[thin.a, thin.b, parts], &words, grid);
        let [c_m, c_n] = thin.c_strides;
        let mut words = [m, n, c_m, c_n, count, 0].map(|word| word as u32);
        words[5] = thin.scale.to_bits();
        self.call(Kernel::Sum, &[parts, thin.c], &words, each(m * n));
    }
}
