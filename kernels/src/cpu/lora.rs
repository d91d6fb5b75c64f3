//! The low-rank pair beside a weight: thin products with one side of R columns.

use super::Cx;
use super::pool::Part;
use super::simd::math::{axpy, dot};
use super::simd::{Kernel, Simd};

/// `down (T,R) = scale x (T,I) aᵀ`, with `a (R,I)`.
pub(super) fn down(cx: &Cx<'_>, x: &[f32], a: &[f32], scale: f32, down: &mut [f32]) {
    let rank = down.len() / cx.tokens();
    cx.rows(down, rank, |y| cx.isa.dispatch(Dots { x, a, scale, y }));
}

/// `y (T,N) += left (T,R) right (R,N)`.
pub(super) fn add_product(cx: &Cx<'_>, left: &[f32], right: &[f32], y: &mut [f32]) {
    let cols = y.len() / cx.tokens();
    cx.rows(y, cols, |y| cx.isa.dispatch(Sums { left, right, y }));
}

/// `y (T,O) += down (T,R) bᵀ`, with `b (O,R)`.
pub(super) fn add_up(cx: &Cx<'_>, down: &[f32], b: &[f32], y: &mut [f32]) {
    let cols = y.len() / cx.tokens();
    cx.rows(y, cols, |y| cx.isa.dispatch(Up { down, b, y }));
}

/// `out (T,R) = scale dy (T,O) b`, with `b (O,R)`.
pub(super) fn through_b(cx: &Cx<'_>, dy: &[f32], b: &[f32], scale: f32, out: &mut [f32]) {
    let rank = out.len() / cx.tokens();
    cx.rows(out, rank, |y| cx.isa.dispatch(Through { dy, b, scale, y }));
}

/// `da (R,I) = leftᵀ x`, with `left (T,R)`, `x (T,I)`.
pub(super) fn grad_a(cx: &Cx<'_>, left: &[f32], x: &[f32], da: &mut [f32]) {
    let cols = x.len() / cx.tokens();
    let rank = left.len() / cx.tokens();
    cx.rows(da, cols, |y| cx.isa.dispatch(Outer { left, rank, x, y }));
}

/// `db (O,R) = dyᵀ right`, with `dy (T,O)`, `right (T,R)`.
pub(super) fn grad_b(cx: &Cx<'_>, dy: &[f32], right: &[f32], db: &mut [f32]) {
    let cols = dy.len() / cx.tokens();
    let rank = right.len() / cx.tokens();
    cx.rows(db, rank, |y| cx.isa.dispatch(Outer { left: dy, rank: cols, x: right, y }));
}

struct Dots<'a, 'p> {
    x: &'a [f32],
    a: &'a [f32],
    scale: f32,
    y: &'a mut Part<'p, f32>,
}

impl Kernel for Dots<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for t in self.y.rows() {
            let y = self.y.row(t);
            let cols = self.a.len() / y.len();
            let x = &self.x[t * cols..(t + 1) * cols];
            for (y, a) in y.iter_mut().zip(self.a.chunks_exact(cols)) {
                *y = dot(s, x, a) * self.scale;
            }
        }
    }
}

struct Sums<'a, 'p> {
    left: &'a [f32],
    right: &'a [f32],
    y: &'a mut Part<'p, f32>,
}

impl Kernel for Sums<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for t in self.y.rows() {
            let y = self.y.row(t);
            let rank = self.right.len() / y.len();
            let left = &self.left[t * rank..(t + 1) * rank];
            for (left, right) in left.iter().zip(self.right.chunks_exact(y.len())) {
                axpy(s, *left, right, y);
            }
        }
    }
}

struct Up<'a, 'p> {
    down: &'a [f32],
    b: &'a [f32],
    y: &'a mut Part<'p, f32>,
}

impl Kernel for Up<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for t in self.y.rows() {
            let y = self.y.row(t);
            let rank = self.b.len() / y.len();
            let down = &self.down[t * rank..(t + 1) * rank];
            for (y, b) in y.iter_mut().zip(self.b.chunks_exact(rank)) {
                *y += dot(s, down, b);
            }
        }
    }
}

struct Through<'a, 'p> {
    dy: &'a [f32],
    b: &'a [f32],
    scale: f32,
    y: &'a mut Part<'p, f32>,
}

impl Kernel for Through<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for t in self.y.rows() {
            let y = self.y.row(t);
            let cols = self.b.len() / y.len();
            y.fill(0.0);
            let dy = &self.dy[t * cols..(t + 1) * cols];
            for (dy, b) in dy.iter().zip(self.b.chunks_exact(y.len())) {
                axpy(s, dy * self.scale, b, y);
            }
        }
    }
}

/// Row i of the result: the sum over tokens of `left[t][i] x[t]`.
struct Outer<'a, 'p> {
    left: &'a [f32],
    rank: usize,
    x: &'a [f32],
    y: &'a mut Part<'p, f32>,
}

impl Kernel for Outer<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in self.y.rows() {
            let y = self.y.row(i);
            y.fill(0.0);
            for (left, x) in self.left.chunks_exact(self.rank).zip(self.x.chunks_exact(y.len())) {
                axpy(s, left[i], x, y);
            }
        }
    }
}
