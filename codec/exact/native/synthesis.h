/* The integer synthesis: a block of layers, and a picture on its way through it (synthesis.c, which
 * says in which order; parts.c does it). */
#ifndef AEI_SYNTHESIS_H
#define AEI_SYNTHESIS_H

#include "team.h"

#include <stdatomic.h>

typedef struct {
  i64 magic, size, layers, layer_count;
  i64 registers, channels; /* of y, which is register 0 */
  i64 rate;                /* rows of the result that are made of a row of y */
  i64 result_channels;
} SynthesisHeader;

static inline const void *block_at(const SynthesisHeader *h, i64 offset) {
  return (const char *)h + offset;
}

/* So many more rows of a layer's output. needs: a depthwise convolution looks beyond the sides of
 * its part, at what the neighbours made in this step and before; -1: before this feed. */
typedef struct {
  i64 layer, rows, needs;
} Step;

/* The rows of a register that a part keeps; row r lies in slot r % room. beside: those before it
 * have what the neighbours made of them at their sides. given: the first that a feed makes. */
typedef struct {
  i16 *p;
  i64 width, start, end, room;
  i64 beside, given;
  i16 *edges[2]; /* what the neighbours look at of the rows from `given` on: the first column and
                    the last */
} Ring;

typedef struct Picture Picture;

/* Some of a picture's columns, from its top to its bottom. What one thread makes is read by it
 * alone, but for the columns at the sides. */
typedef struct {
  Picture *picture;
  i64 from, cells, left, right; /* cells of its own, and those beside them that it looks at: 0, 1 */
  Ring *rings;
  const i16 **rows; /* of a depthwise convolution's input */
  i16 *edges;       /* what `edges` of the rings point into */
  atomic_int taken; /* in this feed, by a thread */
  _Atomic i64 done; /* steps of this feed */
} Part;

struct Picture {
  const SynthesisHeader *header;
  const Kernels *kernels;
  const Layer *layers;
  i64 gain_index;
  i64 width;         /* of y */
  i64 (*readers)[2]; /* of each register: the first in `links`, and how many */
  i64 *links;        /* layers */
  i64 *chunk;        /* of each layer: rows that it makes at once */
  /* of each register, all in `counts`: rows that are made of a row of y, channels, rows in all,
   * those that there are after this feed, the last step that makes some, or -1 */
  i64 *rates, *channels, *total, *end, *last, *counts;
  u8 *is_looked_at; /* each register: by a depthwise convolution */
  i16 *zeros;
  Step *steps;
  i64 step_count, step_room;
  const i32 *y; /* rows from y_start on */
  i64 y_start;
  i16 *out; /* rows of the result from out_start on */
  i64 out_start;
  Part *parts;
  i64 part_count;
  int patience; /* looks at a neighbour that nobody has taken, before its work is done too */
  atomic_int status;
};

/* The first row of its input that a layer needs for its output from `row` on. */
i64 first_wanted(const Layer *l, i64 row);

/* most: rows of the largest chunk. */
int open_part(Part *p, i64 most);
void close_part(Part *p);
/* Before all steps of a feed, and after them. */
int begin_feed(Part *p);
void end_feed(Part *p);
/* All steps of a part, and of others that nobody takes: a Work of team.h. */
void run_part_of(const void *picture, i64 piece, int worker);

#endif
