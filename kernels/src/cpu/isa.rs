//! Which instruction set the kernels use: found at run time, overridable by tests.

#[cfg(target_arch = "aarch64")]
use super::simd::neon::{Neon, NeonDot};
use super::simd::portable::Portable;
use super::simd::{Kernel, Simd};
#[cfg(target_arch = "x86_64")]
use super::simd::{avx2::Avx2, avx512::Avx512};

/// An instruction set that this CPU has. Each variant carries the token that proves it, so that
/// a value of this type can be trusted to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust: every CPU.
    Portable(Portable),
    /// AVX2, FMA, F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512 F, BW, VL, DQ and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// NEON: every 64-bit Arm.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// NEON with the int8 dot product (`sdot`).
    #[cfg(target_arch = "aarch64")]
    NeonDot(NeonDot),
}

impl Isa {
    /// Everything that this CPU can run, the fastest last.
    pub fn available() -> Vec<Isa> {
        #[cfg(target_arch = "x86_64")]
        let native = [Avx2::new().map(Isa::Avx2), Avx512::new().map(Isa::Avx512)];
        #[cfg(target_arch = "aarch64")]
        let native = [Neon::new().map(Isa::Neon), NeonDot::new().map(Isa::NeonDot)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let native = [None];
        [Isa::Portable(Portable)].into_iter().chain(native.into_iter().flatten()).collect()
    }

    /// The fastest that this CPU can run.
    pub fn best() -> Isa {
        Isa::available().pop().unwrap_or(Isa::Portable(Portable))
    }

    /// A short name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512-vnni",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(_) => "neon-dotprod",
        }
    }

    /// Whether it multiplies bytes much faster than floats: [`Simd::INT8`].
    pub(super) fn has_int8(self) -> bool {
        struct Int8;
        impl Kernel for Int8 {
            type Output = bool;

            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> bool {
                S::INT8
            }
        }
        self.dispatch(Int8)
    }

    /// Runs a kernel compiled for this instruction set.
    #[inline]
    pub fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Isa::Portable(simd) => simd.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(simd) => simd.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(simd) => simd.vectorize(kernel),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(simd) => simd.vectorize(kernel),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(simd) => simd.vectorize(kernel),
        }
    }
}
