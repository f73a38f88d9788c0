/* What the web's decoder has in C beside the native core: memory, checksums, zlib streams, packed
 * weights, pixels. */
#ifndef AEI_WEB_H
#define AEI_WEB_H

#include "core.h"

#include <string.h>

typedef struct {
  u32 state[8];
  u64 length;
  u8 rest[64];
} Sha256;

u32 web_crc32(const u8 *p, u32 n);
u32 web_adler32(const u8 *p, u32 n);
void web_sha256_start(Sha256 *s);
void web_sha256_add(Sha256 *s, const u8 *p, u32 n);
void web_sha256_end(Sha256 *s, u8 *out);

#endif
