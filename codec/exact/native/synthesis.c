/* The integer synthesis: y_hat to pixel units (docs/format/specification.md, section 6;
 * codec/exact/synthesis.py).
 *
 * A picture runs through the program from its top to its bottom. Each register keeps the rows that
 * are still wanted, in a ring; a layer works as soon as there is a chunk for it to work on, and
 * those that read it go on at once, while what it wrote is in the caches. So no pixel is worked out
 * twice, and memory does not grow with the picture's height. Which step comes when depends on
 * numbers of rows alone: it is written down first, and parts of the columns follow it, one for each
 * thread (parts.c). */
#include "synthesis.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_LAYERS = 1000, CHUNK_BYTES = 1 << 15, PATIENCE = 100, LEAST_CELLS = 4 };

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
    const i64 *bias = block_at(h, l->bias);
    for (i64 i = 0; i < l->cout; i++)
      if (!is_within(bias[i], -((i64)1 << 31), (i64)1 << 31)) return 0;
    return is_held(h, l->weight, weights, sizeof(i16));
  }
  if (l->kind == GAIN || l->kind == DEQUANTISE) {
    const i64 n = LEVELS_OF_GAIN * (l->kind == GAIN ? 1 : l->cin);
    return is_held(h, l->multiplier, LEVELS_OF_GAIN * l->cin, sizeof(i16)) &&
           is_held(h, l->weight, n, 1) &&
           shifts_hold(block_at(h, l->weight), n, l->kind == GAIN ? 30 : 46);
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
    const Layer *l = (const Layer *)block_at(h, h->layers) + i;
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
  const Layer *last = (const Layer *)block_at(h, h->layers) + h->layer_count - 1;
  if (status == OK &&
      (shapes[last->out].channels != h->result_channels || shapes[last->out].rate != h->rate))
    status = BAD_PROGRAM;
  /* nothing reads the result */
  for (i64 i = 0; i < h->layer_count && status == OK; i++) {
    const Layer *l = (const Layer *)block_at(h, h->layers) + i;
    if (l->in == last->out || l->in2 == last->out) status = BAD_PROGRAM;
  }
  free(shapes);
  return status;
}

/* -- the order of steps -- */

/* How many rows a layer can have made when its inputs have so many of all. */
static i64 possible(const Picture *s, const Layer *l) {
  i64 end = s->end[l->in];
  if (l->in2 > 0 && s->end[l->in2] < end) end = s->end[l->in2];
  if (l->kind == DEPTHWISE) return end == s->total[l->in] ? end : end > 0 ? end - 1 : 0;
  if (l->kind == SHUFFLE) return end * l->shift;
  return l->kind == UNSHUFFLE ? end / l->shift : end;
}

static int add_step(Picture *s, i64 layer, i64 rows) {
  const Layer *l = s->layers + layer;
  if (s->step_count == s->step_room) {
    const i64 room = 2 * s->step_room + 256;
    Step *steps = malloc((size_t)room * sizeof *steps);
    if (!steps) return NO_MEMORY;
    if (s->steps) memcpy(steps, s->steps, (size_t)s->step_count * sizeof *steps);
    free(s->steps);
    s->steps = steps;
    s->step_room = room;
  }
  s->last[l->out] = s->step_count;
  s->end[l->out] += rows;
  s->steps[s->step_count++] = (Step){layer, rows, l->kind == DEPTHWISE ? s->last[l->in] : -1};
  return OK;
}

/* A layer makes what it can, chunk by chunk, and after each those go on that read it. */
static int pump(Picture *s, i64 layer) {
  const Layer *l = s->layers + layer;
  for (;;) {
    const i64 more = possible(s, l) - s->end[l->out],
              n = more < s->chunk[layer] ? more : s->chunk[layer];
    /* the last rows make a smaller chunk, and nothing of y is left lying */
    if (n <= 0 ||
        (n < s->chunk[layer] && s->end[l->out] + n < s->total[l->out] && l->kind != DEQUANTISE))
      return OK;
    if (add_step(s, layer, n)) return NO_MEMORY;
    for (i64 i = 0; i < s->readers[l->out][1]; i++)
      if (pump(s, s->links[s->readers[l->out][0] + i])) return NO_MEMORY;
  }
}

/* -- the calls -- */

AEI_API void aei_close_picture(Picture *s) {
  if (!s) return;
  for (i64 i = 0; i < s->part_count; i++) close_part(s->parts + i);
  free(s->parts);
  free(s->readers);
  free(s->links);
  free(s->chunk);
  free(s->counts);
  free(s->is_looked_at);
  free(s->zeros);
  free(s->steps);
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

/* Sides of all registers, and chunks of the widest part's rows, of so many cells; gives the longest
 * row, in numbers, and the largest chunk. */
static void measure(Picture *s, i64 rows, i64 cells, i64 *longest, i64 *most) {
  s->rates[0] = 1;
  s->channels[0] = s->header->channels;
  s->total[0] = rows;
  *longest = *most = 1;
  for (i64 i = 0; i < s->header->layer_count; i++) {
    const Layer *l = s->layers + i;
    const i64 rate = s->rates[l->in], of_out = l->kind == SHUFFLE     ? rate * l->shift
                                               : l->kind == UNSHUFFLE ? rate / l->shift
                                                                      : rate;
    const i64 in = (cells + 2) * rate * l->cin, out = (cells + 2) * of_out * l->cout,
              larger = in > out ? in : out;
    s->channels[l->out] = l->cout;
    s->rates[l->out] = of_out;
    s->total[l->out] = rows * of_out;
    s->is_looked_at[l->in] |= l->kind == DEPTHWISE;
    s->chunk[i] = divided(CHUNK_BYTES, larger * (i64)sizeof(i16));
    *longest = larger > *longest ? larger : *longest;
    *most = s->chunk[i] > *most ? s->chunk[i] : *most;
  }
}

/* Arrays of numbers of registers, one after the other. */
static int number_registers(Picture *s) {
  i64 **const of[] = {&s->rates, &s->channels, &s->total, &s->end, &s->last};
  const i64 n = s->header->registers, arrays = (i64)(sizeof of / sizeof *of);
  s->counts = calloc((size_t)(arrays * n), sizeof *s->counts);
  s->is_looked_at = calloc((size_t)n, 1);
  for (i64 i = 0; s->counts && i < arrays; i++) *of[i] = s->counts + i * n;
  return s->counts && s->is_looked_at ? OK : NO_MEMORY;
}

/* Parts of columns, about as wide as each other. */
static int open_parts(Picture *s, i64 rows, i64 threads) {
  const i64 most = s->width / LEAST_CELLS, n = threads < most ? threads : most > 0 ? most : 1;
  i64 longest, largest;
  measure(s, rows, divided(s->width, n), &longest, &largest);
  s->zeros = calloc((size_t)(longest + PAD), sizeof *s->zeros);
  s->parts = calloc((size_t)n, sizeof *s->parts);
  if (!s->zeros || !s->parts) return NO_MEMORY;
  for (; s->part_count < n; s->part_count++) {
    const i64 i = s->part_count;
    Part *p = s->parts + i;
    p->picture = s;
    p->from = cut(s->width, n, 1, i);
    p->cells = cut(s->width, n, 1, i + 1) - p->from;
    p->left = i > 0;
    p->right = i + 1 < n;
    if (open_part(p, largest)) {
      close_part(p);
      return NO_MEMORY;
    }
  }
  return OK;
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
  s->header = h;
  s->kernels = kernels_of(isa);
  s->layers = block_at(h, h->layers);
  s->gain_index = gain_index;
  s->width = width;
  s->readers = calloc((size_t)h->registers, sizeof *s->readers);
  s->links = calloc((size_t)(2 * n), sizeof *s->links);
  s->chunk = calloc((size_t)n, sizeof *s->chunk);
  int status = s->readers && s->links && s->chunk ? number_registers(s) : NO_MEMORY;
  if (status == OK) {
    link_layers(s);
    status = open_parts(s, rows, threads);
  }
  if (status == OK) return s;
  aei_close_picture(s);
  return NULL;
}

/* The next n rows of y, int32 (n, width, channels). Writes the rows of the result, int16, that
 * follow from all rows so far to `out`, which has room for so many, and their number to `made`.
 * After an error a picture can only be closed. */
AEI_API int aei_feed_picture(Picture *s, Team *team, const i32 *y, i64 n, i16 *out, i64 room,
                             i64 *made) {
  const i64 result = s->layers[s->header->layer_count - 1].out;
  if (s->status || n < 0 || n > s->total[0] - s->end[0] || room < 0) return BAD_CALL;
  int status = OK;
  s->y = y;
  s->y_start = s->end[0];
  s->out = out;
  s->out_start = s->end[result];
  s->end[0] += n;
  s->step_count = 0;
  for (i64 r = 0; r < s->header->registers; r++) s->last[r] = -1;
  for (i64 i = 0; i < s->readers[0][1] && status == OK; i++)
    status = pump(s, s->links[s->readers[0][0] + i]);
  if (status == OK && s->end[result] - s->out_start > room) status = NO_ROOM;
  for (i64 i = 0; i < s->part_count && status == OK; i++) status = begin_feed(s->parts + i);
  s->status = status;
  if (status) return status;
  const i64 threads = pieces_of(team, s->part_count);
  s->patience = threads < s->part_count ? 0 : PATIENCE;
  share(team, run_part_of, s, threads);
  for (i64 i = 0; i < s->part_count && !s->status; i++) end_feed(s->parts + i);
  *made = s->end[result] - s->out_start;
  return s->status;
}
