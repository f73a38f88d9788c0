/* Convolutions in float32, compiled once for each instruction set. Sums have the order that NumPy's
 * have, and no product is fused with a sum, so that the bits are the same. */
#include "floats.h"

#include <string.h>

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

static void depthwise(const float *x, const float *weight, const float *zeros, i64 h, i64 w, i64 c,
                      float *out) {
  const i64 row = w * c;
  for (i64 i = 0; i < h; i++)
    for (i64 j = 0; j < w; j++) {
      const float *near[9];
      for (int k = 0; k < 9; k++) {
        const i64 r = i + k / 3 - 1, s = j + k % 3 - 1;
        near[k] = r < 0 || r >= h || s < 0 || s >= w ? zeros : x + r * row + s * c;
      }
      const float *a = near[0], *b = near[1], *d = near[2], *e = near[3], *f = near[4];
      const float *g = near[5], *p = near[6], *q = near[7], *t = near[8];
      float *restrict o = out + i * row + j * c;
      for (i64 n = 0; n < c; n++) {
        float sum = f[n] * weight[4 * c + n];
        sum += a[n] * weight[n];
        sum += b[n] * weight[c + n];
        sum += d[n] * weight[2 * c + n];
        sum += e[n] * weight[3 * c + n];
        sum += g[n] * weight[5 * c + n];
        sum += p[n] * weight[6 * c + n];
        sum += q[n] * weight[7 * c + n];
        sum += t[n] * weight[8 * c + n];
        o[n] = sum;
      }
    }
}

/* Sums of 11 numbers at each of n places; before[k] and after[k] lie k + 1 before and after. */
static inline void convolve(const float *x, const float *const before[REACH],
                            const float *const after[REACH], const float *taps, i64 n,
                            float *restrict out) {
  const float *a = before[0], *b = before[1], *c = before[2], *d = before[3], *e = before[4];
  const float *p = after[0], *q = after[1], *r = after[2], *s = after[3], *t = after[4];
  const float t0 = taps[0], t1 = taps[1], t2 = taps[2], t3 = taps[3], t4 = taps[4], t5 = taps[5];
  for (i64 j = 0; j < n; j++) {
    float sum = x[j] * t0;
    sum += t1 * a[j];
    sum += t1 * p[j];
    sum += t2 * b[j];
    sum += t2 * q[j];
    sum += t3 * c[j];
    sum += t3 * r[j];
    sum += t4 * d[j];
    sum += t4 * s[j];
    sum += t5 * e[j];
    sum += t5 * t[j];
    out[j] = sum;
  }
}

/* Row i of a convolution down the columns; line: zeros, for what is beyond. */
static void down_columns(const float *x, const float *taps, i64 i, i64 h, i64 w, const float *line,
                         float *out) {
  const float *before[REACH], *after[REACH];
  for (i64 k = 0; k < REACH; k++) {
    before[k] = i - k - 1 < 0 ? line : x + (i - k - 1) * w;
    after[k] = i + k + 1 >= h ? line : x + (i + k + 1) * w;
  }
  convolve(x + i * w, before, after, taps, w, out);
}

/* A row convolved along itself; line: as wide as it is with REACH zeros at each side. */
static void along_row(const float *x, const float *taps, i64 w, float *line, float *out) {
  const float *before[REACH], *after[REACH];
  memcpy(line + REACH, x, (size_t)w * sizeof *line);
  for (i64 k = 0; k < REACH; k++) {
    before[k] = line + REACH - k - 1;
    after[k] = line + REACH + k + 1;
  }
  convolve(line + REACH, before, after, taps, w, out);
}

static void blur(const float *x, const float taps[REACH + 1], const float *down, const float *right,
                 i64 h, i64 w, float *other, float *line, float *out) {
  memset(line, 0, (size_t)(w + 2 * REACH) * sizeof *line);
  for (i64 i = 0; i < h; i++) {
    down_columns(x, taps, i, h, w, line, other + i * w);
    for (i64 j = 0; j < w; j++) other[i * w + j] /= down[i];
  }
  for (i64 i = 0; i < h; i++) {
    along_row(other + i * w, taps, w, line, out + i * w);
    for (i64 j = 0; j < w; j++) out[i * w + j] /= right[j];
  }
}

static void blur_back(const float *x, const float taps[REACH + 1], const float *down,
                      const float *right, i64 h, i64 w, float *other, float *line, float *out) {
  memset(line, 0, (size_t)(w + 2 * REACH) * sizeof *line);
  for (i64 i = 0; i < h; i++)
    for (i64 j = 0; j < w; j++) other[i * w + j] = x[i * w + j] / down[i];
  for (i64 i = 0; i < h; i++) {
    down_columns(other, taps, i, h, w, line, out + i * w);
    for (i64 j = 0; j < w; j++) out[i * w + j] /= right[j];
  }
  for (i64 i = 0; i < h; i++) along_row(out + i * w, taps, w, line, out + i * w);
}

const FloatKernels JOIN(aei_floats_, AEI_ISA) = {depthwise, blur, blur_back};
