#include "restore_tables.h"

#if defined(__x86_64__)

const ck_restore_table *ck_restore_kernels(int level) {
    if (!ck_kernels(level)) return NULL;
    return level == ck_level_avx512 ? &ck_restore_avx512 : &ck_restore_avx2;
}

#else

const ck_restore_table *ck_restore_kernels(int level) {
    (void)level;
    return NULL;
}

#endif
