#pragma once
#include <stddef.h>
#include <stdint.h>

#include "products.h"
#include "restore.h"

// The vector forms of the hot loops of `Quantization`. Each writes the bytes and the error sums of the plain Swift
// form, bit for bit; what they compute is written there. Input needs no alignment; float output is aligned to 4.

/// The type that dequantization returns; error is measured against a value rounded to it.
enum { ck_restored_f32 = 0, ck_restored_f16 = 1, ck_restored_bf16 = 2 };

/// The type that weights are stored in.
enum { ck_stored_f32 = 0, ck_stored_f16 = 1, ck_stored_bf16 = 2 };

/// The levels of the function table. Level 0, plain Swift, has no table.
enum { ck_level_avx2 = 1, ck_level_avx512 = 2 };

/// The codes of grouped scales: integers around zero stored with an offset or as they are, E4M3, integers with a bias,
/// integers from 0 to 15 with a zero point among them, a byte each.
enum { ck_packed4 = 0, ck_packed8 = 1, ck_int8 = 2, ck_e4m3 = 3, ck_affine4 = 4, ck_affine8 = 5, ck_zero_point = 6 };

/// A histogram has `ck_bins` counts, bin = bits of a magnitude >> `ck_bin_shift`.
enum { ck_bin_shift = 19, ck_bins = 4096 };

/// The kernels of one instruction set. Those of NF4 read weights of any `type` as they are stored, the others float32.
/// Error sums are 5 floats: Σx², Σe², Σx̂², Σ|e|, max|e|.
typedef struct {
    /// Quantizes `blocks` full blocks; `sums` takes 8 floats a block, those of the codes 0 unless `code_sums`, or is
    /// null; `histogram` may be null, and counts only beside `sums`.
    void (*nf4)(const void *x, int type, size_t blocks, size_t block_size, int restored, int code_sums,
                uint8_t *packed, float *absmax, float *sums, uint32_t *histogram);
    /// Searches the scales of `blocks` full blocks; `choices` takes 6 floats a block.
    void (*nf4_search)(const void *x, int type, size_t blocks, size_t block_size, int restored, float *choices);
    /// Quantizes `blocks` full blocks with the given scales; `sums` takes 8 floats a block, those of the codes 0.
    void (*nf4_assign)(const void *x, int type, size_t blocks, size_t block_size, int restored,
                       const float *scales, uint8_t *packed, float *sums, uint32_t *histogram);
    /// The largest magnitude of `count` elements; not finite if one of them is not.
    float (*absmax)(const void *x, size_t count);
    /// Quantizes `count` elements of a row; `errors` takes 5 floats, `histogram` may be null.
    void (*int8)(const void *x, size_t count, float absmax, int8_t *codes, float *errors, uint32_t *histogram);
    /// Largest magnitude, least and greatest of each group, 3 floats.
    void (*ranges)(const void *x, size_t groups, size_t elements, float *ranges);
    /// Codes each group with its scale, 4 floats: scale, bias or zero point, stored scale, stored bias. `errors` takes
    /// 5 floats a group, `histogram` may be null.
    void (*groups)(const void *x, size_t groups, size_t elements, int code, int restored, const float *scales,
                   uint8_t *codes, size_t group_bytes, float *errors, uint32_t *histogram);
    /// What the candidate grids of each group explain. A grid is 4 floats: inverse step, shift, lowest, highest code;
    /// `sums` takes 4 floats for each grid of each group: Σvc, Σc², Σc, Σv with v = x · inverse step.
    void (*grids)(const void *x, size_t groups, size_t elements, int code, size_t candidates, const float *grids,
                  float *sums);
    /// Widens float16.
    void (*widen_f16)(const void *source, size_t count, float *out);
    /// Widens bfloat16.
    void (*widen_bf16)(const void *source, size_t count, float *out);
} ck_table;

/// The table of `level`, or null where the processor or the operating system lacks that instruction set.
const ck_table *ck_kernels(int level);

/// The decimal logarithm, so that the Swift side needs no C library of its own.
static inline double ck_log10(double x) { return __builtin_log10(x); }
