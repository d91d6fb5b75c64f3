//! Q4_K: 256 weights in eight runs of 32, each with a 6-bit scale and a 6-bit minimum.
//!
//! Bytes: `d`, `dmin`, `scales[12]` (see [`super::k`]), `qs[128]`. Value in run j:
//! `d scale[j] q - dmin min[j]`. Each 32 bytes of `qs` hold two runs: low nibbles, high nibbles.

use super::format::{Format, f16_at, f16_bytes, nearest};
use super::k::{LEN, pack_scales, unpack_scales};

const RUN: usize = 32;
const MAX: f32 = 15.0;

pub(super) const Q4_K: Format = Format {
    name: "Q4_K",
    ggml_type: 12,
    block_len: LEN,
    block_bytes: 144,
    dequantize,
    quantize: Some(quantize),
};

fn dequantize(bytes: &[u8], out: &mut [f32]) {
    for (block, y) in bytes.as_chunks::<144>().0.iter().zip(out.as_chunks_mut::<LEN>().0) {
        let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
        let scales = unpack_scales(&block[4..16]);
        for (j, y) in y.as_chunks_mut::<RUN>().0.iter_mut().enumerate() {
            let (scale, min) = (d * f32::from(scales[j].0), dmin * f32::from(scales[j].1));
            let qs = &block[16 + j / 2 * RUN..][..RUN];
            for (y, q) in y.iter_mut().zip(qs) {
                *y = scale * f32::from(q >> (j % 2 * 4) & 15) - min;
            }
        }
    }
}

fn quantize(values: &[f32], out: &mut Vec<u8>) {
    for x in values.as_chunks::<LEN>().0 {
        let runs = x.as_chunks::<RUN>().0;
        let fits: [Fit; 8] = std::array::from_fn(|j| Fit::search(&runs[j]));
        let max_scale = fits.iter().fold(0.0_f32, |max, fit| max.max(fit.scale));
        let max_min = fits.iter().fold(0.0_f32, |max, fit| max.max(-fit.min));
        let six_bits = |value: f32, max: f32| {
            let inverse = if max > 0.0 { 63.0 / max } else { 0.0 };
            // Wraps below zero as ggml's byte does.
            (nearest(inverse * value) as u8).min(63)
        };
        let scales: [(u8, u8); 8] = std::array::from_fn(|j| {
            (six_bits(fits[j].scale, max_scale), six_bits(-fits[j].min, max_min))
        });
        let (d, dmin) = (f16_bytes(max_scale / 63.0), f16_bytes(max_min / 63.0));
        out.extend(d);
        out.extend(dmin);
        out.extend(pack_scales(&scales));

        // Round again, against the scales as they are stored.
        let (d, dmin) = (f16_at(&d, 0), f16_at(&dmin, 0));
        let quants: [[u8; RUN]; 8] = std::array::from_fn(|j| {
            let (scale, min) = (d * f32::from(scales[j].0), dmin * f32::from(scales[j].1));
            if scale == 0.0 {
                return fits[j].quants;
            }
            runs[j].map(|v| nearest((v + min) / scale).clamp(0, 15) as u8)
        });
        for pair in quants.as_chunks::<2>().0 {
            out.extend(pair[0].iter().zip(&pair[1]).map(|(low, high)| low | high << 4));
        }
    }
}

/// Weights of a run as `scale q + min`, `min <= 0`.
struct Fit {
    scale: f32,
    min: f32,
    quants: [u8; RUN],
}

impl Fit {
    /// Minimises the squared error weighted by magnitude over 21 trial scales; at each, the best
    /// scale and minimum for the rounded values come from the weighted normal equations. The
    /// order of operations is that of ggml's search, so that its blocks come out.
    fn search(x: &[f32; RUN]) -> Fit {
        let rms = (x.iter().fold(0.0, |sum, v| sum + v * v) / RUN as f32).sqrt();
        let weights = x.map(|v| rms + v.abs());
        let (mut min, mut max) = (x[0], x[0]);
        let (mut sum_w, mut sum_x) = (0.0, 0.0);
        for (&v, &w) in x.iter().zip(&weights) {
            min = if v < min { v } else { min };
            max = if v > max { v } else { max };
            sum_w += w;
            sum_x += w * v;
        }
        min = if min > 0.0 { 0.0 } else { min };
        if max == min {
            return Fit { scale: 0.0, min, quants: [0; RUN] };
        }
        let round = |inverse: f32, min: f32| {
            x.map(|v| nearest(inverse * (v - min)).clamp(0, MAX as i32) as u8)
        };
        let inverse = MAX / (max - min);
        let mut best = Fit { scale: 1.0 / inverse, min, quants: round(inverse, min) };
        let mut best_error = best.error(x, &weights);
        for step in 0..=20_u8 {
            // The trial maps the original maximum; the offset is that of the best fit so far.
            let inverse = (-1.0 + 0.1 * f32::from(step) + MAX) / (max - best.min);
            let quants = round(inverse, best.min);
            let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0, 0.0, 0.0);
            for ((&v, &w), &q) in x.iter().zip(&weights).zip(&quants) {
                let q = f32::from(q);
                sum_l += w * q;
                sum_l2 += w * q * q;
                sum_xl += w * q * v;
            }
            let determinant = sum_w * sum_l2 - sum_l * sum_l;
            if determinant <= 0.0 {
                continue;
            }
            let mut scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let mut min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
            if min > 0.0 {
                min = 0.0;
                scale = sum_xl / sum_l2;
            }
            let fit = Fit { scale, min, quants };
            let error = fit.error(x, &weights);
            if error < best_error {
                (best, best_error) = (fit, error);
            }
        }
        best
    }

    fn error(&self, x: &[f32; RUN], weights: &[f32; RUN]) -> f32 {
        let terms = x.iter().zip(weights).zip(&self.quants);
        terms.fold(0.0, |sum, ((v, w), &q)| {
            let diff = self.scale * f32::from(q) + self.min - v;
            sum + w * (diff * diff)
        })
    }
}
