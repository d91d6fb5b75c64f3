//! Values against the numpy dequantizers of PyPI's `gguf` (tests/golden/quant.py), and error
//! bounds of the quantizers.

use super::*;
use proptest::prelude::*;

/// A cursor over the golden file.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(count);
        self.0 = tail;
        head
    }

    fn u32(&mut self) -> usize {
        u32::from_le_bytes(self.bytes(4).try_into().unwrap()) as usize
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        let bytes = self.bytes(4 * count).as_chunks::<4>().0;
        bytes.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }
}

#[test]
fn golden_values_and_blocks() {
    let mut golden = Reader(include_bytes!("../../tests/golden/quant.bin"));
    let count = golden.u32();
    let sample = golden.floats(count);
    for quant in Quant::ALL {
        let name = golden.bytes(8);
        assert_eq!(std::str::from_utf8(name).unwrap().trim_end_matches('\0'), quant.name());
        let (bytes, count, written) = (golden.u32(), golden.u32(), golden.u32());
        let (blocks, expected) = (golden.bytes(bytes), golden.floats(count));
        let mut values = vec![0.0; count];
        quant.dequantize(blocks, &mut values);
        for (at, (value, expected)) in values.iter().zip(&expected).enumerate() {
            assert_eq!(value.to_bits(), expected.to_bits(), "{} weight {at}", quant.name());
        }
        if written > 0 {
            let mut made = Vec::new();
            quant.quantize(&sample, &mut made);
            assert_eq!(made, golden.bytes(written), "{} blocks", quant.name());
        }
    }
    assert!(golden.0.is_empty());
}

/// Blocks that llama.cpp's quantizer made (`llama_model_quantize` without an importance matrix, from
/// f16 tensors of two widths): 1024 values as f16, then their blocks.
#[test]
fn q4_k_blocks_are_those_of_llama_cpp() {
    let golden = include_bytes!("../../tests/golden/q4_k.bin");
    let (values, blocks) = golden.split_at(2 * 1024);
    let mut sample = vec![0.0; 1024];
    Quant::F16.dequantize(values, &mut sample);
    let mut made = Vec::new();
    Quant::Q4_K.quantize(&sample, &mut made);
    assert_eq!(made, blocks);
}

#[test]
fn ids_and_sizes() {
    for quant in Quant::ALL {
        assert_eq!(Quant::from_ggml_type(quant.ggml_type()), Some(quant));
        assert_eq!(quant.row_bytes(quant.block_len()), Some(quant.block_bytes()));
        assert_eq!(quant.row_bytes(usize::MAX / quant.block_len() * quant.block_len()), {
            let blocks = usize::MAX / quant.block_len();
            blocks.checked_mul(quant.block_bytes())
        });
        if quant.block_len() > 1 {
            assert_eq!(quant.row_bytes(quant.block_len() + 1), None);
        }
    }
    assert_eq!(Quant::from_ggml_type(4), None);
}

#[test]
fn packed_scales_round_trip() {
    let scales = std::array::from_fn(|j| (63 - 7 * j as u8, 9 * j as u8));
    assert_eq!(k::unpack_scales(&k::pack_scales(&scales)), scales);
}

/// Error of one weight that a type allows, as a share of the largest magnitude in its run of 32:
/// half a step, plus the rounding of the scale to f16 (2⁻¹¹) and, in Q4_K, to 6 bits.
fn allowed(quant: Quant) -> f32 {
    match quant {
        Quant::F32 => 0.0,
        Quant::F16 => 0.5 / 1024.0,
        Quant::BF16 => 0.5 / 128.0,
        Quant::Q8_0 => 0.5 / 127.0 + 1.0 / 2048.0,
        // The side opposite to the extreme value clips at 7/8 of it.
        Quant::Q4_0 => 1.0 / 8.0 + 1.0 / 2048.0,
        Quant::Q4_K => 0.25,
        _ => unreachable!("read-only"),
    }
}

proptest! {
    #[test]
    fn quantize_then_dequantize_is_near(
        values in prop::collection::vec(-4.0_f32..4.0, 256), exponent in -8_i32..8,
    ) {
        // One magnitude for the whole block of 256: a Q4_K run far below its neighbours loses
        // its scale by design.
        let values: Vec<f32> = values.iter().map(|v| v * 2.0_f32.powi(exponent)).collect();
        for quant in Quant::ALL.into_iter().filter(|quant| quant.can_quantize()) {
            let mut bytes = Vec::new();
            quant.quantize(&values, &mut bytes);
            prop_assert_eq!(Some(bytes.len()), quant.row_bytes(values.len()));
            let mut back = vec![0.0; values.len()];
            quant.dequantize(&bytes, &mut back);
            for (run, back) in values.chunks(32).zip(back.chunks(32)) {
                let max = run.iter().fold(0.0_f32, |max, v| max.max(v.abs()));
                for (v, b) in run.iter().zip(back) {
                    let bound = allowed(quant) * max + 1e-7;
                    prop_assert!((v - b).abs() <= bound, "{} {v} became {b}", quant.name());
                }
            }
        }
    }

    #[test]
    fn whole_steps_survive(quants in prop::collection::vec(-8_i32..8, 32), negative: bool) {
        // A block that is exactly representable comes back exactly (the extreme must be -8 d).
        let d = if negative { -0.25 } else { 0.25 };
        let mut values: Vec<f32> = quants.iter().map(|&q| q as f32 * d).collect();
        values[5] = -8.0 * d;
        let mut bytes = Vec::new();
        Quant::Q4_0.quantize(&values, &mut bytes);
        let mut back = vec![0.0; 32];
        Quant::Q4_0.dequantize(&bytes, &mut back);
        prop_assert_eq!(back, values);
    }
}
