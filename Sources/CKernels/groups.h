#pragma once

// Grouped scales: included after body.h, on the same lanes.

typedef struct {
    v16f scale, bias, stored_scale, stored_bias, low, high;
    v16u offset;
} group_coding;

INLINE v16f held(v16f v, v16f low, v16f high) { return smaller(high, larger(v, low)); }

/// The nearest E4M3 value to each of `ratio`, at most 448 in magnitude, and its code.
INLINE v16f e4m3(v16f ratio, v16u *stored) {
    const v16u sign = (v16u)ratio & 0x80000000u, bits = magnitude_bits(ratio);
    const v16u kept = (bits + 0x7ffffu + (bits >> 20 & 1u)) & 0xfff00000u;
    const v16f shifted = (v16f)bits + lanes_of(0x1p14f);
    const v16u small = (v16u)((v16f)bits < lanes_of(0x1p-6f));
    const v16u value = ((v16u)(shifted - lanes_of(0x1p14f)) & small) | (kept & ~small);
    *stored = (((v16u)shifted & 15u & small) | ((kept >> 20) - 120 * 8 & ~small)) | sign >> 24;
    return (v16f)(value | sign);
}

INLINE int is_affine(int code) { return code == ck_affine4 || code == ck_affine8; }
INLINE int is_nibble(int code) { return code == ck_packed4 || code == ck_affine4; }

/// The stored codes of sixteen weights, and what a reader restores.
INLINE v16u group_codes(v16f v, const group_coding *g, int code, int restored, v16f *back) {
    const v16f magic = lanes_of(0x1.8p23f);
    if (code == ck_e4m3) {
        v16u stored;
        const v16f zero = {0};
        const v16f value = e4m3(held(restore(v / g->scale, restored) + zero, g->low, g->high), &stored);
        *back = restore(value * g->scale, restored);
        return stored;
    }
    if (is_affine(code)) {
        const v16f shifted = held((v - g->bias) / g->scale, g->low, g->high) + magic;
        *back = restore(restore((shifted - magic) * g->stored_scale, restored) + g->stored_bias, restored);
        return (v16u)shifted;
    }
    if (code == ck_zero_point) {
        // AutoAWQ works in float16, whatever the weights are.
        const v16f shifted = held(round_f16(round_f16(v) / g->scale), g->low, g->high) + magic;
        *back = round_f16((shifted - magic) * g->scale);
        return (v16u)shifted + g->offset;
    }
    const v16f shifted = held(restore(v / g->scale, restored), g->low, g->high) + magic;
    *back = restore((shifted - magic) * g->scale, restored);
    return (v16u)shifted + g->offset;
}

INLINE void store_codes(v16u stored, int code, uint8_t *out) {
    if (is_nibble(code)) {
        const v16u nibbles = stored & 15u;
        // `store_nibbles` puts the even element high, these words want it low.
        store_nibbles(__builtin_shufflevector(nibbles, nibbles, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14),
                      out);
    } else {
        const v16b bytes = __builtin_convertvector(stored, v16b);
        memcpy(out, &bytes, sizeof bytes);
    }
}

INLINE group_coding coding_of(const float *scale, int code, int stored_code) {
    const float zero = scale[1];
    const float low = code == ck_zero_point ? -zero : is_affine(code) ? 0 : code == ck_e4m3 ? -448
                                                                  : code == ck_packed4 ? -8 : -128;
    const float high = code == ck_zero_point ? 15 - zero : code == ck_affine8 ? 255 : code == ck_affine4 ? 15
                       : code == ck_e4m3 ? 448 : code == ck_packed4 ? 7 : 127;
    const uint32_t offset = code == ck_zero_point ? (uint32_t)(int32_t)zero
                            : stored_code == ck_packed4 ? 8 : stored_code == ck_packed8 ? 128 : 0;
    group_coding g = {lanes_of(scale[0]), lanes_of(scale[1]), lanes_of(scale[2]), lanes_of(scale[3]),
                      lanes_of(low),      lanes_of(high),     {0}};
    g.offset += offset;
    return g;
}

INLINE void group_each(const uint8_t *x, size_t groups, size_t n, int code, int stored_code, int restored,
                       const float *scales, uint8_t *codes, size_t group_bytes, float *errors, counter *counts) {
    const size_t row = is_nibble(code) ? 8 : 16, rows = n / lanes, rest = n % lanes;
    for (size_t group = 0; group < groups; group++, x += n * 4, codes += group_bytes) {
        const group_coding g = coding_of(scales + group * 4, code, stored_code);
        error_lanes m = {0};
        v16f back;
        uint16_t *const end = counter_end(counts);
        for (size_t i = 0; i < rows; i++) {
            const v16f v = lanes_load(x + i * row_bytes);
            store_codes(group_codes(v, &g, code, restored, &back), code, codes + i * row);
            measure(&m, v, back);
            if (end) note_bins(counts, end + i * lanes, magnitude_bits(v - back));
        }
        if (rest) {
            float tail[lanes] = {0};
            memcpy(tail, x + rows * row_bytes, rest * sizeof(float));
            const v16f v = lanes_load((const uint8_t *)tail);
            uint32_t stored[lanes];
            v16u all = group_codes(v, &g, code, restored, &back);
            memcpy(stored, &all, sizeof stored);
            memset(stored + rest, 0, (lanes - rest) * sizeof(uint32_t));
            memcpy(&all, stored, sizeof stored);
            uint8_t bytes[lanes];
            store_codes(all, code, bytes);
            memcpy(codes + rows * row, bytes, group_bytes - rows * row);
            measure(&m, v, back);
            counter_add(counts, magnitude_bits(v - back), rest);
        }
        reduce_errors(&m, errors + group * 5);
        counter_take(counts, rows * lanes);
    }
}

INLINE void group_all(const void *x, size_t groups, size_t n, int code, int stored_code, int restored,
                      const float *scales, uint8_t *codes, size_t group_bytes, float *errors, counter *counts) {
    if (restored == ck_restored_f16)
        group_each(x, groups, n, code, stored_code, ck_restored_f16, scales, codes, group_bytes, errors, counts);
    else if (restored == ck_restored_bf16)
        group_each(x, groups, n, code, stored_code, ck_restored_bf16, scales, codes, group_bytes, errors, counts);
    else
        group_each(x, groups, n, code, stored_code, ck_restored_f32, scales, codes, group_bytes, errors, counts);
}

static void groups(const void *x, size_t groups, size_t elements, int code, int restored, const float *scales,
                   uint8_t *codes, size_t group_bytes, float *errors, uint32_t *histogram) {
    counter counts;
    if (histogram) counter_begin(&counts, histogram);
    counter *const used = histogram ? &counts : NULL;
    switch (code) {
    case ck_packed4:
        group_all(x, groups, elements, ck_packed4, code, restored, scales, codes, group_bytes, errors, used);
        break;
    case ck_packed8:
    case ck_int8:
        group_all(x, groups, elements, ck_int8, code, restored, scales, codes, group_bytes, errors, used);
        break;
    case ck_e4m3:
        group_all(x, groups, elements, ck_e4m3, code, restored, scales, codes, group_bytes, errors, used);
        break;
    case ck_zero_point:
        group_each(x, groups, elements, ck_zero_point, code, ck_restored_f16, scales, codes, group_bytes, errors, used);
        break;
    case ck_affine4:
        group_all(x, groups, elements, ck_affine4, code, restored, scales, codes, group_bytes, errors, used);
        break;
    default:
        group_all(x, groups, elements, ck_affine8, code, restored, scales, codes, group_bytes, errors, used);
    }
    if (histogram) counter_drain(&counts);
}

static void ranges(const void *x, size_t groups, size_t elements, float *ranges) {
    const uint8_t *bytes = x;
    for (size_t group = 0; group < groups; group++, bytes += elements * 4, ranges += 3) {
        const size_t rows = elements / lanes, rest = elements % lanes;
        float first;
        memcpy(&first, bytes, sizeof first);
        v16f tail = lanes_of(first);
        memcpy(&tail, bytes + rows * row_bytes, rest * sizeof(float));
        v16f least = rest ? tail : lanes_load(bytes), greatest = least;
        v16u largest = magnitude_bits(least);
        for (size_t i = 0; i < rows; i++) {
            const v16f v = lanes_load(bytes + i * row_bytes);
            least = smaller(v, least);
            greatest = larger(v, greatest);
            largest = lanes_max(largest, magnitude_bits(v));
        }
        ranges[0] = reduce_magnitude(largest);
        float low[lanes], high[lanes];
        memcpy(low, &least, sizeof low);
        memcpy(high, &greatest, sizeof high);
        for (size_t j = 1; j < lanes; j++) {
            low[0] = low[j] < low[0] ? low[j] : low[0];
            high[0] = high[j] > high[0] ? high[j] : high[0];
        }
        ranges[1] = low[0];
        ranges[2] = high[0];
    }
}

/// The sums of `n` elements on one grid, or on two, which share what the last reduction costs.
INLINE void grid_sums(const uint8_t *x, size_t n, v16f tail, int code, size_t pair, const float *grids, float *sums) {
    const size_t rows = n / lanes, all = rows + (n % lanes ? 1 : 0);
    v16f s[8] = {{0}};
    // A short last row is followed by zeros; only grids without a shift have one, and zero is a code of these.
    for (size_t i = 0; i < all; i++) {
        const v16f weight = i < rows ? lanes_load(x + i * row_bytes) : tail;
#pragma clang loop unroll(full)
        for (size_t k = 0; k < pair; k++) {
            const float *grid = grids + k * 4;
            const v16f low = lanes_of(grid[2]), high = lanes_of(grid[3]), v = weight * lanes_of(grid[0]);
            v16f c;
            if (code == ck_e4m3) {
                v16u stored;
                c = e4m3(held(v, low, high), &stored);
            } else {
                c = nearest(held(is_affine(code) ? v + lanes_of(grid[1]) : v, low, high));
            }
            s[4 * k] += v * c;
            s[4 * k + 1] += c * c;
            if (!is_affine(code)) continue;
            s[4 * k + 2] += c;
            s[4 * k + 3] += v;
        }
    }
    if (pair == 2) {
        reduce8(s, sums);
    } else {
        reduce4(s, sums);
    }
}

INLINE void grid_each(const uint8_t *x, size_t groups, size_t n, int code, size_t candidates, const float *grids,
                      float *sums) {
    for (size_t group = 0; group < groups; group++, x += n * 4, grids += candidates * 4, sums += candidates * 4) {
        v16f tail = {0};
        memcpy(&tail, x + n / lanes * row_bytes, n % lanes * sizeof(float));
        size_t k = 0;
        for (; k + 2 <= candidates; k += 2) grid_sums(x, n, tail, code, 2, grids + k * 4, sums + k * 4);
        if (k < candidates) grid_sums(x, n, tail, code, 1, grids + k * 4, sums + k * 4);
    }
}

static void grids(const void *x, size_t groups, size_t elements, int code, size_t candidates, const float *grids,
                  float *sums) {
    if (code == ck_e4m3)
        grid_each(x, groups, elements, ck_e4m3, candidates, grids, sums);
    else if (is_affine(code))
        grid_each(x, groups, elements, ck_affine4, candidates, grids, sums);
    else
        grid_each(x, groups, elements, ck_packed4, candidates, grids, sums);
}
