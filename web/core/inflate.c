/* zlib streams (RFC 1950, 1951) as zlib judges them: what it refuses is refused here, and what it
 * reads is read. */
#include "codes.h"

#include <stdlib.h>

int make_code(Code *c, const u8 *lengths, u32 n, int whole) {
  u16 starts[LONGEST + 2] = {0};
  i32 left = 1, longest = 0;
  memset(c, 0, sizeof *c);
  for (u32 i = 0; i < n; i++) c->counts[lengths[i]]++;
  c->counts[0] = 0;
  for (i32 l = 1; l <= LONGEST; l++) {
    left = 2 * left - c->counts[l];
    if (left < 0) return 0;
    if (c->counts[l]) longest = l;
    starts[l + 1] = (u16)(starts[l] + c->counts[l]);
  }
  if (longest && left && (whole || longest != 1)) return 0;
  u32 next[LONGEST + 1], code = 0;
  for (u32 l = 1; l <= LONGEST; l++) {
    next[l] = code;
    code = (code + c->counts[l]) << 1;
  }
  for (u32 i = 0; i < n; i++) {
    const u32 l = lengths[i];
    if (!l) continue;
    c->symbols[starts[l]++] = (u16)i;
    u32 turned = 0, own = next[l]++;
    if (l > FAST) continue;
    for (u32 k = 0; k < l; k++) turned |= (own >> k & 1) << (l - 1 - k);
    for (u32 k = turned; k < 1 << FAST; k += 1 << l) c->quick[k] = (u16)(i << 4 | l);
  }
  return 1;
}

i32 slow_symbol(const Code *c, Bits *b) {
  i32 code = 0, first = 0, index = 0;
  for (u32 l = 1; l <= LONGEST; l++) {
    code |= (i32)take_bits(b, 1);
    const i32 count = c->counts[l];
    if (code - first < count) return c->symbols[index + code - first];
    index += count;
    first = (first + count) << 1;
    code <<= 1;
  }
  return -1;
}

enum { WHOLE, DAMAGED, TOO_LARGE };

typedef struct {
  Bits b;
  const u8 *dictionary;
  u32 dictionary_size;
  u8 *out;
  u32 room, size;
  Code lengths, distances;
} Stream;

static const u16 length_base[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                    31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const u8 length_bits[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                   2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const u16 distance_base[30] = {
    1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
    193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};

static int copy_match(Stream *s, u32 length, u32 distance) {
  if (distance > s->size + s->dictionary_size) return DAMAGED;
  if (length > s->room - s->size) return TOO_LARGE;
  for (; length && distance > s->size; length--, s->size++)
    s->out[s->size] = s->dictionary[s->dictionary_size + s->size - distance];
  for (; length; length--, s->size++) s->out[s->size] = s->out[s->size - distance];
  return WHOLE;
}

static int coded_block(Stream *s) {
  for (;;) {
    const i32 symbol = next_symbol(&s->lengths, &s->b);
    if (symbol < 0 || symbol > 285 || over(&s->b)) return DAMAGED;
    if (symbol == 256) return WHOLE;
    if (symbol < 256) {
      if (s->size == s->room) return TOO_LARGE;
      s->out[s->size++] = (u8)symbol;
      continue;
    }
    const u32 length = length_base[symbol - 257] + take_bits(&s->b, length_bits[symbol - 257]);
    const i32 near = next_symbol(&s->distances, &s->b);
    if (near < 0 || near > 29) return DAMAGED;
    const u32 distance = distance_base[near] + take_bits(&s->b, near < 2 ? 0 : (u32)near / 2 - 1);
    if (over(&s->b)) return DAMAGED;
    const int status = copy_match(s, length, distance);
    if (status) return status;
  }
}

static int stored_block(Stream *s) {
  take_bits(&s->b, s->b.have % 8);
  const u32 n = take_bits(&s->b, 16);
  if ((n ^ take_bits(&s->b, 16)) != 65535 || over(&s->b)) return DAMAGED;
  for (u32 i = 0; i < n; i++) {
    const u8 byte = (u8)take_bits(&s->b, 8);
    if (over(&s->b)) return DAMAGED;
    if (s->size == s->room) return TOO_LARGE;
    s->out[s->size++] = byte;
  }
  return WHOLE;
}

static int fixed_codes(Stream *s) {
  u8 l[MOST_SYMBOLS];
  for (int i = 0; i < MOST_SYMBOLS; i++) l[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
  make_code(&s->lengths, l, MOST_SYMBOLS, 0);
  memset(l, 5, 32);
  make_code(&s->distances, l, 32, 0);
  return 1;
}

static int read_codes(Stream *s) {
  static const u8 order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
  u8 l[320] = {0};
  const u32 many = take_bits(&s->b, 5) + 257, far = take_bits(&s->b, 5) + 1,
            few = take_bits(&s->b, 4) + 4;
  if (many > 286 || far > 30) return 0;
  for (u32 i = 0; i < few; i++) l[order[i]] = (u8)take_bits(&s->b, 3);
  if (!make_code(&s->lengths, l, 19, 1)) return 0;
  memset(l, 0, sizeof l);
  for (u32 i = 0; i < many + far;) {
    const i32 symbol = next_symbol(&s->lengths, &s->b);
    if (symbol < 0 || over(&s->b)) return 0;
    if (symbol < 16) {
      l[i++] = (u8)symbol;
      continue;
    }
    if (symbol == 16 && !i) return 0;
    const u8 last = symbol == 16 ? l[i - 1] : 0;
    u32 n = symbol == 16   ? 3 + take_bits(&s->b, 2)
            : symbol == 17 ? 3 + take_bits(&s->b, 3)
                           : 11 + take_bits(&s->b, 7);
    if (i + n > many + far) return 0;
    while (n--) l[i++] = last;
  }
  return l[256] && make_code(&s->lengths, l, many, 0) && make_code(&s->distances, l + many, far, 0);
}

/* n bytes that are one zlib stream and nothing else -> `out`, their number to *size. dictionary:
 * that streams may name, by its Adler-32. Returns WHOLE, DAMAGED, or TOO_LARGE where there is more
 * than `room`. */
int web_inflate(const u8 *in, u32 n, const u8 *dictionary, u32 dictionary_size, u8 *out, u32 room,
                u32 *size) {
  Stream *s = calloc(1, sizeof *s);
  if (!s) return TOO_LARGE;
  s->b = (Bits){in, n, 0, 0, 0};
  s->out = out;
  s->room = room;
  const u32 method = take_bits(&s->b, 8), flags = take_bits(&s->b, 8);
  int status =
      (method << 8 | flags) % 31 || (method & 15) != 8 || method >> 4 > 7 ? DAMAGED : WHOLE;
  if (!status && flags & 32) {
    u32 named = 0;
    for (int i = 0; i < 4; i++) named = named << 8 | take_bits(&s->b, 8);
    if (!dictionary_size || named != web_adler32(dictionary, dictionary_size)) status = DAMAGED;
    s->dictionary = dictionary;
    s->dictionary_size = dictionary_size;
  }
  for (u32 last = 0; !last && !status;) {
    last = take_bits(&s->b, 1);
    const u32 kind = take_bits(&s->b, 2);
    if (kind == 3 || over(&s->b)) status = DAMAGED;
    else if (kind == 0) status = stored_block(s);
    else status = (kind == 1 ? fixed_codes(s) : read_codes(s)) ? coded_block(s) : DAMAGED;
  }
  if (!status) {
    u32 sum = 0;
    take_bits(&s->b, s->b.have % 8);
    for (int i = 0; i < 4; i++) sum = sum << 8 | take_bits(&s->b, 8);
    if (over(&s->b) || read_so_far(&s->b) != n || sum != web_adler32(out, s->size))
      status = DAMAGED;
  }
  *size = s->size;
  free(s);
  return status;
}
