#include "products.h"

#include "CKernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang fp contract(off)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)

/// Four vectors with one or two times eight: eight chains of additions hide the latency of each.
static inline __attribute__((always_inline)) void tile(const float *left, const float *right, size_t right_stride,
                                                       int eights, size_t steps, float *sums, size_t sum_stride) {
    __m256 chains[2][4];
    for (int e = 0; e < eights; e++)
        for (int i = 0; i < 4; i++) chains[e][i] = _mm256_setzero_ps();
    for (size_t k = 0; k < steps; k++) {
        __m256 eight[2];
        for (int e = 0; e < eights; e++) eight[e] = _mm256_loadu_ps(right + (size_t)e * right_stride + 8 * k);
        for (int i = 0; i < 4; i++) {
            const __m256 one = _mm256_broadcast_ss(left + 4 * k + i);
            for (int e = 0; e < eights; e++)
                chains[e][i] = _mm256_add_ps(chains[e][i], _mm256_mul_ps(one, eight[e]));
        }
    }
    for (int e = 0; e < eights; e++) {
        for (int i = 0; i < 4; i++) {
            float *sum = sums + (size_t)e * sum_stride + 8 * i;
            _mm256_storeu_ps(sum, _mm256_add_ps(_mm256_loadu_ps(sum), chains[e][i]));
        }
    }
}

// Eights outside: two of them stay in the first cache while all fours pass.
static void products(const float *left, size_t left_stride, size_t fours, const float *right, size_t right_stride,
                     size_t eights, size_t steps, float *sums, size_t sum_stride) {
    size_t e = 0;
    for (; e + 2 <= eights; e += 2) {
        for (size_t f = 0; f < fours; f++)
            tile(left + f * left_stride, right + e * right_stride, right_stride, 2, steps,
                 sums + e * sum_stride + 32 * f, sum_stride);
    }
    for (; e < eights; e++) {
        for (size_t f = 0; f < fours; f++)
            tile(left + f * left_stride, right + e * right_stride, right_stride, 1, steps,
                 sums + e * sum_stride + 32 * f, sum_stride);
    }
}

#pragma clang attribute pop

ck_products_form ck_products(int level) { return ck_kernels(level) ? products : NULL; }

#else

ck_products_form ck_products(int level) {
    (void)level;
    return NULL;
}

#endif
