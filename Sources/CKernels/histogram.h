#pragma once

// Bins collect in a list, and each row that is noted counts an older one: increments of memory and arithmetic on
// vectors use different parts of the processor, which would otherwise wait for each other. Straight from the vector an
// increment takes twice as long, for the bin is not there yet. A table of pairs, which halves the increments, was
// measured, and two tables, which keep equal bins apart: they gain little or nothing. So were bit planes and carry-save
// adders in place of increments: they take what the arithmetic needs.

enum { lag = 64, taken_limit = 512, longest_block = 4096 };

typedef struct {
    uint32_t *bins;
    size_t taken;
    uint16_t pending[lag + taken_limit + longest_block];
} counter;

/// Begins with `lag` bins of zero, which `counter_drain` takes back.
INLINE void counter_begin(counter *c, uint32_t *bins) {
    c->bins = bins;
    c->taken = 0;
    memset(c->pending, 0, lag * sizeof(uint16_t));
}

/// Where the bins of the next elements go; null where nothing is counted.
INLINE uint16_t *counter_end(counter *c) { return c ? c->pending + lag + c->taken : NULL; }

INLINE void count_row(uint32_t *bins, const uint16_t *row) {
#pragma clang loop unroll(full)
    for (size_t j = 0; j < 16; j++) bins[row[j]]++;
}

/// Notes sixteen magnitudes at `end`, and counts those that lie `lag` before them.
INLINE void note_bins(counter *c, uint16_t *end, v16u magnitudes) {
    const v16h bins = __builtin_convertvector(magnitudes >> ck_bin_shift, v16h);
    memcpy(end, &bins, sizeof bins);
    count_row(c->bins, end - lag);
}

/// Counts the first `count` of sixteen magnitudes.
INLINE void counter_add(counter *c, v16u magnitudes, size_t count) {
    if (!c) return;
    uint32_t bins[16];
    const v16u shifted = magnitudes >> ck_bin_shift;
    memcpy(bins, &shifted, sizeof bins);
    for (size_t j = 0; j < count; j++) c->bins[bins[j]]++;
}

/// Takes `count` bins that were noted, and moves what is pending to the front before the list is full.
INLINE void counter_take(counter *c, size_t count) {
    if (!c) return;
    c->taken += count;
    if (c->taken < taken_limit) return;
    memcpy(c->pending, c->pending + c->taken, lag * sizeof(uint16_t));
    c->taken = 0;
}

/// Counts what is pending.
INLINE void counter_drain(counter *c) {
    for (size_t j = 0; j < lag; j += 16) count_row(c->bins, c->pending + c->taken + j);
    c->bins[0] -= lag;
}
