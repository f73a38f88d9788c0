/* What an encoder chooses: codec/latents.py, quantise, and codec/trellis.py, choose; the same
 * decisions, in the same float arithmetic. Compiled without contraction to fused products, which
 * would round otherwise. */
#include "walk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  NEAREST,
  ONE_WORTH,
  MANY_WORTHS
}; /* what a squared error is worth: nothing else counts; all the same; of each cell, or of each
    * latent */

static const float ERROR_SHARE_OF_MANY = 0.9f; /* trellis.py, ERROR_SHARE */
static const double ERROR_SHARE = 0.9;

typedef struct {
  const float *y;
  int mode;
  double worth;
  const float *worths;   /* (h, w) */
  const float *channels; /* (M), what those are times, or NULL */
  i32 *values;           /* (4, n), the outputs, as those that follow */
  u8 *index;
  i16 *tables;
} Request;

typedef struct {
  double *exact; /* (n), residuals in steps */
  float *worth;  /* (n) */
  i32 *order, *counts;
  float *size, *weight; /* of the places of the trellis, sorted */
  u8 *negative;
  float *cost;    /* (4, length * lanes + LANES) by 2 * quantiser + parity */
  u16 *magnitude; /* like cost */
  u8 *path;       /* (length * lanes), rows of cost */
  float *totals;  /* (2, states, LANES) */
  u16 *second, *from;
  u8 *row;
} Scratch;

static inline i32 to_symbol(double exact) {
  if (!(exact == exact) || (exact >= -0.5 && exact <= 0.5)) return 0;
  if (exact > MAX_SYMBOL) return MAX_SYMBOL;
  if (exact < -MAX_SYMBOL) return -MAX_SYMBOL;
  return (i32)rint(exact);
}

/* latents.optimise_rounding of one. */
static inline i32 rounded(const Header *h, double exact, i64 index, int mode, double worth) {
  const i32 v = to_symbol(exact);
  if (!v || mode == NEAREST) return v;
  const Table t = table_of(h, index);
  const i32 reach = (i32)(t.count - 2) / 2, size = v < 0 ? -v : v;
  if (size > reach) return v;
  const i32 closer = v < 0 ? v + 1 : v - 1;
  const double one = (double)(1 << h->mean_bits);
  const double far = exact - point_of(h, closer, index) / one,
               near = exact - point_of(h, v, index) / one;
  const double distortion = worth * (far * far - near * near);
  const float saved = t.bits[reach + v] - t.bits[reach + closer];
  return (double)saved > distortion ? closer : v;
}

/* Trellis._best of n places with one scale index, from place `first` of the sorted ones on, under
 * all quantisers and parities. */
static void price_run(const Header *h, const Kernels *kernels, Scratch *s, i64 first, i64 n,
                      i64 index, int mode, i64 plane) {
  const double one = (double)(1 << h->mean_bits);
  const float nothing = 0;
  Pricing of = {0};
  of.step = (float)(2 * h->half_step / one);
  of.one = (float)(1 / one);
  of.half_step = (i32)h->half_step;
  of.nearer_count = (i32)h->trellis_offset_count + 1;
  for (int quantiser = 0; quantiser < 2; quantiser++) {
    const Table t = table_of(h, index + quantiser * (h->shifted_tables - h->first));
    const i64 row = quantiser * (h->scales - h->first) + index - h->first;
    const i16 *nearer = (const i16 *)at(h, h->trellis_offsets) + row * h->trellis_offset_count;
    of.quantiser = quantiser;
    of.shift = (float)(quantiser / 2.0) * of.step;
    of.reach = (i32)(t.count - 2) / 2;
    of.bits = t.bits + of.reach;
    if (mode == NEAREST) { /* only errors count */
      of.reach = 0;
      of.bits = &nothing;
    }
    for (i64 k = 0; k < h->trellis_offset_count; k++) of.nearer[k + 1] = nearer[k];
    for (of.parity = 0; of.parity < 2; of.parity++) {
      const i64 to = (2 * quantiser + of.parity) * plane + first;
      kernels->price(&of, s->size + first, s->weight + first, n, s->cost + to, s->magnitude + to);
    }
  }
}

/* The two branches that lead to each state, in the order of Trellis.branches. */
static void find_branches(const Header *h, Scratch *s) {
  const u16 *next = at(h, h->next);
  const u8 *shifted = at(h, h->shifted);
  memset(s->from, 0xff, (size_t)(2 * h->states) * sizeof(u16));
  for (i64 i = 0; i < 2 * h->states; i++) {
    const i64 to = next[i] + (s->from[next[i]] == 0xffff ? 0 : h->states);
    s->from[to] = (u16)(i / 2);
    s->row[to] = (u8)(2 * shifted[i / 2] + i % 2);
  }
}

static void find_paths(const Header *h, const Kernels *kernels, Scratch *s, i64 lanes, i64 plane) {
  const i64 states = h->states, length = h->length;
  for (i64 left = 0; left < lanes; left += LANES) {
    float *total = s->totals, *other = s->totals + states * LANES;
    for (i64 i = 0; i < states * LANES; i++) total[i] = i < LANES ? 0 : INFINITY;
    total = kernels->viterbi(total, other, states, length, s->cost + left, plane, lanes, s->from,
                             s->row, s->second);
    /* All lanes side by side, so that none waits for what another one looks up. */
    const i64 n = lanes - left < LANES ? lanes - left : LANES;
    i64 state[LANES] = {0};
    for (i64 i = 1; i < states; i++)
      for (i64 lane = 0; lane < n; lane++)
        if (total[i * LANES + lane] < total[state[lane] * LANES + lane]) state[lane] = i;
    for (i64 i = length - 1; i >= 0; i--)
      for (i64 lane = 0; lane < n; lane++) {
        const i64 branch = (s->second[i * states + state[lane]] >> lane & 1) * states + state[lane];
        s->path[i * lanes + left + lane] = s->row[branch];
        state[lane] = s->from[branch];
      }
  }
}

/* Trellis.choose: values and tables of the n places that take part, sorted. */
static int choose_path(const Header *h, const Kernels *kernels, Scratch *s, const Request *r,
                       const i16 *index, const i32 *places, i64 n, i32 *values, i16 *tables) {
  const i64 lanes = (n + h->length - 1) / h->length, plane = lanes * h->length + LANES;
  s->cost =
      calloc((size_t)(4 * plane), sizeof(float)); /* what fills up the last slice costs nothing */
  s->magnitude = take(4 * plane, sizeof(u16));
  s->size = take(n, sizeof(float));
  s->negative = take(n, sizeof(u8));
  s->weight = take(n, sizeof(float));
  s->path = take(plane, sizeof(u8));
  s->totals = take(2 * h->states * LANES, sizeof(float));
  s->second = take(h->length * h->states, sizeof(u16));
  s->from = take(2 * h->states, sizeof(u16));
  s->row = take(2 * h->states, sizeof(u8));
  int status = NO_MEMORY;
  if (s->size && s->weight && s->negative && s->cost && s->magnitude && s->path && s->totals &&
      s->second && s->from && s->row) {
    const double most = MAX_SYMBOL - 4.0;
    const float worth = r->mode == ONE_WORTH ? (float)(r->worth * ERROR_SHARE) : 1;
    for (i64 i = 0; i < n; i++) {
      const double e = s->exact[places[i]];
      const double kept = !(e == e) ? 0 : e < -most ? -most : e > most ? most : e;
      s->size[i] = fabsf((float)kept);
      s->negative[i] = (float)kept < 0;
      s->weight[i] = r->mode == MANY_WORTHS ? s->worth[places[i]] * ERROR_SHARE_OF_MANY : worth;
    }
    for (i64 i = 0, end; i < n; i = end) {
      for (end = i + 1; end < n && index[places[end]] == index[places[i]];) end++;
      price_run(h, kernels, s, i, end - i, index[places[i]], r->mode, plane);
    }
    find_branches(h, s);
    find_paths(h, kernels, s, lanes, plane);
    for (i64 i = 0; i < n; i++) {
      const i32 place = places[i], size = s->magnitude[s->path[i] * plane + i];
      values[place] = s->negative[i] ? -size : size;
      if (s->path[i] > 1) tables[place] = (i16)(index[place] + h->shifted_tables - h->first);
    }
    status = OK;
  }
  free(s->size);
  free(s->negative);
  free(s->weight);
  free(s->cost);
  free(s->magnitude);
  free(s->path);
  free(s->totals);
  free(s->second);
  free(s->from);
  free(s->row);
  return status;
}

/* latents.choose_symbols of a step. */
static int choose_step(Walk *walk, Scratch *s, const Request *r, int k) {
  const Header *h = walk->m.header;
  const double one = (double)(1 << h->mean_bits);
  i32 *values = r->values + k * walk->n;
  i16 *tables = r->tables + k * walk->n;
  u8 *index = r->index + k * walk->n;
  const i64 first = h->trellis ? h->first : h->scales;
  for (int cell = 0; cell < CELLS; cell++) {
    i64 e = walk->start[cell];
    for (i64 i = cell / 2; i < walk->g.h; i += 2)
      for (i64 j = cell % 2; j < walk->g.w; j += 2) {
        const i64 place = i * walk->g.w + j, channel = h->group[k][cell] * walk->quarter;
        const float *y = r->y + place * h->latents + channel;
        const float of_cell = r->mode == MANY_WORTHS ? r->worths[place] : 0;
        for (i64 c = 0; c < walk->quarter; c++, e++) {
          const double exact = (double)y[c] - walk->mean[e] / one;
          index[e] = (u8)walk->index[e];
          tables[e] = walk->index[e];
          s->exact[e] = exact;
          const float many = r->channels ? of_cell * r->channels[channel + c] : of_cell;
          const double worth = r->mode == MANY_WORTHS ? (double)many : r->worth;
          s->worth[e] = many;
          values[e] =
              walk->index[e] < first ? rounded(h, exact, walk->index[e], r->mode, worth) : 0;
        }
      }
  }
  if (!h->trellis) return OK;
  const i64 n = sort_places(walk->index, walk->n, h->scales, h->first, s->counts, s->order);
  return n ? choose_path(h, walk->m.kernels, s, r, walk->index, s->order, n, values, tables) : OK;
}

/* Sets the values that are not coded to zero: 0 where they were already, 1 where not, 2 where one
 * is beyond 1. */
static int leave_out(const Walk *walk, i32 *values) {
  int found = 0;
  for (i64 i = 0; i < walk->n; i++)
    if (walk->index[i] < walk->m.header->skip_below && values[i]) {
      if (values[i] < -1 || values[i] > 1) return 2;
      found = 1;
    }
  for (i64 i = 0; i < walk->n && found; i++)
    if (walk->index[i] < walk->m.header->skip_below) values[i] = 0;
  return found;
}

static void reconstruct(Walk *walk, const Request *r, int k) {
  const Header *h = walk->m.header;
  const i32 *values = r->values + k * walk->n;
  const i16 *tables = r->tables + k * walk->n;
  for (i64 i = 0; i < walk->n; i++)
    if (h->trellis && walk->index[i] >= h->first)
      walk->points[i] = trellis_point(h, values[i], walk->index[i], tables[i] != walk->index[i]);
    else walk->points[i] = point_of(h, values[i], walk->index[i]);
}

/* y: float (h, w, M); z_hat: int32 (hz, wz, Z); mode, worth, worths, channels: see above. Writes
 * what was chosen in the four steps, (4, h * w * M / 4) each, y_hat, and whether the surest symbols
 * are coded too. */
AEI_API int aei_quantise(const Header *h, int isa, Team *team, const Geometry *g, const float *y,
                         const i32 *z_hat, int mode, double worth, const float *worths,
                         const float *channels, i32 *values, u8 *index, i16 *tables, i32 *y_hat,
                         int *code_all) {
  if (!geometry_holds(h, g, isa) || mode < NEAREST || mode > MANY_WORTHS || !h->steps)
    return BAD_CALL;
  const Request r = {y, mode, worth, worths, channels, values, index, tables};
  Walk walk;
  Scratch s = {0};
  int status = begin_walk(&walk, h, kernels_of(isa), team, g, z_hat);
  s.exact = take(walk.n, sizeof(double));
  s.worth = take(walk.n, sizeof(float));
  s.order = take(walk.n, sizeof(i32));
  s.counts = take(h->scales + 1, sizeof(i32));
  if (!s.exact || !s.worth || !s.order || !s.counts) status = NO_MEMORY;
  *code_all = 0;
  int changed = STEPS; /* the first step that left out anything but zeros */
  for (int k = 0; k < STEPS && status == OK;) {
    status = walk_step(&walk, k);
    if (status == OK) status = choose_step(&walk, &s, &r, k);
    if (status) break;
    if (!*code_all) {
      const int left = leave_out(&walk, values + k * walk.n);
      if (left == 2) {
        /* All are coded, then: up to the first change nothing differs. */
        *code_all = 1;
        if (changed < k) {
          clear_view(&walk, changed);
          k = changed;
          continue;
        }
      } else if (left && changed == STEPS) changed = k;
    }
    reconstruct(&walk, &r, k);
    place_step(&walk, k, y_hat);
    k++;
  }
  end_walk(&walk);
  free(s.exact);
  free(s.worth);
  free(s.order);
  free(s.counts);
  return status;
}
