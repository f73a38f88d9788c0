/* malloc, calloc and free in the module's one memory, which grows and never shrinks.
 *
 * Blocks lie one after the other, each behind a header that says how long it is and whether it is
 * free; neighbours that are free are made one when a search passes them. There are never more than
 * a few hundred blocks, since the core allocates before its loops, so that a search from the first
 * one on costs nothing beside the work. */
#include <stdint.h>
#include <stdlib.h>

enum { ALIGNMENT = 64, PAGE = 65536 };

typedef struct {
  uint32_t size; /* with the header, a multiple of ALIGNMENT */
  uint32_t taken;
  uint8_t rest[ALIGNMENT - 8];
} Block;

extern uint8_t __heap_base;
static uintptr_t first, end; /* of the blocks */

static int grow(uint32_t size) {
  const uintptr_t memory = (uintptr_t)__builtin_wasm_memory_size(0) * PAGE;
  if (size > UINT32_MAX - PAGE - end) return 0;
  if (end + size > memory &&
      __builtin_wasm_memory_grow(0, (end + size - memory + PAGE - 1) / PAGE) == SIZE_MAX)
    return 0;
  return 1;
}

void *malloc(size_t wanted) {
  if (wanted > (size_t)1 << 31) return NULL;
  const uint32_t size = (uint32_t)((wanted + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
  if (!first) first = end = ((uintptr_t)&__heap_base + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  for (uintptr_t at = first; at < end; at += ((Block *)at)->size) {
    Block *b = (Block *)at;
    if (b->taken) continue;
    while (at + b->size < end && !((Block *)(at + b->size))->taken)
      b->size += ((Block *)(at + b->size))->size;
    if (at + b->size == end) { /* the last one: as if it were not there */
      end = at;
      break;
    }
    if (b->size < size) continue;
    if (b->size > size) {
      Block *more = (Block *)(at + size);
      more->size = b->size - size;
      more->taken = 0;
      b->size = size;
    }
    b->taken = 1;
    return b + 1;
  }
  if (!grow(size)) return NULL;
  Block *b = (Block *)end;
  b->size = size;
  b->taken = 1;
  end += size;
  return b + 1;
}

void *calloc(size_t count, size_t size) {
  uint32_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
  void *p = malloc(bytes);
  if (p) __builtin_memset(p, 0, bytes);
  return p;
}

void free(void *p) {
  if (p) ((Block *)p - 1)->taken = 0;
}
