/* Runs the native core on cases that tests/native/emulate.py wrote, and compares: for processors
 * that are emulated, where Python is too slow or not there. Usage: check CASE... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"

static char *case_bytes;
static i64 case_at;

/* The next n bytes; every part of a case begins at a multiple of 64. */
static void *part(i64 n) {
  void *p = case_bytes + case_at;
  case_at += (n + 63) / 64 * 64;
  return p;
}

static int fail(const char *what) {
  printf("%s differs\n", what);
  return 1;
}

/* numbers: kind 0, block, row, h, w, hz, wz, code_all, payload, check, latents, hyper-latents; then
 * the parts. */
static int run_prior(const i64 *n, int isa, Team *team) {
  const Geometry g = {n[2], n[3], n[4], n[5], n[6]};
  const i64 size = n[3] * n[4] * n[10], hyper = n[5] * n[6] * n[11], quarter = size / 4;
  const Header *h = part(n[1]);
  const u8 *payload = part(n[8]);
  const i32 *z = part(hyper * 4), *y_hat = part(size * 4);
  const float *y = part(size * 4);
  const double worth = *(double *)part(8);
  i32 *z_made = malloc((size_t)hyper * 4), *y_made = malloc((size_t)size * 4), check,
      *values = malloc((size_t)size * 4);
  u8 *index = malloc((size_t)size), *out = malloc((size_t)(64 + 8 * (size + hyper)));
  i16 *tables = malloc((size_t)size * 2);
  int all;
  i64 made;
  double bits;
  if (aei_check(h, n[1])) return fail("the block");
  if (aei_decode(h, isa, team, &g, payload, n[8], (int)n[7], z_made, y_made, &check) ||
      check != n[9])
    return fail("decoding");
  if (memcmp(z, z_made, (size_t)hyper * 4) || memcmp(y_hat, y_made, (size_t)size * 4))
    return fail("latents");
  memset(y_made, 0, (size_t)size * 4);
  if (aei_quantise(h, isa, team, &g, y, z, 1, worth, NULL, NULL, values, index, tables, y_made,
                   &all))
    return fail("quantising");
  if (memcmp(y_hat, y_made, (size_t)size * 4) || all != n[7]) return fail("quantised latents");
  const i32 *v[4] = {values, values + quarter, values + 2 * quarter, values + 3 * quarter};
  const u8 *k[4] = {index, index + quarter, index + 2 * quarter, index + 3 * quarter};
  const i16 *t[4] = {tables, tables + quarter, tables + 2 * quarter, tables + 3 * quarter};
  if (aei_write(h, isa, team, &g, z, all, v, k, t, (int)n[9], out, 64 + 8 * (size + hyper), &made,
                &bits))
    return fail("writing");
  return made != n[8] || memcmp(out, payload, (size_t)made) ? fail("the payload") : 0;
}

/* numbers: kind 1, block, gain index, rows, width, channels of y, rate, weights of the post-filter;
 * then the parts. */
static int run_synthesis(const i64 *n, int isa, Team *team) {
  const i64 pixels = n[3] * n[4] * n[6] * n[6] * 3;
  const void *block = part(n[1]);
  const i32 *y = part(n[3] * n[4] * n[5] * 4);
  const i16 *x = part(pixels * 2);
  const int8_t *weights = part(n[7]);
  const i32 *filtered = part(pixels * 4);
  i16 *out = malloc((size_t)pixels * 2);
  i32 *other = malloc((size_t)pixels * 4);
  i64 made = 0;
  if (aei_check_synthesis(block, n[1])) return fail("the block");
  void *picture = aei_open_picture(block, isa, n[2], n[3], n[4], team ? 1 + HELPERS : 1);
  if (!picture || aei_feed_picture(picture, team, y, n[3], out, n[3] * n[6], &made))
    return fail("feeding");
  aei_close_picture(picture);
  if (made != n[3] * n[6] || memcmp(out, x, (size_t)pixels * 2)) return fail("the pixels");
  /* of the planes: knots 8, 0, 2; radius 3 and 1 */
  const PlaneFilter planes[3] = {{8, 3, 9, weights}, {0, 0, 0, NULL}, {2, 1, 7, weights + 8 * 24}};
  if (aei_post_filter(isa, planes, x, n[3] * n[6], n[4] * n[6], other)) return fail("filtering");
  return memcmp(other, filtered, (size_t)pixels * 4) ? fail("the post-filter") : 0;
}

/* numbers: kind 2, block, gain index, rows, columns, bytes of what is given, numbers of the result;
 * then the parts. */
static int run_analysis(const i64 *n, int isa, Team *team) {
  const void *block = part(n[1]), *given = part(n[5]);
  const i32 *wanted = part(n[6] * 4);
  i32 *out = malloc((size_t)n[6] * 4);
  if (aei_check_analysis(block, n[1])) return fail("the block");
  if (aei_analyse(block, isa, team, n[2], given, n[3], n[4], out, n[6])) return fail("analysing");
  return memcmp(out, wanted, (size_t)n[6] * 4) ? fail("the latents") : 0;
}

int main(int argc, char **argv) {
  int failed = argc < 2;
  for (int i = 1; i < argc; i++) {
    FILE *f = fopen(argv[i], "rb");
    if (!f) return 2;
    fseek(f, 0, SEEK_END);
    const long size = ftell(f);
    rewind(f);
    if (posix_memalign((void **)&case_bytes, 64, (size_t)size + 64) ||
        fread(case_bytes, 1, (size_t)size, f) != (size_t)size)
      return 2;
    fclose(f);
    for (int k = 0; k < 2 * ISAS; k++) { /* alone, and with helpers */
      const int isa = k / 2;
      if (!(aei_instruction_sets() >> isa & 1)) continue;
      case_at = 0;
      const i64 *n = part(128);
      Team *team = k & 1 ? team_with_helpers() : NULL;
      const int wrong = n[0] == 0   ? run_prior(n, isa, team)
                        : n[0] == 1 ? run_synthesis(n, isa, team)
                                    : run_analysis(n, isa, team);
      end_team(team);
      printf("%s, instruction set %d%s: %s\n", argv[i], isa, team ? ", a team" : "",
             wrong ? "FAILS" : "the same");
      failed |= wrong;
    }
  }
  return failed;
}
