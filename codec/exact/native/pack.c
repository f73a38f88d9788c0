/* What loading a model takes: the bounds of its sums, and weights in the order that kernels read.
 */
#include "core.h"

#include <string.h>

/* Of each of n rows: the sums of the numbers above zero, and below it. */
AEI_API void aei_row_sums(const i16 *x, i64 n, i64 columns, i64 *up, i64 *down) {
  for (i64 i = 0; i < n; i++, x += columns) {
    i64 all = 0, magnitudes = 0;
    for (i64 k = 0; k < columns;) {
      /* sums of 2^15 numbers fit 32 bits */
      const i64 end = columns - k < 1 << 15 ? columns : k + (1 << 15);
      i32 sum = 0;
      u32 size = 0;
      for (; k < end; k++) {
        const i32 v = x[k];
        sum += v;
        size += (u32)(v < 0 ? -v : v);
      }
      all += sum;
      magnitudes += size;
    }
    up[i] = (magnitudes + all) / 2;
    down[i] = (all - magnitudes) / 2;
  }
}

/* Weights (d, k) -> (panels, pairs, PANEL, 2), with zeros where d and k do not fill them. */
AEI_API void aei_panels(const i16 *weight, i64 d, i64 k, i16 *out) {
  const i64 pairs = (k + 1) / 2, even = k / 2;
  for (i64 first = 0; first < d; first += PANEL, out += pairs * PANEL * 2) {
    const i64 n = d - first < PANEL ? d - first : PANEL;
    if (n < PANEL || k % 2) memset(out, 0, (size_t)(pairs * PANEL * 2) * sizeof(i16));
    for (i64 j = 0; j < n; j++) {
      const i16 *from = weight + (first + j) * k;
      i16 *to = out + 2 * j;
      for (i64 p = 0; p < even; p++) memcpy(to + p * PANEL * 2, from + 2 * p, 4);
      if (k % 2) to[even * PANEL * 2] = from[k - 1];
    }
  }
}
