// The kernels, written once on sixteen lanes. The file that includes this one has pushed its target attribute, has
// `#pragma clang fp contract(off)` in force, and defines
//   v16u nf4_codes(v16f v)                     the number of decision points strictly below each v, |v| <= 1 + 2^-20
//   v16f nf4_domain(v16f v)                    each v as it is where |v| <= 1, else anything of which nf4_codes is right
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

// Codes, bytes and sums of a block whose scale is `s`. Only with absmax as the scale does no weight lie beyond the codes.
INLINE void nf4_scaled(const uint8_t *x, size_t n, int restored, float s0, int is_absmax, uint8_t *packed, float *sums,
                       uint32_t *histogram) {
    const float tiny = 1e-38f, reciprocal = 1.0f / (is_absmax && !(s0 > tiny) ? tiny : s0);
    const v16f scale = lanes_of(reciprocal <= __FLT_MAX__ ? reciprocal : __FLT_MAX__);
    const v16f s16 = lanes_of(s0);
    v16f s[8] = {{0}};
    v16u worst = {0};
    for (size_t i = 0; i < n / lanes; i++) {
        const v16f v = lanes_load(x + i * row_bytes);
        const v16u code = nf4_codes(is_absmax ? v * scale : nf4_domain(v * scale));
        store_nibbles(code, packed + i * lanes / 2);
        if (!sums) continue;
        const v16f c = nf4_values(code);
        const v16f back = restore(c * s16, restored);
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

INLINE void nf4_block(const uint8_t *x, size_t n, int restored, uint8_t *packed, float *absmax, float *sums,
                      uint32_t *histogram) {
    const float a = reduce_magnitude(absmax_bits(x, n / lanes));
    *absmax = a;
    if (a <= __FLT_MAX__) {
        nf4_scaled(x, n, restored, a, 1, packed, sums, histogram);
    } else {
        memset(packed, 0, n / 2);
        if (sums) memset(sums, 0, 8 * sizeof(float));
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

// What absmax is divided by for each candidate; the first is absmax itself.
static const float nf4_stretch[4] = {1.0f, 0x1.0ep0f, 0x1.2p0f, 0x1.ep-1f};

// `choice` takes absmax, the scale, and of the first candidate without refit the sums of e*e, e*c and c*c, then the sum
// of c*c of the chosen one.
INLINE void nf4_search_block(const uint8_t *x, size_t n, int restored, float *choice) {
    const float a = reduce_magnitude(absmax_bits(x, n / lanes));
    memset(choice, 0, 6 * sizeof(float));
    choice[0] = choice[1] = a;
    if (!(a <= __FLT_MAX__ && a >= 1e-38f)) return;
    const v16f scale = lanes_of(1.0f / a);
    const v16f a16 = lanes_of(a);
    v16f s[8] = {{0}}, plain[2] = {{0}};
    for (size_t i = 0; i < n / lanes; i++) {
        const v16f weight = lanes_load(x + i * row_bytes);
        const v16f v = weight * scale;
        const v16f c = nf4_values(nf4_codes(v));
        const v16f e = weight - restore(c * a16, restored);
        s[0] += v * c;
        s[1] += c * c;
        plain[0] += e * e;
        plain[1] += e * c;
    }
    for (size_t k = 1; k < 4; k++) {
        const v16f stretch = lanes_of(nf4_stretch[k]);
        v16f vc = {0}, cc = {0};
        for (size_t i = 0; i < n / lanes; i++) {
            const v16f v = lanes_load(x + i * row_bytes) * scale;
            const v16f c = nf4_values(nf4_codes(nf4_domain(v * stretch)));
            vc += v * c;
            cc += c * c;
        }
        s[2 * k] = vc;
        s[2 * k + 1] = cc;
    }
    float sums[8], errors[2];
    reduce8(s, sums);
    reduce2(plain, errors);
    size_t best = 0;
    float most = sums[0] * sums[0] / sums[1];
    for (size_t k = 1; k < 4; k++) {
        const float explained = sums[2 * k] * sums[2 * k] / sums[2 * k + 1];
        if (!(explained > most)) continue;
        most = explained;
        best = k;
    }
    const float refit = a * (sums[2 * best] / sums[2 * best + 1]);
    if (refit <= __FLT_MAX__) choice[1] = refit;
    choice[2] = errors[0];
    choice[3] = errors[1];
    choice[4] = sums[1];
    choice[5] = sums[2 * best + 1];
}

INLINE void nf4_searches(const void *x, size_t blocks, size_t n, int restored, float *choices) {
    for (size_t i = 0; i < blocks; i++)
        nf4_search_block((const uint8_t *)x + i * n * 4, n, restored, choices + i * 6);
}

INLINE void nf4_search_sized(const void *x, size_t blocks, size_t n, int restored, float *choices) {
    if (n == 64)
        nf4_searches(x, blocks, 64, restored, choices);
    else
        nf4_searches(x, blocks, n, restored, choices);
}

static void nf4_search(const void *x, size_t blocks, size_t block_size, int restored, float *choices) {
    if (restored == ck_restored_f16)
        nf4_search_sized(x, blocks, block_size, ck_restored_f16, choices);
    else if (restored == ck_restored_bf16)
        nf4_search_sized(x, blocks, block_size, ck_restored_bf16, choices);
    else
        nf4_search_sized(x, blocks, block_size, ck_restored_f32, choices);
}

INLINE void nf4_assigns(const void *x, size_t blocks, size_t n, int restored, const float *scales, uint8_t *packed,
                        float *sums, uint32_t *histogram) {
    for (size_t i = 0; i < blocks; i++)
        nf4_scaled((const uint8_t *)x + i * n * 4, n, restored, scales[i], 0, packed + i * n / 2, sums + i * 8,
                   histogram);
}

INLINE void nf4_assign_sized(const void *x, size_t blocks, size_t n, int restored, const float *scales,
                             uint8_t *packed, float *sums, uint32_t *histogram) {
    if (n == 64)
        nf4_assigns(x, blocks, 64, restored, scales, packed, sums, histogram);
    else
        nf4_assigns(x, blocks, n, restored, scales, packed, sums, histogram);
}

static void nf4_assign(const void *x, size_t blocks, size_t block_size, int restored, const float *scales,
                       uint8_t *packed, float *sums, uint32_t *histogram) {
    if (restored == ck_restored_f16)
        nf4_assign_sized(x, blocks, block_size, ck_restored_f16, scales, packed, sums, histogram);
    else if (restored == ck_restored_bf16)
        nf4_assign_sized(x, blocks, block_size, ck_restored_bf16, scales, packed, sums, histogram);
    else
        nf4_assign_sized(x, blocks, block_size, ck_restored_f32, scales, packed, sums, histogram);
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
