//! y (T, O) = x (T, I) Wᵀ and dx (T, I) = dy (T, O) W over frozen quantized weights, read straight
//! from the file's layout, with the LoRA pair of each weight inside.
//!
//! Few tokens (decoding): the weights are read once, at the speed of memory; a worker walks
//! through four stretches of its rows at the same time, and multiplies in int8 (see [`super::dot`]).
//! Many tokens: panels of weights are multiplied in int8 where the instruction set is much faster
//! at that (see [`dot::tile`]); else, and for gradients, they are dequantized and multiplied in f32
//! (see [`super::gemm`]).
//!
//! Results do not depend on the number of threads. They depend on T only through the change from
//! int8 to f32 at [`FEW`] tokens, and not at all in programs that are exact.

use super::dot::{self, tile};
use super::gemm::{Engine, Matrix, Multiply, Product, Source, Start, scratch_floats};
use super::isa::Isa;
use super::pool::{Part, Split, Worker};
use super::simd::{Kernel, Simd, math};
use super::weight::Weight;

/// The most tokens whose activations are multiplied row by row.
pub const FEW: usize = 8;

/// Weights that share an input, at most.
pub const OUTPUTS: usize = 4;

/// A LoRA pair of a weight (O, I): y += scale (x Aᵀ) Bᵀ.
#[derive(Clone, Copy)]
pub struct LoraPair<'a> {
    /// A (R, I).
    pub a: &'a [f32],
    /// B (O, R).
    pub b: &'a [f32],
    /// R.
    pub rank: usize,
    /// What the pair's product is multiplied by.
    pub scale: f32,
}

/// One of the products of [`linear`].
pub struct Output<'a> {
    /// W (O, I).
    pub weight: Weight<'a>,
    /// (O).
    pub bias: Option<&'a [f32]>,
    /// The pair, if the weight has one.
    pub lora: Option<LoraPair<'a>>,
    /// The result (T, O); written whole.
    pub y: &'a mut [f32],
}

/// Floats of scratch that [`linear`] needs for `tokens` tokens over inputs of `cols`, with the
/// sum of the ranks of the pairs.
pub fn linear_floats(threads: usize, tokens: usize, cols: usize, ranks: usize) -> usize {
    let way = if tokens <= FEW { Way::Few } else { Way::Tiles };
    tokens * ranks + way.shared_floats(tokens, cols) + threads * way.private_floats(tokens, cols)
}

/// How weights are multiplied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Row by row, in int8 those of integer types.
    Few,
    /// Those of integer types by tiles of int8, the others by panels.
    Tiles,
    /// By f32 panels.
    Panels,
}

impl Way {
    /// Floats of scratch of all workers together, beside those of the pairs.
    fn shared_floats(self, tokens: usize, cols: usize) -> usize {
        if self == Way::Tiles { tile::rounded_floats(tokens, cols) } else { 0 }
    }

    /// Floats of scratch of one worker.
    fn private_floats(self, tokens: usize, cols: usize) -> usize {
        match self {
            Way::Few => tokens * dot::activation_floats(cols),
            Way::Tiles => scratch_floats(tokens).max(tile::scratch_floats()),
            Way::Panels => scratch_floats(tokens),
        }
    }
}

/// Several products of the same input x (T, I), at most [`OUTPUTS`]: QKV, or gate and up.
///
/// # Panics
/// If a matrix does not have its size, or `scratch` is shorter than [`linear_floats`].
pub fn linear(engine: Engine<'_>, x: &[f32], outputs: &mut [Output<'_>], scratch: &mut [f32]) {
    products(engine, x, outputs, scratch, true);
}

/// Floats of scratch that [`linear_exact`] needs.
pub fn linear_exact_floats(threads: usize, tokens: usize, ranks: usize) -> usize {
    tokens * ranks + threads * scratch_floats(tokens)
}

/// [`linear`] in f32 however few the tokens: for gradients and likelihoods.
///
/// # Panics
/// As [`linear`], with [`linear_exact_floats`].
pub fn linear_exact(
    engine: Engine<'_>,
    x: &[f32],
    outputs: &mut [Output<'_>],
    scratch: &mut [f32],
) {
    products(engine, x, outputs, scratch, false);
}

/// f32 of scratch that [`linear_f32`] needs.
pub fn linear_f32_floats(threads: usize, tokens: usize) -> usize {
    threads * scratch_floats(tokens)
}

/// [`linear`] of one output without a pair, in f32 however few the tokens: for log-probabilities,
/// which must not depend on how many of them are wanted at once.
///
/// # Panics
/// As [`linear`].
pub fn linear_f32(engine: Engine<'_>, x: &[f32], output: Output<'_>, scratch: &mut [f32]) {
    assert!(output.lora.is_none(), "a product with a pair");
    products(engine, x, &mut [output], scratch, false);
}

fn products(
    engine: Engine<'_>,
    x: &[f32],
    outputs: &mut [Output<'_>],
    scratch: &mut [f32],
    integer: bool,
) {
    let Some(cols) = outputs.first().map(|output| output.weight.cols) else { return };
    let tokens = x.len() / cols;
    assert!(outputs.len() <= OUTPUTS, "{} outputs", outputs.len());
    assert_eq!(x.len(), tokens * cols, "x of {cols} columns");
    let way = match integer {
        true if tokens <= FEW => Way::Few,
        true if engine.isa.has_int8() => Way::Tiles,
        _ => Way::Panels,
    };
    let threads = engine.pool.threads();
    let mut ranks = 0;
    for output in outputs.iter() {
        let weight = &output.weight;
        weight.check();
        assert_eq!((weight.cols, output.y.len()), (cols, tokens * weight.rows), "shapes");
        assert!(output.bias.is_none_or(|bias| bias.len() == weight.rows), "bias");
        if let Some(pair) = output.lora {
            let sizes = (pair.rank * cols, weight.rows * pair.rank);
            assert_eq!((pair.a.len(), pair.b.len()), sizes, "LoRA pair");
            ranks += pair.rank;
        }
    }
    if tokens == 0 {
        return;
    }
    let (xa, rest) = scratch.split_at_mut(tokens * ranks);
    let (rounded, rest) = rest.split_at_mut(way.shared_floats(tokens, cols));
    let rounded = Split::columns(rounded, tokens * tile::RECORD, threads, tile::RECORD);
    let each = way.private_floats(tokens, cols);
    let private = Split::rows(&mut rest[..threads * each], each, threads);
    let mut left = xa;
    let mut tasks: [Option<Task<'_>>; OUTPUTS] = [const { None }; OUTPUTS];
    for (task, output) in tasks.iter_mut().zip(outputs) {
        let Output { weight, bias, lora, y } = output;
        let rank = lora.map_or(0, |pair| pair.rank);
        let (xa, rest) = std::mem::take(&mut left).split_at_mut(tokens * rank);
        left = rest;
        let lora = lora.map(|pair| (pair, Split::rows(xa, rank, threads)));
        let y = Split::columns(y, weight.rows, threads, 16);
        *task = Some(Task { weight: *weight, bias: *bias, lora, y });
    }
    engine.pool.run(|worker| {
        let mut private = private.part(worker.index());
        let scratch = private.row(worker.index());
        let tasks = &tasks;
        let rounded = (way == Way::Tiles).then_some(&rounded);
        let share = Share { isa: engine.isa, x, cols, tasks, worker, rounded, scratch };
        if way == Way::Few { share.few() } else { share.many() }
    });
}

/// An [`Output`] shared out to the workers. The pair's x Aᵀ (T, R) lies in scratch.
struct Task<'a> {
    weight: Weight<'a>,
    bias: Option<&'a [f32]>,
    lora: Option<(LoraPair<'a>, Split<'a, f32>)>,
    y: Split<'a, f32>,
}

/// One worker's part of [`linear`].
struct Share<'a> {
    isa: Isa,
    x: &'a [f32],
    cols: usize,
    tasks: &'a [Option<Task<'a>>; OUTPUTS],
    worker: &'a Worker<'a>,
    /// Where x is rounded to, for tiles.
    rounded: Option<&'a Split<'a, f32>>,
    scratch: &'a mut [f32],
}

impl Share<'_> {
    fn few(self) {
        let index = self.worker.index();
        for task in self.tasks.iter().flatten() {
            let Some((pair, xa)) = &task.lora else { continue };
            let (x, xa) = (self.x, &mut xa.part(index));
            self.isa.dispatch(Project { x, cols: self.cols, pair, xa });
        }
        if self.tasks.iter().flatten().any(|task| task.lora.is_some()) {
            self.worker.barrier();
        }
        let each = dot::activation_floats(self.cols);
        if self.tasks.iter().flatten().any(|task| dot::is_integer(task.weight.quant)) {
            let tokens = self.x.chunks_exact(self.cols).zip(self.scratch.chunks_exact_mut(each));
            for (x, to) in tokens {
                self.isa.dispatch(dot::Quantize { x, to });
            }
        }
        for task in self.tasks.iter().flatten() {
            let mut y = task.y.part(index);
            let (weight, x, rounded) = (task.weight, self.x, &*self.scratch);
            self.isa.dispatch(dot::DotRows { weight, x, rounded, y: &mut y });
            match &task.lora {
                None => task.finish(None, &mut y),
                Some((pair, xa)) => xa.read(|xa| task.finish(Some((pair, xa)), &mut y)),
            }
        }
    }

    fn many(self) {
        let (index, cols) = (self.worker.index(), self.cols);
        let x = Matrix::new(self.x, cols);
        let tiled = |task: &Task<'_>| dot::is_integer(task.weight.quant);
        let rounded = self.rounded.filter(|_| self.tasks.iter().flatten().any(tiled));
        if let Some(rounded) = rounded {
            let to = &mut rounded.part(index);
            self.isa.dispatch(tile::Round { x: self.x, cols, to });
        }
        let multiply = |c: &mut Part<'_, f32>, product: &Product<'_>, scratch: &mut [f32]| {
            self.isa.dispatch(Multiply { product, c, scratch });
        };
        for task in self.tasks.iter().flatten() {
            let Some((pair, xa)) = &task.lora else { continue };
            let b = Source::Matrix(Matrix::new(pair.a, cols).transposed());
            let start = Start::Zero;
            let product = Product { a: x, b, depth: cols, scale: pair.scale, start };
            multiply(&mut xa.part(index), &product, self.scratch);
        }
        if rounded.is_some() || self.tasks.iter().flatten().any(|task| task.lora.is_some()) {
            self.worker.barrier();
        }
        for task in self.tasks.iter().flatten() {
            let mut y = task.y.part(index);
            match rounded.filter(|_| tiled(task)) {
                Some(rounded) => rounded.read(|rounded| {
                    let Task { weight, bias, .. } = *task;
                    let (y, scratch) = (&mut y, &mut *self.scratch);
                    self.isa.dispatch(tile::Tiles { weight, rounded, bias, y, scratch });
                }),
                None => {
                    let b = Source::Transposed(task.weight);
                    let start = task.bias.map_or(Start::Zero, Start::Bias);
                    let product = Product { a: x, b, depth: cols, scale: 1.0, start };
                    multiply(&mut y, &product, self.scratch);
                }
            }
            let Some((pair, xa)) = &task.lora else { continue };
            xa.read(|xa| {
                let (a, depth) = (Matrix::new(xa, pair.rank), pair.rank);
                let b = Source::Matrix(Matrix::new(pair.b, depth).transposed());
                let product = Product { a, b, depth, scale: 1.0, start: Start::Add };
                multiply(&mut y, &product, self.scratch);
            });
        }
    }
}

/// A few tokens through a pair's A: scale x Aᵀ, the part's tokens.
struct Project<'a, 'b> {
    x: &'a [f32],
    cols: usize,
    pair: &'a LoraPair<'a>,
    xa: &'a mut Part<'b, f32>,
}

impl Kernel for Project<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for token in self.xa.rows() {
            let x = &self.x[token * self.cols..][..self.cols];
            let rows = self.pair.a.chunks_exact(self.cols);
            for (y, a) in self.xa.row(token).iter_mut().zip(rows) {
                *y = self.pair.scale * math::dot(s, x, a);
            }
        }
    }
}

impl Task<'_> {
    /// Adds bias and LoRA pair to the products of a few tokens.
    fn finish(&self, lora: Option<(&LoraPair<'_>, &[f32])>, y: &mut Part<'_, f32>) {
        let cols = y.cols();
        for token in y.rows() {
            let y = y.row(token);
            if let Some(bias) = self.bias {
                y.iter_mut().zip(&bias[cols.clone()]).for_each(|(y, bias)| *y += bias);
            }
            let Some((pair, xa)) = lora else { continue };
            let xa = &xa[token * pair.rank..][..pair.rank];
            let b = pair.b[cols.start * pair.rank..].chunks_exact(pair.rank);
            for (y, b) in y.iter_mut().zip(b) {
                *y += b.iter().zip(xa).map(|(b, xa)| b * xa).sum::<f32>();
            }
        }
    }
}

/// Floats of scratch that [`linear_grad`] needs.
pub fn linear_grad_floats(threads: usize, tokens: usize, rank: usize) -> usize {
    tokens * rank + threads * scratch_floats(tokens)
}

/// dx (T, I) = dy (T, O) W + scale (dy B) A: the gradient of [`linear`] by its input.
///
/// # Panics
/// If a matrix does not have its size, or `scratch` is shorter than [`linear_grad_floats`].
pub fn linear_grad(
    engine: Engine<'_>,
    dy: &[f32],
    weight: Weight<'_>,
    lora: Option<LoraPair<'_>>,
    dx: &mut [f32],
    scratch: &mut [f32],
) {
    weight.check();
    let (out, cols) = (weight.rows, weight.cols);
    let tokens = dy.len() / out;
    assert_eq!((dy.len(), dx.len()), (tokens * out, tokens * cols), "shapes");
    if let Some(pair) = lora {
        let sizes = (pair.rank * cols, out * pair.rank);
        assert_eq!((pair.a.len(), pair.b.len()), sizes, "LoRA pair");
    }
    if tokens == 0 {
        return;
    }
    let threads = engine.pool.threads();
    let rank = lora.map_or(0, |pair| pair.rank);
    let (dyb, rest) = scratch.split_at_mut(tokens * rank);
    let each = scratch_floats(tokens);
    let private = Split::rows(&mut rest[..threads * each], each, threads);
    let lora = lora.map(|pair| (pair, Split::rows(dyb, pair.rank, threads)));
    let dx = Split::columns(dx, cols, threads, dot::RUN);
    engine.pool.run(|worker| {
        let index = worker.index();
        let mut private = private.part(index);
        let scratch = private.row(index);
        let mut multiply = |c: &mut Part<'_, f32>, product: &Product<'_>| {
            engine.isa.dispatch(Multiply { product, c, scratch });
        };
        let (a, depth, start) = (Matrix::new(dy, out), out, Start::Zero);
        if let Some((pair, dyb)) = &lora {
            let b = Source::Matrix(Matrix::new(pair.b, pair.rank));
            multiply(&mut dyb.part(index), &Product { a, b, depth, scale: pair.scale, start });
            worker.barrier();
        }
        let mut dx = dx.part(index);
        let b = Source::Weight(weight);
        multiply(&mut dx, &Product { a, b, depth, scale: 1.0, start });
        let Some((pair, dyb)) = &lora else { return };
        dyb.read(|dyb| {
            let (a, depth) = (Matrix::new(dyb, pair.rank), pair.rank);
            let b = Source::Matrix(Matrix::new(pair.a, cols));
            multiply(&mut dx, &Product { a, b, depth, scale: 1.0, start: Start::Add });
        });
    });
}

#[cfg(test)]
mod tests;
