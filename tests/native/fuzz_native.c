/* A libFuzzer target for the native core (tests/native/fuzz_native.py builds and runs it).
 *
 * An input names a block (of the folder AEI_FUZZ_BLOCKS: files with an "s" in front are syntheses), a geometry, changes to
 * numbers of the block's header, layers and arrays, and holds a payload. What passes the check is run: decoded, quantised and
 * written, or synthesised and filtered. Sanitizers look for what must not happen. */
#include "../../codec/exact/native/pixels.h"
#include "../../codec/exact/native/walk.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int aei_instruction_sets(void);
int aei_check(const Header *h, i64 size);
int aei_decode(const Header *h, int isa, const Geometry *g, const u8 *payload, i64 size, int code_all, i32 *z_hat,
               i32 *y_hat, i32 *check);
int aei_quantise(const Header *h, int isa, const Geometry *g, const float *y, const i32 *z_hat, int mode, double worth,
                 const float *worths, i32 *values, u8 *index, i16 *tables, i32 *y_hat, int *code_all);
int aei_write(const Header *h, int isa, const Geometry *g, const i32 *z_hat, int code_all, const i32 *const *values,
              const u8 *const *index, const i16 *const *tables, int check, u8 *out, i64 room, i64 *size, double *bits);
int aei_check_synthesis(const void *h, i64 size);
void *aei_open_picture(const void *h, int isa, i64 gain_index, i64 rows, i64 width);
int aei_feed_picture(void *s, const i32 *y, i64 n, const i16 *input, i64 inputs, i16 *out, i64 room, i64 *made);
void aei_close_picture(void *s);
int aei_post_filter(int isa, const PlaneFilter planes[3], const i16 *x, i64 h, i64 w, i32 *out);

enum { MOST_BLOCKS = 256, MOST_CHANGES = 12, FIELDS = 13 };

typedef struct {
  char *bytes;
  i64 size;
  int synthesis;
} Block;

static Block blocks[MOST_BLOCKS];
static int block_count;

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

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
    b->synthesis = first == 's';
    rewind(f);
    /* ends where the memory ends, so that reading past it is seen */
    if (posix_memalign((void **)&b->bytes, 64, (size_t)b->size) || fread(b->bytes, 1, (size_t)b->size, f) != (size_t)b->size)
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
  const i64 header = b->synthesis ? 10 : (i64)(sizeof(Header) / 8), *numbers = (i64 *)(void *)b->bytes;
  i64 at_number = word() % header; /* of the header */
  if (kind & 1) {                  /* of a layer */
    const i64 layers = numbers[2] / 8, count = numbers[3];
    if (layers > 0 && count > 0 && layers + count * FIELDS <= b->size / 8) at_number = layers + word() % (count * FIELDS);
  }
  if ((kind & 3) == 2) at_number = word() % (b->size / 8); /* of anything */
  i64 value = numbers[at_number];
  changed_at[i] = at_number;
  changed_from[i] = value;
  const i64 few = (i64)byte() - 128;
  switch (kind >> 2 & 7) {
    case 0: value = (i64)((u64)value + (u64)few); break;
    case 1: value = few; break;
    case 2: value ^= (i64)((u64)1 << (word() & 63)); break;
    case 3: value = (i64)((u64)word() << 32 | word()); break;
    case 4: value = numbers[word() % header]; break;
    case 5: value = (i64)((u64)value + (u64)few * 64); break;
    case 6: value = b->size + few; break;
    default: value ^= (i64)((u64)word() << 32 | word()); break;
  }
  ((i64 *)(void *)b->bytes)[at_number] = value;
}

static void take_back(Block *b, int changes) {
  for (int i = changes - 1; i >= 0; i--) ((i64 *)(void *)b->bytes)[changed_at[i]] = changed_from[i];
}

/* -- what is run -- */

static void run_prior(const Header *h, int isa, Geometry *g, int code_all, int encode) {
  const i64 s = h->hyper_stride, m = h->latents, n = g->h * g->w * m, quarter = g->h * g->w * (m / 4);
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
  const int status = aei_decode(h, isa, g, payload, size, code_all, z_hat, y_hat, &check);
  if (status == BAD_CALL || status == BAD_PROGRAM) abort(); /* a block that passed, and a geometry that fits */
  if (encode && (status == OK || status == TOO_LONG)) { /* z_hat is one that can be: encode with it */
    for (i64 i = 0; i < n; i++) y[i] = (float)(int8_t)byte() * (byte() & 1 ? 0.05f : 40.0f);
    const int mode = byte() % 2;
    int all = 0;
    double bits;
    i64 made = 0;
    if (h->steps && aei_quantise(h, isa, g, y, z_hat, mode, 9.0, NULL, values, index, tables, y_hat, &all)) abort();
    const i32 *v[4] = {values, values + quarter, values + 2 * quarter, values + 3 * quarter};
    const u8 *k[4] = {index, index + quarter, index + 2 * quarter, index + 3 * quarter};
    const i16 *t[4] = {tables, tables + quarter, tables + 2 * quarter, tables + 3 * quarter};
    const i64 room = 64 + 8 * (n + hyper);
    u8 *out = malloc((size_t)room), small[8];
    if (aei_write(h, isa, g, z_hat, all, v, k, t, 77, small, 8, &made, &bits) == BAD_CALL) abort();
    if (aei_write(h, isa, g, z_hat, all, v, k, t, 77, out, room, &made, &bits)) abort();
    i32 *again = malloc((size_t)n * 4);
    if (aei_decode(h, isa, g, out, made, all, z_hat, again, &check) || check != 77) abort();
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

static void run_synthesis(const Block *b, int isa, i64 gain_index, i64 h, i64 w) {
  const i64 *numbers = (const i64 *)(const void *)b->bytes, channels = numbers[5], rate = numbers[6];
  const i64 depth = numbers[7], input_channels = numbers[8], input_rate = numbers[9];
  void *picture = aei_open_picture(b->bytes, isa, gain_index, h, w);
  const i64 pixels = h * w * rate * rate * depth, inputs = h * w * input_rate * input_rate * input_channels;
  i32 *y = malloc((size_t)(h * w * channels) * 4), *filtered = malloc((size_t)pixels * 4);
  i16 *x = malloc((size_t)pixels * 2), *input = malloc((size_t)inputs * 2);
  for (i64 i = 0; i < inputs; i++) input[i] = (i16)(byte() << 8 | byte());
  i64 given = 0, made = 0, more = 0;
  if (!picture) abort();
  for (i64 i = 0; i < h * w * channels; i++) y[i] = byte() & 1 ? (i32)word() : (int8_t)byte() * 16;
  while (given < h) {
    const i64 n = 1 + byte() % (h - given);
    const i64 row = w * input_rate * input_channels, rows = n * input_rate;
    if (aei_feed_picture(picture, y + given * w * channels, n, input + given * input_rate * row, input_channels ? rows : 0,
                         x + made * w * rate * depth, h * rate - made, &more))
      abort();
    given += n;
    made += more;
  }
  if (made != h * rate) abort();
  aei_close_picture(picture);
  free(input);
  if (depth != 3) { /* of a program's first part */
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
    planes[k] = (PlaneFilter){head & 3 ? 1 << (head >> 6) : 0, head & 3, 5 + (head >> 2 & 15), weights[k]};
  }
  if (aei_post_filter(isa, planes, x, h * rate, w * rate, filtered)) abort();
  free(y);
  free(x);
  free(filtered);
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
  if (b->synthesis) {
    if (aei_check_synthesis(b->bytes, b->size) == OK) run_synthesis(b, isa, g.row, g.h, g.w);
  } else if (aei_check((Header *)(void *)b->bytes, b->size) == OK)
    run_prior((Header *)(void *)b->bytes, isa, &g, flags & 1, flags >> 1 & 1);
  take_back(b, changes);
  return 0;
}
