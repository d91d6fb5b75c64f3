//! Rows of quantized weights: their dot products with int8 activations, and their values.
//!
//! Every block type is seen as runs of 32 weights. A type says once, in terms of
//! [`Bytes`](super::simd::bytes::Bytes), how a block's quants are unpacked ([`Blocks`]); the row
//! loops here are shared. There is no `unsafe` in this folder: what touches memory by pointer is in
//! `simd`.
//!
//! Activations are rounded to int8 with one scale per 32 ([`Activations`]), for every type: error
//! at most 1/254 of the largest magnitude among the 32.

mod blocks;
mod float;
mod k;
mod legacy;

pub(super) use blocks::{Quantize, RUN, activation_floats};

use super::pool::Part;
use super::simd::{Kernel, Simd};
use super::weight::Weight;
use crate::quant::Quant;
use blocks::{Activations, Blocks, GROUP, ROWS, cut};
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
