/* The integer analysis: levels to latents, and latents to z_hat (docs/ENCODER.md;
 * codec/exact/analysis.py).
 *
 * Layers run in groups. The first of a group reads whole registers, the others what the one before
 * has just made, a few rows at a time, while that is in the caches; the last one writes to a whole
 * register, or to the result. */
#include "team.h"

#include <stdlib.h>
#include <string.h>

enum { SUMS = 16, LATENTS, ASINH, NEIGHBOURS, SYMBOLS, LEVELS };
enum { MOST_LAYERS = 1000, STRETCH_BYTES = 1 << 17, MOST_SIDE = 1 << 15 };
enum {
  LATENT_BITS = 8,
  LATENT_MOST = (1 << 23) - 1,
  KNOTS = 32,
  KNOT_BITS = 5,
  TABLE = 16 * KNOTS + 1,
  HYPER_MOST = 32767 - 4096
};

/* Layers as in core.h; `room` is 1 where the output is a whole register. LEVELS: an UNSHUFFLE of
 * bytes less 128. SUMS: `weight`, `bias` as of a CONV. LATENTS, SYMBOLS: `multiplier` int16 and
 * `weight` uint8 (256, cin), shifts; `bias` uint8 (2, cin), by what the sums of `in` and `in2` go
 * to the left. ASINH: `weight` int16, the table. */
typedef struct {
  i64 magic, size, layers, layer_count;
  i64 registers, channels; /* of register 0, the input: 3 of levels, or those of latents */
  i64 result_channels;
} AnalysisHeader;

typedef struct {
  i64 h, w, c, bytes; /* of a number */
  char *p;            /* NULL: not whole */
  i64 last_reader;
} Image;

typedef struct {
  const AnalysisHeader *header;
  const Kernels *kernels;
  Team *team;
  const Layer *layers;
  i64 gain_index;
  Image *images;
  const void *given;
  i16 *zeros;
} Run;

/* What a worker needs for itself. */
typedef struct {
  const i16 **rows; /* of a depthwise convolution's input */
  char *parts[2];   /* what the layers of a group hand on */
} Desk;

/* -- checks -- */

static int within(i64 v, i64 least, i64 most) {
  return v >= least && v <= most;
}

static int is_held(const AnalysisHeader *h, i64 offset, i64 count, i64 size) {
  return offset >= (i64)sizeof(AnalysisHeader) && offset % 8 == 0 && offset <= h->size &&
         count <= (h->size - offset) / size;
}

static const void *part(const AnalysisHeader *h, i64 offset) {
  return (const char *)h + offset;
}

static const Layer *layer_at(const AnalysisHeader *h, i64 i) {
  return (const Layer *)part(h, h->layers) + i;
}

static int is_wide(int kind) {
  return kind == SUMS || kind == LATENTS || kind == SYMBOLS;
}

static int bytes_hold(const u8 *p, i64 n, int least, int most) {
  for (i64 i = 0; i < n; i++)
    if (p[i] < least || p[i] > most) return 0;
  return 1;
}

static int arrays_hold(const AnalysisHeader *h, const Layer *l) {
  const i64 panels = (l->cout + PANEL - 1) / PANEL, pairs = (l->cin + 1) / 2,
            gains = LEVELS_OF_GAIN * l->cin;
  if (l->kind == CONV || l->kind == SUMS || l->kind == DEPTHWISE) {
    const i64 weights = l->kind == DEPTHWISE ? 10 * l->cin + PAD : panels * pairs * 2 * PANEL;
    if (!within(l->shift, 1, 30) || l->safe != 1 || !is_held(h, l->bias, l->cout, sizeof(i64)))
      return 0;
    const i64 *bias = part(h, l->bias);
    for (i64 i = 0; i < l->cout; i++)
      if (!within(bias[i], -((i64)1 << 31), (i64)1 << 31)) return 0;
    return is_held(h, l->weight, weights, sizeof(i16));
  }
  if (l->kind == GAIN)
    return is_held(h, l->multiplier, gains, sizeof(i16)) &&
           is_held(h, l->weight, LEVELS_OF_GAIN, 1) &&
           bytes_hold(part(h, l->weight), LEVELS_OF_GAIN, 1, 30);
  if (l->kind == LATENTS || l->kind == SYMBOLS) {
    if (!is_held(h, l->multiplier, gains, sizeof(i16)) || !is_held(h, l->weight, gains, 1))
      return 0;
    if (!bytes_hold(part(h, l->weight), gains, 1, 54)) return 0;
    return l->kind == SYMBOLS ||
           (is_held(h, l->bias, 2 * l->cin, 1) && bytes_hold(part(h, l->bias), 2 * l->cin, 0, 8));
  }
  return l->kind != ASINH || is_held(h, l->weight, TABLE, sizeof(i16));
}

/* Whether a layer fits what it reads: x and, of those that read two, second. begins: a group. */
static int is_sound(const Layer *l, const Image *x, const Image *second, int begins) {
  const i64 r = l->shift;
  const int of_input = l->kind == LEVELS || l->kind == ASINH;
  if (x->c != l->cin || (l->in == 0) != of_input || !within(l->leaky, 0, 16384)) return 0;
  if (!of_input && x->bytes != (l->kind == LATENTS || l->kind == SYMBOLS ? 4 : 2)) return 0;
  if (l->in2 > 0 && (second->c != l->cout || second->bytes != x->bytes)) return 0;
  if ((l->in2 > 0) != (l->kind == LATENTS || l->kind == ADD) && !(l->in2 > 0 && l->kind == CONV))
    return 0;
  switch (l->kind) {
  case LEVELS:
    return begins && l->cin == 3 && within(r, 2, 16) && l->cout == l->cin * r * r;
  case UNSHUFFLE:
    return begins && within(r, 2, 16) && l->cout == l->cin * r * r;
  case NEIGHBOURS:
    return begins && l->cout == 9 * l->cin;
  case DEPTHWISE:
    return begins && l->cin == l->cout;
  case ASINH:
    return begins && l->cin == l->cout;
  case CONV:
  case SUMS:
    return 1;
  case GAIN:
  case LEAKY:
  case ADD:
  case LATENTS:
  case SYMBOLS:
    return l->cin == l->cout;
  default:
    return 0;
  }
}

AEI_API int aei_analysis_fields(void) {
  return (int)(sizeof(AnalysisHeader) / sizeof(i64));
}

/* Whether `size` bytes, aligned to 64, are an analysis that may be run: OK or BAD_PROGRAM. */
AEI_API int aei_check_analysis(const AnalysisHeader *h, i64 size) {
  if (size < (i64)sizeof(AnalysisHeader) || h->magic != MAGIC + 2 || h->size != size)
    return BAD_PROGRAM;
  if (!within(h->layer_count, 1, MOST_LAYERS) ||
      !is_held(h, h->layers, h->layer_count, sizeof(Layer)))
    return BAD_PROGRAM;
  if (!within(h->registers, 2, MOST_LAYERS + 1) || !within(h->channels, 1, MOST_CHANNELS))
    return BAD_PROGRAM;
  Image *images = calloc((size_t)h->registers, sizeof *images);
  if (!images) return NO_MEMORY;
  images[0].c = h->channels;
  int status = OK, whole = 1;
  i64 before = 0; /* the register that the layer before wrote */
  for (i64 i = 0; i < h->layer_count && status == OK; i++) {
    const Layer *l = layer_at(h, i);
    const int is_last = i == h->layer_count - 1;
    status = BAD_PROGRAM;
    if (!within(l->in, 0, h->registers - 1) || !within(l->in2, -1, h->registers - 1) || l->in2 == 0)
      break;
    if (!within(l->out, 1, h->registers - 1) || images[l->out].c || !within(l->room, 0, 1)) break;
    if (!within(l->cin, 1, MOST_CHANNELS) || !within(l->cout, 1, MOST_CHANNELS)) break;
    /* A group goes on with what the layer before it made, and nothing else reads that: `p` marks
     * whole registers. */
    if (whole ? l->in && !images[l->in].p : l->in != before) break;
    if (l->in2 > 0 && !images[l->in2].p) break;
    if (!is_sound(l, images + l->in, images + (l->in2 > 0 ? l->in2 : 0), whole) ||
        !arrays_hold(h, l))
      break;
    if (is_last && (l->room != 1 || l->cout != h->result_channels ||
                    (l->kind != LATENTS && l->kind != SYMBOLS)))
      break;
    whole = l->room == 1;
    before = l->out;
    images[l->out].c = l->cout;
    images[l->out].bytes = is_wide((int)l->kind) ? 4 : 2;
    images[l->out].p = whole ? (char *)images : NULL;
    status = OK;
  }
  free(images);
  return status;
}

/* -- layers -- */

/* Rows first .. first + n of an UNSHUFFLE's output; channels in the order (row, column, channel).
 */
static void unshuffle(const Layer *l, const Image *x, i64 first, i64 n, i64 width, i16 *out) {
  const i64 r = l->shift, run = r * l->cin;
  for (i64 i = 0; i < n * r; i++) {
    const i16 *row = (const i16 *)(const void *)x->p + (first * r + i) * x->w * l->cin;
    i16 *o = out + i / r * width * l->cout + i % r * run;
    for (i64 j = 0; j < width; j++)
      memcpy(o + j * l->cout, row + j * run, (size_t)run * sizeof(i16));
  }
}

static void unshuffle_levels(const Layer *l, const u8 *x, i64 first, i64 n, i64 width, i16 *out) {
  const i64 r = l->shift, run = r * l->cin;
  for (i64 i = 0; i < n * r; i++) {
    const u8 *row = x + (first * r + i) * width * run;
    i16 *o = out + i / r * width * l->cout + i % r * run;
    for (i64 j = 0; j < width; j++)
      for (i64 k = 0; k < run; k++) o[j * l->cout + k] = (i16)(row[j * run + k] - 128);
  }
}

static void neighbours(const Layer *l, const Image *x, i64 first, i64 n, i64 width, i16 *out) {
  const i64 C = l->cin;
  for (i64 i = first; i < first + n; i++)
    for (i64 j = 0; j < width; j++)
      for (i64 a = 0; a < 9; a++, out += C) {
        const i64 row = 2 * i + a / 3 - 1, column = 2 * j + a % 3 - 1;
        if (within(row, 0, x->h - 1) && within(column, 0, x->w - 1))
          memcpy(out, (const i16 *)(const void *)x->p + (row * x->w + column) * C,
                 (size_t)C * sizeof(i16));
        else memset(out, 0, (size_t)C * sizeof(i16));
      }
}

static void take_asinh(const i16 *table, const i32 *y, i64 n, i16 *out) {
  for (i64 i = 0; i < n; i++) {
    const i32 v = y[i] < -LATENT_MOST ? -LATENT_MOST : y[i] > LATENT_MOST ? LATENT_MOST : y[i];
    const i32 u = (v < 0 ? -v : v) + (1 << LATENT_BITS);
    const float exact = (float)u; /* whose exponent is that of the top bit */
    u32 bits;
    memcpy(&bits, &exact, sizeof bits);
    const i32 shift = (i32)(bits >> 23) - 127 - KNOT_BITS, place = u >> shift;
    const i32 k = KNOTS * (shift + KNOT_BITS - LATENT_BITS) + place - KNOTS;
    const u32 rise =
        (u32)(table[k + 1] - table[k]) * (u32)(u - (place << shift)) + ((u32)1 << (shift - 1));
    const i32 value = table[k] + ((i32)rise >> shift);
    out[i] = (i16)(v < 0 ? -value : value);
  }
}

/* Sums times gains; those of a second image are added before. left: (2, channels), or NULL. */
static void scale(const Run *s, const Layer *l, const i32 *one, const i32 *two, i64 places,
                  i32 most, i32 *out) {
  const i64 C = l->cin;
  const i16 *multiplier = (const i16 *)part(s->header, l->multiplier) + s->gain_index * C;
  const u8 *shift = (const u8 *)part(s->header, l->weight) + s->gain_index * C;
  const u8 *left = two ? part(s->header, l->bias) : NULL;
  for (i64 p = 0; p < places; p++, one += C, two = two ? two + C : NULL, out += C)
    for (i64 c = 0; c < C; c++) {
      const i64 sum =
          two ? one[c] * ((i64)1 << left[c]) + two[c] * ((i64)1 << left[C + c]) : one[c];
      const i64 v = rescaled(sum * multiplier[c], shift[c]);
      out[c] = (i32)(v < -most ? -most : v > most ? most : v);
    }
}

/* Rows first .. first + n of a layer's output. x: those rows of what it reads, where it reads place
 * by place. */
static void make_rows(const Run *s, const i16 **rows, const Layer *l, i64 first, i64 n,
                      const void *x, void *out) {
  const Image *in = s->images + l->in, *o = s->images + l->out;
  const i64 places = n * o->w;
  const void *weight = part(s->header, l->weight < 0 ? 0 : l->weight),
             *bias = part(s->header, l->bias < 0 ? 0 : l->bias);
  const Image *two = l->in2 > 0 ? s->images + l->in2 : NULL;
  const void *second = two ? two->p + first * two->w * two->c * two->bytes : NULL;
  switch (l->kind) {
  case LEVELS:
    unshuffle_levels(l, s->given, first, n, o->w, out);
    break;
  case UNSHUFFLE:
    unshuffle(l, in, first, n, o->w, out);
    break;
  case NEIGHBOURS:
    neighbours(l, in, first, n, o->w, out);
    break;
  case ASINH:
    take_asinh(weight, (const i32 *)s->given + first * o->w * l->cin, places * l->cin, out);
    break;
  case DEPTHWISE:
    for (i64 i = 0; i < n + 2; i++) {
      const i64 r = first + i - 1;
      rows[i] =
          within(r, 0, in->h - 1) ? (const i16 *)(const void *)in->p + r * in->w * in->c : s->zeros;
    }
    s->kernels->depthwise(l, weight, bias, rows, o->w, 0, 1, (Span){n, o->w, o->w}, out);
    break;
  case CONV:
    s->kernels->conv(l, weight, bias, x, (Span){1, places, places}, second, out);
    break;
  case SUMS:
    s->kernels->add_up(l, weight, bias, x, places, out);
    break;
  case GAIN: {
    const i16 *multiplier = (const i16 *)part(s->header, l->multiplier) + s->gain_index * l->cin;
    s->kernels->gain(l, multiplier, ((const u8 *)weight)[s->gain_index], x, places, out);
    break;
  }
  case LEAKY:
    s->kernels->leaky(l->leaky, x, places * l->cin, out);
    break;
  case ADD:
    s->kernels->add(x, second, places * l->cin, out);
    break;
  case LATENTS:
    scale(s, l, x, second, places, LATENT_MOST, out);
    break;
  default:
    scale(s, l, x, NULL, places, HYPER_MOST, out);
  }
}

/* -- groups -- */

/* Sides of all images; 0 where those of the input do not suit. */
static int measure(Run *s, i64 h, i64 w) {
  s->images[0].h = h;
  s->images[0].w = w;
  s->images[0].c = s->header->channels;
  for (i64 i = 0; i < s->header->layer_count; i++) {
    const Layer *l = s->layers + i;
    const Image *x = s->images + l->in;
    Image *o = s->images + l->out;
    const i64 r = l->kind == UNSHUFFLE || l->kind == LEVELS ? l->shift : 1;
    if (x->h % r || x->w % r) return 0;
    *o = (Image){x->h / r, x->w / r, l->cout, is_wide((int)l->kind) ? 4 : 2, NULL, i};
    if (l->kind == NEIGHBOURS) {
      o->h = (x->h + 1) / 2;
      o->w = (x->w + 1) / 2;
    }
    s->images[l->in].last_reader = i;
    if (l->in2 > 0) {
      const Image *two = s->images + l->in2;
      if (two->h != o->h || two->w != o->w) return 0;
      s->images[l->in2].last_reader = i;
    }
  }
  return 1;
}

static i64 row_bytes(const Image *x) {
  return x->w * x->c * x->bytes;
}

/* Layers from..to, `rows` rows at a time, the last of which writes to `whole`; each piece is a part
 * of all rows. */
typedef struct {
  const Run *s;
  i64 from, to, rows, pieces;
  Desk *desks;
  char *whole;
} Group;

static void run_stretch(const Group *g, const Desk *desk, i64 top, i64 n) {
  const Run *s = g->s;
  for (i64 i = g->from; i <= g->to; i++) {
    const Layer *l = s->layers + i;
    const Image *in = s->images + l->in;
    const void *x = i > g->from ? desk->parts[(i - g->from - 1) & 1]
                    : in->p     ? in->p + top * row_bytes(in)
                                : NULL;
    char *out = i == g->to ? g->whole + top * row_bytes(s->images + l->out)
                           : desk->parts[(i - g->from) & 1];
    make_rows(s, desk->rows, l, top, n, x, out);
  }
}

static void run_part(const void *job, i64 piece, int worker) {
  const Group *g = job;
  const i64 height = g->s->images[g->s->layers[g->from].out].h,
            end = cut(height, g->pieces, 1, piece + 1);
  for (i64 top = cut(height, g->pieces, 1, piece); top < end; top += g->rows)
    run_stretch(g, g->desks + worker, top, end - top < g->rows ? end - top : g->rows);
}

/* Layers from..to; NO_MEMORY or OK. */
static int run_group(Run *s, i64 from, i64 to, char *whole) {
  const i64 height = s->images[s->layers[from].out].h;
  const int workers = team_size(s->team);
  i64 longest = row_bytes(s->images + s->layers[from].in);
  for (i64 i = from; i <= to; i++) {
    const i64 row = row_bytes(s->images + s->layers[i].out);
    longest = row > longest ? row : longest;
  }
  const i64 most = longest < STRETCH_BYTES ? STRETCH_BYTES / longest : 1,
            rows = most < height ? most : height;
  const i64 width = s->images[s->layers[from].in].w * s->images[s->layers[from].in].c;
  Desk desks[MOST_THREADS] = {{NULL, {NULL, NULL}}};
  const Group g = {s, from, to, rows, pieces_of(s->team, height), desks, whole};
  int status = OK;
  s->zeros = calloc((size_t)(width + PAD), sizeof *s->zeros);
  if (!s->zeros) status = NO_MEMORY;
  for (int i = 0; i < workers; i++) {
    desks[i].rows = calloc((size_t)(rows + 2), sizeof *desks[i].rows);
    for (int k = 0; k < 2; k++) desks[i].parts[k] = calloc((size_t)(rows * longest + PAD * 4), 1);
    if (!desks[i].rows || !desks[i].parts[0] || !desks[i].parts[1]) status = NO_MEMORY;
  }
  if (status == OK) share(s->team, run_part, &g, g.pieces);
  for (int i = 0; i < workers; i++) {
    free(desks[i].rows);
    for (int k = 0; k < 2; k++) free(desks[i].parts[k]);
  }
  free(s->zeros);
  s->zeros = NULL;
  return status;
}

/* Run an analysis that was checked. given: uint8 (h, w, 3) levels, or int32 (h, w, channels)
 * latents, h and w at most 2^15; out: int32, room numbers, as many as the result has. */
AEI_API int aei_analyse(const AnalysisHeader *h, int isa, Team *team, i64 gain_index,
                        const void *given, i64 rows, i64 columns, i32 *out, i64 room) {
  if (!kernels_of(isa) || !within(gain_index, 0, LEVELS_OF_GAIN - 1)) return BAD_CALL;
  if (!within(rows, 1, MOST_SIDE) || !within(columns, 1, MOST_SIDE)) return BAD_CALL;
  Run s = {.header = h,
           .kernels = kernels_of(isa),
           .team = team,
           .layers = layer_at(h, 0),
           .gain_index = gain_index,
           .given = given};
  s.images = calloc((size_t)h->registers, sizeof *s.images);
  if (!s.images) return NO_MEMORY;
  const Image *result = s.images + s.layers[h->layer_count - 1].out;
  int status =
      measure(&s, rows, columns) && result->h * result->w * result->c == room ? OK : BAD_CALL;
  for (i64 from = 0, to = 0; from < h->layer_count && status == OK; from = to + 1) {
    for (to = from; !s.layers[to].room; to++) {
    }
    Image *o = s.images + s.layers[to].out;
    char *whole = (char *)out;
    if (to < h->layer_count - 1) {
      const i64 n = o->h * row_bytes(o);
      whole = o->p = malloc((size_t)(n + PAD * 4));
      if (whole) memset(whole + n, 0, PAD * 4);
    }
    status = whole ? run_group(&s, from, to, whole) : NO_MEMORY;
    for (i64 r = 1; r < h->registers; r++)
      if (s.images[r].p && s.images[r].last_reader <= to && s.images + r != o) {
        free(s.images[r].p);
        s.images[r].p = NULL;
      }
  }
  for (i64 r = 1; r < h->registers; r++) free(s.images[r].p);
  free(s.images);
  return status;
}
