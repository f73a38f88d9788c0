/* What the core asks of a C library, for a WebAssembly module that has none: memory.c has the rest.
 */
#ifndef AEI_WEB_STDLIB_H
#define AEI_WEB_STDLIB_H

#include <stddef.h>

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void free(void *p);

#endif
