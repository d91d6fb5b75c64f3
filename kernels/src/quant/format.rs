//! What a block type has to say of itself, and what several of them share.

/// Values to whole blocks, appended.
type Quantize = fn(&[f32], &mut Vec<u8>);

/// What a block type is: one row of the table.
pub(super) struct Format {
    pub name: &'static str,
    /// The type's number in GGUF tensor records.
    pub ggml_type: u32,
    pub block_len: usize,
    pub block_bytes: usize,
    /// Whole blocks to values.
    pub dequantize: fn(&[u8], &mut [f32]),
    /// `None`: read-only type.
    pub quantize: Option<Quantize>,
}

/// The f16 at byte `at` of a block.
pub(super) fn f16_at(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// A scale as it is stored.
pub(super) fn f16_bytes(value: f32) -> [u8; 2] {
    half::f16::from_f32(value).to_le_bytes()
}

/// The inverse of a scale; 0 for the block of zeros.
pub(super) fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Rounds to nearest, ties to even, as ggml's `nearest_int` does in its range of ±2²².
pub(super) fn nearest(value: f32) -> i32 {
    value.round_ties_even() as i32
}
