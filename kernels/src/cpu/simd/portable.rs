//! Vectors as arrays: what the compiler makes of them, on any CPU.

use super::bytes::Bytes;
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
    const TILE_ROWS: usize = 2;
    type F32 = [f32; LANES];
    type Sums = ();

    #[inline(never)]
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
    fn load_f32_bytes(self, from: &[u8]) -> Self::F32 {
        let from = &from.as_chunks::<4>().0[..LANES];
        each(|i| f32::from_le_bytes(from[i]))
    }

    #[inline(always)]
    fn load_f16_bytes(self, from: &[u8]) -> Self::F32 {
        let from = &from.as_chunks::<2>().0[..LANES];
        each(|i| f16::from_le_bytes(from[i]).to_f32())
    }

    #[inline(always)]
    fn load_bf16_bytes(self, from: &[u8]) -> Self::F32 {
        let from = &from.as_chunks::<2>().0[..LANES];
        each(|i| f32::from_bits(u32::from(u16::from_le_bytes(from[i])) << 16))
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

#[inline(always)]
fn map(bytes: [u8; 32], op: impl Fn(u8) -> u8) -> [u8; 32] {
    bytes.map(op)
}

impl Bytes for Portable {
    type I8 = [u8; 32];
    type I32 = [i32; 8];
    type F8 = [f32; 8];

    #[inline(always)]
    fn bytes(self, from: &[u8; 32]) -> [u8; 32] {
        *from
    }

    #[inline(always)]
    fn activations(self, from: &[i8; 32]) -> [u8; 32] {
        from.map(i8::cast_unsigned)
    }

    #[inline(always)]
    fn store_bytes(self, vector: [u8; 32], to: &mut [u8; 32]) {
        *to = vector;
    }

    #[inline(always)]
    fn nibbles(self, from: &[u8; 16]) -> [u8; 32] {
        let mut out = [0; 32];
        for (i, byte) in from.iter().enumerate() {
            out[i] = byte & 15;
            out[16 + i] = byte >> 4;
        }
        out
    }

    #[inline(always)]
    fn fifth_bits(self, bits: u32) -> [u8; 32] {
        std::array::from_fn(|i| (bits >> i & 1) as u8 * 16)
    }

    #[inline(always)]
    fn low_nibbles(self, bytes: [u8; 32]) -> [u8; 32] {
        map(bytes, |byte| byte & 15)
    }

    #[inline(always)]
    fn high_nibbles(self, bytes: [u8; 32]) -> [u8; 32] {
        map(bytes, |byte| byte >> 4)
    }

    #[inline(always)]
    fn bits_to_16<const AT: i32, const MASK: u8>(self, bytes: [u8; 32]) -> [u8; 32] {
        map(bytes, |byte| (byte >> AT & MASK) << 4)
    }

    #[inline(always)]
    fn or(self, a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        std::array::from_fn(|i| a[i] | b[i])
    }

    #[inline(always)]
    fn dot(self, quants: [u8; 32], activations: [u8; 32], sums: [i32; 8]) -> [i32; 8] {
        let product = |i: usize| i32::from(quants[i]) * i32::from(activations[i].cast_signed());
        std::array::from_fn(|i| sums[i] + (4 * i..4 * i + 4).map(product).sum::<i32>())
    }

    #[inline(always)]
    fn dot_signed(self, quants: [u8; 32], activations: [u8; 32]) -> [i32; 8] {
        let signed = |byte: u8| i32::from(byte.cast_signed());
        let product = |i: usize| signed(quants[i]) * signed(activations[i]);
        std::array::from_fn(|i| (4 * i..4 * i + 4).map(product).sum())
    }

    #[inline(always)]
    fn shifted<const N: u32>(self, sums: &[i32; 8]) -> [i32; 8] {
        sums.map(|sum| sum << N)
    }

    #[inline(always)]
    fn no_sums(self) -> [i32; 8] {
        [0; 8]
    }

    #[inline(always)]
    fn scaled(self, sums: [i32; 8], scale: f32, to: [f32; 8]) -> [f32; 8] {
        each(|i| sums[i] as f32 * scale + to[i])
    }

    #[inline(always)]
    fn scaled_halves(self, sums: [i32; 8], scales: (f32, f32), to: [f32; 8]) -> [f32; 8] {
        each(|i| sums[i] as f32 * if i < 4 { scales.0 } else { scales.1 } + to[i])
    }

    #[inline(always)]
    fn load8(self, from: &[f32; 8]) -> [f32; 8] {
        *from
    }

    #[inline(always)]
    fn widen8(self, from: &[u8; 8]) -> [f32; 8] {
        from.map(f32::from)
    }

    #[inline(always)]
    fn store8(self, vector: [f32; 8], to: &mut [f32; 8]) {
        *to = vector;
    }

    #[inline(always)]
    fn splat8(self, value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    fn mul8(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn fma8(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        each(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn sum8(self, vector: [f32; 8]) -> f32 {
        self.sum(vector)
    }

    #[inline(always)]
    fn expand(self, quants: [u8; 32], scale: f32, min: f32, to: &mut [f32; 32]) {
        for (y, q) in to.iter_mut().zip(quants) {
            *y = f32::from(q) * scale - min;
        }
    }

    #[inline(always)]
    fn expand_signed(self, quants: [u8; 32], scale: f32, to: &mut [f32; 32]) {
        for (y, q) in to.iter_mut().zip(quants) {
            *y = f32::from(q.cast_signed()) * scale;
        }
    }

    #[inline(always)]
    fn expand_halves(self, quants: [u8; 32], scales: (f32, f32), to: &mut [f32; 32]) {
        for (i, (y, q)) in to.iter_mut().zip(quants).enumerate() {
            *y = (f32::from(q) - 32.0) * if i < 16 { scales.0 } else { scales.1 };
        }
    }

    #[inline(always)]
    fn half(self, bytes: [u8; 2]) -> f32 {
        f16::from_le_bytes(bytes).to_f32()
    }

    #[inline(always)]
    fn halves8(self, bits: [u16; 8]) -> [f32; 8] {
        bits.map(|bits| f16::from_bits(bits).to_f32())
    }

    #[inline(always)]
    fn widen8_signed(self, from: &[u8; 8]) -> [f32; 8] {
        from.map(|byte| f32::from(byte.cast_signed()))
    }
}
