/* See stdlib.h: the compiler makes memory.copy and memory.fill of these. */
#ifndef AEI_WEB_STRING_H
#define AEI_WEB_STRING_H

#include <stddef.h>

#define memcpy __builtin_memcpy
#define memset __builtin_memset

#endif
