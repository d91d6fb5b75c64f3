//! Q8_0: 32 weights under one scale. Bytes: `d`, `qs[32]` (signed). Value: `d q`.

use super::format::{Format, f16_at, f16_bytes, inverse};

pub(super) const Q8_0: Format = Format {
    name: "Q8_0",
    ggml_type: 8,
    block_len: 32,
    block_bytes: 34,
    dequantize: |bytes, out| {
        for (block, y) in bytes.as_chunks::<34>().0.iter().zip(out.as_chunks_mut::<32>().0) {
            let d = f16_at(block, 0);
            for (y, &q) in y.iter_mut().zip(&block[2..]) {
                *y = f32::from(q.cast_signed()) * d;
            }
        }
    },
    quantize: Some(|values, out| {
        for x in values.as_chunks::<32>().0 {
            let d = x.iter().fold(0.0_f32, |max, v| max.max(v.abs())) / 127.0;
            let id = inverse(d);
            out.extend(f16_bytes(d));
            out.extend(x.iter().map(|v| ((v * id).round() as i8).cast_unsigned()));
        }
    }),
};
