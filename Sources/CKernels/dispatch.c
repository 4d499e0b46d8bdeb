#include "CKernels.h"
#include "tables.h"

#if defined(__x86_64__)

const ck_table *ck_kernels(int level) {
    switch (level) {
    case ck_level_avx2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c") ? &ck_avx2 : NULL;
    case ck_level_avx512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                       __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")
                   ? &ck_avx512
                   : NULL;
    default:
        return NULL;
    }
}

#else

const ck_table *ck_kernels(int level) {
    (void)level;
    return NULL;
}

#endif
