//! Weights in the GPU's own layout: the same bits as in the file, sorted into planes that are read
//! in aligned words.
//!
//! A page is whole rows of units of 32 weights. One plane follows another: first the low bits of
//! every unit (one vector of four words of nibbles, two of bytes, four of halves), then what else
//! the type has. The files `wgsl/block/*.wgsl` say which planes, and read them.

use crate::quant::Quant;

/// Weights of a unit.
pub(super) const UNIT: usize = 32;

/// Units of a row; the last is padded with zeros where the type has no blocks.
pub(super) fn units(cols: usize) -> usize {
    cols.div_ceil(UNIT)
}

/// Bytes that every plane takes per eight units.
fn planes(quant: Quant) -> &'static [usize] {
    match quant {
        Quant::F32 => &[],
        Quant::F16 | Quant::BF16 => &[512],
        Quant::Q4_0 => &[128, 16],
        Quant::Q4_1 => &[128, 32],
        Quant::Q5_0 => &[128, 32, 16],
        Quant::Q5_1 => &[128, 32, 32],
        Quant::Q8_0 => &[256, 16],
        Quant::Q4_K => &[128, 16],
        Quant::Q5_K => &[128, 16, 32],
        Quant::Q6_K => &[128, 64, 16, 2],
    }
}

/// Bytes of a page of `rows` rows.
pub(super) fn page_bytes(quant: Quant, rows: usize, cols: usize) -> usize {
    if quant == Quant::F32 {
        return rows * cols * size_of::<f32>();
    }
    let per_eight: usize = planes(quant).iter().sum();
    (rows * units(cols) * per_eight).div_ceil(8).next_multiple_of(16)
}

/// Packs whole rows.
pub(super) fn pack(quant: Quant, bytes: &[u8], rows: usize, cols: usize) -> Vec<u8> {
    if quant == Quant::F32 {
        return bytes.to_vec();
    }
    let mut page = vec![0; page_bytes(quant, rows, cols)];
    let count = rows * units(cols);
    let mut rest = &mut page[..];
    let mut planes = planes(quant).iter().map(|bytes| {
        let (plane, others) = std::mem::take(&mut rest).split_at_mut(count * bytes / 8);
        rest = others;
        plane
    });
    let mut plane = || planes.next().expect("as many planes as the type has");
    match quant {
        Quant::F32 => unreachable!("copied above"),
        Quant::F16 | Quant::BF16 => halves(bytes, cols, plane()),
        Quant::Q4_0 => legacy::<18>(bytes, plane(), None, plane()),
        Quant::Q4_1 => legacy::<20>(bytes, plane(), None, plane()),
        Quant::Q5_0 => {
            let (low, fifths) = (plane(), plane());
            legacy::<22>(bytes, low, Some(fifths), plane());
        }
        Quant::Q5_1 => {
            let (low, fifths) = (plane(), plane());
            legacy::<24>(bytes, low, Some(fifths), plane());
        }
        Quant::Q8_0 => q8_0(bytes, plane(), plane()),
        Quant::Q4_K => k::<144>(bytes, plane(), plane(), None),
        Quant::Q5_K => {
            let (low, headers) = (plane(), plane());
            k::<176>(bytes, low, headers, Some(plane()));
        }
        Quant::Q6_K => q6_k(bytes, [plane(), plane(), plane(), plane()]),
    }
    page
}

/// Sixteen bytes of nibbles: weight i in nibble i.
fn nibbles(to: &mut [u8], weight: impl Fn(usize) -> u8) {
    for (i, to) in to.iter_mut().enumerate() {
        *to = weight(2 * i) | weight(2 * i + 1) << 4;
    }
}

fn halves(bytes: &[u8], cols: usize, plane: &mut [u8]) {
    let rows = bytes.chunks_exact(2 * cols).zip(plane.chunks_exact_mut(2 * UNIT * units(cols)));
    rows.for_each(|(from, to)| to[..from.len()].copy_from_slice(from));
}

/// Q4_0 to Q5_1: scale and minimum, fifth bits, nibbles.
fn legacy<const BYTES: usize>(
    bytes: &[u8],
    low: &mut [u8],
    fifths: Option<&mut [u8]>,
    scales: &mut [u8],
) {
    let fifth_bytes = if fifths.is_some() { 4 } else { 0 };
    let scale_bytes = BYTES - 16 - fifth_bytes;
    let blocks = bytes.as_chunks::<BYTES>().0;
    let to = low.chunks_exact_mut(16).zip(scales.chunks_exact_mut(scale_bytes));
    for (block, (low, scale)) in blocks.iter().zip(to) {
        let quants = &block[BYTES - 16..];
        nibbles(low, |i| quants[i % 16] >> (i / 16 * 4) & 15);
        scale.copy_from_slice(&block[..scale_bytes]);
    }
    if let Some(fifths) = fifths {
        for (block, fifths) in blocks.iter().zip(fifths.chunks_exact_mut(4)) {
            fifths.copy_from_slice(&block[scale_bytes..scale_bytes + 4]);
        }
    }
}

fn q8_0(bytes: &[u8], low: &mut [u8], scales: &mut [u8]) {
    let to = low.chunks_exact_mut(32).zip(scales.chunks_exact_mut(2));
    for (block, (low, scale)) in bytes.as_chunks::<34>().0.iter().zip(to) {
        low.copy_from_slice(&block[2..]);
        scale.copy_from_slice(&block[..2]);
    }
}

/// Q4_K and Q5_K: header, fifth bits, nibbles.
fn k<const BYTES: usize>(
    bytes: &[u8],
    low: &mut [u8],
    headers: &mut [u8],
    mut fifths: Option<&mut [u8]>,
) {
    for (b, block) in bytes.as_chunks::<BYTES>().0.iter().enumerate() {
        headers[16 * b..][..16].copy_from_slice(&block[..16]);
        let quants = &block[BYTES - 128..];
        for unit in 0..8 {
            let to = &mut low[16 * (8 * b + unit)..][..16];
            nibbles(to, |i| quants[unit / 2 * UNIT + i] >> (unit % 2 * 4) & 15);
            if let Some(fifths) = &mut fifths {
                let bit = |i: usize| u32::from(block[16 + i] >> unit & 1) << i;
                let bits: u32 = (0..UNIT).map(bit).sum();
                fifths[4 * (8 * b + unit)..][..4].copy_from_slice(&bits.to_le_bytes());
            }
        }
    }
}

fn q6_k(bytes: &[u8], [low, pairs, scales, d]: [&mut [u8]; 4]) {
    for (b, block) in bytes.as_chunks::<210>().0.iter().enumerate() {
        scales[16 * b..][..16].copy_from_slice(&block[192..208]);
        d[2 * b..][..2].copy_from_slice(&block[208..]);
        for unit in 0..8 {
            let (half, c) = (unit / 4, unit % 4);
            let to = &mut low[16 * (8 * b + unit)..][..16];
            nibbles(to, |i| block[64 * half + 32 * (c % 2) + i] >> (c / 2 * 4) & 15);
            let pair = |i: usize| block[128 + 32 * half + i] >> (2 * c) & 3;
            for (i, to) in pairs[8 * (8 * b + unit)..][..8].iter_mut().enumerate() {
                *to = (0..4).map(|j| pair(4 * i + j) << (2 * j)).sum();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is lost and nothing is added but padding: bits of the file and bits of the page.
    #[test]
    fn a_page_is_as_large_as_the_file() {
        for quant in Quant::ALL {
            let (rows, cols) = (64, 512);
            let file = rows * quant.row_bytes(cols).unwrap();
            assert_eq!(page_bytes(quant, rows, cols), file, "{quant:?}");
            let bytes: Vec<u8> = (0..file).map(|i| (i * 7 % 251) as u8).collect();
            let page = pack(quant, &bytes, rows, cols);
            let ones = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
            assert_eq!(ones(&page), ones(&bytes), "{quant:?}");
        }
    }
}
