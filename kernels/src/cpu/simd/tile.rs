//! The register tile of matrix multiplication.

use super::Simd;

/// Vectors across a tile: a tile is some rows by `VECTORS * LANES` columns.
pub const VECTORS: usize = 2;

/// The product of `R` rows of `a` (the first at 0, each `stride` after the last) with the first `V`
/// vectors across `b`, packed as (depth, columns of a tile): the sums of `a[r][k] b[k][·]`, k in
/// order, starting from 0.
///
/// # Panics
/// If `a` is too short for that.
#[inline(always)]
pub fn tile<S: Simd, const R: usize, const V: usize>(
    s: S,
    a: &[f32],
    stride: usize,
    b: &[f32],
) -> [[S::F32; V]; R] {
    let width = VECTORS * S::LANES;
    let depth = b.len() / width;
    assert!(R > 0 && (R - 1) * stride + depth <= a.len());
    let mut sums = [[s.zero(); V]; R];
    for (k, b) in b.chunks_exact(width).enumerate() {
        let b: [S::F32; V] = std::array::from_fn(|v| s.load(&b[v * S::LANES..]));
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: r < R and k < depth, and the assertion covers the greatest of both.
            let a = s.splat(unsafe { *a.get_unchecked(r * stride + k) });
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = s.fma(a, b, *sum);
            }
        }
    }
    sums
}
