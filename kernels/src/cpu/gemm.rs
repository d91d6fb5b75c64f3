//! Matrix multiplication: C (M, N) = A (M, K) B (K, N) in f32, where B may be a quantized weight.
//!
//! B is packed in panels of at most [`PANEL_COLS`] columns by [`DEPTH`] rows, dequantized on the
//! fly: a panel stays in the second-level cache and is used for all rows of A. A worker owns
//! whole columns (or rows) of C and packs its own panels, so that nothing is shared and no order
//! depends on timing. An element of C is a sum over k in order, in blocks of [`DEPTH`]: it depends
//! neither on the number of threads nor on M and N.

use super::dot::Dequantize;
use super::isa::Isa;
use super::pool::{Part, Pool, Split};
use super::simd::tile::{VECTORS, tile};
use super::simd::{Kernel, Simd};
use super::weight::Weight;
use std::ops::Range;

/// Rows of B in a panel: the depth of a tile. A multiple of every block's length.
const DEPTH: usize = 256;
/// Columns of B in a panel, at most.
const PANEL_COLS: usize = 128;
/// Rows of A that are packed at once.
const BLOCK_ROWS: usize = 512;
/// Columns of the widest tile.
const LINES: usize = 32;
/// Packed rows of A start this far apart: not at the same place of every memory page, or they
/// would compete for the same lines of the cache.
const STRIDE: usize = DEPTH + 16;
/// Floats of a memory page.
const PAGE: usize = 1024;

/// A matrix in memory whose rows or columns are contiguous.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// (rows, cols), row by row.
    pub(super) fn new(data: &'a [f32], cols: usize) -> Matrix<'a> {
        Matrix { data, row_stride: cols, col_stride: 1 }
    }

    pub(super) fn transposed(self) -> Matrix<'a> {
        Matrix { row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// Where B comes from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Matrix(Matrix<'a>),
    /// B is the weight: K = O, N = I.
    Weight(Weight<'a>),
    /// B is the weight transposed: K = I, N = O.
    Transposed(Weight<'a>),
}

/// What C is before the product is added.
#[derive(Clone, Copy)]
pub(super) enum Start<'a> {
    Zero,
    /// A row (N) that all rows of C start from.
    Bias(&'a [f32]),
    /// What C holds.
    Add,
}

/// Floats of scratch that [`Multiply`] needs for `rows` rows of C.
pub(super) fn scratch_floats(rows: usize) -> usize {
    rows.min(BLOCK_ROWS) * STRIDE + PANEL_COLS * DEPTH + LINES * STRIDE
}

/// One worker's part of a product.
pub(super) struct Product<'a> {
    pub(super) a: Matrix<'a>,
    pub(super) b: Source<'a>,
    pub(super) depth: usize,
    pub(super) scale: f32,
    pub(super) start: Start<'a>,
}

#[inline(always)]
fn multiply<S: Simd>(s: S, product: &Product<'_>, c: &mut Part<'_, f32>, scratch: &mut [f32]) {
    let (rows, cols) = (c.rows(), c.cols());
    let (packed_a, rest) = scratch.split_at_mut(rows.len().min(BLOCK_ROWS) * STRIDE);
    let (panel, block) = rest.split_at_mut(PANEL_COLS * DEPTH);
    for first_row in rows.clone().step_by(BLOCK_ROWS) {
        let rows = first_row..rows.end.min(first_row + BLOCK_ROWS);
        for first_k in (0..product.depth).step_by(DEPTH) {
            let ks = first_k..product.depth.min(first_k + DEPTH);
            let a = rows_of_a(&product.a, rows.clone(), ks.clone(), packed_a);
            for first_col in cols.clone().step_by(PANEL_COLS) {
                let panel_cols = first_col..cols.end.min(first_col + PANEL_COLS);
                pack_b(s, &product.b, ks.clone(), panel_cols.clone(), panel, block);
                let from = if first_k == 0 { product.start } else { Start::Add };
                let offset = cols.start;
                let put = Put { scale: product.scale, start: from, cols: panel_cols, offset };
                panel_product(s, a, panel, ks.len(), rows.clone(), &put, c);
            }
        }
    }
}

/// Rows `rows` and columns `ks` of A with the distance between rows: as they lie, if that is row by
/// row and not at the same place of every page, or else packed.
fn rows_of_a<'a>(
    a: &Matrix<'a>,
    rows: Range<usize>,
    ks: Range<usize>,
    to: &'a mut [f32],
) -> (&'a [f32], usize) {
    if a.col_stride == 1 && !a.row_stride.is_multiple_of(PAGE) {
        return (&a.data[rows.start * a.row_stride + ks.start..], a.row_stride);
    }
    for (row, to) in rows.zip(to.chunks_exact_mut(STRIDE)) {
        let from = &a.data[row * a.row_stride + ks.start * a.col_stride..];
        if a.col_stride == 1 {
            to[..ks.len()].copy_from_slice(&from[..ks.len()]);
        } else {
            for (y, x) in to[..ks.len()].iter_mut().zip(from.iter().step_by(a.col_stride)) {
                *y = *x;
            }
        }
    }
    (to, STRIDE)
}

/// Packs rows `ks` and columns `cols` of B as (tiles of columns, depth, columns of a tile), with
/// zeros beyond the last column. `block` holds the values of rows of a weight on the way.
#[inline(always)]
fn pack_b<S: Simd>(
    s: S,
    b: &Source<'_>,
    ks: Range<usize>,
    cols: Range<usize>,
    to: &mut [f32],
    block: &mut [f32],
) {
    let width = VECTORS * S::LANES;
    let depth = ks.len();
    match b {
        Source::Matrix(b) => {
            for (first, to) in cols.clone().step_by(width).zip(to.chunks_exact_mut(depth * width)) {
                let count = width.min(cols.end - first);
                for (k, to) in ks.clone().zip(to.chunks_exact_mut(width)) {
                    let from = &b.data[k * b.row_stride + first * b.col_stride..];
                    to[count..].fill(0.0);
                    if b.col_stride == 1 {
                        to[..count].copy_from_slice(&from[..count]);
                        continue;
                    }
                    for (y, x) in to[..count].iter_mut().zip(from.iter().step_by(b.col_stride)) {
                        *y = *x;
                    }
                }
            }
        }
        Source::Weight(weight) => {
            let lines = block.len().min(cols.len().next_multiple_of(width));
            let line = &mut block[..lines];
            line[cols.len()..].fill(0.0);
            for (i, k) in ks.enumerate() {
                let (quant, row) = (weight.quant, weight.row(k));
                let to_line = &mut line[..cols.len()];
                s.vectorize(Dequantize { quant, row, cols: cols.clone(), to: to_line });
                let tiles = to.chunks_exact_mut(depth * width);
                for (from, to) in line.chunks_exact(width).zip(tiles) {
                    to[i * width..][..width].copy_from_slice(from);
                }
            }
        }
        Source::Transposed(weight) => {
            for (first, to) in cols.clone().step_by(width).zip(to.chunks_exact_mut(depth * width)) {
                let count = width.min(cols.end - first);
                let lines = block.chunks_exact_mut(STRIDE);
                for (row, line) in (first..first + count).zip(lines) {
                    let (quant, row) = (weight.quant, weight.row(row));
                    let to = &mut line[..depth];
                    s.vectorize(Dequantize { quant, row, cols: ks.clone(), to });
                }
                block[count * STRIDE..width * STRIDE].fill(0.0);
                transpose(s, block, depth, to);
            }
        }
    }
}

/// Rows of a tile's width, [`STRIDE`] apart, into (depth, width).
#[inline(always)]
fn transpose<S: Simd>(s: S, from: &[f32], depth: usize, to: &mut [f32]) {
    let width = VECTORS * S::LANES;
    let squares = depth / S::LANES * S::LANES;
    for k in (0..squares).step_by(S::LANES) {
        for col in (0..width).step_by(S::LANES) {
            s.transpose(&from[col * STRIDE + k..], STRIDE, &mut to[k * width + col..], width);
        }
    }
    for k in squares..depth {
        for (y, row) in to[k * width..][..width].iter_mut().zip(from.chunks(STRIDE)) {
            *y = row[k];
        }
    }
}

/// Where and how a panel's products go into C.
struct Put<'a> {
    scale: f32,
    start: Start<'a>,
    cols: Range<usize>,
    /// The first column of C's part.
    offset: usize,
}

/// Rows of A, with the distance between them, times a panel.
#[inline(always)]
fn panel_product<S: Simd>(
    s: S,
    (a, stride): (&[f32], usize),
    panel: &[f32],
    depth: usize,
    rows: Range<usize>,
    put: &Put<'_>,
    c: &mut Part<'_, f32>,
) {
    let width = VECTORS * S::LANES;
    let mut row = rows.start;
    while row < rows.end {
        let a = (&a[(row - rows.start) * stride..], stride);
        let count = S::TILE_ROWS.min(rows.end - row);
        for (i, b) in panel.chunks_exact(depth * width).enumerate() {
            let first = put.cols.start + i * width;
            if first >= put.cols.end {
                break;
            }
            let cols = first..put.cols.end.min(first + width);
            match count {
                8.. if S::TILE_ROWS >= 8 => put_tile::<S, 8>(s, a, b, row, cols, put, c),
                6.. if S::TILE_ROWS >= 6 => put_tile::<S, 6>(s, a, b, row, cols, put, c),
                4.. if S::TILE_ROWS >= 4 => put_tile::<S, 4>(s, a, b, row, cols, put, c),
                2.. => put_tile::<S, 2>(s, a, b, row, cols, put, c),
                _ => put_tile::<S, 1>(s, a, b, row, cols, put, c),
            }
        }
        row += match count {
            8.. => 8,
            6.. => 6,
            4.. => 4,
            2.. => 2,
            _ => 1,
        };
    }
}

#[inline(always)]
fn put_tile<S: Simd, const R: usize>(
    s: S,
    a: (&[f32], usize),
    b: &[f32],
    row: usize,
    cols: Range<usize>,
    put: &Put<'_>,
    c: &mut Part<'_, f32>,
) {
    // The columns of a LoRA pair are few.
    if cols.len() <= S::LANES {
        put_sums(s, tile::<S, R, 1>(s, a.0, a.1, b), row, cols, put, c);
    } else {
        put_sums(s, tile::<S, R, VECTORS>(s, a.0, a.1, b), row, cols, put, c);
    }
}

#[inline(always)]
fn put_sums<S: Simd, const R: usize, const V: usize>(
    s: S,
    sums: [[S::F32; V]; R],
    row: usize,
    cols: Range<usize>,
    put: &Put<'_>,
    c: &mut Part<'_, f32>,
) {
    let scale = s.splat(put.scale);
    for (r, sums) in sums.into_iter().enumerate() {
        let c = &mut c.row(row + r)[cols.start - put.offset..cols.end - put.offset];
        for (v, (sum, c)) in sums.into_iter().zip(c.chunks_mut(S::LANES)).enumerate() {
            let start = match put.start {
                Start::Zero => s.zero(),
                Start::Bias(bias) => {
                    let from = cols.start + v * S::LANES;
                    s.load_part(&bias[from..cols.end.min(from + S::LANES)])
                }
                Start::Add => s.load_part(c),
            };
            s.store_part(s.fma(sum, scale, start), c);
        }
    }
}

/// C's part = start + scale A B: run by every worker on its part of C.
pub(super) struct Multiply<'a, 'b, 'c> {
    pub(super) product: &'a Product<'b>,
    pub(super) c: &'a mut Part<'c, f32>,
    pub(super) scratch: &'a mut [f32],
}

impl Kernel for Multiply<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        multiply(s, self.product, self.c, self.scratch);
    }
}

/// Floats of scratch that [`nt`], [`nn`] and [`tn`] need for an (M, N) result.
pub fn gemm_floats(threads: usize, m: usize) -> usize {
    threads * scratch_floats(m)
}

/// C (M, N) = scale A (M, K) B (N, K)ᵀ.
///
/// # Panics
/// If a matrix does not have its size, or `scratch` is shorter than [`gemm_floats`].
pub fn nt(
    engine: Engine<'_>,
    [m, n, k]: [usize; 3],
    scale: f32,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    scratch: &mut [f32],
) {
    let (a, b) = (Matrix::new(a, k), Matrix::new(b, k).transposed());
    gemm(engine, [m, n, k], scale, a, b, c, scratch);
}

/// C (M, N) = scale A (M, K) B (K, N). Panics as [`nt`].
pub fn nn(
    engine: Engine<'_>,
    [m, n, k]: [usize; 3],
    scale: f32,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    scratch: &mut [f32],
) {
    gemm(engine, [m, n, k], scale, Matrix::new(a, k), Matrix::new(b, n), c, scratch);
}

/// C (M, N) = scale A (K, M)ᵀ B (K, N). Panics as [`nt`].
pub fn tn(
    engine: Engine<'_>,
    [m, n, k]: [usize; 3],
    scale: f32,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    scratch: &mut [f32],
) {
    gemm(engine, [m, n, k], scale, Matrix::new(a, m).transposed(), Matrix::new(b, n), c, scratch);
}

/// The threads and the instruction set that kernels run on.
#[derive(Clone, Copy)]
pub struct Engine<'a> {
    /// The threads.
    pub pool: &'a Pool,
    /// The instruction set.
    pub isa: Isa,
}

fn gemm(
    engine: Engine<'_>,
    [m, n, k]: [usize; 3],
    scale: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: &mut [f32],
    scratch: &mut [f32],
) {
    assert_eq!([a.data.len(), b.data.len(), c.len()], [m * k, k * n, m * n], "{m} × {n} × {k}");
    let threads = engine.pool.threads();
    let product = Product { a, b: Source::Matrix(b), depth: k, scale, start: Start::Zero };
    if k == 0 {
        return c.fill(0.0);
    }
    let scratch_cols = scratch_floats(m);
    let scratch = Split::rows(&mut scratch[..threads * scratch_cols], scratch_cols, threads);
    let c = if m > n { Split::rows(c, n, threads) } else { Split::columns(c, n, threads, 16) };
    engine.pool.run(|worker| {
        let (mut c, mut scratch) = (c.part(worker.index()), scratch.part(worker.index()));
        let scratch = scratch.row(worker.index());
        engine.isa.dispatch(Multiply { product: &product, c: &mut c, scratch });
    });
}

#[cfg(test)]
mod tests;
