/* team.h without threads, which a module that shares no memory has none of: workers share pictures, not layers. */
#include "team.h"

int team_size(const Team *team) {
  (void)team;
  return 1;
}

void share(Team *team, Work work, const void *job, i64 pieces) {
  (void)team;
  for (i64 i = 0; i < pieces; i++) work(job, i, 0);
}

void share_conv(Team *team, const Kernels *kernels, const Layer *l, const i16 *weight, const i64 *bias, const i16 *x, i64 n,
                const i16 *residual, i16 *out) {
  (void)team;
  kernels->conv(l, weight, bias, x, (Span){1, n, n}, residual, out);
}

void share_depthwise(Team *team, const Kernels *kernels, const Layer *l, const i16 *weight, const i64 *bias,
                     const i16 *const *rows, i64 n, i64 w, int fits, i16 *out) {
  (void)team;
  kernels->depthwise(l, weight, bias, rows, w, 0, fits, (Span){n, w, w}, out);
}
