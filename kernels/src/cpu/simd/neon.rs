//! NEON: 4 lanes. Every 64-bit Arm has it; the int8 dot product came with Armv8.2.

use super::bytes::Bytes;
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
            type Sums = ();

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
            fn load_f32_bytes(self, from: &[u8]) -> float32x4_t {
                let from = &from[..16];
                // SAFETY: the slice has 16 bytes; loads of bytes need no alignment.
                unsafe { vreinterpretq_f32_u8(vld1q_u8(from.as_ptr())) }
            }

            #[inline(always)]
            fn load_f16_bytes(self, from: &[u8]) -> float32x4_t {
                let from = &from[..8];
                // SAFETY: the slice has 8 bytes; loads of bytes need no alignment.
                unsafe { vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(from.as_ptr()))) }
            }

            #[inline(always)]
            fn load_bf16_bytes(self, from: &[u8]) -> float32x4_t {
                let from = &from[..8];
                // SAFETY: the slice has 8 bytes; loads of bytes need no alignment.
                unsafe {
                    let bits = vreinterpret_u16_u8(vld1_u8(from.as_ptr()));
                    vreinterpretq_f32_u32(vshll_n_u16::<16>(bits))
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

/// 32 bytes are two registers, eight values two as well.
type Two<T> = [T; 2];

/// The methods of `Bytes` that are the same with and without the dot product.
macro_rules! shared_bytes {
    () => {
        type I8 = Two<uint8x16_t>;
        type I32 = Two<int32x4_t>;
        type F8 = Two<float32x4_t>;

        #[inline(always)]
        fn bytes(self, from: &[u8; 32]) -> Two<uint8x16_t> {
            // SAFETY: twice 16 of 32 bytes.
            unsafe { [vld1q_u8(from.as_ptr()), vld1q_u8(from[16..].as_ptr())] }
        }

        #[inline(always)]
        fn activations(self, from: &[i8; 32]) -> Two<uint8x16_t> {
            // SAFETY: twice 16 of 32 bytes.
            unsafe { [vld1q_u8(from.as_ptr().cast()), vld1q_u8(from[16..].as_ptr().cast())] }
        }

        #[inline(always)]
        fn store_bytes(self, vector: Two<uint8x16_t>, to: &mut [u8; 32]) {
            // SAFETY: 32 bytes; the token proves NEON.
            unsafe {
                vst1q_u8(to.as_mut_ptr(), vector[0]);
                vst1q_u8(to[16..].as_mut_ptr(), vector[1]);
            }
        }

        #[inline(always)]
        fn nibbles(self, from: &[u8; 16]) -> Two<uint8x16_t> {
            // SAFETY: 16 bytes.
            unsafe {
                let packed = vld1q_u8(from.as_ptr());
                [vandq_u8(packed, vdupq_n_u8(15)), vshrq_n_u8::<4>(packed)]
            }
        }

        #[inline(always)]
        fn fifth_bits(self, bits: u32) -> Two<uint8x16_t> {
            let [a, b, c, d] = bits.to_le_bytes();
            let select: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
            // SAFETY: the array has eight bytes; the token proves NEON.
            unsafe {
                let select = vld1_u8(select.as_ptr());
                let select = vcombine_u8(select, select);
                let spread = |low, high| vcombine_u8(vdup_n_u8(low), vdup_n_u8(high));
                let sixteen = vdupq_n_u8(16);
                let set = |bytes| vandq_u8(vtstq_u8(bytes, select), sixteen);
                [set(spread(a, b)), set(spread(c, d))]
            }
        }

        #[inline(always)]
        fn bits_to_16<const AT: i32, const MASK: u8>(
            self,
            [low, high]: Two<uint8x16_t>,
        ) -> Two<uint8x16_t> {
            // SAFETY: the token proves NEON; no memory is touched.
            unsafe {
                // A negative count shifts to the right.
                let (count, mask) = (vdupq_n_s8(4 - AT as i8), vdupq_n_u8(MASK << 4));
                [vandq_u8(vshlq_u8(low, count), mask), vandq_u8(vshlq_u8(high, count), mask)]
            }
        }

        #[inline(always)]
        fn shifted<const N: u32>(self, sums: &[i32; 8]) -> Two<int32x4_t> {
            // SAFETY: twice 4 of 8 values.
            unsafe {
                let count = vdupq_n_s32(N as i32);
                let low = vshlq_s32(vld1q_s32(sums.as_ptr()), count);
                [low, vshlq_s32(vld1q_s32(sums[4..].as_ptr()), count)]
            }
        }

        #[inline(always)]
        fn load8(self, from: &[f32; 8]) -> Two<float32x4_t> {
            [self.load(from), self.load(&from[4..])]
        }

        #[inline(always)]
        fn store8(self, vector: Two<float32x4_t>, to: &mut [f32; 8]) {
            self.store(vector[0], to);
            self.store(vector[1], &mut to[4..]);
        }

        #[inline(always)]
        fn halves8(self, bits: [u16; 8]) -> Two<float32x4_t> {
            // SAFETY: twice 4 of 8 values.
            unsafe {
                let (low, high) = (vld1_u16(bits.as_ptr()), vld1_u16(bits[4..].as_ptr()));
                [vcvt_f32_f16(vreinterpret_f16_u16(low)), vcvt_f32_f16(vreinterpret_f16_u16(high))]
            }
        }

        #[inline(always)]
        fn widen8(self, from: &[u8; 8]) -> Two<float32x4_t> {
            // SAFETY: eight bytes.
            unsafe {
                let wide = vmovl_u8(vld1_u8(from.as_ptr()));
                let [low, high] = [vmovl_u16(vget_low_u16(wide)), vmovl_high_u16(wide)];
                [vcvtq_f32_u32(low), vcvtq_f32_u32(high)]
            }
        }

        #[inline(always)]
        fn widen8_signed(self, from: &[u8; 8]) -> Two<float32x4_t> {
            // SAFETY: eight bytes.
            unsafe { widen_signed(vreinterpret_s8_u8(vld1_u8(from.as_ptr()))) }
        }

        #[inline(always)]
        fn expand(self, quants: Two<uint8x16_t>, scale: f32, min: f32, to: &mut [f32; 32]) {
            // SAFETY: the token proves NEON; `store` checks its slices.
            unsafe {
                let (scale, min) = (vdupq_n_f32(scale), vdupq_n_f32(-min));
                for (eight, to) in eights(quants).into_iter().zip(to.as_chunks_mut::<8>().0) {
                    let wide = vmovl_u8(eight);
                    let low = vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide)));
                    let high = vcvtq_f32_u32(vmovl_high_u16(wide));
                    self.store(vfmaq_f32(min, low, scale), to);
                    self.store(vfmaq_f32(min, high, scale), &mut to[4..]);
                }
            }
        }

        #[inline(always)]
        fn expand_signed(self, quants: Two<uint8x16_t>, scale: f32, to: &mut [f32; 32]) {
            // SAFETY: the token proves NEON; `store` checks its slices.
            unsafe {
                for (eight, to) in eights(quants).into_iter().zip(to.as_chunks_mut::<8>().0) {
                    let [low, high] = widen_signed(vreinterpret_s8_u8(eight));
                    self.store(vmulq_n_f32(low, scale), to);
                    self.store(vmulq_n_f32(high, scale), &mut to[4..]);
                }
            }
        }

        #[inline(always)]
        fn expand_halves(
            self,
            [low, high]: Two<uint8x16_t>,
            scales: (f32, f32),
            to: &mut [f32; 32],
        ) {
            // SAFETY: the token proves NEON; `store` checks its slices.
            unsafe {
                let offset = vdupq_n_u8(32);
                let signed = eights([vsubq_u8(low, offset), vsubq_u8(high, offset)]);
                let scales = [scales.0, scales.0, scales.1, scales.1];
                let eights = signed.into_iter().zip(scales);
                for ((eight, scale), to) in eights.zip(to.as_chunks_mut::<8>().0) {
                    let [low, high] = widen_signed(vreinterpret_s8_u8(eight));
                    self.store(vmulq_n_f32(low, scale), to);
                    self.store(vmulq_n_f32(high, scale), &mut to[4..]);
                }
            }
        }

        lanewise! {
            low_nibbles(bytes: Two<uint8x16_t>) -> Two<uint8x16_t> =
                [vandq_u8(bytes[0], vdupq_n_u8(15)), vandq_u8(bytes[1], vdupq_n_u8(15))];
            high_nibbles(bytes: Two<uint8x16_t>) -> Two<uint8x16_t> =
                [vshrq_n_u8::<4>(bytes[0]), vshrq_n_u8::<4>(bytes[1])];
            or(a: Two<uint8x16_t>, b: Two<uint8x16_t>) -> Two<uint8x16_t> =
                [vorrq_u8(a[0], b[0]), vorrq_u8(a[1], b[1])];
            no_sums() -> Two<int32x4_t> = [vdupq_n_s32(0); 2];
            scaled(sums: Two<int32x4_t>, scale: f32, to: Two<float32x4_t>) -> Two<float32x4_t> = [
                vfmaq_n_f32(to[0], vcvtq_f32_s32(sums[0]), scale),
                vfmaq_n_f32(to[1], vcvtq_f32_s32(sums[1]), scale),
            ];
            scaled_halves(
                sums: Two<int32x4_t>, scales: (f32, f32), to: Two<float32x4_t>
            ) -> Two<float32x4_t> = [
                vfmaq_n_f32(to[0], vcvtq_f32_s32(sums[0]), scales.0),
                vfmaq_n_f32(to[1], vcvtq_f32_s32(sums[1]), scales.1),
            ];
            splat8(value: f32) -> Two<float32x4_t> = [vdupq_n_f32(value); 2];
            mul8(a: Two<float32x4_t>, b: Two<float32x4_t>) -> Two<float32x4_t> =
                [vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1])];
            fma8(
                a: Two<float32x4_t>, b: Two<float32x4_t>, c: Two<float32x4_t>
            ) -> Two<float32x4_t> = [vfmaq_f32(c[0], a[0], b[0]), vfmaq_f32(c[1], a[1], b[1])];
            sum8(vector: Two<float32x4_t>) -> f32 = vaddvq_f32(vaddq_f32(vector[0], vector[1]));
            half(bytes: [u8; 2]) -> f32 = {
                let bits = vdup_n_u16(u16::from_le_bytes(bytes));
                vgetq_lane_f32::<0>(vcvt_f32_f16(vreinterpret_f16_u16(bits)))
            };
        }
    };
}

impl Bytes for Neon {
    shared_bytes!();

    #[inline(always)]
    fn dot(
        self,
        quants: Two<uint8x16_t>,
        activations: Two<uint8x16_t>,
        sums: Two<int32x4_t>,
    ) -> Two<int32x4_t> {
        // SAFETY: the token proves NEON; no memory is touched.
        unsafe {
            [
                vaddq_s32(sums[0], products(quants[0], activations[0])),
                vaddq_s32(sums[1], products(quants[1], activations[1])),
            ]
        }
    }

    #[inline(always)]
    fn dot_signed(self, quants: Two<uint8x16_t>, activations: Two<uint8x16_t>) -> Two<int32x4_t> {
        self.dot(quants, activations, self.no_sums())
    }
}

impl Bytes for NeonDot {
    shared_bytes!();

    #[inline(always)]
    fn dot(
        self,
        quants: Two<uint8x16_t>,
        activations: Two<uint8x16_t>,
        sums: Two<int32x4_t>,
    ) -> Two<int32x4_t> {
        // SAFETY: the token proves the instruction.
        unsafe {
            [sdot(sums[0], quants[0], activations[0]), sdot(sums[1], quants[1], activations[1])]
        }
    }

    #[inline(always)]
    fn dot_signed(self, quants: Two<uint8x16_t>, activations: Two<uint8x16_t>) -> Two<int32x4_t> {
        self.dot(quants, activations, self.no_sums())
    }
}

/// Sums of four neighbouring products of signed bytes.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn products(a: uint8x16_t, b: uint8x16_t) -> int32x4_t {
    // SAFETY: the caller's.
    unsafe {
        let (a, b) = (vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b));
        let low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
        vpaddq_s32(low, vpaddlq_s16(vmull_high_s8(a, b)))
    }
}

/// `sums` plus the sums of four neighbouring products of signed bytes. (The intrinsic is not
/// stable, the instruction is.)
///
/// # Safety
/// The CPU has the dot product.
#[inline(always)]
unsafe fn sdot(mut sums: int32x4_t, a: uint8x16_t, b: uint8x16_t) -> int32x4_t {
    // SAFETY: the caller's; registers only.
    unsafe {
        std::arch::asm!(
            ".arch_extension dotprod",
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Eight bytes each.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn eights([low, high]: Two<uint8x16_t>) -> [uint8x8_t; 4] {
    // SAFETY: the caller's.
    unsafe { [vget_low_u8(low), vget_high_u8(low), vget_low_u8(high), vget_high_u8(high)] }
}

/// Eight signed bytes as f32.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn widen_signed(eight: int8x8_t) -> Two<float32x4_t> {
    // SAFETY: the caller's.
    unsafe {
        let wide = vmovl_s8(eight);
        let [low, high] = [vmovl_s16(vget_low_s16(wide)), vmovl_high_s16(wide)];
        [vcvtq_f32_s32(low), vcvtq_f32_s32(high)]
    }
}
