/* Pixel units to what a canvas takes, alpha planes, and smaller pictures. */
#include "web.h"

static inline u8 level(i32 v) {
  return (u8)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* n pixel units of three channels, int32 where wide is 1, else int16, to n times red, green, blue,
 * alpha. alpha: (n), or NULL where all is opaque. The specification's section 6. */
void web_rgba(const void *x, int wide, u32 n, int grey, const u8 *alpha, u8 *out) {
  const i16 *narrow = x;
  const i32 *broad = x;
  for (u32 i = 0; i < n; i++, out += 4) {
    i32 c[3];
    for (u32 k = 0; k < 3; k++) c[k] = wide ? broad[3 * i + k] : narrow[3 * i + k];
    if (grey) {
      const i32 sum = c[0] + c[1] + c[2] + 24576;
      out[0] = out[1] = out[2] = sum < 0 ? 0 : level(sum / 192);
    } else
      for (u32 k = 0; k < 3; k++) out[k] = level((c[k] + 8192) >> 6);
    out[3] = alpha ? alpha[i] : 255;
  }
}

/* height rows of a filter and width bytes, to a plane; 0 where a filter is none. */
int web_unfilter(const u8 *rows, u32 width, u32 height, u8 *out) {
  for (u32 y = 0; y < height; y++, rows += width + 1, out += width) {
    if (rows[0] > 2) return 0;
    memcpy(out, rows + 1, width);
    if (rows[0] == 1)
      for (u32 x = 1; x < width; x++) out[x] = (u8)(out[x] + out[x - 1]);
    if (rows[0] == 2 && y)
      for (u32 x = 0; x < width; x++) out[x] = (u8)(out[x] + out[x - width]);
  }
  return 1;
}

/* (height, width) of `channels` bytes at 1/scale of its sides, rounded up: means, to the nearest,
 * of what is there. With four channels the colours weigh as much as their alpha. As Pillow's
 * Image.reduce, after convert("RGBa"). */
void web_reduce(const u8 *x, u32 width, u32 height, u32 channels, u32 scale, u8 *out) {
  for (u32 top = 0; top < height; top += scale)
    for (u32 left = 0; left < width; left += scale, out += channels) {
      const u32 rows = height - top < scale ? height - top : scale,
                columns = width - left < scale ? width - left : scale;
      const u32 n = rows * columns, by = (u32)(((u64)1 << 24) / n);
      u32 sum[4] = {n / 2, n / 2, n / 2, n / 2};
      for (u32 i = 0; i < rows; i++)
        for (u32 j = 0; j < columns; j++) {
          const u8 *p = x + ((top + i) * width + left + j) * channels;
          const u32 a = channels == 4 ? p[3] : 255;
          for (u32 k = 0; k < channels; k++) {
            const u32 v = p[k] * a + 128;
            sum[k] += k == 3 || a == 255 ? p[k] : ((v >> 8) + v) >> 8;
          }
        }
      for (u32 k = 0; k < channels; k++) out[k] = (u8)(sum[k] * by >> 24);
      if (channels == 4 && out[3] && out[3] != 255)
        for (u32 k = 0; k < 3; k++) out[k] = level((i32)(255 * (u32)out[k] / out[3]));
    }
}
