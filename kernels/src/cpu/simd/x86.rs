//! What AVX2 and AVX-512 share of [`Bytes`](super::bytes::Bytes): 32 bytes are a 256-bit register
//! on both, which differ in how bytes are multiplied and summed.

/// The methods of `Bytes` that are the same instructions on both.
macro_rules! shared_bytes {
    () => {
        type I8 = __m256i;
        type I32 = __m256i;
        type F8 = __m256;

        #[inline(always)]
        fn bytes(self, from: &[u8; 32]) -> __m256i {
            // SAFETY: 32 bytes; the load needs no alignment. The token proves AVX2.
            unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
        }

        #[inline(always)]
        fn activations(self, from: &[i8; 32]) -> __m256i {
            // SAFETY: 32 bytes; the load needs no alignment. The token proves AVX2.
            unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
        }

        #[inline(always)]
        fn store_bytes(self, vector: __m256i, to: &mut [u8; 32]) {
            // SAFETY: 32 bytes; the store needs no alignment. The token proves AVX2.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) }
        }

        #[inline(always)]
        fn nibbles(self, from: &[u8; 16]) -> __m256i {
            // SAFETY: 16 bytes; the load needs no alignment. The token proves AVX2.
            unsafe {
                let packed = _mm256_broadcastsi128_si256(_mm_loadu_si128(from.as_ptr().cast()));
                let shifted = _mm256_srlv_epi64(packed, _mm256_setr_epi64x(0, 0, 4, 4));
                _mm256_and_si256(shifted, _mm256_set1_epi8(15))
            }
        }

        #[inline(always)]
        fn store8(self, vector: __m256, to: &mut [f32; 8]) {
            // SAFETY: eight values; the store needs no alignment. The token proves AVX2.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), vector) }
        }

        #[inline(always)]
        fn load8(self, from: &[f32; 8]) -> __m256 {
            // SAFETY: eight values; the load needs no alignment. The token proves AVX2.
            unsafe { _mm256_loadu_ps(from.as_ptr()) }
        }

        #[inline(always)]
        fn shifted<const N: u32>(self, sums: &[i32; 8]) -> __m256i {
            // SAFETY: eight values; the load needs no alignment. The token proves AVX2.
            unsafe {
                let sums = _mm256_loadu_si256(sums.as_ptr().cast());
                _mm256_sllv_epi32(sums, _mm256_set1_epi32(N as i32))
            }
        }

        #[inline(always)]
        fn bits_to_16<const AT: i32, const MASK: u8>(self, bytes: __m256i) -> __m256i {
            // SAFETY: the token proves AVX2; no memory is touched.
            unsafe {
                // Bits that cross into the neighbouring byte are masked away.
                let moved = if AT < 4 {
                    _mm256_sllv_epi32(bytes, _mm256_set1_epi32(4 - AT))
                } else {
                    _mm256_srlv_epi32(bytes, _mm256_set1_epi32(AT - 4))
                };
                _mm256_and_si256(moved, _mm256_set1_epi8((MASK << 4).cast_signed()))
            }
        }

        lanewise! {
            fifth_bits(bits: u32) -> __m256i = {
                // Byte i gets the byte of `bits` that has bit i, then its own bit is selected.
                let spread = _mm256_shuffle_epi8(
                    _mm256_set1_epi32(bits.cast_signed()),
                    _mm256_setr_epi64x(
                        0,
                        0x0101_0101_0101_0101,
                        0x0202_0202_0202_0202,
                        0x0303_0303_0303_0303,
                    ),
                );
                let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
                let set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
                _mm256_and_si256(set, _mm256_set1_epi8(16))
            };
            low_nibbles(bytes: __m256i) -> __m256i =
                _mm256_and_si256(bytes, _mm256_set1_epi8(15));
            high_nibbles(bytes: __m256i) -> __m256i =
                _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), _mm256_set1_epi8(15));
            or(a: __m256i, b: __m256i) -> __m256i = _mm256_or_si256(a, b);
            no_sums() -> __m256i = _mm256_setzero_si256();
            scaled(sums: __m256i, scale: f32, to: __m256) -> __m256 =
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(scale), to);
            scaled_halves(sums: __m256i, scales: (f32, f32), to: __m256) -> __m256 = {
                let scales = _mm256_set_m128(_mm_set1_ps(scales.1), _mm_set1_ps(scales.0));
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), scales, to)
            };
            widen8(from: &[u8; 8]) -> __m256 = {
                let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(*from));
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
            };
            splat8(value: f32) -> __m256 = _mm256_set1_ps(value);
            mul8(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
            fma8(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
            sum8(vector: __m256) -> f32 = {
                let high = _mm256_extractf128_ps::<1>(vector);
                let quad = _mm_add_ps(_mm256_castps256_ps128(vector), high);
                let pair = _mm_add_ps(quad, _mm_movehl_ps(quad, quad));
                _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
            };
            widen8_signed(from: &[u8; 8]) -> __m256 = {
                let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(*from));
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
            };
            halves8(bits: [u16; 8]) -> __m256 = {
                let [a, b, c, d, e, f, g, h] = bits.map(u16::cast_signed);
                _mm256_cvtph_ps(_mm_setr_epi16(a, b, c, d, e, f, g, h))
            };
            half(bytes: [u8; 2]) -> f32 = {
                let bits = i32::from(u16::from_le_bytes(bytes));
                _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)))
            };
        }
    };
}

pub(super) use shared_bytes;
