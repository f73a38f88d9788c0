/* Work that several threads share. The core starts none: whoever calls it brings helpers, which are
 * given back when the call is over. */
#ifndef AEI_TEAM_H
#define AEI_TEAM_H

#include "core.h"

#if defined(AEI_DECODER) /* a module of one thread, which leaves out what others need */
enum { MOST_THREADS = 1 };
#else
enum { MOST_THREADS = 16 };
#endif
enum { ALONE = MOST_THREADS == 1, MOST_PIECES = MOST_THREADS };

/* One piece of a job; worker: 0 .. threads - 1, never two at a time with the same. */
typedef void (*Work)(const void *job, i64 piece, int worker);

/* How many threads a team has, 1 of NULL. */
int team_size(const Team *team);

/* All pieces of a job, no more than a team has threads, by the caller and the helpers; returns when
 * they are done. */
void share(Team *team, Work work, const void *job, i64 pieces);

/* What a thread does between two looks at something that another one is about to change, the
 * `looks`-th time: it gives way to others, and after many it sleeps. */
void wait_a_little(int looks);

/* Into how many pieces a team cuts a job of at most so many. */
i64 pieces_of(const Team *team, i64 most);

/* Where part i of n begins, if it is cut into `pieces`, at a multiple of `unit`. */
static inline i64 cut(i64 n, i64 pieces, i64 unit, i64 i) {
  const i64 at = n * i / pieces;
  return i == pieces ? n : at / unit * unit;
}

/* Kernels, shared: places, and rows, one part each. */
void share_conv(Team *team, const Kernels *kernels, const Layer *l, const i16 *weight,
                const i64 *bias, const i16 *x, i64 n, const i16 *residual, i16 *out);
void share_depthwise(Team *team, const Kernels *kernels, const Layer *l, const i16 *weight,
                     const i64 *bias, const i16 *const *rows, i64 n, i64 w, int fits, i16 *out);

#endif
