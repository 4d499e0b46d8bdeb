#pragma once
#include <stddef.h>
#include <stdint.h>

/// The kernels that restore weights, for one instruction set; each writes the bytes of the plain Swift form.
typedef struct {
    /// Restores `blocks` full blocks of 4-bit codes, the first of two in the high nibble: map[code] * scale, rounded to
    /// the type `restored`, then to the type `stored` of `out`. `block_size` is a multiple of 32, `map` has 16 values.
    /// Nonzero when one of a block's 16 products is not finite in the end; whether a code stands for it is not asked.
    int (*nibbles)(const uint8_t *codes, size_t blocks, size_t block_size, const float *map, const float *scales,
                   int restored, int stored, void *out);
} ck_restore_table;

/// The table of `level`, or null where the processor or the operating system lacks that instruction set.
const ck_restore_table *ck_restore_kernels(int level);
