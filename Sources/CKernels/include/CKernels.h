#pragma once
#include <stddef.h>
#include <stdint.h>

#include "restore.h"

// The vector forms of the hot loops of `Quantization`. Each writes the bytes and the error sums of the plain Swift
// form, bit for bit; what they compute is written there. Input needs no alignment; float output is aligned to 4.

/// The type that dequantization returns; error is measured against a value rounded to it.
enum { ck_restored_f32 = 0, ck_restored_f16 = 1, ck_restored_bf16 = 2 };

/// The levels of the function table. Level 0, plain Swift, has no table.
enum { ck_level_avx2 = 1, ck_level_avx512 = 2 };

/// The kernels of one instruction set.
typedef struct {
    /// Quantizes `blocks` full blocks; `sums` takes 8 floats a block or is null, `histogram` has 4096 bins or is null.
    void (*nf4)(const void *x, size_t blocks, size_t block_size, int restored, uint8_t *packed, float *absmax,
                float *sums, uint32_t *histogram);
    /// Searches the scales of `blocks` full blocks; `choices` takes 6 floats a block.
    void (*nf4_search)(const void *x, size_t blocks, size_t block_size, int restored, float *choices);
    /// Quantizes `blocks` full blocks with the given scales; `sums` takes 8 floats a block, `histogram` has 4096 bins.
    void (*nf4_assign)(const void *x, size_t blocks, size_t block_size, int restored, const float *scales,
                       uint8_t *packed, float *sums, uint32_t *histogram);
    /// The largest magnitude of `count` elements; not finite if one of them is not.
    float (*absmax)(const void *x, size_t count);
    /// Quantizes `count` elements of a row; `sums` takes 5 floats, `histogram` has 4096 bins or is null.
    void (*int8)(const void *x, size_t count, float absmax, int8_t *codes, float *sums, uint32_t *histogram);
    /// Widens float16.
    void (*widen_f16)(const void *source, size_t count, float *out);
    /// Widens bfloat16.
    void (*widen_bf16)(const void *source, size_t count, float *out);
} ck_table;

/// The table of `level`, or null where the processor or the operating system lacks that instruction set.
const ck_table *ck_kernels(int level);

/// The decimal logarithm, so that the Swift side needs no C library of its own.
static inline double ck_log10(double x) { return __builtin_log10(x); }
