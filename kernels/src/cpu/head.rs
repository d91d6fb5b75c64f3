//! Log-probabilities of targets, streamed over the vocabulary: at most [`SHARD`] logits of a token
//! exist at a time, and tokens without a target cost nothing. Always in f32, also for few targets:
//! what a short answer is trained and judged by is as exact as a long one.

use super::cx::Cx;
use super::gemm::{Matrix, Multiply, Product, Source, Start, gemm_floats};
use super::lanes::{get, put};
use super::linear::{Output, linear_f32, linear_f32_floats};
use super::pool::Split;
use super::simd::math::exp;
use super::simd::{Kernel, Simd};
use super::weight::Weight;
use crate::op::NO_TARGET;

/// Rows of the head whose logits are held at once.
const SHARD: usize = 1024;

/// f32 of work space of [`head_logp`].
pub(super) fn workspace(threads: usize, tokens: usize, vocabulary: usize, cols: usize) -> usize {
    tokens * (cols + SHARD.min(vocabulary)) + linear_f32_floats(threads, tokens)
}

/// f32 of work space of [`head_logp_grad`].
pub(super) fn grad_workspace(
    threads: usize,
    tokens: usize,
    vocabulary: usize,
    cols: usize,
) -> usize {
    let both = gemm_floats(threads, tokens).max(linear_f32_floats(threads, tokens));
    tokens * (2 * cols + SHARD.min(vocabulary)) + both
}

/// `logp (T,1)` from `x (T,C)`, the head and the targets.
pub(super) fn head_logp(
    cx: &Cx<'_>,
    x: &[f32],
    w: Weight<'_>,
    targets: &[u32],
    logp: &mut [f32],
    work: &mut [f32],
) {
    let mut rows = gather(targets);
    stream(cx, x, w, &mut rows, work, |_, _, _, _| {});
    logp.fill(0.0);
    for row in rows {
        logp[row.token] = (f64::from(row.logit - row.most) - row.sum.ln()) as f32;
    }
}

/// `dx (T,C)` from `x`, the head, the targets and `dlogp (T,1)`. The expected row of the head is
/// summed online, as attention sums values: one pass over the head.
pub(super) fn head_logp_grad(
    cx: &Cx<'_>,
    x: &[f32],
    w: Weight<'_>,
    (targets, dlogp): (&[u32], &[f32]),
    dx: &mut [f32],
    work: &mut [f32],
) {
    let cols = w.cols;
    let mut rows = gather(targets);
    let (expected, work) = work.split_at_mut(rows.len() * cols);
    expected.fill(0.0);
    stream(cx, x, w, &mut rows, work, |rows, p, shard, scratch| {
        cx.rows(expected, cols, |expected| {
            for i in expected.rows().filter(|&i| rows[i].shrink != 1.0) {
                expected.row(i).iter_mut().for_each(|value| *value *= rows[i].shrink);
            }
        });
        add_product(cx, p, shard, expected, scratch);
    });
    dx.fill(0.0);
    for (row, expected) in rows.iter().zip(expected.chunks_exact(cols)) {
        let dx = &mut dx[row.token * cols..][..cols];
        w.quant.dequantize(w.row(row.target), dx);
        let (dlogp, inverse) = (dlogp[row.token], (1.0 / row.sum) as f32);
        for (dx, expected) in dx.iter_mut().zip(expected) {
            *dx = dlogp * (*dx - expected * inverse);
        }
    }
}

/// `y (N,C) += p (N,shard) w`.
fn add_product(cx: &Cx<'_>, p: &[f32], w: Weight<'_>, y: &mut [f32], scratch: &mut [f32]) {
    let threads = cx.threads();
    let a = Matrix::new(p, w.rows);
    let (b, start) = (Source::Weight(w), Start::Add);
    let product = Product { a, b, depth: w.rows, scale: 1.0, start };
    let each = gemm_floats(1, y.len() / w.cols);
    let scratch = Split::rows(&mut scratch[..threads * each], each, threads);
    let y = Split::columns(y, w.cols, threads, super::dot::RUN);
    cx.engine.pool.run(|worker| {
        let (mut c, mut scratch) = (y.part(worker.index()), scratch.part(worker.index()));
        let scratch = scratch.row(worker.index());
        cx.engine.isa.dispatch(Multiply { product: &product, c: &mut c, scratch });
    });
}

/// A token with a target, and what is known of its logits so far.
#[derive(Clone, Copy)]
struct Row {
    token: usize,
    target: usize,
    /// The target's logit.
    logit: f32,
    /// The largest logit.
    most: f32,
    /// The sum of the exponentials below it.
    sum: f64,
    /// By how much the last shard shrank earlier sums.
    shrink: f32,
}

fn gather(targets: &[u32]) -> Vec<Row> {
    let tokens = targets.iter().enumerate().filter(|(_, target)| **target != NO_TARGET);
    tokens
        .map(|(token, &target)| Row {
            token,
            target: target as usize,
            logit: f32::NAN,
            most: f32::NEG_INFINITY,
            sum: 0.0,
            shrink: 1.0,
        })
        .collect()
}

/// Goes through the shards of the head. After each, `each(rows, exponentials, shard, scratch)`:
/// the exponentials of the shard's logits below the largest so far.
fn stream(
    cx: &Cx<'_>,
    x: &[f32],
    w: Weight<'_>,
    rows: &mut [Row],
    work: &mut [f32],
    mut each: impl FnMut(&[Row], &[f32], Weight<'_>, &mut [f32]),
) {
    let count = rows.len();
    if count == 0 {
        return;
    }
    let (xs, work) = work.split_at_mut(count * w.cols);
    let (logits, scratch) = work.split_at_mut(count * SHARD.min(w.rows));
    for (xs, row) in xs.chunks_exact_mut(w.cols).zip(&*rows) {
        xs.copy_from_slice(&x[row.token * w.cols..][..w.cols]);
    }
    let parts = cx.parts(logits.len(), count);
    for first in (0..w.rows).step_by(SHARD) {
        let shard = part(&w, first..(first + SHARD).min(w.rows));
        let logits = &mut logits[..count * shard.rows];
        let output = Output { weight: shard, bias: None, lora: None, y: logits };
        linear_f32(cx.engine, xs, output, scratch);
        let (split, states) = (Split::rows(logits, shard.rows, parts), Split::rows(rows, 1, parts));
        cx.each_part(parts, |i| {
            let (mut logits, mut states) = (split.part(i), states.part(i));
            for row in logits.rows() {
                let (logits, state) = (logits.row(row), &mut states.row(row)[0]);
                if let Some(logit) = state.target.checked_sub(first).and_then(|v| logits.get(v)) {
                    state.logit = *logit;
                }
                let (most, sum) = cx.engine.isa.dispatch(Soften { logits, most: state.most });
                state.shrink = (state.most - most).exp();
                state.sum = state.sum * f64::from(state.shrink) + sum;
                state.most = most;
            }
        });
        each(rows, logits, shard, scratch);
    }
}

/// Some rows of a weight.
fn part<'a>(w: &Weight<'a>, rows: std::ops::Range<usize>) -> Weight<'a> {
    let row_bytes = w.bytes.len() / w.rows;
    let bytes = &w.bytes[rows.start * row_bytes..rows.end * row_bytes];
    Weight { bytes, rows: rows.len(), ..*w }
}

/// Logits to exponentials below the largest of them and `most`; yields that and their sum.
struct Soften<'a> {
    logits: &'a mut [f32],
    most: f32,
}

impl Kernel for Soften<'_> {
    type Output = (f32, f64);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f64) {
        let whole = self.logits.len() / S::LANES * S::LANES;
        let mut largest = s.splat(self.most);
        for i in (0..whole).step_by(S::LANES) {
            largest = s.max(largest, s.load(&self.logits[i..]));
        }
        let tail = self.logits[whole..].iter().copied();
        let most = tail.fold(s.max_lane(largest), f32::max);
        let mut sum = 0.0;
        // Sums of a few vectors in f32, the rest in f64.
        for i in (0..self.logits.len()).step_by(8 * S::LANES) {
            let mut part = s.zero();
            for i in (i..self.logits.len().min(i + 8 * S::LANES)).step_by(S::LANES) {
                let e = exp(s, s.sub(get(s, self.logits, i), s.splat(most)));
                put(s, e, self.logits, i);
                part = s.add(part, get(s, self.logits, i));
            }
            sum += f64::from(s.sum(part));
        }
        (most, sum)
    }
}
