#if defined(__x86_64__)
#include <immintrin.h>

#include "tables.h"

#pragma clang fp contract(off)
// Vectors of 64 bytes only pass between functions that are always inlined.
#pragma clang diagnostic ignored "-Wpsabi"
#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)

#include "lanes.h"

// The 15 decision points as a binary search tree, root first, and the values of the codes. A comparison gives minus
// one, so nodes and codes are negatives, and the tables are read by their low bits: 0, then from the end.
static const uint32_t level1 = 0x3d22faff;
static const uint32_t level2[2] = {0xbeadea76, 0x3ec753f9};
static const uint32_t level3[4] = {0xbf1c5270, 0x3f248daf, 0x3e5067e0, 0xbe0d38bc};
static const uint32_t level4[8] = {
    0xbf591cd8, 0x3f5c89da, 0x3f006d04, 0x3e9582d4, 0x3df64862, 0xbd3a7871, 0xbe703cec, 0xbeeb8480,
};
static const uint32_t code_values[16] = {
    0xbf800000, 0x3f800000, 0x3f3913b3, 0x3f1007ab, 0x3ee1a4b8, 0x3ead033a, 0x3e7c04dd, 0x3e24cae3,
    0x3da2faff, 0x00000000, 0xbdba7871, 0xbe3d353f, 0xbe91a24d, 0xbeca32a0, 0xbf066b30, 0xbf3239b1,
};

typedef struct {
    __m256 low, high;
} pair;

INLINE pair split(v16f v) {
    pair halves;
    memcpy(&halves, &v, sizeof halves);
    return halves;
}

INLINE v16f join(__m256 low, __m256 high) {
    const pair halves = {low, high};
    v16f v;
    memcpy(&v, &halves, sizeof v);
    return v;
}

INLINE __m256 broadcast(uint32_t bits) { return _mm256_castsi256_ps(_mm256_set1_epi32((int)bits)); }

/// All ones (minus one) where v is above the point.
INLINE __m256i above(__m256 v, __m256 point) { return _mm256_castps_si256(_mm256_cmp_ps(v, point, _CMP_GT_OQ)); }

/// The next node: twice the node, less one where `above`. Nodes are the negatives of their numbers.
INLINE __m256i descend(__m256i node, __m256i above) { return _mm256_add_epi32(_mm256_add_epi32(node, node), above); }

INLINE __m256i search(__m256 v) {
    const __m256i first = above(v, broadcast(level1));
    const __m256 second = _mm256_blendv_ps(broadcast(level2[0]), broadcast(level2[1]), _mm256_castsi256_ps(first));
    __m256i node = descend(first, above(v, second));
    const __m256 third = _mm256_broadcast_ps((const __m128 *)level3);
    node = descend(node, above(v, _mm256_permutevar_ps(third, node)));
    const __m256 fourth = _mm256_permutevar8x32_ps(_mm256_loadu_ps((const float *)level4), node);
    return descend(node, above(v, fourth));
}

INLINE v16u nf4_codes(v16f v) {
    const pair x = split(v);
    return (v16u)join(_mm256_castsi256_ps(search(x.low)), _mm256_castsi256_ps(search(x.high)));
}

INLINE __m256 value(__m256 codes) {
    const __m256i code = _mm256_castps_si256(codes);
    const __m256 first = _mm256_permutevar8x32_ps(_mm256_loadu_ps((const float *)code_values), code);
    const __m256 second = _mm256_permutevar8x32_ps(_mm256_loadu_ps((const float *)code_values + 8), code);
    // Bit 3 of the code's negative, moved to the sign that blendv looks at.
    return _mm256_blendv_ps(first, second, _mm256_castsi256_ps(_mm256_slli_epi32(code, 28)));
}

INLINE v16f nf4_values(v16u codes) {
    const pair code = split((v16f)codes);
    return join(value(code.low), value(code.high));
}

// The search by comparison takes the end codes for whatever lies beyond them.
INLINE v16f nf4_domain(v16f v) { return v; }

INLINE void store_nibbles(v16u codes, uint8_t *out) {
    const pair code = split((v16f)codes);
    const __m256i words = _mm256_packs_epi32(_mm256_castps_si256(code.low), _mm256_castps_si256(code.high));
    const __m256i ordered = _mm256_permute4x64_epi64(_mm256_abs_epi16(words), 0xd8);
    // Each pair of words: 16 times the even one plus the odd one. NF4's codes come as negatives.
    const __m256i bytes = _mm256_madd_epi16(ordered, _mm256_set1_epi32(16 | 1 << 16));
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
    const __m128i packed = _mm_packus_epi16(halves, halves);
    memcpy(out, &packed, 8);
}

INLINE void store_rows(v16u a, v16u b, uint8_t *out) {
    const pair x = split((v16f)a), y = split((v16f)b);
    const __m256i first = _mm256_packs_epi32(_mm256_castps_si256(x.low), _mm256_castps_si256(x.high));
    const __m256i second = _mm256_packs_epi32(_mm256_castps_si256(y.low), _mm256_castps_si256(y.high));
    const __m256i bytes = _mm256_abs_epi8(_mm256_packs_epi16(first, second));
    const __m256i words = _mm256_maddubs_epi16(bytes, _mm256_set1_epi16(16 | 1 << 8));
    const __m256i packed = _mm256_packus_epi16(words, words);
    const __m128i ordered = _mm_unpacklo_epi16(_mm256_castsi256_si128(packed), _mm256_extracti128_si256(packed, 1));
    memcpy(out, &ordered, sizeof ordered);
}

INLINE v16f widen_halves(v16h halves) {
    __m128i half[2];
    memcpy(half, &halves, sizeof half);
    return join(_mm256_cvtph_ps(half[0]), _mm256_cvtph_ps(half[1]));
}

INLINE v16f round_f16(v16f v) {
    const pair x = split(v);
    return join(_mm256_cvtph_ps(_mm256_cvtps_ph(x.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)),
                _mm256_cvtph_ps(_mm256_cvtps_ph(x.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)));
}

INLINE v16f larger(v16f a, v16f b) {
    const pair x = split(a), y = split(b);
    return join(_mm256_max_ps(x.low, y.low), _mm256_max_ps(x.high, y.high));
}

INLINE v16f smaller(v16f a, v16f b) {
    const pair x = split(a), y = split(b);
    return join(_mm256_min_ps(x.low, y.low), _mm256_min_ps(x.high, y.high));
}

INLINE v16f nearest(v16f v) {
    const pair x = split(v);
    return join(_mm256_round_ps(x.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                _mm256_round_ps(x.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#include "body.h"
#include "groups.h"

#pragma clang attribute pop

const ck_table ck_avx2 = {nf4, nf4_search, nf4_assign, absmax, int8, ranges, groups, grids, widen_f16, widen_bf16};
#endif
