/* A team is a job, and which of its pieces are taken. Jobs are short, some of them ten
 * microseconds, so helpers look for the next one for a while before they sleep. Worker i makes
 * piece i: what it reads is in its own caches, and where fetching it from another's is slow, a
 * piece takes three times as long. So the caller makes only the pieces of helpers that sleep, and
 * of those that have not begun after a while. */
#define _POSIX_C_SOURCE 200809L
#include "team.h"

#include <stdatomic.h>
#include <stdlib.h>
#if defined(_WIN32)
#include <windows.h>
#else
#include <sched.h>
#include <time.h>
#endif

enum {
  SHORT_LOOKS = 100,
  LOOKS = 1000,
  PATIENCE = 500,
  PLACES_TOGETHER = 24 /* a multiple of every PLACES */
};

static const u64 ALL_PIECES = ((u64)1 << MOST_PIECES) - 1;
#if defined(_WIN32)
#define nap() Sleep(1) /* milliseconds: the shortest there is */
#define give_way() SwitchToThread()
#else
static const struct timespec NAP = {0, 50000};
#define nap() nanosleep(&NAP, NULL)
#define give_way() sched_yield()
#endif

struct Team {
  int threads;
  atomic_int helpers, leaving;
  _Atomic u32 awake; /* bit i: worker i looks for work */
  /* The number of the job, and in the low MOST_PIECES bits those pieces that nobody has taken. Who
   * takes one has seen the job that it belongs to: a job is put here when nothing is left of the
   * one before. */
  _Atomic u64 ticket;
  _Atomic(Work) work;
  _Atomic(const void *) job;
  _Atomic i64 done;
};

int team_size(const Team *team) {
  return team && !ALONE ? team->threads : 1;
}

void wait_a_little(int looks) {
  if (looks > LOOKS) {
    nap();
    return;
  }
  if (looks > SHORT_LOOKS) {
    give_way();
    return;
  }
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* Does one of the pieces `mine` of the job there is; 0 where none of them is left. */
static int take_piece(Team *team, u64 mine, int worker) {
  u64 ticket = atomic_load_explicit(&team->ticket, memory_order_acquire);
  for (;;) {
    const u64 left = ticket & mine;
    if (!left) return 0;
    const int piece = __builtin_ctzll(left);
    const Work work = atomic_load_explicit(&team->work, memory_order_relaxed);
    const void *job = atomic_load_explicit(&team->job, memory_order_relaxed);
    if (atomic_compare_exchange_weak_explicit(&team->ticket, &ticket, ticket & ~((u64)1 << piece),
                                              memory_order_acq_rel, memory_order_acquire)) {
      work(job, piece, worker);
      atomic_fetch_add_explicit(&team->done, 1, memory_order_release);
      return 1;
    }
  }
}

void share(Team *team, Work work, const void *job, i64 pieces) {
  if (ALONE || !team || pieces < 2) {
    for (i64 i = 0; i < pieces; i++) work(job, i, 0);
    return;
  }
  const u64 number = (atomic_load_explicit(&team->ticket, memory_order_relaxed) >> MOST_PIECES) + 1;
  atomic_store_explicit(&team->work, work, memory_order_relaxed);
  atomic_store_explicit(&team->job, job, memory_order_relaxed);
  atomic_store_explicit(&team->done, 0, memory_order_relaxed);
  atomic_store_explicit(&team->ticket, number << MOST_PIECES | (((u64)1 << pieces) - 1),
                        memory_order_release);
  take_piece(team, 1, 0);
  for (int looks = 0; atomic_load_explicit(&team->done, memory_order_acquire) < pieces; looks++) {
    const u32 awake =
        looks < PATIENCE ? atomic_load_explicit(&team->awake, memory_order_relaxed) : 0;
    if (!take_piece(team, ALL_PIECES & ~(u64)awake, 0)) wait_a_little(looks);
  }
}

i64 pieces_of(const Team *team, i64 most) {
  const i64 threads = team_size(team);
  return most < 1 ? 1 : most < threads ? most : threads;
}

/* -- kernels -- */

typedef struct {
  const Kernels *kernels;
  const Layer *l;
  const i16 *weight;
  const i64 *bias;
  const i16 *x, *residual;
  const i16 *const *rows;
  i64 n, w, pieces;
  int fits;
  i16 *out;
} Part;

static void conv_piece(const void *job, i64 piece, int worker) {
  const Part *p = job;
  const i64 from = cut(p->n, p->pieces, PLACES_TOGETHER, piece),
            to = cut(p->n, p->pieces, PLACES_TOGETHER, piece + 1);
  const i16 *residual = p->residual ? p->residual + from * p->l->cout : NULL;
  (void)worker;
  p->kernels->conv(p->l, p->weight, p->bias, p->x + from * p->l->cin, (Span){1, to - from, 0},
                   residual, p->out + from * p->l->cout);
}

void share_conv(Team *team, const Kernels *kernels, const Layer *l, const i16 *weight,
                const i64 *bias, const i16 *x, i64 n, const i16 *residual, i16 *out) {
  const Part p = {kernels,  l,    weight, bias, x,
                  residual, NULL, n,      0,    pieces_of(team, n / PLACES_TOGETHER),
                  0,        out};
  share(team, conv_piece, &p, p.pieces);
}

static void depthwise_piece(const void *job, i64 piece, int worker) {
  const Part *p = job;
  const i64 from = cut(p->n, p->pieces, 1, piece), to = cut(p->n, p->pieces, 1, piece + 1);
  (void)worker;
  p->kernels->depthwise(p->l, p->weight, p->bias, p->rows + from, p->w, 0, p->fits,
                        (Span){to - from, p->w, p->w}, p->out + from * p->w * p->l->cin);
}

void share_depthwise(Team *team, const Kernels *kernels, const Layer *l, const i16 *weight,
                     const i64 *bias, const i16 *const *rows, i64 n, i64 w, int fits, i16 *out) {
  const Part p = {kernels, l, weight, bias, NULL, NULL, rows, n, w, pieces_of(team, n), fits, out};
  share(team, depthwise_piece, &p, p.pieces);
}

/* -- the calls -- */

/* A team of so many threads, the caller of what is given it and helpers; NULL where there is no
 * memory. */
AEI_API Team *aei_open_team(int threads) {
  Team *team = malloc(sizeof *team);
  if (!team) return NULL;
  team->threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
  atomic_init(&team->helpers, 0);
  atomic_init(&team->leaving, 0);
  atomic_init(&team->awake, 0);
  atomic_init(&team->ticket, 0);
  atomic_init(&team->work, NULL);
  atomic_init(&team->job, NULL);
  atomic_init(&team->done, 0);
  return team;
}

/* What a helper does until the team is dismissed. */
AEI_API void aei_help(Team *team) {
  const int worker = atomic_fetch_add(&team->helpers, 1) + 1;
  if (worker >= team->threads) return;
  const u32 me = (u32)1 << worker;
  atomic_fetch_or_explicit(&team->awake, me, memory_order_relaxed);
  for (int looks = 0; !atomic_load_explicit(&team->leaving, memory_order_acquire);) {
    if (take_piece(team, me, worker)) {
      if (looks > LOOKS) atomic_fetch_or_explicit(&team->awake, me, memory_order_relaxed);
      looks = 0;
      continue;
    }
    if (looks == LOOKS) atomic_fetch_and_explicit(&team->awake, ~me, memory_order_relaxed);
    looks += looks <= LOOKS;
    wait_a_little(looks);
  }
}

/* Helpers leave; when all have, the team may be closed. */
AEI_API void aei_dismiss_team(Team *team) {
  atomic_store_explicit(&team->leaving, 1, memory_order_release);
}

AEI_API void aei_close_team(Team *team) {
  free(team);
}
