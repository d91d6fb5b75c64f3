//! AVX-512: 16 lanes.

use super::bytes::Bytes;
use super::x86::shared_bytes;
use super::{Kernel, Simd};
use half::f16;
use std::arch::x86_64::*;

/// Proof that the CPU has AVX-512 F, BW, VL, DQ and VNNI (Cascade Lake, Zen 4 and later), and
/// with them AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

impl Avx512 {
    /// `None` if the CPU lacks one of the features.
    pub fn new() -> Option<Avx512> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        has.then_some(Avx512(()))
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

impl Simd for Avx512 {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 8;
    const INT8: bool = true;
    type F32 = __m512;
    type Sums = __m512i;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(
            enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c,bmi2"
        )]
        fn with_features<K: Kernel>(simd: Avx512, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: the token proves that the CPU has the features.
        unsafe { with_features(self, kernel) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m512 {
        let from = &from[..16];
        // SAFETY: the slice has 16 values; the load needs no alignment.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_part(self, from: &[f32]) -> __m512 {
        // SAFETY: the mask has one bit for each value of the slice that is read.
        unsafe { _mm512_maskz_loadu_ps(mask(from.len()), from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, vector: __m512, to: &mut [f32]) {
        let to = &mut to[..16];
        // SAFETY: the slice has 16 values; the store needs no alignment.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), vector) }
    }

    #[inline(always)]
    fn store_part(self, vector: __m512, to: &mut [f32]) {
        // SAFETY: the mask has one bit for each value of the slice that is written.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask(to.len()), vector) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> __m512 {
        let from = &from[..16];
        // SAFETY: the slice has 16 values of 2 bytes; the load needs no alignment.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_f32_bytes(self, from: &[u8]) -> __m512 {
        let from = &from[..64];
        // SAFETY: the slice has 16 values of 4 bytes; the load needs no alignment.
        unsafe { _mm512_loadu_ps(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_f16_bytes(self, from: &[u8]) -> __m512 {
        let from = &from[..32];
        // SAFETY: the slice has 16 values of 2 bytes; the load needs no alignment.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16_bytes(self, from: &[u8]) -> __m512 {
        let from = &from[..32];
        // SAFETY: the slice has 16 values of 2 bytes; the load needs no alignment.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    fn transpose(self, from: &[f32], from_stride: usize, to: &mut [f32], to_stride: usize) {
        let mut rows = [self.zero(); 16];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = self.load(&from[r * from_stride..]);
        }
        // SAFETY: the token proves AVX-512; no memory is touched.
        unsafe {
            // Pairs of rows, then fours: each 128 bits hold four rows of one column.
            let mut pairs = rows;
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
            }
            for g in [0, 4, 8, 12] {
                for i in 0..2 {
                    let low = _mm512_castps_pd(pairs[g + i]);
                    let high = _mm512_castps_pd(pairs[g + i + 2]);
                    rows[g + 2 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
                    rows[g + 2 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
                }
            }
            for c in 0..4 {
                let [a, b, d, e] = [rows[c], rows[4 + c], rows[8 + c], rows[12 + c]];
                let even = _mm512_shuffle_f32x4::<0x88>(a, b);
                let even_high = _mm512_shuffle_f32x4::<0x88>(d, e);
                let odd = _mm512_shuffle_f32x4::<0xdd>(a, b);
                let odd_high = _mm512_shuffle_f32x4::<0xdd>(d, e);
                rows[c] = _mm512_shuffle_f32x4::<0x88>(even, even_high);
                rows[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd, odd_high);
                rows[8 + c] = _mm512_shuffle_f32x4::<0xdd>(even, even_high);
                rows[12 + c] = _mm512_shuffle_f32x4::<0xdd>(odd, odd_high);
            }
        }
        for (r, row) in rows.into_iter().enumerate() {
            self.store(row, &mut to[r * to_stride..]);
        }
    }

    lanewise! {
        splat(value: f32) -> __m512 = _mm512_set1_ps(value);
        add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
        sqrt(a: __m512) -> __m512 = _mm512_sqrt_ps(a);
        round(a: __m512) -> __m512 = _mm512_roundscale_ps::<0>(a);
        select_lt(a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 =
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes);
        exp2_int(n: __m512) -> __m512 = {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        };
        splat_i32(value: i32) -> __m512i = _mm512_set1_epi32(value);
        sums_to_f32(sums: __m512i) -> __m512 = _mm512_cvtepi32_ps(sums);
        dot_lanes(quants: __m512, activations: i32, sums: __m512i) -> __m512i = {
            let quants = _mm512_castps_si512(quants);
            _mm512_dpbusd_epi32(sums, quants, _mm512_set1_epi32(activations))
        };
        sum(a: __m512) -> f32 = _mm512_reduce_add_ps(a);
        max_lane(a: __m512) -> f32 = _mm512_reduce_max_ps(a);
    }
}

/// The first `count` of 16 lanes.
#[inline(always)]
fn mask(count: usize) -> __mmask16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

impl Bytes for Avx512 {
    shared_bytes!();

    lanewise! {
        dot(quants: __m256i, activations: __m256i, sums: __m256i) -> __m256i =
            _mm256_dpbusd_epi32(sums, quants, activations);
        dot_signed(quants: __m256i, activations: __m256i) -> __m256i = {
            // One factor must be unsigned: move the sign of the quant to the activation.
            let moved = _mm256_sign_epi8(activations, quants);
            _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_abs_epi8(quants), moved)
        };
    }

    #[inline(always)]
    fn expand(self, quants: __m256i, scale: f32, min: f32, to: &mut [f32; 32]) {
        // SAFETY: the token proves AVX-512; 32 values are written, unaligned.
        unsafe {
            let (scale, min) = (_mm512_set1_ps(scale), _mm512_set1_ps(min));
            let low = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(quants));
            let high = _mm512_cvtepu8_epi32(_mm256_extracti128_si256::<1>(quants));
            let value = |q| _mm512_fmsub_ps(_mm512_cvtepi32_ps(q), scale, min);
            _mm512_storeu_ps(to.as_mut_ptr(), value(low));
            _mm512_storeu_ps(to[16..].as_mut_ptr(), value(high));
        }
    }

    #[inline(always)]
    fn expand_signed(self, quants: __m256i, scale: f32, to: &mut [f32; 32]) {
        // SAFETY: the token proves AVX-512; 32 values are written, unaligned.
        unsafe {
            let scale = _mm512_set1_ps(scale);
            let low = _mm512_cvtepi8_epi32(_mm256_castsi256_si128(quants));
            let high = _mm512_cvtepi8_epi32(_mm256_extracti128_si256::<1>(quants));
            let value = |q| _mm512_mul_ps(_mm512_cvtepi32_ps(q), scale);
            _mm512_storeu_ps(to.as_mut_ptr(), value(low));
            _mm512_storeu_ps(to[16..].as_mut_ptr(), value(high));
        }
    }

    #[inline(always)]
    fn expand_halves(self, quants: __m256i, scales: (f32, f32), to: &mut [f32; 32]) {
        // SAFETY: the token proves AVX-512; 32 values are written, unaligned.
        unsafe {
            let signed = _mm256_sub_epi8(quants, _mm256_set1_epi8(32));
            let low = _mm512_cvtepi8_epi32(_mm256_castsi256_si128(signed));
            let high = _mm512_cvtepi8_epi32(_mm256_extracti128_si256::<1>(signed));
            let value = |q, scale| _mm512_mul_ps(_mm512_cvtepi32_ps(q), _mm512_set1_ps(scale));
            _mm512_storeu_ps(to.as_mut_ptr(), value(low, scales.0));
            _mm512_storeu_ps(to[16..].as_mut_ptr(), value(high, scales.1));
        }
    }
}
