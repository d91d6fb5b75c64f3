//! What Q4_K and Q5_K share: eight 6-bit scales and eight 6-bit minima in 12 bytes.
//!
//! Byte j < 4 holds scale j in its low six bits, byte 4 + j minimum j; the high pairs of bits of
//! those eight bytes are the upper bits of scales and minima 4..8, whose low nibbles are bytes
//! 8..12 (scale low, minimum high).

pub(super) const LEN: usize = 256;

/// Scale and minimum of each run of 32 weights, from the packed 12 bytes.
pub(super) fn unpack_scales(packed: &[u8]) -> [(u8, u8); 8] {
    std::array::from_fn(|j| {
        if j < 4 {
            return (packed[j] & 63, packed[j + 4] & 63);
        }
        let low = packed[j + 4];
        (low & 15 | packed[j - 4] >> 6 << 4, low >> 4 | packed[j] >> 6 << 4)
    })
}

/// The inverse of [`unpack_scales`], for values below 64.
pub(super) fn pack_scales(scales: &[(u8, u8); 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for j in 0..4 {
        let ((scale, min), (high_scale, high_min)) = (scales[j], scales[j + 4]);
        packed[j] = scale | high_scale >> 4 << 6;
        packed[j + 4] = min | high_min >> 4 << 6;
        packed[j + 8] = high_scale & 15 | (high_min & 15) << 4;
    }
    packed
}
