// The kernels, written once on sixteen lanes. The file that includes this one has pushed its target attribute, has
// `#pragma clang fp contract(off)` in force, and defines
//   v16u nf4_codes(v16f v)                     the number of decision points strictly below each v, |v| <= 1 + 2^-20,
//                                              or its negative: what nf4_values and the stores take
//   v16f nf4_domain(v16f v)                    each v as it is where |v| <= 1, else anything of which nf4_codes is right
//   v16f nf4_values(v16u codes)                the code's value
//   void store_nibbles(v16u codes, uint8_t *)  8 bytes, even element in the high nibble
//   void store_rows(v16u a, v16u b, uint8_t *) the same of two rows, one behind the other, of codes by nf4_codes
//   v16f nearest(v16f v)                       the nearest integers, half to even
//   v16f round_f16(v16f v)                     to float16 and back, half to even
//   v16f widen_halves(v16h halves)             float16 to float32

//   v16f larger(v16f a, v16f b)                a > b ? a : b in each lane, so that a NaN gives b
//   v16f smaller(v16f a, v16f b)               a < b ? a : b

enum { lanes = 16, row_bytes = 64 };

#include "histogram.h"

/// What is measured of a block: nothing, its errors, or these and what another scale would make of them.
enum { measure_nothing, measure_errors, measure_codes };

INLINE v16f restore(v16f v, int restored) {
    return restored == ck_restored_f16 ? round_f16(v) : restored == ck_restored_bf16 ? round_bf16(v) : v;
}

typedef struct {
    v16f sums[4];
    v16u worst;
} error_lanes;

INLINE void measure(error_lanes *m, v16f v, v16f back) {
    const v16f e = v - back;
    const v16u magnitude = magnitude_bits(e);
    m->sums[0] += v * v;
    m->sums[1] += e * e;
    m->sums[2] += back * back;
    m->sums[3] += (v16f)magnitude;
    m->worst = lanes_max(m->worst, magnitude);
}

INLINE void reduce_errors(const error_lanes *m, float *errors) {
    reduce4(m->sums, errors);
    errors[4] = reduce_magnitude(m->worst);
}

INLINE v16u absmax_bits(const uint8_t *x, size_t rows) {
    v16u largest = {0};
    for (size_t i = 0; i < rows; i++) largest = lanes_max(largest, magnitude_bits(lanes_load(x + i * row_bytes)));
    return largest;
}

// Stored rows as float32. A block of halves is widened into memory that the first cache holds, once for all passes.
INLINE v16f widen_row(const uint8_t *source, size_t count, int type) {
    v16h halves = {0};
    memcpy(&halves, source, count * sizeof(uint16_t));
    return type == ck_stored_f16 ? widen_halves(halves) : (v16f)(__builtin_convertvector(halves, v16u) << 16);
}

INLINE size_t stored_bytes(size_t n, int type) { return type == ck_stored_f32 ? n * 4 : n * 2; }

INLINE const uint8_t *wide_block(const uint8_t *x, size_t n, int type, float *wide) {
    if (type == ck_stored_f32) return x;
    for (size_t i = 0; i < n; i += lanes) {
        const v16f row = widen_row(x + i * 2, lanes, type);
        memcpy(wide + i, &row, sizeof row);
    }
    return (const uint8_t *)wide;
}

// The largest magnitude of a block in each lane; halves keep their order as integers, too.
INLINE v16u block_magnitudes(const uint8_t *x, size_t n, int type) {
    if (type == ck_stored_f32) return absmax_bits(x, n / lanes);
    v16h largest = {0};
    for (size_t i = 0; i < n; i += lanes) {
        v16h halves;
        memcpy(&halves, x + i * 2, sizeof halves);
        v16h magnitudes = halves & 0x7fff;
        // As widening does, a signalling NaN of float16 becomes quiet.
        if (type == ck_stored_f16) magnitudes |= (v16h)(magnitudes > 0x7c00) & 0x200;
        largest = __builtin_elementwise_max(largest, magnitudes);
    }
    return (v16u)widen_row((const uint8_t *)&largest, lanes, type);
}

typedef struct {
    float absmax[lanes], reciprocal[lanes];
} block_scales;

// The scales of up to sixteen blocks together, before their codes: each block would wait for its own reduction and
// division.
INLINE void find_scales(const uint8_t *x, int type, size_t blocks, size_t n, block_scales *scales) {
    v16u magnitudes[lanes] = {{0}};
    for (size_t i = 0; i < blocks; i++) magnitudes[i] = block_magnitudes(x + i * stored_bytes(n, type), n, type);
    const v16f absmax = (v16f)reduce_magnitudes(magnitudes);
    const v16f reciprocal = lanes_of(1.0f) / larger(absmax, lanes_of(1e-38f));
    memcpy(scales->absmax, &absmax, sizeof absmax);
    memcpy(scales->reciprocal, &reciprocal, sizeof reciprocal);
}

// Codes, bytes and sums of a block whose scale is `s`. Only with absmax as the scale does no weight lie beyond the codes.
INLINE void nf4_scaled(const uint8_t *x, size_t n, int restored, float s0, float reciprocal, int is_absmax,
                       uint8_t *packed, int kind, float *sums, counter *counts) {
    const v16f scale = lanes_of(reciprocal);
    const v16f s16 = lanes_of(s0);
    error_lanes m = {0};
    v16f ec = {0}, cc = {0}, c1 = {0};
    uint16_t *const end = counter_end(counts);
    if (kind == measure_nothing) {
        for (size_t i = 0; i < n / lanes; i += 2) {
            const v16f a = lanes_load(x + i * row_bytes), b = lanes_load(x + (i + 1) * row_bytes);
            store_rows(nf4_codes(a * scale), nf4_codes(b * scale), packed + i * lanes / 2);
        }
        return;
    }
    for (size_t i = 0; i < n / lanes; i++) {
        const v16f v = lanes_load(x + i * row_bytes);
        const v16u code = nf4_codes(is_absmax ? v * scale : nf4_domain(v * scale));
        store_nibbles(code, packed + i * lanes / 2);
        const v16f c = nf4_values(code);
        const v16f back = restore(c * s16, restored);
        measure(&m, v, back);
        if (end) note_bins(counts, end + i * lanes, magnitude_bits(v - back));
        if (kind == measure_errors) continue;
        ec += (v - back) * c;
        cc += c * c;
        c1 += (v16f)magnitude_bits(c);
    }
    counter_take(counts, n);
    if (kind == measure_errors) {
        float errors[5];
        reduce_errors(&m, errors);
        const float all[8] = {errors[0], errors[1], 0, 0, errors[3], 0, errors[4], errors[2]};
        memcpy(sums, all, sizeof all);
        return;
    }
    const v16f s[8] = {m.sums[0], m.sums[1], ec, cc, m.sums[3], c1, {0}, m.sums[2]};
    reduce8(s, sums);
    sums[6] = reduce_magnitude(m.worst);
}

INLINE void nf4_block(const uint8_t *x, int type, size_t n, int restored, uint8_t *packed, float absmax,
                      float reciprocal, int kind, float *sums, counter *counts) {
    float wide[longest_block];
    if (absmax <= __FLT_MAX__) {
        nf4_scaled(wide_block(x, n, type, wide), n, restored, absmax, reciprocal, 1, packed, kind, sums, counts);
    } else {
        memset(packed, 0, n / 2);
        if (kind != measure_nothing) memset(sums, 0, 8 * sizeof(float));
    }
}

INLINE void nf4_blocks(const uint8_t *x, int type, size_t blocks, size_t n, int restored, uint8_t *packed,
                       float *absmax, int kind, float *sums, uint32_t *histogram) {
    const size_t bytes = stored_bytes(n, type);
    counter counts;
    if (histogram) counter_begin(&counts, histogram);
    for (size_t first = 0; first < blocks; first += lanes) {
        const size_t count = blocks - first < lanes ? blocks - first : lanes;
        block_scales scales;
        find_scales(x + first * bytes, type, count, n, &scales);
        memcpy(absmax + first, scales.absmax, count * sizeof(float));
        for (size_t i = first; i < first + count; i++)
            nf4_block(x + i * bytes, type, n, restored, packed + i * n / 2, scales.absmax[i - first],
                      scales.reciprocal[i - first], kind, sums + i * 8, histogram ? &counts : NULL);
    }
    if (histogram) counter_drain(&counts);
}

// The usual block of 64 is unrolled by giving the compiler its size.
INLINE void nf4_sized(const void *x, int type, size_t blocks, size_t n, int restored, uint8_t *packed, float *absmax,
                      int kind, float *sums, uint32_t *histogram) {
    if (n == 64)
        nf4_blocks(x, type, blocks, 64, restored, packed, absmax, kind, sums, histogram);
    else
        nf4_blocks(x, type, blocks, n, restored, packed, absmax, kind, sums, histogram);
}

INLINE void nf4_restored(const void *x, int type, size_t blocks, size_t n, int restored, uint8_t *packed,
                         float *absmax, int kind, float *sums, uint32_t *histogram) {
    if (restored == ck_restored_f16)
        nf4_sized(x, type, blocks, n, ck_restored_f16, packed, absmax, kind, sums, histogram);
    else if (restored == ck_restored_bf16)
        nf4_sized(x, type, blocks, n, ck_restored_bf16, packed, absmax, kind, sums, histogram);
    else
        nf4_sized(x, type, blocks, n, ck_restored_f32, packed, absmax, kind, sums, histogram);
}

static void nf4(const void *x, int type, size_t blocks, size_t block_size, int restored, int code_sums,
                uint8_t *packed, float *absmax, float *sums, uint32_t *histogram) {
    if (!sums)
        nf4_sized(x, type, blocks, block_size, ck_restored_f32, packed, absmax, measure_nothing, NULL, NULL);
    else if (code_sums)
        nf4_restored(x, type, blocks, block_size, restored, packed, absmax, measure_codes, sums, histogram);
    else
        nf4_restored(x, type, blocks, block_size, restored, packed, absmax, measure_errors, sums, histogram);
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

INLINE void nf4_searches(const uint8_t *x, int type, size_t blocks, size_t n, int restored, float *choices) {
    float wide[longest_block];
    for (size_t i = 0; i < blocks; i++)
        nf4_search_block(wide_block(x + i * stored_bytes(n, type), n, type, wide), n, restored, choices + i * 6);
}

INLINE void nf4_search_sized(const void *x, int type, size_t blocks, size_t n, int restored, float *choices) {
    if (n == 64)
        nf4_searches(x, type, blocks, 64, restored, choices);
    else
        nf4_searches(x, type, blocks, n, restored, choices);
}

static void nf4_search(const void *x, int type, size_t blocks, size_t block_size, int restored, float *choices) {
    if (restored == ck_restored_f16)
        nf4_search_sized(x, type, blocks, block_size, ck_restored_f16, choices);
    else if (restored == ck_restored_bf16)
        nf4_search_sized(x, type, blocks, block_size, ck_restored_bf16, choices);
    else
        nf4_search_sized(x, type, blocks, block_size, ck_restored_f32, choices);
}

INLINE float finite_reciprocal(float v) { return 1.0f / v <= __FLT_MAX__ ? 1.0f / v : __FLT_MAX__; }

INLINE void nf4_assigns(const uint8_t *x, int type, size_t blocks, size_t n, int restored, const float *scales,
                        uint8_t *packed, float *sums, uint32_t *histogram) {
    float wide[longest_block];
    counter counts;
    if (histogram) counter_begin(&counts, histogram);
    for (size_t i = 0; i < blocks; i++)
        nf4_scaled(wide_block(x + i * stored_bytes(n, type), n, type, wide), n, restored, scales[i],
                   finite_reciprocal(scales[i]), 0, packed + i * n / 2, measure_errors, sums + i * 8, &counts);
    counter_drain(&counts);
}

INLINE void nf4_assign_sized(const void *x, int type, size_t blocks, size_t n, int restored, const float *scales,
                             uint8_t *packed, float *sums, uint32_t *histogram) {
    if (n == 64)
        nf4_assigns(x, type, blocks, 64, restored, scales, packed, sums, histogram);
    else
        nf4_assigns(x, type, blocks, n, restored, scales, packed, sums, histogram);
}

static void nf4_assign(const void *x, int type, size_t blocks, size_t block_size, int restored,
                       const float *scales, uint8_t *packed, float *sums, uint32_t *histogram) {
    if (restored == ck_restored_f16)
        nf4_assign_sized(x, type, blocks, block_size, ck_restored_f16, scales, packed, sums, histogram);
    else if (restored == ck_restored_bf16)
        nf4_assign_sized(x, type, blocks, block_size, ck_restored_bf16, scales, packed, sums, histogram);
    else
        nf4_assign_sized(x, type, blocks, block_size, ck_restored_f32, scales, packed, sums, histogram);
}

static float absmax(const void *x, size_t count) {
    const uint8_t *bytes = x;
    v16u largest = absmax_bits(bytes, count / lanes);
    float rest[lanes] = {0};
    memcpy(rest, bytes + count / lanes * row_bytes, count % lanes * sizeof(float));
    return reduce_magnitude(lanes_max(largest, magnitude_bits(lanes_load((const uint8_t *)rest))));
}

INLINE v16b int8_row(v16f v, v16f scale, v16f absmax, v16f *back) {
    const v16f magic = lanes_of(0x1.8p23f);
    const v16f shifted = round_f16(v) * scale + magic;
    *back = (shifted - magic) * absmax * lanes_of(7.874015718698502e-3f);
    return __builtin_convertvector((v16u)shifted, v16b);
}

INLINE void int8_counted(const uint8_t *x, size_t count, float row_absmax, int8_t *codes, float *errors,
                         counter *counts) {
    const size_t full = count / lanes * lanes;
    const v16f scale = lanes_of(row_absmax == 0 ? 0 : (1.0f / row_absmax) * 127.0f), absmax = lanes_of(row_absmax);
    error_lanes m = {0};
    v16f back;
    uint16_t *const end = counter_end(counts);
    for (size_t i = 0; i < full; i += lanes) {
        const v16f v = lanes_load(x + i * 4);
        const v16b code = int8_row(v, scale, absmax, &back);
        measure(&m, v, back);
        if (end) note_bins(counts, end + i, magnitude_bits(v - back));
        memcpy(codes + i, &code, sizeof code);
    }
    if (full < count) {
        float rest[lanes] = {0};
        memcpy(rest, x + full * 4, (count - full) * sizeof(float));
        const v16f v = lanes_load((const uint8_t *)rest);
        const v16b code = int8_row(v, scale, absmax, &back);
        measure(&m, v, back);
        counter_add(counts, magnitude_bits(v - back), count - full);
        memcpy(codes + full, &code, count - full);
    }
    counter_take(counts, full);
    reduce_errors(&m, errors);
}

static void int8(const void *x, size_t count, float row_absmax, int8_t *codes, float *errors, uint32_t *histogram) {
    if (!histogram) {
        int8_counted(x, count, row_absmax, codes, errors, NULL);
        return;
    }
    counter counts;
    if (histogram) counter_begin(&counts, histogram);
    int8_counted(x, count, row_absmax, codes, errors, &counts);
    counter_drain(&counts);
}

INLINE void widen(const uint8_t *source, size_t count, int type, float *out) {
    const size_t full = count / lanes * lanes;
    wide_block(source, full, type, out);
    const v16f rest = widen_row(source + full * 2, count - full, type);
    memcpy(out + full, &rest, (count - full) * sizeof(float));
}

static void widen_f16(const void *source, size_t count, float *out) { widen(source, count, ck_stored_f16, out); }

static void widen_bf16(const void *source, size_t count, float *out) { widen(source, count, ck_stored_bf16, out); }
