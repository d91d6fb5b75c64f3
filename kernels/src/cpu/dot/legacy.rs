//! Q4_0, Q4_1, Q5_0, Q5_1, Q8_0: a block is one run. Layouts: `crate::quant::legacy`.

use super::{Activations, Blocks, RUN, Sum, at};
use crate::cpu::simd::Simd;
use std::ops::Range;

/// Types whose value is `scale (q - 2ⁿ)`. The offset is taken off in integers: the activations'
/// sums are at hand.
macro_rules! offset {
    ($name:ident, $bytes:literal, $shift:literal, |$s:ident, $block:ident| $quants:expr) => {
        #[allow(non_camel_case_types, reason = "the type's name")]
        pub(super) struct $name;

        impl Blocks for $name {
            const BYTES: usize = $bytes;
            const RUNS: usize = 1;

            #[inline(always)]
            fn dot<S: Simd>(
                $s: S,
                $block: &[u8],
                x: &Activations<'_>,
                run: usize,
                to: Sum<S>,
            ) -> Sum<S> {
                let start = $s.minus_shifted::<$shift>(&x.sums[run]);
                let sums = $s.dot($quants, $s.activations(&x.quants[run]), start);
                let scale = $s.half(*at($block, 0)) * x.scales[run];
                Sum { lanes: $s.scaled(sums, scale, to.lanes), ..to }
            }

            #[inline(always)]
            fn expand<S: Simd>($s: S, $block: &[u8], _: Range<usize>, to: &mut [[f32; RUN]]) {
                let scale = $s.half(*at($block, 0));
                $s.expand($quants, scale, (1 << $shift) as f32 * scale, &mut to[0]);
            }
        }
    };
}

offset!(Q4_0, 18, 3, |s, block| s.nibbles(at(block, 2)));
offset!(Q5_0, 22, 4, |s, block| s
    .or(s.nibbles(at(block, 6)), s.fifth_bits(u32::from_le_bytes(*at(block, 2)))));

/// Types whose value is `scale q + min`.
macro_rules! minimum {
    ($name:ident, $bytes:literal, |$s:ident, $block:ident| $quants:expr) => {
        #[allow(non_camel_case_types, reason = "the type's name")]
        pub(super) struct $name;

        impl Blocks for $name {
            const BYTES: usize = $bytes;
            const RUNS: usize = 1;

            #[inline(always)]
            fn dot<S: Simd>(
                $s: S,
                $block: &[u8],
                x: &Activations<'_>,
                run: usize,
                to: Sum<S>,
            ) -> Sum<S> {
                let sums = $s.dot($quants, $s.activations(&x.quants[run]), $s.no_sums());
                let scale = $s.half(*at($block, 0)) * x.scales[run];
                let minima = to.minima - $s.half(*at($block, 2)) * x.totals[run];
                Sum { lanes: $s.scaled(sums, scale, to.lanes), minima }
            }

            #[inline(always)]
            fn expand<S: Simd>($s: S, $block: &[u8], _: Range<usize>, to: &mut [[f32; RUN]]) {
                let (scale, min) = ($s.half(*at($block, 0)), $s.half(*at($block, 2)));
                $s.expand($quants, scale, -min, &mut to[0]);
            }
        }
    };
}

minimum!(Q4_1, 20, |s, block| s.nibbles(at(block, 4)));
minimum!(Q5_1, 24, |s, block| s
    .or(s.nibbles(at(block, 8)), s.fifth_bits(u32::from_le_bytes(*at(block, 4)))));

#[allow(non_camel_case_types, reason = "the type's name")]
pub(super) struct Q8_0;

impl Blocks for Q8_0 {
    const BYTES: usize = 34;
    const RUNS: usize = 1;

    #[inline(always)]
    fn dot<S: Simd>(s: S, block: &[u8], x: &Activations<'_>, run: usize, to: Sum<S>) -> Sum<S> {
        let sums = s.dot_signed(s.bytes(at(block, 2)), s.activations(&x.quants[run]));
        let scale = s.half(*at(block, 0)) * x.scales[run];
        Sum { lanes: s.scaled(sums, scale, to.lanes), ..to }
    }

    #[inline(always)]
    fn expand<S: Simd>(s: S, block: &[u8], _: Range<usize>, to: &mut [[f32; RUN]]) {
        s.expand_signed(s.bytes(at(block, 2)), s.half(*at(block, 0)), &mut to[0]);
    }
}
