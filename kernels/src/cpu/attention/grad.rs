//! The gradient of attention, from the stored log-sum-exp (FlashAttention-2, arXiv 2307.08691).
//!
//! Two passes over blocks, each owning what it sums: by queries for dQ, by keys for dK and dV. The
//! scores are computed in both: no thread ever adds to another's sums.

use std::ops::Range;

use super::{BLOCK, Shape, View, part_tokens};
use crate::cpu::cx::Cx;
use crate::cpu::lanes::{get, put};
use crate::cpu::pool::{Part, Split};
use crate::cpu::product::{Into, pack, pack_transposed, packed_len, product};
use crate::cpu::simd::math::{dot_in_order, exp};
use crate::cpu::simd::{Kernel, Simd};
use crate::op::Attention;

/// f32 of work space of a thread for one part.
fn private_len(width: usize, part: usize) -> usize {
    2 * packed_len(width, BLOCK)
        + 2 * packed_len(BLOCK, width)
        + 2 * part * BLOCK
        + 2 * part * width
        + 2 * BLOCK
}

/// f32 of work space of [`attention_grad`].
pub(in crate::cpu) fn workspace(
    threads: usize,
    attention: &Attention,
    cols: usize,
    tokens: usize,
) -> usize {
    let part = part_tokens(threads, tokens).max(BLOCK.min(tokens));
    tokens * attention.heads + threads * private_len(cols / attention.heads, part)
}

/// `dq, dk, dv` from `q, k, v, o, lse` and `dy`, the gradient of `o`.
pub(in crate::cpu) fn attention_grad(
    cx: &Cx<'_>,
    attention: &Attention,
    [q, k, v, o, lse, dy]: [&[f32]; 6],
    [dq, dk, dv]: [&mut [f32]; 3],
    work: &mut [f32],
) {
    let cols = dq.len() / cx.tokens();
    let shape = Shape::new(cx, attention, cols, 0);
    let parts = shape.parts;
    let (delta, work) = work.split_at_mut(shape.tokens * attention.heads);
    let each = work.len() / cx.threads();
    let work = Split::rows(&mut work[..each * cx.threads()], each, cx.threads());
    {
        let delta = Split::rows(delta, attention.heads, parts);
        let dq = Split::rows(dq, cols, parts);
        cx.zigzag(parts, |thread, part| {
            let (mut delta, mut dq) = (delta.part(part), dq.part(part));
            let mut work = work.part(thread);
            let work = work.row(thread);
            let given = Given { shape, q, k, v, dy, lse };
            cx.engine.isa.dispatch(Queries { given, o, delta: &mut delta, dq: &mut dq, work });
        });
    }
    let delta = &*delta;
    let [dk, dv] = [dk, dv].map(|d| Split::rows(d, shape.kv_cols(), parts));
    cx.zigzag(parts, |thread, part| {
        let (mut dk, mut dv) = (dk.part(part), dv.part(part));
        let mut work = work.part(thread);
        let work = work.row(thread);
        let given = Given { shape, q, k, v, dy, lse };
        cx.engine.isa.dispatch(Keys { given, delta, dk: &mut dk, dv: &mut dv, work });
    });
}

/// What both passes read.
#[derive(Clone, Copy)]
struct Given<'a> {
    shape: Shape,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    dy: &'a [f32],
    lse: &'a [f32],
}

impl<'a> Given<'a> {
    /// One query head of `q` or `dy`, from a token on.
    #[inline(always)]
    fn query_rows(&self, of: &'a [f32], head: usize, token: usize) -> View<'a> {
        let (stride, width) = (self.shape.cols(), self.shape.width);
        View { data: &of[token * stride + head * width..], stride, width }
    }

    /// One key-value head of `k` or `v`, from a token on.
    #[inline(always)]
    fn kv_rows(&self, of: &'a [f32], kv_head: usize, token: usize) -> View<'a> {
        let (stride, width) = (self.shape.kv_cols(), self.shape.width);
        View { data: &of[token * stride + kv_head * width..], stride, width }
    }
}

/// dQ of one part of the queries, and the row sums of `dy o`.
struct Queries<'a, 'p> {
    given: Given<'a>,
    o: &'a [f32],
    delta: &'a mut Part<'p, f32>,
    dq: &'a mut Part<'p, f32>,
    work: &'a mut [f32],
}

impl Kernel for Queries<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let shape = self.given.shape;
        for token in self.dq.rows() {
            self.dq.row(token).fill(0.0);
            let row = token * shape.cols()..(token + 1) * shape.cols();
            let o = self.o[row.clone()].chunks_exact(shape.width);
            let dy = self.given.dy[row].chunks_exact(shape.width);
            for (delta, (o, dy)) in self.delta.row(token).iter_mut().zip(o.zip(dy)) {
                // In the order in which `product` sums `dy v`: the two cancel exactly where one key
                // has all the weight, and with one token that is everywhere.
                *delta = dot_in_order(s, o, dy);
            }
        }
        for kv_head in 0..shape.attention.kv_heads {
            for block in shape.blocks(&self.dq.rows()) {
                self.block(s, kv_head, block);
            }
        }
    }
}

impl Queries<'_, '_> {
    #[inline(always)]
    fn block<S: Simd>(&mut self, s: S, kv_head: usize, block: Range<usize>) {
        let (given, shape) = (self.given, self.given.shape);
        let (width, columns) = (shape.width, block.len());
        let tokens = shape.seeing(&self.dq.rows(), &block);
        let (count, total) = (tokens.len(), self.dq.rows().len());
        let (keys_t, rest) = self.work.split_at_mut(packed_len(width, BLOCK));
        let (values_t, rest) = rest.split_at_mut(packed_len(width, BLOCK));
        let (keys, rest) = rest.split_at_mut(packed_len(BLOCK, width));
        let (weights, rest) = rest.split_at_mut(total * BLOCK);
        let (slopes, rest) = rest.split_at_mut(total * BLOCK);
        let sums = &mut rest[..total * width];
        let k = given.kv_rows(given.k, kv_head, block.start);
        let v = given.kv_rows(given.v, kv_head, block.start);
        pack_transposed::<S, _>(width, columns, |j| k.row(j), keys_t);
        pack_transposed::<S, _>(width, columns, |j| v.row(j), values_t);
        pack(s, columns, width, |j| k.row(j), keys);
        for head in kv_head * shape.group()..(kv_head + 1) * shape.group() {
            let q = (given.query_rows(given.q, head, tokens.start).data, shape.cols());
            let dy = (given.query_rows(given.dy, head, tokens.start).data, shape.cols());
            let (p, ds) = ((&mut *weights, BLOCK), (&mut *slopes, BLOCK));
            product(s, q, count, (keys_t, width), p, columns, Into::Store);
            product(s, dy, count, (values_t, width), ds, columns, Into::Store);
            for (r, token) in tokens.clone().enumerate() {
                let row = r * BLOCK..r * BLOCK + columns;
                let at = token * shape.attention.heads + head;
                let delta = self.delta.row(token)[head];
                let (scores, ds) = (&weights[row.clone()], &mut slopes[row]);
                slope(s, scores, ds, given.lse[at], delta, shape.attention.scale);
                let seen = shape.seen(token, &block);
                ds[..seen.start].fill(0.0);
                ds[seen.end..].fill(0.0);
            }
            let sum = (&mut *sums, width);
            product(s, (slopes, BLOCK), count, (keys, columns), sum, width, Into::Store);
            for (token, sum) in tokens.clone().zip(sums.chunks_exact(width)) {
                let dq = &mut self.dq.row(token)[head * width..][..width];
                for i in (0..width).step_by(S::LANES) {
                    put(s, s.add(get(s, dq, i), get(s, sum, i)), dq, i);
                }
            }
        }
    }
}

/// `ds = scale exp(scale score - lse) (ds - delta)`, for one query.
#[inline(always)]
fn slope<S: Simd>(s: S, scores: &[f32], ds: &mut [f32], lse: f32, delta: f32, scale: f32) {
    let [lse, delta, scale] = [lse, delta, scale].map(|value| s.splat(value));
    for i in (0..ds.len()).step_by(S::LANES) {
        let p = exp(s, s.sub(s.mul(get(s, scores, i), scale), lse));
        let ds_p = s.mul(p, s.sub(get(s, ds, i), delta));
        put(s, s.mul(ds_p, scale), ds, i);
    }
}

/// dK and dV of one part of the keys.
struct Keys<'a, 'p> {
    given: Given<'a>,
    delta: &'a [f32],
    dk: &'a mut Part<'p, f32>,
    dv: &'a mut Part<'p, f32>,
    work: &'a mut [f32],
}

impl Kernel for Keys<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let shape = self.given.shape;
        let keys = self.dk.rows();
        let last = match shape.attention.window {
            Some(window) => (keys.end - 1 + window).min(shape.tokens),
            None => shape.tokens,
        };
        for kv_head in 0..shape.attention.kv_heads {
            let size = keys.len() * shape.width;
            let sums = self.work.len() - 2 * size;
            self.work[sums..].fill(0.0);
            for first in (keys.start / BLOCK * BLOCK..last).step_by(BLOCK) {
                let queries = first.max(keys.start)..(first + BLOCK).min(last);
                for head in kv_head * shape.group()..(kv_head + 1) * shape.group() {
                    self.block(s, [kv_head, head], queries.clone(), sums);
                }
            }
            let (dk, dv) = self.work[sums..].split_at(size);
            let rows = dk.chunks_exact(shape.width).zip(dv.chunks_exact(shape.width));
            for (token, (dk, dv)) in keys.clone().zip(rows) {
                let columns = kv_head * shape.width..(kv_head + 1) * shape.width;
                self.dk.row(token)[columns.clone()].copy_from_slice(dk);
                self.dv.row(token)[columns].copy_from_slice(dv);
            }
        }
    }
}

impl Keys<'_, '_> {
    /// Adds what the queries of one head give; everything is transposed: rows are keys.
    #[inline(always)]
    fn block<S: Simd>(
        &mut self,
        s: S,
        [kv_head, head]: [usize; 2],
        queries: Range<usize>,
        sums: usize,
    ) {
        let (given, shape) = (self.given, self.given.shape);
        let (width, columns) = (shape.width, queries.len());
        let keys = self.dk.rows();
        // Later keys than the last query are not seen.
        let keys = keys.start..keys.end.min(queries.end);
        let count = keys.len();
        let (work, sums) = self.work.split_at_mut(sums);
        let (dk, dv) = sums.split_at_mut(sums.len() / 2);
        let (queries_t, rest) = work.split_at_mut(packed_len(width, BLOCK));
        let (dy_t, rest) = rest.split_at_mut(packed_len(width, BLOCK));
        let (queries_p, rest) = rest.split_at_mut(packed_len(BLOCK, width));
        let (dy_p, rest) = rest.split_at_mut(packed_len(BLOCK, width));
        let (weights, rest) = rest.split_at_mut(count * BLOCK);
        let (slopes, rest) = rest.split_at_mut(count * BLOCK);
        let (lse, delta) = rest[..2 * BLOCK].split_at_mut(BLOCK);
        let q = given.query_rows(given.q, head, queries.start);
        let dy = given.query_rows(given.dy, head, queries.start);
        pack_transposed::<S, _>(width, columns, |i| q.row(i), queries_t);
        pack_transposed::<S, _>(width, columns, |i| dy.row(i), dy_t);
        pack(s, columns, width, |i| q.row(i), queries_p);
        pack(s, columns, width, |i| dy.row(i), dy_p);
        for (i, query) in queries.clone().enumerate() {
            let at = query * shape.attention.heads + head;
            (lse[i], delta[i]) = (given.lse[at], self.delta[at]);
        }
        let k = (given.kv_rows(given.k, kv_head, keys.start).data, shape.kv_cols());
        let v = (given.kv_rows(given.v, kv_head, keys.start).data, shape.kv_cols());
        let (p, ds) = ((&mut *weights, BLOCK), (&mut *slopes, BLOCK));
        product(s, k, count, (queries_t, width), p, columns, Into::Store);
        product(s, v, count, (dy_t, width), ds, columns, Into::Store);
        for (r, key) in keys.clone().enumerate() {
            let row = r * BLOCK..r * BLOCK + columns;
            let (p, ds) = (&mut weights[row.clone()], &mut slopes[row]);
            slopes_of_key(s, p, ds, [&lse[..columns], &delta[..columns]], shape.attention.scale);
            // Queries before the key, and those whose window has passed it.
            let past = key.saturating_sub(queries.start).min(columns);
            let end = match shape.attention.window {
                Some(window) => (key + window).saturating_sub(queries.start).clamp(past, columns),
                None => columns,
            };
            for row in [p, ds] {
                row[..past].fill(0.0);
                row[end..].fill(0.0);
            }
        }
        product(s, (weights, BLOCK), count, (dy_p, columns), (dv, width), width, Into::Add);
        product(s, (slopes, BLOCK), count, (queries_p, columns), (dk, width), width, Into::Add);
    }
}

/// `p = exp(scale p - lse)`, `ds = scale p (ds - delta)`, for one key and a row of queries.
#[inline(always)]
fn slopes_of_key<S: Simd>(
    s: S,
    p: &mut [f32],
    ds: &mut [f32],
    [lse, delta]: [&[f32]; 2],
    scale: f32,
) {
    let scale = s.splat(scale);
    for i in (0..p.len()).step_by(S::LANES) {
        let weight = exp(s, s.sub(s.mul(get(s, p, i), scale), get(s, lse, i)));
        let slope = s.mul(weight, s.sub(get(s, ds, i), get(s, delta, i)));
        put(s, weight, p, i);
        put(s, s.mul(slope, scale), ds, i);
    }
}
