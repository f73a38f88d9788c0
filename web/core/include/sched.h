/* There is one thread. */
#ifndef AEI_WEB_SCHED_H
#define AEI_WEB_SCHED_H

static inline int sched_yield(void) {
  return 0;
}

#endif
