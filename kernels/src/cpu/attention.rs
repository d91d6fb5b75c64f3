//! Causal attention, online over blocks of keys (FlashAttention, arXiv 2205.14135), and its
//! gradient from the stored log-sum-exp: no (T,T) matrix ever exists.

use half::slice::HalfBitsSliceExt as _;

use super::Cx;
use super::pool::Split;
use super::simd::math::{axpy, dot, exp};
use super::simd::{Kernel, Simd};
use crate::op::Attention;

/// Keys or values by position, `(capacity, G*D)`.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    F32(&'a [f32]),
    F16(&'a [u16]),
}

/// Positions whose scores are held at once.
const BLOCK: usize = 64;

/// `o (T,H*D)` and `lse (T,H)` from `q (T,H*D)`, and keys and values from position 0 on; token t
/// is at `pos + t`.
pub(super) fn attention(
    cx: &Cx<'_>,
    attention: &Attention,
    pos: usize,
    q: &[f32],
    [keys, values]: [Rows<'_>; 2],
    [o, lse]: [&mut [f32]; 2],
) {
    let cols = o.len() / cx.tokens();
    let width = cols / attention.heads;
    let parts = cx.threads().min(attention.heads);
    let (o, lse) =
        (Split::columns(o, cols, parts, width), Split::columns(lse, attention.heads, parts, 1));
    cx.each_part(parts, |i| {
        let (mut o, mut lse) = (o.part(i), lse.part(i));
        for t in 0..cx.tokens() {
            let heads = o.cols().start / width..o.cols().end / width;
            let outs = o.row(t).chunks_exact_mut(width).zip(lse.row(t));
            for (head, (o, lse)) in heads.zip(outs) {
                let q = &q[t * cols + head * width..][..width];
                let seen = attention.first_seen(pos + t)..pos + t + 1;
                let kv_cols = attention.kv_heads * width;
                let first = attention.kv_head(head) * width;
                *lse = cx.isa.dispatch(Query {
                    q,
                    keys,
                    values,
                    seen,
                    stride: kv_cols,
                    first,
                    scale: attention.scale,
                    o,
                });
            }
        }
    });
}

struct Query<'a> {
    q: &'a [f32],
    keys: Rows<'a>,
    values: Rows<'a>,
    seen: std::ops::Range<usize>,
    stride: usize,
    first: usize,
    scale: f32,
    o: &'a mut [f32],
}

const WIDTH_MAX: usize = 256;

impl Kernel for Query<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let width = self.q.len();
        let mut buffer = [0.0; WIDTH_MAX];
        let (mut most, mut total) = (f32::NEG_INFINITY, 0.0);
        self.o.fill(0.0);
        for block in self.seen.clone().step_by(BLOCK) {
            let block = block..(block + BLOCK).min(self.seen.end);
            let mut scores = [f32::NEG_INFINITY; BLOCK];
            let mut best = most;
            for (j, score) in block.clone().zip(&mut scores) {
                let key = row(self.keys, j * self.stride + self.first, width, &mut buffer);
                *score = dot(s, self.q, key) * self.scale;
                best = best.max(*score);
            }
            let shrink = (most - best).exp();
            total *= shrink;
            self.o.iter_mut().for_each(|o| *o *= shrink);
            most = best;
            for i in (0..BLOCK).step_by(S::LANES) {
                let weights = exp(s, s.sub(s.load(&scores[i..]), s.splat(most)));
                s.store(weights, &mut scores[i..]);
                total += s.sum(weights);
            }
            for (j, &weight) in block.zip(&scores) {
                let value = row(self.values, j * self.stride + self.first, width, &mut buffer);
                axpy(s, weight, value, self.o);
            }
        }
        let inverse = 1.0 / total;
        self.o.iter_mut().for_each(|o| *o *= inverse);
        most + total.ln()
    }
}

#[inline(always)]
fn row<'a>(rows: Rows<'a>, at: usize, width: usize, buffer: &'a mut [f32]) -> &'a [f32] {
    match rows {
        Rows::F32(rows) => &rows[at..at + width],
        Rows::F16(rows) => {
            let halves: &[half::f16] = rows[at..at + width].reinterpret_cast();
            let buffer = &mut buffer[..width];
            half::slice::HalfFloatSliceExt::convert_to_f32_slice(halves, buffer);
            buffer
        }
    }
}

/// `dq, dk, dv` from `q, k, v, o, lse` and `dy = d o`.
pub(super) fn attention_grad(
    cx: &Cx<'_>,
    attention: &Attention,
    [q, k, v, o, lse, dy]: [&[f32]; 6],
    [dq, dk, dv]: [&mut [f32]; 3],
) {
    let (cols, kv_cols) = (q.len() / cx.tokens(), k.len() / cx.tokens());
    let width = cols / attention.heads;
    let group = attention.heads / attention.kv_heads;
    let parts = cx.threads().min(attention.kv_heads);
    let dq = Split::columns(dq, cols, parts, width * group);
    let [dk, dv] = [dk, dv].map(|d| Split::columns(d, kv_cols, parts, width));
    cx.each_part(parts, |i| {
        let (mut dq, mut dk, mut dv) = (dq.part(i), dk.part(i), dv.part(i));
        for t in 0..cx.tokens() {
            for d in [&mut dq, &mut dk, &mut dv] {
                d.row(t).fill(0.0);
            }
        }
        for head in dq.cols().start / width..dq.cols().end / width {
            let own = head * width;
            let other = attention.kv_head(head) * width;
            for t in 0..cx.tokens() {
                let at = t * cols + own;
                let (q, o, dy) = (&q[at..at + width], &o[at..at + width], &dy[at..at + width]);
                for j in attention.first_seen(t)..=t {
                    let kv = j * kv_cols + other;
                    let local = other - dk.cols().start;
                    let first = own - dq.cols().start;
                    cx.isa.dispatch(Pair {
                        rows: [q, &k[kv..kv + width], &v[kv..kv + width], o, dy],
                        lse: lse[t * attention.heads + head],
                        scale: attention.scale,
                        dq: &mut dq.row(t)[first..first + width],
                        dk: &mut dk.row(j)[local..local + width],
                        dv: &mut dv.row(j)[local..local + width],
                    });
                }
            }
        }
    });
}

struct Pair<'a> {
    rows: [&'a [f32]; 5],
    lse: f32,
    scale: f32,
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

impl Kernel for Pair<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [q, k, v, o, dy] = self.rows;
        let p = (dot(s, q, k) * self.scale - self.lse).exp();
        let ds = p * (dot(s, dy, v) - dot(s, dy, o)) * self.scale;
        axpy(s, p, dy, self.dv);
        axpy(s, ds, k, self.dq);
        axpy(s, ds, q, self.dk);
    }
}
