/* See stdlib.h. Nobody waits in a module without threads. */
#ifndef AEI_WEB_TIME_H
#define AEI_WEB_TIME_H

struct timespec {
  long tv_sec, tv_nsec;
};

static inline int nanosleep(const struct timespec *wanted, struct timespec *left) {
  (void)wanted;
  (void)left;
  return 0;
}

#endif
