//! Products of small matrices that lie in the cache: the inside of attention.

use super::lanes::{get, put};
use super::simd::tile::{VECTORS, tile};
use super::simd::{Kernel, Simd};

/// Columns of a panel: those of a register tile.
#[inline(always)]
pub(super) fn panel<S: Simd>() -> usize {
    VECTORS * S::LANES
}

/// The widest panel of any instruction set, for sizing work space at compile time.
pub(super) const PANEL_MAX: usize = VECTORS * 16;

/// f32 of `cols` columns of depth `depth`, packed, for any instruction set.
pub(super) fn packed_len(depth: usize, cols: usize) -> usize {
    depth * cols.next_multiple_of(PANEL_MAX)
}

/// Packs `b (depth, cols)`, whose row k is `row(k)`, into panels `(depth, panel)`; columns beyond
/// the last are 0.
#[inline(always)]
pub(super) fn pack<'a, S: Simd>(
    s: S,
    depth: usize,
    cols: usize,
    row: impl Fn(usize) -> &'a [f32],
    to: &mut [f32],
) {
    let width = panel::<S>();
    for k in 0..depth {
        let row = row(k);
        for (i, first) in (0..cols).step_by(width).enumerate() {
            let to = &mut to[(i * depth + k) * width..][..width];
            for v in (0..width).step_by(S::LANES) {
                let part = &row[(first + v).min(cols)..cols];
                s.store(get(s, part, 0), &mut to[v..]);
            }
        }
    }
}

/// Packs the transpose of `a (cols, depth)`, whose row j is `row(j)`: columns of the result are
/// rows of `a`.
#[inline(always)]
pub(super) fn pack_transposed<'a, S: Simd, F: Fn(usize) -> &'a [f32]>(
    depth: usize,
    cols: usize,
    row: F,
    to: &mut [f32],
) {
    let width = panel::<S>();
    for (first, to) in (0..cols).step_by(width).zip(to.chunks_exact_mut(depth * width)) {
        for j in 0..width {
            if first + j < cols {
                let row = &row(first + j)[..depth];
                for (to, value) in to.chunks_exact_mut(width).zip(row) {
                    to[j] = *value;
                }
            } else {
                to.chunks_exact_mut(width).for_each(|to| to[j] = 0.0);
            }
        }
    }
}

/// Where a product goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    Store,
    Add,
}

/// `c (rows, cols)` = or += `a (rows, depth) b`, `b` packed; `a` and `c` with the distances between
/// their rows.
#[inline(always)]
pub(super) fn product<S: Simd>(
    s: S,
    a: (&[f32], usize),
    rows: usize,
    b: (&[f32], usize),
    c: (&mut [f32], usize),
    cols: usize,
    into: Into,
) {
    // A kernel of its own: compiled once per instruction set, not once per call.
    s.vectorize(Multiply { a, rows, b, c, cols, into });
}

struct Multiply<'a> {
    a: (&'a [f32], usize),
    rows: usize,
    b: (&'a [f32], usize),
    c: (&'a mut [f32], usize),
    cols: usize,
    into: Into,
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let mut row = 0;
        while row < self.rows {
            row += match S::TILE_ROWS.min(self.rows - row) {
                8.. => self.rows::<S, 8>(s, row),
                6.. => self.rows::<S, 6>(s, row),
                4.. => self.rows::<S, 4>(s, row),
                2.. => self.rows::<S, 2>(s, row),
                _ => self.rows::<S, 1>(s, row),
            };
        }
    }
}

impl Multiply<'_> {
    /// `R` rows; yields their number.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, s: S, row: usize) -> usize {
        let width = panel::<S>();
        let a = (&self.a.0[row * self.a.1..], self.a.1);
        let (b, depth) = self.b;
        let panels = b.chunks_exact(depth * width);
        for (first, b) in (0..self.cols).step_by(width).zip(panels) {
            let sums = tile::<S, R, VECTORS>(s, a.0, a.1, b);
            let cols = width.min(self.cols - first);
            for (r, sums) in sums.into_iter().enumerate() {
                let c = &mut self.c.0[(row + r) * self.c.1 + first..][..cols];
                for (sum, at) in sums.into_iter().zip((0..cols).step_by(S::LANES)) {
                    let start = if self.into == Into::Add { get(s, c, at) } else { s.zero() };
                    put(s, s.add(sum, start), c, at);
                }
            }
        }
        R
    }
}
