/* The arrays of a file of weights (web/README.md says how they are coded). */
#include "codes.h"

#include <stdlib.h>

enum { ESCAPE = 255, MIDDLE = 128, LEAST_BITS = 3, RUN = 64 };

typedef struct {
  Bits bits;
  const u8 *lengths; /* (classes, 256) of codes */
  u32 classes;
  Code *codes[256]; /* made when they are first used */
} Unpacker;

static const Code *code_of(Unpacker *u, u32 kind) {
  if (kind >= u->classes) return NULL;
  if (!u->codes[kind]) {
    u->codes[kind] = malloc(sizeof(Code));
    if (u->codes[kind] && !make_code(u->codes[kind], u->lengths + 256 * kind, 256, 0)) {
      free(u->codes[kind]);
      u->codes[kind] = NULL;
    }
  }
  return u->codes[kind];
}

Unpacker *web_unpack_open(const u8 *data, u32 size, const u8 *lengths, u32 classes) {
  if (classes > 256) return NULL;
  Unpacker *u = calloc(1, sizeof *u);
  if (!u) return NULL;
  u->bits = (Bits){data, size, 0, 0, 0};
  u->lengths = lengths;
  u->classes = classes;
  return u;
}

void web_unpack_close(Unpacker *u) {
  for (u32 i = 0; i < 256; i++) free(u->codes[i]);
  free(u);
}

static inline void store(u8 *out, u64 i, i32 width, i64 v) {
  if (width == 1) out[i] = (u8)v;
  else if (width == 2) ((i16 *)out)[i] = (i16)v;
  else if (width == 4) ((i32 *)out)[i] = (i32)v;
  else ((i64 *)out)[i] = v;
}

/* One array of rows * columns numbers of `width` bytes. transposed: its columns are coded;
 * differences: 0 to 2, how often a number's predecessor was taken from it. Runs of RUN numbers of
 * one row or of differences, else whole rows or columns, begin with their class. OK or not. */
int web_unpack(Unpacker *u, i32 width, u32 rows, u32 columns, i32 transposed, i32 differences,
               u8 *out) {
  const u32 lines = transposed ? columns : rows, n = transposed ? rows : columns;
  const u64 step = transposed ? columns : 1, line = transposed ? 1 : columns;
  const u32 run = rows == 1 || differences ? RUN : n;
  for (u32 i = 0; i < lines; i++) {
    i64 last = 0, slope = 0;
    const Code *code = NULL;
    u32 shift = 0, left = 0;
    for (u32 j = 0; j < n; j++, left--) {
      if (!left) {
        const u32 kind = take_bits(&u->bits, 8);
        code = code_of(u, kind);
        if (!code) return 0;
        shift = kind / 2 > LEAST_BITS ? kind / 2 - LEAST_BITS : 0;
        left = run;
      }
      const i32 symbol = next_symbol(code, &u->bits);
      if (symbol < 0) return 0;
      i64 v;
      if (symbol == ESCAPE) {
        v = (i64)take_bits(&u->bits, 32);
        v |= (i64)((u64)take_bits(&u->bits, 32) << 32);
      } else
        v = (i64)((u64)(i64)(symbol - MIDDLE) << shift) |
            (shift > 32 ? 0 : (i64)take_bits(&u->bits, shift));
      if (differences == 2) v = slope += v;
      if (differences) v = last += v;
      store(out, i * line + j * step, width, v);
    }
    if (over(&u->bits)) return 0;
  }
  return 1;
}

/* Whether all was read and nothing more is there. */
int web_unpack_ended(const Unpacker *u) {
  return read_so_far(&u->bits) == u->bits.size;
}
