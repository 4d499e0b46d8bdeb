#pragma once
#include "CKernels.h"

/// Needs AVX2 and F16C.
extern const ck_restore_table ck_restore_avx2;
/// Needs AVX-512 F, BW, DQ and VL, FMA and F16C.
extern const ck_restore_table ck_restore_avx512;
