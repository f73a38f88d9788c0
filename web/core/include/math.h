/* See stdlib.h: entropy.c includes it, and calls nothing of it. */
