//! Many tokens in int8: panels of quants times rounded activations, for instruction sets that
//! multiply bytes much faster than floats ([`Simd::INT8`]).
//!
//! A panel is some groups of `LANES` rows of the weight by [`DEPTH`] columns: four quants of each
//! row of a group make one vector, whose products with four activations of a token are added up by
//! one instruction. A run's sums are integers, exact; the scales of its weights and of its
//! activations are multiplied in once per run. Activations are rounded as for a few tokens, so that
//! a token's products differ by f32 rounding only from those it would have alone.

use super::blocks::{Blocks, Pair, RUN, round_run};
use super::{k, legacy};
use crate::cpu::pool::Part;
use crate::cpu::simd::{Kernel, Simd};
use crate::cpu::weight::Weight;
use crate::quant::Quant;
use std::hint::black_box;
use std::ops::Range;

/// Columns of a panel; every block's length divides it.
const DEPTH: usize = 256;
/// Runs of a panel.
const RUNS: usize = DEPTH / RUN;
/// Fours of a panel's columns.
const FOURS: usize = DEPTH / 4;
/// Groups of a register tile.
const GROUPS: usize = 2;
/// Groups of a panel, which stays in the first-level cache.
const PANEL_GROUPS: usize = 4;
/// The most tokens of a register tile.
const TOKENS: usize = 6;
/// The most lanes of an instruction set.
const LANES_MAX: usize = 16;
/// Vectors of a group in a panel: its quants, then a pair of vectors per run.
const GROUP_VECTORS: usize = FOURS + 2 * RUNS;

/// f32 values that hold the rounded form of up to [`DEPTH`] activations of a token: the quants;
/// then per run the scale, the scaled sum of all, minus their integer sum, and that of each half.
pub(crate) const RECORD: usize = FOURS + 5 * RUNS;

/// Floats of the rounded form of `tokens` tokens: (columns by [`DEPTH`], tokens, [`RECORD`]).
pub(crate) fn rounded_floats(tokens: usize, cols: usize) -> usize {
    cols.div_ceil(DEPTH) * tokens * RECORD
}

/// Floats of scratch that [`Tiles`] needs.
pub(crate) fn scratch_floats() -> usize {
    (PANEL_GROUPS * GROUP_VECTORS + FOURS) * LANES_MAX
}

/// Rounds the tokens of the part of the rounded form, whose columns are tokens' records.
pub(crate) struct Round<'a, 'b> {
    /// (T, `cols`).
    pub(crate) x: &'a [f32],
    pub(crate) cols: usize,
    pub(crate) to: &'a mut Part<'b, f32>,
}

impl Kernel for Round<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let first = self.to.cols().start / RECORD;
        for block in self.to.rows() {
            for (i, record) in self.to.row(block).chunks_exact_mut(RECORD).enumerate() {
                let x = &self.x[(first + i) * self.cols..][..self.cols];
                let x = &x[block * DEPTH..self.cols.min((block + 1) * DEPTH)];
                round(s, x, record);
            }
        }
    }
}

#[inline(always)]
fn round<S: Simd>(s: S, x: &[f32], record: &mut [f32]) {
    let (quants, rest) = record.split_at_mut(FOURS);
    let (scales, rest) = rest.split_at_mut(RUNS);
    let (totals, rest) = rest.split_at_mut(RUNS);
    let (sums, halves) = rest.split_at_mut(RUNS);
    let quants: &mut [[i8; RUN]] = bytemuck::cast_slice_mut(quants);
    let sums: &mut [i32] = bytemuck::cast_slice_mut(sums);
    let halves: &mut [[i32; 2]] = bytemuck::cast_slice_mut(halves);
    for (i, x) in x.as_chunks::<RUN>().0.iter().enumerate() {
        scales[i] = round_run(s, x, &mut quants[i]);
        let (low, high) = quants[i].split_at(RUN / 2);
        halves[i] = [low, high].map(|half| -half.iter().map(|&q| i32::from(q)).sum::<i32>());
        sums[i] = halves[i][0] + halves[i][1];
        totals[i] = -scales[i] * sums[i] as f32;
    }
}

/// Products of rows of a weight with many tokens: the columns of the part of y (T, O), written
/// whole.
pub(crate) struct Tiles<'a, 'b> {
    pub(crate) weight: Weight<'a>,
    /// What [`Round`] left.
    pub(crate) rounded: &'a [f32],
    /// (O): what y starts from.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) y: &'a mut Part<'b, f32>,
    pub(crate) scratch: &'a mut [f32],
}

impl Kernel for Tiles<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if S::INT8 {
            with_blocks!(self.weight.quant, B => self.blocks::<S, B>(s));
        }
    }
}

impl Tiles<'_, '_> {
    #[inline(always)]
    fn blocks<S: Simd, B: Blocks>(mut self, s: S) {
        let tokens = self.y.rows().len();
        let group = GROUP_VECTORS * S::LANES;
        let scratch = std::mem::take(&mut self.scratch);
        let (panel, lines) = scratch.split_at_mut(PANEL_GROUPS * group);
        for (block, first) in (0..self.weight.cols).step_by(DEPTH).enumerate() {
            let runs = (self.weight.cols - first).min(DEPTH) / RUN;
            let records = &self.rounded[block * tokens * RECORD..][..tokens * RECORD];
            for start in self.y.cols().step_by(PANEL_GROUPS * S::LANES) {
                let rows = start..self.y.cols().end.min(start + PANEL_GROUPS * S::LANES);
                for (i, panel) in panel.chunks_exact_mut(group).enumerate() {
                    let first = (rows.start + i * S::LANES).min(rows.end);
                    let rows = first..rows.end.min(first + S::LANES);
                    pack::<S, B>(s, &self.weight, rows, block, runs, panel, lines);
                }
                let panel = Panel { data: panel, block, runs, rows };
                s.vectorize(PanelProduct::<B> {
                    panel,
                    records,
                    bias: self.bias,
                    y: &mut *self.y,
                    blocks: std::marker::PhantomData,
                });
            }
        }
    }
}

/// Packs up to `LANES` rows: (fours, lanes) of bytes by four, then (runs, 2, lanes) of floats.
#[inline(always)]
fn pack<S: Simd, B: Blocks>(
    s: S,
    weight: &Weight<'_>,
    rows: Range<usize>,
    block: usize,
    runs: usize,
    to: &mut [f32],
    lines: &mut [f32],
) {
    let (quants, pairs) = to.split_at_mut(FOURS * S::LANES);
    for (lane, row) in rows.enumerate() {
        let line: &mut [[u8; RUN]] = bytemuck::cast_slice_mut(&mut lines[lane * FOURS..][..FOURS]);
        let mut floats = [[0.0; 2]; RUNS];
        let bytes = &weight.row(row)[block * RUNS / B::RUNS * B::BYTES..];
        let to = line.chunks_exact_mut(B::RUNS).zip(floats.chunks_exact_mut(B::RUNS));
        for (bytes, (line, floats)) in bytes.chunks_exact(B::BYTES).zip(to).take(runs / B::RUNS) {
            B::unpack(s, bytes, line, floats);
        }
        for (run, [first, second]) in floats.into_iter().enumerate().take(runs) {
            pairs[2 * run * S::LANES + lane] = first;
            pairs[(2 * run + 1) * S::LANES + lane] = second;
        }
    }
    for four in (0..runs * RUN / 4).step_by(S::LANES) {
        s.transpose(&lines[four..], FOURS, &mut quants[four * S::LANES..], S::LANES);
    }
}

/// Packed weights.
struct Panel<'a> {
    data: &'a [f32],
    /// Number of its block of columns.
    block: usize,
    runs: usize,
    /// Rows of the weight.
    rows: Range<usize>,
}

/// All tokens times a panel.
struct PanelProduct<'a, 'b, B> {
    panel: Panel<'a>,
    records: &'a [f32],
    bias: Option<&'a [f32]>,
    y: &'a mut Part<'b, f32>,
    blocks: std::marker::PhantomData<B>,
}

impl<B: Blocks> Kernel for PanelProduct<'_, '_, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let tokens = self.y.rows().len();
        let mut token = 0;
        while token < tokens {
            token += match tokens - token {
                TOKENS.. => self.tokens::<S, TOKENS>(s, token),
                4.. => self.tokens::<S, 4>(s, token),
                2.. => self.tokens::<S, 2>(s, token),
                _ => self.tokens::<S, 1>(s, token),
            };
        }
    }
}

impl<B: Blocks> PanelProduct<'_, '_, B> {
    /// `R` tokens; yields their number.
    #[inline(always)]
    fn tokens<S: Simd, const R: usize>(&mut self, s: S, token: usize) -> usize {
        let records = &self.records[token * RECORD..][..R * RECORD];
        let group = GROUP_VECTORS * S::LANES;
        let offset = self.y.cols().start;
        let starts = self.panel.rows.clone().step_by(GROUPS * S::LANES);
        for (first, groups) in starts.zip(self.panel.data.chunks_exact(GROUPS * group)) {
            let sums = tile::<S, B, R>(s, records, groups, self.panel.runs);
            for (r, sums) in sums.into_iter().enumerate() {
                let end = self.panel.rows.end.min(first + GROUPS * S::LANES);
                let y = &mut self.y.row(token + r)[first - offset..end - offset];
                for (v, (sum, y)) in sums.into_iter().zip(y.chunks_mut(S::LANES)).enumerate() {
                    let start = match self.bias {
                        _ if self.panel.block > 0 => s.load_part(y),
                        None => s.zero(),
                        Some(bias) => s.load_part(&bias[first + v * S::LANES..][..y.len()]),
                    };
                    s.store_part(s.add(sum, start), y);
                }
            }
        }
        R
    }
}

/// The register tile: `R` tokens by [`GROUPS`] groups, over the runs of a panel.
#[inline(always)]
fn tile<S: Simd, B: Blocks, const R: usize>(
    s: S,
    records: &[f32],
    groups: &[f32],
    runs: usize,
) -> [[S::F32; GROUPS]; R] {
    let group = GROUP_VECTORS * S::LANES;
    let mut tile = [[s.zero(); GROUPS]; R];
    let ints: &[i32] = bytemuck::cast_slice(records);
    let halves = if B::PAIR == Pair::Halves { 2 } else { 1 };
    // A loop that the compiler does not unroll, or it would reorder the products until registers
    // run out.
    let fours = black_box(RUN / 4 / halves);
    for run in 0..runs {
        for half in 0..halves {
            let mut sums = [[s.splat_i32(0); GROUPS]; R];
            if let Some(shift) = B::SHIFT {
                for (r, sums) in sums.iter_mut().enumerate() {
                    let at = if halves == 2 { 3 * RUNS + 2 * run + half } else { 2 * RUNS + run };
                    *sums = [s.splat_i32(ints[r * RECORD + FOURS + at] << shift); GROUPS];
                }
            }
            let first = run * RUN / 4 + half * fours;
            for four in first..first + fours {
                let x = &ints[four..][..(R - 1) * RECORD + 1];
                let quants = &groups[four * S::LANES..][..(GROUPS - 1) * group + S::LANES];
                for g in 0..GROUPS {
                    let quants = s.load(&quants[g * group..]);
                    for (r, sums) in sums.iter_mut().enumerate() {
                        sums[g] = s.dot_lanes(quants, x[r * RECORD], sums[g]);
                    }
                }
            }
            for g in 0..GROUPS {
                let at = g * group + (FOURS + 2 * run + half) * S::LANES;
                let weight_scale = s.load(&groups[at..]);
                for (r, (sums, tile)) in sums.iter().zip(&mut tile).enumerate() {
                    let scale = s.mul(weight_scale, s.splat(records[r * RECORD + FOURS + run]));
                    tile[g] = s.fma(s.sums_to_f32(sums[g]), scale, tile[g]);
                }
            }
        }
        if B::PAIR == Pair::ScaleMin {
            for g in 0..GROUPS {
                let min = s.load(&groups[g * group + (FOURS + 2 * run + 1) * S::LANES..]);
                for (r, tile) in tile.iter_mut().enumerate() {
                    let total = s.splat(records[r * RECORD + FOURS + RUNS + run]);
                    tile[g] = s.fma(min, total, tile[g]);
                }
            }
        }
    }
    tile
}
