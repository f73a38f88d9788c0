/* The range coder of codec/exact/coder/plain_coder.py, bit for bit, and groups of symbols with
 * their escapes. */
#include "core.h"

#include <math.h>
#include <string.h>

enum { PRECISION = 24 };

Table table_of(const Header *h, i64 k) {
  const u32 *starts = at(h, h->starts);
  const i64 start = starts[k];
  Table t;
  t.count = starts[k + 1] - starts[k];
  t.sums = (const u32 *)at(h, h->sums) + start + k;
  t.quick = (const u16 *)at(h, h->quick) + k * ((1 << QUICK_BITS) + 1);
  t.bits = (const float *)at(h, h->bits) + start;
  return t;
}

/* -- reading -- */

static u32 next_word(Decoder *c) {
  u32 v = 0;
  for (int i = 0; i < 4; i++, c->at++) v = v << 8 | (c->at < c->size ? c->data[c->at] : 0);
  return v;
}

void decoder_start(Decoder *c, const u8 *data, i64 size) {
  c->data = data;
  c->size = size;
  c->at = 0;
  c->low = 0;
  c->width = ~(u64)0;
  c->status = OK;
  c->point = (u64)next_word(c) << 32;
  c->point |= next_word(c);
}

static inline void narrow_to(Decoder *c, u64 scale, u32 left, u32 frequency) {
  c->low += scale * left;
  c->width = scale * frequency;
  if (c->width < (u64)1 << 32) {
    c->low <<= 32;
    c->width <<= 32;
    c->point = c->point << 32 | next_word(c);
  }
}

/* Both are undefined where the status is not OK: the width may have any value then. */
static inline u32 decode_one(Decoder *c, const Table *t) {
  const u64 scale = c->width >> PRECISION, quantile = (c->point - c->low) / scale;
  if (quantile >> PRECISION) {
    c->status = UNDECODABLE;
    return 0;
  }
  const u32 *sums = t->sums, q = (u32)quantile;
  const u16 *guess = t->quick + (q >> (PRECISION - QUICK_BITS));
  u32 s = guess[0], e = guess[1]; /* the symbol is in s .. e */
  while (e - s > 8) {
    const u32 m = (s + e + 1) / 2;
    if (sums[m] <= q) s = m;
    else e = m - 1;
  }
  while (sums[s + 1] <= q) s++;
  narrow_to(c, scale, sums[s], sums[s + 1] - sums[s]);
  return s;
}

int decode_uniform(Decoder *c, int bits) {
  const u64 scale = c->width >> PRECISION, quantile = (c->point - c->low) / scale;
  if (quantile >> PRECISION) {
    c->status = UNDECODABLE;
    return 0;
  }
  const u32 s = (u32)(quantile >> (PRECISION - bits));
  narrow_to(c, scale, s << (PRECISION - bits), (u32)1 << (PRECISION - bits));
  return (int)s;
}

/* A magnitude past a table's reach, with its sign, in Exp-Golomb bits. */
static i32 decode_escape(Decoder *c, i32 reach) {
  int zeros = 0;
  while (!decode_uniform(c, 1)) {
    if (c->status) return 0;
    if (++zeros > MAX_PREFIX) {
      c->status = IMPOSSIBLE;
      return 0;
    }
  }
  u32 v = 1;
  for (int i = 0; i < zeros; i++) {
    v = v << 1 | (u32)decode_uniform(c, 1);
    if (c->status) return 0;
  }
  v -= 1;
  const i32 magnitude = reach + 1 + (i32)(v >> 1);
  if (magnitude > MAX_SYMBOL) {
    c->status = IMPOSSIBLE;
    return 0;
  }
  return v & 1 ? -magnitude : magnitude;
}

void decode_symbols(Decoder *c, const Header *h, const i32 *order, const i16 *tables, i64 n,
                    i32 *values, i32 *escaped) {
  i64 escapes = 0, known = -1;
  i32 reach = 0;
  Table t = {0};
  for (i64 i = 0; i < n; i++) {
    const i32 place = order[i];
    if (tables[place] != known) {
      known = tables[place];
      t = table_of(h, known);
      reach = (i32)(t.count - 2) / 2;
    }
    const i32 v = (i32)decode_one(c, &t) - reach;
    if (c->status) return;
    values[place] = v;
    if (v > reach) escaped[escapes++] = place;
  }
  for (i64 i = 0; i < escapes; i++) {
    t = table_of(h, tables[escaped[i]]);
    values[escaped[i]] = decode_escape(c, (i32)(t.count - 2) / 2);
    if (c->status) return;
  }
}

/* How far above `low` an encoder puts the point that it writes: to where the most bytes at the end
 * are zero (plain_coder.shortest_bytes). Depends on the last 64 bits of `low` alone, for no unit is
 * larger. */
static u64 sealed_above(u64 low, u64 width) {
  u64 above = 0;
  for (int dropped = 1; dropped <= 8; dropped++) {
    const u64 mask = dropped == 8 ? ~(u64)0 : ((u64)1 << (8 * dropped)) - 1;
    const u64 more = (0 - low) & mask;
    if (more >= width) break;
    above = more;
  }
  return above;
}

/* An encoder that codes what was read has the decoder's `low` (modulo 2^64) and `width` after each
 * symbol, since both follow from the symbols alone. Let L be its `low` as a number of all the bytes
 * so far, and P the data as a number of as many bytes, zeros appended. 0 <= P - L < width holds at
 * the start and after each symbol that is read, so point - low is P - L itself, not only modulo
 * 2^64. The encoder writes L + sealed_above without the zeros at its end: the data is that if it
 * has no zero at its end, is no longer, and P is that number. */
int decoder_is_canonical(const Decoder *c) {
  if (c->size > c->at || (c->size && c->data[c->size - 1] == 0)) return 0;
  return c->point - c->low == sealed_above(c->low, c->width);
}

/* -- writing -- */

void encoder_start(Encoder *c, u8 *out, i64 room) {
  c->out = out;
  c->room = room;
  c->at = 0;
  c->low = 0;
  c->width = ~(u64)0;
}

/* Adds one to the number that the bytes before `end` are. */
static void carry(Encoder *c, i64 end) {
  if (end > c->room) return;
  while (end > 0 && ++c->out[end - 1] == 0) end--;
}

static inline void encode(Encoder *c, u32 left, u32 frequency) {
  const u64 scale = c->width >> PRECISION, low = c->low;
  c->low += scale * left;
  c->width = scale * frequency;
  if (c->low < low) carry(c, c->at);
  if (c->width < (u64)1 << 32) {
    if (c->at + 4 <= c->room)
      for (int i = 0; i < 4; i++) c->out[c->at + i] = (u8)(c->low >> (56 - 8 * i));
    c->at += 4;
    c->low <<= 32;
    c->width <<= 32;
  }
}

i64 encoder_finish(Encoder *c) {
  if (c->at + 8 > c->room) return -1;
  const u64 sealed = c->low + sealed_above(c->low, c->width);
  if (sealed < c->low) carry(c, c->at);
  for (int i = 0; i < 8; i++) c->out[c->at + i] = (u8)(sealed >> (56 - 8 * i));
  c->at += 8;
  while (c->at > 0 && c->out[c->at - 1] == 0) c->at--;
  return c->at;
}

void encode_uniform(Encoder *c, u32 symbol, int bits) {
  encode(c, symbol << (PRECISION - bits), (u32)1 << (PRECISION - bits));
}

/* Returns how many bits. */
static int encode_escape(Encoder *c, i32 value, i32 reach) {
  const u32 magnitude = value < 0 ? (u32)-value : (u32)value;
  const u32 n = 2 * (magnitude - (u32)reach - 1) + (value < 0) + 1;
  int size = 0;
  while (n >> size) size++;
  for (int i = 1; i < size; i++) encode_uniform(c, 0, 1);
  for (int i = size - 1; i >= 0; i--) encode_uniform(c, n >> i & 1, 1);
  return 2 * size - 1;
}

double encode_symbols(Encoder *c, const Header *h, const i32 *order, const i16 *tables, i64 n,
                      const i32 *values) {
  i64 known = -1, escapes = 0;
  i32 reach = 0;
  double bits = 0;
  Table t = {0};
  for (i64 i = 0; i < n; i++) {
    const i32 place = order[i], v = values[place];
    if (tables[place] != known) {
      known = tables[place];
      t = table_of(h, known);
      reach = (i32)(t.count - 2) / 2;
    }
    const int outside = v > reach || v < -reach;
    const i32 s = outside ? 2 * reach + 1 : v + reach;
    escapes += outside;
    bits += (double)t.bits[s];
    encode(c, t.sums[s], t.sums[s + 1] - t.sums[s]);
  }
  for (i64 i = 0; escapes && i < n; i++) {
    const i32 place = order[i], v = values[place];
    t = table_of(h, tables[place]);
    reach = (i32)(t.count - 2) / 2;
    if (v > reach || v < -reach) bits += encode_escape(c, v, reach), escapes--;
  }
  return bits;
}

i64 sort_places(const i16 *tables, i64 n, i64 keys, i64 first, i32 *counts, i32 *order) {
  memset(counts, 0, (size_t)(keys + 1) * sizeof(i32));
  for (i64 i = 0; i < n; i++) counts[tables[i] + 1]++;
  counts[0] = 0;
  i32 skipped = 0;
  for (i64 k = 1; k <= keys; k++) counts[k] += counts[k - 1];
  if (first > 0) skipped = counts[first < keys ? first : keys];
  for (i64 i = 0; i < n; i++)
    if (tables[i] >= first) order[counts[tables[i]]++ - skipped] = (i32)i;
  return n - skipped;
}
