//! Log-probabilities of targets, streamed over the vocabulary: at most [`SHARD`] logits of a token
//! exist at a time, and tokens without a target cost nothing.

use super::lanes::get;
use super::simd::math::exp;
use super::simd::{Kernel, Simd};
use super::{Cx, WeightView, simple};
use crate::op::NO_TARGET;

/// Rows of the head whose logits are held at once.
const SHARD: usize = 1024;

/// f32 of work space of [`head_logp`] and of [`head_logp_grad`] for T tokens.
pub(super) fn workspace(tokens: usize, cols: usize, vocabulary: usize, grad: bool) -> usize {
    let copies = if grad { 2 } else { 1 };
    tokens * (copies * cols + SHARD.min(vocabulary) + STATS)
}

/// Per token, in the work space: the largest logit so far, the sum of exponentials below it, the
/// target's logit.
const STATS: usize = 3;

/// `logp (T,1)` from `x (T,C)`, the head and the targets.
pub(super) fn head_logp(
    cx: &Cx<'_>,
    x: &[f32],
    w: &WeightView<'_>,
    targets: &[u32],
    logp: &mut [f32],
    work: &mut [f32],
) {
    let rows = gathered(targets);
    let (work, stats) = stream(cx, x, w, targets, &rows, work, |_, _, _| {});
    let _ = work;
    logp.fill(0.0);
    for (&t, stats) in rows.iter().zip(stats.chunks_exact(STATS)) {
        logp[t] = stats[2] - stats[0] - stats[1].ln();
    }
}

/// `dx (T,C)` from `x`, the head, the targets and `dlogp (T,1)`: the expected row of the head is
/// summed online, as attention sums values.
pub(super) fn head_logp_grad(
    cx: &Cx<'_>,
    x: &[f32],
    w: &WeightView<'_>,
    (targets, dlogp): (&[u32], &[f32]),
    dx: &mut [f32],
    work: &mut [f32],
) {
    let rows = gathered(targets);
    let cols = w.cols;
    let (expected, work) = work.split_at_mut(rows.len() * cols);
    expected.fill(0.0);
    let (_, stats) = stream(cx, x, w, targets, &rows, work, |p, shard, shrinks| {
        cx.rows(expected, cols, |e| {
            for i in e.rows() {
                let by = shrinks[i];
                if by != 1.0 {
                    e.row(i).iter_mut().for_each(|value| *value *= by);
                }
            }
        });
        simple::linear_grad(cx, p, shard, expected);
    });
    dx.fill(0.0);
    let mut row = vec![0.0; cols];
    for (i, (&t, stats)) in rows.iter().zip(stats.chunks_exact(STATS)).enumerate() {
        let dx = &mut dx[t * cols..(t + 1) * cols];
        w.dequantize_row(targets[t] as usize, &mut row);
        for ((dx, w), e) in dx.iter_mut().zip(&row).zip(&expected[i * cols..]) {
            *dx = dlogp[t] * (w - e / stats[1]);
        }
    }
}

/// The tokens that have a target.
fn gathered(targets: &[u32]) -> Vec<usize> {
    (0..targets.len()).filter(|&t| targets[t] != NO_TARGET).collect()
}

/// Runs over the shards: logits, then their exponentials below the running maximum in place. After
/// each, `each(exponentials, shard, shrinks)`: by how much the earlier sums of every row shrink.
fn stream<'w>(
    cx: &Cx<'_>,
    x: &[f32],
    w: &WeightView<'_>,
    targets: &[u32],
    rows: &[usize],
    work: &'w mut [f32],
    mut each: impl FnMut(&[f32], &WeightView<'_>, &[f32]),
) -> (&'w mut [f32], &'w mut [f32]) {
    let n = rows.len();
    let (xs, work) = work.split_at_mut(n * w.cols);
    let (stats, logits) = work.split_at_mut(n * STATS);
    for (xs, &t) in xs.chunks_exact_mut(w.cols).zip(rows) {
        xs.copy_from_slice(&x[t * w.cols..(t + 1) * w.cols]);
    }
    stats.chunks_exact_mut(STATS).for_each(|s| s.copy_from_slice(&[f32::NEG_INFINITY, 0.0, 0.0]));
    let mut shrinks = vec![1.0; n];
    for first in (0..w.rows).step_by(SHARD) {
        if n == 0 {
            break;
        }
        let shard = w.part(first..(first + SHARD).min(w.rows));
        let logits = &mut logits[..n * shard.rows];
        simple::linear(cx, xs, &shard, logits);
        for (i, row) in logits.chunks_exact_mut(shard.rows).enumerate() {
            let stats = &mut stats[i * STATS..(i + 1) * STATS];
            if let Some(&logit) =
                (targets[rows[i]] as usize).checked_sub(first).and_then(|v| row.get(v))
            {
                stats[2] = logit;
            }
            let (most, sum) = cx.isa.dispatch(Soften { row, most: stats[0] });
            shrinks[i] = (stats[0] - most).exp();
            stats[1] = stats[1] * shrinks[i] + sum;
            stats[0] = most;
        }
        each(logits, &shard, &shrinks);
    }
    (xs, stats)
}

/// Logits to exponentials below the largest of them and `most`; yields that and their sum.
struct Soften<'a> {
    row: &'a mut [f32],
    most: f32,
}

impl Kernel for Soften<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32) {
        let mut most = self.most;
        for &logit in self.row.iter() {
            most = most.max(logit);
        }
        let mut sum = 0.0;
        for i in (0..self.row.len()).step_by(S::LANES) {
            let e = exp(s, s.sub(get(s, self.row, i), s.splat(most)));
            super::lanes::put(s, e, self.row, i);
        }
        for chunk in self.row.chunks(64) {
            sum += chunk.iter().map(|&e| f64::from(e)).sum::<f64>();
        }
        (most, sum as f32)
    }
}
