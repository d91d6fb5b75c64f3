//! Q6_K: 256 weights in sixteen runs of 16, each with an 8-bit scale.
//!
//! Bytes: `ql[128]`, `qh[64]`, `scales[16]` (signed), `d`. Value in run j:
//! `d scale[j] (q - 32)`. Each half block of 128 weights has 64 bytes of `ql` and 32 of `qh`: its
//! weight 32 c + i has low nibble c / 2 (0 low, 1 high) of `ql[32 (c % 2) + i]` and the bit pair
//! c of `qh[i]`.

use super::format::{Format, f16_at};
use super::k::LEN;

pub(super) const Q6_K: Format = Format {
    name: "Q6_K",
    ggml_type: 14,
    block_len: LEN,
    block_bytes: 210,
    dequantize,
    quantize: None,
};

fn dequantize(bytes: &[u8], out: &mut [f32]) {
    for (block, y) in bytes.as_chunks::<210>().0.iter().zip(out.as_chunks_mut::<LEN>().0) {
        let d = f16_at(block, 208);
        for (n, y) in y.iter_mut().enumerate() {
            let (half, c, i) = (n / 128, n / 32 % 4, n % 32);
            let low = block[64 * half + 32 * (c % 2) + i] >> (c / 2 * 4) & 15;
            let high = block[128 + 32 * half + i] >> (2 * c) & 3;
            let scale = block[192 + n / 16].cast_signed();
            *y = d * f32::from(scale) * (f32::from(low | high << 4) - 32.0);
        }
    }
}
