/* Post-filter and levels, in plain C that compilers vectorise, compiled once for each instruction
 * set.
 *
 * Rows of the three planes are made as they are needed and kept in rings. All sums fit int32 (the
 * format says why). */
#include "pixels.h"

#include <stdlib.h>
#include <string.h>

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

enum { MARGIN = 3, KEPT = 8, LEAST = -8192, MOST = 8191, STRIP = 64, FINE = 5, REST = 13, TOP = 6 };

typedef struct {
  i64 h, w, stride; /* numbers in a row of a plane, with what is beside it */
  i64 made;         /* rows of planes */
  i64 summed;       /* rows of sizes, the first of which is that of row -1 */
  i16 *planes;      /* (3, KEPT, stride) */
  i32 *sizes;       /* (4, stride) sums of second differences, from column -1 on */
  i32 *activity;    /* (w) */
  i32 *changes;     /* (3, w) */
} Work;

static inline i64 clamped(i64 v, i64 most) {
  return v < 0 ? 0 : v > most ? most : v;
}

/* Row r of a plane, whose sides repeat: its first pixel. */
static const i16 *plane_row(const Work *s, int plane, i64 r) {
  return s->planes + (plane * KEPT + clamped(r, s->h - 1) % KEPT) * s->stride + MARGIN;
}

static void make_planes(Work *s, const i16 *x) {
  for (int k = 0; k < 3; k++) {
    i16 *p = s->planes + (k * KEPT + s->made % KEPT) * s->stride + MARGIN;
    for (i64 j = 0; j < s->w; j++) {
      const i32 r = x[3 * j] < LEAST ? LEAST : x[3 * j] > MOST ? MOST : x[3 * j];
      const i32 g = x[3 * j + 1] < LEAST ? LEAST : x[3 * j + 1] > MOST ? MOST : x[3 * j + 1];
      const i32 b = x[3 * j + 2] < LEAST ? LEAST : x[3 * j + 2] > MOST ? MOST : x[3 * j + 2];
      p[j] = (i16)(k == 0 ? r + g + b : k == 1 ? r - b : 2 * g - r - b);
    }
    for (i64 j = 1; j <= MARGIN; j++) {
      p[-j] = p[0];
      p[s->w - 1 + j] = p[s->w - 1];
    }
  }
  s->made++;
}

static inline i32 size_of(i32 v) {
  return v < 0 ? -v : v;
}

/* Sums of second differences of the plane of sums around row `summed` - 1, from column -1 to w. */
static void sum_sizes(Work *s) {
  const i64 r = s->summed - 1;
  const i16 *u = plane_row(s, 0, r - 1) - 1, *p = plane_row(s, 0, r) - 1,
            *d = plane_row(s, 0, r + 1) - 1;
  i32 *o = s->sizes + s->summed % 4 * s->stride;
  for (i64 j = 0; j < s->w + 2; j++) {
    const i32 twice = 2 * p[j];
    o[j] = size_of(p[j + 1] + p[j - 1] - twice) + size_of(d[j - 1] + u[j + 1] - twice) +
           size_of(d[j] + u[j] - twice) + size_of(d[j + 1] + u[j - 1] - twice);
  }
  s->summed++;
}

/* Of row i: about 32 log2(1 + a mean second difference), 0 to 192. Sums stay below 2^24, so that a
 * float holds them: its exponent is the place of the top bit, its mantissa begins with the bits
 * below. */
static void make_activity(Work *s, i64 i) {
  const i32 *a = s->sizes + i % 4 * s->stride, *b = s->sizes + (i + 1) % 4 * s->stride,
            *c = s->sizes + (i + 2) % 4 * s->stride;
  for (i64 from = 0; from < s->w; from += STRIP) {
    const i64 n = s->w - from < STRIP ? s->w - from : STRIP;
    i32 column[STRIP + 2], bits[STRIP];
    float sum[STRIP] = {0};
    for (i64 j = 0; j < n + 2; j++) column[j] = a[from + j] + b[from + j] + c[from + j];
    for (i64 j = 0; j < n; j++)
      sum[j] = (float)(column[j] + column[j + 1] + column[j + 2] + (1 << REST));
    memcpy(bits, sum, sizeof bits);
    for (i64 j = 0; j < n; j++) {
      const i32 v = (bits[j] >> (23 - FINE)) - ((127 + REST) << FINE);
      s->activity[from + j] = v > TOP << FINE ? TOP << FINE : v;
    }
  }
}

static inline i32 rounded(i32 v, i64 shift) {
  return (v + (1 << (shift - 1))) >> shift;
}

/* A plane's changes of row i. */
static void change_plane(Work *s, const PlaneFilter *f, int plane, i64 i) {
  const i64 radius = f->radius, taps = 2 * radius * (radius + 1), knots = f->knots;
  const i16 *p = plane_row(s, plane, i);
  i32 *out = s->changes + plane * s->w;
  for (i64 from = 0; from < s->w; from += STRIP) {
    const i64 n = s->w - from < STRIP ? s->w - from : STRIP;
    i32 sums[8][STRIP] = {{0}}, difference[STRIP];
    i64 tap = 0;
    for (i64 a = 0; a <= radius; a++) {
      const i16 *below = plane_row(s, plane, i + a) + from,
                *above = plane_row(s, plane, i - a) + from;
      for (i64 b = a ? -radius : 1; b <= radius; b++, tap++) {
        for (i64 j = 0; j < n; j++) difference[j] = below[j + b] + above[j - b] - 2 * p[from + j];
        for (i64 k = 0; k < knots; k++) {
          const i32 w = f->weights[k * taps + tap];
          for (i64 j = 0; j < n; j++) sums[k][j] += w * difference[j];
        }
      }
    }
    if (knots == 1) {
      for (i64 j = 0; j < n; j++) out[from + j] = rounded(sums[0][j], f->shift);
      continue;
    }
    for (i64 j = 0; j < n; j++) {
      const i32 place = s->activity[from + j] * (i32)(knots - 1) / TOP, share = place & 31;
      const i64 k = place >> FINE, next = k + 1 < knots ? k + 1 : k;
      const i32 mixed = (32 - share) * rounded(sums[k][j], 4) + share * rounded(sums[next][j], 4);
      out[from + j] = rounded(mixed, f->shift + 1);
    }
  }
}

static void change_row(const Work *s, const PlaneFilter planes[3], const i16 *x, i32 *out) {
  for (i64 j = 0; j < s->w; j++) {
    const i32 m = planes[0].knots ? s->changes[j] : 0,
              c = planes[1].knots ? s->changes[s->w + j] : 0;
    const i32 u = planes[2].knots ? s->changes[2 * s->w + j] : 0;
    const i32 by[3] = {m + c - u, m + 2 * u, m - c - u};
    for (int k = 0; k < 3; k++) {
      const i32 v = x[3 * j + k];
      out[3 * j + k] = (v < LEAST ? LEAST : v > MOST ? MOST : v) + by[k];
    }
  }
}

static int filter(const PlaneFilter planes[3], const i16 *x, i64 h, i64 w, i32 *out) {
  Work s = {0};
  s.h = h;
  s.w = w;
  s.stride = w + 2 * MARGIN + PAD;
  s.planes = calloc((size_t)(3 * KEPT * s.stride), sizeof(i16));
  s.sizes = calloc((size_t)(4 * s.stride), sizeof(i32));
  s.activity = calloc((size_t)w, sizeof(i32));
  s.changes = calloc((size_t)(3 * w), sizeof(i32));
  const int active = planes[0].knots > 1 || planes[1].knots > 1 || planes[2].knots > 1;
  const int status = s.planes && s.sizes && s.activity && s.changes ? OK : NO_MEMORY;
  for (i64 i = 0; i < h && status == OK; i++) {
    while (s.made < h && s.made <= i + MARGIN) {
      make_planes(&s, x + s.made * w * 3);
    }
    while (active && s.summed <= i + 2) sum_sizes(&s);
    if (active) make_activity(&s, i);
    for (int k = 0; k < 3; k++)
      if (planes[k].knots) change_plane(&s, planes + k, k, i);
    change_row(&s, planes, x + i * w * 3, out + i * w * 3);
  }
  free(s.planes);
  free(s.sizes);
  free(s.activity);
  free(s.changes);
  return status;
}

static void levels16(const i16 *x, i64 n, u8 *out) {
  for (i64 i = 0; i < n; i++) {
    const i32 v = (x[i] + 8192) >> 6;
    out[i] = (u8)(v < 0 ? 0 : v > 255 ? 255 : v);
  }
}

static void levels32(const i32 *x, i64 n, u8 *out) {
  for (i64 i = 0; i < n; i++) {
    const i32 v = (x[i] + 8192) >> 6;
    out[i] = (u8)(v < 0 ? 0 : v > 255 ? 255 : v);
  }
}

const PixelKernels JOIN(aei_pixels_, AEI_ISA) = {filter, levels16, levels32};
