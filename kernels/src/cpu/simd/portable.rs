//! Vectors as arrays: what the compiler makes of them, on any CPU.

use super::{Kernel, Simd};
use half::f16;

/// The token of plain Rust; needs no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portable;

const LANES: usize = 8;

#[inline(always)]
fn each(mut op: impl FnMut(usize) -> f32) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    for (i, y) in out.iter_mut().enumerate() {
        *y = op(i);
    }
    out
}

impl Simd for Portable {
    const LANES: usize = LANES;
    type F32 = [f32; LANES];

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F32 {
        let from = &from[..LANES];
        each(|i| from[i])
    }

    #[inline(always)]
    fn load_part(self, from: &[f32]) -> Self::F32 {
        each(|i| from.get(i).copied().unwrap_or(0.0))
    }

    #[inline(always)]
    fn store(self, vector: Self::F32, to: &mut [f32]) {
        to[..LANES].copy_from_slice(&vector);
    }

    #[inline(always)]
    fn store_part(self, vector: Self::F32, to: &mut [f32]) {
        for (y, x) in to.iter_mut().zip(vector) {
            *y = x;
        }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> Self::F32 {
        let from = &from[..LANES];
        each(|i| from[i].to_f32())
    }

    #[inline(always)]
    fn store_f16(self, vector: Self::F32, to: &mut [f16]) {
        for (y, x) in to[..LANES].iter_mut().zip(vector) {
            *y = f16::from_f32(x);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        each(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        each(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        each(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        // Not `mul_add`: without the instruction that is a slow library call.
        each(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn sqrt(self, a: Self::F32) -> Self::F32 {
        each(|i| a[i].sqrt())
    }

    #[inline(always)]
    fn round(self, a: Self::F32) -> Self::F32 {
        // Adding and taking off 1.5 × 2²³ leaves the integer nearest to a value below 2²²; larger
        // ones are rare enough for the library.
        const SHIFT: f32 = 12_582_912.0;
        each(|i| if a[i].abs() < 4e6 { a[i] + SHIFT - SHIFT } else { a[i].round_ties_even() })
    }

    #[inline(always)]
    fn select_lt(self, a: Self::F32, b: Self::F32, yes: Self::F32, no: Self::F32) -> Self::F32 {
        each(|i| if a[i] < b[i] { yes[i] } else { no[i] })
    }

    #[inline(always)]
    fn exp2_int(self, n: Self::F32) -> Self::F32 {
        each(|i| f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    fn sum(self, a: Self::F32) -> f32 {
        let quad = [a[0] + a[4], a[1] + a[5], a[2] + a[6], a[3] + a[7]];
        (quad[0] + quad[2]) + (quad[1] + quad[3])
    }

    #[inline(always)]
    fn max_lane(self, a: Self::F32) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
