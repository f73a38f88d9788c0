#include "team.h"
#include "walk.h"

#include <stdlib.h>
#include <string.h>

void *take(i64 count, i64 size) {
  return malloc((size_t)(count + PAD) * (size_t)size);
}

int geometry_holds(const Header *h, const Geometry *g, int isa) {
  const i64 s = h->hyper_stride, most = 1 << 15;
  if (!kernels_of(isa) || g->row < 0 || g->row >= LEVELS_OF_GAIN) return 0;
  if (g->h < 1 || g->w < 1 || g->h > most || g->w > most || g->h * g->w > (i64)1 << 30) return 0;
  if (g->h * g->w * h->latents > (i64)1 << 30) return 0; /* places are int32 */
  if (g->hz != (g->h + s - 1) / s || g->wz != (g->w + s - 1) / s) return 0;
  return g->hz * g->wz * h->hyper_latents <= (i64)1 << 30;
}

/* -- z_hat -- */

/* Rows and columns from a place to what it knows. */
static const int KNOWN_ROW[4] = {-1, 0, -1, -1}, KNOWN_COLUMN[4] = {0, -1, -1, 1};

typedef struct {
  Machine m;
  i16 *known; /* (hz + 1, wz + 2, Z): a row above, a column on the left and one on the right, of
                 zeros */
  i32 *base, *values, *order, *escaped, *counts, *places;
  i16 *tables, *mean, *scale;
  i64 *bias;
} Hyper;

/* Codes the symbols of n values beyond their bases, under their tables. */
static int code_values(Hyper *y, const Header *h, i64 n, Decoder *d, Encoder *e, double *bits) {
  sort_places(y->tables, n, h->table_count, 0, y->counts, y->order);
  if (!d) {
    *bits += encode_symbols(e, h, y->order, y->tables, n, y->values);
    return OK;
  }
  decode_symbols(d, h, y->order, y->tables, n, y->values, y->escaped);
  return d->status;
}

/* What n places expect, whose neighbours are in register VIEW: bases and tables. */
static int expect(Hyper *y, const Header *h, i64 n) {
  const i64 z = h->hyper_latents, phases = (i64)1 << h->phase_bits;
  const Layer *mean = layer_of(h, h->context_mean), *scale = layer_of(h, h->context_scale);
  if (run_program(&y->m, &h->context_features)) return NO_MEMORY;
  const i16 *x =
      y->m.r[layer_of(h, h->context_features.first + h->context_features.count - 1)->out].p;
  y->m.kernels->conv(mean, at(h, mean->weight), at(h, mean->bias), x, (Span){1, n, n}, NULL,
                     y->mean);
  y->m.kernels->conv(scale, at(h, scale->weight), y->bias, x, (Span){1, n, n}, NULL, y->scale);
  for (i64 i = 0; i < n * z; i++) {
    const i64 level = y->scale[i] < 0 ? 0 : y->scale[i] >= h->levels ? h->levels - 1 : y->scale[i];
    const i64 base = rescaled(y->mean[i], h->phase_bits),
              phase = y->mean[i] - base * phases + phases / 2;
    y->base[i] = (i32)base;
    y->tables[i] = (i16)(h->first_context_table + phase * h->levels + level);
  }
  return OK;
}

/* The places with 2 row + column = turn, whose neighbours are all known. */
static int code_turn(Hyper *y, const Header *h, const Geometry *g, i64 turn, Decoder *d, Encoder *e,
                     i32 *z_hat, double *bits) {
  const i64 z = h->hyper_latents;
  i64 n = 0;
  for (i64 i = 0; i < g->hz; i++)
    if (turn - 2 * i >= 0 && turn - 2 * i < g->wz) y->places[n++] = (i32)i;
  if (!n) return OK;
  Register *view = y->m.r + VIEW;
  if (resize(view, n, 1, 4 * z)) return NO_MEMORY;
  for (i64 p = 0; p < n; p++)
    for (int a = 0; a < 4; a++) {
      const i64 i = y->places[p] + 1 + KNOWN_ROW[a],
                j = turn - 2 * y->places[p] + 1 + KNOWN_COLUMN[a];
      memcpy(view->p + (4 * p + a) * z, y->known + (i * (g->wz + 2) + j) * z,
             (size_t)z * sizeof(i16));
    }
  if (expect(y, h, n)) return NO_MEMORY;
  for (i64 p = 0; p < n && e; p++) {
    const i32 *from = z_hat + (y->places[p] * g->wz + turn - 2 * y->places[p]) * z;
    for (i64 c = 0; c < z; c++) y->values[p * z + c] = from[c] - y->base[p * z + c];
  }
  const int status = code_values(y, h, n * z, d, e, bits);
  if (status) return status;
  for (i64 i = 0; i < n * z; i++) y->values[i] += y->base[i];
  y->m.z = y->values;
  y->m.r[Z].h = n;
  y->m.r[Z].w = 1;
  y->m.r[Z].c = z;
  if (run_program(&y->m, &h->context_input)) return NO_MEMORY;
  const i16 *seen = y->m.r[layer_of(h, h->context_input.first + h->context_input.count - 1)->out].p;
  for (i64 p = 0; p < n; p++) {
    const i64 i = y->places[p], j = turn - 2 * i;
    memcpy(z_hat + (i * g->wz + j) * z, y->values + p * z, (size_t)z * sizeof(i32));
    memcpy(y->known + ((i + 1) * (g->wz + 2) + j + 1) * z, seen + p * z, (size_t)z * sizeof(i16));
  }
  return OK;
}

/* Without a context: all at once, with a table per channel. */
static int code_plain(Hyper *y, const Header *h, const Geometry *g, Decoder *d, Encoder *e,
                      i32 *z_hat, double *bits) {
  const i64 z = h->hyper_latents, n = g->hz * g->wz * z;
  const u8 *tables = (const u8 *)at(h, h->z_table) + g->row * z;
  for (i64 i = 0; i < n; i++) y->tables[i] = tables[i % z];
  if (e) memcpy(y->values, z_hat, (size_t)n * sizeof(i32));
  const int status = code_values(y, h, n, d, e, bits);
  if (status == OK && d) memcpy(z_hat, y->values, (size_t)n * sizeof(i32));
  return status;
}

int code_hyper(const Header *h, const Kernels *kernels, const Geometry *g, Decoder *d, Encoder *e,
               i32 *z_hat, double *bits) {
  const i64 z = h->hyper_latents, places = h->context ? g->hz : g->hz * g->wz, n = places * z;
  Hyper y = {0};
  int status = OK;
  y.m.header = h;
  y.m.kernels = kernels;
  y.m.row = g->row;
  y.known =
      h->context ? calloc((size_t)((g->hz + 1) * (g->wz + 2) * z + PAD), sizeof(i16)) : take(0, 1);
  y.base = take(n, sizeof(i32));
  y.values = take(n, sizeof(i32));
  y.order = take(n, sizeof(i32));
  y.escaped = take(n, sizeof(i32));
  y.places = take(places, sizeof(i32));
  y.counts = take(h->table_count + 1, sizeof(i32));
  y.tables = take(n, sizeof(i16));
  y.mean = take(n, sizeof(i16));
  y.scale = take(n, sizeof(i16));
  y.bias = take(z, sizeof(i64));
  if (!y.known || !y.base || !y.values || !y.order || !y.escaped || !y.places || !y.counts ||
      !y.tables || !y.mean || !y.scale || !y.bias)
    status = NO_MEMORY;
  else if (!h->context) status = code_plain(&y, h, g, d, e, z_hat, bits);
  else {
    const i64 *bias = at(h, layer_of(h, h->context_scale)->bias);
    const i32 *more = (const i32 *)at(h, h->context_scale_bias) + g->row * z;
    for (i64 c = 0; c < z; c++) y.bias[c] = bias[c] + more[c];
    for (i64 turn = 0; turn <= 2 * (g->hz - 1) + g->wz - 1 && status == OK; turn++)
      status = stopped(g) ? STOPPED : code_turn(&y, h, g, turn, d, e, z_hat, bits);
  }
  free_machine(&y.m);
  free(y.known);
  free(y.base);
  free(y.values);
  free(y.order);
  free(y.escaped);
  free(y.places);
  free(y.counts);
  free(y.tables);
  free(y.mean);
  free(y.scale);
  free(y.bias);
  return status;
}

/* -- the four steps -- */

int begin_walk(Walk *walk, const Header *h, const Kernels *kernels, Team *team, const Geometry *g,
               const i32 *z_hat) {
  memset(walk, 0, sizeof *walk);
  walk->m.header = h;
  walk->m.kernels = kernels;
  walk->m.team = team;
  walk->m.row = g->row;
  walk->m.z = z_hat;
  walk->g = *g;
  walk->quarter = h->latents / 4;
  walk->n = g->h * g->w * walk->quarter;
  walk->m.r[Z].h = g->hz;
  walk->m.r[Z].w = g->wz;
  walk->m.r[Z].c = h->hyper_latents;
  for (int cell = 0; cell < CELLS; cell++)
    walk->start[cell + 1] =
        walk->start[cell] + (g->h - cell / 2 + 1) / 2 * ((g->w - cell % 2 + 1) / 2) * walk->quarter;
  walk->mean = take(walk->n, sizeof(i32));
  walk->index = take(walk->n, sizeof(i16));
  walk->points = take(walk->n, sizeof(i32));
  walk->bias = take(walk->quarter, sizeof(i64));
  if (!walk->mean || !walk->index || !walk->points || !walk->bias) return NO_MEMORY;
  if (run_program(&walk->m, &h->hyper)) return NO_MEMORY;
  /* what lies beyond the grid of y is left out */
  const Register *out = walk->m.r + layer_of(h, h->hyper.first + h->hyper.count - 1)->out;
  Register *hidden = walk->m.r + HIDDEN, *view = walk->m.r + VIEW;
  if (resize(hidden, g->h, g->w, out->c) || resize(view, g->h, g->w, h->latents)) return NO_MEMORY;
  for (i64 i = 0; i < g->h; i++)
    memcpy(hidden->p + i * g->w * out->c, out->p + i * out->w * out->c,
           (size_t)(g->w * out->c) * sizeof(i16));
  memset(view->p, 0, (size_t)(g->h * g->w * h->latents) * sizeof(i16));
  const i64 places = (g->h + 1) / 2 * ((g->w + 1) / 2);
  i64 most = 0;
  for (int k = 0; k < STEPS; k++) {
    const i64 c = layer_of(h, h->mean[k][0])->cin;
    most = c > most ? c : most;
  }
  walk->gathered = take(places * most, sizeof(i16));
  walk->part = take(places * walk->quarter, sizeof(i16));
  return walk->gathered && walk->part ? OK : NO_MEMORY;
}

void end_walk(Walk *walk) {
  free_machine(&walk->m);
  free(walk->mean);
  free(walk->index);
  free(walk->points);
  free(walk->bias);
  free(walk->gathered);
  free(walk->part);
}

int walk_step(Walk *walk, int k) {
  const Header *h = walk->m.header;
  const i64 Q = walk->quarter;
  const Program *p = &h->features[k];
  if (run_program(&walk->m, p)) return NO_MEMORY;
  const Register *x = walk->m.r + layer_of(h, p->first + p->count - 1)->out;
  for (int cell = 0; cell < CELLS; cell++) {
    const Layer *of_mean = layer_of(h, h->mean[k][cell]),
                *of_scale = layer_of(h, h->scale[k][cell]);
    const i64 start = walk->start[cell], n = (walk->start[cell + 1] - start) / Q,
              first = h->group[k][cell] * Q;
    i16 *to = walk->gathered;
    for (i64 i = cell / 2; i < walk->g.h; i += 2)
      for (i64 j = cell % 2; j < walk->g.w; j += 2, to += x->c)
        memcpy(to, x->p + (i * walk->g.w + j) * x->c, (size_t)x->c * sizeof(i16));
    memset(to, 0, PAD * sizeof(i16));
    const i32 *multiplier =
        (const i32 *)at(h, h->mean_multiplier) + walk->g.row * h->latents + first;
    share_conv(walk->m.team, walk->m.kernels, of_mean, at(h, of_mean->weight), at(h, of_mean->bias),
               walk->gathered, n, NULL, walk->part);
    for (i64 i = 0; i < n; i++)
      for (i64 c = 0; c < Q; c++)
        walk->mean[start + i * Q + c] =
            wrapped(rescaled((i64)walk->part[i * Q + c] * multiplier[c], h->mean_shift));
    const i32 *more = (const i32 *)at(h, h->scale_bias) + walk->g.row * h->latents + first;
    const i64 *bias = at(h, of_scale->bias);
    for (i64 c = 0; c < Q; c++) walk->bias[c] = bias[c] + more[c];
    i16 *index = walk->index + start;
    share_conv(walk->m.team, walk->m.kernels, of_scale, at(h, of_scale->weight), walk->bias,
               walk->gathered, n, NULL, index);
    const i16 most = (i16)(h->scales - 1);
    for (i64 i = 0; i < n * Q; i++) index[i] = index[i] < 0 ? 0 : index[i] > most ? most : index[i];
  }
  return OK;
}

void place_step(Walk *walk, int k, i32 *y_hat) {
  const Header *h = walk->m.header;
  const i64 Q = walk->quarter;
  for (int cell = 0; cell < CELLS; cell++) {
    const i64 first = h->group[k][cell] * Q;
    const i32 *multiplier =
        (const i32 *)at(h, h->view_multiplier) + walk->g.row * h->latents + first;
    i64 from = walk->start[cell];
    for (i64 i = cell / 2; i < walk->g.h; i += 2)
      for (i64 j = cell % 2; j < walk->g.w; j += 2, from += Q) {
        const i64 to = (i * walk->g.w + j) * h->latents + first;
        i16 *seen = walk->m.r[VIEW].p + to;
        for (i64 c = 0; c < Q; c++) {
          const i32 y = (i32)((u32)walk->mean[from + c] + (u32)walk->points[from + c]);
          y_hat[to + c] = y;
          seen[c] = clamp16(rescaled((i64)y * multiplier[c], h->view_shift));
        }
      }
  }
}

void clear_view(Walk *walk, int k) {
  const Header *h = walk->m.header;
  const i64 Q = walk->quarter;
  for (; k < STEPS; k++)
    for (int cell = 0; cell < CELLS; cell++)
      for (i64 i = cell / 2; i < walk->g.h; i += 2)
        for (i64 j = cell % 2; j < walk->g.w; j += 2)
          memset(walk->m.r[VIEW].p + (i * walk->g.w + j) * h->latents + h->group[k][cell] * Q, 0,
                 (size_t)Q * sizeof(i16));
}
