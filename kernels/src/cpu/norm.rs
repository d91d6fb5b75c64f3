//! Root-mean-square norm (arXiv 1910.07467), over whole rows or over heads.

use super::cx::Cx;
use super::lanes::{get, put};
use super::pool::Part;
use super::simd::math::dot;
use super::simd::{Kernel, Simd};

/// `y (T,N)` from `x (T,N)` and `w (1,group)`; without `x`, `y` holds it.
pub(super) fn rms_norm(cx: &Cx<'_>, x: Option<&[f32]>, w: &[f32], eps: f32, y: &mut [f32]) {
    let cols = y.len() / cx.tokens();
    cx.rows(y, cols, |y| cx.engine.isa.dispatch(Forward { x, w, eps, y }));
}

/// `dx (T,N)` from `x`, `w` and `dy`; without `dy`, `dx` holds it.
pub(super) fn rms_norm_grad(
    cx: &Cx<'_>,
    (x, w): (&[f32], &[f32]),
    dy: Option<&[f32]>,
    eps: f32,
    dx: &mut [f32],
) {
    let cols = dx.len() / cx.tokens();
    cx.rows(dx, cols, |dx| cx.engine.isa.dispatch(Backward { x, w, dy, eps, dx }));
}

/// One row, in place.
#[inline(always)]
pub(super) fn norm_row<S: Simd>(s: S, w: &[f32], eps: f32, row: &mut [f32]) {
    for group in row.chunks_exact_mut(w.len()) {
        let r = s.splat(inverse_rms(s, group, eps));
        for i in (0..group.len()).step_by(S::LANES) {
            let y = s.mul(s.mul(get(s, group, i), r), get(s, w, i));
            put(s, y, group, i);
        }
    }
}

#[inline(always)]
fn inverse_rms<S: Simd>(s: S, group: &[f32], eps: f32) -> f32 {
    1.0 / (dot(s, group, group) / group.len() as f32 + eps).sqrt()
}

struct Forward<'a, 'p> {
    x: Option<&'a [f32]>,
    w: &'a [f32],
    eps: f32,
    y: &'a mut Part<'p, f32>,
}

impl Kernel for Forward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for t in self.y.rows() {
            let y = self.y.row(t);
            if let Some(x) = self.x {
                y.copy_from_slice(&x[t * y.len()..][..y.len()]);
            }
            norm_row(s, self.w, self.eps, y);
        }
    }
}

struct Backward<'a, 'p> {
    x: &'a [f32],
    w: &'a [f32],
    dy: Option<&'a [f32]>,
    eps: f32,
    dx: &'a mut Part<'p, f32>,
}

impl Kernel for Backward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (w, group) = (self.w, self.w.len());
        for t in self.dx.rows() {
            let dx = self.dx.row(t);
            let row = t * dx.len()..(t + 1) * dx.len();
            if let Some(dy) = self.dy {
                dx.copy_from_slice(&dy[row.clone()]);
            }
            let groups = self.x[row].chunks_exact(group).zip(dx.chunks_exact_mut(group));
            for (x, dx) in groups {
                let r = inverse_rms(s, x, self.eps);
                let mut sum = s.zero();
                for i in (0..group).step_by(S::LANES) {
                    let scaled = s.mul(get(s, dx, i), get(s, w, i));
                    put(s, scaled, dx, i);
                    sum = s.fma(scaled, get(s, x, i), sum);
                }
                let pull = s.splat(-r * r * r * s.sum(sum) / group as f32);
                let r = s.splat(r);
                for i in (0..group).step_by(S::LANES) {
                    let moved = s.fma(get(s, x, i), pull, s.mul(get(s, dx, i), r));
                    put(s, moved, dx, i);
                }
            }
        }
    }
}
