#if defined(__x86_64__)
#include <immintrin.h>

#include "restore_tables.h"

#pragma clang fp contract(off)
// Vectors of 64 bytes only pass between functions that are always inlined.
#pragma clang diagnostic ignored "-Wpsabi"
#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)

#include "lanes.h"

INLINE v16h narrow_f16(v16f v) {
    __m256 half[2];
    memcpy(half, &v, sizeof half);
    const __m128i narrow[2] = {
        _mm256_cvtps_ph(half[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
        _mm256_cvtps_ph(half[1], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
    };
    v16h halves;
    memcpy(&halves, narrow, sizeof halves);
    return halves;
}

INLINE v16f widen_f16(v16h halves) {
    __m128i half[2];
    memcpy(half, &halves, sizeof half);
    const __m256 wide[2] = {_mm256_cvtph_ps(half[0]), _mm256_cvtph_ps(half[1])};
    v16f v;
    memcpy(&v, wide, sizeof v);
    return v;
}

/// Four bytes of codes to eight floats: the table's halves by the code's lower three bits, one of them by its fourth.
INLINE __m256 eight(const uint8_t *codes, __m256 low, __m256 high) {
    uint32_t four;
    memcpy(&four, codes, sizeof four);
    const __m256i bytes = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128((int)four));
    const __m256i pairs = _mm256_or_si256(_mm256_srli_epi64(bytes, 4), _mm256_slli_epi64(bytes, 32));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, pairs), _mm256_permutevar8x32_ps(high, pairs),
                            _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 28)));
}

INLINE void singles(const uint8_t *codes, v16f table, uint8_t *out) {
    __m256 half[2];
    memcpy(half, &table, sizeof half);
    _mm256_storeu_ps((float *)out, eight(codes, half[0], half[1]));
    _mm256_storeu_ps((float *)out + 8, eight(codes + 4, half[0], half[1]));
}

/// The low and the high bytes of the 16 values, each twice: bytes are looked up within halves of a register.
typedef struct {
    __m256i low, high;
} words;

INLINE words words_of(v16h table) {
    __m128i half[2];
    memcpy(half, &table, sizeof half);
    const __m128i mask = _mm_set1_epi16(0xff);
    const __m128i low = _mm_packus_epi16(_mm_and_si128(half[0], mask), _mm_and_si128(half[1], mask));
    const __m128i high = _mm_packus_epi16(_mm_srli_epi16(half[0], 8), _mm_srli_epi16(half[1], 8));
    const words both = {_mm256_broadcastsi128_si256(low), _mm256_broadcastsi128_si256(high)};
    return both;
}

INLINE void halves(const uint8_t *codes, words table, uint8_t *out) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)codes), mask = _mm_set1_epi8(15);
    const __m128i first = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask), second = _mm_and_si128(bytes, mask);
    const __m256i pairs = _mm256_set_m128i(_mm_unpackhi_epi8(first, second), _mm_unpacklo_epi8(first, second));
    const __m256i low = _mm256_shuffle_epi8(table.low, pairs), high = _mm256_shuffle_epi8(table.high, pairs);
    const __m256i outer = _mm256_unpacklo_epi8(low, high), inner = _mm256_unpackhi_epi8(low, high);
    _mm256_storeu_si256((__m256i *)out, _mm256_permute2x128_si256(outer, inner, 0x20));
    _mm256_storeu_si256((__m256i *)(out + 32), _mm256_permute2x128_si256(outer, inner, 0x31));
}

#include "restore_body.h"

#pragma clang attribute pop

const ck_restore_table ck_restore_avx2 = {nibbles};
#endif
