//! Block types: how a run of weights is packed into bytes.
//!
//! The layouts are ggml's, byte for byte, because GGUF files are what we read and write: a row of
//! a matrix is a whole number of blocks, a block holds [`Quant::block_len`] weights in
//! [`Quant::block_bytes`] bytes. [`Quant::dequantize`] *defines* the value of every weight; all
//! fast kernels are tested against it. One file per family; a new type is a file with a
//! [`Format`] and a row in [`Quant::format`].
//!
//! Legend for the layouts: bytes in order, `d` a little-endian f16 scale, `qs` the low bits.

mod float;
mod format;
mod k;
mod legacy;
mod q4_k;
mod q5_k;
mod q6_k;
mod q8_0;

use format::Format;

/// A block type. The names are ggml's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "the names that every GGUF tool prints")]
pub enum Quant {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// 4 bits, one scale per 32: 4.5 bits a weight.
    Q4_0,
    /// 4 bits, scale and minimum per 32: 5 bits a weight.
    Q4_1,
    /// 5 bits, one scale per 32: 5.5 bits a weight.
    Q5_0,
    /// 5 bits, scale and minimum per 32: 6 bits a weight.
    Q5_1,
    /// 8 bits, one scale per 32: 8.5 bits a weight.
    Q8_0,
    /// 4 bits, 6-bit scales and minima per 32 under two f16 per 256: 4.5 bits a weight.
    Q4_K,
    /// 5 bits, 6-bit scales and minima per 32 under two f16 per 256: 5.5 bits a weight.
    Q5_K,
    /// 6 bits, 8-bit scales per 16 under one f16 per 256: 6.5625 bits a weight.
    Q6_K,
}

impl Quant {
    /// Every block type.
    pub const ALL: [Quant; 11] = [
        Quant::F32,
        Quant::F16,
        Quant::BF16,
        Quant::Q4_0,
        Quant::Q4_1,
        Quant::Q5_0,
        Quant::Q5_1,
        Quant::Q8_0,
        Quant::Q4_K,
        Quant::Q5_K,
        Quant::Q6_K,
    ];

    fn format(self) -> &'static Format {
        match self {
            Quant::F32 => &float::F32,
            Quant::F16 => &float::F16,
            Quant::BF16 => &float::BF16,
            Quant::Q4_0 => &legacy::Q4_0,
            Quant::Q4_1 => &legacy::Q4_1,
            Quant::Q5_0 => &legacy::Q5_0,
            Quant::Q5_1 => &legacy::Q5_1,
            Quant::Q8_0 => &q8_0::Q8_0,
            Quant::Q4_K => &q4_k::Q4_K,
            Quant::Q5_K => &q5_k::Q5_K,
            Quant::Q6_K => &q6_k::Q6_K,
        }
    }

    /// The name as GGUF tools print it, such as `"Q4_0"`.
    pub fn name(self) -> &'static str {
        self.format().name
    }

    /// The type's number in GGUF tensor records.
    pub fn ggml_type(self) -> u32 {
        self.format().ggml_type
    }

    /// The block type with this number in GGUF tensor records, if we compute on it.
    pub fn from_ggml_type(ggml_type: u32) -> Option<Quant> {
        Quant::ALL.into_iter().find(|quant| quant.ggml_type() == ggml_type)
    }

    /// Weights in a block.
    pub fn block_len(self) -> usize {
        self.format().block_len
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        self.format().block_bytes
    }

    /// Bytes of a row of `cols` weights; `None` if that is no whole number of blocks, or if it
    /// does not fit into memory's address range.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let format = self.format();
        if !cols.is_multiple_of(format.block_len) {
            return None;
        }
        (cols / format.block_len).checked_mul(format.block_bytes)
    }

    /// The values of whole blocks: the definition of the type.
    ///
    /// # Panics
    /// Unless `bytes` is exactly the blocks of `out.len()` weights.
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        let expected = self.row_bytes(out.len());
        assert_eq!(Some(bytes.len()), expected, "{} bytes for {} weights", self.name(), out.len());
        (self.format().dequantize)(bytes, out);
    }

    /// Whether [`Quant::quantize`] can write this type.
    pub fn can_quantize(self) -> bool {
        self.format().quantize.is_some()
    }

    /// Appends the blocks of `values` to `out`, with the results of ggml's reference quantizers.
    ///
    /// # Panics
    /// If the type is read-only ([`Quant::can_quantize`]), or `values` is no whole number of
    /// blocks.
    pub fn quantize(self, values: &[f32], out: &mut Vec<u8>) {
        let format = self.format();
        let bytes = self.row_bytes(values.len());
        let bytes = bytes.unwrap_or_else(|| panic!("{} of {} weights", self.name(), values.len()));
        let quantize = format.quantize.unwrap_or_else(|| panic!("{} is read-only", self.name()));
        out.reserve(bytes);
        quantize(values, out);
    }
}

#[cfg(test)]
mod tests;
