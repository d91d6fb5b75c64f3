//! Q4_0, Q4_1, Q5_0, Q5_1: 32 weights under one scale, with or without a minimum.
//!
//! | type | bytes | value of weight i |
//! |---|---|---|
//! | Q4_0 | `d`, `qs[16]` | `d (q - 8)` |
//! | Q4_1 | `d`, `m`, `qs[16]` | `d q + m` |
//! | Q5_0 | `d`, `qh[4]`, `qs[16]` | `d (q - 16)` |
//! | Q5_1 | `d`, `m`, `qh[4]`, `qs[16]` | `d q + m` |
//!
//! Weight i < 16 is the low nibble of `qs[i]`, weight 16 + i its high nibble; bit i of `qh` is
//! the fifth bit of weight i.

use super::format::{Format, f16_at, f16_bytes, inverse};

const LEN: usize = 32;
const HALF: usize = LEN / 2;

pub(super) const Q4_0: Format = Format {
    name: "Q4_0",
    ggml_type: 2,
    block_len: LEN,
    block_bytes: 18,
    dequantize: |bytes, out| {
        for (block, y) in blocks::<18>(bytes, out) {
            let d = f16_at(block, 0);
            expand(&block[2..], 0, |q| d * (q as f32 - 8.0), y);
        }
    },
    quantize: Some(quantize_q4_0),
};

pub(super) const Q4_1: Format = Format {
    name: "Q4_1",
    ggml_type: 3,
    block_len: LEN,
    block_bytes: 20,
    dequantize: |bytes, out| {
        for (block, y) in blocks::<20>(bytes, out) {
            let (d, m) = (f16_at(block, 0), f16_at(block, 2));
            expand(&block[4..], 0, |q| q as f32 * d + m, y);
        }
    },
    quantize: None,
};

pub(super) const Q5_0: Format = Format {
    name: "Q5_0",
    ggml_type: 6,
    block_len: LEN,
    block_bytes: 22,
    dequantize: |bytes, out| {
        for (block, y) in blocks::<22>(bytes, out) {
            let d = f16_at(block, 0);
            expand(&block[6..], high_bits(block, 2), |q| d * (q as f32 - 16.0), y);
        }
    },
    quantize: None,
};

pub(super) const Q5_1: Format = Format {
    name: "Q5_1",
    ggml_type: 7,
    block_len: LEN,
    block_bytes: 24,
    dequantize: |bytes, out| {
        for (block, y) in blocks::<24>(bytes, out) {
            let (d, m) = (f16_at(block, 0), f16_at(block, 2));
            expand(&block[8..], high_bits(block, 4), |q| q as f32 * d + m, y);
        }
    },
    quantize: None,
};

fn blocks<'a, const BYTES: usize>(
    bytes: &'a [u8],
    out: &'a mut [f32],
) -> impl Iterator<Item = (&'a [u8; BYTES], &'a mut [f32; LEN])> {
    bytes.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<LEN>().0)
}

fn high_bits(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn expand(qs: &[u8], qh: u32, value: impl Fn(u32) -> f32, y: &mut [f32; LEN]) {
    for (i, &q) in qs.iter().enumerate() {
        let fifth = |at: usize| (qh >> at & 1) << 4;
        y[i] = value(u32::from(q & 15) | fifth(i));
        y[HALF + i] = value(u32::from(q >> 4) | fifth(HALF + i));
    }
}

/// The scale maps the value of greatest magnitude to -8, so that the full range of 16 is used.
fn quantize_q4_0(values: &[f32], out: &mut Vec<u8>) {
    for x in values.as_chunks::<LEN>().0 {
        let mut extreme = 0.0_f32;
        for &v in x {
            if extreme.abs() < v.abs() {
                extreme = v;
            }
        }
        let d = extreme / -8.0;
        let id = inverse(d);
        let q = |v: f32| ((v * id + 8.5) as u8).min(15);
        out.extend(f16_bytes(d));
        out.extend((0..HALF).map(|i| q(x[i]) | q(x[HALF + i]) << 4));
    }
}
