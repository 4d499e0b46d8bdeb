#if defined(__x86_64__)
#include <immintrin.h>

#include "restore_tables.h"

#pragma clang fp contract(off)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
                             apply_to = function)

#include "lanes.h"

INLINE v16h narrow_f16(v16f v) {
    return (v16h)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE v16f widen_f16(v16h halves) { return (v16f)_mm512_cvtph_ps((__m256i)halves); }

// A permutation looks at the lowest bits of its indices alone: a byte shifted right by four is its high nibble, the
// byte itself its low one.

INLINE void singles(const uint8_t *codes, v16f table, uint8_t *out) {
    const __m512i bytes = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)codes));
    const __m512i pairs = _mm512_or_si512(_mm512_srli_epi64(bytes, 4), _mm512_slli_epi64(bytes, 32));
    _mm512_storeu_ps(out, _mm512_permutexvar_ps(pairs, (__m512)table));
}

/// The 16 values twice, for indices of five bits.
typedef __m512i words;

INLINE words words_of(v16h table) { return _mm512_broadcast_i64x4((__m256i)table); }

INLINE void halves(const uint8_t *codes, words table, uint8_t *out) {
    const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)codes));
    const __m512i pairs = _mm512_or_si512(_mm512_srli_epi32(bytes, 4), _mm512_slli_epi32(bytes, 16));
    _mm512_storeu_si512(out, _mm512_permutexvar_epi16(pairs, table));
}

#include "restore_body.h"

#pragma clang attribute pop

const ck_restore_table ck_restore_avx512 = {nibbles};
#endif
