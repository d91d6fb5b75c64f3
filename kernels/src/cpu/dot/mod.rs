//! Rows of quantized weights: their dot products with int8 activations, and their values.
//!
//! Every block type is seen as runs of 32 weights. A type says once, in terms of
//! [`Bytes`](super::simd::bytes::Bytes), how a block's quants are unpacked ([`Blocks`]); the row
//! loops here are shared. There is no `unsafe` in this folder: what touches memory by pointer is in
//! `simd`.
//!
//! Activations are rounded to int8 with one scale per 32 ([`Activations`]), for every type: error
//! at most 1/254 of the largest magnitude among the 32.

mod float;
mod k;
mod legacy;

use super::gemm::Weight;
use super::pool::Part;
use super::simd::{Kernel, Simd};
use crate::quant::Quant;
use std::ops::Range;

/// Calls `$function::<_, Type, …>(args)` for the type of a run-time [`Quant`] other than F32, F16,
/// BF16.
macro_rules! with_blocks {
    ($quant:expr, $blocks:ident => $body:expr) => {
        match $quant {
            Quant::Q4_0 => {
                type $blocks = legacy::Singles<legacy::Q4_0>;
                $body
            }
            Quant::Q4_1 => {
                type $blocks = legacy::Singles<legacy::Q4_1>;
                $body
            }
            Quant::Q5_0 => {
                type $blocks = legacy::Singles<legacy::Q5_0>;
                $body
            }
            Quant::Q5_1 => {
                type $blocks = legacy::Singles<legacy::Q5_1>;
                $body
            }
            Quant::Q8_0 => {
                type $blocks = legacy::Singles<legacy::Q8_0>;
                $body
            }
            Quant::Q4_K => {
                type $blocks = k::Affines<k::Q4K>;
                $body
            }
            Quant::Q5_K => {
                type $blocks = k::Affines<k::Q5K>;
                $body
            }
            Quant::Q6_K => {
                type $blocks = k::Q6K;
                $body
            }
            Quant::F32 | Quant::F16 | Quant::BF16 => unreachable!("has no blocks"),
        }
    };
}

// After the macro that it uses.
pub(crate) mod tile;

/// Weights in a run: the unit of all loops here.
pub(crate) const RUN: usize = 32;
/// Runs that are multiplied together, so that their scales are handled as one vector.
const GROUP: usize = 8;
/// Rows that are multiplied at once.
const ROWS: usize = 4;

/// One token's activations in int8: per run, 32 quants, minus their sums by fours, the scale, and
/// the scaled sum of all.
#[derive(Clone, Copy)]
pub(crate) struct Activations<'a> {
    quants: &'a [[i8; RUN]],
    sums: &'a [[i32; 8]],
    scales: &'a [f32],
    totals: &'a [f32],
}

/// Floats of scratch for the int8 form of `cols` activations.
pub(crate) fn activation_floats(cols: usize) -> usize {
    cols.div_ceil(RUN) * (8 + 8 + 1 + 1)
}

impl<'a> Activations<'a> {
    /// The activations that [`Quantize`] left in `scratch`.
    pub(crate) fn of(scratch: &'a [f32], cols: usize) -> Activations<'a> {
        let runs = cols / RUN;
        let (quants, rest) = scratch.split_at(8 * runs);
        let (sums, rest) = rest.split_at(8 * runs);
        let (scales, rest) = rest.split_at(runs);
        Activations {
            quants: bytemuck::cast_slice(quants),
            sums: bytemuck::cast_slice(sums),
            scales,
            totals: &rest[..runs],
        }
    }
}

/// Rounds one token's activations, a multiple of 32 of them, to int8.
pub(crate) struct Quantize<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) to: &'a mut [f32],
}

impl Kernel for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        quantize(s, self.x, self.to);
    }
}

#[inline(always)]
fn quantize<S: Simd>(s: S, x: &[f32], scratch: &mut [f32]) {
    assert!(x.len().is_multiple_of(RUN));
    let runs = x.len() / RUN;
    let (quants, rest) = scratch.split_at_mut(8 * runs);
    let (sums, rest) = rest.split_at_mut(8 * runs);
    let (scales, totals) = rest.split_at_mut(runs);
    let quants: &mut [[i8; RUN]] = bytemuck::cast_slice_mut(quants);
    let sums: &mut [[i32; 8]] = bytemuck::cast_slice_mut(sums);
    for (i, x) in x.as_chunks::<RUN>().0.iter().enumerate() {
        let scale = round_run(s, x, &mut quants[i]);
        let mut total = 0;
        for (sum, q) in sums[i].iter_mut().zip(quants[i].as_chunks::<4>().0) {
            *sum = -q.iter().map(|&q| i32::from(q)).sum::<i32>();
            total -= *sum;
        }
        scales[i] = scale;
        totals[i] = scale * total as f32;
    }
}

/// Rounds 32 activations to int8; yields their scale.
#[inline(always)]
fn round_run<S: Simd>(s: S, x: &[f32; RUN], quants: &mut [i8; RUN]) -> f32 {
    let mut most = s.zero();
    for x in x.chunks_exact(S::LANES) {
        let x = s.load(x);
        most = s.max(most, s.max(x, s.sub(s.zero(), x)));
    }
    let scale = s.max_lane(most) / 127.0;
    let inverse = s.splat(if scale > 0.0 { 1.0 / scale } else { 0.0 });
    // Adding 1.5 × 2²³ rounds to an integer and leaves it in the low bits.
    let shift = s.splat(12_582_912.0);
    let mut shifted = [0.0; RUN];
    for (x, y) in x.chunks_exact(S::LANES).zip(shifted.chunks_exact_mut(S::LANES)) {
        s.store(s.fma(s.load(x), inverse, shift), y);
    }
    *quants = shifted.map(|y| y.to_bits() as i8);
    scale
}

/// The two floats of a run of quants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pair {
    /// The scale; the second is not used.
    Scale,
    /// The scale, and what is added to each scaled quant.
    ScaleMin,
    /// The scales of the first and of the last 16.
    Halves,
}

/// A block type as runs of 32 quants.
trait Blocks {
    /// Bytes of a block.
    const BYTES: usize;
    /// Runs in a block.
    const RUNS: usize;

    /// Adds to `sums` the products of four rows with the activations of `N` runs from `run` on:
    /// eight runs, or four or one of a type whose blocks are single runs.
    fn dot<S: Simd, const N: usize>(
        s: S,
        rows: [&[u8]; ROWS],
        x: &Activations<'_>,
        run: usize,
        sums: [S::F8; ROWS],
    ) -> [S::F8; ROWS];

    /// What is taken off a quant that [`Blocks::unpack`] gives is 2ⁿ, or nothing.
    const SHIFT: Option<u32>;
    /// What a run's pair is.
    const PAIR: Pair;

    /// The quants of all runs of the block as unsigned bytes, and a pair of floats for each run.
    fn unpack<S: Simd>(s: S, block: &[u8], to: &mut [[u8; RUN]], pairs: &mut [[f32; 2]]);

    /// The values of some runs of the block.
    fn expand<S: Simd>(s: S, block: &[u8], runs: Range<usize>, to: &mut [[f32; RUN]]);
}

/// Some bytes of each row. (Spelled out: `map` with a closure may become a call.)
#[inline(always)]
fn cut(rows: [&[u8]; ROWS], from: usize, len: usize) -> [&[u8]; ROWS] {
    let [a, b, c, d] = rows;
    [&a[from..][..len], &b[from..][..len], &c[from..][..len], &d[from..][..len]]
}

/// `N` bytes of a block.
#[inline(always)]
fn at<const N: usize>(block: &[u8], from: usize) -> &[u8; N] {
    block[from..].first_chunk().expect("blocks are whole")
}

/// Whether rows of this type are multiplied in int8.
pub(crate) fn is_integer(quant: Quant) -> bool {
    !matches!(quant, Quant::F32 | Quant::F16 | Quant::BF16)
}

/// Products of rows of a weight with a few tokens.
///
/// The rows are those of the part of y (T, O), walked through as four stretches side by side:
/// memory gives more to four streams than to one.
pub(crate) struct DotRows<'a, 'b> {
    pub(crate) weight: Weight<'a>,
    /// (T, I).
    pub(crate) x: &'a [f32],
    /// What [`Quantize`] made of each token, one after another, if the weight has an integer type.
    pub(crate) rounded: &'a [f32],
    pub(crate) y: &'a mut Part<'b, f32>,
}

impl Kernel for DotRows<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.weight.quant {
            Quant::F32 => self.floats::<S, float::F32>(s),
            Quant::F16 => self.floats::<S, float::F16>(s),
            Quant::BF16 => self.floats::<S, float::BF16>(s),
            quant => with_blocks!(quant, B => self.integers::<S, B>(s)),
        }
    }
}

impl DotRows<'_, '_> {
    #[inline(always)]
    fn integers<S: Simd, B: Blocks>(self, s: S) {
        let cols = self.weight.cols;
        let each = activation_floats(cols);
        let mut walk = Walk::new(&self);
        while let Some((at, rows)) = walk.next() {
            for token in self.y.rows() {
                let x = Activations::of(&self.rounded[token * each..], cols);
                let products = dot_blocks::<S, B>(s, rows, &x, cols / RUN);
                Walk::put(at, products, self.y.row(token));
            }
        }
    }

    #[inline(always)]
    fn floats<S: Simd, F: float::Float>(self, s: S) {
        let cols = self.weight.cols;
        let mut walk = Walk::new(&self);
        while let Some((at, rows)) = walk.next() {
            for token in self.y.rows() {
                let x = &self.x[token * cols..][..cols];
                Walk::put(at, float::dot::<S, F>(s, rows, x), self.y.row(token));
            }
        }
    }
}

/// Goes through the rows of a part in four stretches. (No closure takes the loop's body: it would
/// be a function without the target features, unless the compiler chose to inline it.)
struct Walk<'a> {
    weight: Weight<'a>,
    cols: Range<usize>,
    stretch: usize,
    next: usize,
}

impl<'a> Walk<'a> {
    fn new(dot: &DotRows<'a, '_>) -> Walk<'a> {
        let cols = dot.y.cols();
        let stretch = cols.len().div_ceil(ROWS);
        Walk { weight: dot.weight, cols, stretch, next: 0 }
    }

    /// The next four rows: their columns in the part, and their bytes. The last stretch may be
    /// shorter: its last row is then done again.
    #[inline(always)]
    fn next(&mut self) -> Option<([usize; ROWS], [&'a [u8]; ROWS])> {
        if self.next == self.stretch {
            return None;
        }
        let (mut at, mut rows) = ([0; ROWS], [&[][..]; ROWS]);
        for (j, (at, row)) in at.iter_mut().zip(&mut rows).enumerate() {
            *at = (j * self.stretch + self.next).min(self.cols.len() - 1);
            *row = self.weight.row(self.cols.start + *at);
        }
        self.next += 1;
        Some((at, rows))
    }

    #[inline(always)]
    fn put(at: [usize; ROWS], products: [f32; ROWS], y: &mut [f32]) {
        for (at, product) in at.into_iter().zip(products) {
            y[at] = product;
        }
    }
}

#[inline(always)]
fn dot_blocks<S: Simd, B: Blocks>(
    s: S,
    rows: [&[u8]; ROWS],
    x: &Activations<'_>,
    runs: usize,
) -> [f32; ROWS] {
    let mut sums = [s.splat8(0.0); ROWS];
    let mut run = 0;
    while run + GROUP <= runs {
        let group = cut(rows, run / B::RUNS * B::BYTES, GROUP / B::RUNS * B::BYTES);
        sums = B::dot::<S, GROUP>(s, group, x, run, sums);
        run += GROUP;
    }
    if B::RUNS == 1 {
        while run + 4 <= runs {
            sums = B::dot::<S, 4>(s, cut(rows, run * B::BYTES, 4 * B::BYTES), x, run, sums);
            run += 4;
        }
        while run < runs {
            sums = B::dot::<S, 1>(s, cut(rows, run * B::BYTES, B::BYTES), x, run, sums);
            run += 1;
        }
    }
    let mut products = [0.0; ROWS];
    for (product, sum) in products.iter_mut().zip(sums) {
        *product = s.sum8(sum);
    }
    products
}

/// Values of columns `cols` of a row: the same bits as [`Quant::dequantize`]. The columns start
/// at a multiple of 32.
pub(crate) struct Dequantize<'a> {
    pub(crate) quant: Quant,
    pub(crate) row: &'a [u8],
    pub(crate) cols: Range<usize>,
    pub(crate) to: &'a mut [f32],
}

impl Kernel for Dequantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Dequantize { quant, row, cols, to } = self;
        assert!(cols.start.is_multiple_of(RUN) && cols.len() == to.len());
        match quant {
            Quant::F32 => float::expand::<S, float::F32>(s, row, cols.start, to),
            Quant::F16 => float::expand::<S, float::F16>(s, row, cols.start, to),
            Quant::BF16 => float::expand::<S, float::BF16>(s, row, cols.start, to),
            _ => with_blocks!(quant, B => expand_blocks::<S, B>(s, row, cols, to)),
        }
    }
}

#[inline(always)]
fn expand_blocks<S: Simd, B: Blocks>(s: S, row: &[u8], cols: Range<usize>, to: &mut [f32]) {
    let runs = cols.start / RUN..cols.end / RUN;
    let (mut to, rest) = to.as_chunks_mut::<RUN>();
    assert!(rest.is_empty());
    let mut run = runs.start;
    while run < runs.end {
        let (block, first) = (run / B::RUNS, run % B::RUNS);
        let last = B::RUNS.min(first + runs.end - run);
        let (now, later) = to.split_at_mut(last - first);
        B::expand(s, &row[block * B::BYTES..][..B::BYTES], first..last, now);
        run += last - first;
        to = later;
    }
}
