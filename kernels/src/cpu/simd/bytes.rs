//! Vectors of 32 bytes: the quants of a run of 32 weights, and what is computed on them.
//!
//! A *quant* here is a byte: unsigned and below 128 ([`Bytes::dot`], [`Bytes::expand`]) or signed
//! ([`Bytes::dot_signed`], [`Bytes::expand_signed`]). Activations are signed bytes in -127..=127.
//! Eight i32 sums belong to a vector: sum i is over bytes 4 i..4 i + 4.

/// An instruction set's integer vectors. Implemented with [`super::Simd`] by the same tokens.
pub trait Bytes: Copy {
    /// 32 bytes.
    type I8: Copy;
    /// Eight i32.
    type I32: Copy;
    /// Eight f32.
    type F8: Copy;

    /// 32 bytes of memory.
    fn bytes(self, from: &[u8; 32]) -> Self::I8;
    /// 32 activations.
    fn activations(self, from: &[i8; 32]) -> Self::I8;
    /// The 16 low nibbles, then the 16 high ones.
    fn nibbles(self, from: &[u8; 16]) -> Self::I8;
    /// 16 in the bytes whose bit is set (bit i: byte i), else 0.
    fn fifth_bits(self, bits: u32) -> Self::I8;
    /// The low nibble of each byte.
    fn low_nibbles(self, bytes: Self::I8) -> Self::I8;
    /// The high nibble of each byte.
    fn high_nibbles(self, bytes: Self::I8) -> Self::I8;
    /// Bits `AT` of each byte under `MASK` (1 or 3), moved to bit 4.
    fn bits_to_16<const AT: i32, const MASK: u8>(self, bytes: Self::I8) -> Self::I8;
    /// Bitwise or.
    fn or(self, a: Self::I8, b: Self::I8) -> Self::I8;

    /// Sums of quant times activation, on top of `sums`. Quants are below 128.
    fn dot(self, quants: Self::I8, activations: Self::I8, sums: Self::I32) -> Self::I32;
    /// Sums of signed quant times activation.
    fn dot_signed(self, quants: Self::I8, activations: Self::I8) -> Self::I32;
    /// 2ⁿ times the given sums.
    fn shifted<const N: u32>(self, sums: &[i32; 8]) -> Self::I32;
    /// Zeros.
    fn no_sums(self) -> Self::I32;

    /// `to` plus the sums times `scale`.
    fn scaled(self, sums: Self::I32, scale: f32, to: Self::F8) -> Self::F8;
    /// `to` plus the sums times `scales.0` (the first four) and `scales.1` (the last four).
    fn scaled_halves(self, sums: Self::I32, scales: (f32, f32), to: Self::F8) -> Self::F8;
    /// Eight f32 of memory.
    fn load8(self, from: &[f32; 8]) -> Self::F8;
    /// Eight bytes, unsigned, as f32.
    fn widen8(self, from: &[u8; 8]) -> Self::F8;
    /// To memory.
    fn store8(self, vector: Self::F8, to: &mut [f32; 8]);
    /// All equal.
    fn splat8(self, value: f32) -> Self::F8;
    /// a b.
    fn mul8(self, a: Self::F8, b: Self::F8) -> Self::F8;
    /// a b + c.
    fn fma8(self, a: Self::F8, b: Self::F8, c: Self::F8) -> Self::F8;
    /// The sum of the eight.
    fn sum8(self, vector: Self::F8) -> f32;

    /// 32 bytes to memory.
    fn store_bytes(self, vector: Self::I8, to: &mut [u8; 32]);

    /// Weights: quant times `scale` minus `min`. Exact if the product is.
    fn expand(self, quants: Self::I8, scale: f32, min: f32, to: &mut [f32; 32]);
    /// Weights: signed quant times `scale`.
    fn expand_signed(self, quants: Self::I8, scale: f32, to: &mut [f32; 32]);
    /// Weights: quant less 32, times `scales.0` (the first 16) and `scales.1` (the last 16).
    fn expand_halves(self, quants: Self::I8, scales: (f32, f32), to: &mut [f32; 32]);

    /// An f16 as f32.
    fn half(self, bytes: [u8; 2]) -> f32;
    /// The bits of eight f16 as f32.
    fn halves8(self, bits: [u16; 8]) -> Self::F8;
    /// Eight bytes, signed, as f32.
    fn widen8_signed(self, from: &[u8; 8]) -> Self::F8;
}
