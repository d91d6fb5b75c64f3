//! Vectors of f32, written once for every instruction set.
//!
//! A type that implements [`Simd`] is a token: a zero-sized value that can only be made on a CPU
//! that has its instructions (`Avx2::new() -> Option<Avx2>`). Whoever holds the token may compute,
//! so that all arithmetic here is safe to call; the few raw loads and stores are behind slices.
//! (The idea is that of the rten and memchr crates.)
//!
//! An algorithm is a [`Kernel`]: a struct of its arguments with one generic `run`. To be compiled
//! for the instruction set, `run` and every generic function that it calls must be
//! `#[inline(always)]`: they are inlined into [`Simd::vectorize`], the one function that has the
//! target features switched on. A closure cannot be marked so: don't put vectors into one. The
//! trampoline is also the unit of code size: what is called from several
//! places, or is large, becomes a kernel of its own and is called through `vectorize` again.

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
pub mod bytes;
pub mod math;
#[cfg(target_arch = "aarch64")]
pub mod neon;
pub mod portable;
pub mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

use half::f16;

/// An algorithm over f32 vectors: run it with [`super::isa::Isa::dispatch`].
pub trait Kernel {
    /// What it returns.
    type Output;

    /// The algorithm. Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set's f32 vectors.
///
/// Slices passed to `load` and `store` are at least [`Simd::LANES`] long (else they panic); those
/// passed to `load_part` and `store_part` may be shorter. Sums across lanes have a fixed order for
/// an instruction set, but differ between them, as do the last bits of [`Simd::fma`].
pub trait Simd: bytes::Bytes + Copy + Send + Sync + 'static {
    /// f32 values in a vector.
    const LANES: usize;
    /// Rows of a [`tile`] that fit into the registers: 1, 2, 4, 6 or 8.
    const TILE_ROWS: usize;

    /// Whether the int8 products of [`Simd::dot_lanes`] are here, and so much faster than f32 that
    /// many tokens are multiplied by them. Where they are not, they panic.
    const INT8: bool = false;

    /// A vector.
    type F32: Copy + Send + Sync;
    /// As many i32; nothing without [`Simd::INT8`].
    type Sums: Copy;

    /// Runs a kernel with the target features switched on.
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output;

    /// All lanes equal.
    fn splat(self, value: f32) -> Self::F32;
    /// The first lanes of a slice.
    fn load(self, from: &[f32]) -> Self::F32;
    /// The first lanes of a slice; 0 beyond its end.
    fn load_part(self, from: &[f32]) -> Self::F32;
    /// Writes the first lanes of a slice.
    fn store(self, vector: Self::F32, to: &mut [f32]);
    /// Writes as many lanes as the slice has.
    fn store_part(self, vector: Self::F32, to: &mut [f32]);
    /// The first lanes of a slice of f16.
    fn load_f16(self, from: &[f16]) -> Self::F32;
    /// The first lanes of little-endian bytes of f32.
    fn load_f32_bytes(self, from: &[u8]) -> Self::F32;
    /// The first lanes of little-endian bytes of f16.
    fn load_f16_bytes(self, from: &[u8]) -> Self::F32;
    /// The first lanes of little-endian bytes of bf16.
    fn load_bf16_bytes(self, from: &[u8]) -> Self::F32;

    /// a + b.
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a - b.
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a b.
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a / b.
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a b + c, rounded once where the instruction set can.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The larger; unspecified for NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The smaller; unspecified for NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Square root.
    fn sqrt(self, a: Self::F32) -> Self::F32;
    /// Nearest integer, ties to even.
    fn round(self, a: Self::F32) -> Self::F32;
    /// `yes` in the lanes where a < b, else `no`.
    fn select_lt(self, a: Self::F32, b: Self::F32, yes: Self::F32, no: Self::F32) -> Self::F32;
    /// 2ⁿ for lanes that hold integers n in -126..=127.
    fn exp2_int(self, n: Self::F32) -> Self::F32;
    /// The sum of the lanes.
    fn sum(self, a: Self::F32) -> f32;
    /// The largest lane.
    fn max_lane(self, a: Self::F32) -> f32;

    /// Transposes a square of `LANES` by `LANES`: row r begins at `r * from_stride`, in the result
    /// at `r * to_stride`.
    #[inline(always)]
    fn transpose(self, from: &[f32], from_stride: usize, to: &mut [f32], to_stride: usize) {
        for r in 0..Self::LANES {
            for c in 0..Self::LANES {
                to[c * to_stride + r] = from[r * from_stride + c];
            }
        }
    }

    /// All lanes equal.
    #[inline(always)]
    fn splat_i32(self, _value: i32) -> Self::Sums {
        unreachable!("no int8 products")
    }

    /// To f32, exactly if below 2²⁴.
    #[inline(always)]
    fn sums_to_f32(self, _: Self::Sums) -> Self::F32 {
        unreachable!("no int8 products")
    }

    /// Adds to lane i the products of four unsigned bytes, those of lane i of `quants`, with the
    /// four signed bytes of `activations`.
    #[inline(always)]
    fn dot_lanes(self, _: Self::F32, _activations: i32, _: Self::Sums) -> Self::Sums {
        unreachable!("no int8 products")
    }

    /// All lanes 0.
    #[inline(always)]
    fn zero(self) -> Self::F32 {
        self.splat(0.0)
    }
}

#[cfg(test)]
mod tests;
