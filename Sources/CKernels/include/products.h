#pragma once
#include <stddef.h>

/// Adds inner products of vectors that lie four together with vectors that lie eight together to `sums`.
///
/// Element k of the four vectors number f is left[f * left_stride + 4 k ...], of the eight vectors number e
/// right[e * right_stride + 8 k ...]; strides count floats. sums[e * sum_stride + 32 f + 8 i + j] takes the product of the
/// i-th of the four with the j-th of the eight: formed from zero in ascending k, each step one multiplication and one
/// addition in float32, then added. `right` and `sums` need no alignment.
typedef void (*ck_products_form)(const float *left, size_t left_stride, size_t fours, const float *right,
                                 size_t right_stride, size_t eights, size_t steps, float *sums, size_t sum_stride);

/// The form of `level`, or null where the processor or the operating system lacks that instruction set. Multiplications
/// and additions apart keep AVX2 busy; twice its width gained nothing on the processor that it was measured on.
ck_products_form ck_products(int level);
