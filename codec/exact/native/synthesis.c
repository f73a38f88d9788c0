/* The integer synthesis: y_hat to pixel units (docs/format/specification.md, section 6;
 * codec/exact/synthesis.py).
 *
 * A picture runs through the program from its top to its bottom. Each register keeps the rows that
 * are still wanted, in a ring; a layer works as soon as there is a chunk for it to work on, and
 * those that read it go on at once, while what it wrote is in the caches. So no pixel is worked out
 * twice, and memory does not grow with the picture's height. */
#include "team.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_LAYERS = 1000, CHUNK_BYTES = 1 << 17 };

typedef struct {
  i64 magic, size, layers, layer_count;
  i64 registers, channels; /* of y, which is register 0 */
  i64 rate;                /* rows of the result that are made of a row of y */
  i64 result_channels;
} SynthesisHeader;

typedef struct {
  i16 *p;
  i64 channels, width, total; /* rows in all */
  i64 start, end;             /* the rows that are there; row r lies in slot r % room */
  i64 room;
} Ring;

typedef struct {
  const SynthesisHeader *header;
  const Kernels *kernels;
  Team *team;
  const Layer *layers;
  i64 gain_index;
  Ring *rings;
  i64 (*readers)[2]; /* of each register: the first in `links`, and how many */
  i64 *links;        /* layers */
  i64 *chunk;        /* of each layer: rows that it makes at once */
  const i16 **rows;  /* of a depthwise convolution's input */
  i16 *zeros;
  const i32 *y; /* rows from y_start on */
  i64 y_start;
  i16 *out; /* rows of the result from out_start on */
  i64 out_start, out_room;
  int status;
} Picture;

static inline i64 divided(i64 a, i64 b) {
  return (a + b - 1) / b;
}

/* -- checks -- */

typedef struct {
  i64 channels, rate; /* channels 0: not written yet */
} Shape;

static int is_within(i64 v, i64 least, i64 most) {
  return v >= least && v <= most;
}

static int is_held(const SynthesisHeader *h, i64 offset, i64 count, i64 size) {
  return offset >= (i64)sizeof(SynthesisHeader) && offset % 8 == 0 && offset <= h->size &&
         count <= (h->size - offset) / size;
}

static const void *part(const SynthesisHeader *h, i64 offset) {
  return (const char *)h + offset;
}

static int shifts_hold(const u8 *shifts, i64 n, int most) {
  for (i64 i = 0; i < n; i++)
    if (shifts[i] < 1 || shifts[i] > most) return 0;
  return 1;
}

static int arrays_hold(const SynthesisHeader *h, const Layer *l) {
  if (l->kind == CONV || l->kind == DEPTHWISE) {
    const i64 panels = divided(l->cout, PANEL), pairs = divided(l->cin, 2);
    const i64 weights = l->kind == CONV ? panels * pairs * 2 * PANEL : 10 * l->cin + PAD;
    if (!is_within(l->shift, 1, 30) || l->safe != 1 || !is_held(h, l->bias, l->cout, sizeof(i64)))
      return 0;
    const i64 *bias = part(h, l->bias);
    for (i64 i = 0; i < l->cout; i++)
      if (!is_within(bias[i], -((i64)1 << 31), (i64)1 << 31)) return 0;
    return is_held(h, l->weight, weights, sizeof(i16));
  }
  if (l->kind == GAIN || l->kind == DEQUANTISE) {
    const i64 n = LEVELS_OF_GAIN * (l->kind == GAIN ? 1 : l->cin);
    return is_held(h, l->multiplier, LEVELS_OF_GAIN * l->cin, sizeof(i16)) &&
           is_held(h, l->weight, n, 1) &&
           shifts_hold(part(h, l->weight), n, l->kind == GAIN ? 30 : 46);
  }
  return 1;
}

/* The shape of what a layer makes, or one without channels where it does not fit. */
static Shape shape_of(const Layer *l, Shape x, Shape second) {
  const Shape bad = {0, 0};
  const i64 r = l->shift;
  Shape out = {l->cout, x.rate};
  if (x.channels != l->cin || (l->in == 0) != (l->kind == DEQUANTISE)) return bad;
  if (l->in2 >= 0 &&
      (second.channels != l->cout || second.rate != x.rate || !(l->kind == CONV || l->kind == ADD)))
    return bad;
  if (l->kind == SHUFFLE) {
    out.rate *= r;
    return is_within(r, 2, 16) && l->cin == l->cout * r * r && out.rate <= 64 ? out : bad;
  }
  if (l->kind == UNSHUFFLE) {
    out.rate /= r > 1 ? r : 1;
    return is_within(r, 2, 16) && l->cout == l->cin * r * r && x.rate % r == 0 ? out : bad;
  }
  if (l->kind == ROW || (l->kind == ADD && l->in2 < 0)) return bad;
  return l->kind == CONV || l->cin == l->cout ? out : bad;
}

AEI_API int aei_synthesis_fields(void) {
  return (int)(sizeof(SynthesisHeader) / sizeof(i64));
}

/* Whether `size` bytes, aligned to 64, are a synthesis that may be run: OK or BAD_PROGRAM. */
AEI_API int aei_check_synthesis(const SynthesisHeader *h, i64 size) {
  Shape *shapes;
  if (size < (i64)sizeof(SynthesisHeader) || h->magic != MAGIC + 1 || h->size != size)
    return BAD_PROGRAM;
  if (!is_within(h->layer_count, 1, MOST_LAYERS) ||
      !is_held(h, h->layers, h->layer_count, sizeof(Layer)))
    return BAD_PROGRAM;
  if (!is_within(h->registers, 2, MOST_LAYERS + 1) || !is_within(h->channels, 1, MOST_CHANNELS))
    return BAD_PROGRAM;
  shapes = calloc((size_t)h->registers, sizeof *shapes);
  if (!shapes) return NO_MEMORY;
  shapes[0].channels = h->channels;
  shapes[0].rate = 1;
  int status = OK;
  for (i64 i = 0; i < h->layer_count && status == OK; i++) {
    const Layer *l = (const Layer *)part(h, h->layers) + i;
    status = BAD_PROGRAM;
    if (!is_within(l->kind, CONV, UNSHUFFLE) || !is_within(l->in, 0, h->registers - 1)) break;
    if (!is_within(l->in2, -1, h->registers - 1) || l->in2 == 0 ||
        !is_within(l->out, 1, h->registers - 1))
      break;
    if (!is_within(l->cin, 1, MOST_CHANNELS) || !is_within(l->cout, 1, MOST_CHANNELS)) break;
    if (!is_within(l->leaky, 0, 16384) || shapes[l->out].channels || !shapes[l->in].channels) break;
    if ((l->in2 > 0 && !shapes[l->in2].channels) || !arrays_hold(h, l)) break;
    shapes[l->out] = shape_of(l, shapes[l->in], shapes[l->in2 > 0 ? l->in2 : 0]);
    if (shapes[l->out].channels) status = OK;
  }
  const Layer *last = (const Layer *)part(h, h->layers) + h->layer_count - 1;
  if (status == OK &&
      (shapes[last->out].channels != h->result_channels || shapes[last->out].rate != h->rate))
    status = BAD_PROGRAM;
  /* nothing reads the result */
  for (i64 i = 0; i < h->layer_count && status == OK; i++) {
    const Layer *l = (const Layer *)part(h, h->layers) + i;
    if (l->in == last->out || l->in2 == last->out) status = BAD_PROGRAM;
  }
  free(shapes);
  return status;
}

/* -- rows -- */

/* The first row of its input that a layer needs for its output from `row` on. */
static i64 first_wanted(const Layer *l, i64 row) {
  if (l->kind == DEPTHWISE) return row > 0 ? row - 1 : 0;
  if (l->kind == SHUFFLE) return row / l->shift;
  return l->kind == UNSHUFFLE ? row * l->shift : row;
}

/* How many rows a layer can have made when its inputs have so many of all. */
static i64 possible(const Picture *s, const Layer *l) {
  const Ring *x = s->rings + l->in;
  i64 end = x->end;
  if (l->in2 > 0 && s->rings[l->in2].end < end) end = s->rings[l->in2].end;
  if (l->kind == DEPTHWISE) return end == x->total ? end : end > 0 ? end - 1 : 0;
  if (l->kind == SHUFFLE) return end * l->shift;
  return l->kind == UNSHUFFLE ? end / l->shift : end;
}

/* Rows of a register that are no longer wanted make room. */
static void drop_rows(const Picture *s, Ring *ring, i64 at_register) {
  i64 wanted = ring->end;
  for (i64 i = 0; i < s->readers[at_register][1]; i++) {
    const Layer *l = s->layers + s->links[s->readers[at_register][0] + i];
    const i64 first = first_wanted(l, s->rings[l->out].end);
    wanted = first < wanted ? first : wanted;
  }
  ring->start = wanted > ring->start ? wanted : ring->start;
}

/* Room for n more rows. */
static int extend(Picture *s, i64 at_register, i64 n) {
  Ring *ring = s->rings + at_register;
  if (ring->end - ring->start + n <= ring->room) return OK;
  drop_rows(s, ring, at_register);
  if (ring->end - ring->start + n <= ring->room) return OK;
  const i64 row = ring->width * ring->channels, room = 2 * (ring->end - ring->start + n);
  i16 *p = malloc((size_t)(room * row + PAD) * sizeof(i16));
  if (!p) return NO_MEMORY;
  memset(p + room * row, 0, PAD * sizeof(i16));
  for (i64 r = ring->start; r < ring->end; r++)
    memcpy(p + r % room * row, ring->p + r % ring->room * row, (size_t)row * sizeof(i16));
  free(ring->p);
  ring->p = p;
  ring->room = room;
  return OK;
}

static i16 *row_of(const Ring *ring, i64 r) {
  return ring->p + r % ring->room * ring->width * ring->channels;
}

/* Rows from r on that lie together, at most n. */
static i64 together(const Ring *ring, i64 r, i64 n) {
  const i64 rest = ring->room - r % ring->room;
  return rest < n ? rest : n;
}

/* -- layers -- */

/* memcpy, without a call for the few numbers that pixels are. */
static inline void move(i16 *to, const i16 *from, i64 n) {
  if (n == 6) memcpy(to, from, 6 * sizeof(i16));
  else if (n == 24) memcpy(to, from, 24 * sizeof(i16));
  else if (n == 48) memcpy(to, from, 48 * sizeof(i16));
  else memcpy(to, from, (size_t)n * sizeof(i16));
}

/* Output row `row` of a shuffle, of its source's row. */
static void shuffle_row(const Layer *l, const i16 *x, i64 width, i64 row, i16 *out) {
  const i64 r = l->shift, C = l->cout, i = row % r;
  for (i64 j = 0; j < width; j++, x += l->cin, out += r * C)
    if (l->safe) move(out, x + i * r * C, r * C);
    else
      for (i64 k = 0; k < r; k++)
        for (i64 c = 0; c < C; c++) out[k * C + c] = x[r * r * c + r * i + k];
}

/* Row i of the r rows that make one output row. */
static void unshuffle_row(const Layer *l, const i16 *x, i64 width, i64 i, i16 *out) {
  const i64 r = l->shift, C = l->cin;
  for (i64 j = 0; j < width; j++, x += r * C, out += l->cout)
    if (l->safe) move(out + i * r * C, x, r * C);
    else
      for (i64 k = 0; k < r; k++)
        for (i64 c = 0; c < C; c++) out[r * r * c + r * i + k] = x[k * C + c];
}

/* Rows of a layer's output, which lie together at `out`, as do those of what they are made of, row
 * by row. Each piece is a part of their columns, the same of all layers: what a thread reads it has
 * made itself, but for what is at its sides. */
typedef struct {
  const Picture *s;
  const Layer *l;
  i64 first, n, pieces;
  i16 *out;
} Rows;

/* Columns from .. from + n of output row `row`, of a layer that works row by row. */
static void make_row(const Picture *s, const Layer *l, i64 row, i64 from, i64 n, i16 *out) {
  const Ring *x = s->rings + l->in;
  const void *weight = part(s->header, l->weight < 0 ? 0 : l->weight);
  const i64 r = l->shift;
  if (l->kind == SHUFFLE) shuffle_row(l, row_of(x, row / r) + from / r * l->cin, n / r, row, out);
  else if (l->kind == UNSHUFFLE)
    for (i64 i = 0; i < r; i++)
      unshuffle_row(l, row_of(x, row * r + i) + from * r * l->cin, n, i, out);
  else if (l->kind == DEQUANTISE) {
    const i64 gains = s->gain_index * l->cin;
    s->kernels->dequantise(l, (const i16 *)part(s->header, l->multiplier) + gains,
                           (const u8 *)weight + gains,
                           s->y + ((row - s->y_start) * x->width + from) * l->cin, n, out);
  } else if (l->kind == GAIN) {
    const int shift = ((const u8 *)weight)[s->gain_index];
    s->kernels->gain(l, (const i16 *)part(s->header, l->multiplier) + s->gain_index * l->cin, shift,
                     row_of(x, row) + from * l->cin, n, out);
  } else if (l->kind == ADD)
    s->kernels->add(row_of(x, row) + from * l->cin, row_of(s->rings + l->in2, row) + from * l->cin,
                    n * l->cin, out);
  else s->kernels->leaky(l->leaky, row_of(x, row) + from * l->cin, n * l->cin, out);
}

static void make_part(const void *job, i64 piece, int worker) {
  const Rows *of = job;
  const Picture *s = of->s;
  const Layer *l = of->l;
  const Ring *x = s->rings + l->in, *o = s->rings + l->out;
  const i64 cells = s->rings->width, rate = o->width / cells;
  const i64 from = rate * cut(cells, of->pieces, 1, piece),
            to = rate * cut(cells, of->pieces, 1, piece + 1);
  const Span span = {of->n, to - from, o->width};
  const void *weight = part(s->header, l->weight < 0 ? 0 : l->weight);
  i16 *out = of->out + from * o->channels;
  (void)worker;
  if (l->kind == CONV) {
    const i16 *residual = l->in2 > 0 ? row_of(s->rings + l->in2, of->first) + from * l->cout : NULL;
    s->kernels->conv(l, weight, part(s->header, l->bias), row_of(x, of->first) + from * l->cin,
                     span, residual, out);
  } else if (l->kind == DEPTHWISE)
    s->kernels->depthwise(l, weight, part(s->header, l->bias), s->rows, x->width, from, 1, span,
                          out);
  else
    for (i64 i = 0; i < of->n; i++)
      make_row(s, l, of->first + i, from, to - from, out + i * o->width * o->channels);
}

static void make_rows(Picture *s, const Layer *l, i64 first, i64 n, i16 *out) {
  const Ring *x = s->rings + l->in;
  const Rows job = {s, l, first, n, pieces_of(s->team, s->rings->width), out};
  for (i64 i = 0; l->kind == DEPTHWISE && i < n + 2; i++) {
    const i64 r = first + i - 1;
    s->rows[i] = r < 0 || r >= x->total ? s->zeros : row_of(x, r);
  }
  share(s->team, make_part, &job, job.pieces);
}

/* n more rows of a layer's output. */
static int make_chunk(Picture *s, const Layer *l, i64 n) {
  Ring *o = s->rings + l->out;
  const int result = l->out == s->layers[s->header->layer_count - 1].out;
  const int by_place = l->kind == CONV || l->kind == GAIN || l->kind == ADD || l->kind == LEAKY;
  if (result) {
    if (o->end + n - s->out_start > s->out_room) return NO_ROOM;
  } else if (extend(s, l->out, n)) return NO_MEMORY;
  while (n > 0) {
    i64 some = result ? n : together(o, o->end, n);
    if (by_place) some = together(s->rings + l->in, o->end, some);
    if (by_place && l->in2 > 0) some = together(s->rings + l->in2, o->end, some);
    make_rows(s, l, o->end, some,
              result ? s->out + (o->end - s->out_start) * o->width * o->channels
                     : row_of(o, o->end));
    o->end += some;
    n -= some;
  }
  return OK;
}

/* A layer makes what it can, chunk by chunk, and after each those go on that read it. */
static void pump(Picture *s, i64 layer) {
  const Layer *l = s->layers + layer;
  const Ring *o = s->rings + l->out;
  for (;;) {
    const i64 more = possible(s, l) - o->end, n = more < s->chunk[layer] ? more : s->chunk[layer];
    /* the last rows make a smaller chunk, and nothing of y is left lying */
    if (n <= 0 || s->status ||
        (n < s->chunk[layer] && o->end + n < o->total && l->kind != DEQUANTISE))
      return;
    s->status = make_chunk(s, l, n);
    for (i64 i = 0; i < s->readers[l->out][1]; i++) pump(s, s->links[s->readers[l->out][0] + i]);
  }
}

/* -- the calls -- */

AEI_API void aei_close_picture(Picture *s) {
  if (!s) return;
  for (i64 i = 0; s->rings && i < s->header->registers; i++) free(s->rings[i].p);
  free(s->rings);
  free(s->readers);
  free(s->links);
  free(s->chunk);
  free(s->rows);
  free(s->zeros);
  free(s);
}

static void link_layers(Picture *s) {
  i64 at_link = 0;
  for (i64 r = 0; r < s->header->registers; r++) {
    s->readers[r][0] = at_link;
    for (i64 i = 0; i < s->header->layer_count; i++)
      if (s->layers[i].in == r || s->layers[i].in2 == r) s->links[at_link++] = i;
    s->readers[r][1] = at_link - s->readers[r][0];
  }
}

/* Sides of all registers, and chunks, for so many threads; gives the longest row, in numbers, and
 * the largest chunk. */
static void measure(Picture *s, i64 rows, i64 width, i64 threads, i64 *longest, i64 *most) {
  s->rings[0] = (Ring){NULL, s->header->channels, width, rows, 0, 0, 0};
  *longest = *most = 1;
  for (i64 i = 0; i < s->header->layer_count; i++) {
    const Layer *l = s->layers + i;
    const Ring *x = s->rings + l->in;
    Ring *o = s->rings + l->out;
    o->channels = l->cout;
    o->width = l->kind == SHUFFLE     ? x->width * l->shift
               : l->kind == UNSHUFFLE ? x->width / l->shift
                                      : x->width;
    o->total = l->kind == SHUFFLE     ? x->total * l->shift
               : l->kind == UNSHUFFLE ? x->total / l->shift
                                      : x->total;
    const i64 in = x->width * l->cin, out = o->width * l->cout, larger = in > out ? in : out;
    s->chunk[i] = divided(CHUNK_BYTES, larger * (i64)sizeof(i16)) * threads;
    *longest = larger > *longest ? larger : *longest;
    *most = s->chunk[i] > *most ? s->chunk[i] : *most;
  }
}

/* A picture to be made of `rows` rows of y, (width, channels) each, by about so many threads; NULL
 * where there is no memory, or what is given does not hold. The block must stay. */
AEI_API Picture *aei_open_picture(const SynthesisHeader *h, int isa, i64 gain_index, i64 rows,
                                  i64 width, i64 threads) {
  if (!kernels_of(isa) || !is_within(gain_index, 0, LEVELS_OF_GAIN - 1)) return NULL;
  if (!is_within(rows, 1, 1 << 20) || !is_within(width, 1, 1 << 16) ||
      !is_within(threads, 1, MOST_THREADS))
    return NULL;
  Picture *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  const i64 n = h->layer_count;
  i64 longest, most;
  s->header = h;
  s->kernels = kernels_of(isa);
  s->layers = part(h, h->layers);
  s->gain_index = gain_index;
  s->rings = calloc((size_t)h->registers, sizeof *s->rings);
  s->readers = calloc((size_t)h->registers, sizeof *s->readers);
  s->links = calloc((size_t)(2 * n), sizeof *s->links);
  s->chunk = calloc((size_t)n, sizeof *s->chunk);
  if (s->rings && s->readers && s->links && s->chunk) {
    link_layers(s);
    measure(s, rows, width, threads, &longest, &most);
    s->rows = calloc((size_t)(most + 2), sizeof *s->rows);
    s->zeros = calloc((size_t)(longest + PAD), sizeof *s->zeros);
  }
  if (!s->rows || !s->zeros) {
    aei_close_picture(s);
    return NULL;
  }
  return s;
}

/* The next n rows of y, int32 (n, width, channels). Writes the rows of the result, int16, that
 * follow from all rows so far to `out`, which has room for so many, and their number to `made`.
 * After an error a picture can only be closed. */
AEI_API int aei_feed_picture(Picture *s, Team *team, const i32 *y, i64 n, i16 *out, i64 room,
                             i64 *made) {
  Ring *source = s->rings;
  Ring *result = s->rings + s->layers[s->header->layer_count - 1].out;
  if (s->status || n < 0 || n > source->total - source->end || room < 0) return BAD_CALL;
  s->team = team;
  s->y = y;
  s->y_start = source->end;
  s->out = out;
  s->out_start = result->end;
  s->out_room = room;
  source->end += n;
  for (i64 i = 0; i < s->readers[0][1]; i++) pump(s, s->links[s->readers[0][0] + i]);
  *made = result->end - s->out_start;
  return s->status;
}
