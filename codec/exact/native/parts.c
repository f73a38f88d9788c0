/* A picture's columns in parts, one for each thread (synthesis.h).
 *
 * All parts take the same steps in the same order. A step of a depthwise convolution looks one
 * place beyond its part's columns, at what the neighbours made in a step before; so a part may be
 * ahead of its neighbours until it needs what they have not made, and no thread ever waits for one
 * that waits. Each part keeps its own rows: nothing that crosses between cores but those columns.
 */
#include "synthesis.h"

#include <stdlib.h>
#include <string.h>

/* -- rows -- */

i64 first_wanted(const Layer *l, i64 row) {
  if (l->kind == DEPTHWISE) return row > 0 ? row - 1 : 0;
  if (l->kind == SHUFFLE) return row / l->shift;
  return l->kind == UNSHUFFLE ? row * l->shift : row;
}

static i64 row_size(const Part *p, i64 at_register) {
  return p->rings[at_register].width * p->picture->channels[at_register];
}

/* Rows of a register that are no longer wanted make room. */
static void drop_rows(const Part *p, i64 at_register) {
  const Picture *s = p->picture;
  Ring *ring = p->rings + at_register;
  i64 wanted = ring->end;
  for (i64 i = 0; i < s->readers[at_register][1]; i++) {
    const Layer *l = s->layers + s->links[s->readers[at_register][0] + i];
    const i64 first = first_wanted(l, p->rings[l->out].end);
    wanted = first < wanted ? first : wanted;
  }
  ring->start = wanted > ring->start ? wanted : ring->start;
}

/* Room for n more rows. */
static int extend(const Part *p, i64 at_register, i64 n) {
  Ring *ring = p->rings + at_register;
  if (ring->end - ring->start + n <= ring->room) return OK;
  drop_rows(p, at_register);
  if (ring->end - ring->start + n <= ring->room) return OK;
  const i64 row = row_size(p, at_register), room = 2 * (ring->end - ring->start + n);
  i16 *to = calloc((size_t)(room * row + PAD), sizeof(i16));
  if (!to) return NO_MEMORY;
  for (i64 r = ring->start; r < ring->end; r++)
    memcpy(to + r % room * row, ring->p + r % ring->room * row, (size_t)row * sizeof(i16));
  free(ring->p);
  ring->p = to;
  ring->room = room;
  return OK;
}

static i16 *row_of(const Part *p, i64 at_register, i64 r) {
  const Ring *ring = p->rings + at_register;
  return ring->p + r % ring->room * row_size(p, at_register);
}

/* Rows from r on that lie together, at most n. */
static i64 together(const Ring *ring, i64 r, i64 n) {
  const i64 rest = ring->room - r % ring->room;
  return rest < n ? rest : n;
}

/* -- sides -- */

/* What the neighbours will look at, of n rows of a register from r on. */
static void show_edges(const Part *p, i64 at_register, i64 r, i64 n) {
  const Ring *ring = p->rings + at_register;
  const i64 C = p->picture->channels[at_register], rate = p->picture->rates[at_register];
  const i64 first = p->left * rate, last = (p->left + p->cells) * rate - 1;
  for (int side = 0; side < 2 && !ALONE; side++)
    for (i64 i = r; ring->edges[side] && i < r + n; i++)
      memcpy(ring->edges[side] + (i - ring->given) * C,
             row_of(p, at_register, i) + (side ? last : first) * C, (size_t)C * sizeof(i16));
}

/* What the neighbours show, beside the rows of a register before `end`. */
static void see_edges(const Part *p, i64 at_register, i64 end) {
  Ring *ring = p->rings + at_register;
  const i64 C = p->picture->channels[at_register], rate = p->picture->rates[at_register];
  const i64 right = (p->left + p->cells) * rate;
  for (i64 r = ring->beside; r < end && !ALONE; r++) {
    if (p->left)
      memcpy(row_of(p, at_register, r) + (rate - 1) * C,
             p[-1].rings[at_register].edges[1] + (r - ring->given) * C, (size_t)C * sizeof(i16));
    if (p->right)
      memcpy(row_of(p, at_register, r) + right * C,
             p[1].rings[at_register].edges[0] + (r - ring->given) * C, (size_t)C * sizeof(i16));
  }
  ring->beside = end > ring->beside ? end : ring->beside;
}

int begin_feed(Part *p) {
  const Picture *s = p->picture;
  i64 n = 0;
  atomic_store_explicit(&p->taken, 0, memory_order_relaxed);
  atomic_store_explicit(&p->done, 0, memory_order_relaxed);
  for (i64 r = 0; r < s->header->registers; r++)
    if (s->is_looked_at[r]) n += (s->end[r] - p->rings[r].end) * s->channels[r];
  if (ALONE) return OK;
  free(p->edges);
  p->edges = malloc((size_t)(2 * n + PAD) * sizeof *p->edges);
  if (!p->edges) return NO_MEMORY;
  i16 *to = p->edges;
  for (i64 r = 0; r < s->header->registers; r++) {
    Ring *ring = p->rings + r;
    ring->given = ring->end;
    for (int side = 0; s->is_looked_at[r] && side < 2; side++) {
      const int shown = side ? p->right > 0 : p->left > 0;
      ring->edges[side] = shown ? to : NULL;
      to += shown ? (s->end[r] - ring->end) * s->channels[r] : 0;
    }
  }
  return OK;
}

void end_feed(Part *p) {
  for (i64 r = 0; r < p->picture->header->registers && !ALONE; r++)
    if (p->picture->is_looked_at[r]) see_edges(p, r, p->rings[r].end);
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

/* The part's columns of output row `row`, of a layer that works row by row. */
static void make_row(const Part *p, const Layer *l, i64 row) {
  const Picture *s = p->picture;
  const void *weight = block_at(s->header, l->weight < 0 ? 0 : l->weight);
  const i64 r = l->shift, rate = s->rates[l->out], from = p->left * rate, n = p->cells * rate;
  i16 *out = row_of(p, l->out, row) + from * l->cout;
  if (l->kind == SHUFFLE)
    shuffle_row(l, row_of(p, l->in, row / r) + from / r * l->cin, n / r, row, out);
  else if (l->kind == UNSHUFFLE)
    for (i64 i = 0; i < r; i++)
      unshuffle_row(l, row_of(p, l->in, row * r + i) + from * r * l->cin, n, i, out);
  else if (l->kind == DEQUANTISE) {
    const i64 gains = s->gain_index * l->cin;
    s->kernels->dequantise(l, (const i16 *)block_at(s->header, l->multiplier) + gains,
                           (const u8 *)weight + gains,
                           s->y + ((row - s->y_start) * s->width + p->from) * l->cin, n, out);
  } else if (l->kind == GAIN) {
    const int shift = ((const u8 *)weight)[s->gain_index];
    s->kernels->gain(l, (const i16 *)block_at(s->header, l->multiplier) + s->gain_index * l->cin,
                     shift, row_of(p, l->in, row) + from * l->cin, n, out);
  } else if (l->kind == ADD)
    s->kernels->add(row_of(p, l->in, row) + from * l->cin, row_of(p, l->in2, row) + from * l->cin,
                    n * l->cin, out);
  else s->kernels->leaky(l->leaky, row_of(p, l->in, row) + from * l->cin, n * l->cin, out);
}

/* n rows of a layer's output that lie together, as do those of what it reads place by place. */
static void make_rows(const Part *p, const Layer *l, i64 first, i64 n) {
  const Picture *s = p->picture;
  const i64 rate = s->rates[l->out], from = p->left * rate, width = p->rings[l->out].width;
  const Span span = {n, p->cells * rate, width};
  const void *weight = block_at(s->header, l->weight < 0 ? 0 : l->weight);
  i16 *out = row_of(p, l->out, first) + from * l->cout;
  if (l->kind == CONV) {
    const i16 *residual = l->in2 > 0 ? row_of(p, l->in2, first) + from * l->cout : NULL;
    s->kernels->conv(l, weight, block_at(s->header, l->bias),
                     row_of(p, l->in, first) + from * l->cin, span, residual, out);
  } else if (l->kind == DEPTHWISE) {
    for (i64 i = 0; i < n + 2; i++) {
      const i64 r = first + i - 1;
      p->rows[i] = r < 0 || r >= s->total[l->in] ? s->zeros : row_of(p, l->in, r);
    }
    s->kernels->depthwise(l, weight, block_at(s->header, l->bias), p->rows, width, from, 1, span,
                          out);
  } else
    for (i64 i = 0; i < n; i++) make_row(p, l, first + i);
}

/* n rows of the result from r on, to where they are wanted. */
static void give_rows(const Part *p, i64 at_register, i64 r, i64 n) {
  const Picture *s = p->picture;
  const i64 C = s->channels[at_register], rate = s->rates[at_register];
  for (i64 i = r; i < r + n; i++)
    memcpy(s->out + ((i - s->out_start) * s->width + p->from) * rate * C,
           row_of(p, at_register, i) + p->left * rate * C,
           (size_t)(p->cells * rate * C) * sizeof(i16));
}

static int take_step(const Part *p, const Step *step) {
  const Picture *s = p->picture;
  const Layer *l = s->layers + step->layer;
  Ring *o = p->rings + l->out;
  const int by_place = l->kind == CONV || l->kind == GAIN || l->kind == ADD || l->kind == LEAKY;
  const i64 first = o->end, end = first + step->rows;
  if (extend(p, l->out, step->rows)) return NO_MEMORY;
  if (l->kind == DEPTHWISE) see_edges(p, l->in, end < s->total[l->in] ? end + 1 : end);
  while (o->end < end) {
    i64 some = together(o, o->end, end - o->end);
    if (by_place) some = together(p->rings + l->in, o->end, some);
    if (by_place && l->in2 > 0) some = together(p->rings + l->in2, o->end, some);
    make_rows(p, l, o->end, some);
    o->end += some;
  }
  if (s->is_looked_at[l->out]) show_edges(p, l->out, first, step->rows);
  if (step->layer == s->header->layer_count - 1) give_rows(p, l->out, first, step->rows);
  return OK;
}

/* -- order -- */

/* The neighbour whose work a step of part p has to wait for, or NULL. */
static Part *awaited(Part *p, const Step *step) {
  for (int side = -1; side < 2 && step->needs >= 0 && !ALONE; side += 2)
    if ((side < 0 ? p->left : p->right) &&
        atomic_load_explicit(&p[side].done, memory_order_acquire) <= step->needs)
      return p + side;
  return NULL;
}

/* Steps of a part, until it is through (NULL) or has to wait for a neighbour. */
static Part *go_on(Part *p) {
  Picture *s = p->picture;
  i64 at = atomic_load_explicit(&p->done, memory_order_relaxed);
  for (; at < s->step_count; at++) {
    Part *other = awaited(p, s->steps + at);
    if (other) return other;
    if (atomic_load_explicit(&s->status, memory_order_relaxed)) return NULL;
    const int status = take_step(p, s->steps + at);
    if (status) atomic_store_explicit(&s->status, status, memory_order_relaxed);
    atomic_store_explicit(&p->done, at + 1, memory_order_release);
  }
  return NULL;
}

static int take(Part *p) {
  return !atomic_exchange_explicit(&p->taken, 1, memory_order_relaxed);
}

/* A part, and any that it waits for and that nobody takes; those that are being waited for first.
 * Whoever waits for a part that another thread has taken, waits for that thread. */
void run_part_of(const void *picture, i64 piece, int worker) {
  const Picture *s = picture;
  if (ALONE) {
    go_on(s->parts);
    return;
  }
  Part *mine[MOST_THREADS];
  int n = 0;
  (void)worker;
  if (!take(s->parts + piece)) return;
  mine[n++] = s->parts + piece;
  for (int looks = 0; n;) {
    int moved = 0;
    Part *other = NULL;
    for (int i = 0; i < n; i++) {
      const i64 before = atomic_load_explicit(&mine[i]->done, memory_order_relaxed);
      Part *next = go_on(mine[i]);
      moved |= atomic_load_explicit(&mine[i]->done, memory_order_relaxed) != before;
      if (next) other = next;
      else mine[i--] = mine[--n];
    }
    if (moved) looks = 0;
    else if (looks > s->patience && other && take(other)) mine[n++] = other;
    else if (n) wait_a_little(looks++);
  }
}

/* -- one part -- */

void close_part(Part *p) {
  for (i64 i = 0; p->rings && i < p->picture->header->registers; i++) free(p->rings[i].p);
  free(p->rings);
  free(p->rows);
  free(p->edges);
}

int open_part(Part *p, i64 most) {
  const Picture *s = p->picture;
  p->rings = calloc((size_t)s->header->registers, sizeof *p->rings);
  p->rows = calloc((size_t)(most + 2), sizeof *p->rows);
  if (!p->rings || !p->rows) return NO_MEMORY;
  for (i64 r = 0; r < s->header->registers; r++)
    p->rings[r].width = (p->left + p->cells + p->right) * s->rates[r];
  return OK;
}
