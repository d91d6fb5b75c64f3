//! Q4_0, Q4_1, Q5_0, Q5_1, Q8_0: a block is one run. Layouts: `crate::quant::legacy`.

use super::blocks::{Activations, Blocks, GROUP, Pair, ROWS, RUN, at, cut};
use crate::cpu::simd::Simd;
use std::hint::black_box;
use std::marker::PhantomData;
use std::ops::Range;

/// How a type of single runs stores them.
pub(super) trait Single {
    const SIZE: usize;
    /// Value: `scale (q - 2ⁿ)`. The offset is taken off in integers: the activations' sums are at
    /// hand.
    const OFFSET: Option<u32>;
    /// Value: `scale q + min`, with `min` after the scale.
    const MIN: bool;

    fn quants<S: Simd>(s: S, block: &[u8]) -> S::I8;
}

pub(super) struct Q4_0;
pub(super) struct Q4_1;
pub(super) struct Q5_0;
pub(super) struct Q5_1;
pub(super) struct Q8_0;

impl Single for Q4_0 {
    const SIZE: usize = 18;
    const OFFSET: Option<u32> = Some(3);
    const MIN: bool = false;

    #[inline(always)]
    fn quants<S: Simd>(s: S, block: &[u8]) -> S::I8 {
        s.nibbles(at(block, 2))
    }
}

impl Single for Q4_1 {
    const SIZE: usize = 20;
    const OFFSET: Option<u32> = None;
    const MIN: bool = true;

    #[inline(always)]
    fn quants<S: Simd>(s: S, block: &[u8]) -> S::I8 {
        s.nibbles(at(block, 4))
    }
}

impl Single for Q5_0 {
    const SIZE: usize = 22;
    const OFFSET: Option<u32> = Some(4);
    const MIN: bool = false;

    #[inline(always)]
    fn quants<S: Simd>(s: S, block: &[u8]) -> S::I8 {
        let fifth = s.fifth_bits(u32::from_le_bytes(*at(block, 2)));
        s.or(s.nibbles(at(block, 6)), fifth)
    }
}

impl Single for Q5_1 {
    const SIZE: usize = 24;
    const OFFSET: Option<u32> = None;
    const MIN: bool = true;

    #[inline(always)]
    fn quants<S: Simd>(s: S, block: &[u8]) -> S::I8 {
        let fifth = s.fifth_bits(u32::from_le_bytes(*at(block, 4)));
        s.or(s.nibbles(at(block, 8)), fifth)
    }
}

/// Signed: has neither offset nor minimum.
impl Single for Q8_0 {
    const SIZE: usize = 34;
    const OFFSET: Option<u32> = None;
    const MIN: bool = false;

    #[inline(always)]
    fn quants<S: Simd>(s: S, block: &[u8]) -> S::I8 {
        s.bytes(at(block, 2))
    }
}

/// The f16 at `from` of each of `N` blocks.
#[inline(always)]
fn halves<S: Simd, B: Single, const N: usize>(s: S, blocks: &[u8], from: usize) -> S::F8 {
    let mut bits = [0; GROUP];
    for (i, bits) in bits.iter_mut().take(N).enumerate() {
        *bits = u16::from_le_bytes(*at(blocks, i * B::SIZE + from));
    }
    s.halves8(bits)
}

/// A type of single runs.
pub(super) struct Singles<B>(PhantomData<B>);

impl<B: Single> Blocks for Singles<B> {
    const BYTES: usize = B::SIZE;
    const RUNS: usize = 1;

    #[inline(always)]
    fn dot<S: Simd, const N: usize>(
        s: S,
        rows: [&[u8]; ROWS],
        x: &Activations<'_>,
        run: usize,
        mut lanes: [S::F8; ROWS],
    ) -> [S::F8; ROWS] {
        let rows = cut(rows, 0, N * B::SIZE);
        let x_scales = s.load8(&up_to_8::<N>(x.scales, run));
        let mut scales = [[0.0; GROUP]; ROWS];
        for ((row, scales), lanes) in rows.into_iter().zip(&mut scales).zip(&mut lanes) {
            s.store8(s.mul8(halves::<S, B, N>(s, row, 0), x_scales), scales);
            if B::MIN {
                let totals = s.load8(&up_to_8::<N>(x.totals, run));
                *lanes = s.fma8(halves::<S, B, N>(s, row, 2), totals, *lanes);
            }
        }
        // From memory a scale is broadcast by the load; from a register by two shuffles.
        let scales = black_box(&scales);
        let (quants, sums) = (&x.quants[run..][..N], &x.sums[run..][..N]);
        for j in 0..N {
            let activations = s.activations(&quants[j]);
            let start = match B::OFFSET {
                Some(3) => s.shifted::<3>(&sums[j]),
                Some(4) => s.shifted::<4>(&sums[j]),
                _ => s.no_sums(),
            };
            for r in 0..ROWS {
                let weights = B::quants(s, &rows[r][j * B::SIZE..][..B::SIZE]);
                let sums = if B::OFFSET.is_none() && !B::MIN {
                    s.dot_signed(weights, activations)
                } else {
                    s.dot(weights, activations, start)
                };
                lanes[r] = s.scaled(sums, scales[r][j], lanes[r]);
            }
        }
        lanes
    }

    const SHIFT: Option<u32> = if B::OFFSET.is_none() && !B::MIN { Some(7) } else { B::OFFSET };
    const PAIR: Pair = if B::MIN { Pair::ScaleMin } else { Pair::Scale };

    #[inline(always)]
    fn unpack<S: Simd>(s: S, block: &[u8], to: &mut [[u8; RUN]], pairs: &mut [[f32; 2]]) {
        let min = if B::MIN { s.half(*at(block, 2)) } else { 0.0 };
        pairs[0] = [s.half(*at(block, 0)), min];
        s.store_bytes(B::quants(s, block), &mut to[0]);
        if B::OFFSET.is_none() && !B::MIN {
            // Signed: 128 more, without a sign.
            to[0].iter_mut().for_each(|byte| *byte ^= 0x80);
        }
    }

    #[inline(always)]
    fn expand<S: Simd>(s: S, block: &[u8], _: Range<usize>, to: &mut [[f32; RUN]]) {
        let (scale, quants) = (s.half(*at(block, 0)), B::quants(s, block));
        match B::OFFSET {
            Some(shift) => s.expand(quants, scale, (1 << shift) as f32 * scale, &mut to[0]),
            None if B::MIN => s.expand(quants, scale, -s.half(*at(block, 2)), &mut to[0]),
            None => s.expand_signed(quants, scale, &mut to[0]),
        }
    }
}

/// `N` values from `from` on, then zeros.
#[inline(always)]
fn up_to_8<const N: usize>(values: &[f32], from: usize) -> [f32; GROUP] {
    let values: &[f32; N] = values[from..].first_chunk().expect("as many as runs");
    let mut out = [0.0; GROUP];
    out[..N].copy_from_slice(values);
    out
}
