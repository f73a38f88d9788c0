/* The border of pixels.c. */
#include "pixels.h"

static const PixelKernels *pixels_of(int isa) {
  switch (isa) {
#if defined(AEI_HAVE_SSE2)
  case SSE2:
    return &aei_pixels_sse2;
#endif
#if defined(AEI_HAVE_AVX2)
  case AVX2:
    return &aei_pixels_avx2;
#endif
#if defined(AEI_HAVE_AVX512)
  case AVX512:
    return &aei_pixels_avx512;
#endif
#if defined(AEI_HAVE_AVXVNNI)
  case AVXVNNI:
    return &aei_pixels_avxvnni;
#endif
#if defined(AEI_HAVE_NEON)
  case NEON:
    return &aei_pixels_neon;
#endif
  case PLAIN:
    return &aei_pixels_plain;
  default:
    return NULL;
  }
}

static int sides_hold(i64 h, i64 w) {
  return h >= 1 && w >= 1 && h <= (i64)1 << 26 && w <= (i64)1 << 26 && h * w <= (i64)1 << 40;
}

/* x: pixel units, int16 (h, w, 3); planes: see PlaneFilter. out: int32, like x. */
AEI_API int aei_post_filter(int isa, const PlaneFilter planes[3], const i16 *x, i64 h, i64 w,
                            i32 *out) {
  const PixelKernels *kernels = pixels_of(isa);
  if (!kernels || !sides_hold(h, w)) return BAD_CALL;
  for (int k = 0; k < 3; k++) {
    const PlaneFilter *f = planes + k;
    if (f->knots == 0) continue;
    if (f->knots != 1 && f->knots != 2 && f->knots != 4 && f->knots != 8) return BAD_CALL;
    if (f->radius < 1 || f->radius > 3 || f->shift < 5 || f->shift > 20) return BAD_CALL;
  }
  return kernels->filter(planes, x, h, w, out);
}

/* n numbers, int32 where wide is 1, else int16, to levels. */
AEI_API int aei_levels(int isa, const void *x, i64 n, int wide, u8 *out) {
  const PixelKernels *kernels = pixels_of(isa);
  if (!kernels || n < 0) return BAD_CALL;
  if (wide) kernels->levels32(x, n, out);
  else kernels->levels16(x, n, out);
  return OK;
}
