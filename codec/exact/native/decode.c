/* Payload to latents, and back: codec/latents.py, decode_latents and write. */
#include "walk.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
  i32 *values, *order, *escaped, *counts, *slice;
  i16 *tables;
  u16 *state;
} Coding;

static int begin_coding(Coding *s, i64 n) {
  memset(s, 0, sizeof *s);
  s->values = take(n, sizeof(i32));
  s->order = take(n, sizeof(i32));
  s->escaped = take(n, sizeof(i32));
  s->slice = take(n, sizeof(i32));
  s->counts = take(32768, sizeof(i32));
  s->tables = take(n, sizeof(i16));
  s->state = take(n, sizeof(u16));
  return s->values && s->order && s->escaped && s->slice && s->counts && s->tables && s->state
             ? OK
             : NO_MEMORY;
}

static void end_coding(Coding *s) {
  free(s->values);
  free(s->order);
  free(s->escaped);
  free(s->slice);
  free(s->counts);
  free(s->tables);
  free(s->state);
}

/* How many of the sorted places are below the trellis. */
static i64 below(const Header *h, const i16 *index, const i32 *order, i64 n) {
  i64 low = 0, high = h->trellis ? n : 0;
  if (!h->trellis) return n;
  while (low < high) {
    const i64 m = (low + high) / 2;
    if (index[order[m]] < h->first) low = m + 1;
    else high = m;
  }
  return low;
}

/* The places of a slice in the order of their tables: those of the plain quantiser, then those of
 * the shifted one, whose tables come behind; both ascend already. Their tables are noted. */
static void order_slice(Coding *s, const Header *h, const i16 *index, const i32 *places, i64 n,
                        const u8 *shifted) {
  i64 to = 0;
  for (i64 i = 0; i < n; i++)
    if (!shifted[s->state[i]]) s->slice[to++] = places[i];
  for (i64 i = 0; i < n; i++)
    if (shifted[s->state[i]]) {
      s->tables[places[i]] = (i16)(index[places[i]] + h->shifted_tables - h->first);
      s->slice[to++] = places[i];
    }
}

/* Reads one step: points of all its latents. */
static int read_step(Coding *s, Walk *walk, const Geometry *g, Decoder *d, i64 first) {
  const Header *h = walk->m.header;
  const i16 *index = walk->index;
  const i64 n = sort_places(index, walk->n, h->scales, first, s->counts, s->order);
  const i64 rest = below(h, index, s->order, n), steered = n - rest;
  memset(walk->points, 0, (size_t)walk->n * sizeof(i32));
  memcpy(s->tables, index, (size_t)walk->n * sizeof(i16));
  decode_symbols(d, h, s->order, s->tables, rest, s->values, s->escaped);
  if (d->status) return d->status;
  for (i64 i = 0; i < rest; i++) {
    const i32 place = s->order[i], v = s->values[place];
    if (v) walk->points[place] = point_of(h, v, index[place]);
  }
  if (!steered) return OK;
  const i64 lanes = (steered + h->length - 1) / h->length;
  const u16 *next = at(h, h->next);
  const u8 *shifted = at(h, h->shifted);
  memset(s->state, 0, (size_t)lanes * sizeof(u16));
  for (i64 start = 0; start < steered; start += lanes) {
    const i64 count = steered - start < lanes ? steered - start : lanes;
    const i32 *places = s->order + rest + start;
    if (stopped(g)) return STOPPED;
    order_slice(s, h, index, places, count, shifted);
    decode_symbols(d, h, s->slice, s->tables, count, s->values, s->escaped);
    if (d->status) return d->status;
    for (i64 i = 0; i < count; i++) {
      const i32 place = places[i], v = s->values[place];
      walk->points[place] = trellis_point(h, v, index[place], shifted[s->state[i]]);
      s->state[i] = next[2 * s->state[i] + (v & 1)];
    }
  }
  return OK;
}

static int read_steps(const Header *h, const Kernels *kernels, Team *team, const Geometry *g,
                      Decoder *d, int code_all, const i32 *z_hat, i32 *y_hat) {
  Walk walk;
  Coding s = {0};
  int status = begin_walk(&walk, h, kernels, team, g, z_hat);
  if (status == OK) status = begin_coding(&s, walk.n);
  for (int k = 0; k < STEPS && status == OK; k++) {
    status = stopped(g) ? STOPPED : walk_step(&walk, k);
    if (status == OK) status = read_step(&s, &walk, g, d, code_all ? 0 : h->skip_below);
    if (status == OK) place_step(&walk, k, y_hat);
  }
  end_walk(&walk);
  end_coding(&s);
  return status;
}

/* z_hat: int32 (hz, wz, Z); y_hat: int32 (h, w, M), both written; check: the payload's check of
 * y_hat. Returns OK, or what is wrong; TOO_LONG where all could be read but the payload is not what
 * an encoder writes for it. */
AEI_API int aei_decode(const Header *h, int isa, Team *team, const Geometry *g, const u8 *payload,
                       i64 size, int code_all, i32 *z_hat, i32 *y_hat, i32 *check) {
  if (!geometry_holds(h, g, isa) || size < 0) return BAD_CALL;
  const Kernels *kernels = kernels_of(isa);
  Decoder d;
  double bits = 0;
  decoder_start(&d, payload, size);
  int status = code_hyper(h, kernels, g, &d, NULL, z_hat, &bits);
  if (status) return status;
  if (h->steps) status = read_steps(h, kernels, team, g, &d, code_all, z_hat, y_hat);
  else /* a factorized prior: z_hat is all there is */
    for (i64 i = 0; i < g->h * g->w * h->latents; i++) y_hat[i] = z_hat[i] * (1 << h->mean_bits);
  if (status) return status;
  *check = decode_uniform(&d, 8);
  if (d.status) return d.status;
  return decoder_is_canonical(&d) ? OK : TOO_LONG;
}

static int step_holds(const Header *h, const i32 *values, const u8 *index, const i16 *tables,
                      i64 n) {
  for (i64 i = 0; i < n; i++)
    if (values[i] < -MAX_SYMBOL || values[i] > MAX_SYMBOL || index[i] >= h->scales ||
        tables[i] < 0 || tables[i] >= h->table_count)
      return 0;
  return 1;
}

/* Writes one step. index: uint8, scale indexes; tables: int16, of the symbols. */
static void write_step(Coding *s, const Header *h, i64 n, const i32 *values, const u8 *index,
                       const i16 *tables, i64 first, Encoder *e, double *bits) {
  for (i64 i = 0; i < n; i++) s->tables[i] = index[i];
  const i64 coded = sort_places(s->tables, n, h->scales, first, s->counts, s->order);
  const i64 rest = below(h, s->tables, s->order, coded), steered = coded - rest;
  *bits += encode_symbols(e, h, s->order, s->tables, rest, values);
  if (!steered) return;
  const i64 lanes = (steered + h->length - 1) / h->length;
  for (i64 start = 0; start < steered; start += lanes) {
    const i64 count = steered - start < lanes ? steered - start : lanes;
    const i32 *places = s->order + rest + start;
    i64 to = 0;
    for (int shifted = 0; shifted < 2; shifted++)
      for (i64 i = 0; i < count; i++)
        if ((tables[places[i]] != index[places[i]]) == shifted) s->slice[to++] = places[i];
    *bits += encode_symbols(e, h, s->slice, tables, count, values);
  }
}

/* values, index, tables: of the four steps, (h * w * M / 4) each. Writes the payload to `out`, its
 * length to `size`. NO_ROOM: it needs more than `room` bytes. bits: its ideal length. */
AEI_API int aei_write(const Header *h, int isa, Team *team, const Geometry *g, const i32 *z_hat,
                      int code_all, const i32 *const *values, const u8 *const *index,
                      const i16 *const *tables, int check, u8 *out, i64 room, i64 *size,
                      double *bits) {
  if (!geometry_holds(h, g, isa) || room < 0 || !(check >= 0 && check < 256)) return BAD_CALL;
  const i64 n = g->h * g->w * (h->latents / 4), hyper = g->hz * g->wz * h->hyper_latents;
  for (i64 i = 0; i < hyper; i++)
    if (z_hat[i] < -MAX_SYMBOL || z_hat[i] > MAX_SYMBOL) return BAD_CALL;
  for (int k = 0; k < h->steps; k++)
    if (!step_holds(h, values[k], index[k], tables[k], n)) return BAD_CALL;
  Encoder e;
  Coding s = {0};
  encoder_start(&e, out, room);
  *bits = 0;
  i32 *z = take(hyper, sizeof(i32)); /* is written to, with what is in it */
  int status = z ? OK : NO_MEMORY;
  if (status == OK) {
    memcpy(z, z_hat, (size_t)hyper * sizeof(i32));
    status = code_hyper(h, kernels_of(isa), g, NULL, &e, z, bits);
  }
  free(z);
  if (status == OK && h->steps) status = begin_coding(&s, n);
  for (int k = 0; k < h->steps && status == OK; k++)
    write_step(&s, h, n, values[k], index[k], tables[k], code_all ? 0 : h->skip_below, &e, bits);
  end_coding(&s);
  if (status) return status;
  encode_uniform(&e, (u32)check, 8);
  *bits += 8;
  *size = encoder_finish(&e);
  return *size < 0 ? NO_ROOM : OK;
}
