/* CRC-32, Adler-32 and SHA-256 (RFC 1952, RFC 1950, FIPS 180-4). */
#include "web.h"

static u32 crc_table[4][256];

static void make_crc_table(void) {
  for (u32 i = 0; i < 256; i++) {
    u32 c = i;
    for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0xEDB88320 : c >> 1;
    crc_table[0][i] = c;
  }
  for (u32 i = 0; i < 256; i++)
    for (int k = 1; k < 4; k++)
      crc_table[k][i] = crc_table[k - 1][i] >> 8 ^ crc_table[0][crc_table[k - 1][i] & 255];
}

u32 web_crc32(const u8 *p, u32 n) {
  if (!crc_table[0][1]) make_crc_table();
  u32 c = ~(u32)0;
  for (; n >= 4; n -= 4, p += 4) {
    c ^= p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24;
    c = crc_table[3][c & 255] ^ crc_table[2][c >> 8 & 255] ^ crc_table[1][c >> 16 & 255] ^
        crc_table[0][c >> 24];
  }
  for (; n; n--, p++) c = c >> 8 ^ crc_table[0][(c ^ *p) & 255];
  return ~c;
}

u32 web_adler32(const u8 *p, u32 n) {
  u32 a = 1, b = 0;
  while (n) {
    const u32 some = n < 5552 ? n : 5552; /* whose sums fit */
    for (u32 i = 0; i < some; i++) b += a += p[i];
    a %= 65521;
    b %= 65521;
    p += some;
    n -= some;
  }
  return b << 16 | a;
}

static const u32 round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static inline u32 turned(u32 x, int n) {
  return x >> n | x << (32 - n);
}

static void sha256_block(u32 state[8], const u8 *p) {
  u32 w[64], s[8];
  for (int i = 0; i < 16; i++, p += 4)
    w[i] = (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
  for (int i = 16; i < 64; i++) {
    const u32 a = turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3;
    const u32 b = turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + a + w[i - 7] + b;
  }
  memcpy(s, state, sizeof s);
  for (int i = 0; i < 64; i++) {
    const u32 b = turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25);
    const u32 t = s[7] + b + ((s[4] & s[5]) ^ (~s[4] & s[6])) + round_constants[i] + w[i];
    const u32 a = turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22);
    const u32 u = a + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    s[7] = s[6], s[6] = s[5], s[5] = s[4], s[4] = s[3] + t, s[3] = s[2], s[2] = s[1], s[1] = s[0],
    s[0] = t + u;
  }
  for (int i = 0; i < 8; i++) state[i] += s[i];
}

void web_sha256_start(Sha256 *s) {
  static const u32 first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(s->state, first, sizeof first);
  s->length = 0;
}

void web_sha256_add(Sha256 *s, const u8 *p, u32 n) {
  u32 at = (u32)(s->length % 64);
  s->length += n;
  while (n) {
    if (!at && n >= 64) {
      sha256_block(s->state, p);
      p += 64;
      n -= 64;
      continue;
    }
    s->rest[at++] = *p++;
    n--;
    if (at == 64) {
      sha256_block(s->state, s->rest);
      at = 0;
    }
  }
}

void web_sha256_end(Sha256 *s, u8 *out) {
  const u64 bits = 8 * s->length;
  u8 end = 0x80;
  for (; !(end == 0 && s->length % 64 == 56); end = 0) web_sha256_add(s, &end, 1);
  u8 length[8];
  for (int i = 0; i < 8; i++) length[i] = (u8)(bits >> (56 - 8 * i));
  web_sha256_add(s, length, 8);
  for (int i = 0; i < 32; i++) out[i] = (u8)(s->state[i / 4] >> (24 - 8 * (i % 4)));
}
