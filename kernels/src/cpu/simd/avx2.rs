//! AVX2 with FMA: 8 lanes.

use super::bytes::Bytes;
use super::x86::shared_bytes;
use super::{Kernel, Simd};
use half::f16;
use std::arch::x86_64::*;

/// Proof that the CPU has AVX2, FMA and F16C (Haswell, Zen and later).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// `None` if the CPU lacks one of the features.
    pub fn new() -> Option<Avx2> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        has.then_some(Avx2(()))
    }
}

/// Methods whose bodies are intrinsics on values.
macro_rules! lanewise {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $result:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $kind),*) -> $result {
            // SAFETY: the token proves that the CPU has the instructions; no memory is touched.
            unsafe { $body }
        }
    )*};
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    type F32 = __m256;
    type Sums = ();

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn with_features<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: the token proves that the CPU has the features.
        unsafe { with_features(self, kernel) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m256 {
        let from = &from[..8];
        // SAFETY: the slice has 8 values; the load needs no alignment.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_part(self, from: &[f32]) -> __m256 {
        // SAFETY: the mask selects only values that the slice has.
        unsafe { _mm256_maskload_ps(from.as_ptr(), mask(from.len())) }
    }

    #[inline(always)]
    fn store(self, vector: __m256, to: &mut [f32]) {
        let to = &mut to[..8];
        // SAFETY: the slice has 8 values; the store needs no alignment.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), vector) }
    }

    #[inline(always)]
    fn store_part(self, vector: __m256, to: &mut [f32]) {
        // SAFETY: the mask selects only values that the slice has.
        unsafe { _mm256_maskstore_ps(to.as_mut_ptr(), mask(to.len()), vector) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> __m256 {
        let from = &from[..8];
        // SAFETY: the slice has 8 values of 2 bytes; the load needs no alignment.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_f32_bytes(self, from: &[u8]) -> __m256 {
        let from = &from[..32];
        // SAFETY: the slice has 8 values of 4 bytes; the load needs no alignment.
        unsafe { _mm256_loadu_ps(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_f16_bytes(self, from: &[u8]) -> __m256 {
        let from = &from[..16];
        // SAFETY: the slice has 8 values of 2 bytes; the load needs no alignment.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16_bytes(self, from: &[u8]) -> __m256 {
        let from = &from[..16];
        // SAFETY: the slice has 8 values of 2 bytes; the load needs no alignment.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    fn transpose(self, from: &[f32], from_stride: usize, to: &mut [f32], to_stride: usize) {
        let mut rows = [self.zero(); 8];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = self.load(&from[r * from_stride..]);
        }
        // SAFETY: the token proves AVX2; no memory is touched.
        unsafe {
            // Pairs of rows, then fours: each 128 bits hold four rows of one column.
            let mut pairs = rows;
            for i in 0..4 {
                pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
                pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
            }
            for g in [0, 4] {
                for i in 0..2 {
                    let low = _mm256_castps_pd(pairs[g + i]);
                    let high = _mm256_castps_pd(pairs[g + i + 2]);
                    rows[g + 2 * i] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, high));
                    rows[g + 2 * i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, high));
                }
            }
            for c in 0..4 {
                let (low, high) = (rows[c], rows[4 + c]);
                rows[c] = _mm256_permute2f128_ps::<0x20>(low, high);
                rows[4 + c] = _mm256_permute2f128_ps::<0x31>(low, high);
            }
        }
        for (r, row) in rows.into_iter().enumerate() {
            self.store(row, &mut to[r * to_stride..]);
        }
    }

    lanewise! {
        splat(value: f32) -> __m256 = _mm256_set1_ps(value);
        add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
        mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
        min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b);
        sqrt(a: __m256) -> __m256 = _mm256_sqrt_ps(a);
        round(a: __m256) -> __m256 =
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        select_lt(a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 =
            _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b));
        exp2_int(n: __m256) -> __m256 = {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        };
        sum(a: __m256) -> f32 = {
            let quad = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_add_ps(quad, _mm_movehl_ps(quad, quad));
            _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
        };
        max_lane(a: __m256) -> f32 = {
            let quad = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_max_ps(quad, _mm_movehl_ps(quad, quad));
            _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)))
        };
    }
}

/// The first `count` of 8 lanes.
#[inline(always)]
fn mask(count: usize) -> __m256i {
    let count = count.min(8) as i32;
    // SAFETY: called only from methods of the token.
    unsafe {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes)
    }
}

impl Bytes for Avx2 {
    shared_bytes!();

    lanewise! {
        dot(quants: __m256i, activations: __m256i, sums: __m256i) -> __m256i = {
            // Pairs are below 2 × 127 × 127 and do not saturate.
            let pairs = _mm256_maddubs_epi16(quants, activations);
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        };
        dot_signed(quants: __m256i, activations: __m256i) -> __m256i = {
            // One factor must be unsigned: move the sign of the quant to the activation. Pairs
            // are at most 2 × 128 × 127 and do not saturate.
            let moved = _mm256_sign_epi8(activations, quants);
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(quants), moved);
            _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
        };
    }

    #[inline(always)]
    fn expand(self, quants: __m256i, scale: f32, min: f32, to: &mut [f32; 32]) {
        // SAFETY: the token proves AVX2 and FMA; the array has four times 8 values.
        unsafe {
            let (scale, min) = (_mm256_set1_ps(scale), _mm256_set1_ps(min));
            for (quarter, to) in quarters(quants).into_iter().zip(to.as_chunks_mut::<8>().0) {
                let wide = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(quarter));
                _mm256_storeu_ps(to.as_mut_ptr(), _mm256_fmsub_ps(wide, scale, min));
            }
        }
    }

    #[inline(always)]
    fn expand_signed(self, quants: __m256i, scale: f32, to: &mut [f32; 32]) {
        // SAFETY: the token proves AVX2; the array has four times 8 values.
        unsafe {
            let scale = _mm256_set1_ps(scale);
            for (quarter, to) in quarters(quants).into_iter().zip(to.as_chunks_mut::<8>().0) {
                let wide = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(quarter));
                _mm256_storeu_ps(to.as_mut_ptr(), _mm256_mul_ps(wide, scale));
            }
        }
    }

    #[inline(always)]
    fn expand_halves(self, quants: __m256i, scales: (f32, f32), to: &mut [f32; 32]) {
        // SAFETY: the token proves AVX2; the array has four times 8 values.
        unsafe {
            let scales = [scales.0, scales.0, scales.1, scales.1];
            let signed = quarters(_mm256_sub_epi8(quants, _mm256_set1_epi8(32)));
            for ((q, scale), to) in signed.into_iter().zip(scales).zip(to.as_chunks_mut::<8>().0) {
                let wide = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
                _mm256_storeu_ps(to.as_mut_ptr(), _mm256_mul_ps(wide, _mm256_set1_ps(scale)));
            }
        }
    }
}

/// Eight bytes each.
#[inline(always)]
fn quarters(bytes: __m256i) -> [__m128i; 4] {
    // SAFETY: called only from methods of the token.
    unsafe {
        let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
        [low, _mm_unpackhi_epi64(low, low), high, _mm_unpackhi_epi64(high, high)]
    }
}
