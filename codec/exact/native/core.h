/* The native core: a bundle's integer prior as one block of bytes, and what runs it.
 *
 * A block is made once per loaded bundle (block.py, which lists the same fields in the same order)
 * and is checked once (aei_check): after that every index in it is known to stay inside it, and
 * calls check only what they are given beside it. All functions are without state: they read the
 * block, write to what they are given, allocate before their loops and free before they return, and
 * start no threads. Numbers may wrap around in a program that lies about its bounds; memory is
 * never at stake. */
#ifndef AEI_CORE_H
#define AEI_CORE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define AEI_API __declspec(dllexport)
#elif defined(__GNUC__)
#define AEI_API __attribute__((visibility("default")))
#else
#define AEI_API
#endif

typedef uint8_t u8;
typedef uint16_t u16;
typedef int16_t i16;
typedef int32_t i32;
typedef uint32_t u32;
typedef int64_t i64;
typedef uint64_t u64;

enum { INTERFACE = 4 };        /* of the calls; native/__init__.py has the same */
enum { PANEL = 32 };           /* outputs whose weights lie together */
enum { MOST_CHANNELS = 2048 }; /* of a layer */
enum { REGISTERS = 8, Z = 0, HIDDEN = 1, VIEW = 2 };
enum { STEPS = 4, CELLS = 4, LEVELS_OF_GAIN = 256 };
enum { QUICK_BITS = 9 }; /* of a quantile, that a table of guesses is asked with */
enum { MAX_SYMBOL = 32767, MAX_PREFIX = 16 };

enum { OK, UNDECODABLE, IMPOSSIBLE, TOO_LONG, NO_MEMORY, BAD_PROGRAM, BAD_CALL, NO_ROOM, STOPPED };
enum { CONV, DEPTHWISE, ROW, LEAKY, SHUFFLE, ADD, DEQUANTISE, GAIN, UNSHUFFLE };
enum { PLAIN, SSE2, AVX2, AVX512, NEON, AVXVNNI, ISAS };

/* One layer. Offsets count bytes from the start of the block; -1: absent.
 * CONV: `weight` int16 (panels, pairs of inputs, PANEL, 2), `bias` int64 (cout). DEPTHWISE:
 * `weight` int16 (10, cin), the last row zeros, `bias` int64 (cin). ROW: `multiplier` and `bias`
 * int32 (256, cin). After a CONV or DEPTHWISE: a leaky ReLU of slope leaky / 2^15 where that is not
 * 0, then, of a CONV, register `in2` is added where it is not -1. Of the synthesis alone
 * (synthesis.c): DEQUANTISE: `multiplier` int16 and `weight` uint8 (256, cin), shifts. GAIN:
 * `multiplier` int16 (256, cin), `weight` uint8 (256), shifts. SHUFFLE, UNSHUFFLE: by `shift`;
 * `safe`: channels have the order (row, column, channel) where they are many, so that they move
 * together. safe: no input can take an int32 sum past its range. room: else, of a CONV, the largest
 * sum of squares of one place's inputs for which none does (Cauchy and Schwarz); of a DEPTHWISE,
 * the largest magnitude of any input. */
typedef struct {
  i64 kind, in, in2, out, leaky, shift, cin, cout, safe, room, weight, bias, multiplier;
} Layer;

typedef struct {
  i64 first, count; /* layers */
} Program;

typedef struct {
  i64 magic, size, layers, layer_count;
  i64 latents, hyper_latents, mean_bits, skip_below, scales, steps, hyper_stride, mean_shift,
      view_shift;
  i64 context, levels, phase_bits,
      first_context_table; /* of z_hat; context 0: a table per channel */
  i64 trellis, first, length, states, half_step, shifted_tables; /* trellis 0: none */
  i64 offset_count, trellis_offset_count, table_count;
  Program hyper, context_input, context_features, features[STEPS];
  i64 context_mean, context_scale;             /* layers */
  i64 mean[STEPS][CELLS], scale[STEPS][CELLS]; /* layers */
  i64 group[STEPS][CELLS];
  /* offsets: int32 (256, C), the last uint8 */
  i64 mean_multiplier, scale_bias, view_multiplier, context_scale_bias, z_table;
  /* uint32 starts of tables and their end (table_count + 1); uint32 (starts[-1] + table_count) sums
   * of frequencies, n + 1 of a table of n; uint16 (table_count, 2^QUICK_BITS + 1); float bits of
   * the symbols, without the sums' extra entry */
  i64 starts, sums, quick, bits;
  i64 offsets, trellis_offsets; /* int16 (scales, N) and (2, scales - first, N) */
  i64 next, shifted;            /* uint16 (states, 2), uint8 (states) */
} Header;

#define MAGIC 0x31306961

static inline const void *at(const Header *h, i64 offset) {
  return (const char *)h + offset;
}
static inline const Layer *layer_of(const Header *h, i64 i) {
  return (const Layer *)at(h, h->layers) + i;
}

static inline i16 clamp16(i64 v) {
  return (i16)(v < -32768 ? -32768 : v > 32767 ? 32767 : v);
}
/* floor((v + 2^(shift-1)) / 2^shift); shift >= 1 */
static inline i64 rescaled(i64 v, i64 shift) {
  return (i64)((u64)v + ((u64)1 << (shift - 1))) >> shift;
}
static inline i32 wrapped(i64 v) {
  return (i32)(u32)(u64)v;
}

/* What the best values of one parity under one quantiser of the trellis cost, of residuals with one
 * scale index; see quantise.c. bits: of value 0; nearer: by magnitude, 0 at its ends. */
typedef struct {
  float step, shift, one;
  i32 quantiser, parity, half_step, reach, nearer_count;
  const float *bits;
  i32 nearer[18];
} Pricing;

/* Places of an image: rows of so many columns, `stride` places apart. */
typedef struct {
  i64 rows, columns, stride;
} Span;

/* What is compiled once for each instruction set. */
typedef struct {
  /* x: (places, cin) -> out (places, cout), both int16; residual: like out, or NULL; bias: int64
   * (cout). Buffers may be read PAD numbers past their end. */
  void (*conv)(const Layer *l, const i16 *weight, const i64 *bias, const i16 *x, Span places,
               const i16 *residual, i16 *out);
  /* rows: whole ones, w places each, from that above the span's first one to that below its last
   * one -> out, the span, whose columns are those from `left` on; fits: int32 sums do. */
  void (*depthwise)(const Layer *l, const i16 *weight, const i64 *bias, const i16 *const *rows,
                    i64 w, i64 left, int fits, Span places, i16 *out);
  /* (n, cin) -> out, like it, at a gain index. */
  void (*gain)(const Layer *l, const i16 *multiplier, int shift, const i16 *x, i64 n, i16 *out);
  void (*dequantise)(const Layer *l, const i16 *multiplier, const u8 *shifts, const i32 *y, i64 n,
                     i16 *out);
  void (*leaky)(i64 slope, const i16 *x, i64 n, i16 *out);
  void (*add)(const i16 *x, const i16 *y, i64 n, i16 *out);
  /* Of n magnitudes, each with what its squared error is worth: the cost and the magnitude of the
   * better of two values. */
  void (*price)(const Pricing *of, const float *size, const float *worth, i64 n, float *cost,
                u16 *magnitude);
  /* LANES paths side by side. total: (states, LANES), is overwritten; cost: four planes, `plane`
   * apart, of rows `stride` apart; from, row: (2, states); second: (length, states) bits, one per
   * lane. Returns the final totals. */
  float *(*viterbi)(float *total, float *other, i64 states, i64 length, const float *cost,
                    i64 plane, i64 stride, const u16 *from, const u8 *row, u16 *second);
  /* As conv: sums and biases, as they are. */
  void (*add_up)(const Layer *l, const i16 *weight, const i64 *bias, const i16 *x, i64 n, i32 *out);
} Kernels;

enum { PAD = 64, LANES = 16 };

extern const Kernels aei_kernels_plain;
#if defined(AEI_HAVE_SSE2)
extern const Kernels aei_kernels_sse2;
#endif
#if defined(AEI_HAVE_AVX2)
extern const Kernels aei_kernels_avx2;
#endif
#if defined(AEI_HAVE_AVX512)
extern const Kernels aei_kernels_avx512;
#endif
#if defined(AEI_HAVE_AVXVNNI)
extern const Kernels aei_kernels_avxvnni;
#endif
#if defined(AEI_HAVE_NEON)
extern const Kernels aei_kernels_neon;
#endif
const Kernels *kernels_of(int isa);

/* Images of int16 in registers that grow as they are needed. */
typedef struct {
  i16 *p;
  i64 h, w, c;
  i64 room;
} Register;

typedef struct Team Team; /* team.h; NULL: the caller alone */

typedef struct {
  const Header *header;
  const Kernels *kernels;
  Team *team;
  i64 row;
  const i32 *z; /* what register Z holds, which is not clamped to int16 */
  Register r[REGISTERS + 1];
  Register zeros;   /* a row */
  const i16 **rows; /* of a DEPTHWISE's input, and room for so many */
  i64 rows_room;
} Machine;

int resize(Register *r, i64 h, i64 w, i64 c); /* OK or NO_MEMORY */
int run_program(Machine *m, const Program *p);
void free_machine(Machine *m);

/* The range coder (codec/exact/coder/plain_coder.py), reading and writing. */
typedef struct {
  const u8 *data;
  i64 size, at;
  u64 low, width, point;
  int status;
} Decoder;

typedef struct {
  u8 *out;
  i64 room, at; /* bytes; `at` goes on counting where there is no room */
  u64 low, width;
} Encoder;

typedef struct {
  u32 count;       /* symbols */
  const u32 *sums; /* count + 1 */
  const u16 *quick;
  const float *bits;
} Table;

Table table_of(const Header *h, i64 k);
void decoder_start(Decoder *c, const u8 *data, i64 size);
/* 1 where the data is exactly what an encoder writes for what was read. */
int decoder_is_canonical(const Decoder *c);
void encoder_start(Encoder *c, u8 *out, i64 room);
i64 encoder_finish(Encoder *c); /* bytes, or -1 where there was no room */
int decode_uniform(Decoder *c, int bits);
void encode_uniform(Encoder *c, u32 symbol, int bits);
/* Values of the places order[0..n), whose tables ascend: see SymbolReader.code and
 * SymbolWriter.code in symbols.py. escaped: room for n places. */
void decode_symbols(Decoder *c, const Header *h, const i32 *order, const i16 *tables, i64 n,
                    i32 *values, i32 *escaped);
double encode_symbols(Encoder *c, const Header *h, const i32 *order, const i16 *tables, i64 n,
                      const i32 *values);
/* Places with tables of `first` or more, sorted by them (stable); returns how many. counts: room
 * for `keys` + 1. */
i64 sort_places(const i16 *tables, i64 n, i64 keys, i64 first, i32 *counts, i32 *order);

#endif
