/* The kernels, compiled once for each instruction set (setup.py), AEI_ISA naming it.
 *
 * A product of int16 pairs is added to int32 sums, which may wrap: the caller knows when they
 * cannot. Few sums are kept at once, by name, so that every compiler keeps them in registers (gcc
 * 12 spills arrays of them). */
#include "core.h"

#include <string.h>

#if defined(__AVX512VNNI__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define USE_AVX512
#elif defined(__AVX2__)
#define USE_AVX2
#elif defined(__SSE2__) && !defined(AEI_PLAIN)
#define USE_SSE2
#elif defined(__aarch64__) && defined(__ARM_NEON) && !defined(AEI_PLAIN)
#define USE_NEON
#elif defined(__wasm_simd128__) && !defined(AEI_PLAIN)
#define USE_WASM
#endif

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

#if defined(USE_AVX512)
enum { PLACES = 8, WIDTH = 16 }; /* places whose sums are made at once; outputs of a vector */
typedef __m512i Vector;
#define LOAD(p) _mm512_loadu_si512(p)
#define STORE(p, v) _mm512_storeu_si512(p, v)
#define ZERO() _mm512_setzero_si512()
#define PAIR(p) _mm512_set1_epi32(p)
#define DOT(sum, a, b) _mm512_dpwssd_epi32(sum, a, b)
#define ENERGY_STEP 32
#define ENERGY_ADD(sum, v) _mm512_add_epi32(sum, _mm512_srli_epi32(_mm512_madd_epi16(v, v), 8))
#elif defined(USE_AVX2)
#if defined(__AVXVNNI__)
enum { PLACES = 6, WIDTH = 8 }; /* sums of products take five cycles, and two begin in each */
#define EACH_PLACE(what) what(0) what(1) what(2) what(3) what(4) what(5)
#else
enum { PLACES = 4, WIDTH = 8 };
#define EACH_PLACE(what) what(0) what(1) what(2) what(3)
#endif
typedef __m256i Vector;
#define LOAD(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define STORE(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), v)
#define ZERO() _mm256_setzero_si256()
#define PAIR(p) _mm256_set1_epi32(p)
#if defined(__AVXVNNI__)
#define DOT(sum, a, b) _mm256_dpwssd_avx_epi32(sum, a, b)
#if defined(__GNUC__) && !defined(__clang__)
/* gcc 12 copies and spills the sums of the intrinsic. */
#define ADD_DOT(sum, a, b) __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b))
#endif
#else
#define DOT(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
#endif
#define ENERGY_STEP 16
#define ENERGY_ADD(sum, v) _mm256_add_epi32(sum, _mm256_srli_epi32(_mm256_madd_epi16(v, v), 8))
#elif defined(USE_SSE2)
enum { PLACES = 4, WIDTH = 4 };
#define EACH_PLACE(what) what(0) what(1) what(2) what(3)
typedef __m128i Vector;
#define LOAD(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
#define STORE(p, v) _mm_storeu_si128((__m128i *)(void *)(p), v)
#define ZERO() _mm_setzero_si128()
#define PAIR(p) _mm_set1_epi32(p)
#define DOT(sum, a, b) _mm_add_epi32(sum, _mm_madd_epi16(a, b))
#define ENERGY_STEP 8
#define ENERGY_ADD(sum, v) _mm_add_epi32(sum, _mm_srli_epi32(_mm_madd_epi16(v, v), 8))
#elif defined(USE_WASM)
enum { PLACES = 4, WIDTH = 4 };
#define EACH_PLACE(what) what(0) what(1) what(2) what(3)
typedef v128_t Vector;
#define LOAD(p) wasm_v128_load(p)
#define STORE(p, v) wasm_v128_store(p, v)
#define ZERO() wasm_i32x4_const_splat(0)
#define PAIR(p) wasm_i32x4_splat(p)
#define DOT(sum, a, b) wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(a, b))
#define ENERGY_STEP 8
#define ENERGY_ADD(sum, v) wasm_i32x4_add(sum, wasm_u32x4_shr(wasm_i32x4_dot_i16x8(v, v), 8))
#else
enum { PLACES = 4, WIDTH = 0 };
#endif

#if !defined(ADD_DOT)
#define ADD_DOT(sum, a, b) (sum) = DOT(sum, a, b)
#endif

enum { TILES = 8 }; /* that one panel of weights serves while it is in the nearest cache */
enum {
  CHUNK = 64
}; /* pairs of inputs whose split products cannot overflow: 128 * 2^15 * 255 < 2^31 */

typedef i32 Sums[PLACES][PANEL];

static inline i32 pair_at(const i16 *x, i64 k) {
  i32 v;
  memcpy(&v, x + 2 * k, 4);
  return v;
}

/* sums[p][j] = the products of place p's inputs with output j's weights, modulo 2^32. weight:
 * (pairs, PANEL, 2). */
#if defined(USE_AVX512)
static void multiply(const i16 *const *x, i64 pairs, const i16 *weight, Sums sums) {
  const i16 *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3], *x4 = x[4], *x5 = x[5], *x6 = x[6],
            *x7 = x[7];
  Vector a0 = ZERO(), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
  Vector b0 = a0, b1 = a0, b2 = a0, b3 = a0, b4 = a0, b5 = a0, b6 = a0, b7 = a0;
  for (i64 k = 0; k < pairs; k++) {
    const Vector u = LOAD(weight + k * 2 * PANEL), v = LOAD(weight + k * 2 * PANEL + 2 * WIDTH);
#define ONE(p)                                                                                     \
  do {                                                                                             \
    const Vector s = PAIR(pair_at(x##p, k));                                                       \
    a##p = DOT(a##p, u, s);                                                                        \
    b##p = DOT(b##p, v, s);                                                                        \
  } while (0)
    ONE(0);
    ONE(1);
    ONE(2);
    ONE(3);
    ONE(4);
    ONE(5);
    ONE(6);
    ONE(7);
#undef ONE
  }
#define ONE(p) STORE(sums[p], a##p), STORE(sums[p] + WIDTH, b##p)
  ONE(0);
  ONE(1);
  ONE(2);
  ONE(3);
  ONE(4);
  ONE(5);
  ONE(6);
  ONE(7);
#undef ONE
}
#elif defined(USE_AVX2) || defined(USE_SSE2) || defined(USE_WASM)
static void multiply(const i16 *const *x, i64 pairs, const i16 *weight, Sums sums) {
#define BEGIN(p) const i16 *x##p = x[p];
  EACH_PLACE(BEGIN)
#undef BEGIN
  for (i64 d = 0; d < PANEL; d += 2 * WIDTH) {
#define BEGIN(p) Vector a##p = ZERO(), b##p = a##p;
    EACH_PLACE(BEGIN)
#undef BEGIN
    for (i64 k = 0; k < pairs; k++) {
      const Vector u = LOAD(weight + (k * PANEL + d) * 2),
                   v = LOAD(weight + (k * PANEL + d + WIDTH) * 2);
#define ONE(p)                                                                                     \
  do {                                                                                             \
    const Vector s = PAIR(pair_at(x##p, k));                                                       \
    ADD_DOT(a##p, u, s);                                                                           \
    ADD_DOT(b##p, v, s);                                                                           \
  } while (0);
      EACH_PLACE(ONE)
#undef ONE
    }
#define END(p) STORE(sums[p] + d, a##p), STORE(sums[p] + d + WIDTH, b##p);
    EACH_PLACE(END)
#undef END
  }
}
#elif defined(USE_NEON)
static void multiply(const i16 *const *x, i64 pairs, const i16 *weight, Sums sums) {
  const i16 *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
  for (i64 d = 0; d < PANEL; d += 8) {
    int32x4_t a0 = vdupq_n_s32(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    for (i64 k = 0; k < pairs; k++) {
      const int16x8x2_t w =
          vld2q_s16(weight + (k * PANEL + d) * 2); /* of first and of second inputs */
#define ONE(p)                                                                                     \
  do {                                                                                             \
    const int16x4_t s = vreinterpret_s16_s32(vdup_n_s32(pair_at(x##p, k)));                        \
    a##p = vmlal_lane_s16(a##p, vget_low_s16(w.val[0]), s, 0);                                     \
    b##p = vmlal_high_lane_s16(b##p, w.val[0], s, 0);                                              \
    a##p = vmlal_lane_s16(a##p, vget_low_s16(w.val[1]), s, 1);                                     \
    b##p = vmlal_high_lane_s16(b##p, w.val[1], s, 1);                                              \
  } while (0)
      ONE(0);
      ONE(1);
      ONE(2);
      ONE(3);
#undef ONE
    }
#define ONE(p) vst1q_s32(sums[p] + d, a##p), vst1q_s32(sums[p] + d + 4, b##p)
    ONE(0);
    ONE(1);
    ONE(2);
    ONE(3);
#undef ONE
  }
}
#else
static void multiply(const i16 *const *x, i64 pairs, const i16 *weight, Sums sums) {
  for (int p = 0; p < PLACES; p++) {
    u32 sum[PANEL] = {0};
    for (i64 k = 0; k < pairs; k++) {
      const i16 *w = weight + k * 2 * PANEL;
      const i32 a = x[p][2 * k], b = x[p][2 * k + 1];
      for (int j = 0; j < PANEL; j++) sum[j] += (u32)(w[2 * j] * a) + (u32)(w[2 * j + 1] * b);
    }
    memcpy(sums[p], sum, sizeof sum);
  }
}
#endif

/* Not less than the sum of squares, and hardly more: squares are added in pairs, 8 bits of each
 * pair left out. */
static u64 energy(const i16 *x, i64 n) {
  u64 total = 0;
  i64 k = 0;
#if defined(ENERGY_STEP)
  Vector sum = ZERO();
  for (; k + ENERGY_STEP <= n; k += ENERGY_STEP) {
    const Vector v = LOAD(x + k);
    sum = ENERGY_ADD(sum, v);
  }
  u32 part[ENERGY_STEP / 2];
  STORE(part, sum);
  for (int j = 0; j < ENERGY_STEP / 2; j++) total += part[j];
#endif
  total = 256 * (total + (u64)(k / 2));
  for (; k < n; k++) total += (u32)(x[k] * x[k]);
  return total;
}

/* Sums that an int32 may not hold: the weights in two parts, w = 256 high + low, each multiplied by
 * itself. */
static void multiply_wide(const i16 *const *x, i64 pairs, const i16 *weight,
                          i64 sums[PLACES][PANEL]) {
  i16 high[CHUNK * 2 * PANEL], low[CHUNK * 2 * PANEL];
  Sums of_high, of_low;
  memset(sums, 0, sizeof(i64) * PLACES * PANEL);
  for (i64 k = 0; k < pairs; k += CHUNK) {
    const i64 n = pairs - k < CHUNK ? pairs - k : CHUNK;
    const i16 *w = weight + k * 2 * PANEL, *part[PLACES];
    for (i64 i = 0; i < n * 2 * PANEL; i++) {
      high[i] = (i16)(w[i] >> 8);
      low[i] = (i16)(w[i] & 255);
    }
    for (int p = 0; p < PLACES; p++) part[p] = x[p] + 2 * k;
    multiply(part, n, high, of_high);
    multiply(part, n, low, of_low);
    for (int p = 0; p < PLACES; p++)
      for (int j = 0; j < PANEL; j++) sums[p][j] += 256 * (i64)of_high[p][j] + of_low[p][j];
  }
}

/* v, or v * slope / 2^15 to the nearest, whichever is more. */
static inline i32 leaked(i32 v, i32 slope) {
  const i32 t = (v * slope + 16384) >> 15;
  return v > t ? v : t;
}

#if defined(USE_SSE2)
/* (a * b + 2^14) >> 15, which later processors have an instruction for. */
static inline __m128i scaled(__m128i a, __m128i b) {
  const __m128i high = _mm_mulhi_epi16(a, b), low = _mm_mullo_epi16(a, b);
  const __m128i rounded =
      _mm_srli_epi16(_mm_add_epi16(_mm_srli_epi16(low, 14), _mm_set1_epi16(1)), 1);
  return _mm_add_epi16(_mm_slli_epi16(high, 1), rounded);
}
#endif

/* out[j] = clamp(sums[j] + bias[j] >> shift), then a leaky ReLU, then clamp(. + residual[j]),
 * of 16. */
static inline void finish16(const i32 *sums, const i32 *bias, int shift, int leaky,
                            const i16 *residual, i16 *out) {
#if defined(USE_AVX512)
  const __m512i v = _mm512_add_epi32(LOAD(sums), LOAD(bias));
  __m256i r = _mm512_cvtsepi32_epi16(_mm512_sra_epi32(v, _mm_cvtsi32_si128(shift)));
  if (leaky) r = _mm256_max_epi16(r, _mm256_mulhrs_epi16(r, _mm256_set1_epi16((i16)leaky)));
  if (residual)
    r = _mm256_adds_epi16(r, _mm256_loadu_si256((const __m256i *)(const void *)residual));
  _mm256_storeu_si256((__m256i *)(void *)out, r);
#elif defined(USE_AVX2)
  const __m128i by = _mm_cvtsi32_si128(shift);
  const __m256i u = _mm256_sra_epi32(_mm256_add_epi32(LOAD(sums), LOAD(bias)), by);
  const __m256i v = _mm256_sra_epi32(_mm256_add_epi32(LOAD(sums + 8), LOAD(bias + 8)), by);
  __m256i r = _mm256_permute4x64_epi64(_mm256_packs_epi32(u, v), 0xD8);
  if (leaky) r = _mm256_max_epi16(r, _mm256_mulhrs_epi16(r, _mm256_set1_epi16((i16)leaky)));
  if (residual) r = _mm256_adds_epi16(r, LOAD(residual));
  STORE(out, r);
#elif defined(USE_SSE2)
  const __m128i by = _mm_cvtsi32_si128(shift);
  for (int j = 0; j < 16; j += 8) {
    const __m128i u = _mm_sra_epi32(_mm_add_epi32(LOAD(sums + j), LOAD(bias + j)), by);
    const __m128i v = _mm_sra_epi32(_mm_add_epi32(LOAD(sums + j + 4), LOAD(bias + j + 4)), by);
    __m128i r = _mm_packs_epi32(u, v);
    if (leaky) r = _mm_max_epi16(r, scaled(r, _mm_set1_epi16((i16)leaky)));
    if (residual) r = _mm_adds_epi16(r, LOAD(residual + j));
    STORE(out + j, r);
  }
#elif defined(USE_NEON)
  const int32x4_t by = vdupq_n_s32(-shift);
  for (int j = 0; j < 16; j += 8) {
    const int32x4_t u = vshlq_s32(vaddq_s32(vld1q_s32(sums + j), vld1q_s32(bias + j)), by);
    const int32x4_t v = vshlq_s32(vaddq_s32(vld1q_s32(sums + j + 4), vld1q_s32(bias + j + 4)), by);
    int16x8_t r = vqmovn_high_s32(vqmovn_s32(u), v);
    if (leaky) r = vmaxq_s16(r, vqrdmulhq_n_s16(r, (i16)leaky));
    if (residual) r = vqaddq_s16(r, vld1q_s16(residual + j));
    vst1q_s16(out + j, r);
  }
#elif defined(USE_WASM)
  for (int j = 0; j < 16; j += 8) {
    const v128_t u = wasm_i32x4_shr(wasm_i32x4_add(LOAD(sums + j), LOAD(bias + j)), (u32)shift);
    const v128_t v =
        wasm_i32x4_shr(wasm_i32x4_add(LOAD(sums + j + 4), LOAD(bias + j + 4)), (u32)shift);
    v128_t r = wasm_i16x8_narrow_i32x4(u, v);
    if (leaky) r = wasm_i16x8_max(r, wasm_i16x8_q15mulr_sat(r, wasm_i16x8_splat((i16)leaky)));
    if (residual) r = wasm_i16x8_add_sat(r, LOAD(residual + j));
    STORE(out + j, r);
  }
#else
  for (int j = 0; j < 16; j++) {
    i32 v = (i32)((u32)sums[j] + (u32)bias[j]) >> shift;
    v = v < -32768 ? -32768 : v > 32767 ? 32767 : v;
    if (leaky) v = leaked(v, leaky);
    if (residual) v = clamp16(v + residual[j]);
    out[j] = (i16)v;
  }
#endif
}

static i16 finished(i64 sum, i64 shift, i64 leaky, const i16 *residual) {
  i32 v = clamp16(rescaled(sum, shift));
  if (leaky) v = leaked(v, (i32)leaky);
  return residual ? clamp16(v + *residual) : (i16)v;
}

/* Outputs d .. d + n of one tile of m places, which are at `places`. */
static void finish_tile(Sums sums, int m, const i64 *places, const i32 *bias, const Layer *l, i64 d,
                        const i16 *residual, i16 *out) {
  const i64 n = l->cout - d < PANEL ? l->cout - d : PANEL;
  for (int p = 0; p < m; p++) {
    i16 *o = out + places[p] * l->cout + d;
    const i16 *r = residual ? residual + places[p] * l->cout + d : NULL;
    if (n == PANEL) {
      finish16(sums[p], bias, (int)l->shift, (int)l->leaky, r, o);
      finish16(sums[p] + 16, bias + 16, (int)l->shift, (int)l->leaky, r ? r + 16 : NULL, o + 16);
      continue;
    }
    i16 some[PANEL], added[PANEL] = {0};
    if (r) memcpy(added, r, (size_t)n * sizeof(i16));
    finish16(sums[p], bias, (int)l->shift, (int)l->leaky, r ? added : NULL, some);
    finish16(sums[p] + 16, bias + 16, (int)l->shift, (int)l->leaky, r ? added + 16 : NULL,
             some + 16);
    memcpy(o, some, (size_t)n * sizeof(i16));
  }
}

static void conv(const Layer *l, const i16 *weight, const i64 *bias, const i16 *x, Span span,
                 const i16 *residual, i16 *out) {
  const i64 K = l->cin, D = l->cout, pairs = (K + 1) / 2, n = span.rows * span.columns;
  Sums sums;
  i64 wide[PLACES][PANEL], where[TILES * PLACES], row = 0, column = 0;
  for (i64 s = 0; s < n; s += TILES * PLACES) {
    u8 narrow[TILES];
    const i64 places = n - s < TILES * PLACES ? n - s : TILES * PLACES,
              tiles = (places + PLACES - 1) / PLACES;
    for (i64 p = 0; p < places; p++) {
      where[p] = row * span.stride + column;
      if (++column == span.columns) {
        column = 0;
        row++;
      }
    }
    for (i64 t = 0; t < tiles; t++) {
      narrow[t] = l->safe || l->room >= 0;
      for (i64 p = t * PLACES; !l->safe && p < places && p < (t + 1) * PLACES; p++)
        narrow[t] &= energy(x + where[p] * K, K) <= (u64)l->room;
    }
    for (i64 d = 0; d < D; d += PANEL) {
      i32 half[PANEL] = {0};
      for (i64 j = 0; j < PANEL && d + j < D; j++)
        half[j] = wrapped(bias[d + j] + ((i64)1 << (l->shift - 1)));
      for (i64 t = 0; t < tiles; t++) {
        const i64 *of_tile = where + t * PLACES, rest = places - t * PLACES;
        const int m = rest < PLACES ? (int)rest : PLACES;
        const i16 *at_place[PLACES];
        for (int p = 0; p < PLACES; p++) at_place[p] = x + of_tile[p < m ? p : 0] * K;
        const i16 *panel = weight + d * pairs * 2;
        if (narrow[t]) {
          multiply(at_place, pairs, panel, sums);
          finish_tile(sums, m, of_tile, half, l, d, residual, out);
          continue;
        }
        multiply_wide(at_place, pairs, panel, wide);
        for (int p = 0; p < m; p++)
          for (i64 j = 0; j < PANEL && d + j < D; j++) {
            const i64 o = of_tile[p] * D + d + j;
            out[o] = finished(wide[p][j] + bias[d + j], l->shift, l->leaky,
                              residual ? residual + o : NULL);
          }
      }
    }
  }
}

static void add_up(const Layer *l, const i16 *weight, const i64 *bias, const i16 *x, i64 n,
                   i32 *out) {
  const i64 K = l->cin, D = l->cout, pairs = (K + 1) / 2;
  Sums sums;
  for (i64 s = 0; s < n; s += TILES * PLACES) {
    const i64 places = n - s < TILES * PLACES ? n - s : TILES * PLACES;
    for (i64 d = 0; d < D; d += PANEL)
      for (i64 from = s; from < s + places; from += PLACES) {
        const i64 rest = s + places - from, m = rest < PLACES ? rest : PLACES;
        const i16 *at_place[PLACES];
        for (i64 p = 0; p < PLACES; p++) at_place[p] = x + (from + (p < m ? p : 0)) * K;
        multiply(at_place, pairs, weight + d * pairs * 2, sums);
        for (i64 p = 0; p < m; p++)
          for (i64 j = 0; j < PANEL && d + j < D; j++)
            out[(from + p) * D + d + j] = wrapped((i64)sums[p][j] + bias[d + j]);
      }
  }
}

/* Channels k .. of one place; around: three rows, from the place on the left on. */
static inline void depthwise_rest(const Layer *l, const i16 *weight, const i64 *bias,
                                  const i16 *const *around, i64 k, i16 *out) {
  for (; k < l->cin; k++) {
    i64 sum = bias[k];
    for (int a = 0; a < 9; a++)
      sum += (i32)around[a / 3][a % 3 * l->cin + k] * weight[a * l->cin + k];
    out[k] = finished(sum, l->shift, l->leaky, NULL);
  }
}

#if defined(USE_AVX512) || defined(USE_AVX2) || defined(USE_SSE2)
typedef __m128i Amount; /* that is shifted by */
#define AMOUNT(by) _mm_cvtsi32_si128((int)(by))
#elif defined(USE_WASM)
typedef u32 Amount;
#define AMOUNT(by) ((u32)(by))
#endif

#if defined(USE_AVX512) || defined(USE_AVX2)
enum { STRIP = 16 }; /* channels at once */
typedef __m256i Strip;
#define STRIP_LOAD(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define STRIP_STORE(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), v)
#define STRIP_ZERO() _mm256_setzero_si256()
#define STRIP_LOW(a, b) _mm256_unpacklo_epi16(a, b)
#define STRIP_HIGH(a, b) _mm256_unpackhi_epi16(a, b)
#define STRIP_SHIFT(a, by) _mm256_sra_epi32(a, by)
#define STRIP_PACK(a, b) _mm256_packs_epi32(a, b)
#define STRIP_LEAKY(a, slope) _mm256_max_epi16(a, _mm256_mulhrs_epi16(a, _mm256_set1_epi16(slope)))
#if defined(USE_AVX512)
#define STRIP_DOT(sum, a, b) _mm256_dpwssd_epi32(sum, a, b)
#elif defined(__AVXVNNI__)
#define STRIP_DOT(sum, a, b) _mm256_dpwssd_avx_epi32(sum, a, b)
#else
#define STRIP_DOT(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
#endif
#elif defined(USE_SSE2)
enum { STRIP = 8 };
typedef __m128i Strip;
#define STRIP_LOAD(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
#define STRIP_STORE(p, v) _mm_storeu_si128((__m128i *)(void *)(p), v)
#define STRIP_ZERO() _mm_setzero_si128()
#define STRIP_LOW(a, b) _mm_unpacklo_epi16(a, b)
#define STRIP_HIGH(a, b) _mm_unpackhi_epi16(a, b)
#define STRIP_SHIFT(a, by) _mm_sra_epi32(a, by)
#define STRIP_PACK(a, b) _mm_packs_epi32(a, b)
#define STRIP_LEAKY(a, slope) _mm_max_epi16(a, scaled(a, _mm_set1_epi16(slope)))
#define STRIP_DOT(sum, a, b) _mm_add_epi32(sum, _mm_madd_epi16(a, b))
#elif defined(USE_WASM)
enum { STRIP = 8 };
typedef v128_t Strip;
#define STRIP_LOAD(p) wasm_v128_load(p)
#define STRIP_STORE(p, v) wasm_v128_store(p, v)
#define STRIP_ZERO() wasm_i16x8_const_splat(0)
#define STRIP_LOW(a, b) wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define STRIP_HIGH(a, b) wasm_i16x8_shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define STRIP_SHIFT(a, by) wasm_i32x4_shr(a, by)
#define STRIP_PACK(a, b) wasm_i16x8_narrow_i32x4(a, b)
#define STRIP_LEAKY(a, slope) wasm_i16x8_max(a, wasm_i16x8_q15mulr_sat(a, wasm_i16x8_splat(slope)))
#define STRIP_DOT(sum, a, b) wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(a, b))
#endif

#if defined(STRIP_LOAD)
/* One place of strips of channels; above, at, below: the place on the left, followed by the place
 * and that on its right. */
static inline void depthwise_place(const Layer *l, const i16 *pairs, const i32 *half,
                                   const i16 *above, const i16 *middle, const i16 *below,
                                   i64 strips, Amount by, i16 *out) {
  const i64 C = l->cin;
  const i16 slope = (i16)l->leaky;
  for (i64 k = 0; k < strips * STRIP; k += STRIP, pairs += 10 * STRIP) {
    Strip low = STRIP_LOAD(half + k), high = STRIP_LOAD(half + k + STRIP / 2), u, v;
#define TWO(a, p, q)                                                                               \
  u = STRIP_LOAD(p), v = q;                                                                        \
  low = STRIP_DOT(low, STRIP_LOW(u, v), STRIP_LOAD(pairs + a * STRIP));                            \
  high = STRIP_DOT(high, STRIP_HIGH(u, v), STRIP_LOAD(pairs + (a + 1) * STRIP))
    TWO(0, above + k, STRIP_LOAD(above + C + k));
    TWO(2, above + 2 * C + k, STRIP_LOAD(middle + k));
    TWO(4, middle + C + k, STRIP_LOAD(middle + 2 * C + k));
    TWO(6, below + k, STRIP_LOAD(below + C + k));
    TWO(8, below + 2 * C + k, STRIP_ZERO());
#undef TWO
    Strip r = STRIP_PACK(STRIP_SHIFT(low, by), STRIP_SHIFT(high, by));
    if (slope) r = STRIP_LEAKY(r, slope);
    STRIP_STORE(out + k, r);
  }
}
#endif

#if defined(USE_NEON)
enum { STRIP = 8 };
static inline void depthwise_place(const Layer *l, const i16 *weight, const i32 *half,
                                   const i16 *const *around, i64 strips, i16 *out) {
  const i64 C = l->cin;
  const int32x4_t by = vdupq_n_s32(-(i32)l->shift);
  for (i64 k = 0; k < strips * STRIP; k += STRIP) {
    int32x4_t low = vld1q_s32(half + k), high = vld1q_s32(half + k + 4);
    for (int a = 0; a < 9; a++) {
      const int16x8_t u = vld1q_s16(around[a / 3] + a % 3 * C + k),
                      w = vld1q_s16(weight + a * C + k);
      low = vmlal_s16(low, vget_low_s16(u), vget_low_s16(w));
      high = vmlal_high_s16(high, u, w);
    }
    int16x8_t r = vqmovn_high_s32(vqmovn_s32(vshlq_s32(low, by)), vshlq_s32(high, by));
    if (l->leaky) r = vmaxq_s16(r, vqrdmulhq_n_s16(r, (i16)l->leaky));
    vst1q_s16(out + k, r);
  }
}
#endif

static void depthwise(const Layer *l, const i16 *weight, const i64 *bias, const i16 *const *rows,
                      i64 w, i64 left, int fits, Span span, i16 *out) {
  const i64 C = l->cin;
  i16 edge[3][3 * MOST_CHANNELS]; /* what is around a place at a side */
#if defined(STRIP_LOAD)
  /* Weights of two taps, and biases, in the order that unpacking gives. */
  i16 pairs[10 * MOST_CHANNELS];
  i32 half[MOST_CHANNELS];
  const i64 strips = fits ? C / STRIP : 0;
  for (i64 s = 0; s < strips; s++) {
    for (int a = 0; a < 5; a++) {
      const Strip u = STRIP_LOAD(weight + 2 * a * C + s * STRIP),
                  v = STRIP_LOAD(weight + (2 * a + 1) * C + s * STRIP);
      STRIP_STORE(pairs + (s * 10 + 2 * a) * STRIP, STRIP_LOW(u, v));
      STRIP_STORE(pairs + (s * 10 + 2 * a + 1) * STRIP, STRIP_HIGH(u, v));
    }
    for (int j = 0; j < STRIP; j += 8)
      for (int i = 0; i < 4; i++) {
        const i64 b = s * STRIP;
        half[b + j / 2 + i] = wrapped(bias[b + j + i] + ((i64)1 << (l->shift - 1)));
        half[b + STRIP / 2 + j / 2 + i] = wrapped(bias[b + j + 4 + i] + ((i64)1 << (l->shift - 1)));
      }
  }
  const Amount by = AMOUNT(l->shift);
  const i64 done = strips * STRIP;
#elif defined(USE_NEON)
  i32 half[MOST_CHANNELS];
  const i64 strips = fits ? C / STRIP : 0, done = strips * STRIP;
  for (i64 k = 0; k < done; k++) half[k] = wrapped(bias[k] + ((i64)1 << (l->shift - 1)));
#else
  const i64 done = 0;
  (void)fits;
#endif
  for (i64 i = 0; i < span.rows; i++)
    for (i64 j = left; j < left + span.columns; j++) {
      const i16 *around[3];
      for (int a = 0; a < 3; a++) {
        if (j > 0 && j < w - 1) {
          around[a] = rows[i + a] + (j - 1) * C;
          continue;
        }
        for (int b = 0; b < 3; b++)
          if (j + b - 1 < 0 || j + b - 1 >= w) memset(edge[a] + b * C, 0, (size_t)C * sizeof(i16));
          else memcpy(edge[a] + b * C, rows[i + a] + (j + b - 1) * C, (size_t)C * sizeof(i16));
        around[a] = edge[a];
      }
      i16 *o = out + (i * span.stride + j - left) * C;
#if defined(STRIP_LOAD)
      depthwise_place(l, pairs, half, around[0], around[1], around[2], strips, by, o);
#elif defined(USE_NEON)
      depthwise_place(l, weight, half, around, strips, o);
#endif
      if (done < C) depthwise_rest(l, weight, bias, around, done, o);
    }
}

static void gain(const Layer *l, const i16 *multiplier, int shift, const i16 *x, i64 n, i16 *out) {
  const i64 C = l->cin;
  const i32 half = (i32)1 << (shift - 1);
  for (i64 p = 0; p < n; p++, x += C, out += C)
    for (i64 c = 0; c < C; c++) {
      const i32 v = (x[c] * multiplier[c] + half) >> shift;
      out[c] = (i16)(v < -32768 ? -32768 : v > 32767 ? 32767 : v);
    }
}

static void dequantise(const Layer *l, const i16 *multiplier, const u8 *shifts, const i32 *y, i64 n,
                       i16 *out) {
  const i64 C = l->cin;
  /* Products of what int16 holds fit int32; what is shifted by more than they have bits is 0. */
  i32 by[MOST_CHANNELS], shift[MOST_CHANNELS], half[MOST_CHANNELS];
  for (i64 c = 0; c < C; c++) {
    const int gone = shifts[c] > 30;
    by[c] = gone ? 0 : multiplier[c];
    shift[c] = gone ? 1 : shifts[c];
    half[c] = (i32)1 << (shift[c] - 1);
  }
  for (i64 p = 0; p < n; p++, y += C, out += C) {
    u32 large = 0;
    for (i64 c = 0; c < C; c++) large |= (u32)y[c] + 32768u;
    if (large < 65536)
      for (i64 c = 0; c < C; c++) {
        const i32 v = (y[c] * by[c] + half[c]) >> shift[c];
        out[c] = (i16)(v < -32768 ? -32768 : v > 32767 ? 32767 : v);
      }
    else
      for (i64 c = 0; c < C; c++) out[c] = clamp16(rescaled((i64)y[c] * multiplier[c], shifts[c]));
  }
}

static void leaky(i64 slope, const i16 *x, i64 n, i16 *out) {
  for (i64 i = 0; i < n; i++) out[i] = (i16)leaked(x[i], (i32)slope);
}

static void add(const i16 *x, const i16 *y, i64 n, i16 *out) {
  for (i64 i = 0; i < n; i++) {
    const i32 v = (i32)x[i] + y[i];
    out[i] = (i16)(v < -32768 ? -32768 : v > 32767 ? 32767 : v);
  }
}

#if !defined(AEI_DECODER) /* which a decoder alone goes without: quantise.c calls these */
/* Trellis._best's price of one value. */
static inline float price_of(const Pricing *of, float size, float worth, i32 magnitude) {
  const i32 near = magnitude < of->nearer_count ? magnitude : of->nearer_count;
  const i32 shifted = magnitude < of->quantiser ? magnitude : of->quantiser;
  const i32 point = (2 * magnitude - shifted) * of->half_step - of->nearer[near];
  /* one is a power of two: the same as the quotient in double precision, rounded */
  const float error = size - (float)point * of->one;
  return error * error * worth + of->bits[magnitude < of->reach ? magnitude : of->reach];
}

static void price(const Pricing *of, const float *restrict size, const float *restrict worth, i64 n,
                  float *restrict cost, u16 *restrict magnitude) {
  const Pricing own = *of; /* which no store can change */
  const float parity = (float)own.parity,
              to_integer = 12582912.0f; /* 1.5 * 2^23: adding it rounds, ties to even */
  for (i64 i = 0; i < n; i++) {
    const float place = (size[i] + own.shift) / own.step;
    const i32 half = (i32)(((place - parity) * 0.5f + to_integer) - to_integer);
    const i32 nearest = 2 * (half > 0 ? half : 0) + own.parity;
    const i32 closer = nearest - 2 > own.parity ? nearest - 2 : own.parity;
    const float least = price_of(&own, size[i], worth[i], nearest),
                other = price_of(&own, size[i], worth[i], closer);
    cost[i] = other < least ? other : least;
    magnitude[i] = (u16)(other < least ? closer : nearest);
  }
}

static float *viterbi(float *total, float *other, i64 states, i64 length, const float *cost,
                      i64 plane, i64 stride, const u16 *from, const u8 *row, u16 *second) {
  for (i64 i = 0; i < length; i++, second += states) {
    float c[4][LANES];
    for (int q = 0; q < 4; q++) memcpy(c[q], cost + q * plane + i * stride, sizeof c[q]);
    for (i64 s = 0; s < states; s++) {
      const float *u = total + (i64)from[s] * LANES, *v = total + (i64)from[states + s] * LANES;
      const float *cu = c[row[s]], *cv = c[row[states + s]];
      float *o = other + s * LANES;
#if defined(USE_AVX512)
      const __m512 a = _mm512_add_ps(_mm512_loadu_ps(u), _mm512_loadu_ps(cu));
      const __m512 b = _mm512_add_ps(_mm512_loadu_ps(v), _mm512_loadu_ps(cv));
      second[s] = (u16)_mm512_cmp_ps_mask(b, a, _CMP_LT_OQ);
      _mm512_storeu_ps(o, _mm512_min_ps(b, a));
#elif defined(USE_AVX2) || defined(USE_SSE2)
      unsigned bits = 0;
      for (int j = 0; j < LANES; j += 4) {
        const __m128 a = _mm_add_ps(_mm_loadu_ps(u + j), _mm_loadu_ps(cu + j));
        const __m128 b = _mm_add_ps(_mm_loadu_ps(v + j), _mm_loadu_ps(cv + j));
        bits |= (unsigned)_mm_movemask_ps(_mm_cmplt_ps(b, a)) << j;
        _mm_storeu_ps(o + j, _mm_min_ps(b, a));
      }
      second[s] = (u16)bits;
#else
      unsigned bits = 0;
      for (int j = 0; j < LANES; j++) {
        const float a = u[j] + cu[j], b = v[j] + cv[j];
        bits |= (unsigned)(b < a) << j;
        o[j] = b < a ? b : a;
      }
      second[s] = (u16)bits;
#endif
    }
    float *t = total;
    total = other;
    other = t;
  }
  return total;
}

#else
#define price NULL
#define viterbi NULL
#endif

const Kernels JOIN(aei_kernels_, AEI_ISA) = {conv, depthwise, gain,    dequantise, leaky,
                                             add,  price,     viterbi, add_up};
