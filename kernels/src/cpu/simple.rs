//! Linears by the definition: a row of the weight at a time.

use super::pool::{Part, Split};
use super::simd::math::{axpy, dot};
use super::simd::{Kernel, Simd};
use super::{Cx, WeightView};

/// `y (N,O) = x (N,I) Wᵀ`.
pub(super) fn linear(cx: &Cx<'_>, x: &[f32], w: &WeightView<'_>, y: &mut [f32]) {
    let parts = cx.threads().min(w.rows);
    let y = Split::columns(y, w.rows, parts, 1);
    cx.each_part(parts, |i| {
        let mut y = y.part(i);
        let mut row = vec![0.0; w.cols];
        for o in y.cols() {
            w.dequantize_row(o, &mut row);
            cx.isa.dispatch(Dots { x, row: &row, o, y: &mut y });
        }
    });
}

struct Dots<'a, 'p> {
    x: &'a [f32],
    row: &'a [f32],
    o: usize,
    y: &'a mut Part<'p, f32>,
}

impl Kernel for Dots<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let at = self.o - self.y.cols().start;
        for (t, x) in self.x.chunks_exact(self.row.len()).enumerate() {
            self.y.row(t)[at] = dot(s, x, self.row);
        }
    }
}

/// `dx (N,I) += dy (N,O) W`.
pub(super) fn linear_grad(cx: &Cx<'_>, dy: &[f32], w: &WeightView<'_>, dx: &mut [f32]) {
    let rows = dx.len() / w.cols;
    let parts = cx.threads().min(rows);
    let dx = Split::rows(dx, w.cols, parts);
    cx.each_part(parts, |i| {
        let mut dx = dx.part(i);
        let mut row = vec![0.0; w.cols];
        for o in 0..w.rows {
            w.dequantize_row(o, &mut row);
            cx.isa.dispatch(Sums { dy, rows: w.rows, row: &row, o, dx: &mut dx });
        }
    });
}

struct Sums<'a, 'p> {
    dy: &'a [f32],
    rows: usize,
    row: &'a [f32],
    o: usize,
    dx: &'a mut Part<'p, f32>,
}

impl Kernel for Sums<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for t in self.dx.rows() {
            axpy(s, self.dy[t * self.rows + self.o], self.row, self.dx.row(t));
        }
    }
}
