/* A libFuzzer target for the native core (tests/native/fuzz_native.py builds and runs it).
 *
 * An input names a block (of the folder AEI_FUZZ_BLOCKS: files with an "s" in front are syntheses,
 * with an "a" analyses), a geometry, changes to numbers of the block's header, layers and arrays,
 * and holds a payload. What passes the check is run: decoded, quantised and written, or synthesised
 * and filtered, or analysed; by one thread or by several. Sanitizers look for what must not happen.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"

enum { MOST_BLOCKS = 256, MOST_CHANGES = 12, FIELDS = 13 };

typedef struct {
  char *bytes;
  i64 size;
  char kind; /* p: a prior; s, a */
} Block;

static Block blocks[MOST_BLOCKS];
static int block_count;

static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  const char *folder = getenv("AEI_FUZZ_BLOCKS");
  struct dirent **names;
  const int n = folder ? scandir(folder, &names, NULL, by_name) : -1;
  for (int i = 0; i < n; i++) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
    const char first = names[i]->d_name[0];
    free(names[i]);
    FILE *f = first == '.' ? NULL : fopen(path, "rb");
    if (!f || block_count == MOST_BLOCKS) continue;
    fseek(f, 0, SEEK_END);
    Block *b = blocks + block_count++;
    b->size = ftell(f);
    b->kind = first;
    rewind(f);
    /* ends where the memory ends, so that reading past it is seen */
    if (posix_memalign((void **)&b->bytes, 64, (size_t)b->size) ||
        fread(b->bytes, 1, (size_t)b->size, f) != (size_t)b->size)
      abort();
    fclose(f);
  }
  if (n >= 0) free(names);
  if (!block_count) {
    fprintf(stderr, "AEI_FUZZ_BLOCKS names no folder of blocks\n");
    exit(2);
  }
  return 0;
}

/* -- the input, byte by byte; zeros follow its end -- */

static const u8 *data;
static size_t left;

static u8 byte(void) {
  if (!left) return 0;
  left--;
  return *data++;
}

static u32 word(void) {
  u32 v = byte();
  v |= (u32)byte() << 8;
  v |= (u32)byte() << 16;
  return v | (u32)byte() << 24;
}

/* -- changes that are taken back -- */

static i64 changed_at[MOST_CHANGES];
static i64 changed_from[MOST_CHANGES];

static void change(Block *b, int i) {
  const u8 kind = byte();
  const i64 header = b->kind == 's'   ? 8
                     : b->kind == 'a' ? 7
                                      : (i64)(sizeof(Header) / 8),
            *numbers = (i64 *)(void *)b->bytes;
  i64 at_number = word() % header; /* of the header */
  if (kind & 1) {                  /* of a layer */
    const i64 layers = numbers[2] / 8, count = numbers[3];
    if (layers > 0 && count > 0 && count < b->size && layers < b->size &&
        layers + count * FIELDS <= b->size / 8)
      at_number = layers + word() % (count * FIELDS);
  }
  if ((kind & 3) == 2) at_number = word() % (b->size / 8); /* of anything */
  i64 value = numbers[at_number];
  changed_at[i] = at_number;
  changed_from[i] = value;
  const i64 few = (i64)byte() - 128;
  switch (kind >> 2 & 7) {
  case 0:
    value = (i64)((u64)value + (u64)few);
    break;
  case 1:
    value = few;
    break;
  case 2:
    value ^= (i64)((u64)1 << (word() & 63));
    break;
  case 3:
    value = (i64)((u64)word() << 32 | word());
    break;
  case 4:
    value = numbers[word() % header];
    break;
  case 5:
    value = (i64)((u64)value + (u64)few * 64);
    break;
  case 6:
    value = b->size + few;
    break;
  default:
    value ^= (i64)((u64)word() << 32 | word());
    break;
  }
  ((i64 *)(void *)b->bytes)[at_number] = value;
}

static void take_back(Block *b, int changes) {
  for (int i = changes - 1; i >= 0; i--) ((i64 *)(void *)b->bytes)[changed_at[i]] = changed_from[i];
}

/* -- what is run -- */

static void run_prior(const Header *h, int isa, Team *team, Geometry *g, int code_all, int encode) {
  const i64 s = h->hyper_stride, m = h->latents, n = g->h * g->w * m,
            quarter = g->h * g->w * (m / 4);
  g->hz = (g->h + s - 1) / s;
  g->wz = (g->w + s - 1) / s;
  const i64 hyper = g->hz * g->wz * h->hyper_latents;
  i32 *z_hat = malloc((size_t)hyper * 4), *y_hat = malloc((size_t)n * 4), check;
  float *y = malloc((size_t)n * 4);
  i32 *values = malloc((size_t)quarter * 16);
  u8 *index = malloc((size_t)quarter * 4), *payload = malloc(left);
  i16 *tables = malloc((size_t)quarter * 8);
  const i64 size = (i64)left;
  if (size) memcpy(payload, data, left);
  const int status = aei_decode(h, isa, team, g, payload, size, code_all, z_hat, y_hat, &check);
  if (status == BAD_CALL || status == BAD_PROGRAM)
    abort(); /* a block that passed, and a geometry that fits */
  if (encode &&
      (status == OK || status == TOO_LONG)) { /* z_hat is one that can be: encode with it */
    for (i64 i = 0; i < n; i++) y[i] = (float)(int8_t)byte() * (byte() & 1 ? 0.05f : 40.0f);
    const int mode = byte() % 2;
    int all = 0;
    double bits;
    i64 made = 0;
    if (h->steps && aei_quantise(h, isa, team, g, y, z_hat, mode, 9.0, NULL, NULL, values, index,
                                 tables, y_hat, &all))
      abort();
    const i32 *v[4] = {values, values + quarter, values + 2 * quarter, values + 3 * quarter};
    const u8 *k[4] = {index, index + quarter, index + 2 * quarter, index + 3 * quarter};
    const i16 *t[4] = {tables, tables + quarter, tables + 2 * quarter, tables + 3 * quarter};
    const i64 room = 64 + 8 * (n + hyper);
    u8 *out = malloc((size_t)room), small[8];
    if (aei_write(h, isa, team, g, z_hat, all, v, k, t, 77, small, 8, &made, &bits) == BAD_CALL)
      abort();
    if (aei_write(h, isa, team, g, z_hat, all, v, k, t, 77, out, room, &made, &bits)) abort();
    i32 *again = malloc((size_t)n * 4);
    if (aei_decode(h, isa, team, g, out, made, all, z_hat, again, &check) || check != 77) abort();
    if (h->steps && memcmp(again, y_hat, (size_t)n * 4)) abort();
    free(again);
    free(out);
  }
  free(z_hat);
  free(y_hat);
  free(y);
  free(values);
  free(index);
  free(tables);
  free(payload);
}

static void run_synthesis(const Block *b, int isa, Team *team, i64 gain_index, i64 h, i64 w) {
  const i64 *numbers = (const i64 *)(const void *)b->bytes, channels = numbers[5],
            rate = numbers[6], depth = numbers[7];
  void *picture = aei_open_picture(b->bytes, isa, gain_index, h, w, team ? 1 + HELPERS : 1);
  const i64 pixels = h * w * rate * rate * depth;
  i32 *y = malloc((size_t)(h * w * channels) * 4), *filtered = malloc((size_t)pixels * 4);
  i16 *x = malloc((size_t)pixels * 2);
  i64 given = 0, made = 0, more = 0;
  if (!picture) abort();
  for (i64 i = 0; i < h * w * channels; i++) y[i] = byte() & 1 ? (i32)word() : (int8_t)byte() * 16;
  while (given < h) {
    const i64 n = 1 + byte() % (h - given);
    if (aei_feed_picture(picture, team, y + given * w * channels, n, x + made * w * rate * depth,
                         h * rate - made, &more))
      abort();
    given += n;
    made += more;
  }
  if (made != h * rate) abort();
  aei_close_picture(picture);
  if (depth != 3) {
    free(y);
    free(x);
    free(filtered);
    return;
  }
  int8_t weights[3][8 * 24];
  for (int k = 0; k < 3; k++)
    for (int i = 0; i < 8 * 24; i++) weights[k][i] = (int8_t)byte();
  PlaneFilter planes[3];
  for (int k = 0; k < 3; k++) {
    const u8 head = byte();
    planes[k] =
        (PlaneFilter){head & 3 ? 1 << (head >> 6) : 0, head & 3, 5 + (head >> 2 & 15), weights[k]};
  }
  if (aei_post_filter(isa, planes, x, h * rate, w * rate, filtered)) abort();
  free(y);
  free(x);
  free(filtered);
}

/* Images of h x w units, of levels 16 pixels on a side; a program of another stride refuses some.
 */
static void run_analysis(const Block *b, int isa, Team *team, i64 gain_index, i64 h, i64 w) {
  const i64 *numbers = (const i64 *)(const void *)b->bytes, *layer = numbers + numbers[2] / 8,
            depth = numbers[6];
  enum { LEVELS = 21, NEIGHBOURS = 19, UNSHUFFLE = 8 };
  i64 rows = h, columns = w, result_rows = h, result_columns = w, of_levels = 0;
  for (i64 i = 0; i < numbers[3]; i++)
    of_levels |= layer[i * FIELDS] == LEVELS && layer[i * FIELDS + 1] == 0;
  if (of_levels) rows = 16 * h, columns = 16 * w;
  /* All ways from the input to the result have the same sides, or the call is refused. */
  result_rows = rows, result_columns = columns;
  i64 wanted = layer[(numbers[3] - 1) * FIELDS + 3];
  i64 chain[64], n = 0;
  while (wanted > 0 && n < 64) {
    i64 i = 0;
    while (i < numbers[3] && layer[i * FIELDS + 3] != wanted) i++;
    if (i == numbers[3]) break;
    chain[n++] = i;
    wanted = layer[i * FIELDS + 1];
  }
  while (n > 0) {
    const i64 *l = layer + chain[--n] * FIELDS;
    const i64 by = l[0] == LEVELS || l[0] == UNSHUFFLE ? l[5] : 1;
    result_rows = l[0] == NEIGHBOURS ? (result_rows + 1) / 2 : result_rows / by;
    result_columns = l[0] == NEIGHBOURS ? (result_columns + 1) / 2 : result_columns / by;
  }
  const i64 count = rows * columns * numbers[5], room = result_rows * result_columns * depth;
  i32 *latents = malloc((size_t)count * 4 + 4), *out = malloc((size_t)room * 4 + 4);
  u8 *levels = malloc((size_t)count + 1);
  for (i64 i = 0; i < count; i++) levels[i] = byte();
  for (i64 i = 0; i < count && !of_levels; i++)
    latents[i] = byte() & 1 ? (i32)word() : (int8_t)byte() * 64;
  aei_analyse(b->bytes, isa, team, gain_index, of_levels ? (const void *)levels : latents, rows,
              columns, out, room);
  free(latents);
  free(levels);
  free(out);
}

int LLVMFuzzerTestOneInput(const u8 *input, size_t size) {
  data = input;
  left = size;
  Block *b = blocks + byte() % block_count;
  const int sets = aei_instruction_sets(), changes = byte() % (MOST_CHANGES + 1);
  const u8 of_isa = byte(); /* plain C, which sanitizers slow down most, now and then */
  int isa = of_isa < 16 ? PLAIN : 1 + of_isa % (ISAS - 1);
  while (!(sets >> isa & 1)) isa = (isa + 1) % ISAS;
  Geometry g = {byte(), 1 + byte() % 7, 1 + byte() % 7, 0, 0};
  const int flags = byte();
  for (int i = 0; i < changes; i++) change(b, i);
  Team *team = flags >> 2 ? NULL : team_with_helpers(); /* threads cost time: now and then */
  if (b->kind == 's') {
    if (aei_check_synthesis(b->bytes, b->size) == OK) run_synthesis(b, isa, team, g.row, g.h, g.w);
  } else if (b->kind == 'a') {
    if (aei_check_analysis(b->bytes, b->size) == OK) run_analysis(b, isa, team, g.row, g.h, g.w);
  } else if (aei_check((Header *)(void *)b->bytes, b->size) == OK)
    run_prior((Header *)(void *)b->bytes, isa, team, &g, flags & 1, flags >> 1 & 1);
  end_team(team);
  take_back(b, changes);
  return 0;
}
