/* What the encoder's search is slowest at in NumPy, in float32, as NumPy rounds it (slopes.py,
 * ssimulacra2.py): nothing here decides what a file means. */
#ifndef AEI_FLOATS_H
#define AEI_FLOATS_H

#include "core.h"

enum { REACH = 5 }; /* of a blur, each way */

typedef struct {
  /* x, out: (h, w, c); weight: (3, 3, c); zeros: c of them. Beyond the sides are zeros. */
  void (*depthwise)(const float *x, const float *weight, const float *zeros, i64 h, i64 w, i64 c,
                    float *out);
  /* x, out, other: (h, w); line: w + 2 REACH numbers. See aei_blur. */
  void (*blur)(const float *x, const float taps[REACH + 1], const float *down, const float *right,
               i64 h, i64 w, float *other, float *line, float *out);
  void (*blur_back)(const float *x, const float taps[REACH + 1], const float *down,
                    const float *right, i64 h, i64 w, float *other, float *line, float *out);
} FloatKernels;

extern const FloatKernels aei_floats_plain;
#if defined(AEI_HAVE_SSE2)
extern const FloatKernels aei_floats_sse2;
#endif
#if defined(AEI_HAVE_AVX2)
extern const FloatKernels aei_floats_avx2;
#endif
#if defined(AEI_HAVE_AVX512)
extern const FloatKernels aei_floats_avx512;
#endif
#if defined(AEI_HAVE_AVXVNNI)
extern const FloatKernels aei_floats_avxvnni;
#endif
#if defined(AEI_HAVE_NEON)
extern const FloatKernels aei_floats_neon;
#endif

#endif
