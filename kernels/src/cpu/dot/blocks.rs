//! What block types and activations are made of: runs of 32.

use crate::cpu::simd::{Kernel, Simd};
use std::ops::Range;

/// Weights in a run: the unit of all loops here.
pub(in crate::cpu) const RUN: usize = 32;
/// Runs that are multiplied together, so that their scales are handled as one vector.
pub(super) const GROUP: usize = 8;
/// Rows that are multiplied at once.
pub(super) const ROWS: usize = 4;

/// One token's activations in int8: per run, 32 quants, minus their sums by fours, the scale, and
/// the scaled sum of all.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Activations<'a> {
    pub(super) quants: &'a [[i8; RUN]],
    pub(super) sums: &'a [[i32; 8]],
    pub(super) scales: &'a [f32],
    pub(super) totals: &'a [f32],
}

/// Floats of scratch for the int8 form of `cols` activations.
pub(in crate::cpu) fn activation_floats(cols: usize) -> usize {
    cols.div_ceil(RUN) * (8 + 8 + 1 + 1)
}

impl<'a> Activations<'a> {
    /// The activations that [`Quantize`] left in `scratch`.
    pub(in crate::cpu) fn of(scratch: &'a [f32], cols: usize) -> Activations<'a> {
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
pub(in crate::cpu) struct Quantize<'a> {
    pub(in crate::cpu) x: &'a [f32],
    pub(in crate::cpu) to: &'a mut [f32],
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
pub(super) fn round_run<S: Simd>(s: S, x: &[f32; RUN], quants: &mut [i8; RUN]) -> f32 {
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
pub(super) enum Pair {
    /// The scale; the second is not used.
    Scale,
    /// The scale, and what is added to each scaled quant.
    ScaleMin,
    /// The scales of the first and of the last 16.
    Halves,
}

/// A block type as runs of 32 quants.
pub(super) trait Blocks {
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
pub(super) fn cut(rows: [&[u8]; ROWS], from: usize, len: usize) -> [&[u8]; ROWS] {
    let [a, b, c, d] = rows;
    [&a[from..][..len], &b[from..][..len], &c[from..][..len], &d[from..][..len]]
}

/// `N` bytes of a block.
#[inline(always)]
pub(super) fn at<const N: usize>(block: &[u8], from: usize) -> &[u8; N] {
    block[from..].first_chunk().expect("blocks are whole")
}
