#pragma once

// Bins collect in a short list and are counted from there: an increment for each lane, straight from the vector, takes
// twice as long. A table of pairs, which halves the increments, was measured: with its larger footprint it gains nothing.

enum { pending_limit = 512, longest_block = 4096 };

typedef struct {
    uint32_t *bins;
    size_t held;
    uint16_t pending[pending_limit + longest_block];
} counter;

/// Where the bins of the next elements go; null where nothing is counted.
INLINE uint16_t *counter_end(counter *c) { return c ? c->pending + c->held : NULL; }

/// Notes sixteen magnitudes at `end`.
INLINE void note_bins(uint16_t *end, v16u magnitudes) {
    const v16h bins = __builtin_convertvector(magnitudes >> ck_bin_shift, v16h);
    memcpy(end, &bins, sizeof bins);
}

/// Counts the first `count` of sixteen magnitudes.
INLINE void counter_add(counter *c, v16u magnitudes, size_t count) {
    if (!c) return;
    uint32_t bins[16];
    const v16u shifted = magnitudes >> ck_bin_shift;
    memcpy(bins, &shifted, sizeof bins);
    for (size_t j = 0; j < count; j++) c->bins[bins[j]]++;
}

/// Counts what is pending.
static __attribute__((noinline)) void counter_drain(counter *c) {
    for (size_t i = 0; i < c->held; i++) c->bins[c->pending[i]]++;
    c->held = 0;
}

/// Takes `count` bins that were noted, and counts what is pending if it is much.
INLINE void counter_take(counter *c, size_t count) {
    if (!c) return;
    c->held += count;
    if (c->held >= pending_limit) counter_drain(c);
}
