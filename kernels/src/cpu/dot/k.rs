//! Q4_K, Q5_K, Q6_K: a block is eight runs. Layouts: `crate::quant::{q4_k, q5_k, q6_k}`.

use super::blocks::{Activations, Blocks, GROUP, Pair, ROWS, RUN, at, cut};
use crate::cpu::simd::Simd;
use std::hint::black_box;
use std::marker::PhantomData;
use std::ops::Range;

/// The 6-bit scales and minima of Q4_K and Q5_K as bytes: four at a time in the bytes of a u32.
#[inline(always)]
fn unpack(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let word = |i: usize| u32::from_le_bytes(*at(packed, 4 * i));
    let (scales, minima, low) = (word(0), word(1), word(2));
    let six = 0x3f3f_3f3f;
    let high_scales = low & 0x0f0f_0f0f | scales >> 2 & 0x3030_3030;
    let high_minima = low >> 4 & 0x0f0f_0f0f | minima >> 2 & 0x3030_3030;
    let join = |low: u32, high: u32| (u64::from(low) | u64::from(high) << 32).to_le_bytes();
    (join(scales & six, high_scales), join(minima & six, high_minima))
}

/// Eight of the activations' values from `from` on.
#[inline(always)]
fn group<T>(values: &[T], from: usize) -> &[T; GROUP] {
    values[from..].first_chunk().expect("activations are whole groups")
}

/// What Q4_K and Q5_K share. Both begin with `d`, `dmin`, `scales[12]`.
pub(super) trait Affine {
    const SIZE: usize;

    /// The quants of run `J`.
    fn quants<S: Simd, const J: usize>(s: S, block: &[u8]) -> S::I8;
}

pub(super) struct Q4K;
pub(super) struct Q5K;

impl Affine for Q4K {
    const SIZE: usize = 144;

    #[inline(always)]
    fn quants<S: Simd, const J: usize>(s: S, block: &[u8]) -> S::I8 {
        nibbles::<S, J>(s, &block[16..])
    }
}

impl Affine for Q5K {
    const SIZE: usize = 176;

    #[inline(always)]
    fn quants<S: Simd, const J: usize>(s: S, block: &[u8]) -> S::I8 {
        let high = s.bytes(at(block, 16));
        let fifth = match J {
            0 => s.bits_to_16::<0, 1>(high),
            1 => s.bits_to_16::<1, 1>(high),
            2 => s.bits_to_16::<2, 1>(high),
            3 => s.bits_to_16::<3, 1>(high),
            4 => s.bits_to_16::<4, 1>(high),
            5 => s.bits_to_16::<5, 1>(high),
            6 => s.bits_to_16::<6, 1>(high),
            _ => s.bits_to_16::<7, 1>(high),
        };
        s.or(nibbles::<S, J>(s, &block[48..]), fifth)
    }
}

/// Run `J` of runs that share 32 bytes by twos.
#[inline(always)]
fn nibbles<S: Simd, const J: usize>(s: S, quants: &[u8]) -> S::I8 {
    let bytes = s.bytes(at(quants, J / 2 * RUN));
    if J.is_multiple_of(2) { s.low_nibbles(bytes) } else { s.high_nibbles(bytes) }
}

/// Runs `$body` with `$j` a constant, for each of a block's eight runs.
macro_rules! each_run {
    ($j:ident => $body:expr) => {
        each_run!(@ $j, $body, 0 1 2 3 4 5 6 7)
    };
    (@ $j:ident, $body:expr, $($value:literal)*) => {
        $({ const $j: usize = $value; $body })*
    };
}

/// A type of affine runs.
pub(super) struct Affines<A>(PhantomData<A>);

impl<A: Affine> Blocks for Affines<A> {
    const BYTES: usize = A::SIZE;
    const RUNS: usize = 8;

    #[inline(always)]
    fn dot<S: Simd, const N: usize>(
        s: S,
        rows: [&[u8]; ROWS],
        x: &Activations<'_>,
        run: usize,
        mut lanes: [S::F8; ROWS],
    ) -> [S::F8; ROWS] {
        let rows = cut(rows, 0, A::SIZE);
        let x_scales = s.load8(group(x.scales, run));
        let x_totals = s.load8(group(x.totals, run));
        let mut scales = [[0.0; GROUP]; ROWS];
        for ((row, scales), lanes) in rows.into_iter().zip(&mut scales).zip(&mut lanes) {
            let (scale, min) = (s.half(*at(row, 0)), s.half(*at(row, 2)));
            let (scale_bytes, min_bytes) = unpack(at(row, 4));
            let d = s.mul8(s.splat8(scale), x_scales);
            s.store8(s.mul8(s.widen8(&scale_bytes), d), scales);
            let m = s.mul8(s.splat8(-min), x_totals);
            *lanes = s.fma8(s.widen8(&min_bytes), m, *lanes);
        }
        // From memory a scale is broadcast by the load; from a register by two shuffles.
        let scales = black_box(&scales);
        let quants: &[[i8; RUN]; GROUP] = group(x.quants, run);
        each_run!(J => {
            let activations = s.activations(&quants[J]);
            for r in 0..ROWS {
                let sums = s.dot(A::quants::<S, J>(s, rows[r]), activations, s.no_sums());
                lanes[r] = s.scaled(sums, scales[r][J], lanes[r]);
            }
        });
        lanes
    }

    const SHIFT: Option<u32> = None;
    const PAIR: Pair = Pair::ScaleMin;

    #[inline(always)]
    fn unpack<S: Simd>(s: S, block: &[u8], to: &mut [[u8; RUN]], pairs: &mut [[f32; 2]]) {
        let block = &block[..A::SIZE];
        let (scale, min) = (s.half(*at(block, 0)), s.half(*at(block, 2)));
        let (scales, minima) = unpack(at(block, 4));
        each_run!(J => {
            pairs[J] = [scale * f32::from(scales[J]), -min * f32::from(minima[J])];
            s.store_bytes(A::quants::<S, J>(s, block), &mut to[J]);
        });
    }

    #[inline(always)]
    fn expand<S: Simd>(s: S, block: &[u8], runs: Range<usize>, to: &mut [[f32; RUN]]) {
        let block = &block[..A::SIZE];
        let (scale, min) = (s.half(*at(block, 0)), s.half(*at(block, 2)));
        let (scales, minima) = unpack(at(block, 4));
        each_run!(J => if runs.contains(&J) {
            let (scale, min) = (scale * f32::from(scales[J]), min * f32::from(minima[J]));
            s.expand(A::quants::<S, J>(s, block), scale, min, &mut to[J - runs.start]);
        });
    }
}

pub(super) struct Q6K;

impl Q6K {
    /// The quants of run `J`.
    #[inline(always)]
    fn quants<S: Simd, const J: usize>(s: S, block: &[u8]) -> S::I8 {
        let low = s.bytes(at(block, 64 * (J / 4) + RUN * (J % 2)));
        let low = if J % 4 < 2 { s.low_nibbles(low) } else { s.high_nibbles(low) };
        let high = s.bytes(at(block, 128 + RUN * (J / 4)));
        let high = match J % 4 {
            0 => s.bits_to_16::<0, 3>(high),
            1 => s.bits_to_16::<2, 3>(high),
            2 => s.bits_to_16::<4, 3>(high),
            _ => s.bits_to_16::<6, 3>(high),
        };
        s.or(low, high)
    }

    /// The scales of the halves of run `j`.
    #[inline(always)]
    fn scales(block: &[u8], j: usize, scale: f32) -> (f32, f32) {
        let half = |i: usize| scale * f32::from(block[192 + 2 * j + i].cast_signed());
        (half(0), half(1))
    }
}

impl Blocks for Q6K {
    const BYTES: usize = 210;
    const RUNS: usize = 8;

    #[inline(always)]
    fn dot<S: Simd, const N: usize>(
        s: S,
        rows: [&[u8]; ROWS],
        x: &Activations<'_>,
        run: usize,
        mut lanes: [S::F8; ROWS],
    ) -> [S::F8; ROWS] {
        let rows = cut(rows, 0, Self::BYTES);
        let x_scales: &[f32; GROUP] = group(x.scales, run);
        // Each activation scale twice: a run has two scales.
        let mut x_twice = [0.0; 2 * GROUP];
        for (i, twice) in x_twice.iter_mut().enumerate() {
            *twice = x_scales[i / 2];
        }
        let mut scales = [[0.0; 2 * GROUP]; ROWS];
        for (row, scales) in rows.into_iter().zip(&mut scales) {
            let scale = s.splat8(s.half(*at(row, 208)));
            for (i, scales) in scales.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let d = s.mul8(scale, s.load8(group(&x_twice, 8 * i)));
                s.store8(s.mul8(s.widen8_signed(at(row, 192 + 8 * i)), d), scales);
            }
        }
        // From memory a scale is broadcast by the load; from a register by two shuffles.
        let scales = black_box(&scales);
        let quants: &[[i8; RUN]; GROUP] = group(x.quants, run);
        let starts: &[[i32; 8]; GROUP] = group(x.sums, run);
        each_run!(J => {
            let activations = s.activations(&quants[J]);
            let start = s.shifted::<5>(&starts[J]);
            for r in 0..ROWS {
                let sums = s.dot(Self::quants::<S, J>(s, rows[r]), activations, start);
                let halves = (scales[r][2 * J], scales[r][2 * J + 1]);
                lanes[r] = s.scaled_halves(sums, halves, lanes[r]);
            }
        });
        lanes
    }

    const SHIFT: Option<u32> = Some(5);
    const PAIR: Pair = Pair::Halves;

    #[inline(always)]
    fn unpack<S: Simd>(s: S, block: &[u8], to: &mut [[u8; RUN]], pairs: &mut [[f32; 2]]) {
        let block = &block[..Self::BYTES];
        let scale = s.half(*at(block, 208));
        each_run!(J => {
            pairs[J] = Self::scales(block, J, scale).into();
            s.store_bytes(Self::quants::<S, J>(s, block), &mut to[J]);
        });
    }

    #[inline(always)]
    fn expand<S: Simd>(s: S, block: &[u8], runs: Range<usize>, to: &mut [[f32; RUN]]) {
        let block = &block[..Self::BYTES];
        let scale = s.half(*at(block, 208));
        each_run!(J => if runs.contains(&J) {
            let quants = Self::quants::<S, J>(s, block);
            s.expand_halves(quants, Self::scales(block, J, scale), &mut to[J - runs.start]);
        });
    }
}
