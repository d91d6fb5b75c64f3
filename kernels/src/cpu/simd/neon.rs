//! NEON: 4 lanes. Every 64-bit Arm has it; the int8 dot product came with Armv8.2.

use super::{Kernel, Simd};
use half::f16;
use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

/// Proof that the CPU has NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    /// `None` if the CPU lacks NEON.
    pub fn new() -> Option<Neon> {
        is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

/// Proof that the CPU has NEON and the int8 dot product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeonDot(Neon);

impl NeonDot {
    /// `None` if the CPU lacks one of them.
    pub fn new() -> Option<NeonDot> {
        let has = is_aarch64_feature_detected!("dotprod");
        Neon::new().filter(|_| has).map(NeonDot)
    }
}

/// Methods whose bodies are intrinsics on values.
macro_rules! lanewise {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $result:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $kind),*) -> $result {
            // SAFETY: the token proves that the CPU has NEON; no memory is touched.
            unsafe { $body }
        }
    )*};
}

/// Both tokens have the same f32 vectors; `$features` are what the trampoline switches on.
macro_rules! implement {
    ($token:ty, $features:literal) => {
        impl Simd for $token {
            const LANES: usize = 4;
            const TILE_ROWS: usize = 8;
            type F32 = float32x4_t;

            #[inline(always)]
            fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
                #[target_feature(enable = $features)]
                fn with_features<K: Kernel>(simd: $token, kernel: K) -> K::Output {
                    kernel.run(simd)
                }
                // SAFETY: the token proves that the CPU has the features.
                unsafe { with_features(self, kernel) }
            }

            #[inline(always)]
            fn load(self, from: &[f32]) -> float32x4_t {
                let from = &from[..4];
                // SAFETY: the slice has 4 values.
                unsafe { vld1q_f32(from.as_ptr()) }
            }

            #[inline(always)]
            fn load_part(self, from: &[f32]) -> float32x4_t {
                let mut lanes = [0.0; 4];
                for (y, x) in lanes.iter_mut().zip(from) {
                    *y = *x;
                }
                self.load(&lanes)
            }

            #[inline(always)]
            fn store(self, vector: float32x4_t, to: &mut [f32]) {
                let to = &mut to[..4];
                // SAFETY: the slice has 4 values.
                unsafe { vst1q_f32(to.as_mut_ptr(), vector) }
            }

            #[inline(always)]
            fn store_part(self, vector: float32x4_t, to: &mut [f32]) {
                let mut lanes = [0.0; 4];
                self.store(vector, &mut lanes);
                for (y, x) in to.iter_mut().zip(lanes) {
                    *y = x;
                }
            }

            #[inline(always)]
            fn load_f16(self, from: &[f16]) -> float32x4_t {
                let from = &from[..4];
                // SAFETY: the slice has 4 values of 2 bytes.
                unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from.as_ptr().cast()))) }
            }

            #[inline(always)]
            fn store_f16(self, vector: float32x4_t, to: &mut [f16]) {
                let to = &mut to[..4];
                // SAFETY: the slice has 4 values of 2 bytes.
                unsafe {
                    vst1_u16(to.as_mut_ptr().cast(), vreinterpret_u16_f16(vcvt_f16_f32(vector)))
                }
            }

            lanewise! {
                splat(value: f32) -> float32x4_t = vdupq_n_f32(value);
                add(a: float32x4_t, b: float32x4_t) -> float32x4_t = vaddq_f32(a, b);
                sub(a: float32x4_t, b: float32x4_t) -> float32x4_t = vsubq_f32(a, b);
                mul(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmulq_f32(a, b);
                div(a: float32x4_t, b: float32x4_t) -> float32x4_t = vdivq_f32(a, b);
                fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t =
                    vfmaq_f32(c, a, b);
                max(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmaxq_f32(a, b);
                min(a: float32x4_t, b: float32x4_t) -> float32x4_t = vminq_f32(a, b);
                sqrt(a: float32x4_t) -> float32x4_t = vsqrtq_f32(a);
                round(a: float32x4_t) -> float32x4_t = vrndnq_f32(a);
                select_lt(
                    a: float32x4_t, b: float32x4_t, yes: float32x4_t, no: float32x4_t
                ) -> float32x4_t = vbslq_f32(vcltq_f32(a, b), yes, no);
                exp2_int(n: float32x4_t) -> float32x4_t = {
                    let biased = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
                    vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
                };
                sum(a: float32x4_t) -> f32 = vaddvq_f32(a);
                max_lane(a: float32x4_t) -> f32 = vmaxvq_f32(a);
            }
        }
    };
}

implement!(Neon, "neon");
implement!(NeonDot, "neon,dotprod");
