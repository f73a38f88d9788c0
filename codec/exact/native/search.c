/* The border of floats.c. */
#include "floats.h"

#include <stdlib.h>

static const FloatKernels *floats_of(int isa) {
  switch (isa) {
#if defined(AEI_HAVE_SSE2)
  case SSE2:
    return &aei_floats_sse2;
#endif
#if defined(AEI_HAVE_AVX2)
  case AVX2:
    return &aei_floats_avx2;
#endif
#if defined(AEI_HAVE_AVX512)
  case AVX512:
    return &aei_floats_avx512;
#endif
#if defined(AEI_HAVE_AVXVNNI)
  case AVXVNNI:
    return &aei_floats_avxvnni;
#endif
#if defined(AEI_HAVE_NEON)
  case NEON:
    return &aei_floats_neon;
#endif
  case PLAIN:
    return &aei_floats_plain;
  default:
    return NULL;
  }
}

static int sides_hold(i64 h, i64 w, i64 c) {
  const i64 side = (i64)1 << 20;
  return h >= 1 && w >= 1 && c >= 1 && h <= side && w <= side && c <= side &&
         h * w <= ((i64)1 << 40) / c;
}

/* A convolution of 3x3 of each channel by itself: x and out (h, w, c), weight (3, 3, c). */
AEI_API int aei_depthwise(int isa, const float *x, const float *weight, i64 h, i64 w, i64 c,
                          float *out) {
  const FloatKernels *kernels = floats_of(isa);
  if (!kernels || !sides_hold(h, w, c)) return BAD_CALL;
  float *zeros = calloc((size_t)c, sizeof *zeros);
  if (!zeros) return NO_MEMORY;
  kernels->depthwise(x, weight, zeros, h, w, c, out);
  free(zeros);
  return OK;
}

/* A symmetric blur of x (h, w), first down the columns, then along the rows, each divided by the
 * sum of the taps that are inside, down (h) and right (w); back: its transpose. */
AEI_API int aei_blur(int isa, const float *x, const float taps[REACH + 1], const float *down,
                     const float *right, i64 h, i64 w, int back, float *out) {
  const FloatKernels *kernels = floats_of(isa);
  if (!kernels || !sides_hold(h, w, 1)) return BAD_CALL;
  float *other = malloc((size_t)(h * w + w + 2 * REACH) * sizeof *other);
  if (!other) return NO_MEMORY;
  (back ? kernels->blur_back : kernels->blur)(x, taps, down, right, h, w, other, other + h * w,
                                              out);
  free(other);
  return OK;
}
