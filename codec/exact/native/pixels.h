/* What happens to pixel units: the post-filter, and levels (docs/format/specification.md, section
 * 6). */
#ifndef AEI_PIXELS_H
#define AEI_PIXELS_H

#include "core.h"

/* A plane's filter. knots 0: none; weights: (knots, 2 r (r + 1)). */
typedef struct {
  i64 knots, radius, shift;
  const int8_t *weights;
} PlaneFilter;

typedef struct {
  /* x: (h, w, 3) -> out, like it. OK or NO_MEMORY. */
  int (*filter)(const PlaneFilter planes[3], const i16 *x, i64 h, i64 w, i32 *out);
  void (*levels16)(const i16 *x, i64 n, u8 *out);
  void (*levels32)(const i32 *x, i64 n, u8 *out);
} PixelKernels;

extern const PixelKernels aei_pixels_plain;
#if defined(AEI_HAVE_SSE2)
extern const PixelKernels aei_pixels_sse2;
#endif
#if defined(AEI_HAVE_AVX2)
extern const PixelKernels aei_pixels_avx2;
#endif
#if defined(AEI_HAVE_AVX512)
extern const PixelKernels aei_pixels_avx512;
#endif
#if defined(AEI_HAVE_AVXVNNI)
extern const PixelKernels aei_pixels_avxvnni;
#endif
#if defined(AEI_HAVE_NEON)
extern const PixelKernels aei_pixels_neon;
#endif

#endif
