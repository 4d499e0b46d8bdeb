#if defined(__x86_64__)
#include <immintrin.h>

#include "tables.h"

#pragma clang fp contract(off)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
                             apply_to = function)

#include "lanes.h"

// [-1, 1] is cut into 31 cells, cell(v) = round(15 v) mod 32. No two decision points share a cell, so one comparison in
// the cell settles the code: the points below the cell, plus one if v is above the cell's own. A cell without a point
// has +inf. The rounding that finds the cell is monotone, which is all that exactness needs of it.
static const uint32_t cell_points[32] = {
    0x7f800000, 0x3d22faff, 0x3df64862, 0x3e5067e0, 0x3e9582d4, 0x7f800000, 0x3ec753f9, 0x7f800000,
    0x3f006d04, 0x7f800000, 0x3f248daf, 0x7f800000, 0x7f800000, 0x3f5c89da, 0x7f800000, 0x7f800000,
    0x7f800000, 0x7f800000, 0x7f800000, 0xbf591cd8, 0x7f800000, 0x7f800000, 0x7f800000, 0xbf1c5270,
    0x7f800000, 0xbeeb8480, 0x7f800000, 0xbeadea76, 0xbe703cec, 0x7f800000, 0xbe0d38bc, 0xbd3a7871,
};
static const uint32_t cell_bases[32] = {
    7, 7, 8, 9, 10, 11, 11, 12, 12, 13, 13, 14, 14, 14, 15, 15,
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 5, 6,
};
static const uint32_t code_values[16] = {
    0xbf800000, 0xbf3239b1, 0xbf066b30, 0xbeca32a0, 0xbe91a24d, 0xbe3d353f, 0xbdba7871, 0x00000000,
    0x3da2faff, 0x3e24cae3, 0x3e7c04dd, 0x3ead033a, 0x3ee1a4b8, 0x3f1007ab, 0x3f3913b3, 0x3f800000,
};

INLINE v16u nf4_codes(v16f v) {
    const __m512 x = (__m512)v;
    const __m512i cell = _mm512_castps_si512(_mm512_fmadd_ps(x, _mm512_set1_ps(15.0f), _mm512_set1_ps(0x1.8p23f)));
    const __m512 low = _mm512_loadu_ps(cell_points), high = _mm512_loadu_ps(cell_points + 16);
    const __m512 point = _mm512_permutex2var_ps(low, cell, high);
    const __m512i base =
        _mm512_permutex2var_epi32(_mm512_loadu_si512(cell_bases), cell, _mm512_loadu_si512(cell_bases + 16));
    const __mmask16 above = _mm512_cmp_ps_mask(x, point, _CMP_GT_OQ);
    return (v16u)_mm512_mask_add_epi32(base, above, base, _mm512_set1_epi32(1));
}

INLINE v16f nf4_values(v16u codes) {
    return (v16f)_mm512_permutexvar_ps((__m512i)codes, _mm512_loadu_ps(code_values));
}

// The smaller magnitude of v and 1, with the sign of v: beyond [-1, 1] the cells would wrap.
INLINE v16f nf4_domain(v16f v) { return (v16f)_mm512_range_ps((__m512)v, _mm512_set1_ps(1.0f), 2); }

INLINE void store_nibbles(v16u codes, uint8_t *out) {
    const __m512i pairs = (__m512i)codes;
    const __m512i bytes = _mm512_or_si512(_mm512_slli_epi64(pairs, 4), _mm512_srli_epi64(pairs, 32));
    const __m128i packed = _mm512_cvtepi64_epi8(bytes);
    memcpy(out, &packed, 8);
}

INLINE void store_rows(v16u a, v16u b, uint8_t *out) {
    store_nibbles(a, out);
    store_nibbles(b, out + 8);
}

INLINE v16f widen_halves(v16h halves) { return (v16f)_mm512_cvtph_ps((__m256i)halves); }

INLINE v16f round_f16(v16f v) {
    return widen_halves((v16h)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

INLINE v16f larger(v16f a, v16f b) { return (v16f)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE v16f smaller(v16f a, v16f b) { return (v16f)_mm512_min_ps((__m512)a, (__m512)b); }

INLINE v16f nearest(v16f v) {
    return (v16f)_mm512_roundscale_ps((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

#include "body.h"
#include "groups.h"

#pragma clang attribute pop

const ck_table ck_avx512 = {nf4, nf4_search, nf4_assign, absmax, int8, ranges, groups, grids, widen_f16, widen_bf16};
#endif
