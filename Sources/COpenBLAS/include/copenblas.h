// OpenBLAS, found and loaded when it is first needed: what is not calibrated neither needs nor pays for it.
#pragma once

// The functions that are used, as CBLAS and LAPACK declare them with 32-bit integers; enumerations are those of cblas.h.
typedef struct {
    void (*sgemm)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                  const float *b, int ldb, float beta, float *c, int ldc);
    void (*ssymm)(int order, int side, int uplo, int m, int n, float alpha, const float *a, int lda, const float *b,
                  int ldb, float beta, float *c, int ldc);
    void (*ssyrk)(int order, int uplo, int trans, int n, int k, float alpha, const float *a, int lda, float beta, float *c,
                  int ldc);
    void (*strmm)(int order, int side, int uplo, int trans_a, int diag, int m, int n, float alpha, const float *a, int lda,
                  float *b, int ldb);
    void (*strsm)(int order, int side, int uplo, int trans_a, int diag, int m, int n, float alpha, const float *a, int lda,
                  float *b, int ldb);
    void (*spotrf)(const char *uplo, const int *n, float *a, const int *lda, int *info);
    void (*strtri)(const char *uplo, const char *diag, const int *n, float *a, const int *lda, int *info);
    // "OpenBLAS 0.3.21 …" and the processor whose kernels were chosen.
    const char *config;
    const char *core;
} co_library;

// The library, or NULL where it is not installed or lacks a function; the first call loads it. Any thread may call.
const co_library *co_load(void);

// Whether as many threads may be inside products at once: each maps so many bytes, and OpenBLAS tries for ever where it
// cannot. What was granted once stays.
int co_reserve(int threads, unsigned long bytes);
