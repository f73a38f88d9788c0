/* The calls of the native core, as Python makes them, and a team with helpers for programs that
 * have threads. */
#ifndef AEI_CALLS_H
#define AEI_CALLS_H

#include "../../codec/exact/native/pixels.h"
#include "../../codec/exact/native/walk.h"

#include <pthread.h>

int aei_instruction_sets(void);
int aei_check(const Header *h, i64 size);
int aei_decode(const Header *h, int isa, Team *team, const Geometry *g, const u8 *payload, i64 size,
               int code_all, i32 *z_hat, i32 *y_hat, i32 *check);
int aei_quantise(const Header *h, int isa, Team *team, const Geometry *g, const float *y,
                 const i32 *z_hat, int mode, double worth, const float *worths,
                 const float *channels, i32 *values, u8 *index, i16 *tables, i32 *y_hat,
                 int *code_all);
int aei_write(const Header *h, int isa, Team *team, const Geometry *g, const i32 *z_hat,
              int code_all, const i32 *const *values, const u8 *const *index,
              const i16 *const *tables, int check, u8 *out, i64 room, i64 *size, double *bits);
int aei_check_synthesis(const void *h, i64 size);
void *aei_open_picture(const void *h, int isa, i64 gain_index, i64 rows, i64 width, i64 threads);
int aei_feed_picture(void *s, Team *team, const i32 *y, i64 n, i16 *out, i64 room, i64 *made);
void aei_close_picture(void *s);
int aei_check_analysis(const void *h, i64 size);
int aei_analyse(const void *h, int isa, Team *team, i64 gain_index, const void *given, i64 rows,
                i64 columns, i32 *out, i64 room);
int aei_post_filter(int isa, const PlaneFilter planes[3], const i16 *x, i64 h, i64 w, i32 *out);
Team *aei_open_team(int threads);
void aei_help(Team *team);
void aei_dismiss_team(Team *team);
void aei_close_team(Team *team);

enum { HELPERS = 2 };

static pthread_t helpers[HELPERS];

static void *help(void *team) {
  aei_help(team);
  return NULL;
}

static inline Team *team_with_helpers(void) {
  Team *team = aei_open_team(1 + HELPERS);
  for (int i = 0; team && i < HELPERS; i++)
    if (pthread_create(helpers + i, NULL, help, team)) abort();
  return team;
}

static inline void end_team(Team *team) {
  if (!team) return;
  aei_dismiss_team(team);
  for (int i = 0; i < HELPERS; i++) pthread_join(helpers[i], NULL);
  aei_close_team(team);
}

#endif
