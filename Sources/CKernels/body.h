// The kernels, written once on sixteen lanes. The file that includes this one has pushed its target attribute, has
// `#pragma clang fp contract(off)` in force, and defines
//   v16u nf4_codes(v16f v)                     the number of decision points strictly below each v, |v| <= 1 + 2^-20
//   v16f nf4_values(v16u codes)                the code's value
//   void store_nibbles(v16u codes, uint8_t *)  8 bytes, even element in the high nibble
//   v16f round_f16(v16f v)                     to float16 and back, half to even
//   v16f widen_halves(v16h halves)             float16 to float32

enum { lanes = 16, row_bytes = 64, bin_shift = 19 };

INLINE void count_bins(v16u magnitudes, size_t count, uint32_t *histogram) {
    uint32_t bins[lanes];
    v16u shifted = magnitudes >> bin_shift;
    memcpy(bins, &shifted, sizeof bins);
    for (size_t j = 0; j < count; j++) histogram[bins[j]]++;
}

INLINE v16f restore(v16f v, int restored) {
    return restored == ck_restored_f16 ? round_f16(v) : restored == ck_restored_bf16 ? round_bf16(v) : v;
}

INLINE v16u absmax_bits(const uint8_t *x, size_t rows) {
    v16u largest = {0};
    for (size_t i = 0; i < rows; i++) largest = lanes_max(largest, magnitude_bits(lanes_load(x + i * row_bytes)));
    return largest;
}

INLINE void nf4_block(const uint8_t *x, size_t n, int restored, uint8_t *packed, float *absmax, float *sums,
                      uint32_t *histogram) {
    const float a = reduce_magnitude(absmax_bits(x, n / lanes));
    *absmax = a;
    if (!(a <= __FLT_MAX__)) {
        memset(packed, 0, n / 2);
        if (sums) memset(sums, 0, 8 * sizeof(float));
        return;
    }
    const float tiny = 1e-38f;
    const v16f scale = lanes_of(1.0f / (a > tiny ? a : tiny));
    const v16f a16 = lanes_of(a);
    v16f s[8] = {{0}};
    v16u worst = {0};
    for (size_t i = 0; i < n / lanes; i++) {
        const v16f v = lanes_load(x + i * row_bytes);
        const v16u code = nf4_codes(v * scale);
        store_nibbles(code, packed + i * lanes / 2);
        if (!sums) continue;
        const v16f c = nf4_values(code);
        const v16f back = restore(c * a16, restored);
        const v16f e = v - back;
        const v16u magnitude = magnitude_bits(e);
        s[0] += v * v;
        s[1] += e * e;
        s[2] += e * c;
        s[3] += c * c;
        s[4] += (v16f)magnitude;
        s[5] += (v16f)magnitude_bits(c);
        s[7] += back * back;
        worst = lanes_max(worst, magnitude);
        if (histogram) count_bins(magnitude, lanes, histogram);
    }
    if (sums) {
        reduce8(s, sums);
        sums[6] = reduce_magnitude(worst);
    }
}

INLINE void nf4_blocks(const void *x, size_t blocks, size_t n, int restored, uint8_t *packed, float *absmax,
                       float *sums, uint32_t *histogram) {
    for (size_t i = 0; i < blocks; i++)
        nf4_block((const uint8_t *)x + i * n * 4, n, restored, packed + i * n / 2, absmax + i,
                  sums ? sums + i * 8 : NULL, histogram);
}

// The usual block of 64 is unrolled by giving the compiler its size.
INLINE void nf4_sized(const void *x, size_t blocks, size_t n, int restored, uint8_t *packed, float *absmax,
                      float *sums, uint32_t *histogram) {
    if (n == 64)
        nf4_blocks(x, blocks, 64, restored, packed, absmax, sums, histogram);
    else
        nf4_blocks(x, blocks, n, restored, packed, absmax, sums, histogram);
}

static void nf4(const void *x, size_t blocks, size_t block_size, int restored, uint8_t *packed, float *absmax,
                float *sums, uint32_t *histogram) {
    if (!sums)
        nf4_sized(x, blocks, block_size, ck_restored_f32, packed, absmax, NULL, NULL);
    else if (restored == ck_restored_f16)
        nf4_sized(x, blocks, block_size, ck_restored_f16, packed, absmax, sums, histogram);
    else if (restored == ck_restored_bf16)
        nf4_sized(x, blocks, block_size, ck_restored_bf16, packed, absmax, sums, histogram);
    else
        nf4_sized(x, blocks, block_size, ck_restored_f32, packed, absmax, sums, histogram);
}

static float absmax(const void *x, size_t count) {
    const uint8_t *bytes = x;
    v16u largest = absmax_bits(bytes, count / lanes);
    float rest[lanes] = {0};
    memcpy(rest, bytes + count / lanes * row_bytes, count % lanes * sizeof(float));
    return reduce_magnitude(lanes_max(largest, magnitude_bits(lanes_load((const uint8_t *)rest))));
}

typedef struct {
    v16f scale, absmax, sums[8];
    v16u worst;
} int8_state;

INLINE v16b int8_row(v16f v, int8_state *state, size_t count, uint32_t *histogram) {
    const v16f magic = lanes_of(0x1.8p23f);
    const v16f shifted = round_f16(v) * state->scale + magic;
    const v16f back = (shifted - magic) * state->absmax * lanes_of(7.874015718698502e-3f);
    const v16f e = v - back;
    const v16u magnitude = magnitude_bits(e);
    state->sums[0] += v * v;
    state->sums[1] += e * e;
    state->sums[2] += back * back;
    state->sums[3] += (v16f)magnitude;
    state->worst = lanes_max(state->worst, magnitude);
    if (histogram) count_bins(magnitude, count, histogram);
    return __builtin_convertvector((v16u)shifted, v16b);
}

static void int8(const void *x, size_t count, float row_absmax, int8_t *codes, float *sums, uint32_t *histogram) {
    const uint8_t *bytes = x;
    const size_t full = count / lanes * lanes;
    const float scale = row_absmax == 0 ? 0 : (1.0f / row_absmax) * 127.0f;
    int8_state state = {.scale = lanes_of(scale), .absmax = lanes_of(row_absmax)};
    for (size_t i = 0; i < full; i += lanes) {
        const v16b code = int8_row(lanes_load(bytes + i * 4), &state, lanes, histogram);
        memcpy(codes + i, &code, sizeof code);
    }
    if (full < count) {
        float rest[lanes] = {0};
        memcpy(rest, bytes + full * 4, (count - full) * sizeof(float));
        const v16b code = int8_row(lanes_load((const uint8_t *)rest), &state, count - full, histogram);
        memcpy(codes + full, &code, count - full);
    }
    float reduced[8];
    reduce8(state.sums, reduced);
    memcpy(sums, reduced, 4 * sizeof(float));
    sums[4] = reduce_magnitude(state.worst);
}

INLINE void widen_row(const uint8_t *source, size_t count, float *out) {
    v16h halves = {0};
    memcpy(&halves, source, count * sizeof(uint16_t));
    const v16f wide = widen_halves(halves);
    memcpy(out, &wide, count * sizeof(float));
}

static void widen_f16(const void *source, size_t count, float *out) {
    const uint8_t *bytes = source;
    const size_t full = count / lanes * lanes;
    for (size_t i = 0; i < full; i += lanes) widen_row(bytes + i * 2, lanes, out + i);
    widen_row(bytes + full * 2, count - full, out + full);
}

INLINE void widen_bf16_row(const uint8_t *source, size_t count, float *out) {
    v16h halves = {0};
    memcpy(&halves, source, count * sizeof(uint16_t));
    const v16u wide = __builtin_convertvector(halves, v16u) << 16;
    memcpy(out, &wide, count * sizeof(float));
}

static void widen_bf16(const void *source, size_t count, float *out) {
    const uint8_t *bytes = source;
    const size_t full = count / lanes * lanes;
    for (size_t i = 0; i < full; i += lanes) widen_bf16_row(bytes + i * 2, lanes, out + i);
    widen_bf16_row(bytes + full * 2, count - full, out + full);
}
