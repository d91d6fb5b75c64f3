//! Functions on vectors: exp and its kin, sums over slices.

use super::Simd;

/// eˣ, relative error below 2⁻²². Saturates: 0 below -87.3, e⁸⁸·³ above 88.3.
///
/// x = n ln 2 + r with |r| ≤ ln 2 / 2 (Cody and Waite's two-part ln 2), then a polynomial for
/// eʳ - 1 - r and an exponent shift.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let least = s.splat(-87.3);
    let clamped = s.max(s.min(x, s.splat(88.3)), least);
    let n = s.round(s.mul(clamped, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fma(n, s.splat(-0.693_359_4), clamped);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        p = s.fma(p, r, s.splat(coefficient));
    }
    let value = s.add(s.splat(1.0), s.fma(s.mul(r, r), p, r));
    let value = s.mul(value, s.exp2_int(n));
    s.select_lt(x, least, s.zero(), value)
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.zero(), x))))
}

/// tanh x = 2 sigmoid(2 x) - 1; absolute error below 3e-7.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let two = s.splat(2.0);
    s.fma(two, sigmoid(s, s.mul(two, x)), s.splat(-1.0))
}

/// Σ aᵢ bᵢ over slices of equal length, in four running vectors.
#[inline(always)]
pub fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut sums = [s.zero(); 4];
    let (mut quads_a, mut quads_b) = (a.chunks_exact(4 * S::LANES), b.chunks_exact(4 * S::LANES));
    for (a, b) in (&mut quads_a).zip(&mut quads_b) {
        for (i, sum) in sums.iter_mut().enumerate() {
            let at = i * S::LANES;
            *sum = s.fma(s.load(&a[at..]), s.load(&b[at..]), *sum);
        }
    }
    let rest = quads_a.remainder().chunks(S::LANES).zip(quads_b.remainder().chunks(S::LANES));
    for (a, b) in rest {
        sums[0] = s.fma(s.load_part(a), s.load_part(b), sums[0]);
    }
    s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
}

/// Σ aᵢ bᵢ over slices of equal length, i in order: the bits of the same sum in a [`super::tile`].
#[inline(always)]
pub fn dot_in_order<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut sum = s.zero();
    for (&a, &b) in a.iter().zip(b) {
        sum = s.fma(s.splat(a), s.splat(b), sum);
    }
    s.max_lane(sum)
}

/// y += a x over slices of equal length.
#[inline(always)]
pub fn axpy<S: Simd>(s: S, a: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let a = s.splat(a);
    let (mut whole_x, mut whole_y) = (x.chunks_exact(S::LANES), y.chunks_exact_mut(S::LANES));
    for (x, y) in (&mut whole_x).zip(&mut whole_y) {
        s.store(s.fma(a, s.load(x), s.load(y)), y);
    }
    let (x, y) = (whole_x.remainder(), whole_y.into_remainder());
    s.store_part(s.fma(a, s.load_part(x), s.load_part(y)), y);
}
