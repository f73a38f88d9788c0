/* Prefix codes as deflate has them (RFC 1951, 3.2.2): canonical, at most 15 bits, read from the
 * least significant bit. */
#ifndef AEI_WEB_CODES_H
#define AEI_WEB_CODES_H

#include "web.h"

enum { LONGEST = 15, FAST = 10, MOST_SYMBOLS = 288 };

/* quick: of the next FAST bits, a symbol times 16 and its length, or 0 where codes are longer; the
 * others are found among `symbols`, which are sorted by their codes, by the number of codes of each
 * length. */
typedef struct {
  u16 counts[LONGEST + 1], symbols[MOST_SYMBOLS], quick[1 << FAST];
} Code;

/* Reads beyond the end give zeros; `over` tells. */
typedef struct {
  const u8 *data;
  u32 size, at;
  u64 bits;
  u32 have;
} Bits;

static inline void need_bits(Bits *b, u32 n) {
  while (b->have < n) {
    b->bits |= (u64)(b->at < b->size ? b->data[b->at] : 0) << b->have;
    b->at++;
    b->have += 8;
  }
}

static inline u32 take_bits(Bits *b, u32 n) { /* n <= 32 */
  need_bits(b, n);
  const u32 v = (u32)(b->bits & (((u64)1 << n) - 1));
  b->bits >>= n;
  b->have -= n;
  return v;
}

/* Bytes that were begun. */
static inline u32 read_so_far(const Bits *b) {
  return b->at - b->have / 8;
}
static inline int over(const Bits *b) {
  return read_so_far(b) > b->size;
}

/* 0 where no code has these lengths. whole: a single code of one bit, whose other half is nothing,
 * does not do. */
int make_code(Code *c, const u8 *lengths, u32 n, int whole);
i32 slow_symbol(const Code *c, Bits *b);

/* The next symbol, or -1 where the bits are none. */
static inline i32 next_symbol(const Code *c, Bits *b) {
  need_bits(b, LONGEST);
  const u32 entry = c->quick[b->bits & ((1 << FAST) - 1)];
  if (!entry) return slow_symbol(c, b);
  b->bits >>= entry & 15;
  b->have -= entry & 15;
  return (i32)(entry >> 4);
}

#endif
