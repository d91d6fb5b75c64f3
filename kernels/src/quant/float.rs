//! F32, F16, BF16: no blocks, one weight after another, little-endian.

use super::format::Format;
use half::{bf16, f16};

pub(super) const F32: Format = Format {
    name: "F32",
    ggml_type: 0,
    block_len: 1,
    block_bytes: 4,
    dequantize: |bytes, out| {
        for (y, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *y = f32::from_le_bytes(*b);
        }
    },
    quantize: Some(|values, out| out.extend(values.iter().flat_map(|x| x.to_le_bytes()))),
};

pub(super) const F16: Format = Format {
    name: "F16",
    ggml_type: 1,
    block_len: 1,
    block_bytes: 2,
    dequantize: |bytes, out| {
        for (y, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *y = f16::from_le_bytes(*b).to_f32();
        }
    },
    quantize: Some(|values, out| {
        out.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()));
    }),
};

pub(super) const BF16: Format = Format {
    name: "BF16",
    ggml_type: 30,
    block_len: 1,
    block_bytes: 2,
    dequantize: |bytes, out| {
        for (y, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *y = bf16::from_le_bytes(*b).to_f32();
        }
    },
    quantize: Some(|values, out| {
        out.extend(values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()));
    }),
};
