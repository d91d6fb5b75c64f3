//! Q5_K: Q4_K with a fifth bit.
//!
//! Bytes: `d`, `dmin`, `scales[12]` (see [`super::k`]), `qh[32]`, `qs[128]`. Bit j of `qh[i]` is
//! the fifth bit of weight i of run j. Value in run j: `d scale[j] q - dmin min[j]`.

use super::format::{Format, f16_at};
use super::k::{LEN, unpack_scales};

const RUN: usize = 32;

pub(super) const Q5_K: Format = Format {
    name: "Q5_K",
    ggml_type: 13,
    block_len: LEN,
    block_bytes: 176,
    dequantize,
    quantize: None,
};

fn dequantize(bytes: &[u8], out: &mut [f32]) {
    for (block, y) in bytes.as_chunks::<176>().0.iter().zip(out.as_chunks_mut::<LEN>().0) {
        let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
        let scales = unpack_scales(&block[4..16]);
        let (qh, qs) = block[16..].split_at(RUN);
        for (j, y) in y.as_chunks_mut::<RUN>().0.iter_mut().enumerate() {
            let (scale, min) = (d * f32::from(scales[j].0), dmin * f32::from(scales[j].1));
            for ((y, q), h) in y.iter_mut().zip(&qs[j / 2 * RUN..]).zip(qh) {
                *y = scale * f32::from(q >> (j % 2 * 4) & 15 | (h >> j & 1) << 4) - min;
            }
        }
    }
}
