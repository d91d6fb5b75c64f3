//! F32, F16, BF16: widened to f32 and multiplied with f32 activations.

use super::blocks::{ROWS, at, cut};
use crate::cpu::simd::Simd;
use half::{bf16, f16};

/// A float of memory.
pub(crate) trait Float {
    const BYTES: usize;

    /// The first lanes of the bytes.
    fn load<S: Simd>(s: S, bytes: &[u8]) -> S::F32;

    /// The first value of the bytes.
    fn one(bytes: &[u8]) -> f32;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct BF16;

impl Float for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    fn load<S: Simd>(s: S, bytes: &[u8]) -> S::F32 {
        s.load_f32_bytes(bytes)
    }

    fn one(bytes: &[u8]) -> f32 {
        f32::from_le_bytes(*at(bytes, 0))
    }
}

impl Float for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn load<S: Simd>(s: S, bytes: &[u8]) -> S::F32 {
        s.load_f16_bytes(bytes)
    }

    fn one(bytes: &[u8]) -> f32 {
        f16::from_le_bytes(*at(bytes, 0)).to_f32()
    }
}

impl Float for BF16 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn load<S: Simd>(s: S, bytes: &[u8]) -> S::F32 {
        s.load_bf16_bytes(bytes)
    }

    fn one(bytes: &[u8]) -> f32 {
        bf16::from_le_bytes(*at(bytes, 0)).to_f32()
    }
}

/// Dot products of rows with activations; two running vectors a row.
#[inline(always)]
pub(super) fn dot<S: Simd, F: Float>(s: S, rows: [&[u8]; ROWS], x: &[f32]) -> [f32; ROWS] {
    let rows = cut(rows, 0, x.len() * F::BYTES);
    let mut sums = [[s.zero(); 2]; ROWS];
    let step = 2 * S::LANES;
    let whole = x.len() / step * step;
    for (i, x) in x.chunks_exact(step).enumerate() {
        let (x0, x1) = (s.load(x), s.load(&x[S::LANES..]));
        for (sum, row) in sums.iter_mut().zip(rows) {
            let bytes = &row[i * step * F::BYTES..][..step * F::BYTES];
            sum[0] = s.fma(F::load(s, bytes), x0, sum[0]);
            sum[1] = s.fma(F::load(s, &bytes[S::LANES * F::BYTES..]), x1, sum[1]);
        }
    }
    let mut out = [0.0; ROWS];
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = s.sum(s.add(sum[0], sum[1]));
    }
    for (i, x) in x.iter().enumerate().skip(whole) {
        for (sum, row) in out.iter_mut().zip(rows) {
            *sum += F::one(&row[i * F::BYTES..]) * x;
        }
    }
    out
}

/// Values of a row from column `start` on.
#[inline(always)]
pub(super) fn expand<S: Simd, F: Float>(s: S, row: &[u8], start: usize, to: &mut [f32]) {
    let row = &row[start * F::BYTES..][..to.len() * F::BYTES];
    let mut bytes = row.chunks_exact(S::LANES * F::BYTES);
    let mut values = to.chunks_exact_mut(S::LANES);
    for (bytes, to) in (&mut bytes).zip(&mut values) {
        s.store(F::load(s, bytes), to);
    }
    let rest = bytes.remainder().chunks_exact(F::BYTES);
    for (bytes, to) in rest.zip(values.into_remainder()) {
        *to = F::one(bytes);
    }
}
