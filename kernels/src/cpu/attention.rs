//! Causal attention, online over blocks of keys (FlashAttention, arXiv 2205.14135): no (T,T)
//! matrix ever exists. Its gradient is in [`grad`].
//!
//! Tokens are divided among the threads in small parts, an early one and a late one in turn, since
//! late tokens see more. Blocks of keys begin at multiples of [`BLOCK`] whatever the part, so that
//! results depend neither on the number of threads nor on the length of a run, but for the choice
//! between the ways for few and for many queries.

pub(super) mod grad;

use std::ops::Range;

use half::f16;

use super::cx::Cx;
use super::lanes::{get, put};
use super::pool::{Part, Split};
use super::product::{Into, pack, pack_transposed, packed_len, product};
use super::simd::math::{axpy, dot, exp};
use super::simd::{Kernel, Simd};
use crate::op::Attention;

/// Keys or values by position, `(capacity, G*D)`.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
}

/// Positions whose scores are held at once.
const BLOCK: usize = 64;

/// At most as many queries take the way that reads keys and values where they lie.
const FEW: usize = 4;

/// The shape of one call, and how its tokens are divided.
#[derive(Clone, Copy)]
struct Shape {
    attention: Attention,
    /// D.
    width: usize,
    tokens: usize,
    /// Position of the first token.
    pos: usize,
    parts: usize,
}

impl Shape {
    fn new(cx: &Cx<'_>, attention: &Attention, cols: usize, pos: usize) -> Shape {
        let parts = parts(cx.threads(), cx.tokens());
        let width = cols / attention.heads;
        Shape { attention: *attention, width, tokens: cx.tokens(), pos, parts }
    }

    fn group(&self) -> usize {
        self.attention.heads / self.attention.kv_heads
    }

    fn cols(&self) -> usize {
        self.attention.heads * self.width
    }

    fn kv_cols(&self) -> usize {
        self.attention.kv_heads * self.width
    }

    /// The tokens among `tokens` that see a position in `block`.
    fn seeing(&self, tokens: &Range<usize>, block: &Range<usize>) -> Range<usize> {
        let first = block.start.saturating_sub(self.pos).max(tokens.start);
        let last = match self.attention.window {
            // Token t sees positions from pos + t + 1 - window on.
            Some(window) => (block.end - 1 + window).saturating_sub(self.pos).min(tokens.end),
            None => tokens.end,
        };
        first.min(last)..last
    }

    /// Columns of `block` that a token sees.
    fn seen(&self, token: usize, block: &Range<usize>) -> Range<usize> {
        let position = self.pos + token;
        let first = self.attention.first_seen(position).clamp(block.start, block.end);
        let end = (position + 1).clamp(first, block.end);
        first - block.start..end - block.start
    }

    /// The blocks with a position that one of `tokens` sees.
    fn blocks(&self, tokens: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let first = self.attention.first_seen(self.pos + tokens.start) / BLOCK * BLOCK;
        let end = self.pos + tokens.end;
        (first..end).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(end))
    }
}

/// Parts of about [`BLOCK`] tokens, the same number for every thread.
fn parts(threads: usize, tokens: usize) -> usize {
    let each = tokens.div_ceil(2 * threads * BLOCK).min(48 / (2 * threads)).max(1);
    (2 * threads * each).min(tokens).min(48)
}

/// The most tokens of a part.
fn part_tokens(threads: usize, tokens: usize) -> usize {
    tokens.div_ceil(parts(threads, tokens))
}

impl Cx<'_> {
    /// Calls `body` with every part's number; a thread takes parts from both ends in turn.
    fn zigzag(&self, parts: usize, body: impl Fn(usize, usize) + Sync) {
        let threads = self.threads().min(parts);
        self.each_part(threads, |thread| {
            for round in (0..parts).step_by(threads) {
                let even = (round / threads).is_multiple_of(2);
                let part = round + if even { thread } else { threads - 1 - thread };
                if part < parts {
                    body(thread, part);
                }
            }
        });
    }
}

/// f32 of work space of a thread for one part.
fn private_len(attention: &Attention, width: usize, part: usize) -> usize {
    let group = attention.heads / attention.kv_heads;
    packed_len(width, BLOCK)
        + packed_len(BLOCK, width)
        + BLOCK * width
        + part * BLOCK
        + group * part * (width + 2)
}

/// f32 of work space of [`attention`].
pub(super) fn workspace(
    threads: usize,
    attention: &Attention,
    cols: usize,
    tokens: usize,
) -> usize {
    // A run of fewer tokens has no larger parts, but for those of up to a block.
    let part = part_tokens(threads, tokens).max(BLOCK.min(tokens));
    threads * private_len(attention, cols / attention.heads, part)
}

/// `o (T,H*D)` and `lse (T,H)` from `q (T,H*D)`, and keys and values from position 0 on; token t
/// is at `pos + t`.
pub(super) fn attention(
    cx: &Cx<'_>,
    attention: &Attention,
    pos: usize,
    q: &[f32],
    kv: [Rows<'_>; 2],
    [o, lse]: [&mut [f32]; 2],
    work: &mut [f32],
) {
    let cols = o.len() / cx.tokens();
    let shape = Shape::new(cx, attention, cols, pos);
    if shape.tokens <= FEW {
        return few(cx, &shape, q, kv, [o, lse]);
    }
    let parts = shape.parts;
    let each = work.len() / cx.threads();
    let work = Split::rows(&mut work[..each * cx.threads()], each, cx.threads());
    let (o, lse) = (Split::rows(o, cols, parts), Split::rows(lse, attention.heads, parts));
    cx.zigzag(parts, |thread, part| {
        let (mut o, mut lse) = (o.part(part), lse.part(part));
        let mut work = work.part(thread);
        let work = work.row(thread);
        cx.engine.isa.dispatch(Many { shape, q, kv, o: &mut o, lse: &mut lse, work });
    });
}

/// One part of many tokens, all heads.
struct Many<'a, 'p> {
    shape: Shape,
    q: &'a [f32],
    kv: [Rows<'a>; 2],
    o: &'a mut Part<'p, f32>,
    lse: &'a mut Part<'p, f32>,
    work: &'a mut [f32],
}

impl Kernel for Many<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for kv_head in 0..self.shape.attention.kv_heads {
            self.kv_head(s, kv_head);
        }
    }
}

impl Many<'_, '_> {
    /// All queries of the part that read one key-value head.
    #[inline(always)]
    fn kv_head<S: Simd>(&mut self, s: S, kv_head: usize) {
        let shape = self.shape;
        let (width, tokens) = (shape.width, self.o.rows());
        let count = tokens.len();
        let (keys, rest) = self.work.split_at_mut(packed_len(width, BLOCK));
        let (values, rest) = rest.split_at_mut(packed_len(BLOCK, width));
        let (rows, rest) = rest.split_at_mut(BLOCK * width);
        let (scores, rest) = rest.split_at_mut(count * BLOCK);
        let (sums, rest) = rest.split_at_mut(shape.group() * count * width);
        // Per query: the largest score so far, and the sum of exponentials below it.
        let stats = &mut rest[..shape.group() * count * 2];
        sums.fill(0.0);
        for stats in stats.chunks_exact_mut(2) {
            stats.copy_from_slice(&[f32::NEG_INFINITY, 0.0]);
        }
        for block in shape.blocks(&tokens) {
            let key_rows = self.kv[0].view(s, &shape, kv_head, &block, rows);
            pack_transposed::<S, _>(width, block.len(), |j| key_rows.row(j), keys);
            let value_rows = self.kv[1].view(s, &shape, kv_head, &block, rows);
            pack(s, block.len(), width, |j| value_rows.row(j), values);
            let seeing = shape.seeing(&tokens, &block);
            for i in 0..shape.group() {
                let head = kv_head * shape.group() + i;
                let at = i * count + seeing.start - tokens.start;
                let q = &self.q[seeing.start * shape.cols() + head * width..];
                let columns = block.len();
                product(
                    s,
                    (q, shape.cols()),
                    seeing.len(),
                    (keys, width),
                    (scores, BLOCK),
                    columns,
                    Into::Store,
                );
                for (r, token) in seeing.clone().enumerate() {
                    let row = &mut scores[r * BLOCK..][..columns];
                    let stats = &mut stats[(at + r) * 2..][..2];
                    let seen = shape.seen(token, &block);
                    let shrink = soften(s, row, seen, shape.attention.scale, stats);
                    scale(s, shrink, &mut sums[(at + r) * width..][..width]);
                }
                let sums = &mut sums[at * width..];
                product(
                    s,
                    (scores, BLOCK),
                    seeing.len(),
                    (values, columns),
                    (sums, width),
                    width,
                    Into::Add,
                );
            }
        }
        for (r, token) in tokens.enumerate() {
            let first = kv_head * shape.group();
            for i in 0..shape.group() {
                let at = i * count + r;
                let (most, total) = (stats[2 * at], stats[2 * at + 1]);
                let o = &mut self.o.row(token)[(first + i) * width..][..width];
                o.copy_from_slice(&sums[at * width..][..width]);
                scale(s, 1.0 / total, o);
                self.lse.row(token)[first + i] = most + total.ln();
            }
        }
    }
}

/// One head of the rows of a block.
#[derive(Clone, Copy)]
struct View<'a> {
    data: &'a [f32],
    stride: usize,
    width: usize,
}

impl<'a> View<'a> {
    #[inline(always)]
    fn row(&self, j: usize) -> &'a [f32] {
        &self.data[j * self.stride..][..self.width]
    }
}

impl<'a> Rows<'a> {
    /// One head of a block: in place, or as f32 in `buffer`.
    #[inline(always)]
    fn view<'b, S: Simd>(
        self,
        s: S,
        shape: &Shape,
        kv_head: usize,
        block: &Range<usize>,
        buffer: &'b mut [f32],
    ) -> View<'b>
    where
        'a: 'b,
    {
        let (width, cols) = (shape.width, shape.kv_cols());
        let first = block.start * cols + kv_head * width;
        match self {
            Rows::F32(rows) => View { data: &rows[first..], stride: cols, width },
            Rows::F16(rows) => {
                let from = rows[first..].chunks(cols);
                for (from, to) in from.zip(buffer.chunks_exact_mut(width)).take(block.len()) {
                    for i in (0..width).step_by(S::LANES) {
                        put(s, get_f16(s, &from[..width], i), to, i);
                    }
                }
                View { data: buffer, stride: width, width }
            }
        }
    }
}

/// The vector at `i`; 0 beyond the end.
#[inline(always)]
fn get_f16<S: Simd>(s: S, from: &[f16], i: usize) -> S::F32 {
    if let Some(whole) = from.get(i..i + S::LANES) {
        return s.load_f16(whole);
    }
    let mut padded = [f16::ZERO; 16];
    padded[..from.len() - i].copy_from_slice(&from[i..]);
    s.load_f16(&padded)
}

/// Scores of one query to exponentials below its largest so far, in place; what it does not see
/// to 0. Updates the largest and the sum; yields by how much earlier sums shrink.
#[inline(always)]
fn soften<S: Simd>(
    s: S,
    row: &mut [f32],
    seen: Range<usize>,
    scale: f32,
    stats: &mut [f32],
) -> f32 {
    row[..seen.start].fill(0.0);
    row[seen.end..].fill(0.0);
    let row = &mut row[seen];
    let mut most = stats[0];
    let mut largest = s.splat(f32::NEG_INFINITY);
    let whole = row.len() / S::LANES * S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        let scaled = s.mul(s.load(&row[i..]), s.splat(scale));
        s.store(scaled, &mut row[i..]);
        largest = s.max(largest, scaled);
    }
    most = most.max(s.max_lane(largest));
    for value in &mut row[whole..] {
        *value *= scale;
        most = most.max(*value);
    }
    let mut sum = 0.0;
    for i in (0..row.len()).step_by(S::LANES) {
        let e = exp(s, s.sub(get(s, row, i), s.splat(most)));
        put(s, e, row, i);
    }
    for i in (0..row.len()).step_by(S::LANES) {
        sum += s.sum(get(s, row, i));
    }
    let shrink = (stats[0] - most).exp();
    stats[0] = most;
    stats[1] = stats[1] * shrink + sum;
    shrink
}

#[inline(always)]
fn scale<S: Simd>(s: S, factor: f32, row: &mut [f32]) {
    if factor != 1.0 {
        for i in (0..row.len()).step_by(S::LANES) {
            put(s, s.mul(get(s, row, i), s.splat(factor)), row, i);
        }
    }
}

/// Few queries: heads are divided among the threads, keys and values read where they lie.
fn few(
    cx: &Cx<'_>,
    shape: &Shape,
    q: &[f32],
    [keys, values]: [Rows<'_>; 2],
    [o, lse]: [&mut [f32]; 2],
) {
    let (heads, width, cols) = (shape.attention.heads, shape.width, shape.cols());
    let work = (shape.pos + shape.tokens) * cols * 2;
    let parts = cx.parts(work, heads);
    let o = Split::columns(o, cols, parts, width);
    let lse = Split::columns(lse, heads, parts, 1);
    cx.each_part(parts, |i| {
        let (mut o, mut lse) = (o.part(i), lse.part(i));
        for token in 0..shape.tokens {
            let outs = o.row(token).chunks_exact_mut(width).zip(lse.row(token));
            for (head, (o, lse)) in lse_heads(shape, parts, i).zip(outs) {
                let position = shape.pos + token;
                *lse = cx.engine.isa.dispatch(Query {
                    q: &q[token * cols + head * width..][..width],
                    keys,
                    values,
                    seen: shape.attention.first_seen(position)..position + 1,
                    stride: shape.kv_cols(),
                    first: shape.attention.kv_head(head) * width,
                    scale: shape.attention.scale,
                    o,
                });
            }
        }
    });
}

/// The heads of a part.
fn lse_heads(shape: &Shape, parts: usize, part: usize) -> Range<usize> {
    super::pool::share(shape.attention.heads, 1, part, parts)
}

/// One head of one token.
struct Query<'a> {
    q: &'a [f32],
    keys: Rows<'a>,
    values: Rows<'a>,
    seen: Range<usize>,
    stride: usize,
    first: usize,
    scale: f32,
    o: &'a mut [f32],
}

impl Kernel for Query<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let width = self.q.len();
        let at = |j: usize| j * self.stride + self.first..j * self.stride + self.first + width;
        let mut stats = [f32::NEG_INFINITY, 0.0];
        self.o.fill(0.0);
        let mut start = self.seen.start;
        while start < self.seen.end {
            let block = start..((start / BLOCK + 1) * BLOCK).min(self.seen.end);
            let mut scores = [0.0; BLOCK];
            for (j, score) in block.clone().zip(&mut scores) {
                *score = match self.keys {
                    Rows::F32(rows) => dot(s, self.q, &rows[at(j)]),
                    Rows::F16(rows) => dot_f16(s, self.q, &rows[at(j)]),
                };
            }
            let scores = &mut scores[..block.len()];
            let shrink = soften(s, scores, 0..block.len(), self.scale, &mut stats);
            scale(s, shrink, self.o);
            for (j, &weight) in block.clone().zip(&*scores) {
                match self.values {
                    Rows::F32(rows) => axpy(s, weight, &rows[at(j)], self.o),
                    Rows::F16(rows) => axpy_f16(s, weight, &rows[at(j)], self.o),
                }
            }
            start = block.end;
        }
        scale(s, 1.0 / stats[1], self.o);
        stats[0] + stats[1].ln()
    }
}

#[inline(always)]
fn dot_f16<S: Simd>(s: S, a: &[f32], b: &[f16]) -> f32 {
    let mut sum = s.zero();
    for i in (0..a.len()).step_by(S::LANES) {
        sum = s.fma(get(s, a, i), get_f16(s, b, i), sum);
    }
    s.sum(sum)
}

#[inline(always)]
fn axpy_f16<S: Simd>(s: S, a: f32, x: &[f16], y: &mut [f32]) {
    for i in (0..y.len()).step_by(S::LANES) {
        put(s, s.fma(s.splat(a), get_f16(s, x, i), get(s, y, i)), y, i);
    }
}
