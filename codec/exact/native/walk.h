/* The order in which a payload says things: z_hat, then the four steps of y_hat. */
#ifndef AEI_WALK_H
#define AEI_WALK_H

#include "core.h"

/* What all calls are given. */
typedef struct {
  i64 row;    /* gain index */
  i64 h, w;   /* of the grid of y */
  i64 hz, wz; /* of that of z */
  i64 stop;   /* set by another thread: decoding is to end soon, with STOPPED */
} Geometry;

static inline int stopped(const Geometry *g) {
  return *(const volatile i64 *)&g->stop != 0;
}

/* One image on its way through the steps. n: latents of a step, h * w * M / 4, cell by cell, each
 * in C order. */
typedef struct {
  Machine m;
  Geometry g;
  i64 quarter, n;
  i64 start[CELLS + 1]; /* of each cell among the n */
  i32 *mean;            /* (n), fixed point */
  i16 *index;           /* (n), scale indexes */
  i32 *points;          /* (n), what the residuals stand for, fixed point */
  i16 *gathered, *part; /* of a cell */
  i64 *bias;
} Walk;

int geometry_holds(const Header *h, const Geometry *g, int isa);
void *take(i64 count, i64 size); /* malloc, PAD numbers more */

/* Register Z is to be z_hat: runs the hyper program, or fails with NO_MEMORY. end_walk frees what
 * was taken, always. */
int begin_walk(Walk *walk, const Header *h, const Kernels *kernels, Team *team, const Geometry *g,
               const i32 *z_hat);
int walk_step(Walk *walk, int k); /* mean and index of step k */
void place_step(Walk *walk, int k,
                i32 *y_hat);        /* y_hat, and the view of later steps, from mean and points */
void clear_view(Walk *walk, int k); /* as it was before step k */
void end_walk(Walk *walk);

/* Reads z_hat with a decoder, or writes it with an encoder; *bits grows. */
int code_hyper(const Header *h, const Kernels *kernels, const Geometry *g, Decoder *d, Encoder *e,
               i32 *z_hat, double *bits);

/* What a value stands for, in fixed point. */
static inline i32 point_of(const Header *h, i32 v, i64 index) {
  const i32 size = v < 0 ? -v : v;
  i32 point = v * (1 << h->mean_bits);
  if (size && size <= h->offset_count) {
    const i32 nearer = ((const i16 *)at(h, h->offsets))[index * h->offset_count + size - 1];
    point -= v < 0 ? -nearer : nearer;
  }
  return point;
}

/* The same along the trellis; shifted: whether by the second quantiser. */
static inline i32 trellis_point(const Header *h, i32 v, i64 index, int shifted) {
  const i32 size = v < 0 ? -v : v;
  i32 point = (2 * size - (size ? shifted : 0)) * (i32)h->half_step;
  if (size && size <= h->trellis_offset_count) {
    const i64 row = shifted * (h->scales - h->first) + index - h->first;
    point -= ((const i16 *)at(h, h->trellis_offsets))[row * h->trellis_offset_count + size - 1];
  }
  return v < 0 ? -point : point;
}

#endif
