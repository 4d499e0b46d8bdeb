// Restoring, written once on sixteen lanes. The file that includes this one has pushed its target attribute, has
// `#pragma clang fp contract(off)` in force, and defines
//   v16h narrow_f16(v16f v), v16f widen_f16(v16h v)             float16, half to even
//   void singles(const uint8_t *codes, v16f table, uint8_t *)   8 bytes of codes to 64 bytes of floats
//   words, words_of(v16h table)                                 a table of 16-bit values
//   void halves(const uint8_t *codes, words table, uint8_t *)   16 bytes of codes to 64 bytes of 16-bit values
//
// All that depends on the scale happens to the 16 values of a block; the codes only choose among them.

enum { lanes = 16, row_bytes = 64 };

/// The least magnitude, as bits of a float, that `stored` holds as infinity: half a step above its largest value.
static const uint32_t overflow_bits[3] = {0x7f800000, 0x477ff000, 0x7f7f8000};

INLINE v16f round_to(v16f v, int type) {
    return type == ck_restored_f16 ? widen_f16(narrow_f16(v)) : type == ck_restored_bf16 ? round_bf16(v) : v;
}

INLINE v16h narrow_bf16(v16f v) { return __builtin_convertvector((v16u)round_bf16(v) >> 16, v16h); }

INLINE int nibble_blocks(const uint8_t *codes, size_t blocks, size_t n, const float *map, const float *scales,
                         int restored, int stored, uint8_t *out) {
    const v16f values = lanes_load((const uint8_t *)map);
    v16u largest = {0};
    for (size_t b = 0; b < blocks; b++) {
        const v16f table = round_to(values * lanes_of(scales[b]), restored);
        largest = lanes_max(largest, magnitude_bits(table));
        if (stored == ck_restored_f32) {
            for (size_t i = 0; i < n / 2; i += 8, out += row_bytes) singles(codes + i, table, out);
        } else {
            const words narrow = words_of(stored == ck_restored_f16 ? narrow_f16(table) : narrow_bf16(table));
            for (size_t i = 0; i < n / 2; i += 16, out += row_bytes) halves(codes + i, narrow, out);
        }
        codes += n / 2;
    }
    return __builtin_reduce_max(largest) >= overflow_bits[stored];
}

// The usual block of 64 is unrolled by giving the compiler its size.
INLINE int nibbles_sized(const uint8_t *codes, size_t blocks, size_t n, const float *map, const float *scales,
                         int restored, int stored, uint8_t *out) {
    return n == 64 ? nibble_blocks(codes, blocks, 64, map, scales, restored, stored, out)
                   : nibble_blocks(codes, blocks, n, map, scales, restored, stored, out);
}

INLINE int nibbles_rounded(const uint8_t *codes, size_t blocks, size_t n, const float *map, const float *scales,
                           int restored, int stored, uint8_t *out) {
    switch (restored) {
    case ck_restored_f16: return nibbles_sized(codes, blocks, n, map, scales, ck_restored_f16, stored, out);
    case ck_restored_bf16: return nibbles_sized(codes, blocks, n, map, scales, ck_restored_bf16, stored, out);
    default: return nibbles_sized(codes, blocks, n, map, scales, ck_restored_f32, stored, out);
    }
}

static int nibbles(const uint8_t *codes, size_t blocks, size_t block_size, const float *map, const float *scales,
                   int restored, int stored, void *out) {
    switch (stored) {
    case ck_restored_f16:
        return nibbles_rounded(codes, blocks, block_size, map, scales, restored, ck_restored_f16, out);
    case ck_restored_bf16:
        return nibbles_rounded(codes, blocks, block_size, map, scales, restored, ck_restored_bf16, out);
    default: return nibbles_rounded(codes, blocks, block_size, map, scales, restored, ck_restored_f32, out);
    }
}
