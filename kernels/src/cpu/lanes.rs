//! Loops over slices of any length: a vector at a time, the last one partial.

use super::simd::Simd;

/// The vector at `i`; 0 beyond the end.
#[inline(always)]
pub fn get<S: Simd>(s: S, from: &[f32], i: usize) -> S::F32 {
    match from.get(i..i + S::LANES) {
        Some(whole) => s.load(whole),
        None => s.load_part(&from[i..]),
    }
}

/// Writes the vector at `i`; what lies beyond the end is dropped.
#[inline(always)]
pub fn put<S: Simd>(s: S, vector: S::F32, to: &mut [f32], i: usize) {
    match to.get_mut(i..i + S::LANES) {
        Some(whole) => s.store(vector, whole),
        None => s.store_part(vector, &mut to[i..]),
    }
}
