/* The block's check, the choice of kernels, and the interpreter of layers. */
#include "team.h"

#include <stdlib.h>
#include <string.h>

#if defined(AEI_HAVE_AVX2) || defined(AEI_HAVE_AVXVNNI) || defined(AEI_HAVE_AVX512)
#include <cpuid.h>

/* Asked of the processor itself: __builtin_cpu_supports is not in every compiler's library, and
 * knows no AVX-VNNI. */
enum { XMM_YMM = 6, ZMM = 0xe0 }; /* registers that the system keeps for programs */

static unsigned x86_sets(void) {
  unsigned a, b, c, d, sets = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0; /* no xgetbv */
  unsigned kept, upper;
  __asm__ volatile("xgetbv" : "=a"(kept), "=d"(upper) : "c"(0));
  if ((kept & XMM_YMM) != XMM_YMM || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  const unsigned foundation = b >> 16 & 1, dq = b >> 17 & 1, bw = b >> 30 & 1, vl = b >> 31 & 1;
  if (b >> 5 & 1) sets |= 1u << AVX2;
  if ((kept & ZMM) == ZMM && foundation && dq && bw && vl && c >> 11 & 1) sets |= 1u << AVX512;
  if (b >> 5 & 1 && a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a >> 4 & 1)
    sets |= 1u << AVXVNNI;
  return sets;
}
#endif

const Kernels *kernels_of(int isa) {
  switch (isa) {
#if defined(AEI_HAVE_SSE2)
  case SSE2:
    return &aei_kernels_sse2;
#endif
#if defined(AEI_HAVE_AVX2)
  case AVX2:
    return &aei_kernels_avx2;
#endif
#if defined(AEI_HAVE_AVX512)
  case AVX512:
    return &aei_kernels_avx512;
#endif
#if defined(AEI_HAVE_AVXVNNI)
  case AVXVNNI:
    return &aei_kernels_avxvnni;
#endif
#if defined(AEI_HAVE_NEON)
  case NEON:
    return &aei_kernels_neon;
#endif
  case PLAIN:
    return &aei_kernels_plain;
  default:
    return NULL;
  }
}

AEI_API int aei_interface(void) {
  return INTERFACE;
}

/* Bit i: instruction set i was compiled in and this processor has it. */
AEI_API int aei_instruction_sets(void) {
  int sets = 1 << PLAIN;
#if defined(AEI_HAVE_SSE2)
  sets |= 1 << SSE2;
#endif
#if defined(AEI_HAVE_NEON)
  sets |= 1 << NEON;
#endif
#if defined(AEI_HAVE_AVX2)
  sets |= (int)x86_sets() & 1 << AVX2;
#endif
#if defined(AEI_HAVE_AVXVNNI)
  sets |= (int)x86_sets() & 1 << AVXVNNI;
#endif
#if defined(AEI_HAVE_AVX512)
  sets |= (int)x86_sets() & 1 << AVX512;
#endif
  return sets;
}

/* Fields of Header and Layer, which block.py lists too. */
AEI_API int aei_header_fields(void) {
  return (int)(sizeof(Header) / sizeof(i64));
}
AEI_API int aei_layer_fields(void) {
  return (int)(sizeof(Layer) / sizeof(i64));
}

/* -- what a block must be -- */

static int holds(const Header *h, i64 offset, i64 count, i64 size) {
  return offset >= (i64)sizeof(Header) && offset % 8 == 0 && offset <= h->size && count >= 0 &&
         count <= (h->size - offset) / size;
}

static int within(i64 v, i64 least, i64 most) {
  return v >= least && v <= most;
}

static int biases_hold(const Header *h, i64 offset, i64 count) {
  if (!holds(h, offset, count, sizeof(i64))) return 0;
  const i64 *b = at(h, offset);
  for (i64 i = 0; i < count; i++)
    if (!within(b[i], -((i64)1 << 60), (i64)1 << 60)) return 0;
  return 1;
}

static int layer_holds(const Header *h, const Layer *l) {
  if (!within(l->kind, CONV, ADD) || !within(l->in, 0, REGISTERS - 1) ||
      !within(l->in2, -1, REGISTERS - 1))
    return 0;
  if (!within(l->out, VIEW + 1, REGISTERS - 1) || !within(l->cin, 1, MOST_CHANNELS)) return 0;
  if (!within(l->cout, 1, MOST_CHANNELS) || !within(l->leaky, 0, 16384) || !within(l->safe, 0, 1))
    return 0;
  if (l->kind == CONV || l->kind == DEPTHWISE) {
    const i64 panels = (l->cout + PANEL - 1) / PANEL, pairs = (l->cin + 1) / 2;
    const i64 weights = l->kind == CONV ? panels * pairs * 2 * PANEL : 10 * l->cin + PAD;
    /* int32 sums are shifted by less than their width */
    if (!within(l->shift, 1, l->safe || l->room >= 0 ? 31 : 48)) return 0;
    return holds(h, l->weight, weights, sizeof(i16)) && biases_hold(h, l->bias, l->cout);
  }
  if (l->kind == ROW)
    return within(l->shift, 1, 48) &&
           holds(h, l->multiplier, LEVELS_OF_GAIN * l->cin, sizeof(i32)) &&
           (l->bias == -1 || holds(h, l->bias, LEVELS_OF_GAIN * l->cin, sizeof(i32)));
  return 1;
}

typedef struct {
  i64 channels; /* 0: not written yet */
  i64 scale;    /* sides are 2^scale times those of the program's input */
} Shape;

/* Whether a program's layers fit each other; `shapes` has those of its inputs, `out` becomes its
 * result's. */
static int program_holds(const Header *h, const Program *p, const Shape inputs[REGISTERS],
                         Shape *out) {
  Shape shapes[REGISTERS];
  memcpy(shapes, inputs, sizeof shapes);
  if (!within(p->first, 0, h->layer_count) || !within(p->count, 1, h->layer_count - p->first))
    return 0;
  for (i64 i = p->first; i < p->first + p->count; i++) {
    const Layer *l = layer_of(h, i);
    const Shape x = shapes[l->in];
    if (x.channels != l->cin || (l->in == Z) != (l->kind == ROW && l->in == Z)) return 0;
    *out = x;
    if (l->kind == CONV) out->channels = l->cout;
    else if (l->kind == SHUFFLE) {
      if (x.channels % 4 || x.scale >= 6) return 0;
      out->channels /= 4;
      out->scale++;
    }
    if (out->channels != l->cout) return 0;
    if (l->in2 != -1) {
      if ((l->kind != CONV && l->kind != ADD) || l->in2 == Z) return 0;
      if (shapes[l->in2].channels != out->channels || shapes[l->in2].scale != out->scale) return 0;
    } else if (l->kind == ADD) return 0;
    shapes[l->out] = *out;
  }
  return 1;
}

static int head_holds(const Header *h, i64 i, i64 cin, i64 cout) {
  if (!within(i, 0, h->layer_count - 1)) return 0;
  const Layer *l = layer_of(h, i);
  return l->kind == CONV && l->cin == cin && l->cout == cout && l->in2 == -1 && !l->leaky;
}

static int tables_hold(const Header *h) {
  if (!within(h->table_count, 1, 32767) || !holds(h, h->starts, h->table_count + 1, sizeof(u32)))
    return 0;
  const u32 *starts = at(h, h->starts);
  const i64 n = starts[h->table_count], guesses = (1 << QUICK_BITS) + 1;
  if (starts[0] || !holds(h, h->sums, n + h->table_count, sizeof(u32)) ||
      !holds(h, h->bits, n, sizeof(float)))
    return 0;
  if (!holds(h, h->quick, h->table_count * guesses, sizeof(u16))) return 0;
  for (i64 k = 0; k < h->table_count; k++) {
    if (starts[k + 1] < starts[k] + 2 || starts[k + 1] - starts[k] > 65534 || starts[k + 1] > n)
      return 0;
    const Table t = table_of(h, k);
    if (t.sums[0] != 0 || t.sums[t.count] != (u32)1 << 24) return 0;
    for (u32 s = 0; s < t.count; s++)
      if (t.sums[s + 1] <= t.sums[s]) return 0;
    /* a guess is the symbol of the least quantile that asks it; the next one is not below what it
     * may be */
    for (u32 b = 0; b < guesses; b++) {
      const u32 q = b << (24 - QUICK_BITS), s = t.quick[b];
      if (s >= t.count || t.sums[s] > q || (s + 1 < t.count && t.sums[s + 1] <= q)) return 0;
    }
  }
  return 1;
}

static int trellis_holds(const Header *h) {
  if (!h->trellis) return 1;
  if (!within(h->first, h->skip_below, h->scales - 1) || !within(h->length, 1, 4096) ||
      !within(h->states, 1, 4096))
    return 0;
  if (!within(h->half_step, 1, 1 << 12)) return 0;
  if (!within(h->shifted_tables, h->scales, h->table_count - (h->scales - h->first))) return 0;
  if (!within(h->trellis_offset_count, 0, 16)) return 0;
  if (!holds(h, h->trellis_offsets, 2 * (h->scales - h->first) * h->trellis_offset_count,
             sizeof(i16)))
    return 0;
  if (!holds(h, h->next, 2 * h->states, sizeof(u16)) ||
      !holds(h, h->shifted, h->states, sizeof(u8)))
    return 0;
  const u16 *next = at(h, h->next);
  const u8 *shifted = at(h, h->shifted);
  u8 reached[4096] = {0};
  for (i64 i = 0; i < 2 * h->states; i++)
    if (next[i] >= h->states || ++reached[next[i]] > 2) return 0;
  for (i64 i = 0; i < h->states; i++)
    if (shifted[i] > 1) return 0;
  return 1;
}

static int context_holds(const Header *h) {
  const i64 z = h->hyper_latents;
  Shape inputs[REGISTERS] = {{0, 0}}, out;
  if (!h->context) {
    if (!holds(h, h->z_table, LEVELS_OF_GAIN * z, sizeof(u8))) return 0;
    const u8 *t = at(h, h->z_table);
    for (i64 i = 0; i < LEVELS_OF_GAIN * z; i++)
      if (t[i] >= h->table_count) return 0;
    return 1;
  }
  if (!within(h->phase_bits, 1, 12) || !within(h->levels, 1, 4096)) return 0;
  if (!within(h->first_context_table, 0, h->table_count - ((i64)1 << h->phase_bits) * h->levels))
    return 0;
  if (!holds(h, h->context_scale_bias, LEVELS_OF_GAIN * z, sizeof(i32))) return 0;
  inputs[Z].channels = z;
  if (!program_holds(h, &h->context_input, inputs, &out) || out.channels != z || out.scale)
    return 0;
  inputs[Z].channels = 0;
  inputs[VIEW].channels = 4 * z;
  if (!program_holds(h, &h->context_features, inputs, &out) || out.scale) return 0;
  return head_holds(h, h->context_mean, out.channels, z) &&
         head_holds(h, h->context_scale, out.channels, z);
}

static int steps_hold(const Header *h) {
  const i64 m = h->latents;
  Shape inputs[REGISTERS] = {{0, 0}}, hidden, out;
  if (h->steps == 0) return h->hyper_latents == m && h->hyper_stride == 1;
  if (h->steps != STEPS || m % 4) return 0;
  if (!within(h->scales, 1, 256) || h->scales > h->table_count ||
      !within(h->skip_below, 0, h->scales))
    return 0;
  if (!within(h->mean_shift, 1, 48) || !within(h->view_shift, 1, 48)) return 0;
  if (!holds(h, h->mean_multiplier, LEVELS_OF_GAIN * m, sizeof(i32))) return 0;
  if (!holds(h, h->scale_bias, LEVELS_OF_GAIN * m, sizeof(i32))) return 0;
  if (!holds(h, h->view_multiplier, LEVELS_OF_GAIN * m, sizeof(i32))) return 0;
  if (!within(h->offset_count, 0, 16) ||
      !holds(h, h->offsets, h->scales * h->offset_count, sizeof(i16)))
    return 0;
  inputs[Z].channels = h->hyper_latents;
  if (!program_holds(h, &h->hyper, inputs, &hidden) || (i64)1 << hidden.scale < h->hyper_stride)
    return 0;
  inputs[Z].channels = 0;
  inputs[HIDDEN].channels = hidden.channels;
  inputs[VIEW].channels = m;
  for (int k = 0; k < STEPS; k++) {
    if (!program_holds(h, &h->features[k], inputs, &out) || out.scale) return 0;
    for (int cell = 0; cell < CELLS; cell++) {
      if (!head_holds(h, h->mean[k][cell], out.channels, m / 4)) return 0;
      if (!head_holds(h, h->scale[k][cell], out.channels, m / 4)) return 0;
      if (!within(h->group[k][cell], 0, 3)) return 0;
      for (int earlier = 0; earlier < k; earlier++) /* each latent is coded once */
        if (h->group[earlier][cell] == h->group[k][cell]) return 0;
    }
  }
  return trellis_holds(h);
}

static int layers_hold(const Header *h, i64 size) {
  if (size < (i64)sizeof(Header) || h->magic != MAGIC || h->size != size) return 0;
  if (!within(h->layer_count, 0, 1 << 16) || !holds(h, h->layers, h->layer_count, sizeof(Layer)))
    return 0;
  for (i64 i = 0; i < h->layer_count; i++)
    if (!layer_holds(h, layer_of(h, i))) return 0;
  return 1;
}

/* Whether `size` bytes, aligned to 64, are a block that the other functions may be called with: OK
 * or BAD_PROGRAM. */
AEI_API int aei_check(const Header *h, i64 size) {
  if (!layers_hold(h, size)) return BAD_PROGRAM;
  if (!within(h->latents, 1, MOST_CHANNELS) || !within(h->hyper_latents, 1, MOST_CHANNELS / 4))
    return BAD_PROGRAM;
  if (!within(h->mean_bits, 0, 12) || !within(h->hyper_stride, 1, 64)) return BAD_PROGRAM;
  if (!within(h->context, 0, 1) || !within(h->trellis, 0, 1)) return BAD_PROGRAM;
  return tables_hold(h) && context_holds(h) && steps_hold(h) ? OK : BAD_PROGRAM;
}

/* The guesses of all tables, from their sums. */
AEI_API void aei_guess(const u32 *starts, const u32 *sums, i64 tables, u16 *quick) {
  for (i64 k = 0; k < tables; k++) {
    const u32 *s = sums + starts[k] + k, count = starts[k + 1] - starts[k];
    u32 symbol = 0;
    for (u32 b = 0; b <= 1 << QUICK_BITS; b++) {
      while (symbol + 1 < count && s[symbol + 1] <= b << (24 - QUICK_BITS)) symbol++;
      *quick++ = (u16)symbol;
    }
  }
}

/* -- running -- */

int resize(Register *r, i64 h, i64 w, i64 c) {
  const i64 n = h * w * c + PAD;
  if (n > r->room) {
    free(r->p);
    r->p = malloc((size_t)n * sizeof(i16));
    r->room = r->p ? n : 0;
    if (!r->p) return NO_MEMORY;
    memset(r->p + n - PAD, 0, PAD * sizeof(i16));
  }
  r->h = h;
  r->w = w;
  r->c = c;
  return OK;
}

void free_machine(Machine *m) {
  for (int i = 0; i <= REGISTERS; i++) free(m->r[i].p);
  free(m->zeros.p);
  free(m->rows);
}

static i32 largest(const i16 *x, i64 n) {
  i16 least = 0, most = 0;
  for (i64 i = 0; i < n; i++) {
    least = x[i] < least ? x[i] : least;
    most = x[i] > most ? x[i] : most;
  }
  return most > -(i32)least ? most : -(i32)least;
}

static int run_depthwise(Machine *m, const Layer *l, const Register *x, i16 *out) {
  const i64 row = x->w * x->c;
  if (x->h + 2 > m->rows_room) {
    free(m->rows);
    m->rows = malloc((size_t)(x->h + 2) * sizeof *m->rows);
    m->rows_room = m->rows ? x->h + 2 : 0;
    if (!m->rows) return NO_MEMORY;
  }
  if (resize(&m->zeros, 1, x->w, x->c)) return NO_MEMORY;
  memset(m->zeros.p, 0, (size_t)row * sizeof(i16));
  for (i64 i = 0; i < x->h; i++) m->rows[i + 1] = x->p + i * row;
  m->rows[0] = m->rows[x->h + 1] = m->zeros.p;
  const int fits = l->safe || largest(x->p, x->h * row) <= l->room;
  share_depthwise(m->team, m->kernels, l, at(m->header, l->weight), at(m->header, l->bias), m->rows,
                  x->h, x->w, fits, out);
  return OK;
}

static void run_row(const Machine *m, const Layer *l, const Register *x, i16 *out) {
  const i32 *by = (const i32 *)at(m->header, l->multiplier) + m->row * l->cin;
  const i32 *bias = l->bias < 0 ? NULL : (const i32 *)at(m->header, l->bias) + m->row * l->cin;
  const i64 places = x->h * x->w;
  for (i64 p = 0; p < places; p++)
    for (i64 c = 0; c < l->cin; c++) {
      const i64 v = l->in == Z ? m->z[p * l->cin + c] : x->p[p * l->cin + c];
      out[p * l->cin + c] = clamp16(rescaled(v * by[c] + (bias ? bias[c] : 0), l->shift));
    }
}

static void run_shuffle(const Register *x, i16 *out) {
  const i64 C = x->c / 4, w = x->w;
  for (i64 i = 0; i < x->h; i++)
    for (i64 j = 0; j < w; j++) {
      const i16 *from = x->p + (i * w + j) * 4 * C;
      i16 *upper = out + (2 * i * 2 * w + 2 * j) * C, *lower = upper + 2 * w * C;
      for (i64 c = 0; c < C; c++) {
        upper[c] = from[4 * c];
        upper[C + c] = from[4 * c + 1];
        lower[c] = from[4 * c + 2];
        lower[C + c] = from[4 * c + 3];
      }
    }
}

/* Runs a program on the registers that hold its inputs; its result is in the register that its last
 * layer names. */
int run_program(Machine *m, const Program *p) {
  Register *spare = m->r + REGISTERS;
  for (i64 i = p->first; i < p->first + p->count; i++) {
    const Layer *l = layer_of(m->header, i);
    const Register *x = m->r + l->in;
    const i64 scale = l->kind == SHUFFLE ? 2 : 1, n = x->h * x->w * x->c;
    if (resize(spare, scale * x->h, scale * x->w, l->cout)) return NO_MEMORY;
    const i16 *second = l->in2 < 0 ? NULL : m->r[l->in2].p;
    i16 *out = spare->p;
    if (l->kind == CONV)
      share_conv(m->team, m->kernels, l, at(m->header, l->weight), at(m->header, l->bias), x->p,
                 x->h * x->w, second, out);
    else if (l->kind == DEPTHWISE) {
      if (run_depthwise(m, l, x, out)) return NO_MEMORY;
    } else if (l->kind == ROW) run_row(m, l, x, out);
    else if (l->kind == SHUFFLE) run_shuffle(x, out);
    else if (l->kind == ADD) m->kernels->add(x->p, second, n, out);
    else m->kernels->leaky(l->leaky, x->p, n, out);
    const Register t = m->r[l->out];
    m->r[l->out] = *spare;
    *spare = t;
  }
  return OK;
}

/* Runs layers first .. first + count of a block, which need not hold more than layers, on one image
 * (h, w, channels): register 0 as int32 or, where z is NULL, register VIEW as int16. Writes the
 * result, int16, to `out`, which has room for `room` numbers, and its shape. For tests, which
 * compare each kind of layer with NumPy's. */
AEI_API int aei_run(const Header *h, i64 size, int isa, i64 row, const Program *p, const i32 *z,
                    const i16 *view, i64 rows, i64 columns, i64 channels, i16 *out, i64 room,
                    i64 shape[3]) {
  Shape inputs[REGISTERS] = {{0, 0}}, result;
  if (!layers_hold(h, size)) return BAD_PROGRAM;
  if (!kernels_of(isa) || !within(row, 0, LEVELS_OF_GAIN - 1) ||
      !within(channels, 1, MOST_CHANNELS))
    return BAD_CALL;
  if (!within(rows, 1, 1 << 12) || !within(columns, 1, 1 << 12)) return BAD_CALL;
  inputs[z ? Z : VIEW].channels = channels;
  if (!program_holds(h, p, inputs, &result)) return BAD_PROGRAM;
  Machine m = {0};
  m.header = h;
  m.kernels = kernels_of(isa);
  m.row = row;
  m.z = z;
  int status = OK;
  if (z) {
    m.r[Z].h = rows;
    m.r[Z].w = columns;
    m.r[Z].c = channels;
  } else if (resize(m.r + VIEW, rows, columns, channels)) status = NO_MEMORY;
  else memcpy(m.r[VIEW].p, view, (size_t)(rows * columns * channels) * sizeof(i16));
  if (status == OK) status = run_program(&m, p);
  if (status == OK) {
    const Register *r = m.r + layer_of(h, p->first + p->count - 1)->out;
    const i64 n = r->h * r->w * r->c;
    shape[0] = r->h;
    shape[1] = r->w;
    shape[2] = r->c;
    if (n <= room) memcpy(out, r->p, (size_t)n * sizeof(i16));
    else status = NO_ROOM;
  }
  free_machine(&m);
  return status;
}
