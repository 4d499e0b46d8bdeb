#pragma once
#include <stdint.h>
#include <string.h>

// Sixteen lanes, in vector extensions: one register on AVX-512, two on AVX2, the same arithmetic on both.
// Included after the target attribute is pushed, so that these functions carry it.

typedef float v16f __attribute__((vector_size(64)));
typedef uint32_t v16u __attribute__((vector_size(64)));
typedef uint8_t v16b __attribute__((vector_size(16)));
typedef uint16_t v16h __attribute__((vector_size(32)));

#define INLINE static inline __attribute__((always_inline))

INLINE v16f lanes_load(const uint8_t *x) {
    v16f v;
    memcpy(&v, x, sizeof v);
    return v;
}

INLINE v16f lanes_of(float value) {
    return (v16f){value, value, value, value, value, value, value, value,
                  value, value, value, value, value, value, value, value};
}

INLINE v16u magnitude_bits(v16f v) { return (v16u)v & 0x7fffffffu; }

INLINE v16u lanes_max(v16u a, v16u b) { return __builtin_elementwise_max(a, b); }

// Each fold adds the two halves of every sum in `a` and in `b` and keeps the results side by side. Sums of 16 lanes
// folded by 8, 4, 2 and 1 are reduced by the tree: lane j + lane j+8, then j+4, j+2, j+1.

INLINE v16f fold8(v16f a, v16f b) {
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}

INLINE v16f fold4(v16f a, v16f b) {
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
           __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

INLINE v16f fold2(v16f a, v16f b) {
    return __builtin_shufflevector(a, b, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) +
           __builtin_shufflevector(a, b, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
}

INLINE v16f fold1(v16f a, v16f b) {
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
           __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

/// Reduces eight sums of 16 lanes, each by the tree 8/4/2/1, into `out`.
INLINE void reduce8(const v16f s[8], float *out) {
    v16f low = fold4(fold8(s[0], s[1]), fold8(s[2], s[3]));
    v16f high = fold4(fold8(s[4], s[5]), fold8(s[6], s[7]));
    v16f pairs = fold2(low, high);
    v16f total = fold1(pairs, pairs);
    memcpy(out, &total, 8 * sizeof(float));
}

/// Reduces four sums of 16 lanes by the same tree.
INLINE void reduce4(const v16f s[4], float *out) {
    v16f fours = fold4(fold8(s[0], s[1]), fold8(s[2], s[3]));
    v16f pairs = fold2(fours, fours);
    v16f total = fold1(pairs, pairs);
    memcpy(out, &total, 4 * sizeof(float));
}

/// Reduces two sums of 16 lanes by the same tree.
INLINE void reduce2(const v16f s[2], float *out) {
    v16f eights = fold8(s[0], s[1]);
    v16f fours = fold4(eights, eights);
    v16f pairs = fold2(fours, fours);
    v16f total = fold1(pairs, pairs);
    memcpy(out, &total, 2 * sizeof(float));
}

/// The largest of 16 magnitudes, as a float.
INLINE float reduce_magnitude(v16u bits) {
    uint32_t largest = __builtin_reduce_max(bits);
    float value;
    memcpy(&value, &largest, sizeof value);
    return value;
}

INLINE v16u most(v16u a, v16u b, int half) {
    if (half == 8)
        return lanes_max(__builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
                         __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31));
    if (half == 4)
        return lanes_max(__builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27),
                         __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31));
    if (half == 2)
        return lanes_max(__builtin_shufflevector(a, b, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29),
                         __builtin_shufflevector(a, b, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31));
    return lanes_max(__builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
                     __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31));
}

/// The largest lane of each of sixteen vectors.
INLINE v16u reduce_magnitudes(const v16u bits[16]) {
    v16u left[16];
    memcpy(left, bits, sizeof left);
#pragma clang loop unroll(full)
    for (int half = 8; half > 0; half /= 2)
#pragma clang loop unroll(full)
        for (int i = 0; i < half; i++) left[i] = most(left[2 * i], left[2 * i + 1], half);
    return left[0];
}

/// Rounds finite floats to bfloat16, half to even.
INLINE v16f round_bf16(v16f v) {
    v16u bits = (v16u)v;
    return (v16f)((bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u);
}
