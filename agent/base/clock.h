/* clock.h - the clocks, by what they are good for. Thread: any. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_ns(void); /* intervals and deadlines; stops in suspend */
uint64_t clock_mono_ms(void);
uint64_t clock_boot_ns(void); /* ages; counts suspend */
int64_t clock_real_ns(void);  /* what people read; may jump, never an input to a decision */

#define CLOCK_TEXT_MAX 40

/* Writes `real_ns` as RFC 3339 in UTC with milliseconds; returns out. */
const char *clock_text(char out[CLOCK_TEXT_MAX], int64_t real_ns);

#endif
